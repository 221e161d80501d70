"""Avro object container files (Avro 1.12, "Object Container Files") to Arrow.

The container is read here, so that blocks, sync markers and checksums are verified and sizes bounded; fastavro decodes
the records, without logical types: those become Arrow's own from the raw numbers and bytes, exactly.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from lakecat.errors import ParseError, Where
from lakecat_connectors._avro_blocks import Container
from lakecat_connectors._avro_types import Field, arrow_fields, without_logical_types
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import JobFile
from lakecat_connectors._needs import needed
from lakecat_connectors._typed import TypedFile, TypedReader, checked, leaf_count

_BATCH_BYTES: Final = 16 << 20
_SPARE_RECORDS: Final = 65_536


class AvroReader(TypedReader):
    """Reads one slice of Avro files; their schemas are united by name."""

    def columns(self, file: JobFile) -> TypedFile:
        """The columns of the header's schema. Raises ParseError."""
        container = _opened(file)
        container.close()
        fields = _fields(container)
        schema = pa.schema([pa.field(field.name, field.type) for field in fields])
        return checked(file, schema, sum(leaf_count(field.type) for field in schema))

    def contents(self, item: TypedFile) -> Iterator[pa.RecordBatch]:
        """Every record of every block; each block must be used up by the number of records it says."""
        container = _opened(item.file)
        try:
            fields = _fields(container)
            decode = _decoder(container)
            number = 0
            for count, data in container.blocks():
                if count > len(data) + _SPARE_RECORDS:
                    raise container.error(f"a block of {len(data)} bytes says that it holds {count} records")
                for rows in _groups(decode, count, data, self._job.batch_rows, container):
                    yield _batch(fields, rows, container, number)
                    number += len(rows)
        finally:
            container.close()


def _opened(file: JobFile) -> Container:
    if file.size == 0:
        raise ParseError("the file is empty, and no Avro file is", where=Where(file.shown))
    return Container(RawFile(file.path, file.shown, file.size))


def _fields(container: Container) -> tuple[Field, ...]:
    try:
        schema = json.loads(container.schema)
        return arrow_fields(schema)
    except ParseError as err:
        where = Where(container.shown, column=None if err.where is None else err.where.column)
        raise ParseError(err.what, where=where, hint=err.hint) from err
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as err:
        raise container.error(f"its schema is none ({type(err).__name__})") from err


def _decoder(container: Container) -> Callable[[io.BytesIO], Any]:
    fastavro = needed("fastavro", "avro", "Avro")
    try:
        parsed = fastavro.parse_schema(without_logical_types(json.loads(container.schema)))
    except Exception as err:  # fastavro's schema errors have no common parent but this
        raise container.error(f"its schema is none ({type(err).__name__}: {str(err)[:80]})") from err
    return lambda stream: fastavro.schemaless_reader(stream, parsed)


def _groups(
    decode: Callable[[io.BytesIO], Any], count: int, data: bytes, most: int, container: Container
) -> Iterator[list[dict[str, Any]]]:
    stream = io.BytesIO(data)
    rows: list[dict[str, Any]] = []
    start = 0
    try:
        for _ in range(count):
            rows.append(decode(stream))
            if len(rows) >= most or stream.tell() - start > _BATCH_BYTES:
                yield rows
                rows, start = [], stream.tell()
    except (ValueError, EOFError, IndexError, OverflowError, TypeError, KeyError, RecursionError) as err:
        raise container.error(f"a record cannot be decoded ({type(err).__name__}: {str(err)[:80]})") from err
    if rows:
        yield rows
    if stream.tell() != len(data):
        raise container.error(f"{len(data) - stream.tell()} bytes are left behind a block's {count} records")


def _batch(fields: tuple[Field, ...], rows: list[dict[str, Any]], container: Container, number: int) -> pa.RecordBatch:
    arrays = []
    for field in fields:
        try:
            arrays.append(field.build([row[field.key] for row in rows]))
        except (pa.ArrowException, ValueError, ArithmeticError, TypeError, LookupError) as err:
            raise ParseError(
                f"a value in records {number + 1} to {number + len(rows)} is none of its type ({str(err)[:100]})",
                where=Where(container.shown, column=field.name),
            ) from err
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])
