"""Splits read at the same time: whatever goes wrong in one of them, nobody waits for ever and nothing runs on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.connector import ReadOptions, ReadSummary, Slice
from lakecat.errors import SourceError, UsageError
from lakecat.ingest import reading
from lakecat.ingest.reading import open_slice
from lakecat.types import Position, SourceRead

SCHEMA = pa.schema([("n", pa.int64())])


class Source:
    """Reads numbers: each split says how many batches of one row, and what it does in between."""

    def __init__(self, step: Callable[[Reader, int], None] = lambda _reader, _number: None, **told: Any) -> None:
        self.step = step
        self.told = told
        self.readers: list[Reader] = []

    def read(self, slice_: Slice, _options: ReadOptions) -> Reader:
        self.readers.append(Reader(self, slice_))
        return self.readers[-1]


class Reader:
    schema = SCHEMA

    def __init__(self, source: Source, slice_: Slice) -> None:
        self.source = source
        self.splits = slice_.splits
        self.rows = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for split in self.splits:
            for number in range(int(str(split["rows"]))):
                self.source.step(self, number)
                self.rows += 1
                yield pa.record_batch({"n": [int(str(split["start"])) + number]}, SCHEMA)

    def summary(self) -> ReadSummary:
        return ReadSummary(self.rows, (SourceRead("memory:", self.rows),), **self.source.told)

    def close(self) -> None:
        self.closed.set()


def sliced(*rows: int) -> Slice:
    starts = [1000 * number for number in range(len(rows))]
    splits = tuple({"start": start, "rows": count} for start, count in zip(starts, rows, strict=True))
    return Slice(key="s", splits=splits)


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lakecat-split")]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=9), st.integers(2, 4))
def test_every_row_comes_once(rows: list[int], threads: int) -> None:
    source = Source()
    reader = open_slice(source, sliced(*rows), ReadOptions(), threads=threads)  # type: ignore[arg-type]
    found = sorted(batch["n"][0].as_py() for batch in reader)
    assert found == sorted(1000 * at + number for at, count in enumerate(rows) for number in range(count))
    assert (reader.summary().rows, len(reader.summary().sources)) == (sum(rows), 1)
    reader.close()
    assert all(one.closed.is_set() for one in source.readers)
    assert alive() == []


@pytest.mark.parametrize("taken", [0, 1, 50])
def test_it_can_be_left_at_any_time(taken: int) -> None:
    source = Source()
    reader = open_slice(source, sliced(500, 500, 500), ReadOptions(), threads=2)  # type: ignore[arg-type]
    batches = iter(reader)
    for _ in range(taken):
        next(batches)
    with pytest.raises(UsageError):
        reader.summary()
    reader.close()
    reader.close()
    assert alive() == []
    assert all(one.closed.is_set() for one in source.readers)
    assert sum(one.rows for one in source.readers) <= taken + 20, "no more is read ahead than a few batches"


@pytest.mark.parametrize("error", [SourceError("gone"), ValueError("a bug"), KeyboardInterrupt()])
def test_an_error_of_one_split_is_the_error_of_the_slice(error: BaseException) -> None:
    def failing(reader: Reader, number: int) -> None:
        if reader.splits[0]["start"] == 1000 and number == 3:
            raise error

    reader = open_slice(Source(failing), sliced(99, 99, 99), ReadOptions(), threads=3)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        list(reader)
    reader.close()
    assert alive() == []


def test_a_source_that_never_answers_is_closed(monkeypatch) -> None:
    monkeypatch.setattr(reading, "_PATIENCE_SECONDS", 0.2)

    def stuck(reader: Reader, number: int) -> None:
        if reader.splits[0]["start"] == 1000 and number == 1:
            reader.closed.wait(60)
            raise OSError("the connection was closed")

    reader = open_slice(Source(stuck), sliced(3, 3), ReadOptions(), threads=2)  # type: ignore[arg-type]
    batches = iter(reader)
    next(batches)
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 10
    assert alive() == []


def test_positions_of_parts_are_refused() -> None:
    source = Source(position=Position({"n": 1}))
    reader = open_slice(source, sliced(1, 1), ReadOptions(), threads=2)  # type: ignore[arg-type]
    assert len(list(reader)) == 2
    with pytest.raises(SourceError, match="positions of parts"):
        reader.summary()
    reader.close()


def test_parts_with_other_columns_are_refused() -> None:
    source = Source()
    reader = open_slice(source, sliced(1, 1), ReadOptions(), threads=2)  # type: ignore[arg-type]
    altered = Reader.schema
    try:
        Reader.schema = pa.schema([("n", pa.string())])
        with pytest.raises(SourceError, match="different columns"):
            list(reader)
    finally:
        Reader.schema = altered
    reader.close()
