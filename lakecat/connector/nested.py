"""Nested types: which fields data have beside those that are known, and values put into such a wider type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from lakecat.connector.columns import Column, fold


def may_grow(column: Column) -> bool:
    """Whether structs in the column may have fields that the table does not know: a declared type says all of them."""
    return column.type is not None and not column.declared and bool(pa.types.is_nested(column.type))


def is_any_list(kind: pa.DataType) -> bool:
    """Whether the type is a list, of whatever offsets."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


Leaf: TypeAlias = Callable[[pa.DataType, pa.DataType], pa.DataType]
"""Of a known type and the one that was found, neither of them nested: the type to read with."""


def known_first(known: pa.DataType, _found: pa.DataType) -> pa.DataType:
    """The known type, which the values have to fit."""
    return known


def promoted(known: pa.DataType, found: pa.DataType) -> pa.DataType:
    """The type found where a column of the known one may become it, else the known one.

    These are int to long, float to double, and more digits of a decimal (Iceberg table specification, "Schema
    Evolution").
    """
    integers = pa.types.is_integer(known) and pa.types.is_integer(found)
    if integers and known.bit_width <= 32 and (found.bit_width == 64 or found == pa.uint32()):
        return known if found == pa.uint64() else pa.int64()
    if pa.types.is_float32(known) and pa.types.is_float64(found):
        return found
    decimals = pa.types.is_decimal(known) and pa.types.is_decimal(found)
    return found if decimals and known.scale == found.scale and known.precision < found.precision <= 38 else known


def grown(known: pa.DataType, found: pa.DataType, leaf: Leaf = known_first) -> pa.DataType:
    """The known type with the fields that structs in it have in ``found`` alone.

    ``leaf`` decides where both have one.
    """
    if is_any_list(known):
        inner = known.value_type
        item = grown(inner, found.value_type if is_any_list(found) else found, leaf)
        return known if item == inner else pa.list_(known.value_field.with_type(item))
    if pa.types.is_map(known):
        item = known.item_type
        for value in _map_values(found):
            item = grown(item, value, leaf)
        return known if item == known.item_type else pa.map_(known.key_field, known.item_field.with_type(item))
    if not (pa.types.is_struct(known) and pa.types.is_struct(found)):
        return leaf(known, found)
    parts = {fold(part.name): part for part in known}
    for part in found:
        own = parts.get(fold(part.name))
        kind = without_null(part.type) if own is None else grown(own.type, part.type, leaf)
        parts[fold(part.name)] = pa.field(part.name, kind) if own is None else own.with_type(kind)
    return pa.struct(list(parts.values()))


def _map_values(found: pa.DataType) -> list[pa.DataType]:
    """The types of a map's values; a map that was seen as an object has one in each field."""
    if pa.types.is_map(found):
        return [found.item_type]
    return [part.type for part in found] if pa.types.is_struct(found) else []


def typed(column: Column, found: pa.DataType | None, leaf: Leaf = known_first) -> Column:
    """The column with its type, where the slice's values are of the type ``found`` (None: it has no such column).

    ``leaf`` as for :func:`grown`; a declared type stays.
    """
    if column.type is None:
        return replace(column, type=pa.string() if found is None else found)
    return column if found is None or column.declared else replace(column, type=grown(column.type, found, leaf))


def without_null(kind: pa.DataType) -> pa.DataType:
    """The type with text where nothing but NULL was seen."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(without_null(part.type)) for part in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(without_null(kind.value_type)))
    return kind


def narrow(kind: pa.DataType) -> pa.DataType:
    """The type with 32-bit offsets, which every Arrow reader makes, at every depth."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([part.with_type(narrow(part.type)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(
            kind.key_field.with_type(narrow(kind.key_type)), kind.item_field.with_type(narrow(kind.item_type))
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(kind.value_field.with_type(narrow(kind.value_type)))
    return kind


def cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """A checked cast that takes a struct's fields by name, whatever their order; a field not there is NULL."""
    if values.type == kind:
        return values
    if pa.types.is_null(values.type) or pa.types.is_null(kind):
        return pa.nulls(len(values), kind)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_struct(values.type) and pa.types.is_struct(kind):
        parts = dict(zip((fold(part.name) for part in values.type), values.flatten(), strict=True))
        children = [
            cast(parts[fold(part.name)], part.type) if fold(part.name) in parts else pa.nulls(len(values), part.type)
            for part in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=values.is_null())
    if pa.types.is_list(values.type) and pa.types.is_list(kind):
        offsets = pc.subtract(values.offsets, values.offsets[0])
        inner = cast(values.values.slice(values.offsets[0].as_py(), offsets[-1].as_py()), kind.value_type)
        return pa.ListArray.from_arrays(offsets, inner, kind, mask=values.is_null() if values.null_count else None)
    if pa.types.is_map(values.type) and pa.types.is_map(kind):
        return _cast_map(values, kind)
    return pc.cast(values, kind, safe=True)


def _cast_map(values: pa.MapArray, kind: pa.MapType) -> pa.Array:
    first, last = values.offsets[0].as_py(), values.offsets[-1].as_py()
    keys = cast(values.keys.slice(first, last - first), kind.key_type)
    items = cast(values.items.slice(first, last - first), kind.item_type)
    mask = values.is_null() if values.null_count else None
    return pa.MapArray.from_arrays(pc.subtract(values.offsets, values.offsets[0]), keys, items, kind, mask=mask)
