"""Reading a slice whole, or its splits at the same time, with as much ahead as a few batches."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from lakecat.connector import Connector, ReadOptions, ReadSummary, Slice, SliceReader
from lakecat.connector.once import Once
from lakecat.errors import SourceError
from lakecat.types import SourceRead

_AHEAD: Final = 2
_POLL_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 30.0
"""How long a thread may take to come to its next batch once nobody wants it."""


def open_slice(connector: Connector, slice_: Slice, options: ReadOptions, *, threads: int | None) -> SliceReader:
    """A reader of the whole slice; its splits are read by up to ``threads`` threads (None: one for each processor).

    Where keys will be asked for, one reader reads all: it knows the moment of which they must be. Raises as
    ``Connector.read``.
    """
    workers = min(len(slice_.splits), threads or os.cpu_count() or 1)
    if workers < 2 or options.keys:
        return connector.read(slice_, options)
    return _ParallelReader(connector, slice_, options, workers)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _ParallelReader:
    """The splits of one slice, each read by a reader of its own; batches come in no particular order."""

    def __init__(self, connector: Connector, slice_: Slice, options: ReadOptions, workers: int) -> None:
        self._connector = connector
        self._slice = slice_
        self._options = options
        self._waiting: queue.SimpleQueue[Slice] = queue.SimpleQueue()
        self._shelf: queue.Queue[pa.RecordBatch | _Failed | None] = queue.Queue(workers * _AHEAD)
        self._stop = threading.Event()
        self._summaries: list[ReadSummary] = []
        self._open: list[SliceReader] = []
        self._once = Once()
        first, *others = (replace(slice_, splits=(split,)) for split in slice_.splits)
        for other in others:
            self._waiting.put(other)
        self._first = connector.read(first, options)
        self._schema = self._first.schema
        self._threads = [
            threading.Thread(
                target=self._work,
                args=(self._first if number == 0 else None,),
                name=f"lakecat-split-{number}",
                daemon=True,  # one that waits for a source that never answers must not keep the process
            )
            for number in range(workers)
        ]

    @property
    def schema(self) -> pa.Schema:
        """That of every split."""
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._once.through(self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            item = self._shelf.get()
            if item is None:
                running -= 1
            elif isinstance(item, _Failed):
                raise item.error
            else:
                yield item

    def summary(self) -> ReadSummary:
        """The sum of the splits' own; the slice says the position, for none of them knows it of all.

        Raises UsageError before the last batch was taken, SourceError for a split that gives a position.
        """
        self._once.check_finished()
        if any(one.position is not None for one in self._summaries):
            raise SourceError(
                f"the connector gives positions of parts of {self._slice.key}, of which no position of the whole comes",
                hint="a slice with splits says its position itself, or has no splits: tell its author",
            )
        rejected = [one.rejected for one in self._summaries if one.rejected is not None]
        return ReadSummary(
            rows=sum(one.rows for one in self._summaries),
            sources=_together([source for one in self._summaries for source in one.sources]),
            files=tuple(file for one in self._summaries for file in one.files),
            rejected=pa.concat_tables(rejected) if rejected else None,
        )

    def close(self) -> None:
        """Stop the threads: each ends at its next batch, or when its reader is closed under it."""
        self._stop.set()
        if not self._ended(_PATIENCE_SECONDS):
            for reader in tuple(self._open):
                # Whatever a reader says that is closed in the midst, nobody waits for its rows any more.
                with contextlib.suppress(Exception):
                    reader.close()
            self._ended(_PATIENCE_SECONDS)
        self._first.close()

    def _ended(self, seconds: float) -> bool:
        """Whether all threads have ended within this time."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, first: SliceReader | None) -> None:
        try:
            for reader in self._readers(first):
                self._open.append(reader)
                with contextlib.closing(reader):
                    if not self._hand_out(reader):
                        return
                self._open.remove(reader)
        except BaseException as err:  # noqa: BLE001 - handed to the thread that takes the batches, which raises it
            self._put(_Failed(err))
        finally:
            self._put(None)

    def _readers(self, first: SliceReader | None) -> Iterator[SliceReader]:
        """The first reader, where this thread has it, then one for each split that nobody has taken yet."""
        if first is not None:
            yield first
        while True:
            try:
                split = self._waiting.get_nowait()
            except queue.Empty:
                return
            yield self._connector.read(split, self._options)

    def _hand_out(self, reader: SliceReader) -> bool:
        """Whether the split was handed out to its end."""
        if reader.schema != self._schema:
            raise SourceError(
                "the parts of the source have different columns", hint="it was altered while it was read: run again"
            )
        for batch in reader:
            if not self._put(batch):
                return False
        self._summaries.append(reader.summary())
        return True

    def _put(self, item: pa.RecordBatch | _Failed | None) -> bool:
        while not self._stop.is_set():
            try:
                self._shelf.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _together(sources: Sequence[SourceRead]) -> tuple[SourceRead, ...]:
    """One entry for each URI: the splits of a table are one source."""
    found: dict[str, SourceRead] = {}
    for source in sources:
        known = found.get(source.uri)
        if known is None:
            found[source.uri] = source
            continue
        sizes = [size for size in (known.bytes, source.bytes) if size is not None]
        found[source.uri] = replace(known, rows=known.rows + source.rows, bytes=sum(sizes) if sizes else None)
    return tuple(found.values())
