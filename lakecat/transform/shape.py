"""The columns of a target: those of a table that a script replaces, and those that an INSERT's columns go to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from lakecat.errors import SchemaError, ScriptError
from lakecat.tables import SchemaChange, evolve
from lakecat.tables.evolution import replaced
from lakecat.tables.schemas import FieldIds, assign_ids, check_names, convert_fields
from lakecat.transform.scripts import Script


def replace_columns(current: Schema, incoming: pa.Schema, *, last_column_id: int) -> SchemaChange | None:
    """The schema of a table whose rows are all replaced; None when its columns stay.

    The order is the incoming one, and columns that are not incoming go. A column of the same name keeps its field id
    where Iceberg lets its type hold the incoming values or widen to them; else it is a new column of that name.

    Raises SchemaError and UnsupportedTypeError, naming the column.
    """
    check_names(list(incoming.names), parent="")
    known = {column.name.casefold(): column for column in current.fields}
    ids = FieldIds(last_column_id)
    fields = tuple(_column(known.get(column.name.casefold()), column, ids) for column in incoming)
    if fields == current.fields:
        return None
    kept = {column.field_id for column in fields}
    gone = [f"drop {column.name}" for column in current.fields if column.field_id not in kept]
    fresh = [f"add {column.name}" for column in fields if column.field_id > last_column_id]
    return SchemaChange(
        schema=Schema(*fields, schema_id=current.schema_id + 1),
        base_schema_id=current.schema_id,
        last_column_id=ids.last,
        summary=(*gone, *fresh) or ("reorder or widen",),
    )


def _column(known: NestedField | None, incoming: pa.Field, ids: FieldIds) -> NestedField:
    if known is not None:
        single = pa.schema([pa.field(known.name, incoming.type)])
        try:
            change = evolve(Schema(known), single, last_column_id=ids.last)
        except SchemaError:
            pass  # a type that Iceberg does not let the old column have: a new column takes its name
        else:
            if change is None:
                return replaced(known, name=incoming.name)
            ids.last = change.last_column_id
            return replaced(change.schema.fields[0], name=incoming.name)
    (fresh,) = assign_ids(convert_fields(pa.schema([incoming])), ids)
    return fresh


def insert_names(script: Script, table: Sequence[str], incoming: Sequence[str]) -> tuple[str, ...]:
    """The table's column for each incoming one: by the script's list, by name, or by position.

    Raises ScriptError when they do not match, with the place.
    """
    where = script.where(script.statement)
    folded = {name.casefold(): name for name in table}
    listed = incoming if script.by_name else script.columns
    if listed is None:
        if len(incoming) != len(table):
            raise ScriptError(
                f"gives {len(incoming)} columns to {script.target}, which has {len(table)}: {', '.join(table)}",
                where=where,
                hint="list the columns: INSERT INTO table (a, b) SELECT …",
            )
        return tuple(table)
    if len(listed) != len(incoming):
        raise ScriptError(f"lists {len(listed)} columns and gives {len(incoming)}", where=where)
    unknown = [name for name in listed if name.casefold() not in folded]
    if unknown:
        raise ScriptError(
            f"{script.target} has no column {unknown[0]!r}", where=where, hint=f"its columns are {', '.join(table)}"
        )
    if len({name.casefold() for name in listed}) != len(listed):
        raise ScriptError("lists a column twice", where=where)
    return tuple(folded[name.casefold()] for name in listed)


def listed_names(script: Script, incoming: Sequence[str]) -> tuple[str, ...]:
    """The names of a new table's columns: those that an INSERT lists, else the query's. Raises ScriptError."""
    if script.columns is None:
        return tuple(incoming)
    if len(script.columns) != len(incoming):
        raise ScriptError(
            f"lists {len(script.columns)} columns and gives {len(incoming)}", where=script.where(script.statement)
        )
    return script.columns


def renamed(reader: pa.RecordBatchReader, names: Sequence[str]) -> pa.RecordBatchReader:
    """The same batches under other column names."""
    schema = pa.schema([field.with_name(name) for field, name in zip(reader.schema, names, strict=True)])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())
