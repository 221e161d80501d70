"""What a snapshot's manifests say of its columns: counts, sizes, bounds. No data file is opened.

Format: Iceberg spec, "Manifests", the metrics of data files; bounds are in appendix D's single-value serialization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.types import (
    BinaryType,
    DateType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)
from pyiceberg.utils.datetime import days_to_date, micros_to_time, micros_to_timestamp, micros_to_timestamptz

from lakecat.store import LakeStore
from lakecat.tables.scan import Scan, plan
from lakecat.tables.statistics import BOUND_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSummary:
    """A column over all files; None where a file does not say.

    ``bytes`` as stored. ``least`` and ``most`` leave out NULL and NaN. With ``rounded`` they are bounds: texts are cut,
    so that the true least is not below and the true most not above them.
    """

    name: str
    field_id: int
    rows: int
    nulls: int | None
    nans: int | None
    bytes: int | None
    least: object
    most: object
    rounded: bool


def summarize(store: LakeStore, scan: Scan) -> tuple[ColumnSummary, ...]:
    """The top-level columns of a snapshot, in order. Raises TableError, CorruptFileError, ObjectMissingError."""
    files = [planned.data_file for planned in plan(store, scan)]
    return tuple(_column(field, files) for field in scan.schema.fields)


def _column(field: NestedField, files: Iterable[DataFile]) -> ColumnSummary:
    files = tuple(files)
    key, kind = field.field_id, field.field_type
    absent = [file for file in files if key not in (file.value_counts or {})]
    present = [file for file in files if key in (file.value_counts or {})]
    nested = not isinstance(kind, PrimitiveType)
    nulls = None if nested else _sum((file.null_value_counts or {}).get(key) for file in present)
    # A file that was written before the column was there has NULL in its place.
    missing = sum(file.record_count for file in absent) if field.initial_default is None else 0
    floating = isinstance(kind, FloatType | DoubleType)
    bounds = list(_bounds(kind, key, present)) if not nested else [None]
    known = [bound for bound in bounds if bound is not None]
    whole = len(known) == len(bounds) and bool(known)
    return ColumnSummary(
        name=field.name,
        field_id=key,
        rows=sum(file.record_count for file in files),
        nulls=None if nulls is None or nested else nulls + missing,
        nans=_sum((file.nan_value_counts or {}).get(key) for file in present) if floating else None,
        bytes=None if nested else _sum((file.column_sizes or {}).get(key) for file in present),
        least=_shown(kind, min(low for low, _ in known)) if whole else None,
        most=_shown(kind, max(high for _, high in known)) if whole else None,
        rounded=whole and isinstance(kind, StringType | BinaryType) and any(_cut(bound) for bound in known),
    )


def _sum(numbers: Iterable[int | None]) -> int | None:
    found = list(numbers)
    return None if any(number is None for number in found) else sum(number for number in found if number is not None)


def _bounds(kind: IcebergType, key: int, files: Iterable[DataFile]) -> Iterator[tuple[Any, Any] | None]:
    """The bounds of each file that holds a value; None where it holds one and does not say."""
    for file in files:
        low, high = (file.lower_bounds or {}).get(key), (file.upper_bounds or {}).get(key)
        if low is not None and high is not None:
            yield _value(kind, low), _value(kind, high)
        elif (file.null_value_counts or {}).get(key) != (file.value_counts or {}).get(key):
            yield None


def _value(kind: IcebergType, bound: bytes) -> Any:
    """A bound as Python's value; of a widened column it may still have the width of the narrower type."""
    if len(bound) == 4 and isinstance(kind, LongType):
        return from_bytes(IntegerType(), bound)
    if len(bound) == 4 and isinstance(kind, DoubleType):
        return from_bytes(FloatType(), bound)
    return from_bytes(kind, bound)  # type: ignore[arg-type] # nested types have no bounds


def _shown(kind: IcebergType, value: Any) -> object:
    """Dates and times, which Iceberg keeps as numbers, as Python's; None beyond the years that Python knows."""
    convert = _MOMENTS.get(type(kind))
    try:
        return value if convert is None else convert(value)
    except (OverflowError, ValueError):
        return None


_MOMENTS: Final[Mapping[type[IcebergType], Callable[[int], object]]] = {
    DateType: days_to_date,
    TimeType: micros_to_time,
    TimestampType: micros_to_timestamp,
    TimestamptzType: micros_to_timestamptz,
}


def _cut(bound: tuple[object, object]) -> bool:
    return any(isinstance(value, str | bytes) and len(value) >= BOUND_LENGTH for value in bound)
