"""One script's execution: decided, run and committed under its lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from lakecat.catalog import DEFAULT_TTL, Catalog, ExecutionStart
from lakecat.catalog import Script as ScriptArtifact
from lakecat.engines import Engine, Session
from lakecat.errors import (
    CatalogError,
    EngineError,
    LakecatError,
    LineageError,
    NotFoundError,
    SchemaError,
    TableError,
    TransformError,
)
from lakecat.landing import Harvest, Landed, OnProgress, Services, Work, hold, land, record_failure
from lakecat.lineage import trace
from lakecat.tables import Scan, appended_since
from lakecat.transform.check import placed
from lakecat.transform.compile import Compiled, Value, compile_script, first_merge
from lakecat.transform.decide import Decision, decide, footprint, looks_at_target, made_anew, run_key, starts_again
from lakecat.transform.graph import Graph
from lakecat.transform.history import PROPERTY, read_history, stream_of
from lakecat.transform.materialise import Made, insert_rows, modify_rows, replace_rows
from lakecat.transform.pinned import Pinned
from lakecat.transform.plan import situation_of
from lakecat.transform.scripts import Kind, Script
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, ExecutionType, Position, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the scripts of one run share; ``watch`` is entered with each session, so that it can be interrupted."""

    services: Services
    engine: Engine
    graph: Graph
    pinned: Pinned
    variables: Mapping[str, Value]
    full_refresh: bool
    watch: Callable[[Session], AbstractContextManager[None]]
    ttl: timedelta = DEFAULT_TTL


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one script: the decision under its lease, and the execution when it ran."""

    decision: Decision
    landed: Landed | None = None


def execute(run: Run, script: Script, on_progress: OnProgress) -> Outcome:
    """Hold the script's lease, decide again, and run it when there is something to do.

    Raises LeaseHeldError (another process runs the script), TransformError and whatever stopped it.
    """
    with hold(run.services, script.job, ttl=run.ttl) as held:
        task = _Task(run, script)
        if not task.decision.runs:
            return Outcome(decision=task.decision)
        landed = land(run.services, held, task.start(), task.produce, on_progress=on_progress)
        for version in landed.versions:
            run.pinned.move(version)
        return Outcome(decision=task.decision, landed=landed)


def record_refusal(run: Run, script: Script, decision: Decision, problem: LakecatError) -> int | None:
    """Record a script that cannot even begin as a failed execution; its id.

    None where another process runs the script, or the catalog takes no more: ``problem`` is the error to show.
    """
    start = ExecutionStart(
        type=ExecutionType.TRANSFORM,
        job=script.job,
        run_key=None,
        targets=(script.target,),
        script=_artifact_of(script),
        properties={
            "engine": run.engine.name,
            "reasons": list(decision.reasons),
            "full_refresh": run.full_refresh,
        },
        project=run.services.settings.project,
    )
    try:
        with hold(run.services, script.job, ttl=run.ttl) as held:
            return record_failure(run.services, held, start, problem)
    except CatalogError:
        return None


def _artifact_of(script: Script) -> ScriptArtifact:
    return ScriptArtifact(script.text, script.sha256, script.path, script.dialect)


class _Task:
    """One script under its lease, with everything that was decided before the execution begins."""

    def __init__(self, run: Run, script: Script) -> None:
        self._run = run
        self._script = script
        catalog = run.services.catalog
        self._target = _current(catalog, script.target)
        pins = dict(run.pinned.versions)
        if self._target is not None:
            pins[script.target] = self._target
        self._pins: Mapping[DatasetName, Version] = pins
        self._history = read_history(catalog, script, self._target)
        self._situation = situation_of(
            script, run.graph, pins, run.variables, run.engine, full_refresh=run.full_refresh
        )
        self.decision = decide(script, self._history, self._situation)
        self._from_nothing = starts_again(script, self._history, self._situation)
        self._footprint = footprint(script, self._situation)

    @property
    def _renews(self) -> bool:
        """Whether a full refresh begins here: the first script that fills the table replaces it, others add to it."""
        before = self._run.graph.waits_for(self._script.name)
        return self._run.full_refresh and not any(
            other.name in before for other in self._run.graph.fillers(self._script)
        )

    def start(self) -> ExecutionStart:
        script, settings = self._script, self._run.services.settings
        read = [name for name in script.inputs if name != script.target and name in self._pins]
        inputs = [self._pins[name] for name in read]
        if looks_at_target(script) and self._target is not None:
            inputs.append(self._target)
        return ExecutionStart(
            type=ExecutionType.TRANSFORM,
            job=script.job,
            run_key=run_key(script, self._footprint, self._history, full_refresh=self._run.full_refresh),
            targets=(script.target,),
            inputs=tuple(inputs),
            script=_artifact_of(script),
            properties={
                PROPERTY: self._footprint.to_json(),
                "engine": self._run.engine.name,
                "parameters": dict(self._situation.parameters),
                "reasons": list(self.decision.reasons),
                "full_refresh": self._run.full_refresh,
            },
            project=settings.project,
        )

    def produce(self, work: Work) -> Harvest:
        """Run the statement on the pinned inputs and the target as it is now; write its rows."""
        try:
            made, compiled = self._make(work)
        except EngineError as err:
            raise placed(self._script, err) from err
        except (SchemaError, TableError) as err:
            where = err.where or self._script.where(self._script.statement)
            raise TransformError(err.what, where=where, hint=err.hint, next_command=err.next_command) from err
        return Harvest(
            changes=made.changes,
            positions=self._positions(),
            edges=self._edges(compiled, made),
            properties={"rows": made.rows},
        )

    def _make(self, work: Work) -> tuple[Made, Compiled]:
        script, run = self._script, self._run
        state = work.state(script.target)
        self._look_again()
        first = script.kind is Kind.MERGE and state is None
        translate = first_merge if first else compile_script
        compiled = translate(script, dialect=run.engine.dialect, variables=run.variables)
        with self._session(work, compiled) as session:
            if script.kind.modifies and not first:
                return modify_rows(script, work, session, compiled), compiled
            reader = session.query(compiled.sql, compiled.parameters)
            if script.kind.creates:
                return replace_rows(script, work, reader), compiled
            return insert_rows(script, work, reader, renew=self._renews, alone=not self._situation.before), compiled

    def _look_again(self) -> None:
        """See whether somebody made the target anew since the decision; whoever does it later is a conflict."""
        target = _current(self._run.services.catalog, self._script.target)
        if target is None or self._from_nothing:
            return
        history = read_history(self._run.services.catalog, self._script, target)
        self._from_nothing = made_anew(history, self._situation)

    @contextmanager
    def _session(self, work: Work, compiled: Compiled) -> Iterator[Session]:
        script = self._script
        relations = {
            name: self._scan(work, dataset, changes=changes) for name, (dataset, changes) in compiled.relations.items()
        }
        if script.kind.modifies and (state := work.state(script.target)) is not None:
            relations[script.target] = Scan(state, state.current_snapshot_id)
        with self._run.engine.session(relations) as session, self._run.watch(session):
            yield session

    def _scan(self, work: Work, dataset: DatasetName, *, changes: bool) -> Scan:
        if dataset == self._script.target and not changes:
            state = work.state(dataset)
            if state is None:
                raise TransformError(f"there is no table {dataset}", where=self._script.where())
            return Scan(state, state.current_snapshot_id)
        if not changes:
            return self._run.pinned.scan(dataset)
        return self._arrived(dataset)

    def _arrived(self, dataset: DatasetName) -> Scan:
        pin = self._pins[dataset]
        state = self._run.pinned.state(dataset)
        consumed = None if self._from_nothing else self._history.positions.get(dataset)
        if consumed is not None and pin.version <= consumed.version:
            return Scan(state, pin.snapshot_id, ())
        try:
            start = None if consumed is None else consumed.snapshot_id
            return appended_since(self._run.services.store, state, start, pin.snapshot_id)
        except TableError as err:
            since = f" since v{consumed.version}" if consumed is not None else ""
            raise TransformError(
                f"what arrived in {dataset}{since} cannot be told: {err.what}",
                where=self._script.where(self._script.statement),
                hint="rows were removed or rewritten; read everything once with --full-refresh",
                next_command=f"lakecat run --select {self._script.name} --full-refresh",
            ) from err

    def _positions(self) -> Mapping[str, Position]:
        moved = {}
        for dataset in self._script.changes:
            pin, consumed = self._pins[dataset], self._history.positions.get(dataset)
            if consumed is None or pin.version > consumed.version:
                value = {"version": pin.version, "snapshot": pin.snapshot_id}
                moved[stream_of(self._script, dataset)] = Position(value)
        return moved

    def _edges(self, compiled: Compiled, made: Made) -> tuple[ColumnEdge, ...]:
        """The statement's column edges; one that cannot be traced at all is recorded as unresolved, not lost."""
        script = self._script
        schemas: dict[str, tuple[str, ...]] = {}
        for dataset in {name for name, _ in compiled.relations.values()}:
            if dataset != script.target:
                fields = self._run.pinned.scan(dataset).schema.fields
                schemas[str(dataset)] = tuple(column.name for column in fields)
        schemas[str(script.target)] = made.columns
        try:
            traced = trace(
                compiled.traced,
                dialect=script.dialect,
                schemas=schemas,
                target=str(script.target),
                target_columns=made.columns,
            )
        except LineageError as err:
            return (ColumnEdge(str(script.target), None, None, None, EdgeKind.UNRESOLVED, err.what),)
        return traced.edges


def _current(catalog: Catalog, dataset: DatasetName) -> Version | None:
    try:
        return catalog.dataset(dataset).latest
    except NotFoundError:
        return None
