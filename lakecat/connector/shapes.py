"""JSON and Python values to Arrow types: what a field's values have been, and their exact conversion to a column's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from lakecat.connector.columns import fold
from lakecat.connector.fit import MisfitError, Rule, by_halving, exact_double, fit
from lakecat.errors import LakecatError

MAX_FIELDS: Final = 10_000
_DOUBLE_INTEGERS: Final = 2**53
_INT64: Final = 2**63
_DECIMAL_DIGITS: Final = 38
_SURE_LENGTH: Final = 16

NOT_OF_THE_TYPE: Final = (MisfitError, pa.ArrowInvalid, OverflowError)
"""What :func:`array_of` raises for values that are not of the type, or too large together."""

Convert = Callable[[Any], Any]


class ShapeError(Exception):
    """A value that no column can hold; ``path`` names the field."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.path = path


def number(text: str) -> float | Decimal:
    """A JSON number with a fraction or exponent: a float where that stands for the text exactly, else a Decimal.

    Raises ValueError for numbers beyond a double's range.
    """
    value = float(text)
    if math.isinf(value):
        raise ValueError("is a number beyond the range of a double")
    if value and (len(text) <= _SURE_LENGTH or repr(value) == text):
        return value
    return value if exact_double(text, value) else Decimal(text)


@dataclass(slots=True)
class Budget:
    """How many fields a slice may have, nested ones counted."""

    left: int = MAX_FIELDS


@dataclass(slots=True)
class Shape:
    """What one field's values have been."""

    budget: Budget
    kinds: set[str] = field(default_factory=set)
    fields: dict[str, Shape] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    item: Shape | None = None
    whole_digits: int = 0
    scale: int = 0

    def observe(self, value: Any, path: str = "") -> None:
        """Take one value into account. Raises ShapeError."""
        if value is None:
            return
        if isinstance(value, dict):
            self.kinds.add("struct")
            for name, part in value.items():
                self.child(name, path).observe(part, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            self.kinds.add("list")
            if self.item is None:
                self.item = type(self)(self.budget)
            for part in value:
                self.item.observe(part, f"{path}[]")
        else:
            self.observe_scalar(value, path)

    def child(self, name: str, path: str) -> Shape:
        """The named field's shape. Raises ShapeError for names that collide and for too many fields."""
        shape = self.fields.get(name)
        if shape is not None:
            return shape
        here = f"{path}.{name}" if path else name
        if not name.strip() or any(ord(character) < 32 for character in name):
            raise ShapeError(f"the key {name!r} is no column name", here)
        other = self.folded.setdefault(fold(name), name)
        if other != name:
            raise ShapeError(f"the keys {other!r} and {name!r} are one column", here)
        self.budget.left -= 1
        if self.budget.left < 0:
            raise ShapeError(f"more than {MAX_FIELDS} different keys: they look like data, not columns", here)
        shape = self.fields[name] = type(self)(self.budget)
        return shape

    def observe_scalar(self, value: Any, path: str) -> None:
        """Take one value that is no object and no list into account. Raises ShapeError."""
        if isinstance(value, str):
            self.kinds.add("string")
        elif isinstance(value, bool):
            self.kinds.add("boolean")
        else:
            whole, scale = _digits(value)
            if whole + scale > _DECIMAL_DIGITS and not isinstance(value, float):
                raise ShapeError(f"a number with {whole + scale} digits; no column holds more than 38", path)
            self.whole_digits = max(self.whole_digits, whole)
            self.scale = max(self.scale, scale)
            self.kinds.add(_number_kind(value))

    def decide(self) -> pa.DataType:
        """The narrowest type that holds every observed value exactly; text (the value as JSON) when kinds differ."""
        kinds = self.kinds
        if kinds == {"boolean"}:
            return pa.bool_()
        if kinds == {"struct"} and self.fields:
            return pa.struct([pa.field(name, shape.decide()) for name, shape in self.fields.items()])
        if kinds == {"list"} and self.item is not None:
            return pa.list_(self.item.decide())
        if kinds and kinds <= {"integer", "large", "double", "decimal"}:
            return self._number_type()
        return pa.string()

    def _number_type(self) -> pa.DataType:
        if self.kinds <= {"integer", "large"}:
            return pa.int64()
        if "decimal" not in self.kinds and "double" in self.kinds and "large" not in self.kinds:
            return pa.float64()
        if self.whole_digits + self.scale <= _DECIMAL_DIGITS:
            return pa.decimal128(_DECIMAL_DIGITS, self.scale)
        return pa.string()


def _number_kind(value: float | Decimal) -> str:
    if isinstance(value, float):
        return "double"
    if isinstance(value, Decimal) or not -_INT64 <= value < _INT64:
        return "decimal"
    return "integer" if abs(value) <= _DOUBLE_INTEGERS else "large"


def _digits(value: float | Decimal) -> tuple[int, int]:
    """Digits before and after the point."""
    if isinstance(value, int):
        return len(str(abs(value))) if abs(value) < 10**40 else 10**6, 0
    _, digits, exponent = Decimal(repr(value) if isinstance(value, float) else value).as_tuple()
    if not isinstance(exponent, int):
        return 0, 0
    return max(len(digits) + exponent, 0), max(-exponent, 0)


def as_json(value: Any) -> str:
    """A value as JSON text, decimals exactly; what JSON lacks as text. Raises MisfitError for bytes."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | time | UUID | bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return f'"{as_text(value)}"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{as_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def as_text(value: Any) -> str:
    """A value in a text column: text as it is, times by ISO 8601, the rest as JSON. Raises MisfitError for bytes."""
    if isinstance(value, str):
        return value
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        raise MisfitError("bytes are no text")
    if type(value) is int or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return as_json(value)


def array_of(values: Sequence[Any], rule: Rule, *, surplus: bool = False) -> pa.Array:
    """JSON values as an array of ``rule.type``, exactly.

    ``surplus``: fields that a struct of the type has not are left out, which is only for a look at the others.
    Raises one of :data:`NOT_OF_THE_TYPE`, and LakecatError for a type that no JSON value has.
    """
    if pa.types.is_temporal(rule.type):
        if any(value is not None and not isinstance(value, str) for value in values):
            raise MisfitError
        return fit(pa.array(values, pa.string()), rule)
    convert = converter(rule, surplus=surplus)
    return pa.array([convert(value) for value in values], rule.type)


def misfit_values(values: Sequence[Any], rule: Rule, most: int, *, surplus: bool = False) -> list[int]:
    """Indexes of the JSON values that are not of the type, in order; no more than the first ``most``."""

    def fits(start: int, count: int) -> bool:
        try:
            array_of(values[start : start + count], rule, surplus=surplus)
        except NOT_OF_THE_TYPE:
            return False
        return True

    return by_halving(len(values), fits, most)


def converter(rule: Rule, *, surplus: bool = False) -> Convert:
    """The function from a JSON value to what ``pa.array(..., rule.type)`` takes exactly. It raises MisfitError.

    With ``surplus`` it leaves out the fields that a struct of the type has not.
    """
    kind = rule.type
    if pa.types.is_struct(kind):
        return _struct(kind, rule, surplus=surplus)
    if pa.types.is_map(kind):
        return _map(kind, rule, surplus=surplus)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = converter(Rule(kind.value_type, rule.declared), surplus=surplus)
        return lambda value: None if value is None else [item(part) for part in _of(list, value)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return lambda value: value if value is None or isinstance(value, str) else as_text(value)
    return _scalar(kind, rule)


def _scalar(kind: pa.DataType, rule: Rule) -> Convert:
    if pa.types.is_boolean(kind):
        return lambda value: None if value is None else _of(bool, value)
    if pa.types.is_integer(kind):
        return lambda value: None if value is None else _integer(value)
    if pa.types.is_floating(kind):
        return lambda value: None if value is None else _float(value, declared=rule.declared)
    if pa.types.is_decimal(kind):
        return lambda value: None if value is None else _decimal(value)
    if pa.types.is_temporal(kind):
        return lambda value: None if value is None else _temporal(value, rule)
    if kind == pa.uuid():
        return lambda value: None if value is None else _uuid(value).bytes
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return lambda value: None if value is None else _of(bytes, value)
    raise LakecatError(f"JSON has no {kind}")


def _temporal(value: Any, rule: Rule) -> Any:
    kind = rule.type
    if isinstance(value, str):
        return fit(pa.array([value], pa.string()), rule)[0].as_py()
    if pa.types.is_timestamp(kind):
        return moment(_of(datetime, value), zoned=kind.tz is not None)
    if pa.types.is_date(kind) and not isinstance(value, datetime):
        return _of(date, value)
    if pa.types.is_time(kind) and _of(time, value).tzinfo is None:
        return value
    raise MisfitError


def moment(value: datetime, *, zoned: bool) -> datetime:
    """A time for a column with or without zone; in UTC where it has one. Raises MisfitError."""
    if (value.utcoffset() is not None) != zoned:
        raise MisfitError
    try:
        return value.astimezone(UTC) if zoned else value
    except OverflowError as err:
        raise MisfitError from err


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(_of(str, value))
    except ValueError as err:
        raise MisfitError from err


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise MisfitError
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MisfitError
    return value


def _float(value: Any, *, declared: bool) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise MisfitError
    result = float(value)
    if not declared and Decimal(repr(result)) != value:
        raise MisfitError
    return result


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise MisfitError
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _struct(kind: pa.StructType, rule: Rule, *, surplus: bool) -> Convert:
    parts = {part.name: converter(Rule(part.type, rule.declared), surplus=surplus) for part in kind}

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, dict) or not (surplus or value.keys() <= parts.keys()):
            raise MisfitError
        return {name: part(value.get(name)) for name, part in parts.items()}

    return convert


def _map(kind: pa.MapType, rule: Rule, *, surplus: bool) -> Convert:
    item = converter(Rule(kind.item_type, rule.declared), surplus=surplus)
    if not pa.types.is_string(kind.key_type):
        raise LakecatError("JSON has no maps with keys that are not strings")
    return lambda value: None if value is None else [(key, item(part)) for key, part in _of(dict, value).items()]
