"""Arrow batches made to fit a table's columns exactly, or refused with the column and the value named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema

from lakecat.connector import type_name
from lakecat.errors import SchemaError
from lakecat.tables.statistics import map_entries

_types = pa.types


class Conformer:
    """Turns batches of one incoming schema into batches of the table's file schema.

    Columns are matched by name. A column that the input lacks is filled with NULL where the table allows it.
    Raises SchemaError when a column is unknown, missing or of a type that cannot fit.
    """

    def __init__(self, table: Schema, incoming: pa.Schema) -> None:
        self.schema = _file_schema(table, incoming)
        self._sources = _match(self.schema, incoming)
        self._rows = 0

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the table's columns, order and types. Raises SchemaError naming column, row and value."""
        arrays = []
        for target, source in zip(self.schema, self._sources, strict=True):
            if source is None:
                array = pa.nulls(batch.num_rows, target.type)
            else:
                array = _cast(batch.column(source), target.type, target.name, self._rows)
            _require(array, target, target.name, self._rows)
            arrays.append(array)
        self._rows += batch.num_rows
        if not arrays:
            raise SchemaError("a table without columns cannot hold rows")
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _file_schema(table: Schema, incoming: pa.Schema) -> pa.Schema:
    """The table's Arrow schema with field ids; text and binary keep the incoming width of offsets (no copy)."""
    fields = []
    for target in schema_to_pyarrow(table, include_field_ids=True):
        at = incoming.get_field_index(target.name)
        source = incoming.field(at).type if at >= 0 else None
        if source is not None and _types.is_large_string(target.type) and _types.is_string(source):
            fields.append(target.with_type(pa.string()))
        elif source is not None and _types.is_large_binary(target.type) and _types.is_binary(source):
            fields.append(target.with_type(pa.binary()))
        else:
            fields.append(target)
    return pa.schema(fields)


def _match(schema: pa.Schema, incoming: pa.Schema) -> list[int | None]:
    names = incoming.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaError(f"column {twice[0]!r} comes twice in the input")
    unknown = [name for name in names if schema.get_field_index(name) < 0]
    if unknown:
        raise SchemaError(
            f"the table has no column {unknown[0]!r}", hint=f"its columns are {', '.join(map(repr, schema.names))}"
        )
    sources: list[int | None] = []
    for target in schema:
        at = incoming.get_field_index(target.name)
        if at < 0 and not target.nullable:
            raise SchemaError(f"column {target.name!r} is required and missing in the input")
        if at >= 0 and not _castable(given := incoming.field(at).type, target.type):
            raise SchemaError(
                f"column {target.name!r} holds {type_name(target.type)} and cannot take {type_name(given)}"
            )
        sources.append(at if at >= 0 else None)
    return sources


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type behind dictionaries, run-end encoding and extension types."""
    while True:
        if _types.is_dictionary(type_) or _types.is_run_end_encoded(type_):
            type_ = type_.value_type
        elif isinstance(type_, pa.BaseExtensionType):
            type_ = type_.storage_type
        else:
            return type_


def _is_text(type_: pa.DataType) -> bool:
    return bool(_types.is_string(type_) or _types.is_large_string(type_) or _types.is_string_view(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(
        _types.is_binary(type_)
        or _types.is_large_binary(type_)
        or _types.is_binary_view(type_)
        or _types.is_fixed_size_binary(type_)
    )


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        _types.is_list(type_)
        or _types.is_large_list(type_)
        or _types.is_fixed_size_list(type_)
        or _types.is_list_view(type_)
        or _types.is_large_list_view(type_)
    )


_SAME_KIND: tuple[Callable[[pa.DataType], bool], ...] = (
    _types.is_boolean,
    _is_text,
    _is_bytes,
    _types.is_date,
    _types.is_time,
)


def _castable(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether values of ``source`` can be values of ``target`` without interpretation; each value is checked later."""
    source, target = _plain(source), _plain(target)
    if source == target or _types.is_null(source):
        return True
    if _is_list(source) and _is_list(target):
        return _castable(source.value_type, target.value_type)
    if _types.is_map(source) and _types.is_map(target):
        return _castable(source.key_type, target.key_type) and _castable(source.item_type, target.item_type)
    if _types.is_struct(source) and _types.is_struct(target):
        known = {f.name: f.type for f in target}
        return all(f.name in known and _castable(f.type, known[f.name]) for f in source)
    return any(kind(source) and kind(target) for kind in _SAME_KIND) or _castable_number_or_time(source, target)


def _castable_number_or_time(source: pa.DataType, target: pa.DataType) -> bool:
    if _types.is_timestamp(target):
        if _types.is_timestamp(source):
            return (source.tz is None) == (target.tz is None)
        return bool(_types.is_date(source)) and target.tz is None
    if _types.is_integer(target):
        return bool(_types.is_integer(source) or _types.is_floating(source) or _types.is_decimal(source))
    if _types.is_floating(target):
        return bool(_types.is_integer(source) or _types.is_floating(source))
    if _types.is_decimal(target):
        return bool(_types.is_integer(source) or _types.is_decimal(source))
    return False


def _cast(array: pa.Array, target: pa.DataType, name: str, offset: int) -> pa.Array:
    if array.type == target:
        return array
    try:
        return _cast_exactly(array, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        at = _first_misfit(array, target)
        if at is None:
            raise SchemaError(
                f"column {name!r}: {type_name(array.type)} does not fit {type_name(target)}: {err}"
            ) from err
        value = repr(array[at].as_py()) if not _types.is_timestamp(array.type) else str(array[at].cast(pa.string()))
        raise SchemaError(
            f"column {name!r}, row {offset + at + 1}: {value[:200]} does not fit {type_name(target)} exactly"
        ) from err


def _cast_exactly(array: pa.Array, target: pa.DataType) -> pa.Array:
    if _types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if isinstance(target, pa.BaseExtensionType):
        storage = array.storage if isinstance(array, pa.ExtensionArray) else array
        return pa.ExtensionArray.from_storage(target, storage.cast(target.storage_type))
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if _types.is_integer(array.type) and _types.is_decimal(target):
        array = array.cast(pa.decimal256(76, target.scale))
    cast = array.cast(target, safe=True)
    if _types.is_floating(target) and _types.is_floating(array.type) and target.bit_width < array.type.bit_width:
        back = cast.cast(array.type)
        same = pc.or_kleene(pc.equal(back, array), pc.is_nan(array))
        if pc.any(pc.invert(same)).as_py():
            raise pa.ArrowInvalid("precision lost")
    return cast


def _first_misfit(array: pa.Array, target: pa.DataType) -> int | None:
    """The first row that does not cast alone, by bisection; None when each half fits (the type itself is at fault)."""

    def fits(low: int, high: int) -> bool:
        try:
            _cast_exactly(array.slice(low, high - low), target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        return True

    low, high = 0, len(array)
    if high == 0 or fits(low, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if fits(low, middle):
            low = middle
        else:
            high = middle
    return low if not fits(low, high) else None


def _require(array: pa.Array, target: Any, name: str, offset: int) -> None:
    """Raise SchemaError for a NULL where the table's column, or a field inside it, is required."""
    if not target.nullable and array.null_count:
        at = pc.index(pc.is_null(array), pa.scalar(value=True)).as_py()
        raise SchemaError(f"column {name!r} is required and is NULL in row {offset + at + 1}")
    if _types.is_struct(target.type):
        inner = array.filter(pc.is_valid(array)) if array.null_count else array
        for child, part in zip(target.type, inner.flatten(), strict=True):
            _require(part, child, f"{name}.{child.name}", offset)
    elif _types.is_list(target.type) or _types.is_large_list(target.type):
        _require(array.flatten(), target.type.value_field, f"{name}.element", offset)
    elif _types.is_map(target.type):
        _require(map_entries(array).flatten()[1], target.type.item_field, f"{name}.value", offset)
