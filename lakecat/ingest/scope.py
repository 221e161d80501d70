"""What a run is asked for beyond what its job says: some of the streams, a load from the start, or a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from lakecat.catalog import Catalog
from lakecat.config import IngestJob, StreamJob
from lakecat.errors import UsageError
from lakecat.ingest.streams import stream_name
from lakecat.types import Position, WriteMode

Bound: TypeAlias = str | int | float
"""An end of a window, as a job writes ``cursor: {start: …}``."""

_COUNT: Final = "generation"
_NO_WINDOWS: Final = frozenset({WriteMode.APPEND, WriteMode.REPLACE, WriteMode.REPLACE_FILES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which part of a job a run is about.

    Attributes:
        streams: names or patterns, of streams or of the datasets they go to; all when empty.
        refresh: what was read before is forgotten, and the first commit of each stream replaces all rows.
        start, end: a window of the cursor is read again, ``end`` not included; positions stay where they are.

    Raises UsageError where a refresh is asked for together with a window.
    """

    streams: tuple[str, ...] = ()
    refresh: bool = False
    start: Bound | None = None
    end: Bound | None = None

    def __post_init__(self) -> None:
        if self.refresh and self.has_window:
            raise UsageError("a refresh reads everything; it cannot have a window")

    @property
    def has_window(self) -> bool:
        """Whether only a window is asked for."""
        return self.start is not None or self.end is not None


EVERYTHING: Final = Scope()


def scoped(catalog: Catalog, job: IngestJob, streams: Sequence[StreamJob], scope: Scope) -> tuple[StreamJob, ...]:
    """Those of the job's streams that are meant, as they are to be read.

    Raises UsageError: no stream has such a name, or a stream cannot be read so.
    """
    return tuple(_asked(catalog, stream, scope) for stream in chosen(job, streams, scope.streams))


def generation_name(stream: StreamJob) -> str:
    """The name under which the catalog keeps how often a stream was begun anew."""
    return f"{_COUNT}/{stream_name(stream.model_copy(update={'generation': 0}))}"


def generation_position(stream: StreamJob) -> Position:
    """How often the stream was begun anew, as the catalog keeps it."""
    return Position({_COUNT: stream.generation})


def begun_anew(catalog: Catalog, stream: StreamJob) -> StreamJob:
    """The stream with nothing read yet; what the catalog remembers stays under the former generation's name."""
    anew = stream.model_copy(update={"generation": _generation(catalog, stream) + 1})
    while catalog.progress(stream_name(anew)).known:  # of a catalog that was rebuilt, a generation may be lost
        anew = stream.model_copy(update={"generation": anew.generation + 1})
    return anew


def _generation(catalog: Catalog, stream: StreamJob) -> int:
    known = catalog.position(generation_name(stream))
    return 0 if known is None else int(str(known.value[_COUNT]))


def current(catalog: Catalog, stream: StreamJob) -> StreamJob:
    """The stream as it was begun last: what the catalog remembers of it is under this generation's name."""
    return stream.model_copy(update={"generation": _generation(catalog, stream)})


def chosen(job: IngestJob, streams: Sequence[StreamJob], wanted: Sequence[str]) -> Sequence[StreamJob]:
    """Those of the streams that are named, all where no name is given. Raises UsageError."""
    if not wanted:
        return streams
    for name in wanted:
        if not any(_answers(stream, name) for stream in streams):
            known = ", ".join(str(stream.stream or stream.target) for stream in streams)
            raise UsageError(f"job {job.name!r} has no stream {name!r}", hint=f"it has {known}")
    return [stream for stream in streams if any(_answers(stream, name) for name in wanted)]


def _answers(stream: StreamJob, name: str) -> bool:
    return any(fnmatchcase(own, name) for own in (stream.stream or "", str(stream.target)))


def _asked(catalog: Catalog, stream: StreamJob, scope: Scope) -> StreamJob:
    if scope.refresh:
        if stream.mode is WriteMode.DELETE:
            raise UsageError(f"{stream.target} is only deleted from; there is nothing to load from the start")
        return begun_anew(catalog, stream).model_copy(update={"anew": True})
    if scope.has_window:
        return _window(stream, scope)
    return current(catalog, stream)


def _window(stream: StreamJob, scope: Scope) -> StreamJob:
    name = stream.stream or stream.job
    if stream.cursor is None:
        raise UsageError(
            f"{name!r} has no cursor, so a window of it cannot be read",
            where=stream.where_of(),
            hint="give it a cursor:, or load it from the start with --refresh",
        )
    if stream.mode in _NO_WINDOWS:
        raise UsageError(
            f"rows of a window of {name!r} would come twice or take the place of all others (mode {stream.mode.value})",
            where=stream.where_of("mode"),
            hint="load it from the start with --refresh; modes with a key can read a window again",
        )
    cursor = stream.cursor.model_copy(update={"start": scope.start, "end": scope.end})
    # The source's other keys are not gone, though they are outside of the window.
    deletes = stream.deletes.model_copy(update={"absent": False}) if stream.deletes else None
    return stream.model_copy(update={"cursor": cursor, "deletes": deletes, "remembers": False})
