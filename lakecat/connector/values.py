"""Python values to Arrow columns: which kinds a column's values have been, and exact arrays of them, fast.

A column whose values are all of one Python type is made by Arrow in one step; what is mixed or nested goes value by
value through :mod:`lakecat.connector.shapes`. Both ways take and refuse the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakecat.connector.fit import MisfitError, Rule, fit, is_text_type
from lakecat.connector.shapes import Shape, ShapeError, converter, moment

MAX_DEPTH: Final = 64
_EXACT_DOUBLE: Final = 2**53
_FIRST_MOMENT: Final = -62_135_596_800_000_000
_NUMBERS: Final = frozenset(("integer", "large", "double", "decimal", "nonfinite"))
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
    "binary": pa.binary(),
    "uuid": pa.uuid(),
}
_KINDS: Final[Mapping[type, str]] = {date: "date", time: "time", bytes: "binary", UUID: "uuid"}
_BASIC: Final = frozenset((NoneType, bool, int, float, Decimal, str, bytes, date, datetime, time, UUID))
_SURE: Final = _BASIC - {datetime, time, float, Decimal, str}

NOT_EXACT: Final = (MisfitError, pa.ArrowException, OverflowError, UnicodeEncodeError, ValueError, TypeError)
"""What making an array of values that are not of its type raises."""


class ValueShape(Shape):
    """What one field's Python values have been. They must be :func:`basic`."""

    __slots__ = ()

    def observe_scalar(self, value: Any, path: str) -> None:
        """Take one value that is no object and no list into account. Raises ShapeError."""
        kind = _KINDS.get(type(value))
        if kind is not None:
            self.kinds.add(kind)
        elif isinstance(value, datetime):
            self.kinds.add("timestamp" if value.tzinfo is None else "timestamptz")
        elif isinstance(value, float | Decimal) and not math.isfinite(value):
            self.kinds |= {"nonfinite", "double" if isinstance(value, float) else "decimal"}
        else:
            Shape.observe_scalar(self, value, path)

    def decide(self) -> pa.DataType:
        """As for JSON; text when kinds differ. Raises ShapeError for kinds that no text tells apart."""
        kinds = self.kinds
        if len(kinds) == 1 and (type_ := _TYPES.get(next(iter(kinds)))) is not None:
            return type_
        if {"timestamp", "timestamptz"} <= kinds:
            raise ShapeError("some times have a zone, others have none")
        if "binary" in kinds:
            raise ShapeError("some values are bytes, others are not")
        if "nonfinite" in kinds and kinds <= _NUMBERS:
            return pa.float64() if kinds <= {"nonfinite", "double", "integer"} else pa.string()
        return Shape.decide(self)

    def merge(self, other: Shape) -> None:
        """Take what another shape of the same field has seen into account. Raises ShapeError."""
        self.kinds |= other.kinds
        self.whole_digits = max(self.whole_digits, other.whole_digits)
        self.scale = max(self.scale, other.scale)
        for name, shape in other.fields.items():
            mine = self.child(name, "")
            if isinstance(mine, ValueShape):
                mine.merge(shape)
        if other.item is not None:
            self.item = self.item or ValueShape(self.budget)
            if isinstance(self.item, ValueShape):
                self.item.merge(other.item)

    @property
    def needs_digits(self) -> bool:
        """Whether doubles will be decimals, so that their digits must be known."""
        return "double" in self.kinds and bool(self.kinds & {"decimal", "large"}) and self.kinds <= _NUMBERS


def basic(value: Any, depth: int = 0) -> Any:
    """The value made of Python's own types: subclasses, NumPy scalars, enums, tuples, mappings. Raises ShapeError."""
    kind = type(value)
    if kind in _SURE:
        return value
    if kind in _BASIC:
        return _checked(value)
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        return _nested(value, depth + 1)
    if isinstance(value, np.generic):
        return _of_numpy(value)
    if isinstance(value, Enum):
        return basic(value.value, depth)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return _of_subclass(value)


def _checked(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ShapeError("holds a lone surrogate, which is no character") from None
    elif isinstance(value, datetime):
        return _in_utc(value)
    elif isinstance(value, time) and value.tzinfo is not None:
        raise ShapeError("is a time of day with a zone, which no column holds")
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value
    if value.utcoffset() is None:
        return value.replace(tzinfo=None)
    try:
        return moment(value, zoned=True)
    except MisfitError:
        raise ShapeError("is beyond the years 1 to 9999 in UTC") from None


def _nested(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ShapeError(f"is nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ShapeError(f"holds a key that is no text but {type(name).__name__}")
        return {str(_checked(str(name))): basic(part, depth) for name, part in value.items()}
    return [basic(part, depth) for part in value]


def _of_numpy(value: np.generic) -> Any:
    plain = value.item()
    if isinstance(plain, np.generic) or type(plain) not in _BASIC:
        raise ShapeError(f"is a numpy.{type(value).__name__}, which no column holds exactly")
    if isinstance(value, np.datetime64) and not isinstance(plain, date):
        raise ShapeError("is a numpy.datetime64 finer than microseconds", "")
    return _checked(plain)


def _of_subclass(value: Any) -> Any:
    nanoseconds = getattr(value, "nanosecond", 0)
    if isinstance(nanoseconds, int) and nanoseconds:
        raise ShapeError("is a time finer than microseconds")
    if isinstance(value, datetime):
        return _in_utc(datetime.combine(value.date(), value.time(), value.tzinfo))
    makers: tuple[tuple[type, Callable[[Any], Any]], ...] = (
        (date, lambda own: date(own.year, own.month, own.day)),
        (int, int.__int__),
        (float, float.__float__),
        (str, str.__str__),
        (bytes, bytes),
        (Decimal, Decimal),
        (UUID, lambda own: UUID(int=own.int)),
    )
    for kind, make in makers:
        if isinstance(value, kind):
            return _checked(make(value))
    raise ShapeError(f"is a {type(value).__module__}.{type(value).__qualname__}, which no column holds")


@dataclass(frozen=True, slots=True)
class Observed:
    """One column of a chunk without a known type: as an array where all values are of one kind, else as they are."""

    array: pa.Array | None
    values: Sequence[Any] | None


def observe(values: Sequence[Any], shape: ValueShape) -> Observed:
    """Take a chunk's column into account. Raises ShapeError or one of :data:`NOT_EXACT` for what no column holds."""
    types = set(map(type, values)) - {NoneType}
    if len(types) == 1:
        one = _OBSERVERS.get(next(iter(types)))
        if one is not None and (array := one(values, shape)) is not None:
            return Observed(array, None)
    elif not types:
        return Observed(pa.nulls(len(values)), None)
    plain = [basic(value) for value in values]
    for value in plain:
        shape.observe(value)
    return Observed(None, plain)


def _integers(values: Sequence[Any], shape: ValueShape) -> pa.Array | None:
    try:
        array = pa.array(values, pa.int64())
    except OverflowError:
        return None
    bounds = pc.min_max(array).as_py()
    biggest = max(abs(bounds["min"]), abs(bounds["max"]))
    shape.kinds.add("integer" if biggest <= _EXACT_DOUBLE else "large")
    shape.whole_digits = max(shape.whole_digits, len(str(biggest)))
    return array


def _floats(values: Sequence[Any], shape: ValueShape) -> pa.Array:
    array = pa.array(values, pa.float64())
    shape.kinds.add("double")
    if not pc.all(pc.is_finite(array)).as_py():
        shape.kinds.add("nonfinite")
    return array


def _decimals(values: Sequence[Any], shape: ValueShape) -> pa.Array | None:
    try:
        array = pa.array(values)
    except pa.ArrowInvalid:
        return None
    if not pa.types.is_decimal128(array.type) or array.type.scale < 0:
        return None
    shape.kinds.add("decimal")
    shape.whole_digits = max(shape.whole_digits, array.type.precision - array.type.scale)
    shape.scale = max(shape.scale, array.type.scale)
    return array


def _times(values: Sequence[Any], shape: ValueShape) -> pa.Array | None:
    zones = {value.tzinfo for value in values if value is not None}
    if zones != {None} and None in zones:
        return None
    kind = "timestamp" if None in zones else "timestamptz"
    array = _zoned(values) if kind == "timestamptz" else pa.array(values, pa.timestamp("us"))
    if array is not None:
        shape.kinds.add(kind)
    return array


def _zoned(values: Sequence[Any]) -> pa.Array | None:
    """None where a zone that gives no offset, or the first or last years, need a closer look."""
    if any(value is not None and value.tzinfo is not UTC and value.utcoffset() is None for value in values):
        return None
    array = pa.array(values, pa.timestamp("us", "UTC"))
    bounds = pc.min_max(array.cast(pa.int64())).as_py()
    last = _FIRST_MOMENT + 315_537_897_600_000_000
    return array if bounds["min"] >= _FIRST_MOMENT and bounds["max"] < last else None


def _times_of_day(values: Sequence[Any], shape: ValueShape) -> pa.Array | None:
    if any(value is not None and value.tzinfo is not None for value in values):
        return None
    return _plain("time", pa.time64("us"))(values, shape)


def _plain(kind: str, type_: pa.DataType) -> Callable[[Sequence[Any], ValueShape], pa.Array | None]:
    def make(values: Sequence[Any], shape: ValueShape) -> pa.Array | None:
        array = pa.array(values, type_)
        if isinstance(array, pa.ChunkedArray):
            return None
        shape.kinds.add(kind)
        return array

    return make


_OBSERVERS: Final[Mapping[type, Callable[[Sequence[Any], ValueShape], pa.Array | None]]] = {
    int: _integers,
    float: _floats,
    Decimal: _decimals,
    datetime: _times,
    time: _times_of_day,
    str: _plain("string", pa.string()),
    bool: _plain("boolean", pa.bool_()),
    bytes: _plain("binary", pa.binary()),
    date: _plain("date", pa.date32()),
    UUID: _plain("uuid", pa.uuid()),
}


def observe_digits(array: pa.Array, shape: ValueShape) -> None:
    """Learn the digits of doubles that will be decimals."""
    for value in pc.unique(array).to_pylist():
        if value is not None and math.isfinite(value):
            Shape.observe(shape, value)


def convert(values: Sequence[Any], rule: Rule, *, surplus: bool = False) -> pa.Array:
    """The values as ``rule.type``, exactly.

    ``surplus``: fields that a struct of the type has not are left out, which is only for a look at the others.
    Raises one of :data:`NOT_EXACT` when one does not fit, LakecatError for a type that no Python value has.
    """
    types = set(map(type, values)) - {NoneType}
    if len(types) == 1:
        fast = _fast(next(iter(types)), values, rule)
        if fast is not None:
            return fast
    elif not types:
        return pa.nulls(len(values), rule.type)
    one = converter(rule, surplus=surplus)
    return _array([_one(one, basic(value), rule) for value in values], rule.type)


def _one(make: Callable[[Any], Any], value: Any, rule: Rule) -> Any:
    """A text may stand for a number or a boolean where a person declared one."""
    kind = rule.type
    if isinstance(value, str) and rule.declared and is_text_type(kind) and not _is_text(kind):
        return fit(pa.array([value], pa.string()), rule)[0].as_py()
    return make(value)


def _fast(kind: type, values: Sequence[Any], rule: Rule) -> pa.Array | None:
    """The array in one step, where Arrow is known to be as exact as the slow way."""
    type_ = rule.type
    if kind is str:
        return _from_text(values, rule)
    if kind is datetime and pa.types.is_timestamp(type_) and type_.unit == "us":
        zones = {value.tzinfo for value in values if value is not None}
        if type_.tz is None and zones == {None}:
            return pa.array(values, type_)
        return None if type_.tz is None or None in zones else _retyped(_zoned(values), type_)
    matches = _EXACT.get(kind)
    return _array(values, type_) if matches is not None and matches(type_) else None


def _retyped(array: pa.Array | None, type_: pa.DataType) -> pa.Array | None:
    return None if array is None else array.cast(type_)


def _from_text(values: Sequence[Any], rule: Rule) -> pa.Array | None:
    kind = rule.type
    if _is_text(kind):
        return _array(values, kind)
    if pa.types.is_temporal(kind) or (rule.declared and is_text_type(kind)):
        return fit(_array(values, pa.string()), rule)
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


_EXACT: Final[Mapping[type, Callable[[pa.DataType], bool]]] = {
    int: pa.types.is_integer,
    float: pa.types.is_floating,
    Decimal: pa.types.is_decimal,
    bool: pa.types.is_boolean,
    bytes: _is_bytes,
    date: pa.types.is_date32,
    UUID: lambda kind: kind == pa.uuid(),
}


def _array(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    stored = _stored(type_) if pa.types.is_nested(type_) else type_
    array = pa.array(values, stored)
    if isinstance(array, pa.ChunkedArray):
        raise MisfitError("more than 2 GiB")
    return array if stored == type_ else array.cast(type_)


def _stored(type_: pa.DataType) -> pa.DataType:
    """The type as Arrow makes it of Python values: a UUID inside others as its bytes."""
    if type_ == pa.uuid():
        return pa.binary(16)
    if pa.types.is_struct(type_):
        return pa.struct([part.with_type(_stored(part.type)) for part in type_])
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(_stored(type_.value_type)))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, type_.item_field.with_type(_stored(type_.item_type)))
    return type_
