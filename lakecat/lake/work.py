"""Running and planning jobs and scripts, and telling what came of them in one form."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from lakecat import transform
from lakecat.config import IngestJob, Schedule, StreamJob, is_pattern
from lakecat.engines import Engine
from lakecat.errors import LakecatError, StreamsFailedError
from lakecat.ingest import IngestResult, StreamPlan, plan_job, run_job
from lakecat.ingest.scope import EVERYTHING, Scope
from lakecat.ingest.streams import unfilled
from lakecat.lake.answers import Outcome, OutcomeState, PlannedWork, RunReport, WorkPlan
from lakecat.lake.selection import Selection
from lakecat.landing import Services, hold
from lakecat.schedule import claim
from lakecat.transform import PlannedScript, Script, Status, TransformEvent, TransformResult
from lakecat.types import DatasetName

OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the job's or script's name, and the rows and bytes written so far; from any thread, one at a time."""

OnResult: TypeAlias = Callable[[Outcome], None]
"""Called with each outcome as it comes; from any thread, one at a time."""

Variables: TypeAlias = Mapping[str, str | int | float | bool]


class _Stream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class _Array(Protocol):
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


ArrowSource: TypeAlias = _Stream | _Array
"""Anything that speaks the Arrow PyCapsule protocol: pyarrow, polars, pandas, DuckDB relations, …"""


def run_jobs(
    services: Services,
    jobs: Sequence[IngestJob],
    *,
    due: bool,
    scope: Scope = EVERYTHING,
    on_progress: OnProgress | None,
    on_result: OnResult | None,
) -> RunReport:
    """Run ingest jobs one after the other; one that fails does not stop the others."""
    with _due(services, {job.name: job.schedule for job in jobs} if due else {}) as names:
        chosen = [job for job in jobs if job.name in names] if due else jobs
        return RunReport(tuple(_run_each(services, chosen, scope, on_progress, on_result)))


def _run_each(
    services: Services,
    jobs: Iterable[IngestJob],
    scope: Scope,
    on_progress: OnProgress | None,
    on_result: OnResult | None,
) -> Iterator[Outcome]:
    for job in jobs:
        yield from _run_job(services, job, scope, on_progress, on_result)


def _due(services: Services, schedules: Mapping[str, Schedule | None]) -> AbstractContextManager[frozenset[str]]:
    """Which of the jobs that have a schedule are due, claimed for the block."""
    given = {name: schedule for name, schedule in schedules.items() if schedule is not None}
    return claim(services.catalog, given, lambda name: hold(services, name))


def _run_job(
    services: Services, job: IngestJob, scope: Scope, on_progress: OnProgress | None, on_result: OnResult | None
) -> list[Outcome]:
    """One outcome for each commit, told at once; what was committed before a failure stays, and is told too."""
    started = time.monotonic()
    outcomes: list[Outcome] = []
    tell = None if on_progress is None else lambda rows, size: on_progress(job.name, rows, size)

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if on_result is not None:
            on_result(outcome)

    def ended(state: OutcomeState, reason: str, error: LakecatError | None = None, dataset: str = "") -> Outcome:
        return Outcome(
            name=job.name,
            kind="ingest",
            dataset=DatasetName.parse(dataset) if dataset else _only_target(job),
            state=state,
            seconds=time.monotonic() - started,
            reasons=(reason,),
            error=error,
        )

    def found(streams: Sequence[StreamJob]) -> None:
        for dataset in unfilled(services.catalog, job, streams):
            keep(ended(OutcomeState.NOTHING, "the source has no stream for it any more", dataset=str(dataset)))

    try:
        run_job(
            services, job, tell, on_result=lambda result: keep(_ingested(job, result)), on_streams=found, scope=scope
        )
    except StreamsFailedError as err:
        for dataset, failure in err.failures.items():
            keep(ended(OutcomeState.FAILED, failure.what, failure, dataset))
    except LakecatError as err:
        keep(ended(OutcomeState.FAILED, err.what, err))
    if not outcomes:
        keep(ended(OutcomeState.NOTHING, "nothing new"))
    return outcomes


def _only_target(job: IngestJob) -> DatasetName | None:
    """The dataset that a job stands for where no stream is meant: one that it surely fills alone."""
    alone = len(job.targets) == 1 and not any(map(is_pattern, job.streams))
    return job.targets[0] if alone else None


def _ingested(job: IngestJob, result: IngestResult) -> Outcome:
    return Outcome(
        name=job.name,
        kind="ingest",
        dataset=result.dataset,
        state=OutcomeState.NOTHING if result.already or result.version is None else OutcomeState.DONE,
        version=None if result.already else result.version,
        rows=result.rows,
        files=result.files,
        bytes=result.bytes,
        seconds=result.seconds,
        reasons=_ingest_reasons(result),
        schema_changes=result.schema_changes,
    )


def _ingest_reasons(result: IngestResult) -> tuple[str, ...]:
    if result.already:
        return ("done already by another run",)
    aside: tuple[str, ...] = (f"{result.rejected} rows set aside in {result.quarantine}",) if result.rejected else ()
    if result.gone:
        aside += (f"{len(result.gone)} file{' is' if len(result.gone) == 1 else 's are'} gone",)
    if result.version is None:
        return ("nothing to change", *aside)
    return (*(f"{source} is new" for source in result.sources), *aside)


def run_scripts(
    services: Services,
    engine: Engine,
    scripts: Sequence[Script],
    chosen: Sequence[Script],
    *,
    due: bool,
    full_refresh: bool,
    variables: Variables,
    on_progress: OnProgress | None,
    on_result: OnResult | None,
) -> RunReport:
    """Run the chosen scripts of all scripts; with ``due`` those with a schedule only when it says so."""
    with _due(services, {script.job: script.schedule for script in chosen} if due else {}) as due_now:
        names = [script.name for script in chosen if not due or script.schedule is None or script.job in due_now]
        if not names:
            return RunReport(())
        plan = transform.plan(services, scripts, names, engine=engine, variables=variables, full_refresh=full_refresh)

        def on_event(event: TransformEvent) -> None:
            if event.result is not None:
                if on_result is not None:
                    on_result(_transformed(event.result))
            elif on_progress is not None:
                on_progress(event.script, event.rows, event.bytes)

        results = transform.run(services, plan, on_event, engine=engine)
        return RunReport(tuple(_transformed(result) for result in results))


_STATES = {
    Status.DONE: OutcomeState.DONE,
    Status.SKIPPED: OutcomeState.NOTHING,
    Status.FAILED: OutcomeState.FAILED,
    Status.BLOCKED: OutcomeState.SKIPPED,
}


def _transformed(result: TransformResult) -> Outcome:
    version = next((item for item in result.versions if item.dataset == result.script.target), None)
    return Outcome(
        name=result.script.name,
        kind="transform",
        dataset=result.script.target,
        state=_STATES[result.status],
        version=version if result.status is Status.DONE else None,
        rows=result.rows,
        seconds=result.seconds,
        reasons=result.reasons,
        error=result.error,
    )


def plan_work(
    services: Services,
    engine: Engine,
    scripts: Sequence[Script],
    chosen: Selection,
    *,
    full_refresh: bool,
    variables: Variables,
    scope: Scope = EVERYTHING,
    resting: Collection[str] = (),
) -> WorkPlan:
    """What the chosen jobs and scripts would do, and why; scripts as they will be after the jobs.

    ``resting``: names of jobs that are paused and stay so.
    """
    work = [
        item
        for job in chosen.jobs
        for item in (_paused_job(job) if job.name in resting else _planned_job(services, job, scope))
    ]
    names = [script.name for script in chosen.scripts]
    if names:
        plan = transform.plan(services, scripts, names, engine=engine, variables=variables, full_refresh=full_refresh)
        ingests = [item for item in work if item.runs and item.dataset is not None]
        filled = {name: f"ingest {item.name}" for item in ingests for name in (item.dataset, *item.also) if name}
        for step in plan.steps:
            work.append(_planned_script(step, filled, missing=filled.keys() - plan.pins.keys()))
            if work[-1].runs:
                filled[step.script.target] = step.script.name
    return WorkPlan(tuple(work))


def _planned_script(
    step: PlannedScript, filled: Mapping[DatasetName, str], *, missing: Collection[DatasetName]
) -> PlannedWork:
    """A script's plan, with what work before it will bring; a table that is only still to be filled is no problem."""
    inputs = [dataset for dataset in step.script.inputs if dataset != step.script.target]
    coming = tuple(f"{dataset} is filled by {filled[dataset]}" for dataset in inputs if dataset in filled)
    return PlannedWork(
        name=step.script.name,
        kind="transform",
        dataset=step.script.target,
        runs=step.runs or bool(coming),
        reasons=step.decision.reasons if step.runs else (coming or step.decision.reasons),
        problem=None if set(inputs) & set(missing) else step.problem,
    )


def _paused_job(job: IngestJob) -> list[PlannedWork]:
    target = _only_target(job)
    return [PlannedWork(name=job.name, kind="ingest", dataset=target, runs=False, reasons=("paused",), problem=None)]


def _planned_job(services: Services, job: IngestJob, scope: Scope) -> list[PlannedWork]:
    """What would become of each stream."""
    try:
        plan = plan_job(services, job, scope=scope)
    except LakecatError as err:
        target, reasons = _only_target(job), (err.what,)
        return [PlannedWork(name=job.name, kind="ingest", dataset=target, runs=True, reasons=reasons, problem=err)]
    return [
        PlannedWork(
            name=job.name,
            kind="ingest",
            dataset=stream.target,
            runs=bool(stream.slices) or stream.problem is not None,
            reasons=(_stream_reason(stream, scope),),
            problem=stream.problem,
            also=stream.lists,
        )
        for stream in plan.streams
    ]


def _stream_reason(plan: StreamPlan, scope: Scope) -> str:
    if plan.problem is not None:
        return plan.problem.what
    if not plan.slices:
        return "nothing new"
    files = sum(len(item.files) for item in plan.slices)
    gone = sum(len(item.gone) for item in plan.slices)
    what = f"{files} new file{'' if files == 1 else 's'}" if files or gone else "rows to read"
    what += f" and {gone} gone" if gone else ""
    commits = f"{len(plan.slices)}{' or more' if plan.open_ended else ''}"
    what += f" in {commits} commit{'' if commits == '1' else 's'}, {plan.mode.value}"
    if scope.refresh and plan.table_exists:
        what += ", in place of all rows"
    return what if plan.table_exists else f"{what}, new table"
