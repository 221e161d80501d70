"""Use case: OpenLineage events from files of JSON lines into the catalog, in bounded memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from lakecat.catalog import Catalog
from lakecat.catalog.foreign_lineage import ForeignLineage
from lakecat.catalog.foreign_values import ForeignEvent, Recorded
from lakecat.errors import NotFoundError, ParseError, SourceError, Where
from lakecat.lineage.openlineage import EventError, parse_event

MAX_LINE: Final = 32 << 20
"""Bytes of a line that is read; a longer one is refused."""
BATCH_EVENTS: Final = 500
BATCH_BYTES: Final = 8 << 20
MAX_PROBLEMS: Final = 100
"""Problems that a report names; it counts the others."""
STDIN: Final = "-"
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"

OnProgress: TypeAlias = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """A line that was refused (``refused``), or a part of one that was left out."""

    file: str
    line: int
    what: str
    refused: bool

    def __str__(self) -> str:
        return f"{Where(self.file, self.line)}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLineageReport:
    """What an import read and what it added.

    ``refused`` lines are not in the catalog, the others are; of ``left_out`` facets the rest of the line is.
    """

    files: int = 0
    lines: int = 0
    events: int = 0
    refused: int = 0
    left_out: int = 0
    added: Recorded = field(default_factory=Recorded)
    problems: tuple[ImportProblem, ...] = ()


@dataclass(slots=True)
class _Reader:
    """Reads events out of files, and counts."""

    report: OpenLineageReport = field(default_factory=OpenLineageReport)
    problems: list[ImportProblem] = field(default_factory=list)

    def batches(self, files: Sequence[str], on_progress: OnProgress | None) -> Iterator[list[ForeignEvent]]:
        """The events of all files, some at a time. Raises SourceError."""
        batch: list[ForeignEvent] = []
        size = 0
        for file in files:
            with _opened(file) as stream:
                for number, line in _lines(stream, file):
                    size += len(line or b"")
                    if (event := self._event(file, number, line)) is not None:
                        batch.append(event)
                    if len(batch) >= BATCH_EVENTS or size >= BATCH_BYTES:
                        yield batch
                        batch, size = [], 0
                        if on_progress is not None:
                            on_progress(file, number, None)
            self.report = replace(self.report, files=self.report.files + 1)
        if batch:
            yield batch

    def _event(self, file: str, number: int, line: bytes | None) -> ForeignEvent | None:
        report = self.report
        if line is not None and not line.strip():
            return None
        self.report = report = replace(report, lines=report.lines + 1)
        left_out: list[str] = []
        try:
            if line is None:
                raise EventError(f"is longer than {MAX_LINE >> 20} MiB")
            event = parse_event(line.decode("utf-8"), left_out.append)
        except UnicodeDecodeError:
            self._problem(file, number, "is not UTF-8 text", refused=True)
            return None
        except EventError as err:
            self._problem(file, number, str(err), refused=True)
            return None
        for what in left_out:
            self._problem(file, number, what, refused=False)
        self.report = replace(self.report, events=report.events + 1)
        return event

    def _problem(self, file: str, line: int, what: str, *, refused: bool) -> None:
        name = "<stdin>" if file == STDIN else file
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(ImportProblem(name, line, what, refused))
        key = "refused" if refused else "left_out"
        self.report = replace(self.report, **{key: getattr(self.report, key) + 1})


def import_openlineage(
    catalog: Catalog,
    files: Iterable[str | Path],
    *,
    strict: bool = False,
    namespaces: Iterable[str] = (),
    on_progress: OnProgress | None = None,
) -> OpenLineageReport:
    """Import the events of these files (JSON lines, also gzipped; ``-`` is the standard input).

    A batch of lines is one transaction; lines that are wrong are left out and reported. ``strict``: all in one
    transaction, or nothing. Raises NotFoundError, SourceError, ParseError (strict), UsageError, CatalogError.
    """
    names = [str(file) for file in files]
    for name in names:
        if name != STDIN and not _is_file(name):
            raise NotFoundError(
                f"there is no file {name}", hint="give files of JSON lines, or - for the standard input"
            )
    reader, added = _Reader(), Recorded()
    lineage = ForeignLineage(catalog.database, namespaces)
    if strict:
        added = _all_or_nothing(catalog, lineage, reader, reader.batches(names, on_progress))
    else:
        for batch in reader.batches(names, on_progress):
            added += lineage.record(batch)
    return replace(reader.report, added=added, problems=tuple(reader.problems))


def _is_file(name: str) -> bool:
    """Whether it can be read; a pipe can, too."""
    try:
        return Path(name).exists() and not Path(name).is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _all_or_nothing(
    catalog: Catalog, lineage: ForeignLineage, reader: _Reader, batches: Iterator[list[ForeignEvent]]
) -> Recorded:
    added = Recorded()
    # What stands in a pipe can be read once only, so this is not done again.
    with catalog.database.translating(), catalog.database.writing(repeated=False) as connection:
        for batch in batches:
            if not reader.problems:  # after the first problem the rest is only read, to tell all of them
                added += lineage.record_in(connection, batch)
        if not reader.problems:
            connection.commit()
            return added
    first = reader.problems[0]
    wrong = reader.report.refused + reader.report.left_out
    raise ParseError(
        f"{first.what}; nothing was imported" + (f" ({wrong} problems in all)" if wrong > 1 else ""),
        where=Where(first.file, first.line),
        hint="mend the lines, or import without strict: what is wrong is then left out and told",
    )


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unzipped where it is gzip."""
    try:
        with contextlib.ExitStack() as stack:
            raw = sys.stdin.buffer if file == STDIN else stack.enter_context(Path(file).open("rb"))
            buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
            zipped = buffered.peek(2)[:2] == _GZIP
            yield stack.enter_context(gzip.open(buffered, "rb")) if zipped else buffered
    except OSError as err:
        raise SourceError(f"{file} cannot be read: {err.strerror or err}", hint="check the file") from err


def _lines(stream: BinaryIO, file: str) -> Iterator[tuple[int, bytes | None]]:
    """Each line with its number; None for one that is too long. Raises SourceError where the file is damaged."""
    number = 0
    while True:
        try:
            line = stream.readline(MAX_LINE + 1)
            whole = line.endswith(b"\n") or len(line) <= MAX_LINE
            while not whole and line and not line.endswith(b"\n"):
                line = stream.readline(1 << 20)
        except (EOFError, zlib.error, gzip.BadGzipFile) as err:
            raise SourceError(
                f"is no whole gzip file: {err}",
                where=Where(file, number + 1),
                hint="what came before is imported; get the file again, and import it once more",
            ) from err
        if not line and whole:
            return
        number += 1
        yield number, (line.removeprefix(_BOM) if number == 1 else line) if whole else None
