"""Parquet to Arrow: footers united by name, pages verified against their checksums, types made plain and exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa
from pyarrow import parquet as pq

from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import JobFile
from lakecat_connectors._typed import TypedFile, TypedReader, checked

_BATCH_BYTES: Final = 32 << 20
_BUFFERS: Final = 64 << 20


class ParquetReader(TypedReader):
    """Reads one slice of Parquet files."""

    def columns(self, file: JobFile) -> TypedFile:
        """The footer's columns. Raises ParseError."""
        return _read_footer(file)

    def contents(self, item: TypedFile) -> Iterator[pa.RecordBatch]:
        """Every row; pages are verified."""
        try:
            with _opened(item.file, _BUFFERS // item.leaves) as file:
                yield from file.iter_batches(batch_size=_rows_at_once(file, self._job.batch_rows))
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
    if "crypt" in reason.lower():
        return ParseError(
            "is encrypted", where=Where(file.shown), hint="deliver it without encryption: there are no keys here"
        )
    return ParseError(
        f"is not a sound Parquet file ({reason})", where=Where(file.shown), hint="get the file again: it may be cut off"
    )


def _read_footer(file: JobFile) -> TypedFile:
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
    return checked(file, schema, leaves)


def _rows_at_once(file: pq.ParquetFile, most: int) -> int:
    metadata = file.metadata
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if not metadata.num_rows or size <= 0:
        return most
    return int(max(1, min(most, _BATCH_BYTES * metadata.num_rows // size)))
