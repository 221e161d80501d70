"""What a run of another program is in the catalog: an execution with its state, its SQL, and what started it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import foreign_types as types_of
from lakecat.catalog import registry, search_index
from lakecat.catalog import schema as s
from lakecat.catalog.enums import EventType, TypeKind
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.executions import script_key
from lakecat.catalog.foreign_merge import RunDraft, state_of
from lakecat.catalog.foreign_types import fit, tell
from lakecat.catalog.foreign_values import Recorded
from lakecat.catalog.reading import properties_of
from lakecat.catalog.registry import NewArtifact
from lakecat.catalog.values import Script
from lakecat.types import Json


@dataclass(slots=True)
class Runs:
    """Writes executions. ``ids`` by type and key; ``starts`` and ``ends`` (or the last event so far) by id."""

    connection: sa.Connection
    types: Mapping[tuple[str, TypeKind], int]
    now: int
    ids: dict[tuple[tuple[str, TypeKind], str], int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    """Those whose state or times are not what they were."""
    recorded: Recorded = field(default_factory=Recorded)

    def write(self, runs: Sequence[RunDraft]) -> None:
        """Find or make the executions, and bring their states up to date."""
        for type_ in (types_of.RUN, types_of.STATIC_JOB):
            drafts = {fit(run.key): run for run in runs if run.type == type_}
            found = registry.find_named(self.connection, s.execution, self.types[type_], drafts)
            known = properties_of(self.connection, s.execution_property, found.values())
            fresh = [name for name in sorted(drafts) if name not in found]
            rows = [
                {"type_id": self.types[type_], "name": name, "last_known_state": int(state_of(drafts[name].decided)),
                 "create_time_since_epoch": self.now, "last_update_time_since_epoch": self.now}
                for name in fresh
            ]  # fmt: skip
            registry.insert_absent(self.connection, s.execution, rows)
            made = registry.find_named(self.connection, s.execution, self.types[type_], fresh)
            self.recorded += Recorded(runs=len(fresh), states=len(fresh))
            for name, run in drafts.items():
                self.ids[run.type, run.key] = found.get(name) or made[name]
            self._update(type_, list(drafts.values()), known)

    def _update(
        self, type_: tuple[str, TypeKind], runs: Sequence[RunDraft], known: Mapping[int, Mapping[str, Json]]
    ) -> None:
        told: dict[int, tuple[int, Mapping[str, Json]]] = {}
        rows: list[dict[str, Any]] = []
        for run in runs:
            execution_id = self.ids[run.type, run.key]
            before = known.get(execution_id, {})
            decided = max(run.decided, (_whole(before, "decided_at"), _whole(before, "decided_rank")))
            if before and decided != (_whole(before, "decided_at"), _whole(before, "decided_rank")):
                self._set_state(execution_id, state_of(decided))
            first = min(run.first, _whole(before, "first_at", run.first))
            started = min((t for t in (run.started, before.get("started_at")) if isinstance(t, int)), default=None)
            self.starts[execution_id] = first if started is None else min(first, started)
            self.ends[execution_id] = decided[0] if decided[1] > 1 else max(run.last, _whole(before, "last_at"))
            times: dict[str, Json] = {
                "decided_at": decided[0], "decided_rank": decided[1], "first_at": first, "started_at": started,
                "last_at": max(run.last, _whole(before, "last_at")),
                "ended_at": decided[0] if decided[1] > 1 else None,
            }  # fmt: skip
            rows += self._times(type_, execution_id, {n: v for n, v in times.items() if before.get(n) != v}, before)
            told[execution_id] = (run.last, {**run.facts, **_job_facts(run)})
        registry.upsert(self.connection, s.execution_property, rows)
        tell(self.connection, s.execution_property, type_, told)

    def _set_state(self, execution_id: int, state: MlmdState) -> None:
        changed = self.connection.execute(
            sa.update(s.execution)
            .where(s.execution.c.id == execution_id, s.execution.c.last_known_state != int(state))
            .values(last_known_state=int(state), last_update_time_since_epoch=self.now)
        ).rowcount
        self.recorded += Recorded(states=changed)

    def _times(
        self, type_: tuple[str, TypeKind], execution_id: int, times: Mapping[str, Json], before: Mapping[str, Json]
    ) -> list[dict[str, Any]]:
        """The rows of the times that are not what they were."""
        if times:
            self.changed.add(execution_id)
        if "ended_at" in before and times.get("ended_at", 0) is None:  # it was started again
            table = s.execution_property
            self.connection.execute(
                sa.delete(table).where(table.c.execution_id == execution_id, table.c.name == "ended_at")
            )
        return registry.property_rows("execution_id", execution_id, times, types_of.TYPES[type_].keys())


@dataclass(slots=True)
class Scripts:
    """Writes the SQL of runs as scripts, as lakecat's own are: inputs of their executions."""

    connection: sa.Connection
    runs: Runs
    now: int
    added: int = 0

    def write(self, runs: Sequence[RunDraft]) -> None:
        """Make the scripts and the events that are missing."""
        scripts = {(run.type, run.key): _script(run) for run in runs if run.sql is not None}
        if not scripts:
            return
        artifacts = [
            NewArtifact(
                registry.SCRIPT,
                script_key(one),
                one.path,
                {"sha256": one.sha256, "text": one.text, "dialect": one.dialect},
            )
            for one in scripts.values()
        ]
        ids = registry.ensure_artifacts(self.connection, registry.load_type_ids(self.connection), artifacts, self.now)
        wanted = {(self.runs.ids[key], ids[script_key(script)]) for key, script in scripts.items()}
        known: set[tuple[int, int]] = set()
        table = s.event
        for part in _parts(sorted({execution for execution, _ in wanted})):
            rows = self.connection.execute(
                sa.select(table.c.execution_id, table.c.artifact_id).where(
                    table.c.execution_id.in_(part), table.c.type == int(EventType.INPUT)
                )
            )
            known.update((row.execution_id, row.artifact_id) for row in rows)
        fresh = {artifact_id for _, artifact_id in wanted - known}
        paths = {script.path for script in scripts.values() if ids[script_key(script)] in fresh}
        search_index.add(self.connection, [search_index.script_entry(path) for path in sorted(paths)])
        for execution_id, artifact_id in sorted(wanted - known):
            event = registry.NewEvent(artifact_id, EventType.INPUT, "script")
            registry.insert_events(self.connection, execution_id, [event], self.runs.starts[execution_id])
            self.added += 1


def _script(run: RunDraft) -> Script:
    assert run.sql is not None  # noqa: S101 - the caller looked
    path = run.job_facts.get("source_path") or run.job_facts.get("source_url") or str(run.job)
    return Script(run.sql.text, hashlib.sha256(run.sql.text.encode()).hexdigest(), fit(str(path)), run.sql.dialect)


def group(
    connection: sa.Connection,
    types: Mapping[tuple[str, TypeKind], int],
    runs: Runs,
    drafts: Sequence[RunDraft],
    jobs: Mapping[str, int],
) -> None:
    """Group runs with the one that started them, whichever is known first. ``jobs``: contexts of the parents' jobs."""
    parents = {run.parent.run_id: run.parent for run in drafts if run.parent is not None}
    groups, _ = types_of.make_contexts(connection, types[types_of.PARENT], parents, runs.now)
    told = {groups[key]: (0, {"job": str(parent.job)}) for key, parent in parents.items()}
    tell(connection, s.context_property, types_of.PARENT, told)
    lies_in = [
        {"context_id": groups[key], "parent_context_id": jobs[str(parent.job)]}
        for key, parent in sorted(parents.items())
    ]
    registry.insert_absent(connection, s.parent_context, lies_in)
    members = {(groups[run.parent.run_id], runs.ids[run.type, run.key]) for run in drafts if run.parent is not None}
    known = registry.find_named(connection, s.execution, types[types_of.RUN], parents)
    ours = s.lake_execution
    for part in registry.chunks(parents):
        rows = connection.execute(sa.select(ours.c.uuid, ours.c.execution_id).where(ours.c.uuid.in_(part)))
        known.update((row.uuid, row.execution_id) for row in rows)
    members |= {(groups[key], execution_id) for key, execution_id in known.items()}
    mine = [run.key for run in drafts if run.type == types_of.RUN]
    as_parents = registry.find_named(connection, s.context, types[types_of.PARENT], mine)
    members |= {(context_id, runs.ids[types_of.RUN, key]) for key, context_id in as_parents.items()}
    associate(connection, members)


def associate(connection: sa.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Associate executions with contexts: (context id, execution id)."""
    rows = [{"context_id": c, "execution_id": e} for c, e in sorted(set(pairs))]
    registry.insert_absent(connection, s.association, rows)


def add_edges(connection: sa.Connection, edges: Sequence[Mapping[str, Any]]) -> int:
    """Insert the column edges that their executions do not have yet; how many."""
    table = s.column_edge
    columns = [c for c in table.c if c.name not in ("id", "line", "input_hash")]
    known: set[tuple[Any, ...]] = set()
    for part in _parts(sorted({edge["execution_id"] for edge in edges})):
        rows = connection.execute(sa.select(*columns).where(table.c.execution_id.in_(part)))
        known.update(tuple(row) for row in rows)
    keyed = {tuple(edge[column.name] for column in columns): edge for edge in edges}
    fresh = [edge for key, edge in keyed.items() if key not in known]
    if fresh:
        connection.execute(sa.insert(table), fresh)
    return len(fresh)


def _parts(ids: Sequence[int]) -> Iterable[Sequence[int]]:
    for start in range(0, len(ids), registry.CHUNK):
        yield ids[start : start + registry.CHUNK]


def _job_facts(run: RunDraft) -> dict[str, Json]:
    return {
        "job": str(run.job),
        "job_namespace": run.job.namespace,
        "job_name": run.job.name,
        "parent_run": None if run.parent is None else run.parent.run_id,
    }


def _whole(properties: Mapping[str, Json], name: str, default: int = 0) -> int:
    value = properties.get(name)
    return value if isinstance(value, int) else default
