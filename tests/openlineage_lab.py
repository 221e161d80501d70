"""Events to import, and what is in a catalog afterwards, without ids and times of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.foreign_lineage import ForeignLineage
from lakecat.catalog.foreign_values import ForeignEvent, Recorded
from lakecat.lineage.openlineage import parse_event

EVENTS = Path(__file__).parent / "catalog" / "openlineage_events"
JOB = {"namespace": "etl", "name": "load"}


def run_id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def dataset(uri: str, version: str | None = None, **facets: Any) -> dict[str, Any]:
    """``namespace|name`` as a dataset of an event."""
    namespace, _, name = uri.partition("|")
    if version is not None:
        facets["version"] = {"datasetVersion": version}
    return {"namespace": namespace, "name": name, "facets": facets}


def event(
    run: int,
    state: str | None,
    time: str,
    inputs: Iterable[dict[str, Any]] = (),
    outputs: Iterable[dict[str, Any]] = (),
    job: str = "load",
    **run_facets: Any,
) -> dict[str, Any]:
    """A RunEvent; ``time`` as ``10:00`` on a day long ago, or whole."""
    return {
        "eventTime": time if "T" in time else f"2024-03-01T{time}:00Z",
        **({} if state is None else {"eventType": state}),
        "producer": "https://example.com/producer",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": run_id(run), "facets": run_facets},
        "job": {"namespace": "etl", "name": job},
        "inputs": list(inputs),
        "outputs": list(outputs),
    }


def edge(uri: str, field: str, type_: str = "DIRECT", subtype: str = "IDENTITY", **more: Any) -> dict[str, Any]:
    namespace, _, name = uri.partition("|")
    return {
        "namespace": namespace, "name": name, "field": field,
        "transformations": [{"type": type_, "subtype": subtype, **more}],
    }  # fmt: skip


def columns(**fields: list[dict[str, Any]]) -> dict[str, Any]:
    return {"fields": {name: {"inputFields": inputs} for name, inputs in fields.items()}}


def refuse(what: str) -> None:
    raise AssertionError(f"left out: {what}")


def parsed(events: Iterable[dict[str, Any]]) -> list[ForeignEvent]:
    return [parse_event(json.dumps(one), refuse) for one in events]


def record(catalog: Any, *events: dict[str, Any], namespaces: Iterable[str] = ()) -> Recorded:
    return ForeignLineage(catalog.database, namespaces).record(parsed(events))


def dump(catalog: Any) -> dict[str, Any]:
    """Everything that imports write, by names."""
    with catalog.database.reading() as connection:
        return {
            "executions": _nodes(connection, s.execution, s.execution_property, s.execution.c.last_known_state),
            "contexts": _nodes(connection, s.context, s.context_property, sa.literal(0)),
            "artifacts": _artifacts(connection),
            "events": _rows(
                connection.execute(
                    sa.select(
                        s.execution.c.name, s.artifact.c.name, s.event.c.type, s.event.c.milliseconds_since_epoch,
                        s.event_path.c.step_key,
                    )
                    .join_from(s.event, s.execution, s.execution.c.id == s.event.c.execution_id)
                    .join(s.artifact, s.artifact.c.id == s.event.c.artifact_id)
                    .join(s.event_path, s.event_path.c.event_id == s.event.c.id)
                )
            ),
            "associations": _pairs(connection, s.association, s.execution, "execution_id"),
            "attributions": _pairs(connection, s.attribution, s.artifact, "artifact_id"),
            "edges": _edges(connection),
        }  # fmt: skip


def _rows(result: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in result), key=repr)


def _properties(connection: sa.Connection, table: sa.Table, owner: int) -> dict[str, Any]:
    key = next(iter(table.primary_key.columns))
    rows = connection.execute(sa.select(table).where(key == owner))
    return {row.name: next(v for v in (row.int_value, row.double_value, row.string_value) if v is not None)
            for row in rows}  # fmt: skip


def _nodes(connection: sa.Connection, table: sa.Table, properties: sa.Table, more: Any) -> dict[Any, Any]:
    rows = connection.execute(
        sa.select(table.c.id, s.type_.c.name.label("type"), table.c.name, more.label("more")).join(
            s.type_, s.type_.c.id == table.c.type_id
        )
    ).all()
    return {(row.type, row.name): (row.more, _properties(connection, properties, row.id)) for row in rows}


def _artifacts(connection: sa.Connection) -> dict[Any, Any]:
    """Those that an event leads to; others are left over from what was not known yet."""
    used = sa.exists().where(s.event.c.artifact_id == s.artifact.c.id)
    rows = connection.execute(
        sa.select(s.artifact.c.id, s.type_.c.name.label("type"), s.artifact.c.name, s.artifact.c.uri)
        .join(s.type_, s.type_.c.id == s.artifact.c.type_id)
        .where(used)
    ).all()
    return {
        (row.type, row.name): (row.uri, _properties(connection, s.artifact_property, row.id)) for row in rows
    }  # fmt: skip


def _pairs(connection: sa.Connection, table: sa.Table, other: sa.Table, key: str) -> list[tuple[Any, ...]]:
    query = (
        sa.select(s.context.c.name, other.c.name)
        .join_from(table, s.context, s.context.c.id == table.c.context_id)
        .join(other, other.c.id == table.c[key])
    )
    if other is s.artifact:
        query = query.where(sa.exists().where(s.event.c.artifact_id == other.c.id))
    return _rows(connection.execute(query))


def _edges(connection: sa.Connection) -> list[tuple[Any, ...]]:
    edge_ = s.column_edge
    return _rows(
        connection.execute(
            sa.select(
                s.execution.c.name, s.artifact.c.name, edge_.c.output_dataset, edge_.c.output_column,
                edge_.c.input_dataset, edge_.c.input_column, edge_.c.kind, edge_.c.expression, edge_.c.masked,
            )
            .join(s.execution, s.execution.c.id == edge_.c.execution_id)
            .join(s.artifact, s.artifact.c.id == edge_.c.output_artifact_id)
        )
    )  # fmt: skip
