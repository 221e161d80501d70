"""What could be wrong in a catalog, asked in a handful of statements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog import search_index
from lakecat.catalog.database import now_ms
from lakecat.catalog.enums import EventType
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.values import Problem
from lakecat.types import ExecutionState


def check(connection: sa.Connection) -> tuple[Problem, ...]:
    """Everything found, errors before warnings."""
    found = [
        *_file(connection),
        *_pointers(connection),
        *_versions(connection),
        *_executions(connection),
        *_dataset_edges(connection),
        *_stale(connection),
        *_search(connection),
    ]
    return tuple(sorted(found, key=lambda p: p.warning))


def _file(connection: sa.Connection) -> Iterator[Problem]:
    if connection.dialect.name != "sqlite":
        return
    for row in connection.exec_driver_sql("PRAGMA quick_check(10)"):
        if row[0] != "ok":
            yield Problem("catalog.damaged", f"SQLite finds the database file damaged: {row[0]}")
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield Problem("catalog.reference", f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there")


def _pointers(connection: sa.Connection) -> Iterator[Problem]:
    """The table's pointer is its newest version's metadata, or that of a tag that was moved since."""
    newest = (
        sa.select(s.version.c.dataset_id, sa.func.max(s.version.c.version).label("version"))
        .group_by(s.version.c.dataset_id)
        .subquery()
    )
    recorded = {
        row.name: row.metadata_location
        for row in connection.execute(
            sa.select(s.context.c.name, s.version.c.metadata_location)
            .join(s.version, s.version.c.dataset_id == s.context.c.id)
            .join(
                newest,
                sa.and_(newest.c.dataset_id == s.version.c.dataset_id, newest.c.version == s.version.c.version),
            )
        )
    }
    table = s.iceberg_tables
    pointers = {
        f"{row.table_namespace}.{row.table_name}": row.metadata_location
        for row in connection.execute(sa.select(table).where(table.c.catalog_name == s.ICEBERG_CATALOG))
    }
    tagged = _tagged(connection)
    for name in sorted(recorded.keys() | pointers.keys()):
        if recorded.get(name) != pointers.get(name) and tagged.get(name) != pointers.get(name):
            yield Problem(
                "pointer.unexplained",
                f"{name}: the pointer is {pointers.get(name)}, its newest recorded version is {recorded.get(name)}",
            )


def _tagged(connection: sa.Connection) -> dict[str, str]:
    """The metadata that the last move of a tag has published, of datasets that had no commit since."""
    change, version = s.tag_change, s.version
    last = sa.select(sa.func.max(change.c.id)).group_by(change.c.dataset_id)
    top = sa.select(sa.func.max(version.c.version)).where(version.c.dataset_id == change.c.dataset_id)
    rows = connection.execute(
        sa.select(s.context.c.name, change.c.metadata_location)
        .join(change, change.c.dataset_id == s.context.c.id)
        .where(change.c.id.in_(last), change.c.newest_version == top.scalar_subquery())
    )
    return {row.name: row.metadata_location for row in rows}


def _search(connection: sa.Connection) -> Iterator[Problem]:
    """The search index says what it is made from."""
    names = search_index.differences(connection)
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        yield Problem(
            "search.drift",
            f"{len(names)} entries of the search index are not what they should be: {shown};"
            " `lakecat catalog reindex` makes it anew",
            warning=True,
        )


def _versions(connection: sa.Connection) -> Iterator[Problem]:
    """Every version has a COMPLETE execution and its OUTPUT event; numbers run from 1 without gaps."""
    output = sa.exists().where(
        s.event.c.artifact_id == s.version.c.artifact_id,
        s.event.c.execution_id == s.version.c.execution_id,
        s.event.c.type == int(EventType.OUTPUT),
    )
    complete = sa.exists().where(
        s.lake_execution.c.execution_id == s.version.c.execution_id,
        s.lake_execution.c.state == ExecutionState.COMPLETE.value,
    )
    rows = connection.execute(
        sa.select(s.context.c.name, s.version.c.version)
        .join(s.version, s.version.c.dataset_id == s.context.c.id)
        .where(sa.or_(sa.not_(output), sa.not_(complete)))
    )
    for row in rows:
        yield Problem("version.unexplained", f"{row.name}@v{row.version} has no completed execution that wrote it")
    counts = connection.execute(
        sa.select(s.context.c.name, sa.func.count().label("n"), sa.func.max(s.version.c.version).label("top"))
        .join(s.version, s.version.c.dataset_id == s.context.c.id)
        .group_by(s.context.c.name)
    )
    for row in counts:
        if row.n != row.top:
            yield Problem("version.gap", f"{row.name} has {row.n} versions, the newest is v{row.top}")


def _executions(connection: sa.Connection) -> Iterator[Problem]:
    """Both records of an execution's state agree."""
    states = {
        ExecutionState.RUNNING: MlmdState.RUNNING,
        ExecutionState.COMPLETE: MlmdState.COMPLETE,
        ExecutionState.FAILED: MlmdState.FAILED,
        ExecutionState.CANCELED: MlmdState.CANCELED,
    }
    ours = s.lake_execution
    agree = sa.or_(
        *(
            sa.and_(ours.c.state == state.value, s.execution.c.last_known_state == int(mlmd))
            for state, mlmd in states.items()
        )
    )
    rows = connection.execute(
        sa.select(ours.c.execution_id, ours.c.state, s.execution.c.last_known_state)
        .join(s.execution, s.execution.c.id == ours.c.execution_id)
        .where(sa.not_(agree))
    )
    for row in rows:
        yield Problem(
            "execution.state",
            f"execution {row.execution_id} is {row.state}, but ML Metadata's state is {row.last_known_state}",
        )
    for name, edge in (("column", s.column_edge), ("dataset", s.dataset_edge)):
        edges = connection.execute(
            sa.select(sa.func.count())
            .select_from(edge)
            .join(ours, ours.c.execution_id == edge.c.execution_id)
            .where(ours.c.state != ExecutionState.COMPLETE.value)
        ).scalar_one()
        if edges:
            yield Problem("edge.unexplained", f"{edges} {name} edges belong to executions that did not complete")


def _dataset_edges(connection: sa.Connection) -> Iterator[Problem]:
    """Dataset edges lead from what their execution read to what it wrote."""
    edge = s.dataset_edge

    def missing(artifact: sa.Column[Any], kind: EventType) -> sa.ColumnElement[bool]:
        event = s.event.alias()
        found = sa.exists().where(
            event.c.execution_id == edge.c.execution_id, event.c.artifact_id == artifact, event.c.type == int(kind)
        )
        return sa.not_(found)

    astray = sa.or_(
        missing(edge.c.input_artifact_id, EventType.INPUT),
        sa.and_(edge.c.output_artifact_id.is_not(None), missing(edge.c.output_artifact_id, EventType.OUTPUT)),
    )
    count = connection.execute(sa.select(sa.func.count()).select_from(edge).where(astray)).scalar_one()
    if count:
        yield Problem("edge.astray", f"{count} dataset edges join what their executions did not read or write")


def _stale(connection: sa.Connection) -> Iterator[Problem]:
    """Executions that still say RUNNING though their holder is gone."""
    ours = s.lake_execution
    alive = sa.exists().where(
        s.lease.c.resource == ours.c.lease_resource,
        s.lease.c.fence == ours.c.fence,
        s.lease.c.held,
        s.lease.c.expires_ms > now_ms(),
    )
    rows: Any = connection.execute(
        sa.select(ours.c.execution_id, ours.c.job).where(ours.c.state == ExecutionState.RUNNING.value, sa.not_(alive))
    )
    for row in rows:
        yield Problem(
            "execution.stale",
            f"execution {row.execution_id} of {row.job} says RUNNING, but its process is gone; the next run cancels it",
            warning=True,
        )
