"""Ingest jobs: what is new in a source goes into its table, one commit for each slice, under the job's lease."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
from pydantic_core import to_json
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from lakecat.catalog import DEFAULT_TTL, Catalog, ExecutionStart
from lakecat.config import IngestJob
from lakecat.connector import Connector, ReadOptions, Slice, SliceReader
from lakecat.failpoints import failpoint
from lakecat.ingest.connectors import nulls_for_missing, open_connector
from lakecat.ingest.results import IngestResult, result_of
from lakecat.ingest.target import Loaded, Target, load
from lakecat.landing import Harvest, Held, OnProgress, Services, Work, current_state, hold, land
from lakecat.tables import TableState
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    EdgeKind,
    ExecutionState,
    ExecutionType,
    FileVersion,
    LoadedFile,
    Position,
    WriteMode,
)


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """What one commit of a run would read; ``bytes`` as far as the connector knows them."""

    key: str
    files: tuple[str, ...]
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What a run of a job would do now; no slices mean that nothing is new."""

    job: str
    target: DatasetName
    mode: WriteMode
    table_exists: bool
    slices: tuple[PlannedSlice, ...]


@dataclass(frozen=True, slots=True)
class _StreamState:
    """What the catalog remembers of a job's stream. ``newest``: a file that changed back is to be loaded again."""

    catalog: Catalog
    stream: str
    newest: bool

    @property
    def position(self) -> Position | None:
        """The committed position."""
        return self.catalog.position(self.stream)

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        """Those of the file versions that a commit already holds."""
        return self.catalog.loaded(self.stream, files, newest=self.newest)


def stream_name(job: IngestJob) -> str:
    """The stream under which the catalog keeps a job's position and files: a job with a new target starts anew."""
    return f"ingest/{job.name}/{job.target}"


def plan_job(services: Services, job: IngestJob) -> JobPlan:
    """What ``run_job`` would read now. Writes nothing, takes no lease. Raises as ``run_job``."""
    with closing(open_connector(services, job)) as connector:
        slices = _plan(services, job, connector)
    return JobPlan(
        job=job.name,
        target=job.target,
        mode=job.mode,
        table_exists=current_state(services, job.target) is not None,
        slices=tuple(PlannedSlice(s.key, tuple(f.uri for f in s.files), s.estimated_bytes) for s in slices),
    )


def run_job(
    services: Services,
    job: IngestJob,
    on_progress: OnProgress | None = None,
    *,
    on_result: Callable[[IngestResult], None] | None = None,
    ttl: timedelta = DEFAULT_TTL,
) -> tuple[IngestResult, ...]:
    """Load what is new, one commit for each slice; no results and no execution when nothing is.

    What was committed before an error stays; ``on_result`` is told of each commit as it comes.
    ``ttl``: how long after its last heartbeat a dead run keeps others out.
    Raises LeaseHeldError (the job runs already: the message says who),
    LeaseLostError, ConfigError, SourceError with file, line and column, TableError, StoreError, CatalogError.
    """
    with hold(services, f"ingest/{job.name}", ttl=ttl) as held, closing(open_connector(services, job)) as connector:
        slices = _plan(services, job, connector)
        failpoint("ingest.planned")
        run = _Run(services, job, connector, held, on_progress)
        results = []
        for slice_ in slices:
            results.append(run.slice(slice_))
            if on_result is not None:
                on_result(results[-1])
        return tuple(results)


def _plan(services: Services, job: IngestJob, connector: Connector) -> Sequence[Slice]:
    # Rows are appended once, ever; in the other modes the table follows what the files hold now.
    state = _StreamState(services.catalog, stream_name(job), newest=job.mode is not WriteMode.APPEND)
    return connector.plan(state, incremental=job.mode is not WriteMode.REPLACE)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of one job."""

    services: Services
    job: IngestJob
    connector: Connector
    held: Held
    on_progress: OnProgress | None

    def slice(self, slice_: Slice) -> IngestResult:
        """Load one slice and commit it."""
        started = time.monotonic()
        loads: list[Loaded] = []

        def produce(work: Work) -> Harvest:
            loaded, harvest = self._produce(work, slice_)
            loads.append(loaded)
            return harvest

        start = ExecutionStart(
            type=ExecutionType.INGEST,
            job=self.job.name,
            run_key=self._run_key(slice_),
            targets=(self.job.target,),
            properties={"parameters": _parameters(self.job), "slice": slice_.key},
            project=self.services.settings.project,
        )
        landed = land(self.services, self.held, start, produce, on_progress=self.on_progress)
        return result_of(self.job.target, landed, loads[-1] if loads else None, time.monotonic() - started)

    def _run_key(self, slice_: Slice) -> str:
        """The work itself: this slice into this table in this way.

        A slice is appended once, ever. In the other modes the same slice may well be due again (a file that got its
        old content back), so the job's last completed execution is part of the key.
        """
        job = self.job
        parts = [job.name, str(job.target), job.mode.value, *job.key, slice_.key]
        if job.mode is not WriteMode.APPEND:
            last = self.services.catalog.latest_execution(job.name, ExecutionState.COMPLETE)
            parts.append(last.uuid if last else "")
        return "ingest:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _produce(self, work: Work, slice_: Slice) -> tuple[Loaded, Harvest]:
        state = work.state(self.job.target)
        with closing(self.connector.read(slice_, self._options(state))) as reader:
            rows = pa.RecordBatchReader.from_batches(reader.schema, _checked(reader, work))
            loaded = load(self.services, work, self._target(slice_), state, rows)
            summary = reader.summary()
        stream = stream_name(self.job)
        harvest = Harvest(
            changes=(loaded.change,) if loaded.change else (),
            sources=summary.sources,
            positions={} if slice_.position is None else {stream: slice_.position},
            files={stream: _ledger(slice_, summary.files)} if slice_.files else {},
            edges=self._edges(reader.schema) if loaded.change else (),
            properties={"rows": summary.rows},
        )
        return loaded, harvest

    def _options(self, state: TableState | None) -> ReadOptions:
        expected = None if state is None else _plain(schema_to_pyarrow(state.schema, include_field_ids=False))
        if expected is not None and self.job.mode is WriteMode.DELETE:
            expected = pa.schema([expected.field(name) for name in self.job.key if name in expected.names])
        return ReadOptions(expected=expected, declared=_declared(self.job))

    def _target(self, slice_: Slice) -> Target:
        job = self.job
        return Target(
            dataset=job.target,
            mode=job.mode,
            key=job.key,
            partition=job.partition,
            null_for_missing=nulls_for_missing(job),
            where=job.where_of,
            source=slice_.files[0].uri if slice_.files else f"{job.connector}:{job.name}",
        )

    def _edges(self, schema: pa.Schema) -> tuple[ColumnEdge, ...]:
        path = self.job.options.get("path")
        names = path if isinstance(path, list) else [path or f"{self.job.connector}:{self.job.name}"]
        if self.job.mode is WriteMode.DELETE:
            return tuple(
                ColumnEdge(str(self.job.target), None, str(name), column, EdgeKind.FILTER)
                for name in names
                for column in self.job.key
            )
        return tuple(
            ColumnEdge(str(self.job.target), column, str(name), column, EdgeKind.IDENTITY)
            for name in names
            for column in schema.names
        )


def _checked(reader: SliceReader, work: Work) -> Iterator[pa.RecordBatch]:
    """The batches, as long as the lease is ours: also where rows are gathered before any is written."""
    for batch in reader:
        work.check()
        yield batch


def _ledger(slice_: Slice, loaded: tuple[LoadedFile, ...]) -> tuple[LoadedFile, ...]:
    """What the connector says it loaded; every planned file is in it, or it would come again at the next run."""
    known = {entry.file for entry in loaded}
    return (*loaded, *(LoadedFile(file, 0) for file in slice_.files if file not in known))


def _parameters(job: IngestJob) -> str:
    """A digest of the job as configured; its text is in the project's version control (``git_commit``)."""
    configured = job.model_dump(mode="json", exclude={"where", "marks", "name"}, fallback=str)
    return hashlib.sha256(to_json(configured)).hexdigest()


def _declared(job: IngestJob) -> dict[str, pa.DataType]:
    if not job.columns:
        return {}
    fields = [
        NestedField(number, name, text, required=False) for number, (name, text) in enumerate(job.columns.items(), 1)
    ]
    return {column.name: column.type for column in _plain(schema_to_pyarrow(Schema(*fields), include_field_ids=False))}


def _plain(schema: pa.Schema) -> pa.Schema:
    """The same columns with 32-bit offsets, which every Arrow reader makes."""
    narrow = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    return pa.schema([column.with_type(narrow.get(column.type, column.type)) for column in schema])
