"""Arrow IPC files and streams, and ORC files, by pyarrow: every batch is validated before it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import orc

from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import JobFile
from lakecat_connectors._reader import cut
from lakecat_connectors._typed import TypedFile, TypedReader, checked, leaf_count

_FILE_MAGIC: Final = b"ARROW1"
_FEATHER_1: Final = b"FEA1"
_ORC_MAGIC: Final = b"ORC"
_STREAM_END: Final = b"\xff\xff\xff\xff\0\0\0\0"  # the continuation marker, and a length of 0


class ArrowReader(TypedReader):
    """Reads one slice of Arrow IPC files, in the file or the stream format."""

    def columns(self, file: JobFile) -> TypedFile:
        """The columns of the file's schema message. Raises ParseError."""
        head = _head(file, "Arrow")
        if head.startswith(_FEATHER_1):
            raise ParseError(
                "is a Feather file of version 1", where=Where(file.shown), hint="write it again as version 2 (Arrow)"
            )
        try:
            with pa.OSFile(file.path) as source:
                schema = _opened(source, head).schema
        except (pa.ArrowException, OSError) as err:
            raise _damaged(file, "Arrow", err) from err
        return checked(file, schema, sum(leaf_count(field.type) for field in schema))

    def contents(self, item: TypedFile) -> Iterator[pa.RecordBatch]:
        """Every record batch, cut to the rows asked for."""
        head = _head(item.file, "Arrow")
        try:
            with pa.OSFile(item.file.path) as source:
                reader = _opened(source, head)
                for batch in _each(reader):
                    batch.validate(full=True)
                    yield from cut(batch, self._job.batch_rows)
                if isinstance(reader, pa.RecordBatchStreamReader):
                    _refuse_open_end(source, item.file)
        except (pa.ArrowException, OSError) as err:
            raise _damaged(item.file, "Arrow", err) from err


class OrcReader(TypedReader):
    """Reads one slice of ORC files, a stripe at a time."""

    def columns(self, file: JobFile) -> TypedFile:
        """The columns of the file's footer. Raises ParseError."""
        if not _head(file, "ORC").startswith(_ORC_MAGIC):
            raise ParseError("is not an ORC file", where=Where(file.shown), hint="say the format that it has")
        try:
            schema = orc.ORCFile(file.path).schema
        except (pa.ArrowException, OSError) as err:
            raise _damaged(file, "ORC", err) from err
        return checked(file, schema, sum(leaf_count(field.type) for field in schema))

    def contents(self, item: TypedFile) -> Iterator[pa.RecordBatch]:
        """Every stripe, cut to the rows asked for; as many rows as the footer says."""
        rows = 0
        try:
            file = orc.ORCFile(item.file.path)
            for index in range(file.nstripes):
                batch = file.read_stripe(index)
                batch.validate(full=True)
                rows += batch.num_rows
                yield from cut(batch, self._job.batch_rows)
            promised = file.nrows
        except (pa.ArrowException, OSError) as err:
            raise _damaged(item.file, "ORC", err) from err
        if rows != promised:
            raise ParseError(f"holds {rows} rows, and its footer says {promised}", where=Where(item.file.shown))


def _head(file: JobFile, kind: str) -> bytes:
    if file.size == 0:
        raise ParseError(f"the file is empty, and no {kind} file is", where=Where(file.shown))
    RawFile(file.path, file.shown, file.size).close()  # says better than Arrow when the file cannot be opened
    with Path(file.path).open("rb") as source:
        return source.read(8)


def _opened(source: pa.NativeFile, head: bytes) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    return pa.ipc.open_file(source) if head.startswith(_FILE_MAGIC) else pa.ipc.open_stream(source)


def _each(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchStreamReader):
        yield from reader
        return
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _refuse_open_end(source: pa.NativeFile, file: JobFile) -> None:
    """A stream cut off between two batches looks whole, but for the marker at its end."""
    at = source.tell()
    source.seek(max(at - 8, 0))
    if not source.read(at).endswith(_STREAM_END) or at != file.size:
        raise ParseError(
            "the Arrow stream does not end with its end-of-stream marker",
            where=Where(file.shown),
            hint="get the file again: it may be cut off, or hold more than one stream",
        )


def _damaged(file: JobFile, kind: str, err: Exception) -> ParseError:
    reason = str(err).splitlines()[0][:200] if str(err) else type(err).__name__
    return ParseError(
        f"is not a sound {kind} file ({reason})", where=Where(file.shown), hint="get the file again: it may be cut off"
    )
