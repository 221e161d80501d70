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
from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS, EventType
from lakecat.catalog.view import (
    MICRO,
    Join,
    View,
    double_column,
    flag_column,
    hashed,
    integer_column,
    named_by,
    text_column,
    time_column,
    type_id,
)
from lakecat.catalog.views_annotations import annotation_views
from lakecat.catalog.views_lineage import lineage_views
from lakecat.catalog.views_store import store_views


def _property(table: sa.Table, owner: sa.ColumnElement[Any], name: str, kind: str = "string") -> sa.ColumnElement[Any]:
    """One property of a node, looked up by its key."""
    key = next(iter(table.primary_key.columns))
    one = table.alias()
    value = one.c[f"{kind}_value"]
    return sa.select(sa.func.max(value)).where(one.c[key.name] == owner, one.c.name == name).scalar_subquery()


def _of_type(artifact: sa.FromClause, type_name: str) -> sa.ColumnElement[bool]:
    return artifact.c.type_id == type_id(type_name)


_DATASET: Final = Join(s.context, s.context.c.id == s.version.c.dataset_id)
_NAMED: Final = named_by(s.version.c.dataset_id)


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
            text_column("dataset", context.c.name, "its name, `namespace.name`"),
            text_column(
                "namespace", context.c.name, "the first part of it", decode=lambda name: name.partition(".")[0]
            ),
            text_column("name", context.c.name, "the second part of it", decode=lambda name: name.partition(".")[2]),
            integer_column("context_id", context.c.id, "its context in the metadata store"),
            integer_column("version", version.c.version, "number of the newest version"),
            integer_column("artifact_id", version.c.artifact_id, "the newest version's artifact"),
            integer_column("execution_id", version.c.execution_id, "the execution that made the newest version"),
            integer_column("snapshot_id", version.c.snapshot_id, "the newest version's Iceberg snapshot"),
            time_column("created_at", created, "when its first version was committed"),
            time_column("committed_at", version.c.committed_ms, "when its newest version was committed"),
            integer_column("rows", version.c.total_rows, "rows"),
            integer_column("files", version.c.total_files, "data files"),
            integer_column("bytes", version.c.total_bytes, "bytes of the data files"),
            integer_column("column_count", width, "columns"),
            text_column("schema_fingerprint", version.c.fingerprint, "SHA-256 of the columns"),
            text_column("metadata_location", version.c.metadata_location, "where the Iceberg metadata lies"),
        ),
        context,
        {"version": Join(version, sa.and_(version.c.dataset_id == context.c.id, version.c.version == top))},
        where=context.c.type_id == type_id(registry.DATASET),
        always=("version",),
    )


def _versions() -> View:
    version = s.version
    return View(
        "versions",
        "Each version of each dataset, expired ones too.",
        (
            text_column("dataset", s.context.c.name, "the dataset", joins=("dataset",), implied=_NAMED),
            integer_column("version", version.c.version, "number, from 1 on"),
            integer_column("snapshot_id", version.c.snapshot_id, "the Iceberg snapshot"),
            integer_column("artifact_id", version.c.artifact_id, "its artifact in the metadata store"),
            integer_column("execution_id", version.c.execution_id, "the execution that made it"),
            time_column("committed_at", version.c.committed_ms, "when it was committed", ordered=True),
            text_column("operation", version.c.operation, "Iceberg's: `append`, `overwrite`, `delete`, `replace`"),
            flag_column("whole", version.c.whole, "whether its whole content was written by its execution"),
            integer_column("rows", version.c.total_rows, "rows in it"),
            integer_column("added_rows", version.c.added_rows, "rows that its commit added"),
            integer_column("removed_rows", version.c.removed_rows, "rows that its commit removed"),
            integer_column("files", version.c.total_files, "data files in it"),
            integer_column("bytes", version.c.total_bytes, "bytes of these files"),
            text_column("schema_fingerprint", version.c.fingerprint, "SHA-256 of the columns"),
            text_column("metadata_location", version.c.metadata_location, "where its Iceberg metadata lies"),
            flag_column("expired", version.c.expired, "whether its rows are gone by retention"),
            time_column("expired_at", version.c.expired_ms, "when they went"),
            time_column("collected_at", version.c.collected_ms, "when `lakecat gc` removed its files"),
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
        text_column("dataset", s.context.c.name, "the dataset", joins=("dataset",), implied=_NAMED),
        integer_column("version", version.c.version, "the version"),
        integer_column("position", column.c.ordinal, "place among the columns, from 0 on"),
        text_column("name", column.c.name, "its name"),
        text_column("type", column.c.type, "its type in Iceberg's notation"),
        integer_column("field_id", column.c.field_id, "Iceberg's field id: the same column keeps it under any name"),
        flag_column("required", column.c.required, "whether it cannot be NULL"),
        text_column("doc", column.c.doc, "its description in the table's schema"),
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
            integer_column(
                "execution_id", execution.c.execution_id, "its id, also in the metadata store", ordered=True
            ),
            text_column("uuid", execution.c.uuid, "its UUID, which files and snapshots carry"),
            text_column(
                "type",
                execution.c.type,
                "`lakecat.Ingest`, `lakecat.Transform`, `lakecat.Maintenance` or `lakecat.External`",
            ),
            text_column("job", execution.c.job, "the job or script"),
            text_column("state", execution.c.state, "`RUNNING`, `COMPLETE`, `FAILED` or `CANCELED`"),
            time_column("started_at", execution.c.started_ms, "when it began", ordered=True),
            time_column("finished_at", execution.c.finished_ms, "when it ended"),
            double_column("seconds", seconds, "how long it took"),
            text_column("error", execution.c.error, "why it failed"),
            text_column("run_key", execution.c.run_key, "names the piece of work; it completes once"),
            text_column("lease", execution.c.lease_resource, "the lease under which it ran"),
            text_column("host", told("host"), "the computer it ran on"),
            integer_column("process", told("pid", "int"), "its process id there"),
            text_column("user_name", told("user"), "who ran it"),
            text_column("command", told("command"), "program and first argument"),
            text_column(
                "git_commit", told("git_commit"), "the project's commit; `-dirty` behind it if files had changed"
            ),
            integer_column("rows_read", told("rows_read", "int"), "rows of the sources it read"),
            integer_column("bytes_read", told("bytes_read", "int"), "bytes of the sources it read"),
            integer_column("rows_written", told("rows_written", "int"), "rows in the files it wrote"),
            integer_column("bytes_written", told("bytes_written", "int"), "bytes of the files it wrote"),
            integer_column("files_written", told("files_written", "int"), "data files it wrote"),
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
            integer_column("execution_id", event.c.execution_id, "the execution"),
            integer_column("artifact_id", event.c.artifact_id, "the artifact"),
            text_column("type", s.type_.c.name, "the artifact's type, as `lakecat.Source`", joins=("type",)),
            text_column("dataset", s.context.c.name, "of a version: its dataset", joins=("dataset",), implied=_NAMED),
            integer_column("version", s.version.c.version, "of a version: its number", joins=("version",)),
            text_column("uri", s.artifact.c.uri, "the artifact's URI: file, script or metadata", joins=("artifact",)),
            text_column("role", role, "the event's path: `source`, `script` or the dataset"),
            time_column("at", event.c.milliseconds_since_epoch, "when it was recorded"),
        ),
        event,
        joins,
        where=event.c.type.in_(sorted(int(kind) for kind in kinds)),
    )


def _sources() -> tuple[View, View]:
    artifact = s.artifact

    def told(name: str, kind: str = "string") -> sa.ColumnElement[Any]:
        return _property(s.artifact_property, artifact.c.id, name, kind)

    return (
        View(
            "sources",
            "Each state of each file or table that a connector read.",
            (
                integer_column("artifact_id", artifact.c.id, "its artifact in the metadata store", ordered=True),
                text_column("uri", artifact.c.uri, "what was read"),
                integer_column("rows", told("rows", "int"), "rows"),
                integer_column("bytes", told("bytes", "int"), "bytes"),
                time_column("first_read_at", artifact.c.create_time_since_epoch, "when it was read first"),
            ),
            artifact,
            where=_of_type(artifact, registry.SOURCE),
        ),
        View(
            "scripts",
            "Each text of each transform script that ran.",
            (
                integer_column("artifact_id", artifact.c.id, "its artifact in the metadata store", ordered=True),
                text_column("path", artifact.c.uri, "the file, relative to the project"),
                text_column("dialect", told("dialect"), "its SQL dialect"),
                text_column("sha256", told("sha256"), "SHA-256 of the text"),
                text_column("text", told("text"), "the text"),
                time_column("first_run_at", artifact.c.create_time_since_epoch, "when it ran first"),
            ),
            artifact,
            where=_of_type(artifact, registry.SCRIPT),
        ),
    )


def _progress() -> tuple[View, View]:
    file, position = s.loaded_file, s.position
    return (
        View(
            "files",
            "The ledger: which state of which file each stream has loaded.",
            (
                text_column("stream", file.c.stream, "the stream: the ingest job, and what it reads"),
                text_column("uri", file.c.uri, "the file", implied=hashed(file.c.uri_hash)),
                integer_column("size", file.c.size, "bytes"),
                text_column("etag", file.c.etag, "the store's entity tag"),
                time_column("modified_at", file.c.mtime_us, "when the file was changed last", per_second=MICRO),
                integer_column("rows", file.c.loaded_rows, "rows loaded from it"),
                text_column("sha256", file.c.sha256, "SHA-256 of its bytes"),
                integer_column("execution_id", file.c.execution_id, "the execution that loaded it last"),
            ),
            file,
        ),
        View(
            "positions",
            "How far each stream has been committed.",
            (
                text_column("stream", position.c.stream, "the stream"),
                text_column("value", position.c.value, "the position, a JSON object"),
                integer_column("execution_id", position.c.execution_id, "the execution that moved it there"),
                time_column("updated_at", position.c.updated_ms, "when"),
            ),
            position,
        ),
    )


def _leases() -> View:
    lease = s.lease
    return View(
        "leases",
        "Who works on what.",
        (
            text_column("resource", lease.c.resource, "what is worked on"),
            integer_column("fence", lease.c.fence, "grows with every holder"),
            flag_column("held", lease.c.held, "whether it has not been given back"),
            text_column("host", lease.c.host, "the holder's computer"),
            integer_column("process", lease.c.pid, "its process id there"),
            text_column("user_name", lease.c.user_name, "who it is"),
            text_column("command", lease.c.command, "program and first argument"),
            time_column("acquired_at", lease.c.acquired_ms, "when it was taken"),
            time_column("renewed_at", lease.c.heartbeat_ms, "its last heartbeat"),
            time_column("expires_at", lease.c.expires_ms, "when anybody may take it over"),
        ),
        lease,
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
        *_progress(),
        *lineage_views(),
        _leases(),
        *annotation_views(),
        *store_views(),
    )
    return {view.name: view for view in views}


VIEWS: Final[Mapping[str, View]] = _all()
"""The views by name, in the order of the documentation."""
