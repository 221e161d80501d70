"""The ``files`` connector: CSV, JSON lines and Parquet files on any fsspec URL, each file version read exactly once.

What it takes, and what it refuses, is written down in docs/connectors.md.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from lakecat.connector import (
    ConnectorContext,
    ReadOptions,
    ReadSummary,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
)
from lakecat.connector.columns import Wanted, fold
from lakecat.errors import ConfigError, ParseError, SourceChangedError, SourceError, Where
from lakecat.types import FileVersion, Json, LoadedFile, Position, SourceRead
from lakecat_connectors._events import EventQueue
from lakecat_connectors._job import Batch, Job, JobFile, Outcome
from lakecat_connectors._listing import Listed, Listing, changed, shown
from lakecat_connectors._news import news
from lakecat_connectors._options import FilesOptions, Format, file_archive, file_format, parse_options
from lakecat_connectors._periods import parse_span
from lakecat_connectors._rejects import Rejects, to_table
from lakecat_connectors._remotes import Credentials
from lakecat_connectors._worker import Worker, dismiss, hire

_FINGERPRINT = "files"


class Files:
    """Reads files; see docs/connectors.md for its options."""

    def __init__(self, options: FilesOptions, listing: Listing, queue: EventQueue | None = None) -> None:
        self._options = options
        self._queue = queue
        self._listing = listing
        self._worker: Worker | None = None

    @classmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Files:
        """Validate the options. The context's ``storage``: endpoint, region, access_key, … as in lakecat.yaml.

        Raises ConfigError naming the option.
        """
        parsed = parse_options(options)
        listing = Listing(
            Credentials(options=parsed, root=context.root, storage=context.storage, secret=context.secret),
            since=None if parsed.since is None else parse_span(parsed.since),
            clock=context.clock,
        )
        if parsed.events is None:
            return cls(parsed, listing)
        events = parsed.events
        queue = EventQueue(events.queue, endpoint=events.endpoint, wait=events.wait, storage=context.storage)
        return cls(parsed, listing, queue)

    def discover(self) -> Sequence[Stream]:
        """One stream: all files that ``path`` matches. Only reading them shows their columns."""
        paths = self._options.paths
        return (Stream(name="files", uri=paths[0], description=", ".join(paths)),)

    def plan(self, request: StreamRequest, state: StreamState) -> Iterable[Slice]:
        """New file versions as slices in the order of their URLs.

        Incremental: one slice for each new file (``batch: all``: one for all of them). Else one slice with every
        file, or none when exactly these file versions were the last commit's. Files that are gone are told with the
        first slice. With ``events`` the slices are of the files that the queue tells of, for as long as it does.
        Raises SourceError, and ConfigError for ``events`` where every file is asked for.
        """
        together = (self._options.batch or request.batch) == "all"
        if self._queue is not None:
            if not request.incremental:
                raise ConfigError("files connector: option 'events' tells of new files, which mode replace cannot take")
            return self._from_queue(self._queue, state, together=together)
        if not request.incremental:
            return self._whole(self._listing.scan(), state)
        new, gone = news(self._listing.walk(), state, self._listing.covers())
        return self._slices(new, gone, together=together)

    def _slices(
        self, new: tuple[FileVersion, ...], gone: tuple[FileVersion, ...], *, together: bool
    ) -> tuple[Slice, ...]:
        parts = [new] if new and together else [(version,) for version in new]
        if not parts and gone:
            return (_slice((), None, gone),)
        return tuple(_slice(files, None, gone if index == 0 else ()) for index, files in enumerate(parts))

    def _from_queue(self, queue: EventQueue, state: StreamState, *, together: bool) -> Iterator[Slice]:
        for uris in queue.batches():
            there, gone = self._listing.there(uri for uri in uris if self._listing.names(uri) and not uri.endswith("/"))
            new, _ = news(iter(there), state, None)
            yield from self._slices(new, tuple(sorted(gone, key=lambda file: file.uri)), together=together)

    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Open a slice in the parser process and decide its schema. Raises SourceError and its children."""
        if self._worker is None:
            self._worker = hire()
        return FilesReader(self._listing, self._options, self._worker, slice_, options)

    def close(self) -> None:
        """Give the parser process back, for the next connector of this process, and the queue what was not loaded."""
        self._listing.close()
        if self._queue is not None:
            self._queue.close()
        if self._worker is not None:
            dismiss(self._worker)
            self._worker = None

    def _whole(self, versions: tuple[FileVersion, ...], state: StreamState) -> tuple[Slice, ...]:
        if not versions:
            return ()
        fingerprint = _digest(versions)
        if state.position is not None and _FINGERPRINT in state.position.value:
            unchanged = state.position.value[_FINGERPRINT] == fingerprint
        else:
            unchanged = len(state.loaded(versions)) == len(versions)
        if unchanged:
            return ()
        _, gone = news(iter(versions), state, self._listing.covers())
        return (_slice(versions, Position({_FINGERPRINT: fingerprint}), gone),)


class FilesReader:
    """One slice: remote files are fetched to a temporary folder, all are parsed in the parser process."""

    def __init__(
        self, listing: Listing, options: FilesOptions, worker: Worker, slice_: Slice, read: ReadOptions
    ) -> None:
        """Open the slice. Raises SourceChangedError when a file is not what was planned, ParseError, ConfigError."""
        self._listing = listing
        self._worker = worker
        self._files = slice_.files
        self._file_column = read.file_column
        self._folder: Path | None = None
        self._finished: ReadSummary | None = None
        self._exhausted = False
        try:
            job = self._job(options, read)
            self._schema = self._with_file_column(self._checked_open(job))
        except BaseException:
            self._remove_folder()
            raise

    @property
    def schema(self) -> pa.Schema:
        """The slice's columns."""
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches, once; at the end every file is proved unchanged."""
        if self._exhausted:
            raise SourceError("a slice can be read once")
        self._exhausted = True
        try:
            for item in self._worker.stream():
                if isinstance(item, Outcome):
                    self._finish(item)
                else:
                    yield self._stamped(item)
        except ParseError:
            self._refuse_changed()
            raise
        finally:
            if self._finished is None:
                self._worker.stop()
            self._remove_folder()

    def summary(self) -> ReadSummary:
        """Rows, sources and ledger entries. Raises SourceError before the last batch was taken."""
        if self._finished is None:
            raise SourceError("the slice has not been read to its end")
        return self._finished

    def close(self) -> None:
        """Forget the slice; a read that was broken off ends its parser process."""
        if self._finished is None:
            self._worker.stop()
        self._remove_folder()

    def _job(self, options: FilesOptions, read: ReadOptions) -> Job:
        listed = [self._current(version) for version in self._files]
        archived = any(file_archive(options, item.shown) != "none" for item in listed)
        if archived or any(item.local is None for item in listed):
            self._folder = Path(tempfile.mkdtemp(prefix="lakecat-files-"))
        files = tuple(self._job_file(item, number) for number, item in enumerate(listed))
        return Job(
            files=files,
            format=_one_format(options, listed),
            options=options,
            wanted=Wanted(read.expected, dict(read.declared)),
            batch_rows=read.batch_rows,
            folder=self._unpacking() if archived else None,
            rejects=Rejects(read.rejects),
        )

    def _job_file(self, item: Listed, number: int) -> JobFile:
        folder = self._folder or Path()
        return JobFile(str(self._listing.fetch(item, folder, number)), item.shown, item.version.size)

    def _unpacking(self) -> str:
        """A folder for what archives hold."""
        folder = (self._folder or Path()) / "unpacked"
        folder.mkdir()
        return str(folder)

    def _current(self, version: FileVersion) -> Listed:
        now = self._listing.current(version.uri)
        if changed(version, now.version):
            raise SourceChangedError(
                "the file changed after the run was planned", where=Where(now.shown), hint="run the job again"
            )
        return now

    def _checked_open(self, job: Job) -> pa.Schema:
        try:
            return self._worker.open(job)
        except ParseError:
            self._refuse_changed()
            raise

    def _refuse_changed(self) -> None:
        for version in self._files:
            self._current(version)

    def _with_file_column(self, schema: pa.Schema) -> pa.Schema:
        if self._file_column is None:
            return schema
        if fold(self._file_column) in map(fold, schema.names):
            raise ParseError(f"has a column {self._file_column} of its own", where=Where(shown(self._files[0].uri)))
        return schema.append(pa.field(self._file_column, pa.string()))

    def _stamped(self, batch: Batch) -> pa.RecordBatch:
        """The rows, with the URI of their file if that was asked for."""
        if self._file_column is None:
            return batch.rows
        uris = pa.repeat(pa.scalar(self._files[batch.file].uri), batch.rows.num_rows)
        return pa.RecordBatch.from_arrays([*batch.rows.columns, uris], schema=self._schema)

    def _finish(self, outcome: Outcome) -> None:
        self._refuse_changed()
        pairs = tuple(zip(self._files, outcome.files, strict=True))
        rejected = outcome.rejected
        self._finished = ReadSummary(
            rows=sum(result.rows for result in outcome.files),
            sources=tuple(
                SourceRead(version.uri, result.rows, version.size, {"sha256": result.sha256, **result.facts})
                for version, result in pairs
            ),
            files=tuple(LoadedFile(version, result.rows, result.sha256) for version, result in pairs),
            rejected=to_table(rejected, [shown(file.uri) for file in self._files]) if rejected else None,
        )

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _one_format(options: FilesOptions, listed: Sequence[Listed]) -> Format:
    formats = {file_format(options, item.shown) for item in listed}
    if len(formats) != 1:
        raise ConfigError(
            f"files connector: one job reads one format, these files are {', '.join(sorted(formats))}",
            hint="make the path match one kind of file, or say format:",
        )
    return formats.pop()


def _slice(files: tuple[FileVersion, ...], position: Position | None, gone: tuple[FileVersion, ...] = ()) -> Slice:
    key = f"files:{_digest(files)}" + (f":gone:{_digest(gone)}" if gone else "")
    return Slice(key, files, position, sum(file.size for file in files), gone=gone)


def _digest(files: Sequence[FileVersion]) -> str:
    """The same for the same file versions, in any process."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{len(file.uri)}:{file.uri}|{file.identity}\n".encode())
    return digest.hexdigest()[:40]


__all__ = ["Files", "FilesReader"]
