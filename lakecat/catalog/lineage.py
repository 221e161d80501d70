"""The lineage graph of versions and executions, walked by the database with recursive SQL to any depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS, EventType, ExecutionState
from lakecat.catalog.leases import moment
from lakecat.catalog.reading import id_chunks
from lakecat.catalog.values import LineageEdge, LineageGraph, LineageNode, NodeKind
from lakecat.errors import NotFoundError

Direction: TypeAlias = Literal["up", "down", "both"]

_KINDS: Final[dict[str, NodeKind]] = {
    registry.TABLE_VERSION: "version",
    registry.SOURCE: "source",
    registry.SCRIPT: "script",
}
_DONE: Final = (int(ExecutionState.UNKNOWN), int(ExecutionState.COMPLETE), int(ExecutionState.CACHED))
"""ML Metadata does not make anybody say a state."""
_INPUTS: Final = frozenset(int(kind) for kind in INPUT_EVENTS)


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is reached from a start, as statements: artifact ids, ids of the executions passed, those beyond depth."""

    artifacts: sa.Select[Any]
    executions: sa.Select[Any]
    further: sa.Select[Any] | None


def graph(connection: sa.Connection, artifact_id: int, direction: Direction, depth: int | None) -> LineageGraph:
    """The graph around an artifact, at most ``depth`` executions away.

    Executions that did not complete are left out; those of other programs, which may not say, are not. Raises
    NotFoundError.
    """
    found = _Found(connection, f"a{artifact_id}")
    for near in _ways(direction):
        found.collect([artifact_id], near, depth)
    return found.graph()


def around_execution(
    connection: sa.Connection, execution_id: int, direction: Direction, depth: int | None
) -> LineageGraph:
    """The graph around an execution in whatever state, at most ``depth`` further executions away.

    Raises NotFoundError.
    """
    found = _Found(connection, f"e{execution_id}")
    for near in _ways(direction):
        found.begin(execution_id, EventType.INPUT if near == EventType.OUTPUT else EventType.OUTPUT)
        beside = sa.select(s.event.c.artifact_id).where(
            s.event.c.execution_id == execution_id, _reads(s.event, near == EventType.OUTPUT)
        )
        if ids := sorted(set(connection.execute(beside).scalars())):
            found.collect(ids, near, depth)
    return found.graph()


def _ways(direction: Direction) -> tuple[EventType, ...]:
    """By direction the kind of event that leads from an artifact to the next executions."""
    ways = {"up": (EventType.OUTPUT,), "down": (EventType.INPUT,), "both": (EventType.OUTPUT, EventType.INPUT)}
    return ways[direction]


def _reads(event: sa.FromClause, inputs: bool) -> sa.ColumnElement[bool]:  # noqa: FBT001 - one of two kinds
    """Whether an event is of an execution that reads (or else writes) its artifact."""
    kinds = INPUT_EVENTS if inputs else OUTPUT_EVENTS
    return event.c.type.in_(sorted(int(kind) for kind in kinds))


@dataclass(slots=True)
class _Found:
    """What walks have found so far."""

    connection: sa.Connection
    root: str
    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: set[LineageEdge] = field(default_factory=set)
    truncated: bool = False

    def graph(self) -> LineageGraph:
        """What was found. Raises NotFoundError where there is not even the root."""
        if self.root not in self.nodes:
            kind, view = ("execution", "store_executions") if self.root[0] == "e" else ("artifact", "artifacts")
            raise NotFoundError(
                f"there is no {kind} {self.root[1:]}",
                hint="write the id that it has in the metadata store",
                next_command=f'lakecat query --catalog "SELECT * FROM {view}"',
            )
        return LineageGraph(
            root=self.root,
            nodes=tuple(sorted(self.nodes.values(), key=lambda n: (n.kind, n.label, n.key))),
            edges=tuple(sorted(self.edges, key=lambda e: (e.source, e.target, e.role))),
            truncated=self.truncated,
        )

    def begin(self, execution_id: int, kind: EventType) -> None:
        """Add an execution with what it read (INPUT), or wrote."""
        alone = sa.select(s.execution.c.id).where(s.execution.c.id == execution_id)
        walk = _Walk(sa.select(s.artifact.c.id).where(sa.false()), alone, None)
        self.nodes.update((node.key, node) for node in _executions(self.connection, walk))
        root = f"e{execution_id}"
        for edge in _edges(self.connection, walk):
            if (edge.target if kind == EventType.INPUT else edge.source) == root:
                self.edges.add(edge)

    def collect(self, ids: Sequence[int], near: EventType, depth: int | None) -> None:
        """Walk one way from these artifacts, and go on where lakecat's own lineage meets that of other programs."""
        # What joins imported lineage is of use to those only who walk.
        from lakecat.catalog.foreign_bridges import Bridges

        bridges = Bridges.of(self.connection)
        cross = bridges.up if near == EventType.OUTPUT else bridges.down
        starts: dict[int | None, list[int]] = {depth: list(ids)}
        begun = set(ids)
        while starts:
            crossed: list[tuple[int, int]] = []
            for left, firsts in starts.items():
                for part in id_chunks(firsts):
                    crossed += cross(self._walk(part, near, left))
            for here, there in crossed:
                source, target = (there, here) if near == EventType.OUTPUT else (here, there)
                self.edges.add(LineageEdge(f"a{source}", f"a{target}", "same data"))
            fresh = {there for _, there in crossed} - begun
            begun |= fresh
            starts = self._left(fresh, near, depth)

    def _walk(self, ids: Sequence[int], near: EventType, depth: int | None) -> set[int]:
        """Add what is reached from these artifacts; the artifacts reached."""
        walk = _walk(ids, near, depth)
        nodes = {node.key: node for node in _artifacts(self.connection, walk)}
        reached = {int(key[1:]) for key in nodes}
        nodes.update((node.key, node) for node in _executions(self.connection, walk))
        # Other outputs of an execution are no part of the graph, nor what went to them alone, upwards. (Two IN in one
        # statement cost SQLite their product.)
        self.edges.update(
            edge
            for edge in _edges(self.connection, walk)
            if edge.source in nodes
            and edge.target in nodes
            and (edge.outputs is None or near == EventType.INPUT or not nodes.keys().isdisjoint(edge.outputs))
        )
        self.nodes.update(nodes)
        if walk.further is not None:
            self.truncated |= self.connection.execute(walk.further.limit(1)).first() is not None
        return reached

    def _left(self, artifacts: set[int], near: EventType, depth: int | None) -> dict[int | None, list[int]]:
        """These artifacts by how many executions may still be passed behind them."""
        if depth is None or not artifacts:
            return {None: sorted(artifacts)} if artifacts else {}
        following: dict[str, list[str]] = {}
        for edge in self.edges:
            here, there = (edge.target, edge.source) if near == EventType.OUTPUT else (edge.source, edge.target)
            following.setdefault(here, []).append(there)
        passed = {self.root: 0}
        waiting = deque([self.root])
        while waiting:
            here = waiting.popleft()
            for there in following.get(here, ()):
                distance = passed[here] + there.startswith("e")
                if distance < passed.get(there, depth + 1):
                    passed[there] = distance
                    waiting.append(there)
        left: dict[int | None, list[int]] = {}
        for artifact_id in sorted(artifacts):
            left.setdefault(depth - passed.get(f"a{artifact_id}", depth), []).append(artifact_id)
        return left


def _walk(artifacts: Sequence[int], near: EventType, depth: int | None) -> _Walk:
    """Walk from artifacts over their ``near`` events to executions, and over their other events onwards.

    Without a depth the recursion is over artifacts alone: however many paths there are, each artifact costs once.
    """
    start: sa.ColumnElement[Any] = s.artifact.c.id if len(artifacts) > 1 else sa.literal(artifacts[0])
    columns: list[sa.ColumnElement[Any]] = [sa.cast(start, sa.BigInteger).label("artifact_id")]
    if depth is not None:
        columns.append(sa.cast(0, sa.BigInteger).label("depth"))
    first = sa.select(*columns)
    if len(artifacts) > 1:
        first = first.where(s.artifact.c.id.in_(artifacts))
    seen = first.cte("seen", recursive=True)
    there = s.event.alias("there")
    onwards, here = _passed(seen, near)
    onwards = onwards.join(
        there, sa.and_(there.c.execution_id == here.c.execution_id, _reads(there, near == EventType.OUTPUT))
    )
    read, output = (there, here) if near == EventType.OUTPUT else (here, there)
    onwards = dataset_edges.only_flows(onwards, read, output.c.artifact_id)
    if depth is None:
        seen = seen.union(onwards.with_only_columns(there.c.artifact_id))
    else:
        onwards = onwards.where(seen.c.depth < depth)
        seen = seen.union(onwards.with_only_columns(there.c.artifact_id, seen.c.depth + 1))
    passed, here = _passed(seen, near)
    executions = passed if depth is None else passed.where(seen.c.depth < depth)
    further = None if depth is None else passed.where(here.c.execution_id.not_in(executions))
    return _Walk(sa.select(seen.c.artifact_id), executions, further)


def _passed(seen: sa.CTE, near: EventType) -> tuple[sa.Select[Any], sa.FromClause]:
    """The completed executions next to the artifacts seen, and the events that lead there."""
    here = s.event.alias()
    query = (
        sa.select(here.c.execution_id)
        .select_from(seen)
        # An expression, so that SQLite looks the events up by it, and does not read all events to look them up here.
        .join(here, sa.and_(here.c.artifact_id == seen.c.artifact_id + 0, _reads(here, near == EventType.INPUT)))
        .join(s.execution, s.execution.c.id == here.c.execution_id)
        .where(sa.or_(s.execution.c.last_known_state.in_(_DONE), s.execution.c.last_known_state.is_(None)))
        # MySQL's optimizer knows nothing of the size of a recursion; the only sensible order is this one.
        .prefix_with("STRAIGHT_JOIN", dialect="mysql")
    )
    return query, here


def _artifacts(connection: sa.Connection, walk: _Walk) -> Iterator[LineageNode]:
    table = s.artifact
    rows = connection.execute(
        sa.select(table.c.id, table.c.name, table.c.uri, s.type_.c.name.label("type"))
        .join(s.type_, s.type_.c.id == table.c.type_id)
        .where(table.c.id.in_(walk.artifacts))
    )
    for row in rows:
        kind = _KINDS.get(row.type, "artifact")
        label = row.name if kind == "version" else row.uri
        yield LineageNode(f"a{row.id}", kind, label or row.name or f"{row.type} {row.id}", {"type": row.type})


def _executions(connection: sa.Connection, walk: _Walk) -> Iterator[LineageNode]:
    ours, told = s.lake_execution, s.execution_property
    job = sa.and_(told.c.execution_id == s.execution.c.id, told.c.name == "job", sa.not_(told.c.is_custom_property))
    rows = connection.execute(
        sa.select(
            s.execution.c.id, s.execution.c.name, s.type_.c.name.label("type"), ours.c.finished_ms,
            sa.func.coalesce(ours.c.job, told.c.string_value).label("job"),
        )
        .join(s.type_, s.type_.c.id == s.execution.c.type_id)
        .outerjoin(ours, ours.c.execution_id == s.execution.c.id)
        .outerjoin(told, job)
        .where(s.execution.c.id.in_(walk.executions))
    )  # fmt: skip
    for row in rows:
        finished = None if row.finished_ms is None else moment(row.finished_ms).isoformat()
        label = row.job or row.name or f"{row.type} {row.id}"
        yield LineageNode(f"e{row.id}", "execution", label, {"type": row.type, "finished_at": finished})


def _edges(connection: sa.Connection, walk: _Walk) -> Iterator[LineageEdge]:
    event, path, went = s.event, s.event_path, s.dataset_edge
    rows = connection.execute(
        sa.select(
            event.c.artifact_id, event.c.execution_id, event.c.type, path.c.step_key,
            went.c.id.label("edge"), went.c.output_artifact_id,
        )
        .outerjoin(path, sa.and_(path.c.event_id == event.c.id, sa.not_(path.c.is_index_step)))
        .outerjoin(went, sa.and_(dataset_edges.of_input(went, event), _reads(event, True)))
        .where(
            event.c.execution_id.in_(walk.executions),
            event.c.type.in_(sorted(int(kind) for kind in INPUT_EVENTS | OUTPUT_EVENTS)),
        )
    )  # fmt: skip
    told: dict[tuple[str, str, str], set[str] | None] = {}
    for row in rows:
        ends = (f"a{row.artifact_id}", f"e{row.execution_id}")
        source, target = ends if row.type in _INPUTS else ends[::-1]
        outputs = told.setdefault((source, target, row.step_key or ""), None if row.edge is None else set())
        if outputs is not None and row.output_artifact_id is not None:
            outputs.add(f"a{row.output_artifact_id}")
    for key, outputs in told.items():
        yield LineageEdge(*key, None if outputs is None else tuple(sorted(outputs)))
