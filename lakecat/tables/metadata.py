"""The next table metadata as raw JSON (Iceberg table specification, "Table Metadata Fields", version 2)."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import VoidTransform
from pyiceberg.types import PrimitiveType

from lakecat.errors import CommitConflictError, SchemaError, TableError
from lakecat.tables.changes import TableChange
from lakecat.tables.evolution import SchemaChange
from lakecat.tables.history import History
from lakecat.tables.state import TableState, parse_schema, parse_spec

_NO_PARTITION = 999  # Iceberg: partition field ids start at 1000


def next_metadata(base: TableState | None, change: TableChange, *, now_ms: int, uuid: str) -> dict[str, Any]:
    """The base's metadata, without its history, with the change's schema, spec, time and sequence number.

    Raises CommitConflictError, SchemaError, TableError.
    """
    if base is None:
        raw = _created(change, now_ms, uuid)
    else:
        if change.location != base.location:
            raise TableError(f"{change.dataset} lies at {base.location}, not at {change.location}")
        raw = dict(base.head)
        raw["last-updated-ms"] = max(now_ms, base.last_updated_ms + 1)
        raw["last-sequence-number"] = int(raw["last-sequence-number"]) + 1
        if change.schema is not None:
            _evolve(raw, base, change.schema, change)
        if change.spec is not None:
            _repartition(raw, change.spec)
    if change.table_properties:
        raw["properties"] = {**(raw.get("properties") or {}), **change.table_properties}
    _check_partition_sources(raw)
    return raw


def set_current(raw: dict[str, Any], history: History, snapshot: dict[str, Any]) -> History:
    """Make a new snapshot the current one; answers the history with it."""
    snapshot_id = snapshot["snapshot-id"]
    raw["current-snapshot-id"] = snapshot_id
    raw["refs"] = {**(raw.get("refs") or {}), "main": {"snapshot-id": snapshot_id, "type": "branch"}}
    return history.append(snapshot, {"snapshot-id": snapshot_id, "timestamp-ms": raw["last-updated-ms"]})


def log_metadata(raw: dict[str, Any], base: TableState, keep: int) -> None:
    """Note the base's metadata file; only the newest ``keep`` stay noted."""
    entry = {"metadata-file": base.metadata_location, "timestamp-ms": base.last_updated_ms}
    raw["metadata-log"] = [*(raw.get("metadata-log") or ()), entry][-keep:]


def _created(change: TableChange, now_ms: int, uuid: str) -> dict[str, Any]:
    if change.schema is None or change.schema.base_schema_id is not None:
        raise CommitConflictError(
            f"{change.dataset} is not there any more", hint="it was dropped meanwhile: run the job again to create it"
        )
    spec = _spec_json(change.spec or PartitionSpec(), 0)
    return {
        "format-version": 2,
        "table-uuid": uuid,
        "location": change.location,
        "last-sequence-number": 1,
        "last-updated-ms": now_ms,
        "last-column-id": max(change.schema.last_column_id, change.schema.schema.highest_field_id),
        "schemas": [_schema_json(change.schema.schema, 0)],
        "current-schema-id": 0,
        "partition-specs": [spec],
        "default-spec-id": 0,
        "last-partition-id": max((field["field-id"] for field in spec["fields"]), default=_NO_PARTITION),
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
        "properties": {},
        "metadata-log": [],
        "refs": {},
    }


def _evolve(raw: dict[str, Any], base: TableState, change: SchemaChange, whole: TableChange) -> None:
    """Set the schema; a schema that the table had before keeps its id."""
    wanted = _schema_json(change.schema, 0)["fields"]
    if _fields(raw) == wanted:  # another commit made the very same change, and with the same field ids
        return
    if change.base_schema_id is None or change.base_schema_id != base.schema.schema_id:
        raise CommitConflictError(
            f"the columns of {whole.dataset} changed meanwhile",
            hint="run the job again: it will start from the table's new columns",
        )
    known = next((schema for schema in raw["schemas"] if schema["fields"] == wanted), None)
    schema_id = 1 + max(schema["schema-id"] for schema in raw["schemas"])
    if known is None:
        raw["schemas"] = [*raw["schemas"], _schema_json(change.schema, schema_id)]
    raw["current-schema-id"] = schema_id if known is None else known["schema-id"]
    raw["last-column-id"] = max(raw["last-column-id"], change.last_column_id, change.schema.highest_field_id)


def _repartition(raw: dict[str, Any], spec: PartitionSpec) -> None:
    """Set the partitioning of what is written from now on. A partition field of an earlier spec keeps its id."""
    fields = [field for known in raw["partition-specs"] for field in known["fields"]]
    ids = {(field["source-id"], field["transform"], field["name"]): field["field-id"] for field in fields}
    last = int(raw.get("last-partition-id") or _NO_PARTITION)
    wanted = []
    for field in _spec_json(spec, 0)["fields"]:
        key = (field["source-id"], field["transform"], field["name"])
        if key not in ids:
            last += 1
        wanted.append({**field, "field-id": ids.get(key, last)})
    known = next((known for known in raw["partition-specs"] if known["fields"] == wanted), None)
    if known is None:
        known = {"spec-id": 1 + max(spec["spec-id"] for spec in raw["partition-specs"]), "fields": wanted}
        raw["partition-specs"] = [*raw["partition-specs"], known]
    raw["default-spec-id"] = known["spec-id"]
    raw["last-partition-id"] = last


def _check_partition_sources(raw: dict[str, Any]) -> None:
    """A column that partitions files, now or in an older spec, must stay, with a type that its transform takes."""
    schema = parse_schema(next(s for s in raw["schemas"] if s["schema-id"] == raw["current-schema-id"]))
    for spec in raw["partition-specs"]:
        for field in parse_spec(spec).fields:
            if isinstance(field.transform, VoidTransform):
                continue
            if field.source_id not in schema.field_ids:
                raise SchemaError(
                    f"the column under the partition {field.name!r} cannot be dropped",
                    hint="files are partitioned by it; write the table anew without it under another name",
                )
            type_ = schema.find_type(field.source_id)
            if not isinstance(type_, PrimitiveType) or not field.transform.can_transform(type_):
                raise SchemaError(f"the partition {field.name!r} cannot be made from the type {type_}")


def _fields(raw: dict[str, Any]) -> Any:
    return next(s["fields"] for s in raw["schemas"] if s["schema-id"] == raw["current-schema-id"])


def _schema_json(schema: Schema, schema_id: int) -> dict[str, Any]:
    raw: dict[str, Any] = from_json(schema.model_dump_json())
    return {**raw, "schema-id": schema_id}


def _spec_json(spec: PartitionSpec, spec_id: int) -> dict[str, Any]:
    raw: dict[str, Any] = from_json(spec.model_dump_json())
    return {"spec-id": spec_id, "fields": raw.get("fields", [])}
