"""Running a plan: in the order of dependencies, independent scripts at the same time, failures kept apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from lakecat.engines import Engine, Session
from lakecat.errors import LakecatError
from lakecat.landing import Services
from lakecat.transform.pinned import Pinned
from lakecat.transform.plan import PlannedScript, TransformPlan, engine_of
from lakecat.transform.scripts import Script
from lakecat.transform.work import Outcome, Run, execute, record_refusal
from lakecat.types import Version


class Status(StrEnum):
    """What became of a script in a run."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformResult:
    """What one script of a run did.

    ``reasons``: why it ran or was skipped; ``blocked_by``: the failed scripts that it needs. ``rows`` is the number of
    rows written, None when it did not run.
    """

    script: Script
    status: Status
    reasons: tuple[str, ...] = ()
    versions: tuple[Version, ...] = ()
    rows: int | None = None
    execution_id: int | None = None
    seconds: float = 0.0
    error: LakecatError | None = None
    blocked_by: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the run must end with exit code 1 because of it."""
        return self.status in (Status.FAILED, Status.BLOCKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformEvent:
    """A script started, has written so much, or ended (then with its result)."""

    script: str
    state: Literal["started", "writing", "ended"]
    rows: int = 0
    bytes: int = 0
    result: TransformResult | None = None


OnEvent = Callable[[TransformEvent], None]
"""Told of events, one at a time, from any thread."""


def run(
    services: Services, plan: TransformPlan, on_progress: OnEvent | None = None, *, engine: Engine | None = None
) -> tuple[TransformResult, ...]:
    """Run a plan's scripts; the results are in the plan's order.

    Inputs are read as they were when the plan was made, and as this run has made them. A script that fails stops only
    those that need it. A failure is a result, not an exception. On KeyboardInterrupt, what runs is stopped and
    recorded as failed, and the interrupt goes on.
    """
    return _Runner(services, plan, on_progress or (lambda _event: None), engine or engine_of(services)).run()


class _Runner:
    def __init__(self, services: Services, plan: TransformPlan, on_event: OnEvent, engine: Engine) -> None:
        self._plan = plan
        self._on_event = on_event
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sessions: list[Session] = []
        self._results: dict[str, TransformResult] = {}
        self._parallel = services.settings.transforms.parallel
        self._shared = Run(
            services=services,
            engine=engine.shared_by(min(self._parallel, sum(step.runs for step in plan.steps)) or 1),
            graph=plan.graph,
            pinned=Pinned(services, plan.pins),
            variables=plan.variables,
            full_refresh=plan.full_refresh,
            watch=self._watch,
        )

    def run(self) -> tuple[TransformResult, ...]:
        waiting = {step.script.name: step for step in self._plan.steps}
        running: dict[Future[TransformResult], str] = {}
        pool = ThreadPoolExecutor(self._parallel, "lakecat-transform")
        try:
            while waiting or running:
                for step in self._ready(waiting, set(running.values())):
                    del waiting[step.script.name]
                    running[pool.submit(self._one, step)] = step.script.name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._end(future.result(), running.pop(future))
        except BaseException:  # an interrupt, too, must stop what the other threads run
            self._interrupt()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return tuple(self._results[step.script.name] for step in self._plan.steps)

    def _ready(self, waiting: dict[str, PlannedScript], running: set[str]) -> list[PlannedScript]:
        """The scripts that may start now; those that can't any more are ended as blocked."""
        ready: list[PlannedScript] = []
        unended = {*waiting, *running}
        for name, step in list(waiting.items()):
            if self._plan.graph.waits_for(name) & unended:
                continue
            bad = sorted(
                other
                for other in self._needed(name)
                if (result := self._results.get(other)) is not None and result.failed
            )
            if bad:
                del waiting[name]
                unended.remove(name)
                self._end(_blocked(step, bad), name)
            elif len(ready) + len(running) < self._parallel:
                ready.append(step)
        return ready

    def _needed(self, name: str) -> frozenset[str]:
        """What must not fail; in a full refresh also the scripts before it that fill the same table anew."""
        graph = self._plan.graph
        return graph.waits_for(name) if self._plan.full_refresh else graph.needs[name]

    def _one(self, step: PlannedScript) -> TransformResult:
        script, started = step.script, time.monotonic()
        if step.problem is not None:
            return TransformResult(
                script=script,
                status=Status.FAILED,
                reasons=step.decision.reasons,
                execution_id=record_refusal(self._shared, script, step.decision, step.problem),
                error=step.problem,
            )
        if not step.runs and not self._upstream_ran(script.name):
            return TransformResult(script=script, status=Status.SKIPPED, reasons=step.decision.reasons)
        self._tell(TransformEvent(script=script.name, state="started"))

        def progress(rows: int, size: int) -> None:
            if self._stopping.is_set():
                raise KeyboardInterrupt
            self._tell(TransformEvent(script=script.name, state="writing", rows=rows, bytes=size))

        try:
            outcome = execute(self._shared, script, progress)
        except LakecatError as err:
            if self._stopping.is_set():
                raise KeyboardInterrupt from err
            return TransformResult(
                script=script,
                status=Status.FAILED,
                reasons=step.decision.reasons,
                seconds=time.monotonic() - started,
                error=err,
            )
        return _ended(script, outcome, time.monotonic() - started)

    def _upstream_ran(self, name: str) -> bool:
        """Whether this run has made anything that may call for the script after all."""
        return any(
            result.status is Status.DONE
            for other in self._plan.graph.waits_for(name)
            if (result := self._results.get(other)) is not None
        )

    def _end(self, result: TransformResult, name: str) -> None:
        self._results[name] = result
        self._tell(TransformEvent(script=name, state="ended", rows=result.rows or 0, result=result))

    def _tell(self, event: TransformEvent) -> None:
        with self._lock:
            self._on_event(event)

    @contextmanager
    def _watch(self, session: Session) -> Iterator[None]:
        with self._lock:
            self._sessions.append(session)
        try:
            if self._stopping.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            with self._lock:
                self._sessions.remove(session)

    def _interrupt(self) -> None:
        self._stopping.set()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.interrupt()


def _blocked(step: PlannedScript, bad: list[str]) -> TransformResult:
    return TransformResult(
        script=step.script,
        status=Status.BLOCKED,
        reasons=(f"skipped because of {', '.join(bad)}",),
        blocked_by=tuple(bad),
    )


def _ended(script: Script, outcome: Outcome, seconds: float) -> TransformResult:
    landed = outcome.landed
    if landed is None:
        return TransformResult(script=script, status=Status.SKIPPED, reasons=outcome.decision.reasons, seconds=seconds)
    rows = landed.harvest.properties.get("rows") if landed.harvest is not None else None
    return TransformResult(
        script=script,
        status=Status.SKIPPED if landed.already else Status.DONE,
        reasons=("done already by another run",) if landed.already else outcome.decision.reasons,
        versions=landed.versions,
        rows=rows if isinstance(rows, int) else None,
        execution_id=landed.execution_id,
        seconds=seconds,
    )
