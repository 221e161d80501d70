"""SQLAlchemy's types as Arrow's, and the values that drivers give for them: exact, or misfits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import sqlalchemy as sa

from lakecat.connector.fit import MisfitError
from lakecat_connectors._sql_convert import Conversion, Target, from_texts, then_cast
from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import Column
from lakecat_connectors._sql_text import BEYOND, INTERVAL

_DIGITS: Final = 38
_SURE_DIGITS: Final = 15  # so many survive in a driver that hands decimals out as doubles
_BEYOND: Final = re.compile(BEYOND)
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)

Value = Callable[[Any], Any]
"""From a driver's value, not None, to what pyarrow takes exactly; raises MisfitError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyColumn(Column):
    """A column, its type as reflected, and how values convert; ``textual``: it is fetched as text.

    ``refused`` says why it cannot be read.
    """

    reflected: sa.types.TypeEngine[Any]
    convert: Conversion
    textual: bool = False
    refused: str | None = None


def column_of(
    name: str, reflected: sa.types.TypeEngine[Any], policy: StreamOptions, *, nullable: bool, comment: str | None
) -> AnyColumn:
    """The column of a reflected type."""
    found = _reading(reflected, policy)
    native = _spelled(reflected)
    type_, value = found or (pa.null(), _misfit)
    return AnyColumn(
        name=name,
        type=type_,
        native=native,
        nullable=nullable,
        comment=comment,
        reflected=reflected,
        convert=_converted(type_, value),
        textual=isinstance(reflected, sa.types.JSON),
        refused=None if found else f"the type {native} is not known",
        numeric=isinstance(reflected, sa.types.Numeric),
    )


def target_of(column: AnyColumn, declared: pa.DataType | None) -> Target:
    """How a column leaves: as its own type, or as the job declares it."""
    if declared in (None, column.type):
        return Target(column.name, column.type, column.native, column.convert, _without_beyond)
    if pa.types.is_string(declared) or pa.types.is_large_string(declared) or pa.types.is_string(column.type):
        fit, texts = from_texts(declared), _converted(pa.string(), _to_text)
        return Target(column.name, declared, column.native, lambda cells: fit(texts(cells)))
    return Target(column.name, declared, column.native, then_cast(column.convert, declared))


def _without_beyond(cells: Sequence[Any]) -> list[Any]:
    """NULL for what drivers hand out of dates and times that Python has not: texts, and spans beyond a day."""
    return [
        None
        if (isinstance(cell, str) and _BEYOND.fullmatch(cell))
        or (isinstance(cell, timedelta) and not timedelta() <= cell < _DAY)
        else cell
        for cell in cells
    ]


def _spelled(reflected: sa.types.TypeEngine[Any]) -> str:
    try:
        return str(reflected)
    except sa.exc.CompileError:
        return type(reflected).__name__


def _converted(type_: pa.DataType, value: Value) -> Conversion:
    def convert(cells: Sequence[Any]) -> pa.Array:
        values = [None if cell is None else value(cell) for cell in cells]
        if type_ == pa.uuid():
            storage = pa.array(values, pa.binary(16))
            return pa.ExtensionArray.from_storage(type_, storage)
        return pa.array(values, type_)

    return convert


def _reading(reflected: sa.types.TypeEngine[Any], policy: StreamOptions) -> tuple[pa.DataType, Value] | None:
    if isinstance(reflected, sa.types.Numeric) and not isinstance(reflected, sa.types.Float):
        return _numeric(reflected, policy)
    if isinstance(reflected, sa.types.Uuid):
        return (pa.uuid(), _to_uuid) if policy.uuid == "uuid" else (pa.string(), lambda cell: str(_uuid(cell)))
    if isinstance(reflected, sa.types.Interval) or type(reflected).__name__ == "INTERVAL":
        return (INTERVAL, _to_parts) if policy.interval == "struct" else (pa.string(), _to_interval)
    if isinstance(reflected, sa.types.Integer) and getattr(reflected, "unsigned", False):
        return pa.decimal128(20, 0), _only(int)
    if isinstance(reflected, sa.types.DateTime | sa.types.TIMESTAMP):
        return (pa.timestamp("us", "UTC"), _to_zoned) if reflected.timezone else (pa.timestamp("us"), _to_naive)
    return next((reading for kind, reading in _PLAIN.items() if isinstance(reflected, kind)), None)


def _numeric(reflected: Any, policy: StreamOptions) -> tuple[pa.DataType, Value]:
    precision, scale = reflected.precision, reflected.scale or 0
    if precision is None:
        wide = policy.numeric_scale
        return (pa.string(), _to_number_text) if wide is None else (pa.decimal128(_DIGITS, wide), _to_decimal(None))
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    if precision > _DIGITS:
        return pa.string(), _to_number_text
    return pa.decimal128(precision, scale), _to_decimal(precision)


def _only(*kinds: type) -> Value:
    def value(cell: Any) -> Any:
        if not isinstance(cell, kinds):
            raise MisfitError
        return cell

    return value


def _misfit(cell: Any) -> Any:
    raise MisfitError(str(cell))


def _to_bool(cell: Any) -> bool:
    if cell in (0, 1):
        return bool(cell)
    raise MisfitError


def _to_double(cell: Any) -> float:
    if isinstance(cell, float):
        return cell
    if not isinstance(cell, int | Decimal) or float(cell) != cell:
        raise MisfitError
    return float(cell)


def _to_decimal(precision: int | None) -> Value:
    def value(cell: Any) -> Decimal:
        if isinstance(cell, float) and precision is not None and precision <= _SURE_DIGITS:
            return Decimal(repr(cell))
        if isinstance(cell, bool) or not isinstance(cell, int | Decimal):
            raise MisfitError
        return Decimal(cell)

    return value


def _to_number_text(cell: Any) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | Decimal):
        raise MisfitError
    return format(Decimal(cell), "f")


def _to_string(cell: Any) -> str:
    value = cell.read() if hasattr(cell, "read") else cell  # a large object that is fetched when it is read
    if not isinstance(value, str):
        raise MisfitError
    return value


def _to_bytes(cell: Any) -> bytes:
    value = cell.read() if hasattr(cell, "read") else cell
    if not isinstance(value, bytes | bytearray | memoryview):
        raise MisfitError
    return bytes(value)


def _to_date(cell: Any) -> date:
    if isinstance(cell, datetime) or not isinstance(cell, date):
        raise MisfitError
    return cell


def _to_naive(cell: Any) -> datetime:
    if not isinstance(cell, datetime) or cell.tzinfo is not None:
        raise MisfitError
    return cell


def _to_zoned(cell: Any) -> datetime:
    if not isinstance(cell, datetime) or cell.tzinfo is None:
        raise MisfitError
    return cell.astimezone(UTC)


def _to_time(cell: Any) -> time:
    if isinstance(cell, timedelta) and timedelta() <= cell < _DAY:
        return (datetime(1970, 1, 1, tzinfo=UTC) + cell).time()
    if not isinstance(cell, time) or cell.tzinfo is not None:
        raise MisfitError
    return cell


def _to_parts(cell: Any) -> dict[str, int]:
    if not isinstance(cell, timedelta):
        raise MisfitError
    microseconds = (cell - timedelta(days=cell.days)) // timedelta(microseconds=1)
    return {"months": 0, "days": cell.days, "microseconds": microseconds}


def _to_interval(cell: Any) -> str:
    """ISO 8601, in days and seconds: a timedelta knows no other parts."""
    if not isinstance(cell, timedelta):
        raise MisfitError
    seconds, rest = divmod(cell - timedelta(days=cell.days), _SECOND)
    fraction = f".{rest // timedelta(microseconds=1):06}".rstrip("0") if rest else ""
    days = f"{cell.days}D" if cell.days else ""
    clock = f"T{seconds}{fraction}S" if seconds or fraction or not days else ""
    return f"P{days}{clock}"


def _uuid(cell: Any) -> UUID:
    return cell if isinstance(cell, UUID) else UUID(_only(str)(cell))


def _to_uuid(cell: Any) -> bytes:
    return _uuid(cell).bytes


def _to_text(cell: Any) -> str:
    """Any value that has one text."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    if isinstance(cell, int | float | date | time | UUID):
        return repr(cell) if isinstance(cell, int | float) else str(cell)
    raise MisfitError


_PLAIN: Final[Mapping[type, tuple[pa.DataType, Value]]] = {
    sa.types.Boolean: (pa.bool_(), _to_bool),
    sa.types.SmallInteger: (pa.int32(), _only(int)),
    sa.types.Integer: (pa.int64(), _only(int)),
    sa.types.Float: (pa.float64(), _to_double),
    sa.types.LargeBinary: (pa.binary(), _to_bytes),
    sa.types.BINARY: (pa.binary(), _to_bytes),
    sa.types.VARBINARY: (pa.binary(), _to_bytes),
    sa.types.Date: (pa.date32(), _to_date),
    sa.types.Time: (pa.time64("us"), _to_time),
    sa.types.JSON: (pa.string(), _to_string),
    sa.types.String: (pa.string(), _to_string),
}
