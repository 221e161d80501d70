"""Many ids in one statement: as one bound value where the database can take them so, else as a list in its text."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from lakecat.catalog import schema as s

_CHUNK: Final = 10_000
"""Ids in one list on MySQL: some hundred kilobytes of text, far below any server's largest packet."""

_IDS: Final = "some_ids"
_EXECUTION_IDS: Final = "some_execution_ids"


def _json(name: str) -> sa.TableValuedAlias:
    return sa.func.json_each(sa.bindparam(name, type_=sa.Text())).table_valued(sa.column("value", sa.BigInteger))


def _array(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=postgresql.ARRAY(sa.BigInteger()))


def _list(name: str) -> sa.BindParameter[Any]:
    # Integers, so it is safe to write them into the statement; thousands of bound ones cost more than the answer.
    return sa.bindparam(name, type_=sa.BigInteger(), expanding=True, literal_execute=True)


def rows_by_ids(
    connection: sa.Connection,
    query: sa.Select[Any],
    key: sa.ColumnElement[int],
    ids: Sequence[int],
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[sa.Row[Any]]:
    """The rows of ``query`` whose ``key`` is one of the ids; each row once, if no id is there twice."""
    backend, others = connection.dialect.name, dict(parameters or {})
    if not ids:
        return
    if backend == "sqlite":
        some = sa.select(_json(_IDS).c.value)
        yield from connection.execute(query.where(key.in_(some)), {**others, _IDS: json.dumps(list(ids))})
    elif backend == "postgresql":
        yield from connection.execute(query.where(key == sa.any_(_array(_IDS))), {**others, _IDS: list(ids)})
    else:
        query = query.where(key.in_(_list(_IDS)))
        for start in range(0, len(ids), _CHUNK):
            yield from connection.execute(query, {**others, _IDS: ids[start : start + _CHUNK]})


def numbers(
    connection: sa.Connection, nodes: Collection[int]
) -> tuple[sa.Select[Any] | sa.CompoundSelect[Any], dict[str, Any]]:
    """A statement for the nodes as rows ``node`` (artifacts' ids, executions' negated), and its parameters."""
    if connection.dialect.name == "sqlite":
        return sa.select(_json(_IDS).c.value.label("node")), {_IDS: json.dumps(list(nodes))}
    if connection.dialect.name == "postgresql":
        return sa.select(sa.func.unnest(_array(_IDS)).label("node")), {_IDS: list(nodes)}
    artifacts, executions = [n for n in nodes if n > 0], [-n for n in nodes if n < 0]
    return sa.union_all(
        sa.select(s.artifact.c.id.label("node")).where(s.artifact.c.id.in_(_list(_IDS))),
        sa.select((-s.execution.c.id).label("node")).where(s.execution.c.id.in_(_list(_EXECUTION_IDS))),
    ), {_IDS: artifacts, _EXECUTION_IDS: executions}
