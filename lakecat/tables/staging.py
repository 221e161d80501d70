"""Staging a commit: manifests, manifest list, metadata and sidecar are written; the pointer is the catalog's.

The cost of staging depends on the change and on the number of manifests, which merging bounds; not on the number of
snapshots. (Iceberg table specification: "Snapshots", "Table Metadata", "Sequence Numbers".)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from pydantic_core import to_json

from lakecat.config import Retention
from lakecat.failpoints import failpoint
from lakecat.store import LakeStore
from lakecat.tables.changes import StagedTable, TableChange
from lakecat.tables.expiry import expire
from lakecat.tables.history import History, encode
from lakecat.tables.layout import metadata_location, metadata_prefix, metadata_version, sidecar_location
from lakecat.tables.manifests import ManifestBuilder
from lakecat.tables.metadata import log_metadata, next_metadata, set_current
from lakecat.tables.snapshots import build_manifests, check_conflict, summarize
from lakecat.tables.state import TableState, make_state
from lakecat.types import Json

SIDECAR_FORMAT: Final = 2
"""1 had neither totals nor columns, and commits of that time left no receipt."""


def stage(
    store: LakeStore,
    base: TableState | None,
    change: TableChange,
    *,
    retention: Retention,
    now_ms: int,
    snapshot_id: int,
    uuid: str,
    sidecar: Mapping[str, Json],
) -> StagedTable:
    """Write everything of a commit but the pointer. Called with the table's row locked.

    ``base`` is the table as the locked pointer shows it, None when there is none. ``uuid`` and ``snapshot_id`` are new
    for every attempt. ``now_ms``: milliseconds since 1970 UTC; a snapshot is later than its predecessor in any case.
    ``sidecar`` is what the catalog could be rebuilt from: execution, run key, input versions.
    Raises CommitConflictError (run the rewrite again on the new state), SchemaError, TableError, StoreError.
    """
    check_conflict(base, change)
    raw = next_metadata(base, change, now_ms=now_ms, uuid=uuid)
    history = base.history if base else History()
    provisional = make_state(base.metadata_location if base else change.location, raw, history)
    builder = ManifestBuilder(
        prefix=metadata_prefix(change.location, change.execution),
        uuid=uuid,
        snapshot_id=snapshot_id,
        schema=provisional.schema,
        specs=provisional.spec_by_id,
    )
    outcome = build_manifests(store, base, provisional, change, builder)
    totals, summary = summarize(store, base, change, outcome)
    parent = base.current_snapshot_id if base else None
    manifest_list = builder.write_list(outcome.manifests, parent, raw["last-sequence-number"])
    history = set_current(raw, history, _snapshot(raw, snapshot_id, parent, manifest_list, summary))
    history, expired = expire(raw, history, retention)
    if base is not None:
        log_metadata(raw, base, retention.metadata_versions)

    location = metadata_location(builder.prefix, metadata_version(base.metadata_location if base else None) + 1, uuid)
    staged = StagedTable(
        dataset=change.dataset,
        metadata_location=location,
        base_location=base.metadata_location if base else None,
        snapshot_id=snapshot_id,
        sequence_number=raw["last-sequence-number"],
        timestamp_ms=raw["last-updated-ms"],
        operation=change.operation,
        totals=totals,
        expired_snapshot_ids=expired,
        written=(*builder.files, location, sidecar_location(location)),
        state=replace(provisional, metadata_location=location, history=history),
    )
    columns = _columns(provisional) if base is None or change.schema is not None else None
    _write(store, builder.files, staged, {**_sidecar(staged, sidecar), "columns": columns})
    return staged


def _write(store: LakeStore, manifests: Mapping[str, bytes], staged: StagedTable, sidecar: Mapping[str, Any]) -> None:
    store.write_all(manifests)
    failpoint("commit.manifest_written")
    store.write(staged.metadata_location, encode(staged.state.head, staged.state.history))
    failpoint("commit.metadata_written")
    store.write(sidecar_location(staged.metadata_location), to_json(sidecar))
    failpoint("commit.sidecar_written")


def _snapshot(
    raw: Mapping[str, Any], snapshot_id: int, parent: int | None, manifest_list: str, summary: dict[str, str]
) -> dict[str, Any]:
    """The snapshot as Iceberg's JSON has it."""
    snapshot = {
        "snapshot-id": snapshot_id,
        "sequence-number": raw["last-sequence-number"],
        "timestamp-ms": raw["last-updated-ms"],
        "manifest-list": manifest_list,
        "summary": summary,
        "schema-id": raw["current-schema-id"],
    }
    return snapshot if parent is None else snapshot | {"parent-snapshot-id": parent}


def _columns(state: TableState) -> list[Json]:
    """The columns as they are from this commit on."""
    return [
        {"name": f.name, "type": str(f.field_type), "field_id": f.field_id, "required": f.required, "doc": f.doc}
        for f in state.schema.fields
    ]


def _sidecar(staged: StagedTable, record: Mapping[str, Json]) -> dict[str, Json]:
    """What a catalog can be rebuilt from, together with the metadata beside it."""
    return {
        "format": SIDECAR_FORMAT,
        "dataset": str(staged.dataset),
        "table_uuid": staged.state.uuid,
        "snapshot_id": staged.snapshot_id,
        "sequence_number": staged.sequence_number,
        "timestamp_ms": staged.timestamp_ms,
        "operation": str(staged.operation),
        "metadata_location": staged.metadata_location,
        "base_location": staged.base_location,
        "expired_snapshot_ids": list(staged.expired_snapshot_ids),
        "totals": asdict(staged.totals),
        "commit": dict(record),
    }
