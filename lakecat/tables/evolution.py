"""Schema changes by field id (Iceberg table specification, "Schema Evolution").

A field keeps its id through rename, move and widening. A dropped id is never used again, so a name that comes back is
a new, empty column, and old files need no rewrite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StructType,
)

from lakecat.errors import SchemaError
from lakecat.tables.schemas import (
    FieldIds,
    Nanoseconds,
    arrow_to_iceberg,
    assign_ids,
    check_names,
    children,
    convert_fields,
    rebuild,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaChange:
    """A table's next schema. ``base_schema_id`` is the schema that it was made from; None creates the table.

    ``summary`` says each step in words. ``schema.schema_id`` is provisional: ``stage`` decides it.
    """

    schema: Schema
    base_schema_id: int | None
    last_column_id: int
    summary: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddColumn:
    """A new optional column at ``path`` (its last part is the name), last of its struct or right after ``after``."""

    path: tuple[str, ...]
    type: pa.DataType
    doc: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """Another name for the same field."""

    path: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class WidenColumn:
    """A wider type: int to long, float to double, a decimal of more digits and the same scale."""

    path: tuple[str, ...]
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class MoveColumn:
    """Another place in the same struct: right after ``after``, or first."""

    path: tuple[str, ...]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class DropColumn:
    """The column goes; older snapshots keep it."""

    path: tuple[str, ...]


ColumnChange = AddColumn | RenameColumn | WidenColumn | MoveColumn | DropColumn
_Fields = tuple[NestedField, ...]


def new_table(schema: Schema) -> SchemaChange:
    """The change that creates a table with this schema (whose fields have their ids)."""
    highest = schema.highest_field_id
    return SchemaChange(schema=schema, base_schema_id=None, last_column_id=highest, summary=("create",))


def evolve(
    current: Schema, incoming: pa.Schema, *, last_column_id: int, nanoseconds: Nanoseconds = "refuse"
) -> SchemaChange | None:
    """What the table's schema must become to hold incoming data by name; None when it holds it already.

    Adds columns and struct fields, and widens types. A missing column is no change: its rows are null. A narrower
    incoming type is no change: the writer casts, exactly. ``last_column_id`` is the table's highest id ever.
    Raises SchemaError and UnsupportedTypeError, naming the column.
    """
    check_names([column.name for column in incoming], parent="")
    merge = _Merge(FieldIds(last_column_id), nanoseconds, [])
    fields = merge.fields(current.fields, incoming, "")
    if not merge.summary:
        return None
    return _change(current, fields, merge.ids, merge.summary)


def alter(current: Schema, changes: Sequence[ColumnChange], *, last_column_id: int) -> SchemaChange | None:
    """The schema after explicit changes, applied in order; None when nothing changes. Raises SchemaError."""
    ids = FieldIds(last_column_id)
    table: IcebergType = StructType(*current.fields)
    for change in changes:
        table = _inside(table, change.path[:-1], change, _step(change, ids))
    if not children(table):
        raise SchemaError("a table needs at least one column")
    if children(table) == current.fields:
        return None
    return _change(current, children(table), ids, [_words(change) for change in changes])


def _change(current: Schema, fields: _Fields, ids: FieldIds, summary: list[str]) -> SchemaChange:
    return SchemaChange(
        schema=Schema(*fields, schema_id=current.schema_id + 1),
        base_schema_id=current.schema_id,
        last_column_id=ids.last,
        summary=tuple(summary),
    )


@dataclass(slots=True)
class _Merge:
    """Incoming Arrow columns folded into a table's fields."""

    ids: FieldIds
    nanoseconds: Nanoseconds
    summary: list[str]

    def fields(self, current: _Fields, incoming: Iterable[pa.Field], parent: str) -> _Fields:
        merged = {column.name: column for column in current}
        folded = {name.casefold(): name for name in merged}
        for column in incoming:
            path = f"{parent}{column.name}"
            if (known := merged.get(column.name)) is not None:
                merged[column.name] = replaced(known, type_=self.type(known.field_type, column.type, path))
            elif (other := folded.get(column.name.casefold())) is not None:
                raise SchemaError(
                    f"column {path!r} differs from the table's {other!r} only in upper and lower case",
                    hint=f"rename it to {other!r} on the way in",
                )
            else:
                (added,) = assign_ids(convert_fields(pa.schema([column]), nanoseconds=self.nanoseconds), self.ids)
                merged[column.name] = added
                self.summary.append(f"add {path} {added.field_type}")
        return tuple(merged.values())

    def type(self, current: IcebergType, incoming: pa.DataType, path: str) -> IcebergType:
        incoming = _plain(incoming)
        if pa.types.is_null(incoming):
            return current
        if isinstance(current, StructType) and pa.types.is_struct(incoming):
            check_names([child.name for child in incoming], parent=path)
            return StructType(*self.fields(current.fields, incoming, f"{path}."))
        if isinstance(current, ListType) and _is_list(incoming):
            return self._inside(current, (incoming.value_type,), path)
        if isinstance(current, MapType) and pa.types.is_map(incoming):
            return self._inside(current, (incoming.key_type, incoming.item_type), path)
        (converted,) = convert_fields(pa.schema([pa.field(path, incoming)]), nanoseconds=self.nanoseconds)
        return self._decide(current, converted.field_type, path)

    def _inside(self, current: IcebergType, incoming: tuple[pa.DataType, ...], path: str) -> IcebergType:
        pairs = zip(children(current), incoming, strict=True)
        return rebuild(
            current,
            tuple(
                replaced(field, type_=self.type(field.field_type, new, f"{path}.{field.name}")) for field, new in pairs
            ),
        )

    def _decide(self, current: IcebergType, incoming: IcebergType, path: str) -> IcebergType:
        if current == incoming or holds(current, incoming):
            return current
        if widens(current, incoming):
            self.summary.append(f"widen {path} from {current} to {incoming}")
            return incoming
        raise SchemaError(
            f"column {path!r} has the type {current} in the table, and {incoming} does not fit in it",
            hint=f"cast it, or load it under another name; a job may say columns: {{{path}: {current}}} if each"
            " value is one, or load everything from the start (--refresh) when the column was dropped",
        )


def widens(current: IcebergType, wider: IcebergType) -> bool:
    """Whether Iceberg v2 lets a column of one type become the other."""
    if isinstance(current, DecimalType) and isinstance(wider, DecimalType):
        return wider.scale == current.scale and wider.precision > current.precision
    return (isinstance(current, IntegerType) and isinstance(wider, LongType)) or (
        isinstance(current, FloatType) and isinstance(wider, DoubleType)
    )


def holds(current: IcebergType, narrower: IcebergType) -> bool:
    """Whether every value of the narrower type is a value of the current one, exactly."""
    if isinstance(current, DecimalType):
        whole = current.precision - current.scale
        if isinstance(narrower, DecimalType):
            return narrower.scale <= current.scale and narrower.precision - narrower.scale <= whole
        digits = 10 if isinstance(narrower, IntegerType) else 19
        return isinstance(narrower, IntegerType | LongType) and digits <= whole
    if isinstance(current, LongType):
        return isinstance(narrower, IntegerType)
    return isinstance(current, DoubleType) and isinstance(narrower, IntegerType | FloatType)


def replaced(column: NestedField, *, name: str | None = None, type_: IcebergType | None = None) -> NestedField:
    """The same field, by id, with another name or type."""
    return NestedField(
        field_id=column.field_id,
        name=name or column.name,
        field_type=type_ or column.field_type,
        required=column.required,
        doc=column.doc,
        initial_default=column.initial_default,
        write_default=column.write_default,
    )


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type of the values, whatever their encoding."""
    while pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        type_ = type_.value_type
    return type_


def _is_list(type_: pa.DataType) -> bool:
    return pa.types.is_nested(type_) and hasattr(type_, "value_type") and not pa.types.is_map(type_)


def _inside(
    container: IcebergType, path: tuple[str, ...], change: ColumnChange, step: Callable[[_Fields], _Fields]
) -> IcebergType:
    """The container with the step applied to the fields at ``path``.

    The parts of a list or map can be widened, but are neither added, renamed, moved nor dropped.
    """
    fields = children(container)
    if path:
        index = _index(fields, path[0], change.path)
        column = replaced(fields[index], type_=_inside(fields[index].field_type, path[1:], change, step))
        return rebuild(container, (*fields[:index], column, *fields[index + 1 :]))
    if not isinstance(container, StructType) and not (fields and isinstance(change, WidenColumn)):
        raise SchemaError(f"{'.'.join(change.path)!r} is not in a struct, so it cannot change in this way")
    return rebuild(container, step(fields))


def _step(change: ColumnChange, ids: FieldIds) -> Callable[[_Fields], _Fields]:
    name = change.path[-1]
    match change:
        case AddColumn():
            return lambda fields: _add(fields, change, ids)
        case RenameColumn():
            return lambda fields: _rename(fields, change)
        case WidenColumn():
            return lambda fields: _widen(fields, change)
        case MoveColumn():
            return lambda fields: _move(fields, name, change.after, change.path)
        case DropColumn():
            return lambda fields: _drop(fields, change.path)


def _add(fields: _Fields, change: AddColumn, ids: FieldIds) -> _Fields:
    name = change.path[-1]
    check_names([*(column.name for column in fields), name], parent=".".join(change.path[:-1]))
    (column,) = assign_ids(arrow_to_iceberg(pa.schema([pa.field(name, change.type)])).fields, ids)
    if change.doc:
        column = NestedField(
            field_id=column.field_id, name=name, field_type=column.field_type, required=False, doc=change.doc
        )
    added = (*fields, column)
    return added if change.after is None else _move(added, name, change.after, change.path)


def _rename(fields: _Fields, change: RenameColumn) -> _Fields:
    index = _index(fields, change.path[-1], change.path)
    others = [column.name for column in (*fields[:index], *fields[index + 1 :])]
    check_names([*others, change.name], parent=".".join(change.path[:-1]))
    return (*fields[:index], replaced(fields[index], name=change.name), *fields[index + 1 :])


def _widen(fields: _Fields, change: WidenColumn) -> _Fields:
    index = _index(fields, change.path[-1], change.path)
    current = fields[index].field_type
    (target,) = arrow_to_iceberg(pa.schema([pa.field(change.path[-1], change.type)])).fields
    if current == target.field_type:
        return fields
    if not widens(current, target.field_type):
        raise SchemaError(
            f"column {'.'.join(change.path)!r} cannot become {target.field_type}: it is {current}",
            hint="Iceberg allows int to long, float to double, and more digits of a decimal",
        )
    return (*fields[:index], replaced(fields[index], type_=target.field_type), *fields[index + 1 :])


def _move(fields: _Fields, name: str, after: str | None, path: tuple[str, ...]) -> _Fields:
    index = _index(fields, name, path)
    rest = [*fields[:index], *fields[index + 1 :]]
    place = 0 if after is None else _index(tuple(rest), after, (*path[:-1], after)) + 1
    return (*rest[:place], fields[index], *rest[place:])


def _drop(fields: _Fields, path: tuple[str, ...]) -> _Fields:
    index = _index(fields, path[-1], path)
    if len(path) > 1 and len(fields) == 1:
        raise SchemaError(f"{'.'.join(path)!r} is the last column of its struct", hint="drop the struct")
    return (*fields[:index], *fields[index + 1 :])


def _index(fields: _Fields, name: str, path: tuple[str, ...]) -> int:
    for index, column in enumerate(fields):
        if column.name == name:
            return index
    raise SchemaError(f"there is no column {'.'.join(path)!r}", hint=f"there are: {', '.join(c.name for c in fields)}")


def _words(change: ColumnChange) -> str:
    path = ".".join(change.path)
    match change:
        case AddColumn():
            return f"add {path} {change.type}"
        case RenameColumn():
            return f"rename {path} to {change.name}"
        case WidenColumn():
            return f"widen {path} to {change.type}"
        case MoveColumn():
            return f"move {path} {'first' if change.after is None else f'after {change.after}'}"
        case DropColumn():
            return f"drop {path}"
