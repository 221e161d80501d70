"""Lists inside rows become tables of their own, each row with the key of the row it stood in and its place there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakecat.config import FILE_COLUMN
from lakecat.config.jobs import table_name
from lakecat.errors import SchemaError
from lakecat.types import DatasetName

SCALAR: Final = "_value"
_PLACE: Final = re.compile(r"_index_[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Unnested:
    """One list that becomes a table: where it is in the row, and which lists within it become tables themselves."""

    path: tuple[str, ...]
    inner: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """The path as the job writes it."""
        return ".".join(self.path)


def unnested(paths: Sequence[str]) -> tuple[Unnested, ...]:
    """The lists that a job names, such as ``items`` and ``items.taxes``."""
    split = [tuple(path.split(".")) for path in paths]
    return tuple(
        Unnested(path, tuple(other[len(path) :] for other in split if other != path and other[: len(path)] == path))
        for path in split
    )


def child_dataset(target: DatasetName, path: str) -> DatasetName:
    """The table of a list: ``raw.orders__items__taxes`` for ``items.taxes`` of ``raw.orders``."""
    parts = [table_name(part) for part in path.split(".")]
    return DatasetName(target.namespace, "__".join((target.name, *parts)))


def without_lists(rows: pa.RecordBatchReader, paths: Sequence[tuple[str, ...]]) -> pa.RecordBatchReader:
    """The rows without the lists that have tables of their own."""
    fields = [kept for column in rows.schema if (kept := _pruned(column, paths)) is not None]
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            arrays = [_as(batch.column(field.name), field.type) for field in fields]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def exploded(
    rows: pa.RecordBatchReader, key: Sequence[str], child: Unnested, *, may_be_missing: bool = False
) -> pa.RecordBatchReader | None:
    """A row for each element of a list; None where there is no list of which to tell the type.

    Its columns: ``_root_<key>`` for each column of the row that is kept (``key``), ``_index_1``, ``_index_2``, …
    (1-based places in the lists, from the outermost to this one), then the element's fields, or ``_value`` where it is
    no struct. Raises SchemaError for a path that leads to something else than a list, or, unless it
    ``may_be_missing``, to nothing.
    """
    if not _leads_to_list(rows, child.path, may_be_missing=may_be_missing):
        return None
    empty = pa.RecordBatch.from_pylist([], rows.schema)
    schema = _explode(empty, key, child).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield _explode(batch, key, child)

    return pa.RecordBatchReader.from_batches(schema, batches())


def root_keys(rows: pa.RecordBatchReader, key: Sequence[str]) -> pa.RecordBatchReader:
    """The key of every row, under the names that the tables of its lists have for it."""
    schema = pa.schema([rows.schema.field(name).with_name(root_column(name)) for name in key])
    batches = (pa.RecordBatch.from_arrays([batch.column(name) for name in key], schema=schema) for batch in rows)
    return pa.RecordBatchReader.from_batches(schema, batches)


def with_expected_list(schema: pa.Schema, path: tuple[str, ...], columns: Sequence[pa.Field]) -> pa.Schema:
    """The schema with a list at this path whose elements have these columns."""
    if not columns:
        return schema
    scalar = len(columns) == 1 and columns[0].name == SCALAR
    element = columns[0].type if scalar else pa.struct([field.with_nullable(True) for field in columns])
    return pa.schema(_inserted(list(schema), path, pa.list_(element)))


def root_column(name: str) -> str:
    """What a column of the row is called in the tables of its lists; the one that lakecat added keeps its name."""
    return name if name == FILE_COLUMN else f"_root_{name}"


def is_place(column: str) -> bool:
    """Whether a column of such a table says where in its list a row stood."""
    return _PLACE.fullmatch(column) is not None


def _inserted(fields: list[pa.Field], path: tuple[str, ...], kind: pa.DataType) -> list[pa.Field]:
    """The fields with one more at the path; what is on the way there and is missing becomes a struct."""
    name, *rest = path
    if not rest:
        return [*fields, pa.field(name, kind)]
    at = next((number for number, field in enumerate(fields) if field.name == name), None)
    if at is None:
        return [*fields, pa.field(name, pa.struct(_inserted([], tuple(rest), kind)))]
    here = fields[at].type
    if not (_is_list(here) or pa.types.is_struct(here)):
        return fields
    inner = pa.struct(_inserted(list(here.value_type if _is_list(here) else here), tuple(rest), kind))
    fields = [*fields]
    fields[at] = fields[at].with_type(pa.list_(inner) if _is_list(here) else inner)
    return fields


def _explode(batch: pa.RecordBatch, key: Sequence[str], child: Unnested) -> pa.RecordBatch:
    kept = [batch.column(name) for name in key]
    places: list[pa.Array] = []
    current: pa.Array = pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))
    for part in child.path:
        current = pc.struct_field(current, [part])
        if not _is_list(current.type):
            continue
        parents = _parents(current)
        kept = [array.take(parents) for array in kept]
        places = [*(array.take(parents) for array in places), _places(parents)]
        current = pc.list_flatten(current)
    names = [*(root_column(name) for name in key), *(f"_index_{level}" for level in range(1, len(places) + 1))]
    fields, arrays = _element(current, child.inner)
    for field in fields:
        if field.name in names:
            raise SchemaError(f"the elements of {child.text!r} have a field {field.name!r} of their own")
    ours = [pa.field(name, array.type) for name, array in zip(names, (*kept, *places), strict=True)]
    return pa.RecordBatch.from_arrays([*kept, *places, *arrays], schema=pa.schema([*ours, *fields]))


def _parents(lists: pa.Array) -> pa.Array:
    """The number of the list that each element is in.

    (Arrow's own also counts what lies behind a list that is NULL, which ``list_flatten`` leaves out.)
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.repeat(np.arange(len(lengths)), lengths), pa.int64())


def _places(parents: pa.Array) -> pa.Array:
    """The 1-based place of each element in its list, out of the ascending numbers of the lists."""
    numbers = parents.to_numpy(zero_copy_only=False)
    starts = np.searchsorted(numbers, numbers, side="left")
    return pa.array(np.arange(len(numbers)) - starts + 1, pa.int64())


def _element(values: pa.Array, inner: Sequence[tuple[str, ...]]) -> tuple[list[pa.Field], list[pa.Array]]:
    if not pa.types.is_struct(values.type):
        return [pa.field(SCALAR, values.type)], [values]
    fields = [kept for field in values.type if (kept := _pruned(field, inner)) is not None]
    return fields, [_as(pc.struct_field(values, [field.name]), field.type) for field in fields]


def _pruned(field: pa.Field, paths: Sequence[tuple[str, ...]]) -> pa.Field | None:
    """The field without what has a table of its own; None when that is all of it."""
    if (field.name,) in paths:
        return None
    inside = [path[1:] for path in paths if path[0] == field.name]
    if not inside:
        return field
    if not pa.types.is_struct(field.type):
        return None if _is_untyped(field.type) else field
    parts = [kept for part in field.type if (kept := _pruned(part, inside)) is not None]
    return field.with_type(pa.struct(parts)) if parts else None


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array with only those fields of its structs that the type has."""
    if array.type == kind:
        return array
    parts = [_as(pc.struct_field(array, [part.name]), part.type) for part in kind]
    return pa.StructArray.from_arrays(parts, fields=list(kind), mask=pc.is_null(array))


def _leads_to_list(rows: pa.RecordBatchReader, path: tuple[str, ...], *, may_be_missing: bool) -> bool:
    """Whether the path leads to a list; else there must be no value at all where it ends. Raises SchemaError."""
    current: pa.DataType = pa.struct(list(rows.schema))
    for number, part in enumerate(path, 1):
        current = current.value_type if _is_list(current) else current
        at = current.get_field_index(part) if pa.types.is_struct(current) else -1
        if at < 0:
            if _is_untyped(current):
                _refuse_values(rows, path[: number - 1], current)
                return False
            if may_be_missing:
                return False
            raise SchemaError(
                f"the rows have no {'.'.join(path)!r} to unnest",
                hint=f"there is no {part!r}; say missing_columns: null among the options where it may be missing",
            )
        current = current.field(at).type
        if _is_untyped(current):
            _refuse_values(rows, path[:number], current)
            return False
    if not _is_list(current):
        raise SchemaError(f"{'.'.join(path)!r} is {current} and no list", hint="unnest names lists")
    return True


def _refuse_values(rows: pa.RecordBatchReader, path: tuple[str, ...], kind: pa.DataType) -> None:
    for batch in rows:
        values = _values(batch, path)
        values = pc.list_flatten(values) if _is_list(values.type) else values
        if values.null_count < len(values):
            raise SchemaError(f"{'.'.join(path)!r} is {kind} and no list", hint="unnest names lists")


def _values(batch: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    """What stands at the path in any of the rows."""
    current: pa.Array = pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))
    for part in path:
        current = pc.list_flatten(current) if _is_list(current.type) else current
        current = pc.struct_field(current, [part])
    return current


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_untyped(kind: pa.DataType) -> bool:
    """What readers call a column, or elements, of which they saw no value."""
    return bool(pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))
