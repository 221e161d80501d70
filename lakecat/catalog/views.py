"""The catalog's views for SQL: their names, columns, types and meanings.

They are a promise (docs/catalog-sql.md is made of this module): names and types stay, columns are only added. The
tables behind them may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store.values import INPUT_EVENTS, OUTPUT_EVENTS, ArtifactState, EventType, ExecutionState
from lakecat.catalog.view import MICRO, Join, View, ViewColumn, ViewType
from lakecat.types import EdgeKind


def _text(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    return ViewColumn(name, ViewType.TEXT, doc, value, **more)


def _int(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    return ViewColumn(name, ViewType.INTEGER, doc, value, **more)


def _double(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    return ViewColumn(name, ViewType.DOUBLE, doc, value, plain=False, **more)


def _flag(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    return ViewColumn(name, ViewType.BOOLEAN, doc, value, **more)


def _time(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    return ViewColumn(name, ViewType.TIMESTAMP, doc, value, **more)


def _names(enum: type[ArtifactState | ExecutionState | EventType], value: sa.ColumnElement[Any]) -> dict[str, Any]:
    """A number of one of MLMD's enumerations as its name."""
    known = {int(member): member.name for member in enum}
    return {"value": value, "decode": lambda number: known.get(number, str(number))}


def _type_id(name: str) -> sa.ScalarSelect[Any]:
    return (
        sa.select(sa.func.min(s.type_.c.id))
        .where(s.type_.c.name == name, s.type_.c.version.is_(None))
        .scalar_subquery()
    )


def _property(table: sa.Table, owner: sa.ColumnElement[Any], name: str, kind: str = "string") -> sa.ColumnElement[Any]:
    """One property of a node, looked up by its key."""
    key = next(iter(table.primary_key.columns))
    one = table.alias()
    value = one.c[f"{kind}_value"]
    return sa.select(sa.func.max(value)).where(one.c[key.name] == owner, one.c.name == name).scalar_subquery()


def _of_type(artifact: sa.FromClause, type_name: str) -> sa.ColumnElement[bool]:
    return artifact.c.type_id == _type_id(type_name)


_DATASET: Final = Join(s.context, s.context.c.id == s.version.c.dataset_id)


def _datasets() -> View:
    version, context = s.version, s.context
    newest, first = version.alias("newest"), version.alias("first")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == context.c.id).scalar_subquery()
    created = (
        sa.select(first.c.committed_ms)
        .where(first.c.dataset_id == context.c.id)
        .order_by(first.c.version)
        .limit(1)
        .scalar_subquery()
    )
    width = sa.select(sa.func.count()).where(s.schema_column.c.fingerprint == version.c.fingerprint).scalar_subquery()
    return View(
        "datasets",
        "Each dataset with its newest version.",
        (
            _text("dataset", context.c.name, "its name, `namespace.name`"),
            _text("namespace", context.c.name, "the name's first part", decode=lambda name: name.partition(".")[0]),
            _text("name", context.c.name, "the name's second part", decode=lambda name: name.partition(".")[2]),
            _int("context_id", context.c.id, "its context in the metadata store", ),
            _int("version", version.c.version, "number of the newest version"),
            _int("artifact_id", version.c.artifact_id, "the newest version's artifact"),
            _int("execution_id", version.c.execution_id, "the execution that made the newest version"),
            _int("snapshot_id", version.c.snapshot_id, "the newest version's Iceberg snapshot"),
            _time("created_at", created, "when its first version was committed"),
            _time("committed_at", version.c.committed_ms, "when its newest version was committed"),
            _int("rows", version.c.total_rows, "rows"),
            _int("files", version.c.total_files, "data files"),
            _int("bytes", version.c.total_bytes, "bytes of the data files"),
            _int("column_count", width, "columns"),
            _text("schema_fingerprint", version.c.fingerprint, "SHA-256 of the columns"),
            _text("metadata_location", version.c.metadata_location, "where the Iceberg metadata lies"),
        ),
        context,
        {"version": Join(version, sa.and_(version.c.dataset_id == context.c.id, version.c.version == top))},
        where=context.c.type_id == _type_id(registry.DATASET),
        always=("version",),
    )  # fmt: skip


def _versions() -> View:
    version = s.version
    return View(
        "versions",
        "Each version of each dataset, expired ones too.",
        (
            _text("dataset", s.context.c.name, "the dataset", joins=("dataset",)),
            _int("version", version.c.version, "number, from 1 on"),
            _int("snapshot_id", version.c.snapshot_id, "the Iceberg snapshot"),
            _int("artifact_id", version.c.artifact_id, "its artifact in the metadata store"),
            _int("execution_id", version.c.execution_id, "the execution that made it"),
            _time("committed_at", version.c.committed_ms, "when it was committed", ordered=True),
            _text("operation", version.c.operation, "Iceberg's: `append`, `overwrite`, `delete`, `replace`"),
            _flag("whole", version.c.whole, "whether its whole content was written by its execution"),
            _int("rows", version.c.total_rows, "rows in it"),
            _int("added_rows", version.c.added_rows, "rows that its commit added"),
            _int("removed_rows", version.c.removed_rows, "rows that its commit removed"),
            _int("files", version.c.total_files, "data files in it"),
            _int("bytes", version.c.total_bytes, "bytes of these files"),
            _text("schema_fingerprint", version.c.fingerprint, "SHA-256 of the columns"),
            _text("metadata_location", version.c.metadata_location, "where its Iceberg metadata lies"),
            _flag("expired", version.c.expired, "whether its rows are gone by retention"),
            _time("expired_at", version.c.expired_ms, "when they went"),
            _time("collected_at", version.c.collected_ms, "when `lakecat gc` removed its files"),
        ),
        version,
        {"dataset": _DATASET},
    )


def _column_views() -> tuple[View, View]:
    version, column = s.version, s.schema_column
    described = Join(column, column.c.fingerprint == version.c.fingerprint)
    newest = version.alias("newest")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == version.c.dataset_id)
    columns = (
        _text("dataset", s.context.c.name, "the dataset", joins=("dataset",)),
        _int("version", version.c.version, "the version"),
        _int("position", column.c.ordinal, "place among the columns, from 0 on"),
        _text("name", column.c.name, "its name"),
        _text("type", column.c.type, "its type in Iceberg's notation"),
        _int("field_id", column.c.field_id, "Iceberg's field id: the same column keeps it under any name"),
        _flag("required", column.c.required, "whether it cannot be NULL"),
        _text("doc", column.c.doc, "its description in the table's schema"),
    )
    joins = {"dataset": _DATASET, "column": described}
    return (
        View(
            "columns",
            "The columns of each dataset's newest version.",
            columns,
            version,
            joins,
            where=version.c.version == top.scalar_subquery(),
            always=("column",),
        ),
        View(
            "version_columns",
            "The columns of every version.",
            columns,
            version,
            joins,
            always=("column",),
        ),
    )


def _executions() -> View:
    execution = s.lake_execution

    def told(name: str, kind: str = "string") -> sa.ColumnElement[Any]:
        return _property(s.execution_property, execution.c.execution_id, name, kind)

    seconds = (execution.c.finished_ms - execution.c.started_ms) / sa.literal(1000.0, sa.Double())
    return View(
        "executions",
        "Each execution of lakecat: ingests, transforms, maintenance, commits of others.",
        (
            _int("execution_id", execution.c.execution_id, "its id, also in the metadata store", ordered=True),
            _text("uuid", execution.c.uuid, "its UUID, which files and snapshots carry"),
            _text(
                "type",
                execution.c.type,
                "`lakecat.Ingest`, `lakecat.Transform`, `lakecat.Maintenance` or `lakecat.External`",
            ),
            _text("job", execution.c.job, "the job or script"),
            _text("state", execution.c.state, "`RUNNING`, `COMPLETE`, `FAILED` or `CANCELED`"),
            _time("started_at", execution.c.started_ms, "when it began", ordered=True),
            _time("finished_at", execution.c.finished_ms, "when it ended"),
            _double("seconds", seconds, "how long it took"),
            _text("error", execution.c.error, "why it failed"),
            _text("run_key", execution.c.run_key, "names the piece of work; it completes once"),
            _text("lease", execution.c.lease_resource, "the lease under which it ran"),
            _text("host", told("host"), "the computer it ran on"),
            _int("process", told("pid", "int"), "its process id there"),
            _text("user_name", told("user"), "who ran it"),
            _text("command", told("command"), "program and first argument"),
            _text("git_commit", told("git_commit"), "the project's commit; `-dirty` behind it if files had changed"),
            _int("rows_read", told("rows_read", "int"), "rows of the sources it read"),
            _int("bytes_read", told("bytes_read", "int"), "bytes of the sources it read"),
            _int("rows_written", told("rows_written", "int"), "rows in the files it wrote"),
            _int("bytes_written", told("bytes_written", "int"), "bytes of the files it wrote"),
            _int("files_written", told("files_written", "int"), "data files it wrote"),
        ),
        execution,
    )


def _event_view(name: str, doc: str, kinds: frozenset[EventType]) -> View:
    event, path = s.event, s.event_path
    first = path.alias("role")
    role = (
        sa.select(sa.func.min(first.c.step_key))
        .where(first.c.event_id == event.c.id, sa.not_(first.c.is_index_step))
        .scalar_subquery()
    )
    joins = {
        "artifact": Join(s.artifact, s.artifact.c.id == event.c.artifact_id),
        "type": Join(s.type_, s.type_.c.id == s.artifact.c.type_id, after=("artifact",)),
        "version": Join(s.version, s.version.c.artifact_id == event.c.artifact_id, outer=True),
        "dataset": Join(s.context, s.context.c.id == s.version.c.dataset_id, outer=True, after=("version",)),
    }
    return View(
        name,
        doc,
        (
            _int("execution_id", event.c.execution_id, "the execution"),
            _int("artifact_id", event.c.artifact_id, "the artifact"),
            _text("type", s.type_.c.name, "the artifact's type, as `lakecat.Source`", joins=("type",)),
            _text("dataset", s.context.c.name, "of a version: its dataset", joins=("dataset",)),
            _int("version", s.version.c.version, "of a version: its number", joins=("version",)),
            _text("uri", s.artifact.c.uri, "the artifact's URI: file, script or metadata", joins=("artifact",)),
            _text("role", role, "the event's path: `source`, `script` or the dataset"),
            _time("at", event.c.milliseconds_since_epoch, "when it was recorded"),
        ),
        event,
        joins,
        where=event.c.type.in_(sorted(int(kind) for kind in kinds)),
    )


def _sources() -> tuple[View, View, View, View]:
    artifact, file, position = s.artifact, s.loaded_file, s.position

    def told(name: str, kind: str = "string") -> sa.ColumnElement[Any]:
        return _property(s.artifact_property, artifact.c.id, name, kind)

    return (
        View(
            "sources",
            "Each state of each file or table that a connector read.",
            (
                _int("artifact_id", artifact.c.id, "its artifact in the metadata store", ordered=True),
                _text("uri", artifact.c.uri, "what was read"),
                _int("rows", told("rows", "int"), "rows"),
                _int("bytes", told("bytes", "int"), "bytes"),
                _time("first_read_at", artifact.c.create_time_since_epoch, "when it was read first"),
            ),
            artifact,
            where=_of_type(artifact, registry.SOURCE),
        ),
        View(
            "files",
            "The ledger: which state of which file each stream has loaded.",
            (
                _text("stream", file.c.stream, "the stream: the ingest job, and what it reads"),
                _text("uri", file.c.uri, "the file"),
                _int("size", file.c.size, "bytes"),
                _text("etag", file.c.etag, "the store's entity tag"),
                _time("modified_at", file.c.mtime_us, "when the file was changed last", per_second=MICRO),
                _int("rows", file.c.loaded_rows, "rows loaded from it"),
                _text("sha256", file.c.sha256, "SHA-256 of its bytes"),
                _int("execution_id", file.c.execution_id, "the execution that loaded it last"),
            ),
            file,
        ),
        View(
            "positions",
            "How far each stream has been committed.",
            (
                _text("stream", position.c.stream, "the stream"),
                _text("value", position.c.value, "the position, a JSON object"),
                _int("execution_id", position.c.execution_id, "the execution that moved it there"),
                _time("updated_at", position.c.updated_ms, "when"),
            ),
            position,
        ),
        View(
            "scripts",
            "Each text of each transform script that ran.",
            (
                _int("artifact_id", artifact.c.id, "its artifact in the metadata store", ordered=True),
                _text("path", artifact.c.uri, "the file, relative to the project"),
                _text("dialect", told("dialect"), "its SQL dialect"),
                _text("sha256", told("sha256"), "SHA-256 of the text"),
                _text("text", told("text"), "the text"),
                _time("first_run_at", artifact.c.create_time_since_epoch, "when it ran first"),
            ),
            artifact,
            where=_of_type(artifact, registry.SCRIPT),
        ),
    )


def _column_lineage() -> View:
    edge, version = s.column_edge, s.version
    later = version.alias("later")
    current = sa.not_(
        sa.exists().where(
            later.c.dataset_id == version.c.dataset_id, later.c.version > version.c.version, later.c.whole
        )
    )
    direct = [kind.value for kind in EdgeKind if kind.direct]
    return View(
        "column_lineage",
        "Each step from an input column to an output column.",
        (
            _int("execution_id", edge.c.execution_id, "the execution that took the step"),
            _text("output_dataset", edge.c.output_dataset, "the dataset written"),
            _int("output_version", version.c.version, "its version", joins=("version",)),
            _text("output_column", edge.c.output_column, "its column; NULL: all columns (a filter, a join, …)"),
            _text("input_dataset", edge.c.input_dataset, "the dataset or source URI read; NULL: not resolved"),
            _text("input_column", edge.c.input_column, "its column"),
            _text("kind", edge.c.kind, "as in [column lineage](lineage.md#kinds): `IDENTITY`, `FILTER`, …"),
            _flag("direct", edge.c.kind.in_(direct), "whether the value itself flows, not only its influence"),
            _text("expression", edge.c.expression, "the SQL that made it, or why it is not resolved"),
            _int("line", edge.c.line, "line of the script"),
            _flag("masked", edge.c.masked, "whether the value cannot be read back (a hash, a count)"),
            _flag("current", current, "whether the output was not written whole again since", joins=("version",)),
        ),
        edge,
        {"version": Join(version, version.c.artifact_id == edge.c.output_artifact_id, outer=True)},
    )


def _leases() -> View:
    lease = s.lease
    return View(
        "leases",
        "Who works on what.",
        (
            _text("resource", lease.c.resource, "what is worked on"),
            _int("fence", lease.c.fence, "grows with every holder"),
            _flag("held", lease.c.held, "whether it has not been given back"),
            _text("host", lease.c.host, "the holder's computer"),
            _int("process", lease.c.pid, "its process id there"),
            _text("user_name", lease.c.user_name, "who it is"),
            _text("command", lease.c.command, "program and first argument"),
            _time("acquired_at", lease.c.acquired_ms, "when it was taken"),
            _time("renewed_at", lease.c.heartbeat_ms, "its last heartbeat"),
            _time("expires_at", lease.c.expires_ms, "when anybody may take it over"),
        ),
        lease,
    )


def _store_views() -> tuple[View, ...]:
    artifact, execution, context, event = s.artifact, s.execution, s.context, s.event
    return (
        _node_view(
            "artifacts",
            "Every artifact of the metadata store: versions, schemas, sources, scripts, and those of others.",
            artifact,
            (
                _text("uri", artifact.c.uri, "where it is"),
                _text("state", doc="`LIVE`, `PENDING`, `DELETED`, …", **_names(ArtifactState, artifact.c.state)),
            ),
        ),
        _node_view(
            "store_executions",
            "Every execution of the metadata store, those of other programs too.",
            execution,
            (
                _text(
                    "state",
                    doc="`NEW`, `RUNNING`, `COMPLETE`, `FAILED`, `CACHED` or `CANCELED`",
                    **_names(ExecutionState, execution.c.last_known_state),
                ),
            ),
        ),
        _node_view("contexts", "Every context of the metadata store: datasets, jobs, projects, …", context, ()),
        View(
            "events",
            "Every event of the metadata store: an execution read or wrote an artifact.",
            (
                _int("event_id", event.c.id, "its id", ordered=True),
                _int("execution_id", event.c.execution_id, "the execution"),
                _int("artifact_id", event.c.artifact_id, "the artifact"),
                _text("type", doc="`INPUT`, `OUTPUT`, `DECLARED_INPUT`, …", **_names(EventType, event.c.type)),
                _time("at", event.c.milliseconds_since_epoch, "when"),
            ),
            event,
        ),
        _pairs("attributions", "Which artifacts belong to which contexts.", s.attribution, ("context", "artifact")),
        _pairs("associations", "Which executions belong to which contexts.", s.association, ("context", "execution")),
        _pairs("parent_contexts", "Which contexts lie within which.", s.parent_context, ("context", "parent_context")),
        *(_properties(kind, table) for kind, table in _PROPERTIES),
    )


_PROPERTIES: Final = (
    ("artifact", s.artifact_property),
    ("execution", s.execution_property),
    ("context", s.context_property),
)


def _node_view(name: str, doc: str, table: sa.Table, more: tuple[ViewColumn, ...]) -> View:
    kind = table.name.lower()
    return View(
        name,
        doc,
        (
            _int(f"{kind}_id", table.c.id, "its id", ordered=True),
            _text("type", s.type_.c.name, "name of its type, as `lakecat.TableVersion`", joins=("type",)),
            _text("type_version", s.type_.c.version, "version of its type", joins=("type",)),
            _text("name", table.c.name, "its name, unique within its type"),
            *more,
            _text("external_id", table.c.external_id, "its id in another program"),
            _time("created_at", table.c.create_time_since_epoch, "when it was put first"),
            _time("updated_at", table.c.last_update_time_since_epoch, "when it was put last"),
        ),
        table,
        {"type": Join(s.type_, s.type_.c.id == table.c.type_id)},
    )


def _pairs(name: str, doc: str, table: sa.Table, kinds: tuple[str, str]) -> View:
    return View(
        name, doc, tuple(_int(f"{k}_id", table.c[f"{k}_id"], f"the {k.replace('_', ' ')}") for k in kinds), table
    )


def _properties(kind: str, table: sa.Table) -> View:
    text, number = table.c.string_value, table.c.double_value
    return View(
        f"{kind}_properties",
        f"The properties of {kind}s. One of the values is set.",
        (
            _int(f"{kind}_id", table.c[f"{kind}_id"], f"the {kind}"),
            _text("name", table.c.name, "the property's name"),
            _flag("custom", table.c.is_custom_property, "whether it is not of the type, but of this one alone"),
            _text("text_value", text, "text; lists and objects as JSON"),
            _int("int_value", table.c.int_value, "an integer"),
            _double("double_value", number, "a double"),
            _flag("bool_value", table.c.bool_value, "true or false"),
        ),
        table,
    )


def _all() -> dict[str, View]:
    views = (
        _datasets(),
        _versions(),
        *_column_views(),
        _executions(),
        _event_view("execution_inputs", "What each execution read.", INPUT_EVENTS),
        _event_view("execution_outputs", "What each execution wrote.", OUTPUT_EVENTS),
        *_sources(),
        _column_lineage(),
        _leases(),
        *_store_views(),
    )
    return {view.name: view for view in views}


VIEWS: Final[Mapping[str, View]] = _all()
"""The views by name, in the order of the documentation."""
