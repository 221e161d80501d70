"""What snapshots of a table need, and what only expired ones need. It names files; removing them is not its business.

What can be reached from metadata that is in use is never named. A read that fails, fails the whole: half a picture
deletes live files. Locations are compared after all links, so that two spellings of one file are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lakecat.errors import ObjectMissingError, StoreError
from lakecat.store import LakeStore
from lakecat.tables.manifests import read_all_entries, read_entries, read_manifests, snapshot_manifests
from lakecat.tables.state import TableState, load_state


@dataclass(slots=True)
class Reach:
    """What some snapshots need: manifest lists, manifests and data files, by location."""

    lists: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def __contains__(self, location: object) -> bool:
        return location in self.lists or location in self.manifests or location in self.files


def reachable(store: LakeStore, state: TableState, *, others: Iterable[Mapping[str, Any]] = ()) -> Reach:
    """Everything that the snapshots of a table need which have not expired.

    ``others`` are further snapshots, as Iceberg's JSON. Raises StoreError for a file outside the lake, CorruptFileError
    for one that is damaged, and what reading raises; there is no partial answer.
    """
    reach = Reach()
    for snapshot in (*state.snapshots, *others):
        _extend(store, reach, snapshot)
    for kind in ("statistics", "partition-statistics"):
        reach.files.update(store.canonical(str(entry["statistics-path"])) for entry in state.head.get(kind) or ())
    return reach


def unreferenced(store: LakeStore, live: Reach, expired: Iterable[str]) -> Reach:
    """What only expired snapshots reach. ``expired`` are the manifest lists of expired snapshots.

    Data files must be removed first, then manifests, then lists: an interrupted removal can be repeated. What is gone
    already was cleaned before and counts as empty, which can only make the answer shorter.
    Raises what reading raises.
    """
    gone = Reach()
    for location in expired:
        if location not in live.lists and location not in gone.lists:
            with suppress(ObjectMissingError):
                _extend_expired(store, gone, location, live)
    for kind in (gone.files, gone.manifests, gone.lists):
        kind.difference_update(live.files, live.manifests, live.lists)
    return gone


def named(store: LakeStore, metadata: Iterable[str]) -> Reach:
    """Everything that any snapshot in these metadata files names, expired or not; what is gone names nothing.

    Raises CorruptFileError for a file that is damaged, and what reading raises; there is no partial answer.
    """
    reach = Reach()
    seen: set[int] = set()
    for location in metadata:
        with suppress(ObjectMissingError):
            for snapshot in load_state(store, location).snapshots:
                if snapshot["snapshot-id"] not in seen:
                    seen.add(snapshot["snapshot-id"])
                    _extend_named(store, reach, str(snapshot["manifest-list"]))
    return reach


def _extend_named(store: LakeStore, reach: Reach, manifest_list: str) -> None:
    reach.lists.add(_within(store, manifest_list))
    with suppress(ObjectMissingError):
        for manifest in read_manifests(store, manifest_list):
            path = _within(store, manifest.manifest_path)
            if path not in reach.manifests:
                reach.manifests.add(path)
                with suppress(ObjectMissingError):
                    entries = read_entries(store, manifest)
                    reach.files.update(_within(store, entry.data_file.file_path) for entry in entries)


def _within(store: LakeStore, location: str) -> str:
    """The location after all links; as it is where it lies outside the lake, and so is no file of ours."""
    try:
        return store.canonical(location)
    except StoreError:
        return location


def _extend(store: LakeStore, reach: Reach, snapshot: Mapping[str, Any]) -> None:
    """Add what a snapshot reaches; manifests that are known are not read again."""
    manifests = snapshot_manifests(store, snapshot)
    fresh = {store.canonical(manifest.manifest_path): manifest for manifest in manifests}
    fresh = {location: manifest for location, manifest in fresh.items() if location not in reach.manifests}
    for entries in read_all_entries(store, list(fresh.values())):
        reach.files.update(store.canonical(entry.data_file.file_path) for entry in entries)
    reach.manifests.update(fresh)
    reach.lists.add(store.canonical(str(snapshot["manifest-list"])))


def _extend_expired(store: LakeStore, reach: Reach, manifest_list: str, live: Reach) -> None:
    """Add what an expired manifest list reaches beyond what is live; manifests that are gone count as empty.

    Locations stay as they are spelled: one that is spelled oddly is no file that lakecat wrote.
    """
    for manifest in read_manifests(store, manifest_list):
        path = manifest.manifest_path
        if path in live.manifests or path in reach.manifests:
            continue
        with suppress(ObjectMissingError):
            reach.files.update(entry.data_file.file_path for entry in read_entries(store, manifest))
            reach.manifests.add(path)
    reach.lists.add(manifest_list)
