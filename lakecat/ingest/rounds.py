"""One round of a run: a slice of each stream, read, audited and committed together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from lakecat.catalog import ExecutionStart
from lakecat.config import IngestJob, StreamJob
from lakecat.connector import Connector, KeyedReader, ReadSummary, SliceReader
from lakecat.errors import LakecatError, SourceError, StreamsFailedError, TableError, UsageError
from lakecat.ingest.absence import (
    check_file_column,
    ledger_entries,
    refuse_emptied,
    replaced_files,
)
from lakecat.ingest.asking import names_of, read_options, target_of
from lakecat.ingest.children import Family, Outcome, datasets_of, with_lists, without_gone_files
from lakecat.ingest.connectors import nulls_for_missing
from lakecat.ingest.origins import rejected_edges, sources_of
from lakecat.ingest.parameters import parameters_of
from lakecat.ingest.parts import Part
from lakecat.ingest.quarantine import Rejects, quarantine_of
from lakecat.ingest.reading import open_slice
from lakecat.ingest.results import IngestResult, result_of
from lakecat.ingest.scope import generation_name, generation_position
from lakecat.ingest.shaping import renamed, with_execution
from lakecat.ingest.streams import stream_name
from lakecat.ingest.target import Loaded, Target, load
from lakecat.landing import Harvest, Held, Landed, OnProgress, Services, Work, land
from lakecat.tables import TableChange, TableState
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    EdgeKind,
    ExecutionState,
    ExecutionType,
    Json,
    LoadedFile,
    Position,
    SourceRead,
    WriteMode,
)

STREAM_ERRORS: Final = (SourceError, TableError, UsageError)
"""What concerns one stream only; errors of the lake and the catalog concern them all."""

_SHOWN_CHARACTERS: Final = 2_000
_SHOWN_STREAMS: Final = 50


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one part."""

    loaded: Loaded
    sources: tuple[str, ...]
    rejected: int


@dataclass(slots=True)
class _Gathered:
    """What the parts of a round have made so far."""

    changes: list[TableChange] = field(default_factory=list)
    sources: list[SourceRead] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    files: dict[str, tuple[LoadedFile, ...]] = field(default_factory=dict)
    edges: list[ColumnEdge] = field(default_factory=list)
    loads: dict[DatasetName, _Made] = field(default_factory=dict)
    rejects: Rejects = field(default_factory=Rejects)
    rows: int = 0

    def add(
        self,
        part: Part,
        made: Sequence[Outcome],
        summary: ReadSummary,
        rejected: int,
    ) -> None:
        """Take in what one part made: of its own table first, then of those of its lists."""
        stream = stream_name(part.stream)
        for loaded, edges in made:
            if loaded.change is not None:
                self.changes.append(loaded.change)
                self.edges += edges
        if rejected:
            self.edges += rejected_edges(part.stream, [edge for _, edges in made for edge in edges])
        self.sources += sources_of(part.stream, summary)
        position = summary.position or part.slice.position
        if position is not None and part.stream.remembers:
            self.positions[stream] = position
        if (entries := ledger_entries(part.slice, summary)) and part.stream.remembers:
            self.files[stream] = entries
        if part.stream.generation and part.stream.remembers:  # in each receipt: a rebuilt catalog has to know it
            self.positions[generation_name(part.stream)] = generation_position(part.stream)
        uris = tuple(source.uri for source in summary.sources)
        self.loads[part.stream.target] = _Made(made[0][0], uris, rejected)
        self.rows += summary.rows


@dataclass(slots=True)
class Run:
    """One run of one job. ``alone``: the job has one stream, whose errors are the run's own.

    ``failures`` are the errors of streams by their datasets; those ``told`` are shown by an execution that failed.
    """

    services: Services
    job: IngestJob
    connector: Connector
    held: Held
    on_progress: OnProgress | None
    alone: bool
    failures: dict[str, LakecatError] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def failed(self, stream: StreamJob, err: LakecatError) -> None:
        """Remember that a stream failed; raises where the others may not go on without it."""
        if self.alone or self.job.on_error == "fail":
            raise err
        self.failures[str(stream.target)] = err

    def commit(self, parts: Sequence[Part]) -> tuple[IngestResult, ...]:
        """Load a round's slices and commit them. Raises StreamsFailedError when none of several could be read."""
        started = time.monotonic()
        gathered: list[_Gathered] = []
        earlier = dict(self.failures)

        def produce(work: Work) -> Harvest:
            self.failures = dict(earlier)  # of an attempt before this one nothing is left
            gathered.append(_Gathered())
            return self._produce(work, parts, gathered[-1])

        targets = [dataset for part in parts for dataset in datasets_of(part.stream)]
        quarantines = [quarantine_of(part.stream) for part in parts if part.stream.quarantine]
        keys = ", ".join(part.slice.key for part in parts)
        start = ExecutionStart(
            type=ExecutionType.INGEST,
            job=self.job.name,
            run_key=self._run_key(parts[0]) if self.alone else None,
            targets=tuple(dict.fromkeys((*targets, *quarantines))),
            properties={"parameters": parameters_of(self.job), "slice": keys[:_SHOWN_CHARACTERS]},
            project=self.services.settings.project,
        )
        try:
            landed = land(self.services, self.held, start, produce, on_progress=self.on_progress)
        except BaseException:
            self.told |= {str(part.stream.target) for part in parts}  # the execution failed, and says why
            raise
        loads = gathered[-1].loads if gathered else {}
        seconds = time.monotonic() - started
        return tuple(
            _result(part, landed, loads.get(part.stream.target), seconds)
            for part in parts
            if str(part.stream.target) not in self.failures
        )

    def _run_key(self, part: Part) -> str:
        """The work itself: this slice into this table in this way.

        A slice is appended once, ever. In the other modes the same slice may well be due again (a file that got its
        old content back), so the job's last completed execution is part of the key.

        Rounds of several streams have none: what failed in one must be due again. Their positions and ledgers, which
        move in the same commit, keep rows from coming twice.
        """
        stream = part.stream
        parts = [self.job.name, str(stream.target), stream.mode.value, *stream.key, part.slice.key]
        if stream.stream is not None:
            parts.insert(1, stream.stream)
        if stream.generation:
            parts.append(f"#{stream.generation}")
        if stream.mode is not WriteMode.APPEND:
            last = self.services.catalog.latest_execution(self.job.name, ExecutionState.COMPLETE)
            parts.append(last.uuid if last else "")
        return "ingest:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _produce(self, work: Work, parts: Sequence[Part], gathered: _Gathered) -> Harvest:
        for part in parts:
            try:
                with work.whole():
                    self._part(work, part, gathered)
            except STREAM_ERRORS as err:
                self.failed(part.stream, err)
        if not gathered.loads:
            raise StreamsFailedError(self.failures)
        quarantined = gathered.rejects.write(self.services, work, self.services.clock())
        properties: dict[str, Json] = {"rows": gathered.rows}
        if self.failures:
            properties["failed_streams"] = _failed_streams(self.failures)
        return Harvest(
            changes=(*gathered.changes, *quarantined),
            sources=tuple(gathered.sources),
            positions=gathered.positions,
            files=gathered.files,
            edges=tuple(gathered.edges),
            properties=properties,
        )

    def _part(self, work: Work, part: Part, gathered: _Gathered) -> None:
        stream = part.stream
        state = work.state(stream.target)
        if part.slice.gone and not part.slice.files:
            made = without_gone_files(self.services, work, self._target(part, {}), part)
            summary = ReadSummary(0, ())
        else:
            options = read_options(stream, state)
            options = replace(options, expected=with_lists(work, stream, options.expected))
            threads = self.services.settings.engine.threads
            with closing(open_slice(self.connector, part.slice, options, threads=threads)) as reader:
                check_file_column(stream, state, reader.schema)
                made = self._landed(work, part, reader, state)
                summary = reader.summary()
        refuse_emptied(part, state, made[0][0])
        self._refuse_unremembered(part, summary)
        rejected = gathered.rejects.add(stream, summary.rows, summary.rejected)
        gathered.add(part, made, summary, rejected)

    def _landed(self, work: Work, part: Part, reader: SliceReader, state: TableState | None) -> list[Outcome]:
        """Write what a reader hands out; first comes the stream's own table, then those of its lists."""
        stream = part.stream
        rows = pa.RecordBatchReader.from_batches(reader.schema, _checked(reader, work))
        if stream.unnest:
            sources = self._source_names(part)
            family = Family(
                services=self.services,
                work=work,
                part=part,
                source=self._source(part),
                sources=tuple(sources),
                null_for_missing=nulls_for_missing(self.job),
            )
            return family.load(rows)
        names = names_of(stream, reader.schema, state)
        rows = renamed(rows, names)
        if stream.execution_column:
            rows = with_execution(rows, work.execution.uuid)
        target, keys = self._target(part, names), _keys(stream, reader, names)
        loaded = load(self.services, work, target, state, rows, keys, gone=replaced_files(part))
        return [(loaded, self._edges(part, names))]

    def _target(self, part: Part, names: Mapping[str, str]) -> Target:
        return target_of(
            part.stream,
            names,
            source=self._source(part),
            null_for_missing=nulls_for_missing(self.job),
            now=self.services.clock(),
        )

    def _refuse_unremembered(self, part: Part, summary: ReadSummary) -> None:
        remembered = part.slice.position or part.slice.files or part.slice.gone or summary.position or summary.files
        if not self.alone and part.stream.mode is WriteMode.APPEND and not remembered:
            raise SourceError(
                "the connector gives no position, so its rows would be appended at every run",
                where=part.stream.where_of("mode"),
                hint="use mode: replace or merge, or a job of its own for this stream",
            )

    def _source(self, part: Part) -> str:
        """What errors call the input."""
        return part.slice.files[0].uri if part.slice.files else self._source_names(part)[0]

    def _source_names(self, part: Part) -> list[str]:
        """What lineage calls the input."""
        if part.slice.uri is not None:
            return [part.slice.uri]
        path = self.job.options.get("path")
        names = path if isinstance(path, list) else [path or f"{self.job.connector}:{self.job.name}"]
        return [str(name) for name in names]

    def _edges(self, part: Part, columns: Mapping[str, str]) -> tuple[ColumnEdge, ...]:
        target = str(part.stream.target)
        if part.stream.mode is WriteMode.DELETE:
            return tuple(
                ColumnEdge(target, None, name, column, EdgeKind.FILTER)
                for name in self._source_names(part)
                for column in part.stream.key
            )
        return tuple(
            ColumnEdge(target, column, name, theirs, EdgeKind.IDENTITY)
            for name in self._source_names(part)
            for theirs, column in columns.items()
        )


def _result(part: Part, landed: Landed, made: _Made | None, seconds: float) -> IngestResult:
    stream = part.stream
    result = result_of(
        stream.target,
        landed,
        made.loaded if made else None,
        seconds,
        stream=stream.stream,
        rejected=made.rejected if made else 0,
        quarantine=quarantine_of(stream),
    )
    if made is None:
        return result
    return replace(result, sources=made.sources, gone=tuple(file.uri for file in part.slice.gone))


def _keys(
    stream: StreamJob, reader: SliceReader, names: Mapping[str, str]
) -> Callable[[], pa.RecordBatchReader] | None:
    """The keys that the source has now, if the job asks and the connector can tell."""
    if stream.deletes is None or not stream.deletes.absent or not isinstance(reader, KeyedReader):
        return None
    keys = reader.keys
    return lambda: renamed(keys(), names)


def _checked(reader: SliceReader, work: Work) -> Iterator[pa.RecordBatch]:
    """The batches, as long as the lease is ours: also where rows are gathered before any is written."""
    for batch in reader:
        work.check()
        yield batch


def _failed_streams(failures: Mapping[str, LakecatError]) -> dict[str, Json]:
    """What an execution that others went through tells of streams that failed; as many as can be read."""
    names = list(failures)[:_SHOWN_STREAMS]
    return {name: f"{type(failures[name]).__name__}: {failures[name]}"[:_SHOWN_CHARACTERS] for name in names}
