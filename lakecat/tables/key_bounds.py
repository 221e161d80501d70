"""Which data files can hold one of some keys, by the bounds that their manifests keep of the key columns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, In, LessThanOrEqual
from pyiceberg.manifest import DataFile
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

LISTED: Final = 100_000
"""Of so many keys each is compared with a file's bounds; of more, their own bounds only."""
# An expression compares a file with each of its values in turn.
_IN_EXPRESSION: Final = 200
# Of these, DuckDB's order and Iceberg's are the same for every value.
_BOUNDED: Final = (IntegerType, LongType, DecimalType, StringType, DateType, TimestampType, TimestamptzType)
# A decimal's bound would have to be given the column's scale first.
_COMPARED: Final = (IntegerType, LongType, StringType, DateType, TimestampType, TimestamptzType)


def has_bounds(kind: IcebergType) -> bool:
    """Whether files can be told apart by bounds of a column of this type."""
    return isinstance(kind, _BOUNDED)


def plain_values(values: pa.ChunkedArray) -> list[Any]:
    """The values as Iceberg keeps them in bounds: times are numbers, for Python's own end with the year 9999."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return list(values.to_pylist())


@dataclass(frozen=True, slots=True)
class KeyBounds:
    """One key column's values, ascending: all of them (``listed``), or the least and the most alone."""

    field: NestedField
    values: Sequence[Any]
    listed: bool

    def expression(self) -> BooleanExpression:
        """What every row with one of the keys satisfies, for partitions and manifests to be left out by."""
        if not self.values:
            return AlwaysTrue()
        if self.listed and len(self.values) <= _IN_EXPRESSION:
            return _expression(In, self.field.name, self.values)
        least, most = self.values[0], self.values[-1]
        return And(
            _expression(GreaterThanOrEqual, self.field.name, least),
            _expression(LessThanOrEqual, self.field.name, most),
        )

    def may_be_in(self, file: DataFile) -> bool:
        """Whether one of the values lies within the file's bounds; also where there is nothing to tell by."""
        if not self.listed or not isinstance(self.field.field_type, _COMPARED):
            return True
        number = self.field.field_id
        low, high = (file.lower_bounds or {}).get(number), (file.upper_bounds or {}).get(number)
        if low is None or high is None:
            return True
        at = bisect_left(self.values, from_bytes(self.field.field_type, low))
        return at < len(self.values) and self.values[at] <= from_bytes(self.field.field_type, high)


def _expression(kind: Any, name: str, value: object) -> BooleanExpression:
    """Pyiceberg's constructors take names and plain values, which their annotations do not say."""
    expression: BooleanExpression = kind(name, value)
    return expression
