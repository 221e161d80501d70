"""What the sources without a fast way of their own have in common: their statements, built by SQLAlchemy.

A source says its dialect and how a cursor's text becomes a value there and back; conditions, bounds and counts are
the same for all of them.
"""

from __future__ import annotations

import contextlib
import difflib
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import quoted_name

from lakecat.errors import ConfigError, SourceError, Where
from lakecat.types import Json
from lakecat_connectors._sql_source import Bounds, Column, Relation, Scan, Table, Window


class CoreSource(ABC):
    """The planning half of a source, by statements that every database has."""

    consistent = True
    quotes = True
    """Whether names are quoted always, as their database spells them; else where their dialect finds it necessary."""
    _dialect: Dialect

    @abstractmethod
    def _fetch(self, statement: sa.Select[Any], doing: str) -> Sequence[Any] | None:
        """The first row, None when there is none. Raises SourceError."""

    def _literal(self, column: Column | None, text: str) -> sa.ColumnElement[Any]:
        """A cursor's text as a value to compare with. Raises ConfigError for a text that is none."""
        return sa.literal(value_of(column, text), sa.types.NullType())

    def _shown(self, column: Column | None, name: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """The expression that is fetched for a cursor's value; ``_text`` takes what comes."""
        del column
        return name

    def _text(self, column: Column | None, value: Any) -> str:
        """A fetched cursor value as exact text."""
        return text_of(column, value)

    def bounds(self, scan: Scan, column: str) -> Bounds:
        """By ``min`` and ``max``, which an index answers at once."""
        known, name = scan.table.column(column), self._ident(column)
        shown = [self._shown(known, sa.func.min(name)), self._shown(known, sa.func.max(name))]
        row = self._fetch(self._select(scan, shown), f"looking for the bounds of {column!r}")
        least, greatest = (None, None) if row is None else row
        return Bounds(
            least=None if least is None else self._text(known, least),
            greatest=None if greatest is None else self._text(known, greatest),
        )

    def has_nulls(self, scan: Scan, column: str) -> bool:
        """Whether some row of the scan has NULL there."""
        statement = self._select(scan, [sa.literal_column("1")]).where(self._ident(column).is_(None)).limit(1)
        return self._fetch(statement, f"looking for NULL in {column!r}") is not None

    def after(self, scan: Scan, column: str, rows: int) -> str | None:
        """By ORDER BY and OFFSET, which walks an index where there is one."""
        known, name = scan.table.column(column), self._ident(column)
        statement = self._select(scan, [self._shown(known, name)]).order_by(name).offset(rows - 1).limit(1)
        row = self._fetch(statement, f"looking for the end of a part by {column!r}")
        return None if row is None else self._text(known, row[0])

    def splits(self, scan: Scan, wanted: int | Literal["auto"]) -> tuple[Mapping[str, Json], ...]:
        """None: a snapshot of these databases belongs to one connection."""
        del scan, wanted
        return ()

    def identity_type(self, column: str) -> Column | None:
        """None: there are no columns that no table lists."""
        del column
        return None

    def _select(self, scan: Scan, expressions: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        """Of the scan's rows, the expressions."""
        statement = sa.select(*expressions).select_from(from_clause(scan.table.relation, quotes=self.quotes))
        if scan.policy.where is not None:
            statement = statement.where(sa.literal_column(f"(\n{scan.policy.where}\n)"))
        if scan.window is not None:
            statement = statement.where(self._window(scan.table, scan.window))
        return statement

    def _window(self, table: Table, window: Window) -> sa.ColumnElement[bool]:
        column, name = table.column(window.column), self._ident(window.column)
        if window.only_nulls:
            return name.is_(None)
        conditions: list[sa.ColumnElement[bool]] = []
        if window.low is not None:
            low = self._literal(column, window.low)
            conditions.append(name >= low if window.low_closed else name > low)
        if window.high is not None:
            high = self._literal(column, window.high)
            conditions.append(name <= high if window.high_closed else name < high)
        within = sa.and_(*conditions) if conditions else name.is_not(None)
        return sa.or_(within, name.is_(None)) if window.nulls else within

    def _ident(self, name: str) -> sa.ColumnClause[Any]:
        return ident(name) if self.quotes else sa.column(name)

    def _compiled(self, statement: sa.Select[Any]) -> tuple[str, Any]:
        """Text and values, as the driver takes them."""
        compiled = statement.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        if compiled.positional:
            return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())
        return str(compiled), dict(compiled.params)


def ident(name: str) -> sa.ColumnClause[Any]:
    """A column's name, always quoted."""
    return sa.column(quoted_name(name, True))


def from_clause(relation: Relation, *, quotes: bool = True) -> sa.FromClause:
    """A table by its quoted name; or the author's query, its end on a line of its own (a comment may stand there)."""
    if relation.query is not None:
        own = relation.query.strip().rstrip(";")
        # Nothing in the author's text is a placeholder of ours.
        text = sa.text(f"\n{own}\n".replace(":", "\\:"))
        return text.columns(sa.column("lakecat")).subquery("query")
    if not quotes:
        return sa.table(relation.name or "", schema=relation.schema)
    schema = None if relation.schema is None else quoted_name(relation.schema, True)
    return sa.table(quoted_name(relation.name or "", True), schema=schema)


def missing(shown: str, name: str, known: Iterable[str], uri: str, otherwise: str) -> SourceError:
    """For a relation that is not there, ``shown`` so: the known names that are near to its ``name``, else a hint."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return SourceError(
        f"there is no table or view {shown}",
        where=Where(uri),
        hint=f"did you mean {', '.join(near)}?" if near else otherwise,
    )


def unreadable(table: Table, column: Column, why: str, instead: str) -> SourceError:
    """For a column that is asked for, but whose values cannot be read."""
    return SourceError(
        f"{table.relation.shown} has a column {column.name!r} that cannot be read: {why}",
        where=Where(table.uri, column=column.name),
        hint=f"leave it out with exclude:, or {instead}",
    )


class Turn:
    """The only connection of a run, one thread's after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @contextlib.contextmanager
    def taken(self, uri: str) -> Iterator[None]:
        """This thread's. Raises SourceError when it is so already: its rows are still to come."""
        if self._owner == threading.get_ident():
            raise SourceError("rows of this database are read one scan after the other", where=Where(uri))
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None


def value_of(column: Column | None, text: str) -> Any:
    """A cursor's text as Python's value for the column's type. Raises ConfigError for a text that is none."""
    type_ = pa.string() if column is None else column.type
    try:
        if pa.types.is_integer(type_) or pa.types.is_decimal(type_):
            number = Decimal(text)
            return int(number) if number == number.to_integral_value() else number
        if pa.types.is_floating(type_):
            return float(text)
        if pa.types.is_date(type_):
            return date.fromisoformat(text)
        if pa.types.is_timestamp(type_):
            return moment_of(text, zoned=type_.tz is not None)
    except (ValueError, InvalidOperation, OverflowError) as err:
        shown = "" if column is None else f" for {column.name!r}, which is {column.native}"
        raise ConfigError(f"cursor: {text!r} is no value{shown}", hint="mend start: or end: under cursor:") from err
    return text


def moment_of(text: str, *, zoned: bool) -> datetime:
    """A time from ISO 8601; UTC where none is said. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if not zoned:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def text_of(column: Column | None, value: Any) -> str:
    """Python's value as exact text, the other way of :func:`value_of`."""
    if isinstance(value, datetime):
        zoned = column is not None and pa.types.is_timestamp(column.type) and column.type.tz is not None
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        moment = aware.astimezone(UTC) if zoned else value.replace(tzinfo=None)
        return moment.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)
