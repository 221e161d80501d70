"""What the readers of the formats have in common: files proved unchanged, columns that get their types, results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from lakecat.connector.columns import Column
from lakecat.connector.fit import Rule
from lakecat.connector.nested import may_grow, typed
from lakecat.errors import SourceChangedError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import FileResult, Job, JobFile

_Item = TypeVar("_Item")


@dataclass(slots=True)
class SliceFile:
    """One of the slice's files, and what it became the last time that it was read to its end."""

    index: int
    file: JobFile
    result: FileResult | None = field(default=None, kw_only=True)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RawFile]:
        """The file, whose rest is read at the end. Raises SourceChangedError when it is not what it was."""
        raw = RawFile(self.file.path, self.file.shown, self.file.size)
        try:
            yield raw
            result = FileResult(0, raw.finish())
        finally:
            raw.close()
        if self.result is not None and self.result.sha256 != result.sha256:
            raise SourceChangedError("the file changed while it was read", where=Where(self.file.shown))
        self.result = result


class Reader:
    """A reader of one slice; a format gives ``open``, which sets the columns, and ``batches``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._columns: tuple[Column, ...] = ()
        self._results: list[FileResult] = []

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each file became."""
        return tuple(self._results)

    def _schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, column.type) for column in self._columns])

    def _rule(self, column: Column) -> Rule:
        """How the column's texts are read."""
        options = self._job.options
        return Rule(
            column.type,
            declared=column.declared,
            date_formats=options.date_formats,
            timestamp_formats=options.timestamp_formats,
        )

    def _finished(self, item: SliceFile, rows: int) -> None:
        """Take down what a file became, all of whose rows were handed on."""
        if item.result is None:
            raise AssertionError("a file is finished before its result is taken")
        self._results.append(replace(item.result, rows=rows))


def settled(columns: Iterable[Column], found: Callable[[Column], pa.DataType | None]) -> tuple[Column, ...]:
    """The columns with their types; ``found`` says of what type a column's values are, None where there are none."""
    return tuple(
        typed(column, found(column) if column.type is None or may_grow(column) else None) for column in columns
    )


def grouped(items: Iterator[_Item], most: int) -> Iterator[list[_Item]]:
    """The items in lists of ``most``, the last one shorter."""
    while group := list(islice(items, most)):
        yield group


def cut(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """The batch in batches of ``most`` rows, the last one shorter."""
    for start in range(0, batch.num_rows, most):
        yield batch.slice(start, most)
