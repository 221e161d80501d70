"""Which inputs of an execution went to which of its outputs.

An execution's events say what it read and what it wrote. One that loads several streams reads for each table something
else: a dataset edge then says of an input where it went. An input without edges went to every output; of one that went
to none the only edge has no output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import schema as s


def insert(
    connection: sa.Connection, execution_id: int, outputs: Mapping[str, int], went: Mapping[int, Iterable[str]]
) -> None:
    """Record where inputs went: ``went`` has datasets by the input's artifact, ``outputs`` artifacts by dataset."""
    rows: list[dict[str, int | None]] = []
    for artifact_id, names in went.items():
        reached = {outputs[name] for name in names if name in outputs}
        if len(reached) == len(outputs):
            continue
        rows += [
            {"execution_id": execution_id, "input_artifact_id": artifact_id, "output_artifact_id": output}
            for output in sorted(reached) or (None,)
        ]
    if rows:
        connection.execute(sa.insert(s.dataset_edge).inline(), rows)


def only_flows(query: sa.Select[Any], read: sa.FromClause, output: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Of a query that joins an INPUT event to an output of its execution, the rows whose input went there.

    ``read`` is the event, ``output`` the output's artifact id.
    """
    edge = s.dataset_edge.alias()
    return query.outerjoin(edge, of_input(edge, read)).where(went(edge, output))


def of_input(edge: sa.FromClause, read: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether an edge is of the input that an event read."""
    return sa.and_(edge.c.execution_id == read.c.execution_id, edge.c.input_artifact_id == read.c.artifact_id)


def went(edge: sa.FromClause, output: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether the input whose edges were joined (an outer join) went to an output, by its artifact id."""
    return sa.or_(edge.c.id.is_(None), edge.c.output_artifact_id == output)


def datasets_of_inputs(connection: sa.Connection, execution_id: int) -> dict[int, tuple[str, ...]]:
    """By artifact the datasets that an input of the execution went to; inputs that went to all are not in it."""
    edge, version, context = s.dataset_edge, s.version, s.context
    rows = connection.execute(
        sa.select(edge.c.input_artifact_id, context.c.name)
        .outerjoin(version, version.c.artifact_id == edge.c.output_artifact_id)
        .outerjoin(context, context.c.id == version.c.dataset_id)
        .where(edge.c.execution_id == execution_id)
        .order_by(context.c.name)
    )
    found: dict[int, tuple[str, ...]] = {}
    for artifact_id, name in rows:
        found[artifact_id] = (*found.get(artifact_id, ()), *(() if name is None else (name,)))
    return found
