"""SQL over the catalog's views: one dialect and the same answers on every catalog database.

The query runs in the engine, locked into the views that it names; the catalog database is asked for the columns and
rows that its text needs, with bound values.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from pyiceberg.expressions import (
    AlwaysFalse,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNull,
    LessThan,
    LessThanOrEqual,
    NotNull,
    Or,
)
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)
from sqlalchemy.sql.visitors import iterate
from sqlglot import exp

from lakecat.catalog import Catalog
from lakecat.catalog.view import MICRO, REACH, Fetch, View, ViewColumn, ViewType, batches, compared
from lakecat.catalog.views import VIEWS
from lakecat.config import EngineSettings
from lakecat.engines.batches import DIALECT, BatchSession, Need
from lakecat.errors import AccessDeniedError, NotFoundError, UsageError
from lakecat.lake.querying import batches_of, wait_for
from lakecat.lake.travel import parse_query
from lakecat.transform.names import table_nodes
from lakecat.types import DatasetName

_NAMESPACE: Final = "lakecat_catalog"
_BATCH_ROWS: Final = 20_000
_ROW_MAKERS: Final = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
"""Table functions that make rows of their arguments, and read nothing."""
_NOW: Final = frozenset({"now", "get_current_timestamp", "transaction_timestamp"})
_TYPES: Final[Mapping[ViewType, tuple[IcebergType, pa.DataType]]] = {
    ViewType.TEXT: (StringType(), pa.string()),
    ViewType.INTEGER: (LongType(), pa.int64()),
    ViewType.DOUBLE: (DoubleType(), pa.float64()),
    ViewType.BOOLEAN: (BooleanType(), pa.bool_()),
    ViewType.TIMESTAMP: (TimestamptzType(), pa.timestamp("us", "UTC")),
}
_MAKERS: Final[Mapping[ViewType, Callable[[Any], Any]]] = {
    ViewType.TEXT: str,
    ViewType.INTEGER: int,
    ViewType.DOUBLE: float,
    ViewType.BOOLEAN: bool,
}
_TIMES: Final = range(REACH.start * MICRO, REACH.stop * MICRO)
_MOST_VALUES: Final = 20_000
"""Values in the condition on one view: SQLite takes 32,766 in a statement, PostgreSQL 65,535."""
_OPERATORS: Final[Mapping[type[BooleanExpression], str]] = {
    EqualTo: "=",
    LessThan: "<",
    LessThanOrEqual: "<=",
    GreaterThan: ">",
    GreaterThanOrEqual: ">=",
    In: "in",
    IsNull: "null",
    NotNull: "not null",
}


@contextmanager
def query_catalog(
    catalog: Catalog,
    settings: EngineSettings,
    sql: str,
    *,
    dialect: str,
    now: datetime,
    parameters: Mapping[str, object] | None = None,
) -> Iterator[pa.RecordBatchReader]:
    """The result of one SELECT over the catalog's views, streamed while the block lasts.

    All views are read at one moment, before the block begins; ``now`` is what ``now()`` means in conditions. Raises
    UsageError (no SELECT), NotFoundError (no such view), AccessDeniedError, EngineError, CatalogError.
    """
    text, relations = read_catalog_query(sql, dialect=dialect, now=now)
    values = dict(parameters or {})
    schemas = {name: _schema(view) for name, view in relations.items()}
    with BatchSession(settings, schemas) as session, ThreadPoolExecutor(1, "lakecat-query") as pool:
        with catalog.database.reading(snapshot=True) as connection:
            session.prepare(text, values, lambda name, need: _fetch(connection, relations[name], need))
        reader = wait_for(pool, session, lambda: session.run(text, values))
        yield pa.RecordBatchReader.from_batches(reader.schema, batches_of(pool, session, reader))


def read_catalog_query(sql: str, *, dialect: str, now: datetime) -> tuple[str, dict[DatasetName, View]]:
    """One SELECT in the engine's dialect, each place where it names a view under a name of its own; and these.

    Raises UsageError, NotFoundError (naming close views), AccessDeniedError.
    """
    statement = parse_query(sql, dialect, hint="the catalog's views can only be read")
    relations: dict[DatasetName, View] = {}
    for table in table_nodes(statement):
        if not isinstance(table.this, exp.Identifier):
            _check_function(table)
            continue
        view = _view(table)
        name = DatasetName(_NAMESPACE, f"{view.name}_{len(relations) + 1}")
        relations[name] = view
        _rename(table, name)
    _fix_now(statement, now)
    return statement.sql(dialect=DIALECT), relations


def _check_function(table: exp.Table) -> None:
    function = table.this
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    if isinstance(function, exp.Unnest | exp.ExplodingGenerateSeries | exp.GenerateSeries):
        return
    if not isinstance(function, exp.Func) or name.lower() not in _ROW_MAKERS:
        raise AccessDeniedError(
            f"{table.sql(dialect=DIALECT)} cannot be read with --catalog: only the catalog's views can",
            hint=f"the views: {', '.join(VIEWS)}",
        )


def _view(table: exp.Table) -> View:
    shown = ".".join(part for part in (table.catalog, table.db, table.name) if part)
    view = None if table.db or table.catalog else VIEWS.get(table.name.lower())
    if view is None:
        close = difflib.get_close_matches(table.name.lower(), VIEWS, n=2)
        raise NotFoundError(
            f"the catalog has no view {shown}",
            hint=f"did you mean {' or '.join(close)}?" if close and not table.db else f"the views: {', '.join(VIEWS)}",
            next_command='lakecat query "SELECT …" reads tables' if table.db else None,
        )
    if table.args.get("when") or table.args.get("version"):
        raise UsageError(f"{shown} has no versions", hint="the catalog's views show what it holds now")
    return view


def _rename(table: exp.Table, name: DatasetName) -> None:
    if not table.alias:
        table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
    table.set("this", exp.to_identifier(name.name, quoted=True))
    table.set("db", exp.to_identifier(name.namespace, quoted=True))


def _fix_now(statement: exp.Expr, now: datetime) -> None:
    """Let conditions speak of one moment, so that it can be told to the catalog database too."""
    for clause in statement.find_all(exp.Where, exp.Join):
        for node in list(clause.walk()):
            if isinstance(node, exp.CurrentTimestamp) or (
                isinstance(node, exp.Anonymous) and node.name.lower() in _NOW and not node.expressions
            ):
                node.replace(exp.cast(exp.Literal.string(now.astimezone(UTC).isoformat()), "timestamptz"))
            elif isinstance(node, exp.CurrentDate) and not node.this:
                node.replace(exp.cast(exp.Literal.string(now.astimezone(UTC).date().isoformat()), "date"))


def _schema(view: View) -> Schema:
    fields = [
        NestedField(number, column.name, _TYPES[column.type][0], required=False)
        for number, column in enumerate(view.columns, 1)
    ]
    return Schema(*fields)


def _fetch(connection: sa.Connection, view: View, need: Need) -> Generator[pa.RecordBatch]:
    condition, used, exact = _condition(view, need.predicate)
    if condition is not None and _size(condition) > _MOST_VALUES:
        condition, used, exact = None, (), False
    fetch = Fetch(
        view=view,
        columns=need.columns,
        condition=condition,
        condition_columns=used,
        order=need.order if need.limit is not None else (),
        limit=need.limit,
    )
    if not exact or not fetch.can_cut:
        fetch = replace(fetch, order=(), limit=None)
    shown = [view.column(name) for name in need.columns]
    # Closed at once when nobody wants more: the cursor must go before its connection does.
    with closing(batches(connection, fetch, _BATCH_ROWS)) as found:
        for values in found:
            arrays = [_array(column, each) for column, each in zip(shown, values, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, names=list(need.columns))


def _array(column: ViewColumn, values: Sequence[Any]) -> pa.Array:
    """What a database holds as values of the column's type; databases differ in how they give numbers and truth."""
    kind = _TYPES[column.type][1]
    if column.decode is not None:
        return pa.array([None if value is None else column.decode(value) for value in values], kind)
    if column.type is ViewType.TIMESTAMP:
        step = MICRO // column.per_second
        # Integers of any size: ML Metadata takes any number as a time.
        moments = (None if value is None else int(value) * step for value in values)
        return pa.array([None if at is None or at not in _TIMES else at for at in moments], kind)
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        make = _MAKERS[column.type]
        return pa.array([None if value is None else make(value) for value in values], kind)


_Condition = tuple[sa.ColumnElement[bool] | None, tuple[str, ...], bool]
"""A condition that lets through what is needed, the columns it names, and whether it lets nothing else through."""


def _condition(view: View, predicate: BooleanExpression | None) -> _Condition:
    if predicate is None:
        return None, (), True
    if isinstance(predicate, AlwaysFalse):
        return sa.false(), (), True
    if isinstance(predicate, And | Or):
        left, right = _condition(view, predicate.left), _condition(view, predicate.right)
        parts = [part[0] for part in (left, right) if part[0] is not None]
        exact = left[2] and right[2] and len(parts) == 2
        if not parts or (isinstance(predicate, Or) and len(parts) < 2):
            return None, (), False
        return (sa.or_ if isinstance(predicate, Or) else sa.and_)(*parts), (*left[1], *right[1]), exact
    operator = _OPERATORS.get(type(predicate))
    unbound: Any = predicate
    if operator is None or len(_literals(unbound)) > _MOST_VALUES:
        return None, (), False
    column = view.column(unbound.term.name)
    values = [_value(column.type, item) for item in _literals(unbound)]
    condition = compared(column, operator, values)
    whole = all(item.microsecond % 1000 == 0 for item in values if isinstance(item, datetime))
    return condition, (column.name,) if condition is not None else (), condition is not None and whole


def _size(condition: sa.ColumnElement[bool]) -> int:
    """How many values a condition binds."""
    bound = [node for node in iterate(condition) if isinstance(node, sa.BindParameter)]
    return sum(len(node.value or ()) if node.expanding else 1 for node in bound)


def _literals(predicate: Any) -> list[Any]:
    found = getattr(predicate, "literals", None)
    if found is not None:
        return [item.value for item in found]
    literal = getattr(predicate, "literal", None)
    return [] if literal is None else [literal.value]


def _value(kind: ViewType, value: Any) -> Any:
    """Iceberg keeps moments as microseconds since 1970."""
    if kind is ViewType.TIMESTAMP and isinstance(value, int):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    return value
