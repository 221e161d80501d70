"""One slice's work order, as it crosses the pipe to the parser process, and what a reader of a format offers."""

from __future__ import annotations

import base64
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa

from lakecat.connector.columns import Wanted
from lakecat.errors import LakecatError
from lakecat_connectors._options import FilesOptions, Format, parse_options
from lakecat_connectors._rejects import Rejects

FILE_INDEX: Final = "file"
"""Under this key a batch's metadata say which of the slice's files its rows are of."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class JobFile:
    """A file to read: where it can be opened, what people call it, how many bytes it must have."""

    path: str
    shown: str
    size: int


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file; ``facts`` go into the lineage."""

    rows: int
    sha256: str
    facts: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one of the slice's files."""

    file: int
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each file became, and the lines that were set aside, as ``_rejects.to_table`` takes them."""

    files: tuple[FileResult, ...]
    rejected: Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """Everything the parser process needs to know.

    ``rejects`` takes the lines that a reader sets aside. ``folder`` is where archives are unpacked; the parent
    removes it.
    """

    files: tuple[JobFile, ...]
    format: Format
    options: FilesOptions
    wanted: Wanted
    batch_rows: int
    threads: int = 2
    folder: str | None = None
    rejects: Rejects = field(default_factory=Rejects)

    def to_message(self) -> dict[str, Any]:
        """The job as JSON."""
        declared = pa.schema([pa.field(name, kind) for name, kind in self.wanted.declared.items()])
        return {
            "files": [[file.path, file.shown, file.size] for file in self.files],
            "format": self.format,
            "options": self.options.model_dump(exclude_unset=True),
            "expected": None if self.wanted.expected is None else pack(self.wanted.expected),
            "declared": pack(declared),
            "batch_rows": self.batch_rows,
            "threads": self.threads,
            "folder": self.folder,
            "rejects": self.rejects.limit,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Job:
        """The job that ``to_message`` described."""
        expected = message["expected"]
        declared = {field.name: field.type for field in unpack(message["declared"])}
        return cls(
            files=tuple(JobFile(*file) for file in message["files"]),
            format=message["format"],
            options=parse_options(message["options"]),
            wanted=Wanted(None if expected is None else unpack(expected), declared),
            batch_rows=message["batch_rows"],
            threads=message["threads"],
            folder=message["folder"],
            rejects=Rejects(message["rejects"]),
        )


class FormatReader(Protocol):
    """One slice in one format. ``open`` decides the schema; ``batches`` may be iterated once after it."""

    def open(self) -> pa.Schema:
        """Decide the schema over the whole slice. Raises LakecatError."""

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row; ``at_file`` is told the index of each file as it is begun. Raises LakecatError."""

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each file became, complete after the last batch."""


def pack(schema: pa.Schema) -> str:
    """An Arrow schema as text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def unpack(text: str) -> pa.Schema:
    """The schema that ``pack`` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def ahead(items: Iterator[_Item], depth: int) -> Iterator[_Item]:
    """The same items, fetched by a thread of their own, at most ``depth`` before they are asked for."""
    shelf: queue.Queue[tuple[_Item] | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def fetch() -> None:
        try:
            for item in items:
                shelf.put((item,))
                if stopped.is_set():
                    return
            shelf.put(None)
        except BaseException as err:  # noqa: BLE001 - handed to the consumer, which raises it
            shelf.put(err)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while (got := shelf.get()) is not None:
            if isinstance(got, BaseException):
                raise got
            yield got[0]
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            while thread.is_alive():
                shelf.get(timeout=0.01)
        thread.join(timeout=1)


def ordered(pool: Executor, work: Callable[[_Item], _Result], items: Iterable[_Item], depth: int) -> Iterator[_Result]:
    """``map`` over a pool, in order, at most ``depth`` items ahead; errors of ``items`` come after earlier results."""
    waiting: deque[Future[_Result]] = deque()
    source = iter(items)
    failure: LakecatError | None = None
    while True:
        try:
            while len(waiting) < depth:
                waiting.append(pool.submit(work, next(source)))
        except StopIteration:
            break
        except LakecatError as err:
            failure = err
            break
        yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    if failure is not None:
        raise failure
