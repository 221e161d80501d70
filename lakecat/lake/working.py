"""The part of the facade that lands, transforms and plans."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lakecat.errors import ConfigError, NotFoundError, ScriptError, UsageError
from lakecat.lake.answers import Outcome, OutcomeState, RunReport, WorkKind, WorkPlan
from lakecat.lake.selection import Selection, Selectors, select_work, texts_of
from lakecat.types import DatasetName, ExecutionType

if TYPE_CHECKING:
    from lakecat.catalog import Catalog
    from lakecat.config import IngestJob
    from lakecat.engines import Engine
    from lakecat.ingest.scope import Bound, Scope
    from lakecat.lake.project import Project
    from lakecat.lake.resetting import StreamReset
    from lakecat.lake.work import OnProgress, OnResult
    from lakecat.landing import Services
    from lakecat.transform import Script


class _Worked(Protocol):
    """What work needs of a lake."""

    _project: Project

    @property
    def services(self) -> Services: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def catalog(self) -> Catalog: ...

    def selection_attributes(self) -> Mapping[str, Mapping[str, frozenset[str]]]: ...


class Working:
    """The part of :class:`lakecat.lake.Lake` that does the work of jobs and scripts."""

    def ingest(
        self: _Worked,
        select: Selectors = None,
        *,
        exclude: Selectors = None,
        due: bool = False,
        streams: Selectors = None,
        refresh: bool = False,
        start: Bound | None = None,
        end: Bound | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
    ) -> RunReport:
        """Run the selected ingest jobs; with ``due`` only those whose schedule says so. Paused ones run when named.

        A job that fails does not stop the others: see ``RunReport.failures``, or call its ``raise_failures()``.

        ``streams``: only these of the one selected job, by names or patterns of streams or of their datasets.
        ``refresh``: everything is read again, and the first commit of each stream replaces all rows of its table; what
        the stream has read before is forgotten in that same commit. ``start`` and ``end``: this window of the cursor
        is read again (``end`` not included), in modes that have a key; positions stay where they are.
        Raises UsageError where these are asked of more than one job, or cannot stand together.
        """
        from lakecat.lake.work import run_jobs

        scope = _scope(streams, refresh=refresh, start=start, end=end)
        found, broken = _jobs(self, self._project, select, exclude)
        jobs = _in_scope(_awake(found, select, due=due), select, scope)
        report = run_jobs(self.services, jobs, due=due, scope=scope, on_progress=on_progress, on_result=on_result)
        return report + _unread("ingest", broken, on_result)

    def run(
        self: _Worked,
        select: Selectors = None,
        *,
        exclude: Selectors = None,
        due: bool = False,
        full_refresh: bool = False,
        variables: Mapping[str, str | int | float | bool] | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
    ) -> RunReport:
        """Run the selected transform scripts that have something to do, in the order of what they read.

        With ``due``, first the ingest jobs that are due, then scripts: those with a schedule when they are due, those
        without one whenever their inputs changed. ``full_refresh`` runs scripts even if nothing changed, INSERT scripts
        from nothing.
        """
        from lakecat.lake.work import run_jobs, run_scripts

        report = RunReport(())
        if due:
            jobs, broken = _jobs(self, self._project, select, exclude)
            jobs = _awake(jobs, select, due=True)
            report = run_jobs(self.services, jobs, due=True, on_progress=on_progress, on_result=on_result)
            report += _unread("ingest", broken, on_result)
        try:
            scripts = self._project.scripts()
            chosen = _chosen(self, self._project.readable_jobs()[0], scripts, select, exclude).scripts
        except ScriptError as err:
            if not report.outcomes:
                raise
            # What the jobs did is told nevertheless.
            return report + _unread("transform", (err,), on_result)
        return report + run_scripts(
            self.services,
            self.engine,
            scripts,
            chosen,
            due=due,
            full_refresh=full_refresh,
            variables=variables or {},
            on_progress=on_progress,
            on_result=on_result,
        )

    def plan(
        self: _Worked,
        select: Selectors = None,
        *,
        exclude: Selectors = None,
        full_refresh: bool = False,
        variables: Mapping[str, str | int | float | bool] | None = None,
        kinds: Collection[WorkKind] = ("ingest", "transform"),
        streams: Selectors = None,
        refresh: bool = False,
        start: Bound | None = None,
        end: Bound | None = None,
    ) -> WorkPlan:
        """What ``ingest`` and then ``run`` would do, and why; of one kind of work only, where ``kinds`` says so.

        ``streams``, ``refresh``, ``start`` and ``end`` as ``ingest`` has them. Writes nothing.
        """
        from lakecat.lake.work import plan_work

        scope = _scope(streams, refresh=refresh, start=start, end=end)
        project = self._project
        if "transform" in kinds:
            chosen, scripts = _select(self, project, select, exclude), project.scripts()
        else:
            chosen, scripts = Selection(_jobs(self, project, select, exclude)[0], ()), ()
        return plan_work(
            self.services,
            self.engine,
            scripts,
            Selection(_in_scope(chosen.jobs, select, scope) if "ingest" in kinds else (), chosen.scripts),
            full_refresh=full_refresh,
            variables=variables or {},
            scope=scope,
            resting=_resting(chosen.jobs, select),
        )

    def reset(self: _Worked, job: str, streams: Selectors = None, *, apply: bool = False) -> tuple[StreamReset, ...]:
        """What the streams of a job have read so far; with ``apply`` it is forgotten, and they are read from the start.

        Tables stay as they are, so this is for modes with a key; ``ingest(..., refresh=True)`` is for the others.

        Raises NotFoundError: no such job; UsageError: a stream is appended to; LeaseHeldError: the job runs.
        """
        from lakecat.lake.resetting import reset

        return reset(self.services, self._project.jobs(), job, _scope(streams), apply=apply)


def _select(lake: _Worked, project: Project, select: Selectors, exclude: Selectors) -> Selection:
    return _chosen(lake, project.jobs(), project.scripts(), select, exclude)


def _jobs(
    lake: _Worked, project: Project, select: Selectors, exclude: Selectors
) -> tuple[tuple[IngestJob, ...], tuple[ConfigError, ...]]:
    """The selected jobs, and what is wrong with others: what is broken keeps no job from landing."""
    jobs, broken = project.readable_jobs()
    texts = (*texts_of(select), *texts_of(exclude))
    try:
        scripts: Sequence[Script] = project.scripts()
    except ScriptError:
        if any("+" in text for text in texts):
            raise
        scripts = ()
    try:
        return _chosen(lake, jobs, scripts, select, exclude).jobs, () if texts_of(select) else broken
    except NotFoundError:
        if broken:  # it is one of those that are meant
            raise broken[0] from None
        raise


def _chosen(
    lake: _Worked, jobs: Sequence[IngestJob], scripts: Sequence[Script], select: Selectors, exclude: Selectors
) -> Selection:
    def filled() -> dict[str, list[DatasetName]]:
        found: dict[str, list[DatasetName]] = {}
        for name, run in lake.catalog.last_runs().items():
            if run.type is ExecutionType.INGEST:
                found.setdefault(run.job, []).append(name)
        return found

    return select_work(jobs, scripts, texts_of(select), texts_of(exclude), lake.selection_attributes, filled)


def _resting(jobs: Iterable[IngestJob], select: Selectors, *, due: bool = False) -> frozenset[str]:
    """The names of paused jobs, but for those that are named, or whose tables are: no pattern and no tag names a job.

    A paused job is never ``due``.
    """
    named = frozenset() if due else frozenset(texts_of(select))
    return frozenset(job.name for job in jobs if job.paused and named.isdisjoint((job.name, *map(str, job.targets))))


def _awake(jobs: tuple[IngestJob, ...], select: Selectors, *, due: bool) -> tuple[IngestJob, ...]:
    resting = _resting(jobs, select, due=due)
    return tuple(job for job in jobs if job.name not in resting)


def _scope(streams: Selectors, *, refresh: bool = False, start: Bound | None = None, end: Bound | None = None) -> Scope:
    from lakecat.ingest.scope import Scope

    return Scope(streams=texts_of(streams), refresh=refresh, start=start, end=end)


def _in_scope(jobs: tuple[IngestJob, ...], select: Selectors, scope: Scope) -> tuple[IngestJob, ...]:
    """The jobs, which must be said where only a part of them is meant, or all that they ever landed."""
    if (scope.streams or scope.has_window) and len(jobs) != 1:
        names = ", ".join(job.name for job in jobs) or "none"
        raise UsageError(
            f"streams and windows are those of one job, not of {names}", hint="say which job: --select JOB"
        )
    if scope.refresh and not texts_of(select):
        raise UsageError("a refresh of everything is never meant", hint="say which jobs: --select JOB")
    return jobs


def _unread(kind: WorkKind, broken: Iterable[ConfigError | ScriptError], on_result: OnResult | None) -> RunReport:
    """What could not be read, as failures among what could."""
    outcomes = []
    for err in broken:
        name = Path(err.where.file).name if err.where else kind
        outcomes.append(
            Outcome(name=name, kind=kind, dataset=None, state=OutcomeState.FAILED, reasons=(err.what,), error=err)
        )
        if on_result is not None:
            on_result(outcomes[-1])
    return RunReport(tuple(outcomes))
