"""Questions to the catalog that need no graph: datasets, versions, schemas, executions, positions, the ledger."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import EventType
from lakecat.catalog.leases import moment
from lakecat.catalog.reading import (
    VERSION_COLUMNS,
    dataset_id,
    dataset_type,
    execution_of,
    id_chunks,
    properties_of,
    version_of,
    versions_of_artifacts,
    versions_of_execution,
)
from lakecat.catalog.values import ColumnInfo, DatasetInfo, ExecutionDetail, ExecutionInfo, Script
from lakecat.errors import NotFoundError
from lakecat.types import (
    DatasetName,
    ExecutionState,
    ExecutionType,
    FileVersion,
    Json,
    Position,
    SourceRead,
    Version,
    VersionRef,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UUIDS: Final = ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""The first and the last one, in any order of letters and digits."""


def milliseconds(when: datetime) -> int:
    """A moment as the catalog keeps it, rounded down."""
    return int(when.timestamp() * 1000 // 1)


def uri_hash(uri: str) -> str:
    """Fixed-length key of a URI, which may be longer than an index allows."""
    return hashlib.sha256(uri.encode(errors="surrogatepass")).hexdigest()


def datasets(connection: sa.Connection, name: DatasetName | None = None) -> tuple[DatasetInfo, ...]:
    """Every dataset that has a version, in name order; or the one of this name.

    The newest and the first version of each are looked up by key: what it costs does not grow with the versions.
    """
    context, version = s.context, s.version
    newest, first = version.alias("newest"), version.alias("first")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == context.c.id).scalar_subquery()
    low = sa.select(sa.func.min(first.c.version)).where(first.c.dataset_id == context.c.id).scalar_subquery()
    oldest = version.alias("oldest")
    query = (
        sa.select(*VERSION_COLUMNS, oldest.c.committed_ms.label("first_ms"))
        .select_from(context)
        .join(version, sa.and_(version.c.dataset_id == context.c.id, version.c.version == top))
        .join(oldest, sa.and_(oldest.c.dataset_id == context.c.id, oldest.c.version == low))
        .where(context.c.type_id == dataset_type())
        .order_by(context.c.name)
    )
    if name is not None:
        query = query.where(context.c.name == str(name))
    found = []
    for row in connection.execute(query):
        latest = version_of(row)
        found.append(DatasetInfo(latest.dataset, latest, latest.version, moment(row.first_ms)))
    return tuple(found)


def last_runs(connection: sa.Connection) -> dict[DatasetName, ExecutionInfo]:
    """By dataset the newest execution that was to write it."""
    context, association, execution = s.context, s.association, s.lake_execution
    last = (
        sa.select(sa.func.max(association.c.execution_id))
        .where(association.c.context_id == context.c.id)
        .scalar_subquery()
    )
    rows = connection.execute(
        sa.select(context.c.name.label("dataset"), *execution.c)
        .select_from(context)
        .join(execution, execution.c.execution_id == last)
        .where(context.c.type_id == dataset_type())
    )
    return {DatasetName.parse(row.dataset): execution_of(row) for row in rows}


def dataset(connection: sa.Connection, name: DatasetName) -> DatasetInfo:
    """One dataset. Raises NotFoundError."""
    found = datasets(connection, name)
    if not found:
        raise _no_dataset(connection, name)
    return found[0]


def _newest_first(name: DatasetName, limit: int | None, *, by_number: bool = True) -> sa.Select[Any]:
    """One dataset's versions. From one table alone, and by its key, lest MariaDB sorts them all to find the newest."""
    query = (
        sa.select(sa.literal(str(name)).label("dataset"), *s.version.c)
        .where(s.version.c.dataset_id == dataset_id(str(name)))
        .order_by(s.version.c.version.desc())
        .limit(limit)
    )
    return query.with_hint(s.version, "FORCE INDEX (PRIMARY)", "mysql") if by_number else query


def resolve(connection: sa.Connection, ref: VersionRef) -> Version:
    """The version that a reference means. Raises NotFoundError."""
    query = _newest_first(ref.dataset, 1, by_number=ref.snapshot_id is None)
    if ref.version is not None:
        query = query.where(s.version.c.version == ref.version)
    elif ref.snapshot_id is not None:
        query = query.where(s.version.c.snapshot_id == ref.snapshot_id)
    elif ref.as_of is not None:
        query = query.where(s.version.c.committed_ms <= milliseconds(ref.as_of))
    elif ref.tag is not None:
        tagged = sa.select(s.tag.c.version).where(
            s.tag.c.dataset_id == dataset_id(str(ref.dataset)), s.tag.c.name == ref.tag
        )
        query = query.where(s.version.c.version == tagged.scalar_subquery())
    row = connection.execute(query).one_or_none()
    if row is not None:
        return version_of(row)
    latest = dataset(connection, ref.dataset).latest
    if ref.tag is not None:
        raise _no_tag(connection, ref)
    raise NotFoundError(
        f"{ref.dataset} has no version {str(ref).partition('@')[2]}",
        hint=f"its newest is v{latest.version} of {latest.committed_at.isoformat(timespec='seconds')}",
        next_command=f"lakecat show {ref.dataset}",
    )


def versions(
    connection: sa.Connection, name: DatasetName, limit: int | None, *, before: int | None = None
) -> tuple[Version, ...]:
    """The newest versions of a dataset, newest first. Raises NotFoundError."""
    query = _newest_first(name, limit)
    if before is not None:
        query = query.where(s.version.c.version < before)
    found = tuple(version_of(row) for row in connection.execute(query))
    if not found and before is None:
        raise _no_dataset(connection, name)
    return found


def columns(connection: sa.Connection, fingerprint: str) -> tuple[ColumnInfo, ...]:
    """The columns of a schema, in order."""
    table = s.schema_column
    rows = connection.execute(sa.select(table).where(table.c.fingerprint == fingerprint).order_by(table.c.ordinal))
    return tuple(ColumnInfo(r.name, r.type, r.field_id, bool(r.required), r.doc) for r in rows)


def metadata_location(connection: sa.Connection, name: DatasetName) -> str:
    """Where the table's current metadata lies. Raises NotFoundError."""
    table = s.iceberg_tables
    found = connection.execute(
        sa.select(table.c.metadata_location).where(
            table.c.catalog_name == s.ICEBERG_CATALOG,
            table.c.table_namespace == name.namespace,
            table.c.table_name == name.name,
        )
    ).scalar_one_or_none()
    if found is None:
        raise _no_dataset(connection, name)
    return str(found)


def executions(
    connection: sa.Connection,
    *,
    job: str | None = None,
    state: ExecutionState | None = None,
    type_: ExecutionType | None = None,
    dataset_name: DatasetName | None = None,
    since: datetime | None = None,
    limit: int | None = 50,
) -> tuple[ExecutionInfo, ...]:
    """Executions that fit every filter, newest first.

    Those since a time are in the order of when they began, by which an index has them: else all others would be read
    where few fit.
    """
    table = s.lake_execution
    order = [table.c.execution_id.desc()] if since is None else [table.c.started_ms.desc(), table.c.execution_id.desc()]
    query = sa.select(table).order_by(*order).limit(limit)
    if job is not None:
        query = query.where(table.c.job == job)
    if state is not None:
        query = query.where(table.c.state == state.value)
    if type_ is not None:
        query = query.where(table.c.type == type_.value)
    if since is not None:
        query = query.where(table.c.started_ms >= milliseconds(since))
    if dataset_name is not None:
        query = query.where(
            table.c.execution_id.in_(
                sa.select(s.association.c.execution_id)
                .join(s.context, s.context.c.id == s.association.c.context_id)
                .join(s.type_, s.type_.c.id == s.context.c.type_id)
                .where(s.type_.c.name == registry.DATASET, s.context.c.name == str(dataset_name))
            )
        )
    return tuple(execution_of(row) for row in connection.execute(query))


def execution(connection: sa.Connection, execution_id: int) -> ExecutionDetail:
    """One execution with what it read and wrote. Raises NotFoundError."""
    table = s.lake_execution
    row = connection.execute(sa.select(table).where(table.c.execution_id == execution_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no execution {execution_id}", next_command="lakecat status")
    properties = properties_of(connection, s.execution_property, [execution_id])[execution_id]
    inputs = connection.execute(
        sa.select(s.artifact.c.id, s.artifact.c.uri, s.type_.c.name.label("type"))
        .join(s.event, s.event.c.artifact_id == s.artifact.c.id)
        .join(s.type_, s.type_.c.id == s.artifact.c.type_id)
        .where(s.event.c.execution_id == execution_id, s.event.c.type == int(EventType.INPUT))
        .order_by(s.artifact.c.id)
    ).all()
    told = [i for i in inputs if i.type in (registry.SOURCE, registry.SCRIPT)]
    went = dataset_edges.datasets_of_inputs(connection, execution_id)
    known = properties_of(connection, s.artifact_property, (i.id for i in told))
    return ExecutionDetail(
        info=execution_of(row, properties),
        inputs=versions_of_artifacts(connection, (i.id for i in inputs if i.type == registry.TABLE_VERSION)),
        outputs=versions_of_execution(connection, execution_id),
        sources=tuple(_source(i.uri, known[i.id], went.get(i.id)) for i in told if i.type == registry.SOURCE),
        script=next((_script(i.uri, known[i.id]) for i in told if i.type == registry.SCRIPT), None),
    )


def find_executions(connection: sa.Connection, text: str) -> tuple[int, ...]:
    """The ids of executions with this id, or whose UUID begins so (8 characters at least); 2 at most."""
    table = s.lake_execution
    key = sa.select(table.c.execution_id).order_by(table.c.execution_id).limit(2)
    if text.isascii() and text.isdigit() and len(text) < 19:
        found = tuple(connection.execute(key.where(table.c.execution_id == int(text))).scalars())
        if found or len(text) < 8:
            return found
    if not re.fullmatch(r"[0-9a-f-]{8,36}", text.lower()):
        return ()
    # LIKE alone would read every UUID, as indexes know of no case (SQLite) or of the locale's (PostgreSQL).
    begin = text.lower()
    low, high = (begin + end[len(begin) :] for end in _UUIDS)
    named = key.where(table.c.uuid.between(low, high), table.c.uuid.startswith(begin))
    return tuple(connection.execute(named).scalars())


def other_execution(connection: sa.Connection, text: str) -> tuple[int, str] | None:
    """The id and type of an execution that another program recorded, by its id or its OpenLineage run's id."""
    node, kind = s.execution, s.type_
    query = sa.select(node.c.id, kind.c.name).join(kind, kind.c.id == node.c.type_id)
    if text.isascii() and text.isdigit() and len(text) < 19:
        query = query.where(node.c.id == int(text))
    else:
        query = query.where(
            kind.c.name == registry.OPENLINEAGE_RUN, kind.c.version.is_(None), node.c.name == text.lower()
        )
    found = connection.execute(query.limit(1)).first()
    return None if found is None else (found.id, found.name)


def executions_of(connection: sa.Connection, execution_ids: Iterable[int]) -> dict[int, ExecutionInfo]:
    """These executions by id, without their properties."""
    table = s.lake_execution
    found: dict[int, ExecutionInfo] = {}
    for part in id_chunks(execution_ids):
        rows = connection.execute(sa.select(table).where(table.c.execution_id.in_(part)))
        found.update((row.execution_id, execution_of(row)) for row in rows)
    return found


def scripts_of(connection: sa.Connection, execution_ids: Iterable[int]) -> dict[int, str]:
    """The paths of the scripts that these executions ran, by execution."""
    found: dict[int, str] = {}
    for part in id_chunks(execution_ids):
        rows = connection.execute(
            sa.select(s.event.c.execution_id, s.artifact.c.uri)
            .join(s.artifact, s.artifact.c.id == s.event.c.artifact_id)
            .join(s.type_, s.type_.c.id == s.artifact.c.type_id)
            .where(s.event.c.execution_id.in_(part), s.type_.c.name == registry.SCRIPT)
        )
        found.update((row.execution_id, row.uri) for row in rows)
    return found


def latest_execution(connection: sa.Connection, job: str, state: ExecutionState | None = None) -> ExecutionInfo | None:
    """The newest execution of a job, in this state where one is given."""
    found = executions(connection, job=job, state=state, limit=1)
    return found[0] if found else None


def position(connection: sa.Connection, stream: str) -> Position | None:
    """How far a stream has been committed."""
    text = connection.execute(sa.select(s.position.c.value).where(s.position.c.stream == stream)).scalar_one_or_none()
    return None if text is None else Position(json.loads(text))


def loaded(
    connection: sa.Connection, stream: str, files: Iterable[FileVersion], *, newest: bool = False
) -> frozenset[FileVersion]:
    """Those of the file versions that a commit of this stream holds already; ``newest``: that were loaded last."""
    by_hash: dict[str, list[FileVersion]] = {}
    for file in files:
        by_hash.setdefault(uri_hash(file.uri), []).append(file)
    table = s.loaded_file
    found: set[FileVersion] = set()
    for part in registry.chunks(by_hash):
        rows = connection.execute(
            sa.select(table.c.uri_hash, table.c.identity_hash, table.c.execution_id)
            .where(table.c.stream == stream, table.c.uri_hash.in_(part))
            .order_by(table.c.execution_id)
        )
        # Ascending by execution, so that the last one of each file stays where only that one counts.
        pairs = [(row.uri_hash, row.identity_hash) for row in rows]
        known = set(dict(pairs).items()) if newest else set(pairs)
        found.update(f for key in part for f in by_hash[key] if (key, uri_hash(f.identity)) in known)
    return frozenset(found)


def ledger(
    connection: sa.Connection, stream: str, after: str, limit: int
) -> tuple[tuple[FileVersion, ...], str | None]:
    """A page of the files whose hash is above ``after``, the newest version of each, and where the next page begins.

    Files that are gone are left out.
    """
    table = s.loaded_file
    rows = connection.execute(
        sa.select(table)
        .where(table.c.stream == stream, table.c.uri_hash > after)
        .order_by(table.c.uri_hash, table.c.execution_id.desc())
        .limit(limit)
    ).all()
    newest: dict[str, sa.Row[Any]] = {}
    for row in rows:
        newest.setdefault(row.uri_hash, row)
    files = (_file_version(row) for row in newest.values())
    end = rows[-1].uri_hash if len(rows) == limit else None
    return tuple(file for file in files if not file.is_gone), end


def _file_version(row: sa.Row[Any]) -> FileVersion:
    mtime = None if row.mtime_us is None else _EPOCH + timedelta(microseconds=row.mtime_us)
    return FileVersion(row.uri, row.size, row.etag, mtime)


def _source(uri: str, found: dict[str, Json], datasets: tuple[str, ...] | None) -> SourceRead:
    rows, size = found.pop("rows", 0), found.pop("bytes", None)
    return SourceRead(
        uri=uri,
        rows=rows if isinstance(rows, int) else 0,
        bytes=size if isinstance(size, int) else None,
        properties={k: v for k, v in found.items() if isinstance(v, str | int | float)},
        datasets=datasets,
    )


def _script(path: str, found: Mapping[str, Json]) -> Script:
    return Script(
        text=str(found.get("text", "")),
        sha256=str(found.get("sha256", "")),
        path=path,
        dialect=str(found.get("dialect", "")),
    )


def _no_tag(connection: sa.Connection, ref: VersionRef) -> NotFoundError:
    query = sa.select(s.tag.c.name).where(s.tag.c.dataset_id == dataset_id(str(ref.dataset))).order_by(s.tag.c.name)
    names = [str(name) for name in connection.execute(query).scalars()]
    return NotFoundError(
        f"{ref.dataset} has no tag {ref.tag!r}",
        hint=f"its tags: {', '.join(names)}" if names else "no version of it is tagged",
        next_command=f"lakecat tag list {ref.dataset}",
    )


def _no_dataset(connection: sa.Connection, name: DatasetName) -> NotFoundError:
    known = [str(info.name) for info in datasets(connection)]
    by_table = {other.partition(".")[2]: other for other in known}
    close = difflib.get_close_matches(str(name), known, n=3) or [
        by_table[match] for match in difflib.get_close_matches(name.name, by_table, n=3)
    ]
    hint = f"did you mean {', '.join(close)}?" if close else "no dataset has a name like it"
    return NotFoundError(f"there is no dataset {name}", hint=hint, next_command="lakecat ls")
