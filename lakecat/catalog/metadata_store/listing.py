"""Lists of nodes: filtered, in order, limited; as one statement, kept for each shape of filter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store.filters import prepare
from lakecat.catalog.metadata_store.kinds import Kind
from lakecat.catalog.metadata_store.session import Query, Rows, Session
from lakecat.catalog.metadata_store.values import ListOptions, OrderByField
from lakecat.errors import InvalidValueError

_KEPT: Final = 512
_CONTEXT: Final = "of_context"
_LIMIT: Final = "list_limit"
_AFTER_TIME: Final = "list_after_time"
_AFTER_ID: Final = "list_after_id"


@dataclass(frozen=True, slots=True)
class _Listing:
    """A statement; ``query`` where the driver can be given its text, for that its values need no treatment."""

    condition: sa.ColumnElement[bool] | None
    statement: sa.Select[Any]
    query: Query | None


_listings: OrderedDict[tuple[Any, ...], _Listing] = OrderedDict()
_lock = Lock()


def rows_of(
    session: Session,
    kind: Kind,
    options: ListOptions,
    *,
    context_id: int | None = None,
    after: tuple[int, int] | None = None,
) -> Rows:
    """The nodes' rows that the options choose, in their order; with ``context_id`` only those in that context.

    ``after``: only those that come after this place (see ``place_of``). Raises InvalidValueError, FilterError.
    """
    _check(options)
    condition: sa.ColumnElement[bool] | None = None
    parameters: dict[str, Any] = {}
    if options.filter_query:
        one = prepare(kind, options.filter_query, session.backend)
        condition = one.condition
        parameters.update(one.parameters)
    if context_id is not None:
        parameters[_CONTEXT] = context_id
    if options.limit:
        parameters[_LIMIT] = options.limit
    if after is not None:
        parameters[_AFTER_TIME], parameters[_AFTER_ID] = after
    key = (
        session.backend, kind.name, id(condition), context_id is not None, bool(options.limit), after is not None,
        options.order_by, options.is_asc,
    )  # fmt: skip
    return _rows(session, _listing(session, kind, options, condition, key), parameters)


def place_of(row: tuple[Any, ...], options: ListOptions) -> tuple[int, int]:
    """Where a row stands in the order of the options: its time (0 where they order by id), and its id."""
    if options.order_by is OrderByField.CREATE_TIME:
        return row[6], row[0]
    return (row[7] if options.order_by is OrderByField.UPDATE_TIME else 0), row[0]


def _rows(session: Session, listing: _Listing, parameters: Mapping[str, Any]) -> Rows:
    if listing.query is not None:
        return session.ask(listing.query, parameters)
    return [tuple(row) for row in session.connection.execute(listing.statement, dict(parameters))]


def _listing(
    session: Session,
    kind: Kind,
    options: ListOptions,
    condition: sa.ColumnElement[bool] | None,
    key: tuple[Any, ...],
) -> _Listing:
    found = _listings.get(key)
    if found is not None and found.condition is condition:
        return found
    of_context, limited, continued = key[3:6]
    statement = _statement(kind, options, condition, of_context=of_context, limited=limited)
    if continued:
        statement = statement.where(*_after(kind, options))
    compiled: Any = statement.compile(dialect=session.dialect)
    # Lists in a filter are written out for each call; and a value that the statement holds itself is not given again.
    whole = compiled.post_compile_params or compiled.literal_execute_params
    held = any(not bind.required for bind in compiled.binds.values())
    query = None if whole or held else Query(lambda _backend: statement)
    found = _Listing(condition, statement, query)
    with _lock:
        _listings[key] = found
        while len(_listings) > _KEPT:
            _listings.popitem(last=False)
    return found


def _statement(
    kind: Kind, options: ListOptions, condition: sa.ColumnElement[bool] | None, *, of_context: bool, limited: bool
) -> sa.Select[Any]:
    statement = sa.select(*kind.columns)
    if of_context:
        joined = s.attribution if kind.name == "artifact" else s.association
        inside = sa.select(joined.c[kind.key]).where(
            joined.c.context_id == sa.bindparam(_CONTEXT, type_=sa.BigInteger())
        )
        statement = statement.where(kind.table.c.id.in_(inside))
    if condition is not None:
        statement = statement.where(condition)
    time = _time(kind, options)
    columns = [kind.table.c.id] if time is None else [time, kind.table.c.id]
    statement = statement.order_by(*(column.asc() if options.is_asc else column.desc() for column in columns))
    return statement.limit(sa.bindparam(_LIMIT, type_=sa.Integer())) if limited else statement


def _time(kind: Kind, options: ListOptions) -> sa.ColumnElement[int] | None:
    if options.order_by is OrderByField.CREATE_TIME:
        return kind.table.c.create_time_since_epoch
    return kind.table.c.last_update_time_since_epoch if options.order_by is OrderByField.UPDATE_TIME else None


def _after(kind: Kind, options: ListOptions) -> list[sa.ColumnElement[bool]]:
    """The conditions on nodes that come after a place; the first one alone, on the time, uses its index."""
    time, key = _time(kind, options), kind.table.c.id
    after_time = sa.bindparam(_AFTER_TIME, type_=sa.BigInteger())
    after_id = sa.bindparam(_AFTER_ID, type_=sa.BigInteger())
    beyond = key > after_id if options.is_asc else key < after_id
    if time is None:
        return [beyond]
    if options.is_asc:
        return [time >= after_time, sa.or_(time > after_time, beyond)]
    return [time <= after_time, sa.or_(time < after_time, beyond)]


def _check(options: ListOptions) -> None:
    if options.limit is not None and options.limit < 0:
        raise InvalidValueError(
            "a limit is a number of nodes", field="limit", value=options.limit, hint="None (or 0) means all"
        )
    if options.order_by is not None and options.order_by not in list(OrderByField):
        names = ", ".join(OrderByField.__members__)
        raise InvalidValueError(
            f"{options.order_by!r} is no order", field="order_by", value=options.order_by, hint=f"one of {names}"
        )
