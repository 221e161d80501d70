"""One transaction's statements, compiled once and handed straight to the driver.

SQLAlchemy compiles each statement one time for each database; running it goes to the driver's own cursor, for a put or
a get is many small statements, and their overhead would be most of what it costs. psycopg sends several in one flight.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from lakecat.catalog import trips

Rows: TypeAlias = list[tuple[Any, ...]]
Parameters: TypeAlias = Mapping[str, Any]

IDS: Final = "ids"
"""The parameter of ``one_of``: a list of integers or texts."""
_json: Final = json.JSONEncoder(check_circular=False).encode
_BATCH: Final = 500
"""Rows in one INSERT that returns something; on MySQL."""
_LIST: Final = 5_000
"""Values in one list in a statement's text; on MySQL."""


def one_of(column: sa.ColumnElement[Any], backend: str) -> sa.ColumnElement[bool]:
    """Whether the column is one of the values in the parameter ``ids``, of which there may be any number."""
    whole = isinstance(column.type, sa.Integer)
    kind: sa.types.TypeEngine[Any] = sa.BigInteger() if whole else sa.Text()
    if backend == "sqlite":
        some = sa.func.json_each(sa.bindparam(IDS, type_=sa.Text())).table_valued(sa.column("value", kind))
        return column.in_(sa.select(some.c.value))
    if backend == "postgresql":
        return column == sa.any_(sa.bindparam(IDS, type_=postgresql.ARRAY(kind)))
    # PyMySQL writes a tuple as a list of literals, each escaped.
    return column.op("IN")(sa.bindparam(IDS, type_=kind))


@dataclass(frozen=True, slots=True)
class _Text:
    sql: str
    names: tuple[str, ...] | None
    """The parameters in their order; None where they go by name."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that have their values already: literals of the statement."""
    pick: itemgetter[tuple[Any, ...]] | None = None
    """Brings a row's values into the order of the parameters; None where they have it already."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A statement for each backend (``sqlite``, ``postgresql``, ``mysql``); compiled when it is first used there."""

    build: Callable[[str], sa.Executable]
    by_ids: bool = False
    """Whether it has ``one_of``: on MySQL it is asked in pieces then."""
    _texts: dict[str, _Text] = field(default_factory=dict)

    def text(self, dialect: sa.Dialect) -> _Text:
        """Its SQL in a dialect."""
        found = self._texts.get(dialect.name)
        if found is None:
            compiled: Any = self.build(dialect.name).compile(dialect=dialect)  # type: ignore[attr-defined]
            names = tuple(compiled.positiontup) if compiled.positional else None
            constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
            found = self._texts[dialect.name] = _Text(str(compiled), names, constants)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """An INSERT of many rows; ``columns`` in the order that the rows have them.

    ``conflict``: None lets the database refuse rows that are there, ``ignore`` leaves them, ``replace`` overwrites.
    """

    table: sa.Table
    columns: tuple[str, ...]
    conflict: str | None = None
    _texts: dict[str, _Text] = field(default_factory=dict)

    def text(self, dialect: sa.Dialect) -> _Text:
        """Its SQL in a dialect: for one row, but on PostgreSQL for arrays, one for each column."""
        found = self._texts.get(dialect.name)
        if found is None:
            compiled: Any = self._build(dialect.name).compile(dialect=dialect, column_keys=list(self.columns))
            found = self._texts[dialect.name] = _text_of_rows(compiled, self.columns)
        return found

    def _build(self, backend: str) -> Any:
        if backend == "mysql":
            statement: Any = mysql.insert(self.table)
            if self.conflict == "ignore":
                key = self.table.c[self.columns[0]]
                return statement.on_duplicate_key_update({key.name: key})
            if self.conflict == "replace":
                return statement.on_duplicate_key_update({n: statement.inserted[n] for n in self._others()})
            return statement
        statement = sqlite.insert(self.table) if backend == "sqlite" else postgresql.insert(self.table)
        if backend == "postgresql":
            statement = statement.from_select(list(self.columns), self._arrays(), include_defaults=False)
        if self.conflict == "ignore":
            return statement.on_conflict_do_nothing()
        if self.conflict == "replace":
            keys = [column.name for column in self.table.primary_key.columns]
            set_ = {name: statement.excluded[name] for name in self._others()}
            return statement.on_conflict_do_update(index_elements=keys, set_=set_)
        return statement

    def _others(self) -> list[str]:
        keys = {column.name for column in self.table.primary_key.columns}
        return [name for name in self.columns if name not in keys]

    def _arrays(self) -> Any:
        arrays = [sa.bindparam(name, type_=postgresql.ARRAY(_plain(self.table.c[name].type))) for name in self.columns]
        rows = sa.func.unnest(*arrays).table_valued(*self.columns, name="new_rows").render_derived()
        return sa.select(*(rows.c[name] for name in self.columns))


def _text_of_rows(compiled: Any, columns: Sequence[str]) -> _Text:
    """A compiled statement for rows whose values are those of these parameters; an INSERT has the table's order."""
    if not compiled.positional:
        return _Text(str(compiled), None)
    names = tuple(compiled.positiontup)
    order = [columns.index(name) for name in names]
    return _Text(str(compiled), names, pick=None if order == list(range(len(columns))) else itemgetter(*order))


def _plain(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type without its length: a value that is too long is to be refused, not cut."""
    return sa.Text() if isinstance(kind, sa.String) and not isinstance(kind, sa.LargeBinary) else kind


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """An UPDATE or DELETE of rows by their key; ``columns`` in the order that the rows have them, the key last."""

    table: sa.Table
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    delete: bool = False
    _texts: dict[str, _Text] = field(default_factory=dict)

    def text(self, dialect: sa.Dialect) -> _Text:
        """Its SQL in a dialect: for one row, but on PostgreSQL for arrays, one for each column."""
        found = self._texts.get(dialect.name)
        if found is None:
            compiled: Any = self._build(dialect.name).compile(dialect=dialect)
            found = self._texts[dialect.name] = _text_of_rows(compiled, [f"new_{name}" for name in self.columns])
        return found

    def _build(self, backend: str) -> Any:
        source: Any = {name: sa.bindparam(f"new_{name}") for name in self.columns}
        if backend == "postgresql":
            arrays = [
                sa.bindparam(f"new_{name}", type_=postgresql.ARRAY(_plain(self.table.c[name].type)))
                for name in self.columns
            ]
            source = sa.func.unnest(*arrays).table_valued(*self.columns, name="new_rows").render_derived().c
        where = sa.and_(*(self.table.c[name] == source[name] for name in self.keys))
        if self.delete:
            return sa.delete(self.table).where(where)
        values = {name: source[name] for name in self.columns if name not in self.keys}
        return sa.update(self.table).where(where).values(values)


class Session:
    """A transaction on one connection. Raises the driver's own errors; see ``sqlalchemy_errors``."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self.backend = connection.dialect.name
        raw: Any = connection.connection.driver_connection
        self._raw = raw
        self._flies = connection.dialect.driver == "psycopg"
        self.types_seen: set[int] = set()
        """Types that were looked for in this transaction."""

    @property
    def locks(self) -> bool:
        """Whether rows are locked one by one; SQLite's write transactions hold the whole database."""
        return self.backend != "sqlite"

    def ask(self, query: Query, parameters: Parameters | None = None) -> Rows:
        """The rows of one query."""
        return self.ask_all([(query, parameters or {})])[0]

    def ask_all(self, asked: Sequence[tuple[Query, Parameters]]) -> list[Rows]:
        """The rows of several queries, in one flight where the driver can."""
        if self._flies and len(asked) > 1:
            with self._raw.pipeline():
                texts = [(q.text(self.dialect), p) for q, p in asked]
                cursors = [self._raw.execute(text.sql, {**text.constants, **p}) for text, p in texts]
            return [cursor.fetchall() for cursor in cursors]
        return [self._ask(query, parameters) for query, parameters in asked]

    def _ask(self, query: Query, parameters: Parameters) -> Rows:
        if self.backend == "sqlite":
            return ask_sqlite(self._raw, self.dialect, query, parameters)
        text = query.text(self.dialect)
        parameters = {**text.constants, **parameters}
        if self._flies:
            return list(self._raw.execute(text.sql, parameters).fetchall())
        names = text.names or ()
        found: Rows = []
        with self._raw.cursor() as cursor:
            for part in _pieces(parameters) if query.by_ids else (parameters,):
                cursor.execute(text.sql, [part[name] for name in names] if names else dict(part))
                found += cursor.fetchall()
        return found

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send what is written in the block without waiting for each answer, where the driver can."""
        with trips.together(self.connection):
            yield

    def write(self, statement: Insert | Change, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for every row."""
        if not rows:
            return
        text = statement.text(self.dialect)
        if self._flies:
            prefix = "new_" if isinstance(statement, Change) else ""
            arrays = zip(*rows, strict=True)
            named = {f"{prefix}{name}": list(values) for name, values in zip(statement.columns, arrays, strict=True)}
            self._raw.execute(text.sql, named)
            return
        if text.pick is not None:
            rows = [text.pick(row) for row in rows]
        if self.backend == "sqlite":
            self._raw.executemany(text.sql, rows)
            return
        with self._raw.cursor() as cursor:
            cursor.executemany(text.sql, rows)

    def insert_counted(self, statement: Insert, rows: Sequence[tuple[Any, ...]]) -> list[int]:
        """Insert rows without ids, on MySQL; the ids they were given."""
        found: list[int] = []
        text = statement.text(self.dialect)
        sql = text.sql
        if text.pick is not None:
            rows = [text.pick(row) for row in rows]
        with self._raw.cursor() as cursor:
            if not self.dialect.insert_returning:
                for row in rows:
                    cursor.execute(sql, row)
                    found.append(int(cursor.lastrowid))
                return found
            head, _, one = sql.rpartition(" VALUES ")
            for start in range(0, len(rows), _BATCH):
                part = rows[start : start + _BATCH]
                many = ", ".join([one] * len(part))
                cursor.execute(f"{head} VALUES {many} RETURNING id", [value for row in part for value in row])
                found += [int(row[0]) for row in cursor.fetchall()]
        return found


def ask_sqlite(raw: Any, dialect: sa.Dialect, query: Query, parameters: Parameters) -> Rows:
    """The rows of a query on a connection of SQLite's driver, whose errors pass as they are."""
    text = query.text(dialect)
    if text.constants:
        parameters = {**text.constants, **parameters}
    values = [parameters[name] for name in text.names or ()]
    found: Rows = raw.execute(text.sql, [_json(v) if type(v) is list else v for v in values]).fetchall()
    return found


def _pieces(parameters: Parameters) -> Iterable[Parameters]:
    values = parameters[IDS]
    for start in range(0, len(values), _LIST):
        yield {**parameters, IDS: tuple(values[start : start + _LIST])}
