"""Text to typed columns, exactly: a text either is a value of the type or it is a misfit. Nothing is guessed.

``declared`` types are what a person asked for, so they also take what only a person can know: zero-led numbers,
``nan``, and doubles with more digits than a double holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_EXACT_DIGITS: Final = 15  # any decimal text of so many significant digits survives text -> double -> text
_SAFE_EXPONENTS: Final = (1e-290, 1e290)
_POW10: Final = np.array([10**n for n in range(20)], dtype=np.uint64)
_FIRST_DAY: Final = -719_162  # 0001-01-01 in days since 1970; Python, SQL and Iceberg readers know no year 0
_TRUE: Final = ("true", "True", "TRUE")
_FALSE: Final = ("false", "False", "FALSE")


class MisfitError(Exception):
    """Some value of the column is not of the type."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one column's text is read."""

    type: pa.DataType
    declared: bool = False
    date_formats: Sequence[str] = ()
    timestamp_formats: Sequence[str] = ()


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read from text."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date32(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_time(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def fit(texts: pa.Array, rule: Rule) -> pa.Array:
    """The column as ``rule.type``; NULL stays NULL. Raises MisfitError."""
    kind = rule.type
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), kind)
    try:
        return _fitter(kind)(texts, rule)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise MisfitError(str(kind)) from err


def first_misfit(texts: pa.Array, rule: Rule) -> int:
    """Index of the first value that does not fit, by halving; -1 when all fit."""
    low, high = 0, len(texts)
    if _fits(texts, rule):
        return -1
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(texts.slice(low, middle - low), rule):
            low = middle
        else:
            high = middle
    return low


def misfits(texts: pa.Array, rule: Rule, most: int) -> list[int]:
    """Indexes of the values that do not fit, in order; no more than the first ``most``."""
    return by_halving(len(texts), lambda start, count: _fits(texts.slice(start, count), rule), most)


def by_halving(count: int, fits: Callable[[int, int], bool], most: int) -> list[int]:
    """Indexes of those of ``count`` values that do not fit, in order; no more than the first ``most``.

    ``fits`` tells of a part, by its start and its length, whether all of it fits.
    """
    found: list[int] = []
    parts = [(0, count)]
    while parts and len(found) < most:
        start, size = parts.pop()
        if fits(start, size):
            continue
        if size == 1:
            found.append(start)
            continue
        half = size // 2
        parts += [(start + half, size - half), (start, half)]
    return found


def _fits(texts: pa.Array, rule: Rule) -> bool:
    try:
        fit(texts, rule)
    except MisfitError:
        return False
    return True


def _fitter(kind: pa.DataType) -> Callable[[pa.Array, Rule], pa.Array]:
    table: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, Rule], pa.Array]], ...] = (
        (pa.types.is_integer, _to_integer),
        (pa.types.is_floating, _to_float),
        (pa.types.is_decimal, _to_decimal),
        (pa.types.is_boolean, _to_boolean),
        (pa.types.is_date32, _to_date),
        (pa.types.is_timestamp, _to_timestamp),
        (pa.types.is_time, _to_time),
    )
    for matches, fitter in table:
        if matches(kind):
            return fitter
    return _to_string


def _to_string(texts: pa.Array, rule: Rule) -> pa.Array:
    return texts if texts.type == rule.type else texts.cast(rule.type)


def _to_integer(texts: pa.Array, rule: Rule) -> pa.Array:
    if _holds_other_bytes(texts, b"-0123456789"):
        raise MisfitError
    if rule.declared:
        return texts.cast(rule.type)
    values = texts.cast(pa.int64())
    if not _canonical(texts, values):
        raise MisfitError
    return values if values.type == rule.type else values.cast(rule.type)


def _canonical(texts: pa.Array, values: pa.Array) -> bool:
    """Whether each integer is written without leading zeros and is not ``-0``: 00501 is a code, not 501."""
    numbers = (values.fill_null(0) if values.null_count else values).to_numpy()
    negative = numbers < 0
    digits = lengths(texts) - negative
    floor = _POW10[np.clip(digits - 1, 0, 19)]
    fine = (np.abs(numbers).view(np.uint64) >= floor) | (digits <= 1)
    return bool(fine.all())


def _to_float(texts: pa.Array, rule: Rule) -> pa.Array:
    if rule.declared:
        return texts.cast(rule.type)
    if not looks_numeric(texts):
        raise MisfitError
    values = texts.cast(pa.float64())
    if pa.types.is_float64(rule.type):
        _refuse_lossy(texts, values)
    return values if values.type == rule.type else values.cast(rule.type)


def looks_numeric(texts: pa.Array) -> bool:
    """Whether each text can be a plain decimal number: no other characters, none zero-led, no leading plus."""
    if _holds_other_bytes(texts, b"+-.0123456789eE") or _zero_led(texts):
        return False
    return not holds(texts, b"+") or not pc.any(pc.starts_with(texts, "+")).as_py()


def _refuse_lossy(texts: pa.Array, values: pa.Array) -> None:
    """Raise MisfitError when some text is a number that its double does not stand for."""
    numbers = np.abs((values.fill_null(0.0) if values.null_count else values).to_numpy())
    suspicious = lengths(texts) > _EXACT_DIGITS
    suspicious |= (numbers != 0) & ((numbers < _SAFE_EXPONENTS[0]) | (numbers > _SAFE_EXPONENTS[1]))
    if holds(texts, b"e") or holds(texts, b"E"):
        suspicious |= numbers == 0
    indexes = np.flatnonzero(suspicious)
    if not len(indexes):
        return
    chosen = pa.array(indexes)
    some_texts, some_values = texts.take(chosen), values.take(chosen)
    differ = pc.fill_null(pc.not_equal(some_values.cast(pa.string()), some_texts.cast(pa.string())), False)
    for at in np.flatnonzero(differ.to_numpy(zero_copy_only=False)):
        if not exact_double(some_texts[int(at)].as_py(), some_values[int(at)].as_py()):
            raise MisfitError


def exact_double(text: str, value: float) -> bool:
    """Whether the double stands for this text: its shortest text is the same number, or 15 digits suffice for it."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    if not np.isfinite(value):
        return False
    return Decimal(repr(value)) == number


def _to_decimal(texts: pa.Array, rule: Rule) -> pa.Array:
    if not rule.declared and not looks_numeric(texts):
        raise MisfitError
    return texts.cast(rule.type)


def _to_boolean(texts: pa.Array, rule: Rule) -> pa.Array:
    extra = rule.declared
    true = pa.array([*_TRUE, *(("t", "T", "1") if extra else ())], pa.string())
    known = pa.array([*true.to_pylist(), *_FALSE, *(("f", "F", "0") if extra else ())], pa.string())
    texts = texts.cast(pa.string())
    if not pc.all(pc.or_kleene(pc.is_in(texts, value_set=known), texts.is_null())).as_py():
        raise MisfitError
    return pc.if_else(texts.is_valid(), pc.is_in(texts, value_set=true), pa.scalar(None, pa.bool_()))


def _to_date(texts: pa.Array, rule: Rule) -> pa.Array:
    days = _first_success(
        [lambda: texts.cast(pa.date32())],
        [lambda f=f: _strptime(texts, f, "s").cast(pa.date32(), safe=True) for f in rule.date_formats],  # type: ignore[misc]
    )
    return _no_year_zero(days, days.cast(pa.int32()))


def _to_timestamp(texts: pa.Array, rule: Rule) -> pa.Array:
    kind = rule.type
    formats = () if kind.tz else rule.timestamp_formats
    moments = _first_success(
        [lambda: texts.cast(kind), lambda: texts.cast(pa.timestamp("ns", kind.tz)).cast(kind)],
        [lambda f=f: _strptime(texts, f, kind.unit) for f in formats],  # type: ignore[misc]
    )
    return _no_year_zero(moments, moments.cast(pa.timestamp("s", kind.tz), safe=False).cast(pa.int64()), 86_400)


def _first_success(*groups: Sequence[Callable[[], pa.Array]]) -> pa.Array:
    for attempt in (attempt for group in groups for attempt in group):
        try:
            return attempt()
        except pa.ArrowInvalid:
            continue
    raise MisfitError


def _strptime(texts: pa.Array, pattern: str, unit: str) -> pa.Array:
    return pc.strptime(texts, format=pattern, unit=unit, error_is_null=False)


def _no_year_zero(result: pa.Array, numbers: pa.Array, per_day: int = 1) -> pa.Array:
    least = pc.min(numbers).as_py()
    if least is not None and least < _FIRST_DAY * per_day:
        raise MisfitError
    return result


def _to_time(texts: pa.Array, rule: Rule) -> pa.Array:
    try:
        values = [None if text is None else time.fromisoformat(text) for text in texts.to_pylist()]
    except ValueError as err:
        raise MisfitError from err
    if any(value is not None and value.tzinfo is not None for value in values):
        raise MisfitError
    return pa.array(values, rule.type)


def lengths(texts: pa.Array) -> Any:
    """Byte lengths of a string column, as NumPy; NULL counts 0."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.diff(offsets)


def _data(texts: pa.Array) -> bytes:
    buffers = texts.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int32)
    start, stop = int(offsets[texts.offset]), int(offsets[texts.offset + len(texts)])
    return b"" if buffers[2] is None else memoryview(buffers[2])[start:stop].tobytes()


def _holds_other_bytes(texts: pa.Array, allowed: bytes) -> bool:
    return bool(_data(texts).translate(None, allowed))


def holds(texts: pa.Array, byte: bytes) -> bool:
    """Whether some text of the column contains the byte."""
    return byte in _data(texts)


def _zero_led(texts: pa.Array) -> bool:
    """Whether some text starts with ``0`` and another digit, after an optional sign."""
    data = np.frombuffer(_data(texts) + b"   ", dtype=np.uint8)
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    size = np.diff(offsets)
    start = (offsets[:-1] - offsets[0]).astype(np.int64)
    signed = (data[start] == ord("-")) & (size > 0)
    first = start + signed
    follows = data[first + 1]
    zero = (data[first] == ord("0")) & (follows >= ord("0")) & (follows <= ord("9"))
    return bool((zero & (size - signed > 1)).any())
