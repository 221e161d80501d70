"""What was written, read again: each new data file's footer against the table's schema and the writer's counts."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema

from lakecat.errors import CorruptFileError
from lakecat.store import LakeStore
from lakecat.tables.schemas import iceberg_to_arrow

_THREADS: Final = 8
_FIELD_ID: Final = b"PARQUET:field_id"


def audit_files(store: LakeStore, files: Iterable[DataFile], schema: Schema) -> int:
    """Read the footers of ``files`` from the store and compare them with ``schema`` and their manifest entries.

    Answers the number of rows. Raises CorruptFileError naming the file and what differs, and StoreError.
    """
    expected = _columns(iceberg_to_arrow(schema, field_ids=True))
    with ThreadPoolExecutor(_THREADS, "lakecat-audit") as pool:
        return sum(pool.map(lambda file: _audit_file(store, file, expected), files))


def _audit_file(store: LakeStore, file: DataFile, expected: tuple[Any, ...]) -> int:
    try:
        with store.open_input(file.file_path) as source:
            size = source.size()
            footer = pq.read_metadata(source)
    except (pa.ArrowException, OSError) as err:
        raise CorruptFileError(f"{file.file_path} was written and cannot be read: {err}") from err
    if size != file.file_size_in_bytes:
        raise CorruptFileError(f"{file.file_path} has {size} bytes, {file.file_size_in_bytes} were written")
    if footer.num_rows != file.record_count:
        raise CorruptFileError(f"{file.file_path} has {footer.num_rows} rows, {file.record_count} were written")
    found = _columns(footer.schema.to_arrow_schema())
    if found != expected:
        differing = next((pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]), None)
        what = f"{differing[0]} instead of {differing[1]}" if differing else "another number of columns"
        raise CorruptFileError(f"{file.file_path} does not have the table's columns: {what}")
    return int(footer.num_rows)


def _columns(schema: pa.Schema) -> tuple[Any, ...]:
    return tuple(_column(field) for field in schema)


def _column(field: pa.Field) -> tuple[Any, ...]:
    """Name, field id, type and children of a column, free of Arrow's choice of offset width."""
    field_id = int((field.metadata or {}).get(_FIELD_ID, b"-1"))
    type_ = field.type
    if pa.types.is_struct(type_):
        return field.name, field_id, "struct", tuple(_column(child) for child in type_)
    if pa.types.is_map(type_):
        return field.name, field_id, "map", (_column(type_.key_field)[1:], _column(type_.item_field)[1:])
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return field.name, field_id, "list", _column(type_.value_field)[1:]
    return field.name, field_id, _plain(type_)


def _plain(type_: pa.DataType) -> str:
    if pa.types.is_large_string(type_):
        return "string"
    if pa.types.is_large_binary(type_):
        return "binary"
    if isinstance(type_, pa.BaseExtensionType):
        return str(type_.storage_type)
    return str(type_)
