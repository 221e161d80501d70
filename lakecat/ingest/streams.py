"""From the streams that a job names, by name or by pattern, to those that its source has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from lakecat.catalog import Catalog
from lakecat.config import KEYED, IngestJob, StreamJob, is_pattern
from lakecat.connector import Connector, Cursor, Nulls, Stream, StreamRequest
from lakecat.errors import ConfigError
from lakecat.ingest.children import datasets_of
from lakecat.ingest.quarantine import quarantine_of
from lakecat.types import DatasetName, ExecutionType, FileVersion, Position, WriteMode


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What the catalog remembers of a stream. ``newest``: a file that changed back is to be loaded again.

    Without a ``stream`` it remembers nothing.
    """

    catalog: Catalog
    stream: str | None
    newest: bool

    @property
    def position(self) -> Position | None:
        """The committed position."""
        return None if self.stream is None else self.catalog.position(self.stream)

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        """Those of the file versions that a commit already holds."""
        return frozenset() if self.stream is None else self.catalog.loaded(self.stream, files, newest=self.newest)

    def ledger(self) -> Iterator[FileVersion]:
        """The newest loaded version of every file, by URI."""
        return iter(()) if self.stream is None else self.catalog.ledger(self.stream)


def streams_of(
    job: IngestJob, connector: Connector, discovered: Sequence[Stream] | None = None
) -> tuple[StreamJob, ...]:
    """The job's streams; the source is asked only where the job does not say all, and nobody has ``discovered`` it.

    Raises ConfigError for a stream that is not there, for two with one target, and for a mode that needs a key where
    neither job nor source has one; SourceError.
    """
    source = _Source(connector, discovered)
    if not job.streams:
        found = [job.stream_job(None)]
    else:
        matched: dict[str, StreamJob] = {}
        for entry in sorted(job.streams, key=is_pattern):
            for name in _names(job, entry, source):
                matched.setdefault(name, job.stream_job(entry, name))
        found = list(matched.values())
    found = [_with_key(stream, source) for stream in found]
    _check_targets(found)
    return tuple(found)


def unfilled(catalog: Catalog, job: IngestJob, streams: Iterable[StreamJob]) -> tuple[DatasetName, ...]:
    """Datasets that the job filled last, and that none of its ``streams`` goes to any more, by name.

    Only of jobs with patterns: a table that is dropped at the source is missing among what they find, and nothing else.
    """
    if not any(map(is_pattern, job.streams)):
        return ()
    filled: set[DatasetName] = set()
    for stream in streams:
        filled.update(datasets_of(stream), () if stream.quarantine is None else (quarantine_of(stream),))
    runs = catalog.last_runs().items()
    written = (name for name, run in runs if run.job == job.name and run.type is ExecutionType.INGEST)
    return tuple(sorted(name for name in written if name not in filled))


def stream_name(stream: StreamJob) -> str:
    """The name under which the catalog keeps position and files: a job with a new target starts anew."""
    within = "" if stream.stream is None else f"{stream.stream}/"
    again = f"#{stream.generation}" if stream.generation else ""
    return f"ingest/{stream.job}/{within}{stream.target}{again}"


def request_of(stream: StreamJob) -> StreamRequest:
    """What the connector is asked for."""
    keys = stream.cursor
    cursor = None
    if keys is not None:
        cursor = Cursor(
            column=keys.column,
            lag=keys.lag,
            start=keys.start,
            end=keys.end,
            step=keys.step,
            nulls=Nulls(keys.nulls),
        )
    return StreamRequest(
        name=stream.stream,
        mode=stream.mode,
        key=stream.key,
        cursor=cursor,
        options=stream.json_options,
        checkpoint=stream.checkpoint,
        batch=stream.batch,
        absent=stream.deletes.absent if stream.deletes else False,
    )


def state_of(catalog: Catalog, stream: StreamJob) -> CatalogState:
    """Rows are appended once, ever; in the other modes the table follows what the files hold now."""
    name = stream_name(stream) if stream.remembers else None
    return CatalogState(catalog, name, newest=stream.mode is not WriteMode.APPEND)


class _Source:
    """What the source has: asked once, and only where somebody wants to know."""

    def __init__(self, connector: Connector, discovered: Sequence[Stream] | None) -> None:
        self._connector = connector
        self._discovered = discovered

    @cached_property
    def streams(self) -> Mapping[str, Stream]:
        found = self._connector.discover() if self._discovered is None else self._discovered
        return {stream.name: stream for stream in found}


def _names(job: IngestJob, entry: str, source: _Source) -> Sequence[str]:
    if not is_pattern(entry):
        return (entry,)
    names = list(source.streams)
    found = [name for name in names if fnmatchcase(name, entry)]
    if not found:
        close = difflib.get_close_matches(entry, names, n=3, cutoff=0.3)
        seen = f"it has {', '.join(close or sorted(names)[:5])}" if names else "this user sees none at all"
        raise ConfigError(f"the source has no stream {entry!r}", where=job.where_of("streams", entry), hint=seen)
    return found


def _with_key(stream: StreamJob, source: _Source) -> StreamJob:
    """The stream with the source's own primary key where a key is needed and the job has none."""
    if stream.key or not (stream.mode in KEYED or stream.unnest):
        return stream
    own = source.streams.get(stream.stream or "")
    if own is None or not own.key:
        raise ConfigError(
            f"{'unnest' if stream.unnest else f'mode {stream.mode.value}'} needs key: the columns that identify a row",
            where=stream.where_of("mode"),
            hint=f"the source has no primary key for {stream.stream!r}; name the columns in key:",
        )
    return stream.model_copy(update={"key": own.key})


def _check_targets(streams: Sequence[StreamJob]) -> None:
    taken: dict[DatasetName, StreamJob] = {}
    aside = {quarantine_of(stream): stream for stream in streams if stream.quarantine is not None}
    for target, stream in ((target, one) for one in streams for target in datasets_of(one)):
        other = taken.setdefault(target, stream)
        if other is not stream:
            raise ConfigError(
                f"the streams {other.stream!r} and {stream.stream!r} would both go to {target}",
                where=stream.where_of("target"),
                hint="give one of them another target",
            )
        if target in aside:
            raise ConfigError(
                f"{target} is the quarantine of {aside[target].stream or aside[target].job!r} and cannot be a target",
                where=aside[target].where_of("quarantine", "target"),
                hint="give the quarantine a dataset of its own: quarantine: {target: ...}",
            )
