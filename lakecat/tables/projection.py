"""A data file's columns as a table's columns, by field id (Iceberg table specification, "Column Projection").

PyIceberg's own projection makes an empty list or map of one that is NULL where its elements are structs (0.12.0), and
leaves nested fields inside lists of lists as the file has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType


def partition_values(file: DataFile, spec: PartitionSpec) -> dict[int, Any]:
    """What the file's manifest entry says of columns that the file may lack, by their field ids."""
    return {
        field.source_id: file.partition[position]
        for position, field in enumerate(spec.fields)
        if isinstance(field.transform, IdentityTransform)
    }


def project(
    batch: pa.RecordBatch, file_schema: Schema, wanted: Schema, target: pa.Schema, values: Mapping[int, Any]
) -> pa.RecordBatch:
    """The batch of a file with exactly the columns of ``target``, which is ``wanted`` in Arrow.

    A column that the file lacks has its value of ``values``, else its initial default, else NULL. Raises
    ``pa.ArrowException`` for a value that does not fit the column's type.
    """
    columns = {field.field_id: field for field in file_schema.fields}
    arrays = []
    for field, kind in zip(wanted.fields, target.types, strict=True):
        known = columns.get(field.field_id)
        if known is not None:
            arrays.append(_array(batch.column(known.name), known.field_type, field.field_type, kind))
        else:
            value = values.get(field.field_id, field.initial_default)
            arrays.append(_constant(value, kind, batch.num_rows))
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _array(array: pa.Array, have: IcebergType, want: IcebergType, target: pa.DataType) -> pa.Array:
    """An array of the file in the table's type."""
    if isinstance(want, StructType) and isinstance(have, StructType):
        return _struct(array, have, want, target)
    if isinstance(want, ListType) and isinstance(have, ListType):
        return _list(array, have, want, target)
    if isinstance(want, MapType) and isinstance(have, MapType):
        return _map(array, have, want, target)
    return _primitive(array, target)


def _struct(array: pa.Array, have: StructType, want: StructType, target: pa.DataType) -> pa.Array:
    places = {field.field_id: (place, field) for place, field in enumerate(have.fields)}
    children = []
    for field, kind in zip(want.fields, target, strict=True):
        if (known := places.get(field.field_id)) is None:
            children.append(_constant(field.initial_default, kind.type, len(array)))
        else:
            children.append(_child(array.field(known[0]), known[1], field, kind))
    return pa.StructArray.from_arrays(children, fields=list(target), mask=array.is_null())


def _list(array: pa.Array, have: ListType, want: ListType, target: pa.DataType) -> pa.Array:
    if not isinstance(array, pa.ListArray | pa.LargeListArray):  # of a fixed size, as some writers' schemas say
        array = array.cast(pa.large_list(array.type.value_field))
    large = isinstance(array, pa.LargeListArray)
    values = _child(array.values, have.element_field, want.element_field, target.value_field)
    kind = pa.large_list(target.value_field) if large else pa.list_(target.value_field)
    return with_children(array, kind, values).cast(target)


def _map(array: pa.Array, have: MapType, want: MapType, target: pa.DataType) -> pa.Array:
    keys = _child(array.keys, have.key_field, want.key_field, target.key_field)
    items = _child(array.items, have.value_field, want.value_field, target.item_field)
    entries = pa.StructArray.from_arrays([keys, items], fields=[target.key_field, target.item_field])
    return with_children(array, target, entries)


def with_children(array: pa.Array, kind: pa.DataType, children: pa.Array) -> pa.Array:
    """The same lists or maps (``kind``, with offsets as wide), NULL and empty where they were so, of other elements."""
    return pa.Array.from_buffers(kind, len(array), array.buffers()[:2], offset=array.offset, children=[children])


def _child(array: pa.Array, have: NestedField, want: NestedField, target: pa.Field) -> pa.Array:
    return _array(array, have.field_type, want.field_type, target.type)


def _primitive(array: pa.Array, target: pa.DataType) -> pa.Array:
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(target, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(target, array.cast(target.storage_type))
    return array.cast(target)


def _constant(value: Any, target: pa.DataType, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, target)
    if isinstance(target, pa.BaseExtensionType):
        stored = value.bytes if isinstance(value, UUID) else value
        return pa.ExtensionArray.from_storage(target, _constant(stored, target.storage_type, rows))
    return pa.repeat(pa.scalar(value, target), rows)
