"""Data files: a stream of Arrow batches becomes Parquet files in the lake, whatever its size and its partitions.

An unpartitioned stream goes straight into one file after the other. The rows of a partitioned stream wait for their
partition (``spill``), and each partition's files are written in one go, so that never more than a few are open.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record

from lakecat.config import WriteSettings
from lakecat.errors import CorruptFileError, LakecatError
from lakecat.failpoints import failpoint
from lakecat.store import LakeStore
from lakecat.tables.conform import Conformer
from lakecat.tables.partition_values import Partitioner, PartitionKey
from lakecat.tables.spill import PartitionBuffer
from lakecat.tables.statistics import FloatCounts, Leaf, leaf_arrays, leaves, metrics_from_footer

Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then with the rows taken in and the bytes of finished files so far; what it raises ends the write."""

_BATCH_ROWS: Final = 131_072
_OPEN_FILES: Final = 8
_AHEAD: Final = 4
# More than processors: a thread that waits for the disk or the network to confirm a file leaves its turn to another.
_WRITERS: Final = 4
_SAMPLE_ROWS: Final = 16_384
_PART_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Files that are durable in the lake and that no table knows yet."""

    files: tuple[DataFile, ...]
    rows: int
    bytes: int


def write_files(
    store: LakeStore,
    batches: pa.RecordBatchReader,
    *,
    schema: Schema,
    spec: PartitionSpec,
    prefix: str,
    settings: WriteSettings,
    on_progress: Progress | None = None,
) -> WrittenFiles:
    """Write the batches as Parquet files named ``<prefix>/<uuid>.parquet``, with the partitions of ``spec``.

    Columns are matched to ``schema`` by name. Files carry field ids and page checksums, and the answered DataFiles
    full column metrics. Row order is kept within a partition, except where one outgrows memory.

    Raises SchemaError (a column or value does not fit; names both), StoreError, and whatever ``batches`` or
    ``on_progress`` raise; then the files written so far are removed as far as the store lets us.
    """
    task = _Task(store, schema, spec, prefix, settings)
    conform = Conformer(schema, batches.schema)
    task.open(conform.schema)
    sink: _Straight | _Partitioned = _Straight(task) if spec.is_unpartitioned() else _Partitioned(task)
    progress = on_progress or (lambda _rows, _bytes: None)
    try:
        rows = _pump(batches, lambda batch: sink.write(conform(batch)), lambda done: progress(done, task.bytes))
        sink.finish(lambda: progress(rows, task.bytes))
        written = WrittenFiles(tuple(task.files), rows, task.bytes)
        if sum(file.record_count for file in written.files) != rows:
            raise CorruptFileError(f"{rows} rows came in, but the footers of the written files count others")
        failpoint("data.written")
    except BaseException:
        sink.close()
        task.remove_all()
        raise
    sink.close()
    return written


def _pump(batches: pa.RecordBatchReader, write: Callable[[Any], None], progress: Callable[[int], None]) -> int:
    """Read here and write in a second thread, a few batches apart. Answers the number of rows."""
    rows = 0
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "lakecat-write") as pool:
        try:
            for batch in _pieces(batches):
                pending.append(pool.submit(write, batch))
                rows += batch.num_rows
                while len(pending) > _AHEAD or (pending and pending[0].done()):
                    pending.popleft().result()
                    progress(rows)
            while pending:
                pending.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    progress(rows)
    return rows


def _pieces(batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


class _Task:
    """What all files of one ``write_files`` share, and the files it has made."""

    def __init__(
        self, store: LakeStore, schema: Schema, spec: PartitionSpec, prefix: str, settings: WriteSettings
    ) -> None:
        self.store = store
        self.schema = schema
        self.spec = spec
        self.settings = settings
        self.leaves: tuple[Leaf, ...] = leaves(schema)
        self.files: list[DataFile] = []
        self.bytes = 0
        self._prefix = prefix.rstrip("/")
        self._lock = threading.Lock()
        self._begun: list[str] = []

    def open(self, arrow: pa.Schema) -> None:
        """Fix the Arrow schema that every file has."""
        self.arrow = arrow

    def new_location(self) -> str:
        """A new file's place; no part of it comes from the data."""
        location = self.store.confine(f"{self._prefix}/{uuid4()}.parquet")
        with self._lock:
            self._begun.append(location)
        return location

    def add(self, file: DataFile) -> None:
        """Count a finished file."""
        with self._lock:
            self.files.append(file)
            self.bytes += file.file_size_in_bytes
            first = len(self.files) == 1
        if first:
            failpoint("data.first_file")

    def remove_all(self) -> None:
        """Remove what was written, for no table ever will know of it."""
        for location in self._begun:
            # The error that brought us here matters more; what stays is under the execution's prefix.
            with contextlib.suppress(LakecatError):
                self.store.delete(location)
        self.files.clear()


class _FileWriter:
    """One Parquet file being written, a row group at a time."""

    def __init__(self, task: _Task, key: PartitionKey, first: pa.Table, without_bounds: frozenset[int]) -> None:
        self._task = task
        self._key = key
        self._location = task.new_location()
        self._floats = {leaf.field_id: FloatCounts() for leaf in task.leaves if leaf.floating}
        self._sink = task.store.open_output(self._location)
        paths = [leaf.path for leaf in task.leaves if leaf.field_id not in without_bounds]
        self._writer = pq.ParquetWriter(
            self._sink,
            task.arrow,
            compression=task.settings.compression,
            use_dictionary=_worth_a_dictionary(first, task.leaves),
            write_statistics=paths if without_bounds else True,
            write_page_checksum=True,
            store_decimal_as_integer=True,
            store_schema=False,
        )

    @property
    def bytes(self) -> int:
        return self._sink.tell()

    def write(self, table: pa.Table, floats: dict[int, FloatCounts]) -> None:
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        for field_id, counts in floats.items():
            self._floats[field_id].nan += counts.nan
            self._floats[field_id].valid += counts.valid

    def close(self) -> None:
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        metrics = metrics_from_footer(self._writer.writer.metadata, self._task.leaves, self._floats)
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._location,
            file_format=FileFormat.PARQUET,
            partition=Record(*self._key),
            record_count=metrics.rows,
            file_size_in_bytes=size,
            column_sizes=metrics.column_sizes,
            value_counts=metrics.value_counts,
            null_value_counts=metrics.null_value_counts,
            nan_value_counts=metrics.nan_value_counts,
            lower_bounds=metrics.lower_bounds,
            upper_bounds=metrics.upper_bounds,
            split_offsets=metrics.split_offsets,
            key_metadata=None,
            equality_ids=None,
            sort_order_id=None,
        )
        file.spec_id = self._task.spec.spec_id
        self._task.add(file)

    def abort(self) -> None:
        with contextlib.suppress(Exception):  # giving up after another error, which is the one to show
            self._sink.abort()
        with contextlib.suppress(Exception):  # as above: the writer flushes into the aborted file
            self._writer.close()


def _worth_a_dictionary(table: pa.Table, columns: tuple[Leaf, ...]) -> list[str]:
    """The paths whose first values repeat enough that a dictionary saves space and time."""
    sample = table.slice(0, _SAMPLE_ROWS).combine_chunks().to_batches()
    if not sample:
        return [leaf.path for leaf in columns]
    worth = []
    for leaf, array in zip(columns, leaf_arrays(sample[0]), strict=True):
        plain = array.storage if isinstance(array, pa.ExtensionArray) else array
        if pa.types.is_boolean(plain.type):
            continue
        if len(plain) < 128 or pc.count_distinct(plain).as_py() * 3 <= len(plain):
            worth.append(leaf.path)
    return worth


def _count_floats(table: pa.Table, columns: tuple[Leaf, ...]) -> dict[int, FloatCounts]:
    if not any(leaf.floating for leaf in columns):
        return {}
    counts: dict[int, FloatCounts] = {}
    for batch in table.to_batches():
        for leaf, array in zip(columns, leaf_arrays(batch), strict=True):
            if leaf.floating:
                found = counts.setdefault(leaf.field_id, FloatCounts())
                found.nan += pc.sum(pc.is_nan(array)).as_py() or 0
                found.valid += len(array) - array.null_count
    return counts


class _RollingWriter:
    """The files of one partition, one after the other, each up to the target size."""

    def __init__(self, task: _Task, key: PartitionKey) -> None:
        self._task = task
        self._key = key
        self._file: _FileWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0
        self._nan: frozenset[int] = frozenset()

    def write(self, batch: pa.RecordBatch) -> None:
        limit = self._task.settings.row_group_rows
        while batch.num_rows:
            part = batch.slice(0, limit - self._rows)
            batch = batch.slice(part.num_rows)
            self._waiting.append(part)
            self._rows += part.num_rows
            self._bytes += part.nbytes
            if self._rows >= limit or self._bytes >= self._task.settings.memory // 4:
                self._write_group()

    def _write_group(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._task.arrow)
        self._waiting, self._rows, self._bytes = [], 0, 0
        floats = _count_floats(table, self._task.leaves)
        nan = frozenset(field_id for field_id, counts in floats.items() if counts.nan)
        if not nan <= self._nan:
            # Statistics are chosen for a whole file: the one that has them for this column ends before the NaN.
            self._close_file()
            self._nan |= nan
        if self._file is None:
            self._file = _FileWriter(self._task, self._key, table, self._nan)
        self._file.write(table, floats)
        if self._file.bytes >= self._task.settings.target_file_size:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except BaseException:
                file.abort()
                raise

    def close(self) -> None:
        """Write what waits and finish the last file."""
        if self._waiting:
            self._write_group()
        self._close_file()

    def abort(self) -> None:
        """Give the unfinished file up."""
        if self._file is not None:
            self._file.abort()
            self._file = None


class _Straight:
    """An unpartitioned stream."""

    def __init__(self, task: _Task) -> None:
        self._writer = _RollingWriter(task, ())

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write(batch)

    def finish(self, progress: Callable[[], None]) -> None:
        self._writer.close()
        progress()

    def close(self) -> None:
        self._writer.abort()


class _Partitioned:
    """A partitioned stream: batches are gathered to a unit, split by partition, and wait in the buffer."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._partitioner = Partitioner(task.spec, task.schema)
        self._buffer = PartitionBuffer()
        self._unit: list[pa.RecordBatch] = []
        self._unit_bytes = 0
        self._unit_limit = task.settings.memory // 16
        self._open: OrderedDict[PartitionKey, _RollingWriter] = OrderedDict()

    def write(self, batch: pa.RecordBatch) -> None:
        self._unit.append(batch)
        self._unit_bytes += batch.nbytes
        if self._unit_bytes >= self._unit_limit:
            self._split()
        if self._buffer.bytes >= self._task.settings.memory:
            self._make_room()

    def _split(self) -> None:
        if not self._unit:
            return
        unit = pa.concat_batches(self._unit) if len(self._unit) > 1 else self._unit[0]
        self._unit, self._unit_bytes = [], 0
        parts = self._partitioner.split(unit)
        if len(parts) * _PART_ROWS > unit.num_rows:
            # A part of a few rows costs more in itself than its rows do: gather more before the next split.
            self._unit_limit = min(self._unit_limit * 2, self._task.settings.memory // 2)
        for key, part in parts:
            self._buffer.add(key, part)

    def _make_room(self) -> None:
        """Write partitions that have gathered much straight to their file; let the many small ones spill."""
        for key in self._buffer.heavy(self._task.settings.memory // _OPEN_FILES):
            writer = self._open.pop(key, None) or _RollingWriter(self._task, key)
            self._open[key] = writer
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            for batch in self._buffer.take(key):
                writer.write(batch)
        if self._buffer.bytes >= self._task.settings.memory // 2:
            self._buffer.spill()

    def finish(self, progress: Callable[[], None]) -> None:
        self._split()
        keys = list(dict.fromkeys([*self._open, *self._buffer.keys]))
        pool = ThreadPoolExecutor(_WRITERS, "lakecat-write")
        try:
            for done in [pool.submit(partial(self._finish_partition, key)) for key in keys]:
                done.result()
                progress()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _finish_partition(self, key: PartitionKey) -> None:
        writer = self._open.get(key) or _RollingWriter(self._task, key)
        try:
            for batch in self._buffer.drain(key):
                writer.write(batch)
            writer.close()
        except BaseException:
            writer.abort()
            raise

    def close(self) -> None:
        for writer in self._open.values():
            writer.abort()
        self._buffer.close()
