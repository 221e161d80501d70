"""Many ids in one statement: as one bound value where the database can take them so, else as a list in its text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store.session import IDS, one_of

_CHUNK: Final = 10_000
"""Ids in one list on MySQL: some hundred kilobytes of text, far below any server's largest packet."""


def rows_by_ids(
    connection: sa.Connection,
    query: sa.Select[Any],
    key: sa.ColumnElement[int],
    ids: Sequence[int],
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """The rows of ``query`` whose ``key`` is one of the ids; each row once, if no id is there twice."""
    backend = connection.dialect.name
    if not ids:
        return
    query, others = query.where(one_of(key, backend)), dict(parameters or {})
    chunk = _CHUNK if backend == "mysql" else len(ids)
    for start in range(0, len(ids), chunk):
        yield from connection.execute(query, {**others, IDS: bound(backend, ids[start : start + chunk])}).all()


def bound(backend: str, ids: Collection[int]) -> Any:
    """Ids as the value of ``one_of``'s parameter."""
    return json.dumps(list(ids)) if backend == "sqlite" else list(ids) if backend == "postgresql" else tuple(ids)


_PARTS: Final = {f"{IDS}_artifacts": (s.artifact, 1), f"{IDS}_executions": (s.execution, -1)}


def number_parameters(backend: str, nodes: Collection[int]) -> dict[str, Any]:
    """The parameters of ``numbers`` for nodes (an execution is its id negated)."""
    if backend != "mysql":
        return {IDS: bound(backend, nodes)}
    parts = {name: [sign * node for node in nodes if sign * node > 0] for name, (_, sign) in _PARTS.items()}
    return {name: bound(backend, ids) for name, ids in parts.items() if ids}


def numbers(backend: str, names: Collection[str]) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """A statement for nodes as rows ``node``; ``names`` are those of its parameters."""
    whole = sa.BigInteger()
    if backend == "sqlite":
        listed = sa.func.json_each(sa.bindparam(IDS, type_=sa.Text())).table_valued(sa.column("value", whole))
        return sa.select(listed.c.value.label("node"))
    if backend == "postgresql":
        array = sa.bindparam(IDS, type_=postgresql.ARRAY(whole))
        return sa.select(sa.func.unnest(array, type_=whole).label("node"))
    parts = [
        sa.select((table.c.id if sign > 0 else -table.c.id).label("node")).where(
            table.c.id.op("IN")(sa.bindparam(name, type_=whole))
        )
        for name, (table, sign) in _PARTS.items()
        if name in names
    ]
    return parts[0] if len(parts) == 1 else sa.union_all(*parts)
