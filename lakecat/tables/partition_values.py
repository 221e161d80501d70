"""Partition transforms over whole Arrow arrays (Iceberg spec, "Partition Transforms" and appendix B, 32-bit hash)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Accessor, Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    DateType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from lakecat.errors import SchemaError, UnsupportedTypeError

PartitionKey: TypeAlias = tuple[Any, ...]
"""Values as manifests hold them: days and microseconds as int, uuid as bytes, NULL as None."""

_HOUR: Final = 3_600_000_000
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose, as Iceberg's timestamp is
_MICROSECOND: Final = timedelta(microseconds=1)


class Partitioner:
    """Splits batches by the partition their rows belong to. One instance serves one spec and schema."""

    def __init__(self, spec: PartitionSpec, schema: Schema) -> None:
        self._columns: list[tuple[Accessor, Transform[Any, Any], IcebergType] | None] = []
        known = {field_id for field_id in schema._lazy_id_to_field}  # noqa: SLF001, C416 - no public test for an id
        for field in spec.fields:
            if field.source_id not in known or isinstance(field.transform, VoidTransform):
                self._columns.append(None)
                continue
            type_ = schema.find_field(field.source_id).field_type
            self._columns.append((schema.accessor_for_field(field.source_id), field.transform, type_))

    def split(self, batch: pa.RecordBatch) -> list[tuple[PartitionKey, pa.RecordBatch]]:
        """The batch's rows by partition, in their order. Raises SchemaError where a transform overflows."""
        if batch.num_rows == 0:
            return []
        codes, keys = self._codes(batch)
        if len(keys) == 1:
            return [(keys[0], batch)]
        order = pc.sort_indices(codes)
        ordered = batch.take(order)
        counts = dict.fromkeys(range(len(keys)), 0)
        for entry in pc.value_counts(codes).to_pylist():
            counts[entry["values"]] = entry["counts"]
        parts, start = [], 0
        for code, key in enumerate(keys):
            parts.append((key, ordered.slice(start, counts[code])))
            start += counts[code]
        return parts

    def _codes(self, batch: pa.RecordBatch) -> tuple[pa.Array, list[PartitionKey]]:
        """For each row the number of its partition key, and the keys by number."""
        codes: pa.Array | None = None
        keys: list[PartitionKey] = [()]
        for column in self._columns:
            if column is None:
                keys = [(*key, None) for key in keys]
                continue
            accessor, transform, type_ = column
            values = transform_array(transform, type_, _fetch(batch, accessor)).dictionary_encode("encode")
            indices = values.indices.cast(pa.int64())
            decoded = [record_value(value) for value in values.dictionary.to_pylist()]
            if codes is None:
                codes, keys = indices, [(*keys[0], value) for value in decoded]
                continue
            width = len(decoded)
            pairs = pc.add(pc.multiply(codes, width), indices).dictionary_encode()
            codes = pairs.indices.cast(pa.int64())
            keys = [(*keys[pair // width], decoded[pair % width]) for pair in pairs.dictionary.to_pylist()]
        return (codes if codes is not None else pa.nulls(batch.num_rows, pa.int64())), keys


def _fetch(batch: pa.RecordBatch, accessor: Accessor) -> pa.Array:
    array = batch.column(accessor.position)
    while accessor.inner is not None:
        accessor = accessor.inner
        array = array.flatten()[accessor.position]
    return array


def record_value(value: Any) -> Any:
    """A Python value as a manifest's partition record holds it."""
    if isinstance(value, datetime):
        naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return (naive - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return value.toordinal() - _EPOCH.toordinal()
    if isinstance(value, time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, float) and math.isnan(value):
        return math.nan  # one object, so that it is equal to itself as part of a key
    return value


def transform_array(transform: Transform[Any, Any], type_: IcebergType, array: pa.Array) -> pa.Array:
    """The transform of every value; NULL stays NULL. Dates, times and timestamps of an identity come out as ints.

    Raises UnsupportedTypeError for a transform that the type does not have, SchemaError for an overflow.
    """
    if not transform.can_transform(type_):
        raise UnsupportedTypeError(f"{type_} has no partition transform {transform}")
    try:
        return _TRANSFORMS[type(transform)](transform, type_, array)
    except pa.ArrowInvalid as err:
        raise SchemaError(f"a value is out of range for the partition transform {transform} of {type_}: {err}") from err


def _identity(_: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    return _as_ints(type_, array) if _is_temporal(type_) else array


def _is_temporal(type_: IcebergType) -> bool:
    return isinstance(type_, DateType | TimeType | TimestampType | TimestamptzType)


def _as_ints(type_: IcebergType, array: pa.Array) -> pa.Array:
    """Days (date) or microseconds (time, timestamps) as integers; other types as they are."""
    if isinstance(type_, DateType):
        return array.cast(pa.int32())
    return array.cast(pa.int64()) if _is_temporal(type_) else array


def _floor_divide(array: pa.Array, by: int) -> pa.Array:
    """Integer division towards minus infinity; Arrow's own goes towards zero."""
    quotient = pc.divide(array, by)
    below = pc.less(pc.subtract(array, pc.multiply(quotient, by)), 0)
    return pc.subtract(quotient, below.cast(array.type))


def _year(_: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    del type_
    return pc.subtract(pc.year(array), 1970)


def _month(_: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    del type_
    return pc.add(pc.multiply(pc.subtract(pc.year(array), 1970), 12), pc.subtract(pc.month(array), 1))


def _day(_: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    ints = _as_ints(type_, array)
    return ints if isinstance(type_, DateType) else _floor_divide(ints, 24 * _HOUR)


def _hour(_: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    return _floor_divide(_as_ints(type_, array), _HOUR)


def _truncate(transform: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    width = transform._width  # noqa: SLF001 - Iceberg's W; PyIceberg has no public name for it
    if isinstance(type_, StringType):
        return pc.utf8_slice_codeunits(array, 0, width)
    if isinstance(type_, BinaryType):
        return pc.binary_slice(array, 0, width)
    if isinstance(type_, IntegerType | LongType):
        wide = array.cast(pa.int64())
        remainder = pc.subtract(wide, pc.multiply(_floor_divide(wide, width), width))
        return pc.subtract_checked(wide, remainder).cast(array.type)
    return _by_distinct_value(transform.transform(type_), array, array.type)


def _bucket(transform: Any, type_: IcebergType, array: pa.Array) -> pa.Array:
    if isinstance(type_, IntegerType | LongType) or _is_temporal(type_):
        hashed = _hash_longs(_as_ints(type_, array).cast(pa.int64()))
        positive = pc.bit_wise_and(hashed, pa.scalar(0x7FFFFFFF, pa.uint32())).cast(pa.int32())
        count = transform.num_buckets
        return pc.subtract(positive, pc.multiply(pc.divide(positive, count), count))
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return _by_distinct_value(transform.transform(type_), array, pa.int32())


def _by_distinct_value(function: Callable[[Any], Any], array: pa.Array, result: pa.DataType) -> pa.Array:
    encoded = array.dictionary_encode()
    values = [None if value is None else function(value) for value in encoded.dictionary.to_pylist()]
    if isinstance(result, pa.Decimal128Type):
        return pa.array(values, pa.decimal128(38, result.scale)).take(encoded.indices)
    return pa.array(values, result).take(encoded.indices)


def _hash_longs(array: pa.Array) -> pa.Array:
    """MurmurHash3 x86 32-bit, seed 0, of each value's eight little-endian bytes, as uint32."""
    bits = array.view(pa.uint64())
    low = pc.bit_wise_and(bits, pa.scalar(0xFFFFFFFF, pa.uint64())).cast(pa.uint32())
    high = pc.shift_right(bits, pa.scalar(32, pa.uint64())).cast(pa.uint32())
    state = pc.multiply(low, _u32(0))
    for block in (low, high):
        mixed = pc.multiply(_rotate(pc.multiply(block, _u32(0xCC9E2D51)), 15), _u32(0x1B873593))
        state = pc.add(pc.multiply(_rotate(pc.bit_wise_xor(state, mixed), 13), _u32(5)), _u32(0xE6546B64))
    state = pc.bit_wise_xor(state, _u32(8))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = pc.multiply(pc.bit_wise_xor(state, pc.shift_right(state, _u32(shift))), _u32(factor))
    return pc.bit_wise_xor(state, pc.shift_right(state, _u32(16)))


def _u32(value: int) -> pa.Scalar:
    return pa.scalar(value, pa.uint32())


def _rotate(array: pa.Array, by: int) -> pa.Array:
    return pc.bit_wise_or(pc.shift_left(array, _u32(by)), pc.shift_right(array, _u32(32 - by)))


_TRANSFORMS: Final[dict[type[Any], Callable[[Any, IcebergType, pa.Array], pa.Array]]] = {
    IdentityTransform: _identity,
    YearTransform: _year,
    MonthTransform: _month,
    DayTransform: _day,
    HourTransform: _hour,
    TruncateTransform: _truncate,
    BucketTransform: _bucket,
}

__all__ = ["PartitionKey", "Partitioner", "record_value", "transform_array"]
