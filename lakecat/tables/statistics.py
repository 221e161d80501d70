"""Iceberg column metrics of a Parquet file, taken from its footer.

Serialisation of bounds: Iceberg spec, appendix D "Binary single-value serialization"; truncation of bounds: as the
Java library's ``truncate(16)`` metrics mode, which is every engine's default.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from lakecat.config import FILE_COLUMN

BOUND_LENGTH: Final = 16
"""Characters (text) or bytes (binary) that a bound keeps."""
# Files' addresses begin alike: cut, their bounds would tell no data file from another.
_UNCUT: Final = frozenset({FILE_COLUMN})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A primitive column of a Parquet file: its path in the file, Iceberg id and type.

    ``repeated`` is True below a list or map, where Iceberg keeps counts but no bounds.
    """

    path: str
    field_id: int
    type: IcebergType
    repeated: bool

    @property
    def floating(self) -> bool:
        """Whether it can hold NaN."""
        return isinstance(self.type, FloatType | DoubleType)


def leaves(schema: Schema) -> tuple[Leaf, ...]:
    """The primitive columns in the order in which Parquet stores them, with the paths Parquet gives them."""
    return tuple(leaf for f in schema.fields for leaf in _walk(f.name, f.field_id, f.field_type, repeated=False))


def _walk(path: str, field_id: int, type_: IcebergType, *, repeated: bool) -> Iterator[Leaf]:
    if isinstance(type_, StructType):
        for child in type_.fields:
            yield from _walk(f"{path}.{child.name}", child.field_id, child.field_type, repeated=repeated)
    elif isinstance(type_, ListType):
        yield from _walk(f"{path}.list.element", type_.element_id, type_.element_type, repeated=True)
    elif isinstance(type_, MapType):
        yield from _walk(f"{path}.key_value.key", type_.key_id, type_.key_type, repeated=True)
        yield from _walk(f"{path}.key_value.value", type_.value_id, type_.value_type, repeated=True)
    else:
        yield Leaf(path, field_id, type_, repeated)


def leaf_arrays(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    """The batch's primitive arrays in the order of ``leaves``; values below a null parent are null or absent."""
    for column in batch.columns:
        yield from _walk_array(column)


def _walk_array(array: pa.Array) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _walk_array(child)
    elif pa.types.is_map(array.type):
        for child in map_entries(array).flatten():
            yield from _walk_array(child)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _walk_array(array.flatten())
    else:
        yield array


def map_entries(array: pa.MapArray) -> pa.StructArray:
    """The keys and values of every map, as one struct each; Arrow flattens lists only."""
    entry = pa.struct([array.type.key_field, array.type.item_field])
    return array.cast(pa.list_(entry)).flatten()


@dataclass(slots=True)
class FloatCounts:
    """What Parquet's statistics cannot say of a float column: NaN values and non-null values written."""

    nan: int = 0
    valid: int = 0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Iceberg metrics of one data file, keyed by field id; sizes in bytes, bounds serialised."""

    rows: int
    column_sizes: dict[int, int]
    value_counts: dict[int, int]
    null_value_counts: dict[int, int]
    nan_value_counts: dict[int, int]
    lower_bounds: dict[int, bytes]
    upper_bounds: dict[int, bytes]
    split_offsets: list[int]


@dataclass(slots=True)
class _Column:
    size: int = 0
    values: int = 0
    nulls: int | None = 0
    lows: list[Any] = field(default_factory=list)
    highs: list[Any] = field(default_factory=list)
    bounded: bool = True


def metrics_from_footer(footer: Any, columns: tuple[Leaf, ...], floats: Mapping[int, FloatCounts]) -> Metrics:
    """Metrics of the file that ``footer`` (pyarrow FileMetaData) describes.

    ``floats`` gives the counts of the float leaves by field id, gathered while writing. A column with NaN gets no
    bounds: they would hide the NaN rows from readers that compare bounds with a filter.
    """
    found = [_Column() for _ in columns]
    offsets: list[int] = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        offsets.append(_first_offset(group.column(0)))
        for leaf, column, position in zip(columns, found, range(group.num_columns), strict=True):
            _add_chunk(column, leaf, group.column(position))
    metrics = Metrics(footer.num_rows, {}, {}, {}, {}, {}, {}, sorted(offsets))
    for leaf, column in zip(columns, found, strict=True):
        _record(metrics, leaf, column, floats.get(leaf.field_id))
    return metrics


def _first_offset(chunk: Any) -> int:
    offset: int = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < offset:
        return int(chunk.dictionary_page_offset)
    return offset


def _add_chunk(column: _Column, leaf: Leaf, chunk: Any) -> None:
    column.size += chunk.total_compressed_size
    column.values += chunk.num_values
    statistics = chunk.statistics if chunk.is_stats_set else None
    if statistics is None or not statistics.has_null_count:
        column.nulls, column.bounded = None, False
        return
    if column.nulls is not None:
        column.nulls += statistics.null_count
    if leaf.repeated or statistics.null_count == chunk.num_values:
        return
    # Parquet leaves min and max out when a value is longer than 4 KiB: bounds from the other row groups alone
    # would be wrong, so the column has none in this file.
    if not statistics.has_min_max:
        column.bounded = False
        return
    column.lows.append(_logical(leaf.type, statistics.min_raw))
    column.highs.append(_logical(leaf.type, statistics.max_raw))


def _logical(type_: IcebergType, raw: Any) -> Any:
    """A value that compares in the column's order."""
    if isinstance(type_, DecimalType) and isinstance(raw, bytes):
        return int.from_bytes(raw, "big", signed=True)
    if isinstance(type_, StringType):
        return raw.decode("utf-8") if isinstance(raw, bytes) else raw
    return raw


def _record(metrics: Metrics, leaf: Leaf, column: _Column, floats: FloatCounts | None) -> None:
    key = leaf.field_id
    metrics.column_sizes[key] = column.size
    metrics.value_counts[key] = column.values
    if floats is not None:
        metrics.nan_value_counts[key] = floats.nan
        metrics.null_value_counts[key] = column.values - floats.valid
    elif column.nulls is not None:
        metrics.null_value_counts[key] = column.nulls
    if leaf.repeated or not column.bounded or not column.lows or (floats is not None and floats.nan):
        return
    bounds = _serialise if leaf.path in _UNCUT else None
    lower = (bounds or lower_bound)(leaf.type, min(column.lows))
    upper = (bounds or upper_bound)(leaf.type, max(column.highs))
    if lower is not None:
        metrics.lower_bounds[key] = lower
    if upper is not None:
        metrics.upper_bounds[key] = upper


def lower_bound(type_: IcebergType, value: Any) -> bytes | None:
    """The serialised bound at or below ``value``: text and binary cut after 16 characters or bytes."""
    if isinstance(type_, StringType | BinaryType):
        value = value[:BOUND_LENGTH]
    return _serialise(type_, value)


def upper_bound(type_: IcebergType, value: Any) -> bytes | None:
    """The serialised bound at or above ``value``; None when no 16 characters or bytes are above it."""
    if len(value) > BOUND_LENGTH if isinstance(type_, StringType | BinaryType) else False:
        value = _next_text(value[:BOUND_LENGTH]) if isinstance(value, str) else _next_bytes(value[:BOUND_LENGTH])
        if value is None:
            return None
    return _serialise(type_, value)


def _next_text(prefix: str) -> str | None:
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at]) + 1
        if 0xD800 <= code <= 0xDFFF:  # surrogates are no characters: UTF-8 goes on after them
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:at] + chr(code)
    return None


def _next_bytes(prefix: bytes) -> bytes | None:
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < 0xFF:
            return prefix[:at] + bytes([prefix[at] + 1])
    return None


def _packed(layout: str) -> Callable[[Any], bytes]:
    return struct.Struct(layout).pack


_PACK: Final[Mapping[type[IcebergType], Callable[[Any], bytes]]] = {
    BooleanType: _packed("?"),
    IntegerType: _packed("<i"),
    DateType: _packed("<i"),
    LongType: _packed("<q"),
    TimeType: _packed("<q"),
    TimestampType: _packed("<q"),
    TimestamptzType: _packed("<q"),
    FloatType: _packed("<f"),
    DoubleType: _packed("<d"),
    StringType: str.encode,
    BinaryType: bytes,
    FixedType: bytes,
    UUIDType: bytes,
}


def _serialise(type_: IcebergType, value: Any) -> bytes | None:
    if isinstance(type_, DecimalType):
        unscaled = int(value)
        length = ((unscaled if unscaled >= 0 else ~unscaled).bit_length() + 8) // 8
        return unscaled.to_bytes(length, "big", signed=True)
    pack = _PACK.get(type(type_))
    return pack(value) if pack is not None else None
