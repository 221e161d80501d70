"""Rows waiting for their partition's file: in memory up to a budget, beyond it in sorted runs on the local disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from lakecat.errors import StoreError
from lakecat.tables.partition_values import PartitionKey

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class PartitionBuffer:
    """Batches by partition. A run is one Arrow IPC file (lz4) with each partition's rows next to each other.

    Spilling is for the single thread that adds; ``drain`` may run in several threads, one partition each.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._waiting: dict[PartitionKey, list[pa.RecordBatch]] = {}
        self._sizes: dict[PartitionKey, int] = {}
        self._runs: list[Path] = []
        self._where: dict[PartitionKey, list[tuple[int, int]]] = {}
        self._folder: Path | None = None
        self._local = threading.local()

    @property
    def keys(self) -> list[PartitionKey]:
        """Every partition that has rows waiting, in order of first appearance."""
        return list(dict.fromkeys([*self._where, *self._waiting]))

    def add(self, key: PartitionKey, batch: pa.RecordBatch) -> None:
        """Let rows wait."""
        self._waiting.setdefault(key, []).append(batch)
        self._sizes[key] = self._sizes.get(key, 0) + batch.nbytes
        self.bytes += batch.nbytes

    def heavy(self, limit: int) -> list[PartitionKey]:
        """The partitions with at least ``limit`` bytes in memory."""
        return [key for key, size in self._sizes.items() if size >= limit]

    def take(self, key: PartitionKey) -> list[pa.RecordBatch]:
        """The partition's rows in memory, which leave the buffer."""
        self.bytes -= self._sizes.pop(key, 0)
        return self._waiting.pop(key, [])

    def spill(self) -> None:
        """Move all rows in memory to a new run. Raises StoreError when the disk does not take them."""
        if not self._waiting:
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lakecat-spill-"))
        path = self._folder / f"{len(self._runs):05d}.arrow"
        try:
            self._write_run(path)
        except OSError as err:
            raise StoreError(
                f"cannot spill rows to {self._folder}: {err.strerror or err}",
                hint="free space there, or set TMPDIR to a disk that has it",
            ) from err
        self._runs.append(path)
        self._waiting.clear()
        self._sizes.clear()
        self.bytes = 0

    def _write_run(self, path: Path) -> None:
        schema = next(iter(self._waiting.values()))[0].schema
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=_OPTIONS) as writer:
            for number, (key, batches) in enumerate(self._waiting.items()):
                writer.write_batch(pa.concat_batches(batches) if len(batches) > 1 else batches[0])
                self._where.setdefault(key, []).append((len(self._runs), number))

    def drain(self, key: PartitionKey) -> Iterator[pa.RecordBatch]:
        """The partition's rows, spilled ones first. Each partition can be drained once."""
        for run, number in self._where.get(key, ()):
            yield self._reader(run).get_batch(number)
        yield from self._waiting.pop(key, [])

    def _reader(self, run: int) -> pa.RecordBatchFileReader:
        """An open run; each thread has its own, for a reader has one position."""
        readers: dict[int, pa.RecordBatchFileReader] = self._local.__dict__.setdefault("readers", {})
        if run not in readers:
            readers[run] = pa.ipc.open_file(pa.OSFile(str(self._runs[run]), "rb"))
        return readers[run]

    def close(self) -> None:
        """Remove the runs."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._waiting.clear()
