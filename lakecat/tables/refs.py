"""Tags of a table: names of snapshots in its own metadata, which every Iceberg reader sees and expiry honours.

(Iceberg table specification, "Snapshot References".)
"""

from __future__ import annotations

from dataclasses import dataclass

from lakecat.errors import UsageError
from lakecat.store import LakeStore
from lakecat.tables.history import encode
from lakecat.tables.layout import metadata_location, metadata_version
from lakecat.tables.metadata import log_metadata
from lakecat.tables.state import TableState


@dataclass(frozen=True, slots=True)
class StagedMetadata:
    """A metadata file that was written and that nobody sees yet."""

    metadata_location: str
    base_location: str


def table_tags(state: TableState) -> dict[str, int]:
    """The tags in a table's metadata, with their snapshot ids."""
    refs = state.head.get("refs") or {}
    return {name: int(ref["snapshot-id"]) for name, ref in refs.items() if ref.get("type") == "tag"}


def stage_tag(
    store: LakeStore,
    base: TableState,
    name: str,
    snapshot_id: int | None,
    *,
    prefix: str,
    now_ms: int,
    uuid: str,
    keep: int,
) -> StagedMetadata:
    """Write metadata in which ``name`` is a tag on a snapshot, or with None no tag any more.

    Called with the table's row locked. The file goes under ``prefix``; ``keep`` metadata files stay noted in the log.
    Raises TableError where the snapshot has expired, UsageError where the name is a branch's, StoreError.
    """
    refs = dict(base.head.get("refs") or {})
    if refs.get(name, {}).get("type", "tag") != "tag":
        raise UsageError(f"{name!r} is a branch of {base.location}", hint="choose another name for the tag")
    refs.pop(name, None)
    if snapshot_id is not None:
        base.snapshot(snapshot_id)
        refs[name] = {"snapshot-id": snapshot_id, "type": "tag"}
    raw = {**base.head, "refs": refs, "last-updated-ms": max(now_ms, base.last_updated_ms + 1)}
    log_metadata(raw, base, keep)
    location = metadata_location(prefix, metadata_version(base.metadata_location) + 1, uuid)
    store.write(location, encode(raw, base.history))
    return StagedMetadata(location, base.metadata_location)
