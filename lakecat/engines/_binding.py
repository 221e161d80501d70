"""A user's SELECT as a lazy result of DuckDB, with columns that a table can hold."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import duckdb
import pyarrow as pa

from lakecat.config import EngineSettings
from lakecat.engines._errors import locate, translate
from lakecat.engines._instance import Connection, Relation, connect, define_all, one_statement, populate
from lakecat.engines.protocol import Parameter
from lakecat.engines.types import storable_projection, uuid_columns
from lakecat.errors import EngineError
from lakecat.store import LakeStore
from lakecat.tables.relation import with_uuid_fields

#: duckdb's relations have no types.
Result: TypeAlias = Any

_KNOWN: Final = 256


def bind(con: Connection, sql: str, parameters: Mapping[str, Parameter] | None) -> Result:
    """The SELECT as a lazy relation.

    Raises:
        EngineError: with the place in the text.
    """
    statement = one_statement(con, sql, ("SELECT",))
    try:
        result = con.sql(statement, params=dict(parameters) if parameters else None)
    except duckdb.Error as err:
        raise locate(con, err, sql, parameters) from err
    if result is None:
        raise EngineError("the statement returned no result")
    return result


def fitted(result: Result) -> tuple[Result, tuple[int, ...]]:
    """The result with every column storable, and the positions of its UUID columns.

    Raises:
        EngineError: a column has no storable type, or two have one name.
    """
    names = list(result.columns)
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise EngineError(
                f"two columns of the result are named {name!r}", hint="give one of them another name with AS"
            )
        seen.add(name.lower())
    uuids = uuid_columns(result.types)
    projection = storable_projection(names, result.types)
    return (result if projection is None else result.project(projection)), uuids


class Describer:
    """One locked DuckDB that holds no data: what a query would give is found over empty relations.

    It is kept between sessions, since opening a DuckDB costs ten times what binding a query does; each use is a
    transaction that is rolled back, so that none sees another's names.
    """

    def __init__(self, store: LakeStore, settings: EngineSettings) -> None:
        self._store = store
        self._settings = settings.model_copy(update={"threads": 1})
        self._lock = threading.Lock()
        self._con: Connection = None
        self._known: OrderedDict[tuple[object, ...], pa.Schema] = OrderedDict()

    def describe(
        self, relations: Sequence[Relation], sql: str, parameters: Mapping[str, Parameter] | None
    ) -> pa.Schema:
        """Names and Arrow types of the query's result; the same question is answered once.

        Raises:
            EngineError: the query does not bind, or has columns that no table can hold.
        """
        columns = tuple(sorted((str(relation.name), relation.sql) for relation in relations))
        # A value's text tells its type too: 1, 1.0 and true are equal in Python.
        key = (sql, columns, tuple(sorted((name, repr(value)) for name, value in (parameters or {}).items())))
        with self._lock:
            if key not in self._known:
                self._known[key] = self._describe(relations, sql, parameters)
                if len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
            return self._known[key]

    def _describe(
        self, relations: Sequence[Relation], sql: str, parameters: Mapping[str, Parameter] | None
    ) -> pa.Schema:
        if self._con is None:
            self._con = connect(self._settings, None)
            populate(self._con, self._store, ())
        try:
            self._con.execute("BEGIN TRANSACTION")
            define_all(self._con, self._store, relations)
            result, uuids = fitted(bind(self._con, sql, parameters))
            return with_uuid_fields(result.limit(0).to_arrow_table().schema, uuids)
        except duckdb.Error as err:
            raise translate(err, sql) from err
        finally:
            self._reset()

    def _reset(self) -> None:
        try:
            self._con.execute("ROLLBACK")
        except duckdb.Error:
            # A DuckDB that broke is replaced at the next use.
            self._con.close()
            self._con = None
