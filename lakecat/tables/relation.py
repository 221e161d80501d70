"""From an Iceberg snapshot's files to a DuckDB relation that reads them by field id.

DuckDB's ``read_parquet(…, schema = MAP {field id: {name, type, default_value, children}})`` maps columns the way
Iceberg's "Column Projection" section asks: by field id at every level, so that renames, drops, reorders, widened types
and a dropped name that came back read as PyIceberg reads them. A column that a file lacks is its initial default, else
NULL. Identity-partition columns are expected in the files; files that lack them are not for this relation: see
:func:`by_field_id`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final, Protocol
from uuid import UUID

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
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
from pyiceberg.utils.datetime import days_to_date, micros_to_time, micros_to_timestamp, micros_to_timestamptz
from sqlglot import exp

from lakecat.errors import UnsupportedTypeError

DIALECT: Final = "duckdb"

_PRIMITIVES: Final[dict[type[IcebergType], str]] = {
    BooleanType: "BOOLEAN",
    IntegerType: "INTEGER",
    LongType: "BIGINT",
    FloatType: "FLOAT",
    DoubleType: "DOUBLE",
    DateType: "DATE",
    TimeType: "TIME",
    TimestampType: "TIMESTAMP",
    TimestamptzType: "TIMESTAMP WITH TIME ZONE",
    StringType: "VARCHAR",
    UUIDType: "UUID",
    BinaryType: "BLOB",
    FixedType: "BLOB",
}


class ReadableFile(Protocol):
    """What a relation needs to know of a planned file."""

    @property
    def rows(self) -> int:
        """Rows in the file, as its manifest says."""
        ...


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """A name as a quoted SQL identifier of DuckDB."""
    return exp.to_identifier(name, quoted=True).sql(dialect=DIALECT)


@lru_cache(maxsize=4096)
def text(value: str) -> str:
    """A string as an SQL literal of DuckDB."""
    return exp.Literal.string(value).sql(dialect=DIALECT)


def duckdb_type(kind: IcebergType) -> str:
    """The DuckDB type that holds every value of an Iceberg v2 type.

    Raises:
        UnsupportedTypeError: for types that Iceberg v2 does not have.
    """
    if isinstance(kind, DecimalType):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if isinstance(kind, ListType):
        return f"{duckdb_type(kind.element_type)}[]"
    if isinstance(kind, MapType):
        return f"MAP({duckdb_type(kind.key_type)}, {duckdb_type(kind.value_type)})"
    if isinstance(kind, StructType):
        return f"STRUCT({', '.join(f'{quoted(f.name)} {duckdb_type(f.field_type)}' for f in kind.fields)})"
    name = _PRIMITIVES.get(type(kind))
    if name is None:
        raise UnsupportedTypeError(
            f"the engine cannot read Iceberg type {kind}", hint="cast the column to another type"
        )
    return name


def by_field_id(file: DataFile, spec: PartitionSpec) -> bool:
    """Whether DuckDB may read this file itself.

    Not when it leaves identity-partition columns to its manifest entry, as files migrated from Hive do: writers of
    Iceberg metrics list every column that is in the file in ``value_counts``.
    """
    identity = {field.source_id for field in spec.fields if isinstance(field.transform, IdentityTransform)}
    return identity <= set(file.value_counts or ())


def relation_sql(
    paths: Sequence[str], schema: Schema, *, rows: int | None = None, filename_column: str | None = None
) -> str:
    """A query over these Parquet files with exactly the columns of ``schema``, in its order.

    Args:
        paths: what DuckDB may open: local paths, or URLs of a registered filesystem.
        schema: the Iceberg schema to read as, of any snapshot of the table.
        rows: rows in all files, which the optimizer uses for join orders.
        filename_column: adds a VARCHAR column of this name with the path each row came from.
    """
    if not paths:
        return empty_sql(schema, filename_column=filename_column)
    options = [f"schema = {_field_map(schema.fields)}", "hive_partitioning = false", "union_by_name = false"]
    if rows is not None:
        options.append(f"explicit_cardinality = {rows:d}")
    if filename_column is not None:
        options.append(f"filename = {text(filename_column)}")
    files = ", ".join(text(path) for path in paths)
    columns = ", ".join(quoted(name) for name in _column_names(schema, filename_column))
    return f"SELECT {columns} FROM read_parquet([{files}], {', '.join(options)})"


def empty_sql(schema: Schema, *, filename_column: str | None = None) -> str:
    """A query with the columns and types of ``schema`` and no rows; touches no file."""
    columns = [f"CAST(NULL AS {duckdb_type(f.field_type)}) AS {quoted(f.name)}" for f in schema.fields]
    if filename_column is not None:
        columns.append(f"CAST(NULL AS VARCHAR) AS {quoted(filename_column)}")
    return f"SELECT {', '.join(columns)} WHERE FALSE"


def uuid_bytes_sql(column: str) -> str:
    """A UUID column, given as a quoted identifier, as its 16 bytes: DuckDB would hand it to Arrow as text."""
    return f"unhex(replace(CAST({column} AS VARCHAR), '-', ''))"


def with_uuids(batch: pa.RecordBatch, positions: Sequence[int]) -> pa.RecordBatch:
    """The batch with its columns of :func:`uuid_bytes_sql` typed as Arrow's canonical UUID extension."""
    for position in positions:
        storage = batch.column(position).cast(pa.binary(16))
        array = pa.ExtensionArray.from_storage(pa.uuid(), storage)
        batch = batch.set_column(position, pa.field(batch.schema.field(position).name, pa.uuid()), array)
    return batch


def with_uuid_fields(schema: pa.Schema, positions: Sequence[int]) -> pa.Schema:
    """The schema of what :func:`with_uuids` gives."""
    for position in positions:
        schema = schema.set(position, pa.field(schema.field(position).name, pa.uuid()))
    return schema


def total_rows(files: Iterable[ReadableFile]) -> int:
    """Rows in these files, by their manifests."""
    return sum(file.rows for file in files)


def _column_names(schema: Schema, filename_column: str | None) -> list[str]:
    names = [field.name for field in schema.fields]
    return names if filename_column is None else [*names, filename_column]


def _field_map(fields: Iterable[NestedField]) -> str:
    return f"MAP {{{', '.join(_field_entry(field) for field in fields)}}}"


def _field_entry(field: NestedField) -> str:
    children = _children(field.field_type)
    nested = _field_map(children) if children else "NULL"
    return (
        f"{field.field_id:d}: {{name: {text(field.name)}, type: {text(duckdb_type(field.field_type))},"
        f" default_value: {_default(field)}, children: {nested}}}"
    )


def _children(kind: IcebergType) -> tuple[NestedField, ...]:
    if isinstance(kind, StructType):
        return kind.fields
    if isinstance(kind, ListType):
        return (kind.element_field,)
    if isinstance(kind, MapType):
        return (kind.key_field, kind.value_field)
    return ()


def _default(field: NestedField) -> str:
    value = field.initial_default
    if value is None:
        return "CAST(NULL AS VARCHAR)"
    return text(_default_text(value, field.field_type))


def _default_text(value: object, kind: IcebergType) -> str:
    """A default as the text that DuckDB casts to the column's type; metadata may hold dates and times as numbers."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02X}" for byte in value)
    if isinstance(value, int):
        return str(_moment(value, kind))
    if isinstance(value, str | float | Decimal | UUID | dt.date | dt.time):
        return str(value)
    raise UnsupportedTypeError(f"the engine cannot read a default of type {type(value).__name__} for {kind}")


def _moment(value: int, kind: IcebergType) -> object:
    if isinstance(kind, DateType):
        return days_to_date(value)
    if isinstance(kind, TimeType):
        return micros_to_time(value)
    if isinstance(kind, TimestampType):
        return micros_to_timestamp(value)
    if isinstance(kind, TimestamptzType):
        return micros_to_timestamptz(value)
    return value
