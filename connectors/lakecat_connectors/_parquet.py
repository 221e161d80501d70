"""Parquet to Arrow: footers united by name, pages verified against their checksums, types made plain and exact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from lakecat.connector import type_name
from lakecat.connector.columns import MAX_COLUMNS, Column, check_names, fold, unite
from lakecat.errors import ParseError, SchemaError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import FileResult, Job, JobFile

_BATCH_BYTES: Final = 32 << 20
_BUFFERS: Final = 64 << 20
_MAX_DEPTH: Final = 64


@dataclass(frozen=True)
class _File:
    """One file's columns: names and plain types."""

    file: JobFile
    schema: pa.Schema
    leaves: int

    @functools.cached_property
    def positions(self) -> dict[str, int]:
        """Where each column stands."""
        return {fold(name): index for index, name in enumerate(self.schema.names)}


class ParquetReader:
    """Reads one slice of Parquet files."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._files: list[_File] = []
        self._columns: tuple[Column, ...] = ()
        self._results: list[FileResult] = []

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each file became."""
        return tuple(self._results)

    def open(self) -> pa.Schema:
        """Read the footers and decide each column's type over all of them."""
        self._files = [_read_footer(file) for file in self._job.files]
        headers = [(Where(item.file.shown), item.schema.names) for item in self._files]
        columns = unite(headers, self._job.wanted, self._job.options.missing_columns)
        self._columns = tuple(
            column if column.type is not None else replace(column, type=self._unified(column.name))
            for column in columns
        )
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row; nothing but exact conversions."""
        for index, item in enumerate(self._files):
            at_file(index)
            raw = RawFile(item.file.path, item.file.shown, item.file.size)
            rows = 0
            try:
                for batch in self._file_batches(item):
                    rows += batch.num_rows
                    yield batch
                self._results.append(FileResult(rows, raw.finish()))
            finally:
                raw.close()

    def _schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, column.type) for column in self._columns])

    def _unified(self, name: str) -> pa.DataType:
        result: pa.DataType | None = None
        for item in self._files:
            position = item.positions.get(fold(name))
            if position is None:
                continue
            kind = item.schema.field(position).type
            found = kind if result is None else wider(result, kind)
            if found is None:
                raise ParseError(
                    f"is {kind}, and {result} in the files before it",
                    where=Where(item.file.shown, column=name),
                    hint=f"declare the type of {name} under columns:",
                )
            result = found
        return pa.string() if result is None or pa.types.is_null(result) else result

    def _file_batches(self, item: _File) -> Iterator[pa.RecordBatch]:
        sources = [item.positions.get(fold(column.name)) for column in self._columns]
        schema = self._schema()
        try:
            with _opened(item.file, _BUFFERS // item.leaves) as file:
                for batch in file.iter_batches(batch_size=_rows_at_once(file, self._job.batch_rows)):
                    arrays = [
                        pa.nulls(batch.num_rows, column.type)
                        if source is None
                        else _exact(batch.column(source), column, item.file.shown)
                        for column, source in zip(self._columns, sources, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except (pa.ArrowException, OSError) as err:
            raise _damaged(item.file, err) from err


def _opened(file: JobFile, buffer: int = 0) -> pq.ParquetFile:
    return pq.ParquetFile(
        file.path,
        page_checksum_verification=True,
        buffer_size=min(buffer, 1 << 20),
        pre_buffer=False,
        coerce_int96_timestamp_unit="us",
        arrow_extensions_enabled=False,
    )


def _damaged(file: JobFile, err: Exception) -> ParseError:
    reason = str(err).splitlines()[0][:200] if str(err) else type(err).__name__
    return ParseError(
        f"is not a sound Parquet file ({reason})", where=Where(file.shown), hint="get the file again: it may be cut off"
    )


def _read_footer(file: JobFile) -> _File:
    """The file's columns with the types this connector hands out. Raises ParseError."""
    if file.size == 0:
        raise ParseError("the file is empty, and no Parquet file is", where=Where(file.shown))
    RawFile(file.path, file.shown, file.size).close()  # says better than Arrow when the file cannot be opened
    try:
        with _opened(file) as opened:
            schema = opened.schema_arrow
            leaves = opened.metadata.num_columns
    except (pa.ArrowException, OSError) as err:
        raise _damaged(file, err) from err
    where = Where(file.shown)
    if not schema.names:
        raise ParseError("has no columns", where=where)
    check_names(schema.names, where)
    if leaves > MAX_COLUMNS:
        raise ParseError(f"has {leaves} columns; at most {MAX_COLUMNS} are read", where=where)
    try:
        return _File(file, pa.schema([pa.field(field.name, plain(field.type)) for field in schema]), leaves)
    except SchemaError as err:
        raise ParseError(err.what, where=where) from err


def plain(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """The type without encodings and units that tables do not have: same values, wider names. Raises SchemaError."""
    if depth > _MAX_DEPTH:
        raise SchemaError(f"is nested deeper than {_MAX_DEPTH}")
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type, depth + 1)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(kind.value_type, depth + 1)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(part.name, plain(part.type, depth + 1)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type, depth + 1), plain(kind.item_type, depth + 1))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type, depth + 1))
    return _plain_scalar(kind)


def _plain_scalar(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_time(kind):
        return pa.time64("us")
    simple: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()),
        (pa.types.is_large_binary, pa.binary()),
        (pa.types.is_binary_view, pa.binary()),
        (pa.types.is_date64, pa.date32()),
        (pa.types.is_float16, pa.float32()),
    )
    return next((target for matches, target in simple if matches(kind)), kind)


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both exactly, or None."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        return _wider_integer(one, other)
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return pa.float64()
    if pa.types.is_decimal(one) and pa.types.is_decimal(other):
        scale = max(one.scale, other.scale)
        precision = max(one.precision - one.scale, other.precision - other.scale) + scale
        return pa.decimal128(precision, scale) if precision <= 38 else None
    return None


def _wider_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = [kind for kind in (one, other) if pa.types.is_signed_integer(kind)]
    unsigned = [kind for kind in (one, other) if pa.types.is_unsigned_integer(kind)]
    if not signed or not unsigned:
        return max((one, other), key=lambda kind: int(kind.bit_width))
    return pa.int64() if unsigned[0].bit_width < 64 else None


def castable(source: pa.DataType, target: pa.DataType, *, declared: bool) -> bool:
    """Whether values of one type may be read as the other; the values are still checked one by one."""
    if pa.types.is_null(source) or plain(source) == plain(target):
        return True
    if pa.types.is_nested(source) or pa.types.is_nested(target):
        return bool(pa.types.is_nested(target) and source.id == target.id)
    if pa.types.is_integer(source):
        return bool(pa.types.is_integer(target) or pa.types.is_floating(target) or pa.types.is_decimal(target))
    if pa.types.is_floating(source):
        return bool(pa.types.is_float64(target) or (declared and pa.types.is_floating(target)))
    if pa.types.is_decimal(source):
        return bool(pa.types.is_decimal(target) or (declared and pa.types.is_floating(target)))
    return bool(pa.types.is_date(source) and pa.types.is_timestamp(target) and target.tz is None)


def _exact(values: pa.Array, column: Column, shown: str) -> pa.Array:
    if values.type == column.type:
        return values
    where = Where(shown, column=column.name)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if not castable(values.type, column.type, declared=column.declared):
        raise ParseError(
            f"is {type_name(values.type)}, not {column.shown}",
            where=where,
            hint=f"mend the file, or load it into a table whose column {column.name} has that type",
        )
    try:
        return pc.cast(values, column.type, safe=True)
    except pa.ArrowException as err:
        raise ParseError(
            f"holds a {type_name(values.type)} value that {column.shown} cannot hold exactly ({str(err)[:80]})",
            where=where,
            hint="nanoseconds, fractions and overflow are never cut off; mend the file or the column's type",
        ) from err


def _rows_at_once(file: pq.ParquetFile, most: int) -> int:
    metadata = file.metadata
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if not metadata.num_rows or size <= 0:
        return most
    return int(max(1, min(most, _BATCH_BYTES * metadata.num_rows // size)))
