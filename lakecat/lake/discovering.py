"""What the source of a job has to offer, asked of the source itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from lakecat.errors import ConfigError, NotFoundError, SourceError, UsageError, Where

if TYPE_CHECKING:
    from lakecat.config import IngestJob
    from lakecat.connector import Connector, Stream
    from lakecat.lake.project import Project
    from lakecat.landing import Services
    from lakecat.types import DatasetName

DRAFTS: Final = "lakecat.drafts"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumn:
    """A column of a stream; the type as tables spell it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStream:
    """A stream of a source. ``target`` is the dataset that the job lands it in, None when it does not.

    ``columns`` is None where only reading shows them. ``key`` is the source's own primary key, ``cursors`` are columns
    that may serve as a cursor, ``rows`` is the source's own estimate.
    """

    name: str
    uri: str
    target: DatasetName | None
    key: tuple[str, ...]
    cursors: tuple[str, ...]
    rows: int | None
    description: str | None
    columns: tuple[SourceColumn, ...] | None


class _Discovered(Protocol):
    """What discovery needs of a lake."""

    _project: Project

    @property
    def services(self) -> Services: ...


class Discovering:
    """The part of :class:`lakecat.lake.Lake` that asks sources."""

    def streams(self: _Discovered, job: str) -> tuple[SourceStream, ...]:
        """The streams that a job's source has, by name, whether or not the job lands them.

        Raises NotFoundError for an unknown job, ConfigError, SourceError.
        """
        from lakecat.ingest import open_connector

        jobs = {one.name: one for one in self._project.jobs()}
        if job not in jobs:
            raise NotFoundError(f"there is no ingest job {job!r}", hint=f"there are: {', '.join(jobs) or 'none'}")
        with closing(open_connector(self.services, jobs[job])) as connector:
            streams = sorted(connector.discover(), key=lambda stream: stream.name)
            targets = _targets(jobs[job], connector, streams)
        return tuple(_described(stream, targets.get(stream.name)) for stream in streams)

    def draft(self, kind: str, document: str | Path, *, target: str = "raw.*") -> str:
        """The text of an ingest job for what a document describes, to be checked and completed by a person.

        Args:
            kind: what the document is, ``openapi``: there are as many as are installed (group ``lakecat.drafts``).
            document: its file.
            target: where the streams are to go; a ``*`` stands for each stream's name.

        Raises:
            UsageError: there is no such kind.
            ConfigError, SourceError: the file cannot be read, or is no such document.
        """
        drafts = {point.name: point for point in entry_points(group=DRAFTS)}
        if kind not in drafts:
            raise UsageError(f"{kind!r} is nothing to draft from", hint=f"there are: {', '.join(sorted(drafts))}")
        try:
            text = Path(document).read_bytes()
        except OSError as err:
            raise SourceError(f"cannot be read ({err.strerror})", where=Where(str(document))) from err
        made: str = drafts[kind].load()(text, name=str(document), target=target)
        return made


def _targets(job: IngestJob, connector: Connector, streams: Sequence[Stream]) -> dict[str, DatasetName]:
    """Where the job lands each stream that it lands."""
    from lakecat.ingest.streams import streams_of

    if not job.streams and job.stream is None:
        return {stream.name: job.targets[0] for stream in streams} if len(streams) == 1 else {}
    # Discovery is also what one needs to mend a job that names what is not there.
    try:
        return {one.stream: one.target for one in streams_of(job, connector, streams) if one.stream is not None}
    except ConfigError:
        return {}


def _described(stream: Stream, target: DatasetName | None) -> SourceStream:
    return SourceStream(
        name=stream.name,
        uri=stream.uri,
        target=target,
        key=stream.key,
        cursors=stream.cursors,
        rows=stream.estimated_rows,
        description=stream.description,
        columns=_columns(stream),
    )


def _columns(stream: Stream) -> tuple[SourceColumn, ...] | None:
    from lakecat.connector import type_name

    if stream.schema is None:
        return None
    return tuple(SourceColumn(name=field.name, type=type_name(field.type)) for field in stream.schema)
