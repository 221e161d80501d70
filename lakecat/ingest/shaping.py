"""What lakecat does to rows between the source and the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lakecat.errors import SchemaError
from lakecat.tables.projection import with_children

EXECUTION_COLUMN: Final = "_lakecat_execution"
_WIDE: Final = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def renamed(rows: pa.RecordBatchReader, names: Mapping[str, str]) -> pa.RecordBatchReader:
    """The same rows under other column names; columns that are not among them keep theirs."""
    schema = pa.schema([column.with_name(names.get(column.name, column.name)) for column in rows.schema])
    if schema == rows.schema:
        return rows
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    return pa.RecordBatchReader.from_batches(schema, batches)


def with_execution(rows: pa.RecordBatchReader, uuid: str) -> pa.RecordBatchReader:
    """The same rows, each with the execution that wrote it. Raises SchemaError when they have such a column."""
    if rows.schema.get_field_index(EXECUTION_COLUMN) >= 0:
        raise SchemaError(f"the source has a column {EXECUTION_COLUMN} of its own")
    column = pa.field(EXECUTION_COLUMN, pa.string())
    schema = rows.schema.append(column)

    def stamped() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            values = pa.repeat(pa.scalar(uuid), batch.num_rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, values], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, stamped())


def plain(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same values in types that every function of Arrow takes: no dictionaries, run-lengths, views or fixed lists.

    (Arrow's files cannot hold dictionaries that change, views have no ``take``, and list views no cast that holds.)
    """
    schema = pa.schema([column.with_type(_plain_type(column.type)) for column in rows.schema])
    if schema == rows.schema:
        return rows
    batches = (
        pa.RecordBatch.from_arrays(
            [_plain_array(array, kind) for array, kind in zip(batch.columns, schema.types, strict=True)], schema=schema
        )
        for batch in rows
    )
    return pa.RecordBatchReader.from_batches(schema, batches)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if kind in _WIDE:
        return _WIDE[kind]
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(_plain_type(part.type)) for part in kind])
    if pa.types.is_map(kind):
        item = kind.item_field.with_type(_plain_type(kind.item_type))
        return pa.map_(kind.key_field.with_type(_plain_type(kind.key_type)), item)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type)))
    if pa.types.is_large_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(_plain_type(kind.value_type)))
    return kind


def _plain_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(array, pa.DictionaryArray | pa.RunEndEncodedArray):
        decoded = isinstance(array, pa.DictionaryArray)
        return _plain_array(array.dictionary_decode() if decoded else pc.run_end_decode(array), kind)
    if array.type == kind:
        return array
    if isinstance(array, pa.FixedSizeListArray):
        return _plain_array(array.cast(pa.list_(array.type.value_field)), kind)
    if isinstance(array, pa.ListViewArray | pa.LargeListViewArray):
        return _list_of_view(array, kind)
    if isinstance(array, pa.StructArray):
        parts = [_plain_array(array.field(at), part.type) for at, part in enumerate(kind)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
    if isinstance(array, pa.MapArray):
        parts = [_plain_array(array.keys, kind.key_type), _plain_array(array.items, kind.item_type)]
        entries = pa.StructArray.from_arrays(parts, fields=[kind.key_field, kind.item_field])
        return with_children(array, kind, entries)
    if isinstance(array, pa.ListArray | pa.LargeListArray):
        return with_children(array, kind, _plain_array(array.values, kind.value_type))
    return array.cast(kind)


def _list_of_view(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A list view as a list: Arrow's own cast makes offsets that go back where a list is NULL or empty."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).cast(pa.int64())
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    values = _plain_array(array.flatten(), kind.value_type)
    return pa.LargeListArray.from_arrays(offsets, values, type=kind, mask=array.is_null())
