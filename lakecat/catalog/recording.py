"""The rows that a commit writes beside the pointers: versions, schemas, sources, events, edges, positions, files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry, search_index, trips
from lakecat.catalog import schema as s
from lakecat.catalog.database import now_ms
from lakecat.catalog.enums import EventType, TypeKind
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.executions import set_state
from lakecat.catalog.leases import moment
from lakecat.catalog.queries import uri_hash
from lakecat.catalog.registry import NewArtifact, NewEvent
from lakecat.catalog.values import ColumnInfo, RunningExecution
from lakecat.errors import UsageError
from lakecat.types import ColumnEdge, DatasetName, Json, LoadedFile, Position, SourceRead, Version

if TYPE_CHECKING:
    from lakecat.tables import StagedTable, Totals

Written: TypeAlias = "StagedTable | ReplayedTable"
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
    """What there is before the commit, read under its locks.

    Context ids of datasets and of the job; of each dataset that has a version the newest number and its schema's
    fingerprint; the database's time.
    """

    datasets: Mapping[str, int]
    job: int
    latest: Mapping[str, int]
    schemas: Mapping[str, str]
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTable:
    """One table of a commit that was made long ago, with what is recorded of it; see ``StagedTable``."""

    dataset: DatasetName
    metadata_location: str
    base_location: str | None
    snapshot_id: int
    timestamp_ms: int
    operation: str
    totals: Totals
    expired_snapshot_ids: tuple[int, ...]
    columns: tuple[ColumnInfo, ...]


def check_positions(positions: Mapping[str, Position]) -> None:
    """Refuse a position that is no small JSON object. Raises UsageError."""
    for stream, position in positions.items():
        if len(_json(position.value)) > POSITION_BYTES:
            raise UsageError(f"the position of {stream} is over 64 KiB", hint="keep a cursor, not the data")


def contexts(
    connection: sa.Connection, types: Mapping[str, int], execution: RunningExecution, names: Sequence[str]
) -> Numbers:
    """Find the contexts that a commit attributes its versions to; datasets that ``begin`` did not name are made."""
    dataset_type, job_type = types[registry.DATASET], types[registry.JOB]
    job, context, newest = execution.start.job, s.context, s.version
    numbered = s.version.alias("numbered")
    top = sa.select(sa.func.max(numbered.c.version)).where(numbered.c.dataset_id == context.c.id).scalar_subquery()
    rows = connection.execute(
        sa.select(
            context.c.id, context.c.name, context.c.type_id, newest.c.version, newest.c.fingerprint,
            now_ms().label("now"),
        )
        .select_from(context)
        .outerjoin(newest, sa.and_(newest.c.dataset_id == context.c.id, newest.c.version == top))
        .where(
            sa.or_(
                sa.and_(context.c.type_id == dataset_type, context.c.name.in_(names)),
                sa.and_(context.c.type_id == job_type, context.c.name == job),
            )
        )
    ).all()  # fmt: skip
    known = {row.name: row for row in rows if row.type_id == dataset_type}
    written = {name: row for name, row in known.items() if row.version is not None}
    found, now = {name: row.id for name, row in known.items()}, rows[0].now
    if missing := [name for name in names if name not in found]:
        made = registry.ensure_contexts(connection, [(dataset_type, name) for name in missing], now)
        found |= {name: key for (_, name), key in made.items()}
    return Numbers(
        datasets=found,
        job=next(row.id for row in rows if row.type_id == job_type),
        latest={name: row.version for name, row in written.items()},
        schemas={name: row.fingerprint for name, row in written.items()},
        now=now,
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
    staged: Sequence[Written],
    what: Record,
) -> tuple[Version, ...]:
    """Write every row of the commit, MLMD's state too; the new versions, in the order of ``staged``."""
    schemas = {str(one.dataset): _schema(one) for one in staged}
    changed = {
        schema.fingerprint: schema
        for name, schema in schemas.items()
        if numbers.schemas.get(name) != schema.fingerprint
    }
    ids, properties = registry.add_artifacts(
        connection,
        types,
        [
            *(_version_artifact(one, numbers, schemas[str(one.dataset)]) for one in staged),
            *(_schema_artifact(schema) for schema in changed.values()),
            *(_source(source) for source in what.sources),
        ],
        numbers.now,
    )
    versions = tuple(_version(one, numbers, ids, what, schemas[str(one.dataset)]) for one in staged)
    execution_id = what.execution.execution_id
    _index(connection, numbers, {name: schema for name, schema in schemas.items() if schema.fingerprint in changed})
    with trips.together(connection):
        registry.insert_absent(connection, s.artifact_property, properties)
        _describe(connection, {f: ids[registry.SCHEMA, f] for f in changed}, changed)
        _insert_versions(connection, numbers, staged, versions, what)
        _relate(connection, numbers, versions, ids, what)
        written = {str(v.dataset): v.artifact_id for v in versions}
        dataset_edges.insert(connection, execution_id, written, _went(ids, what.sources))
        _edges(connection, execution_id, written, what.edges)
        _positions(connection, execution_id, what.positions, numbers.now)
        _files(connection, execution_id, what.files)
        _properties(connection, execution_id, what)
        set_state(connection, execution_id, MlmdState.COMPLETE, numbers.now)
    return versions


@dataclass(frozen=True, slots=True)
class _Schema:
    fingerprint: str
    columns: tuple[ColumnInfo, ...]


def _schema(one: Written) -> _Schema:
    if isinstance(one, ReplayedTable):
        return _Schema(fingerprint(one.columns), one.columns)
    columns = tuple(
        ColumnInfo(f.name, str(f.field_type), f.field_id, f.required, f.doc) for f in one.state.schema.fields
    )
    return _Schema(fingerprint(columns), columns)


def _schema_artifact(schema: _Schema) -> NewArtifact:
    return NewArtifact(registry.SCHEMA, schema.fingerprint, None, {"columns": _json(_plain(schema.columns))})


def _describe(connection: sa.Connection, artifacts: Mapping[str, int], schemas: Mapping[str, _Schema]) -> None:
    """Keep the columns of these schemas, where no other table had the same before."""
    fingerprints = sorted(schemas)
    registry.insert_absent(
        connection, s.lake_schema, [{"fingerprint": f, "artifact_id": artifacts[f]} for f in fingerprints]
    )
    described = [
        {"fingerprint": f, "ordinal": n, "name": c.name, "type": c.type, "field_id": c.field_id,
         "required": c.required, "doc": c.doc}
        for f in fingerprints
        for n, c in enumerate(schemas[f].columns)
    ]  # fmt: skip
    registry.insert_absent(connection, s.schema_column, described)


def _index(connection: sa.Connection, numbers: Numbers, schemas: Mapping[str, _Schema]) -> None:
    """Let new datasets, and those whose columns have changed, be found."""
    for name, schema in schemas.items():
        if name not in numbers.latest:
            search_index.add_dataset(connection, numbers.datasets[name], name, schema.columns)
        elif numbers.schemas.get(name) != schema.fingerprint:
            search_index.keep_dataset(connection, numbers.datasets[name], name, schema.columns)


def _plain(columns: Sequence[ColumnInfo]) -> list[Json]:
    return [
        {"name": c.name, "type": c.type, "field_id": c.field_id, "required": c.required, "doc": c.doc} for c in columns
    ]


def fingerprint(columns: Sequence[ColumnInfo]) -> str:
    """SHA-256 of the columns as canonical JSON; equal columns in equal order give equal fingerprints."""
    return hashlib.sha256(_json(_plain(columns)).encode()).hexdigest()


def _version_artifact(one: Written, numbers: Numbers, schema: _Schema) -> NewArtifact:
    name = str(one.dataset)
    number = numbers.latest.get(name, 0) + 1
    return NewArtifact(
        registry.TABLE_VERSION,
        f"{name}@v{number}",
        one.metadata_location,
        {
            "dataset": name, "version": number, "snapshot_id": one.snapshot_id, "operation": str(one.operation),
            "rows": one.totals.rows, "added_rows": one.totals.added_rows, "removed_rows": one.totals.removed_rows,
            "files": one.totals.files, "bytes": one.totals.bytes, "schema": schema.fingerprint,
        },
    )  # fmt: skip


def _version(
    one: Written, numbers: Numbers, ids: Mapping[tuple[str, str], int], what: Record, schema: _Schema
) -> Version:
    number = numbers.latest.get(str(one.dataset), 0) + 1
    return Version(
        dataset=one.dataset,
        version=number,
        snapshot_id=one.snapshot_id,
        metadata_location=one.metadata_location,
        artifact_id=ids[registry.TABLE_VERSION, f"{one.dataset}@v{number}"],
        execution_id=what.execution.execution_id,
        committed_at=moment(one.timestamp_ms),
        operation=str(one.operation),
        rows=one.totals.rows,
        added_rows=one.totals.added_rows,
        removed_rows=one.totals.removed_rows,
        files=one.totals.files,
        bytes=one.totals.bytes,
        schema_fingerprint=schema.fingerprint,
    )


def _insert_versions(
    connection: sa.Connection,
    numbers: Numbers,
    staged: Sequence[Written],
    versions: Sequence[Version],
    what: Record,
) -> None:
    rows = [
        {
            "dataset_id": numbers.datasets[str(version.dataset)],
            "version": version.version,
            "snapshot_id": version.snapshot_id,
            "artifact_id": version.artifact_id,
            "execution_id": version.execution_id,
            "metadata_location": version.metadata_location,
            "committed_ms": one.timestamp_ms,
            "operation": version.operation,
            "whole": str(version.dataset) in what.whole or one.base_location is None,
            "total_rows": version.rows,
            "added_rows": version.added_rows,
            "removed_rows": version.removed_rows,
            "total_files": version.files,
            "total_bytes": version.bytes,
            "fingerprint": version.schema_fingerprint,
            "expired": version.expired,
        }
        for one, version in zip(staged, versions, strict=True)
    ]
    if rows:
        connection.execute(sa.insert(s.version), rows)
    for one in staged:
        if one.expired_snapshot_ids:
            _expire(connection, numbers.datasets[str(one.dataset)], one.expired_snapshot_ids, numbers.now)


def _relate(
    connection: sa.Connection,
    numbers: Numbers,
    versions: Sequence[Version],
    ids: Mapping[tuple[str, str], int],
    what: Record,
) -> None:
    """Events of what was read and written; attributions of versions and new schemas to their contexts."""
    events = [NewEvent(key, EventType.INPUT, "source") for (kind, _), key in ids.items() if kind == registry.SOURCE]
    events += [NewEvent(v.artifact_id, EventType.OUTPUT, str(v.dataset)) for v in versions]
    registry.insert_events(connection, what.execution.execution_id, events, numbers.now)
    pairs = []
    for version in versions:
        dataset = numbers.datasets[str(version.dataset)]
        pairs += [(dataset, version.artifact_id), (numbers.job, version.artifact_id)]
        schema = ids.get((registry.SCHEMA, version.schema_fingerprint))
        if schema is not None:
            pairs.append((dataset, schema))
    registry.insert_attributions(connection, pairs)


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
    properties: dict[str, Json] = {**source.properties, "rows": source.rows, "bytes": source.bytes}
    return NewArtifact(registry.SOURCE, _source_name(source), source.uri, properties)


def _source_name(source: SourceRead) -> str:
    return uri_hash(_json([source.uri, source.bytes, dict(source.properties)]))


def _went(ids: Mapping[tuple[str, str], int], sources: Sequence[SourceRead]) -> dict[int, set[str]]:
    """By artifact the datasets that a source went to, where it did not go to all. Several streams may read one file."""
    named = [source for source in sources if source.datasets is not None]
    if not named:
        return {}
    everywhere = {ids[registry.SOURCE, _source_name(source)] for source in sources if source.datasets is None}
    found: dict[int, set[str]] = {}
    for source in named:
        found.setdefault(ids[registry.SOURCE, _source_name(source)], set()).update(source.datasets or ())
    return {key: datasets for key, datasets in found.items() if key not in everywhere}


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
        connection.execute(sa.insert(s.column_edge).inline(), rows)


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
    declared = registry.TYPES[what.execution.start.type.value, TypeKind.EXECUTION].keys()
    rows = registry.property_rows("execution_id", execution_id, what.properties, declared)
    registry.upsert(connection, s.execution_property, rows)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
