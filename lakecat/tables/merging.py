"""Which manifests a commit merges: a log-structured merge by size tiers, as in LSM trees."""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.manifest import ManifestFile

from lakecat.tables.manifests import LARGEST, TIER, live_files


def tier(entries: int) -> int:
    """The tier of a manifest with so many files: 0 for fewer than 8, 1 for fewer than 64, and so on."""
    level = 0
    while entries >= TIER:
        entries //= TIER
        level += 1
    return level


def to_merge(added: int, manifests: Sequence[ManifestFile]) -> list[ManifestFile]:
    """Those of a spec's manifests that a new manifest of ``added`` files takes up.

    Nothing until its tier is full; then the whole tier, and the next one if that becomes full by it, and so on.
    """
    taken: list[ManifestFile] = []
    size = added
    rest = [manifest for manifest in manifests if live_files(manifest) < LARGEST]
    while size < LARGEST:
        level = tier(size)
        peers = [manifest for manifest in rest if tier(live_files(manifest)) == level]
        if len(peers) < TIER - 1:
            break
        before = len(taken)
        for manifest in peers:
            if size + live_files(manifest) <= 2 * LARGEST:
                taken.append(manifest)
                size += live_files(manifest)
        if len(taken) == before:
            break
        rest = [manifest for manifest in rest if manifest not in taken]
    return taken
