"""Ingest jobs: what is new in the streams of a source goes into their tables, under the job's lease.

A run goes in rounds. Each round takes the next slice of every stream and commits them together, in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TypeVar

from lakecat.catalog import DEFAULT_TTL, ExecutionStart
from lakecat.config import IngestJob, StreamJob, is_pattern
from lakecat.connector import Connector, SettlingConnector, Slice
from lakecat.errors import CatalogError, ConfigError, LakecatError, StreamsFailedError
from lakecat.failpoints import failpoint
from lakecat.ingest.children import datasets_of
from lakecat.ingest.connectors import open_connector
from lakecat.ingest.parameters import parameters_of
from lakecat.ingest.parts import Part
from lakecat.ingest.results import IngestResult
from lakecat.ingest.rounds import STREAM_ERRORS, Run
from lakecat.ingest.scope import EVERYTHING, Scope, scoped
from lakecat.ingest.streams import request_of, state_of, streams_of
from lakecat.landing import Held, OnProgress, Services, current_state, hold, record_failure
from lakecat.types import DatasetName, ExecutionType, WriteMode

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """What one commit of a run would read; ``bytes`` as far as the connector knows them.

    ``gone`` files were loaded once and are no longer there.
    """

    key: str
    files: tuple[str, ...]
    bytes: int | None
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What a run would do with one stream; no slices mean that nothing is new.

    ``open_ended``: more slices may follow, which only the commit of the first one shows. ``problem`` is what will stop
    it. ``lists`` are the datasets that its unnested lists go to.
    """

    stream: str | None
    target: DatasetName
    mode: WriteMode
    table_exists: bool
    slices: tuple[PlannedSlice, ...]
    open_ended: bool = False
    problem: LakecatError | None = None
    lists: tuple[DatasetName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What a run of a job would do now."""

    job: str
    streams: tuple[StreamPlan, ...]


def plan_job(services: Services, job: IngestJob, *, scope: Scope = EVERYTHING) -> JobPlan:
    """What ``run_job`` would read now. Writes nothing, takes no lease.

    Raises as ``run_job`` for what concerns the whole job; what concerns one stream is the problem in its plan.
    """
    with closing(open_connector(services, job)) as connector:
        streams = scoped(services.catalog, job, streams_of(job, connector), scope)
        return JobPlan(job=job.name, streams=tuple(_planned(services, stream, connector) for stream in streams))


def _planned(services: Services, stream: StreamJob, connector: Connector) -> StreamPlan:
    problem, open_ended = None, False
    known: Sequence[Slice] = ()
    try:
        slices = connector.plan(request_of(stream), state_of(services.catalog, stream))
        known = slices if isinstance(slices, Sequence) else tuple(islice(slices, 1))
        open_ended = bool(known) and known is not slices
    except STREAM_ERRORS as err:
        problem = err
    return StreamPlan(
        stream=stream.stream,
        target=stream.target,
        mode=stream.mode,
        table_exists=current_state(services, stream.target) is not None,
        slices=tuple(
            PlannedSlice(s.key, tuple(f.uri for f in s.files), s.estimated_bytes, tuple(f.uri for f in s.gone))
            for s in known
        ),
        open_ended=open_ended,
        problem=problem,
        lists=datasets_of(stream)[1:],
    )


def run_job(
    services: Services,
    job: IngestJob,
    on_progress: OnProgress | None = None,
    *,
    on_result: Callable[[IngestResult], None] | None = None,
    on_streams: Callable[[Sequence[StreamJob]], None] | None = None,
    ttl: timedelta = DEFAULT_TTL,
    scope: Scope = EVERYTHING,
) -> tuple[IngestResult, ...]:
    """Load what is new, one commit for each round of slices; no results and no execution when nothing is.

    What was committed before an error stays; ``on_result`` is told of each stream's part of each commit as it comes,
    ``on_streams`` once of all the job's streams that the source has.
    ``ttl``: how long after its last heartbeat a dead run keeps others out. ``scope``: which part of the job is meant.
    Raises LeaseHeldError (the job runs already: the message says who),
    LeaseLostError, ConfigError, SourceError with file, line and column, TableError, StoreError, CatalogError;
    StreamsFailedError at the end, when some of several streams failed and the others were committed.
    """
    with hold(services, f"ingest/{job.name}", ttl=ttl) as held, ExitStack() as stack:
        with _recorded(services, job, held):
            connector = stack.enter_context(closing(open_connector(services, job)))
            streams = streams_of(job, connector)
        if on_streams is not None:
            on_streams(streams)
        # A stream that nobody has is a slip of the one who asks, no failure of the job's.
        meant = scoped(services.catalog, job, streams, scope)
        with _recorded(services, job, held):
            run = Run(services, job, connector, held, on_progress, alone=len(streams) == 1)
            plans = _Plans(run, meant)
            if isinstance(connector, SettlingConnector):
                connector.settled()
        failpoint("ingest.planned")
        results: list[IngestResult] = []
        try:
            while parts := _next_round(run, plans):
                for result in run.commit(parts):
                    results.append(result)
                    if on_result is not None:
                        on_result(result)
        finally:
            _record_failures(run)
        if run.failures:
            raise StreamsFailedError(run.failures)
        return tuple(results)


def _next_round(run: Run, plans: _Plans) -> tuple[Part, ...]:
    with _recorded(run.services, run.job, run.held):
        return plans.next_round()


def _record_failures(run: Run) -> None:
    """Record streams that failed where others were committed, so that their datasets show a failed run, not theirs."""
    if untold := {name: err for name, err in run.failures.items() if name not in run.told}:
        targets = tuple(map(DatasetName.parse, untold))
        record_refusal(run.services, run.job, run.held, StreamsFailedError(untold), targets)


@contextmanager
def _recorded(services: Services, job: IngestJob, held: Held) -> Iterator[None]:
    """What is raised before an execution begins is recorded as one that failed."""
    try:
        yield
    except Exception as err:  # a connector is anybody's code: whatever stops it is what people will ask for
        record_refusal(services, job, held, err)
        raise


def record_refusal(
    services: Services,
    job: IngestJob,
    held: Held,
    problem: Exception,
    targets: tuple[DatasetName, ...] | None = None,
) -> None:
    """Record what could not even begin as a failed execution, with the job's parameters.

    ``targets``: the datasets that were to be written, by default all that the job names or wrote last.
    """
    start = ExecutionStart(
        type=ExecutionType.INGEST,
        job=job.name,
        run_key=None,
        targets=_known_targets(services, job) if targets is None else targets,
        properties={"parameters": parameters_of(job)},
        project=services.settings.project,
    )
    record_failure(services, held, start, problem)


def _known_targets(services: Services, job: IngestJob) -> tuple[DatasetName, ...]:
    """What the job names, and what its patterns found when it ran last."""
    found: list[DatasetName] = []
    # It is the failure that is to be told, with as many of its datasets as can be.
    with suppress(ConfigError):
        found += job.targets
    if any(map(is_pattern, job.streams)):
        with suppress(CatalogError):
            runs = services.catalog.last_runs()
            found += [name for name, run in runs.items() if run.job == job.name and run.type is ExecutionType.INGEST]
    return tuple(dict.fromkeys(found))


class _Plans:
    """The slices still to come of every stream; a stream that failed has none."""

    def __init__(self, run: Run, streams: Sequence[StreamJob]) -> None:
        self._run = run
        self._plans: list[tuple[StreamJob, Iterator[Slice]]] = []
        for stream in streams:
            state = state_of(run.services.catalog, stream)
            # What is planned at once is planned for all streams before any is read.
            found = self._guarded(stream, lambda: run.connector.plan(request_of(stream), state))  # noqa: B023
            if found is not None:
                self._plans.append((stream, iter(found)))

    def next_round(self) -> tuple[Part, ...]:
        """The next slice of every stream that has one. Raises what a stream's plan raises, if it is the only one."""
        parts = []
        for at, (stream, slices) in enumerate(self._plans):
            if str(stream.target) in self._run.failures:
                continue
            slice_ = self._guarded(stream, lambda: next(slices, None))  # noqa: B023
            if slice_ is not None:
                parts.append(Part(stream, slice_))
                self._plans[at] = (stream.model_copy(update={"anew": False}), slices)
        return tuple(parts)

    def _guarded(self, stream: StreamJob, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except STREAM_ERRORS as err:
            self._run.failed(stream, err)
            return None
