"""Arrow schemas and Iceberg schemas: exact, or an error that names the column.

Types follow the Iceberg table specification, version 2, "Primitive Types". Columns are optional always: whether nulls
are welcome is a contract's business, and an optional column is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
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
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from lakecat.errors import SchemaError, UnsupportedTypeError

Nanoseconds = Literal["refuse", "exact"]

_MAX_DEPTH: Final = 64
_PLAIN: Final[dict[pa.DataType, IcebergType]] = {
    pa.bool_(): BooleanType(),
    pa.int8(): IntegerType(),
    pa.int16(): IntegerType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.uint8(): IntegerType(),
    pa.uint16(): IntegerType(),
    pa.uint32(): LongType(),
    pa.uint64(): DecimalType(20, 0),
    pa.float16(): FloatType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.date32(): DateType(),
    pa.date64(): DateType(),
    pa.time32("s"): TimeType(),
    pa.time32("ms"): TimeType(),
    pa.time64("us"): TimeType(),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.string_view(): StringType(),
    pa.binary(): BinaryType(),
    pa.large_binary(): BinaryType(),
    pa.binary_view(): BinaryType(),
}


@dataclass(slots=True)
class FieldIds:
    """Hands out field ids that were never used: the one after ``last``, and so on."""

    last: int = 0

    def next(self) -> int:
        """One more id."""
        self.last += 1
        return self.last


def arrow_to_iceberg(schema: pa.Schema, *, nanoseconds: Nanoseconds = "refuse") -> Schema:
    """The Iceberg schema of an Arrow schema, with fresh field ids from 1 (a struct's fields before their children).

    ``nanoseconds="exact"`` maps nanosecond times to microseconds; the caller then must cast with ``safe=True``, which
    fails on the first value that would change. Raises UnsupportedTypeError and SchemaError, naming the column.
    """
    check_names([column.name for column in schema], parent="")
    return Schema(*assign_ids(convert_fields(schema, nanoseconds=nanoseconds), FieldIds()), schema_id=0)


def convert_fields(
    columns: pa.Schema | pa.StructType, *, nanoseconds: Nanoseconds = "refuse"
) -> tuple[NestedField, ...]:
    """Arrow fields as Iceberg fields whose ids are all 0. Raises UnsupportedTypeError, SchemaError."""
    converter = _Converter(nanoseconds)
    return tuple(converter.field(column.name, column.type, column.name) for column in columns)


def assign_ids(fields: tuple[NestedField, ...], ids: FieldIds) -> tuple[NestedField, ...]:
    """The same fields with fresh ids: all of one level first, then their children."""
    numbered = [(ids.next(), column) for column in fields]
    return tuple(_with(column, field_id=number, type_=_renumber(column.field_type, ids)) for number, column in numbered)


def iceberg_to_arrow(schema: Schema, *, field_ids: bool = False) -> pa.Schema:
    """The Arrow schema that ``read`` gives and that files are written from; with Parquet field ids on request."""
    return schema_to_pyarrow(schema, include_field_ids=field_ids)


def check_names(names: list[str], *, parent: str) -> None:
    """Refuse empty names and names that are equal, or equal when case is folded as SQL engines do.

    Raises SchemaError.
    """
    seen: dict[str, str] = {}
    where = f" in {parent!r}" if parent else ""
    for name in names:
        if not name or not name.strip():
            raise SchemaError(f"a column{where} has no name", hint="give every column a name")
        if (other := seen.setdefault(name.casefold(), name)) != name or names.count(name) > 1:
            twice = "twice" if other == name else f"beside {other!r}, which SQL takes for the same"
            raise SchemaError(f"column {name!r}{where} is there {twice}", hint="rename one of them")


def walk(fields: tuple[NestedField, ...], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], NestedField]]:
    """Every field at every depth with its path, parents first."""
    for column in fields:
        here = (*path, column.name)
        yield here, column
        yield from walk(children(column.field_type), here)


def children(type_: IcebergType) -> tuple[NestedField, ...]:
    """The fields right inside a type; none for a primitive."""
    if isinstance(type_, StructType):
        return type_.fields
    if isinstance(type_, ListType):
        return (type_.element_field,)
    if isinstance(type_, MapType):
        return (type_.key_field, type_.value_field)
    return ()


def rebuild(type_: IcebergType, fields: tuple[NestedField, ...]) -> IcebergType:
    """The type with other fields inside; a primitive as it is."""
    if isinstance(type_, StructType):
        return StructType(*fields)
    if isinstance(type_, ListType):
        (element,) = fields
        return ListType(element_id=element.field_id, element=element.field_type, element_required=element.required)
    if isinstance(type_, MapType):
        key, value = fields
        return MapType(
            key_id=key.field_id,
            key_type=key.field_type,
            value_id=value.field_id,
            value_type=value.field_type,
            value_required=value.required,
        )
    return type_


def _with(column: NestedField, *, field_id: int, type_: IcebergType) -> NestedField:
    return NestedField(field_id=field_id, name=column.name, field_type=type_, required=column.required, doc=column.doc)


def _renumber(type_: IcebergType, ids: FieldIds) -> IcebergType:
    inside = children(type_)
    return rebuild(type_, assign_ids(inside, ids)) if inside else type_


@dataclass(slots=True)
class _Converter:
    """One conversion; ``path`` in the methods is what an error calls the column."""

    nanoseconds: Nanoseconds
    _depth: int = field(default=0)

    def field(self, name: str, type_: pa.DataType, path: str, *, required: bool = False) -> NestedField:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnsupportedTypeError(f"column {path!r} is nested deeper than {_MAX_DEPTH} levels")
        converted = self.type(type_, path)
        self._depth -= 1
        return NestedField(field_id=0, name=name, field_type=converted, required=required)

    def type(self, type_: pa.DataType, path: str) -> IcebergType:
        if (plain := _PLAIN.get(type_)) is not None:
            return plain
        if isinstance(type_, pa.BaseExtensionType):
            return UUIDType() if type_ == pa.uuid() else self.type(type_.storage_type, path)
        if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
            return self.type(type_.value_type, path)
        if pa.types.is_nested(type_):
            return self._nested(type_, path)
        if pa.types.is_temporal(type_):
            return self._temporal(type_, path)
        if pa.types.is_fixed_size_binary(type_):
            return FixedType(type_.byte_width)
        if pa.types.is_decimal(type_):
            return _decimal(type_, path)
        raise _unsupported(path, type_, "declare a type for it, or leave it out")

    def _nested(self, type_: pa.DataType, path: str) -> IcebergType:
        if pa.types.is_struct(type_):
            check_names([child.name for child in type_], parent=path)
            if type_.num_fields == 0:
                raise _unsupported(path, type_, "a struct needs at least one field")
            return StructType(*(self.field(child.name, child.type, f"{path}.{child.name}") for child in type_))
        if pa.types.is_map(type_):
            key = self.field("key", type_.key_type, f"{path}.key", required=True)
            return rebuild(_MAP, (key, self.field("value", type_.item_type, f"{path}.value")))
        if pa.types.is_union(type_):
            raise _unsupported(path, type_, "cast it to one type")
        return rebuild(_LIST, (self.field("element", type_.value_type, f"{path}.element"),))

    def _temporal(self, type_: pa.DataType, path: str) -> IcebergType:
        if pa.types.is_timestamp(type_) and (type_.unit != "ns" or self.nanoseconds == "exact"):
            return TimestampType() if type_.tz is None else TimestamptzType()
        if pa.types.is_time(type_) and self.nanoseconds == "exact":
            return TimeType()
        if pa.types.is_timestamp(type_) or pa.types.is_time(type_):
            raise _unsupported(path, type_, "Iceberg v2 keeps microseconds: cast it to us")
        raise _unsupported(path, type_, "cast it to a number or text")


_LIST: Final = ListType(element_id=0, element=BooleanType(), element_required=False)
_MAP: Final = MapType(key_id=0, key_type=BooleanType(), value_id=0, value_type=BooleanType(), value_required=False)


def _decimal(type_: pa.DataType, path: str) -> DecimalType:
    if type_.precision > 38 or not 0 <= type_.scale <= type_.precision:
        raise _unsupported(path, type_, "Iceberg holds up to 38 digits, with a scale from 0 to that")
    return DecimalType(type_.precision, type_.scale)


def _unsupported(path: str, type_: pa.DataType, hint: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        f"column {path!r} has the type {type_}, which Iceberg v2 cannot hold exactly", hint=hint
    )
