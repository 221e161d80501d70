"""What the streams of a job have read so far, and forgetting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final

from lakecat.catalog import Catalog, ExecutionStart
from lakecat.config import IngestJob, StreamJob, is_pattern
from lakecat.errors import ConfigError, NotFoundError, UsageError
from lakecat.ingest.scope import Scope, begun_anew, chosen, current, generation_name, generation_position
from lakecat.ingest.streams import stream_name
from lakecat.landing import Harvest, Services, Work, hold, land
from lakecat.types import ExecutionType, Json, WriteMode

EXECUTIONS: Final = "reset"
"""The name under which the executions are recorded that forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReset:
    """What a stream has read: ``position`` (a JSON object) or a number of ``files``, and when that moved last.

    ``forgotten``: it is no longer known, and the next run reads from the start.
    """

    stream: str | None
    dataset: str
    position: Json
    files: int
    moved_at: datetime | None
    forgotten: bool = False


def reset(
    services: Services, jobs: Sequence[IngestJob], name: str, scope: Scope, *, apply: bool
) -> tuple[StreamReset, ...]:
    """Tell what a job's streams have read; with ``apply`` forget it, all in one commit.

    The source is not asked. Raises NotFoundError, UsageError, LeaseHeldError.
    """
    job = next((one for one in jobs if one.name == name), None)
    if job is None:
        known = ", ".join(one.name for one in jobs) or "none"
        raise NotFoundError(f"there is no ingest job {name!r}", hint=f"there are: {known}")
    read = list(_read(services.catalog, job))
    streams = chosen(job, read, scope.streams) if scope.streams else read
    if apply and streams:
        _refuse_unforgettable(job, streams)
    known_now = tuple(_told(services.catalog, stream, forgotten=apply) for stream in streams)
    if apply and streams:
        _forget(services, job, streams)
    return known_now


def _read(catalog: Catalog, job: IngestJob) -> Iterator[StreamJob]:
    """The job's streams of which the catalog remembers something, with their current generation."""
    prefix = f"ingest/{job.name}/"
    for name in catalog.streams_beginning(prefix):
        within, _, _target = name.removeprefix(prefix).rpartition("/")
        stream = _stream_of(job, within or None)
        if stream is not None and stream_name(stream := current(catalog, stream)) == name:
            yield stream


def _stream_of(job: IngestJob, name: str | None) -> StreamJob | None:
    """The job's stream of this name, as it is now."""
    if not job.streams:
        only = job.stream_job(None)
        return only if only.stream == name else None
    if name is None:
        return None
    entry = next((one for one in sorted(job.streams, key=is_pattern) if one == name or fnmatchcase(name, one)), None)
    try:
        return None if entry is None else job.stream_job(entry, name)
    except ConfigError:
        return None


def _told(catalog: Catalog, stream: StreamJob, *, forgotten: bool) -> StreamReset:
    known = catalog.progress(stream_name(stream))
    return StreamReset(
        stream=stream.stream,
        dataset=str(stream.target),
        position=None if known.position is None else known.position.value,  # type: ignore[arg-type]  # JSON values
        files=known.files,
        moved_at=known.moved_at,
        forgotten=forgotten,
    )


def _refuse_unforgettable(job: IngestJob, streams: Sequence[StreamJob]) -> None:
    """What a table holds has to be known where rows are added to it, or where rows of files that are gone go."""
    for stream in streams:
        appended = stream.mode is WriteMode.APPEND
        if appended or stream.gone == "remove":
            named = "" if stream.stream is None else f" --stream '{stream.stream}'"
            raise UsageError(
                f"the rows of {stream.target} would come twice: it is appended to"
                if appended
                else f"rows of files that go meanwhile would stay in {stream.target} for ever",
                hint="a refresh replaces them in the commit that forgets what was read",
                next_command=f"lakecat ingest --select {job.name}{named} --refresh",
            )


def _forget(services: Services, job: IngestJob, streams: Sequence[StreamJob]) -> None:
    start = ExecutionStart(
        type=ExecutionType.MAINTENANCE,
        job=EXECUTIONS,
        run_key=None,
        targets=(),
        properties={"streams": [stream_name(stream) for stream in streams]},
        project=services.settings.project,
    )

    def produce(_work: Work) -> Harvest:
        anew = [begun_anew(services.catalog, stream) for stream in streams]  # under the lease: a refresh counts, too
        return Harvest(positions={generation_name(stream): generation_position(stream) for stream in anew})

    with hold(services, f"ingest/{job.name}") as held:
        land(services, held, start, produce)
