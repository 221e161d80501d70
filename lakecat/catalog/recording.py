"""The rows that a commit writes beside the pointers: versions, schemas, sources, events, edges, positions, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.queries import uri_hash
from lakecat.catalog.reading import versions_of_artifacts
from lakecat.catalog.registry import EventType, NewArtifact, NewEvent
from lakecat.catalog.values import ColumnInfo, RunningExecution
from lakecat.errors import UsageError
from lakecat.types import ColumnEdge, Json, LoadedFile, Position, SourceRead, Version

if TYPE_CHECKING:
    from lakecat.tables import StagedTable

POSITION_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is recorded with the tables. ``whole`` are the datasets whose whole content is written anew."""

    execution: RunningExecution
    sources: tuple[SourceRead, ...]
    positions: Mapping[str, Position]
    files: Mapping[str, tuple[LoadedFile, ...]]
    edges: tuple[ColumnEdge, ...]
    properties: Mapping[str, Json]
    whole: frozenset[str]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Context ids of datasets, the job's context id, and the newest version number of each dataset (0 for none)."""

    datasets: Mapping[str, int]
    job: int
    latest: Mapping[str, int]


def check_positions(positions: Mapping[str, Position]) -> None:
    """Refuse a position that is no small JSON object. Raises UsageError."""
    for stream, position in positions.items():
        if len(_json(position.value)) > POSITION_BYTES:
            raise UsageError(f"the position of {stream} is over 64 KiB", hint="keep a cursor, not the data")


def contexts(
    connection: sa.Connection, types: Mapping[str, int], execution: RunningExecution, names: Sequence[str], now: int
) -> Numbers:
    """Find the contexts that a commit attributes its versions to; datasets that ``begin`` did not name are made."""
    dataset_type, job_type = types[registry.DATASET], types[registry.JOB]
    job = execution.start.job
    rows = connection.execute(
        sa.select(s.context.c.id, s.context.c.name, s.context.c.type_id, sa.func.max(s.version.c.version).label("v"))
        .outerjoin(s.version, s.version.c.dataset_id == s.context.c.id)
        .where(
            sa.or_(
                sa.and_(s.context.c.type_id == dataset_type, s.context.c.name.in_(names)),
                sa.and_(s.context.c.type_id == job_type, s.context.c.name == job),
            )
        )
        .group_by(s.context.c.id, s.context.c.name, s.context.c.type_id)
    ).all()
    found = {row.name: row.id for row in rows if row.type_id == dataset_type}
    if missing := [name for name in names if name not in found]:
        found |= registry.ensure_contexts(connection, dataset_type, missing, now)
    return Numbers(
        datasets=found,
        job=next(row.id for row in rows if row.type_id == job_type),
        latest={row.name: row.v or 0 for row in rows if row.type_id == dataset_type},
    )


def ensure_namespace(connection: sa.Connection, namespace: str) -> None:
    """Make the namespace known to Iceberg's SQL catalogs."""
    row = {
        "catalog_name": s.ICEBERG_CATALOG, "namespace": namespace, "property_key": "exists", "property_value": "true"
    }  # fmt: skip
    registry.insert_absent(connection, s.iceberg_namespace_properties, [row])


def record(
    connection: sa.Connection,
    types: Mapping[str, int],
    numbers: Numbers,
    staged: Sequence[StagedTable],
    what: Record,
    *,
    now: int,
) -> tuple[Version, ...]:
    """Write every row of the commit; the new versions."""
    schemas = _schemas(connection, types, staged, now)
    artifacts = _versions(connection, types, numbers, staged, what, schemas, now)
    sources = registry.ensure_artifacts(connection, types, [_source(source) for source in what.sources], now)
    events = [NewEvent(key, EventType.INPUT, "source") for key in sources.values()]
    events += [NewEvent(key, EventType.OUTPUT, name) for name, key in artifacts.items()]
    execution_id = what.execution.execution_id
    registry.insert_events(connection, execution_id, events, now)
    pairs = [(numbers.datasets[name], key) for name, key in artifacts.items()]
    pairs += [(numbers.datasets[name], schemas[name].artifact_id) for name in artifacts]
    pairs += [(numbers.job, key) for key in artifacts.values()]
    registry.insert_attributions(connection, pairs)
    _edges(connection, execution_id, artifacts, what.edges)
    _positions(connection, execution_id, what.positions, now)
    _files(connection, execution_id, what.files)
    _properties(connection, execution_id, what)
    return versions_of_artifacts(connection, artifacts.values())


def sidecar(what: Record, dataset: str, version: int) -> dict[str, Json]:
    """What the catalog could be rebuilt from, to be left beside the metadata."""
    execution, start = what.execution, what.execution.start
    script = start.script
    return {
        "execution": execution.uuid,
        "type": start.type.value,
        "job": start.job,
        "run_key": start.run_key,
        "fence": execution.lease.fence,
        "started_at": execution.started_at.isoformat(),
        "holder": str(execution.lease.holder),
        "version": version,
        "whole": dataset in what.whole,
        "properties": {**start.properties, **what.properties},
        "inputs": [
            {"dataset": str(v.dataset), "version": v.version, "snapshot_id": v.snapshot_id} for v in start.inputs
        ],
        "script": None
        if script is None
        else {"sha256": script.sha256, "path": script.path, "dialect": script.dialect, "text": script.text},
        "sources": [
            {"uri": x.uri, "rows": x.rows, "bytes": x.bytes, "properties": dict(x.properties)} for x in what.sources
        ],
        "positions": {stream: dict(position.value) for stream, position in what.positions.items()},
        "files": {
            stream: [
                {"uri": f.file.uri, "size": f.file.size, "etag": f.file.etag, "rows": f.rows, "sha256": f.sha256,
                 "mtime": None if f.file.mtime is None else f.file.mtime.isoformat()}
                for f in files
            ]
            for stream, files in what.files.items()
        },
        "edges": [
            {"output_column": e.output_column, "input_dataset": e.input_dataset, "input_column": e.input_column,
             "kind": e.kind.value, "expression": e.expression, "line": e.line, "masked": e.masked}
            for e in what.edges
            if e.output_dataset == dataset
        ],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Schema:
    fingerprint: str
    columns: tuple[ColumnInfo, ...]
    artifact_id: int


def _schemas(
    connection: sa.Connection, types: Mapping[str, int], staged: Sequence[StagedTable], now: int
) -> dict[str, _Schema]:
    """The schema record of each dataset's new version, made where its fingerprint is new."""
    columns = {str(one.dataset): _columns(one) for one in staged}
    fingerprints = {name: _fingerprint(infos) for name, infos in columns.items()}
    rows = connection.execute(
        sa.select(s.lake_schema.c.fingerprint, s.lake_schema.c.artifact_id).where(
            s.lake_schema.c.fingerprint.in_(set(fingerprints.values()))
        )
    )
    known: dict[str, int] = {row.fingerprint: row.artifact_id for row in rows}
    fresh = {fingerprints[name]: infos for name, infos in columns.items() if fingerprints[name] not in known}
    if fresh:
        artifacts = [NewArtifact(registry.SCHEMA, f, None, {"columns": _json(_plain(c))}) for f, c in fresh.items()]
        known |= registry.ensure_artifacts(connection, types, artifacts, now)
        registry.insert_absent(
            connection, s.lake_schema, [{"fingerprint": f, "artifact_id": known[f]} for f in sorted(fresh)]
        )
        described = [
            {"fingerprint": f, "ordinal": n, "name": c.name, "type": c.type, "field_id": c.field_id,
             "required": c.required, "doc": c.doc}
            for f in sorted(fresh)
            for n, c in enumerate(fresh[f])
        ]  # fmt: skip
        registry.insert_absent(connection, s.schema_column, described)
    return {name: _Schema(f, columns[name], known[f]) for name, f in fingerprints.items()}


def _columns(staged: StagedTable) -> tuple[ColumnInfo, ...]:
    return tuple(
        ColumnInfo(f.name, str(f.field_type), f.field_id, f.required, f.doc) for f in staged.state.schema.fields
    )


def _plain(columns: Sequence[ColumnInfo]) -> list[Json]:
    return [
        {"name": c.name, "type": c.type, "field_id": c.field_id, "required": c.required, "doc": c.doc} for c in columns
    ]


def _fingerprint(columns: Sequence[ColumnInfo]) -> str:
    """SHA-256 of the columns as canonical JSON; equal columns in equal order give equal fingerprints."""
    return hashlib.sha256(_json(_plain(columns)).encode()).hexdigest()


def _versions(
    connection: sa.Connection,
    types: Mapping[str, int],
    numbers: Numbers,
    staged: Sequence[StagedTable],
    what: Record,
    schemas: Mapping[str, _Schema],
    now: int,
) -> dict[str, int]:
    """Record the versions; the ids of their artifacts by dataset."""
    if not staged:
        return {}
    named = {}
    for one in staged:
        name = str(one.dataset)
        number = numbers.latest.get(name, 0) + 1
        named[name] = NewArtifact(
            registry.TABLE_VERSION,
            f"{name}@v{number}",
            one.metadata_location,
            {
                "dataset": name, "version": number, "snapshot_id": one.snapshot_id, "operation": str(one.operation),
                "rows": one.totals.rows, "added_rows": one.totals.added_rows, "removed_rows": one.totals.removed_rows,
                "files": one.totals.files, "bytes": one.totals.bytes, "schema": schemas[name].fingerprint,
            },
        )  # fmt: skip
    ids = registry.insert_artifacts(connection, types, list(named.values()), now)
    artifacts = {name: ids[artifact.name] for name, artifact in named.items()}
    rows = [
        _version_row(one, numbers, artifacts[str(one.dataset)], what, schemas[str(one.dataset)].fingerprint)
        for one in staged
    ]
    connection.execute(sa.insert(s.version), rows)
    for one in staged:
        if one.expired_snapshot_ids:
            _expire(connection, numbers.datasets[str(one.dataset)], one.expired_snapshot_ids, now)
    return artifacts


def _version_row(
    one: StagedTable, numbers: Numbers, artifact_id: int, what: Record, fingerprint: str
) -> dict[str, Any]:
    name = str(one.dataset)
    return {
        "dataset_id": numbers.datasets[name],
        "version": numbers.latest.get(name, 0) + 1,
        "snapshot_id": one.snapshot_id,
        "artifact_id": artifact_id,
        "execution_id": what.execution.execution_id,
        "metadata_location": one.metadata_location,
        "committed_ms": one.timestamp_ms,
        "operation": str(one.operation),
        "whole": name in what.whole or one.base_location is None,
        "total_rows": one.totals.rows,
        "added_rows": one.totals.added_rows,
        "removed_rows": one.totals.removed_rows,
        "total_files": one.totals.files,
        "total_bytes": one.totals.bytes,
        "fingerprint": fingerprint,
        "expired": False,
    }


def _expire(connection: sa.Connection, dataset_id: int, snapshot_ids: Sequence[int], now: int) -> None:
    for start in range(0, len(snapshot_ids), registry.CHUNK):
        connection.execute(
            sa.update(s.version)
            .where(
                s.version.c.dataset_id == dataset_id,
                s.version.c.snapshot_id.in_(snapshot_ids[start : start + registry.CHUNK]),
            )
            .values(expired=True, expired_ms=now)
        )


def _source(source: SourceRead) -> NewArtifact:
    """One artifact for each state of a source: its URI, its size, and what the connector knows of it (an etag, …)."""
    key = _json([source.uri, source.bytes, dict(source.properties)])
    properties: dict[str, Json] = {**source.properties, "rows": source.rows, "bytes": source.bytes}
    return NewArtifact(registry.SOURCE, uri_hash(key), source.uri, properties)


def _edges(
    connection: sa.Connection, execution_id: int, artifacts: Mapping[str, int], edges: Sequence[ColumnEdge]
) -> None:
    rows = [
        {
            "execution_id": execution_id,
            "output_artifact_id": artifacts.get(edge.output_dataset),
            "output_dataset": edge.output_dataset,
            "output_column": edge.output_column,
            "input_dataset": edge.input_dataset,
            "input_hash": None if edge.input_dataset is None else uri_hash(edge.input_dataset),
            "input_column": edge.input_column,
            "kind": edge.kind.value,
            "expression": edge.expression,
            "line": edge.line,
            "masked": edge.masked,
        }
        for edge in edges
    ]
    if rows:
        connection.execute(sa.insert(s.column_edge), rows)


def _positions(connection: sa.Connection, execution_id: int, positions: Mapping[str, Position], now: int) -> None:
    rows = [
        {"stream": stream, "value": _json(position.value), "execution_id": execution_id, "updated_ms": now}
        for stream, position in sorted(positions.items())
    ]
    registry.upsert(connection, s.position, rows)


def _files(connection: sa.Connection, execution_id: int, files: Mapping[str, tuple[LoadedFile, ...]]) -> None:
    rows = [
        {
            "stream": stream,
            "uri_hash": uri_hash(one.file.uri),
            "identity_hash": uri_hash(one.file.identity),
            "uri": one.file.uri,
            "size": one.file.size,
            "etag": one.file.etag,
            "mtime_us": None if one.file.mtime is None else round(one.file.mtime.timestamp() * 1_000_000),
            "loaded_rows": one.rows,
            "sha256": one.sha256,
            "execution_id": execution_id,
        }
        for stream, loaded in sorted(files.items())
        for one in loaded
    ]
    # A replace job loads a file that it has loaded before: the ledger then names the newest execution.
    registry.upsert(connection, s.loaded_file, rows)


def _properties(connection: sa.Connection, execution_id: int, what: Record) -> None:
    declared = registry.TYPES[what.execution.start.type.value, registry.TypeKind.EXECUTION].keys()
    rows = registry.property_rows("execution_id", execution_id, what.properties, declared)
    registry.upsert(connection, s.execution_property, rows)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
