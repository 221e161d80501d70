"""What a view of the catalog is: named, typed columns, and the statement that fetches the wanted ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.queries import uri_hash

MILLI: Final = 1_000
MICRO: Final = 1_000_000
REACH: Final = range(-62_135_596_800, 253_402_300_800)
"""Seconds since 1970 from the year 1 to 9999; times that are out of reach are shown as NULL."""

Implied: TypeAlias = Callable[[Sequence[str]], sa.ColumnElement[bool]]


class ViewType(StrEnum):
    """SQL types of view columns."""

    TEXT = "text"
    INTEGER = "bigint"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp with time zone"


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column of a view.

    ``value`` is what is fetched; ``joins`` names what it needs beside the view's base. A timestamp is fetched as a
    number since 1970 UTC, ``per_second`` of it in a second. ``decode`` makes the value of what was fetched; such a
    column cannot be compared in the database. ``plain``: the database compares it as the engine does. ``ordered``: it
    also sorts it so, and it is never NULL. ``implied`` gives what else is so where the column is one of some texts:
    conditions by which the database finds the rows with an index.
    """

    name: str
    type: ViewType
    doc: str
    value: sa.ColumnElement[Any]
    joins: tuple[str, ...] = ()
    per_second: int = MILLI
    decode: Callable[[Any], Any] | None = None
    plain: bool = True
    ordered: bool = False
    implied: Implied | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """A table that some columns of a view need; ``after`` names joins that must come before."""

    target: sa.FromClause
    on: sa.ColumnElement[bool]
    outer: bool = False
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A view. ``always`` are joins that decide which rows there are."""

    name: str
    doc: str
    columns: tuple[ViewColumn, ...]
    base: sa.FromClause
    joins: Mapping[str, Join] = field(default_factory=dict)
    where: sa.ColumnElement[bool] | None = None
    always: tuple[str, ...] = ()

    def column(self, name: str) -> ViewColumn:
        """The column of this name."""
        return next(column for column in self.columns if column.name == name)

    def source(self, columns: Sequence[ViewColumn]) -> sa.Select[Any]:
        """A statement over the base and what these columns need."""
        source = self.base
        for name in self._needed(columns):
            join = self.joins[name]
            source = source.join(join.target, join.on, isouter=join.outer)
        statement = sa.select(sa.literal(1)).select_from(source)
        return statement if self.where is None else statement.where(self.where)

    def _needed(self, columns: Sequence[ViewColumn]) -> list[str]:
        found: list[str] = []

        def add(name: str) -> None:
            if name not in found:
                for before in self.joins[name].after:
                    add(before)
                found.append(name)

        for name in (*self.always, *(name for column in columns for name in column.joins)):
            add(name)
        return found


def type_id(name: str) -> sa.ScalarSelect[Any]:
    """The id of lakecat's type of this name."""
    return (
        sa.select(sa.func.min(s.type_.c.id))
        .where(s.type_.c.name == name, s.type_.c.version.is_(None))
        .scalar_subquery()
    )


def hashed(column: sa.ColumnElement[Any]) -> Implied:
    """For a text whose SHA-256 this column holds."""
    return lambda texts: column.in_([uri_hash(text) for text in texts])


def named_by(key: sa.ColumnElement[int], context: sa.FromClause = s.context) -> Implied:
    """For the name of the dataset that has this id: names are found within a type.

    The join is told again, lest it stays an outer one in SQLite, which then begins with its other side.
    """
    return lambda _texts: sa.and_(context.c.type_id == type_id(registry.DATASET), context.c.id == key)


def text_column(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    """A column of text."""
    return ViewColumn(name, ViewType.TEXT, doc, value, **more)


def integer_column(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    """A column of integers."""
    return ViewColumn(name, ViewType.INTEGER, doc, value, **more)


def double_column(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    """A column of doubles, which the database does not compare."""
    return ViewColumn(name, ViewType.DOUBLE, doc, value, plain=False, **more)


def flag_column(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    """A column of true and false."""
    return ViewColumn(name, ViewType.BOOLEAN, doc, value, **more)


def time_column(name: str, value: sa.ColumnElement[Any], doc: str, **more: Any) -> ViewColumn:
    """A column of moments, kept in milliseconds unless ``per_second`` says otherwise."""
    return ViewColumn(name, ViewType.TIMESTAMP, doc, value, **more)


def compared(column: ViewColumn, operator: str, values: Sequence[object]) -> sa.ColumnElement[bool] | None:
    """A condition that every row meets for which the comparison is true; None when the database cannot tell.

    ``operator`` is ``=``, ``<``, ``<=``, ``>``, ``>=`` (with one value), ``in``, ``null`` or ``not null``.
    """
    if column.decode is not None or not column.plain:
        return None
    value = column.value
    if operator == "not null":
        return _shown(column)
    if operator == "null":
        return sa.or_(sa.false(), *_not_shown(column))
    if column.type is ViewType.TIMESTAMP:
        return _times(column, operator, [item for item in values if isinstance(item, datetime)])
    if column.type is ViewType.INTEGER:
        return _numbers(value, operator, [item for item in values if isinstance(item, int)])
    return _equal(column, values) if operator in ("=", "in") else None


def _shown(column: ViewColumn) -> sa.ColumnElement[bool]:
    """Where the column is not NULL. Times that are out of reach are shown as NULL."""
    if column.type is not ViewType.TIMESTAMP:
        return column.value.is_not(None)
    first, end = (second * column.per_second for second in (REACH.start, REACH.stop))
    return sa.and_(column.value >= first, column.value < end)


def _not_shown(column: ViewColumn) -> list[sa.ColumnElement[bool]]:
    """Where the column is NULL, in cases that an index over it serves one by one."""
    value = column.value
    never = column.ordered or (isinstance(value, sa.Column) and not value.nullable and not column.joins)
    missing: list[sa.ColumnElement[bool]] = [] if never else [value.is_(None)]
    if column.ordered or column.type is not ViewType.TIMESTAMP:
        return missing
    first, end = (second * column.per_second for second in (REACH.start, REACH.stop))
    return [*missing, value < first, value >= end]


def _equal(column: ViewColumn, values: Sequence[object]) -> sa.ColumnElement[bool] | None:
    """Text and booleans are compared for equality only: orders of text differ between databases."""
    if column.type is ViewType.BOOLEAN:
        return sa.or_(*(column.value == sa.literal(bool(item)) for item in values))
    texts = [item for item in values if isinstance(item, str)]
    # Not every text can be sent to a database.
    if not all(_can_be_sent(text) for text in texts):
        return None
    found = column.value.in_(texts)
    return found if column.implied is None else sa.and_(column.implied(texts), found)


def _can_be_sent(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _numbers(value: sa.ColumnElement[Any], operator: str, numbers: Sequence[int]) -> sa.ColumnElement[bool]:
    if operator == "in":
        return value.in_(numbers)
    conditions: dict[str, Callable[[], sa.ColumnElement[bool]]] = {
        "=": lambda: value == numbers[0],
        "<": lambda: value < numbers[0],
        "<=": lambda: value <= numbers[0],
        ">": lambda: value > numbers[0],
        ">=": lambda: value >= numbers[0],
    }
    return conditions[operator]()


def _times(column: ViewColumn, operator: str, times: Sequence[datetime]) -> sa.ColumnElement[bool]:
    """Moments have microseconds, and the columns may have milliseconds: bounds are widened to whole ones."""
    step = MICRO // column.per_second
    whole = [_since_1970(time) for time in times]
    if operator in ("=", "in"):
        return _numbers(column.value, "in", [moment // step for moment in whole])
    below, rest = divmod(whole[0], step)
    if rest:
        operator = ">" if operator in (">", ">=") else "<="
    # What is out of reach is NULL, and compares with nothing.
    first, end = (second * column.per_second for second in (REACH.start, REACH.stop))
    reach = column.value < end if operator in (">", ">=") else column.value >= first
    return sa.and_(_numbers(column.value, operator, [below]), reach)


def _since_1970(moment: datetime) -> int:
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * MICRO + passed.microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """What is wanted of a view: columns, a condition that may let too much through, and the first rows by an order."""

    view: View
    columns: tuple[str, ...]
    condition: sa.ColumnElement[bool] | None = None
    condition_columns: tuple[str, ...] = ()
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None

    @property
    def can_cut(self) -> bool:
        """Whether the database has the same first rows by ``order``: it sorts whole numbers and times as the engine.

        Where NULLs come differs. One column that may have them is enough to ask for: with and without.
        """
        columns = [self.view.column(name) for name, _ in self.order]
        return all(_sorts(column) for column in columns) and sum(bool(_not_shown(column)) for column in columns) <= 1

    def statements(self) -> list[sa.Select[Any]]:
        """The SELECTs; their rows together are wanted. ``order`` holds names of columns and whether they descend."""
        view = self.view
        used = [view.column(name) for name in (*self.columns, *self.condition_columns, *(n for n, _ in self.order))]
        shown = [view.column(name) for name in self.columns]
        query = view.source(used).with_only_columns(
            *(column.value.label(column.name) for column in shown) if shown else [sa.literal(1).label("one")]
        )
        if self.condition is not None:
            query = query.where(self.condition)
        unsure = [name for name, _ in self.order if _not_shown(view.column(name))]
        if not unsure:
            return [self._first(query, self.order)]
        (name,) = unsure
        rest = tuple(key for key in self.order if key[0] != name)
        without = [self._first(query.where(case), rest) for case in _not_shown(view.column(name))]
        return [self._first(query.where(_shown(view.column(name))), self.order), *without]

    def _first(self, query: sa.Select[Any], order: Sequence[tuple[str, bool]]) -> sa.Select[Any]:
        values = [(self.view.column(name).value, descending) for name, descending in order]
        keys = [value.desc() if descending else value for value, descending in values]
        if keys and not any(self.view.column(name).joins for name in self.condition_columns):
            # MariaDB joins everything to sort it, where it may choose.
            query = query.prefix_with("STRAIGHT_JOIN", dialect="mysql")
        return query.order_by(*keys).limit(self.limit)


def _sorts(column: ViewColumn) -> bool:
    whole = column.type in (ViewType.INTEGER, ViewType.TIMESTAMP) and column.decode is None
    return column.ordered or (whole and isinstance(column.value, sa.Column))


def batches(connection: sa.Connection, fetch: Fetch, size: int) -> Generator[list[tuple[Any, ...]]]:
    """What the database holds of the columns, by column, ``size`` rows at a time as they come; 1 without columns."""
    streaming = connection.execution_options(stream_results=True, yield_per=size)
    for statement in fetch.statements():
        with streaming.execute(statement) as result:
            for rows in result.partitions(size):
                yield list(zip(*rows, strict=True))
