"""What a run would do and why; nothing is written."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from lakecat.config import Settings, load_jobs
from lakecat.engines import DuckDBEngine, Engine
from lakecat.errors import ConfigError, LakecatError, ScriptError, UsageError
from lakecat.landing import Services
from lakecat.transform.check import Checker
from lakecat.transform.compile import Value, used_variables
from lakecat.transform.decide import Decision, Situation, decide, looks_at_target
from lakecat.transform.graph import Graph, build_graph, select
from lakecat.transform.history import read_history
from lakecat.transform.pinned import Pinned
from lakecat.transform.scripts import Kind, Script
from lakecat.types import DatasetName, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScript:
    """One selected script: whether it runs, why, on which versions; ``problem`` is what will stop it."""

    script: Script
    decision: Decision
    inputs: tuple[Version, ...]
    problem: LakecatError | None = None

    @property
    def runs(self) -> bool:
        """Whether it has anything to do."""
        return self.decision.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformPlan:
    """The selected scripts in order, and the state of the lake that they read.

    ``pins`` holds the version of every dataset at the moment of the plan, read in one transaction; a run reads those,
    and what it makes itself.
    """

    graph: Graph
    steps: tuple[PlannedScript, ...]
    pins: Mapping[DatasetName, Version]
    variables: Mapping[str, Value]
    full_refresh: bool

    @property
    def problems(self) -> tuple[LakecatError, ...]:
        """What will stop scripts, in order."""
        return tuple(step.problem for step in self.steps if step.problem is not None)


def plan(
    services: Services,
    scripts: Sequence[Script],
    select_: Sequence[str] = (),
    *,
    engine: Engine | None = None,
    variables: Mapping[str, Value] | None = None,
    full_refresh: bool = False,
) -> TransformPlan:
    """Say which scripts would run and why, and check them against the tables that are there.

    Args:
        services: the open project.
        scripts: all of its scripts.
        select_: selectors; all scripts without one.
        engine: the engine that will run them; the configured one when None.
        variables: values of named parameters, over those of the configuration.
        full_refresh: run all selected scripts, INSERT scripts from nothing.

    Raises:
        ScriptError, CycleError: the scripts do not go together, or a full refresh would lose rows of others.
        UsageError: a variable that no script uses.
        SelectorError, NotFoundError: a selector means nothing.
    """
    values = _variables(services.settings, scripts, variables or {})
    graph = build_graph(scripts, _ingested(services.settings))
    chosen = select(graph, select_)
    pins = {info.name: info.latest for info in services.catalog.datasets()}
    if full_refresh:
        _check_refresh(graph, chosen, _ingested(services.settings))
    planner = _Planner(services, engine or engine_of(services), graph, pins, values, full_refresh=full_refresh)
    steps = tuple(planner.step(script) for script in graph.order if script.name in chosen)
    return TransformPlan(graph=graph, steps=steps, pins=pins, variables=values, full_refresh=full_refresh)


def _check_refresh(graph: Graph, chosen: Collection[str], ingested: Mapping[DatasetName, str]) -> None:
    """Refuse to replace an INSERT's table when rows of others would be lost with it."""
    for script in graph.order:
        if script.name not in chosen or not script.kind.inserts:
            continue
        before = [other for other in graph.fillers(script) if other.name in graph.waits_for(script.name)]
        if before and all(other.kind is Kind.MERGE for other in before) and script.kind is not Kind.OVERWRITE:
            raise ScriptError(
                f"in a full refresh {script.name} would add its rows to {script.target} again, as {before[0].name} "
                "merges into the rows that are there",
                where=script.where(),
                hint="let the INSERT come first: scripts run in the order of their paths",
            )
        others = [other.name for other in graph.fillers(script) if other.name not in chosen]
        what = f"the script {others[0]}" if others else f"the ingest job {ingested.get(script.target)}"
        if others or script.target in ingested:
            raise ScriptError(
                f"a full refresh replaces {script.target}, which {what} fills too",
                where=script.where(),
                hint="select that script too" if others else "let the script fill a table of its own",
            )


def engine_of(services: Services) -> Engine:
    """The engine that the project's configuration names. Raises ConfigError for an unknown one."""
    settings = services.settings.engine
    if settings.name != DuckDBEngine.name:
        raise ConfigError(f"there is no engine {settings.name!r}", hint=f"write engine: {DuckDBEngine.name}")
    return DuckDBEngine(services.store, settings)


def _variables(settings: Settings, scripts: Sequence[Script], given: Mapping[str, Value]) -> Mapping[str, Value]:
    used = {name for script in scripts for name in used_variables(script)}
    for name in given:
        if name not in used:
            close = difflib.get_close_matches(name, used, n=1)
            raise UsageError(
                f"no script has a parameter {name!r}",
                hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(used)) or 'none'}",
            )
    return {**settings.transforms.variables, **given}


def _ingested(settings: Settings) -> Mapping[DatasetName, str]:
    return {target: job.name for job in load_jobs(settings, broken=[]) for target in job.targets}


def situation_of(
    script: Script,
    graph: Graph,
    pins: Mapping[DatasetName, Version],
    variables: Mapping[str, Value],
    engine: Engine,
    *,
    full_refresh: bool,
) -> Situation:
    """What a decision about a script looks at, apart from what is still to come in this run."""
    others = [other for other in graph.order if other.target == script.target and other is not script]
    declared = script.header.variables
    parameters: dict[str, Value] = {}
    for name in used_variables(script):
        value = variables.get(name, declared[name].default if name in declared else None)
        if value is not None:
            parameters[name] = value
    return Situation(
        pins=pins,
        parameters=parameters,
        engine=engine.name,
        before=frozenset(other.job for other in graph.fillers(script) if other.name in graph.waits_for(script.name)),
        later=frozenset(other.job for other in others if script.name in graph.follows[other.name]),
        full_refresh=full_refresh,
    )


def makes_anew(other: Script, script: Script, graph: Graph) -> bool:
    """Whether another script replaces the rows of a script's table before it."""
    return other.kind.creates or (other.kind is Kind.OVERWRITE and other.name in graph.follows[script.name])


class _Planner:
    def __init__(
        self,
        services: Services,
        engine: Engine,
        graph: Graph,
        pins: Mapping[DatasetName, Version],
        variables: Mapping[str, Value],
        *,
        full_refresh: bool,
    ) -> None:
        self._catalog = services.catalog
        self._engine = engine
        self._graph = graph
        self._pins = pins
        self._variables = variables
        self._full_refresh = full_refresh
        self._running: dict[str, Script] = {}
        self._checker = Checker(engine, graph, Pinned(services, pins), variables, full_refresh=full_refresh)

    def step(self, script: Script) -> PlannedScript:
        history = read_history(self._catalog, script, self._pins.get(script.target))
        decision = decide(script, history, self._situation(script))
        if decision.runs:
            self._running[script.name] = script
        return PlannedScript(
            script=script,
            decision=decision,
            inputs=tuple(self._pins[dataset] for dataset in script.inputs if dataset in self._pins),
            problem=self._checker.problem(script, self._running.values()) if decision.runs else None,
        )

    def _situation(self, script: Script) -> Situation:
        base = situation_of(
            script, self._graph, self._pins, self._variables, self._engine, full_refresh=self._full_refresh
        )
        pending = {other.target: other.name for other in self._running.values() if other.target in script.inputs}
        before = [
            other.name
            for other in self._running.values()
            if other.target == script.target and (makes_anew(other, script, self._graph) or looks_at_target(script))
        ]
        return replace(base, pending=pending, target_pending=before[-1] if before else None)
