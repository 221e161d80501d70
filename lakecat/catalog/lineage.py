"""The lineage graph of versions and executions, walked by the database with recursive SQL to any depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.foreign_bridges import Bridges
from lakecat.catalog.leases import moment
from lakecat.catalog.registry import EventType, MlmdState
from lakecat.catalog.values import LineageEdge, LineageGraph, LineageNode, NodeKind
from lakecat.types import Version

Direction: TypeAlias = Literal["up", "down", "both"]

_KINDS: Final[dict[str, NodeKind]] = {
    registry.TABLE_VERSION: "version",
    registry.SOURCE: "source",
    registry.SCRIPT: "script",
}
_DONE: Final = (int(MlmdState.COMPLETE), int(MlmdState.CACHED))


@dataclass(frozen=True, slots=True)
class _Walk:
    """What is reached from a start, as statements: artifact ids, ids of the executions passed, those beyond depth."""

    artifacts: sa.Select[Any]
    executions: sa.Select[Any]
    further: sa.Select[Any] | None


def graph(connection: sa.Connection, version: Version, direction: Direction, depth: int | None) -> LineageGraph:
    """The graph around a version, at most ``depth`` executions away. Executions that did not complete are left out."""
    found = _Found(connection, f"a{version.artifact_id}")
    for way in ("up", "down") if direction == "both" else (direction,):
        found.collect(version.artifact_id, EventType.OUTPUT if way == "up" else EventType.INPUT, depth)
    return LineageGraph(
        root=found.root,
        nodes=tuple(sorted(found.nodes.values(), key=lambda n: (n.kind, n.label, n.key))),
        edges=tuple(sorted(found.edges)),
        truncated=found.truncated,
    )


@dataclass(slots=True)
class _Found:
    """What walks have found so far."""

    connection: sa.Connection
    root: str
    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: set[LineageEdge] = field(default_factory=set)
    truncated: bool = False

    def collect(self, artifact_id: int, near: EventType, depth: int | None) -> None:
        """Walk one way, and go on where lakecat's own lineage meets that of other programs."""
        bridges = Bridges.of(self.connection)
        cross = bridges.up if near == EventType.OUTPUT else bridges.down
        starts: dict[int | None, list[int]] = {depth: [artifact_id]}
        begun = {artifact_id}
        while starts:
            crossed: list[tuple[int, int]] = []
            for left, ids in starts.items():
                for start in range(0, len(ids), registry.CHUNK):
                    crossed += cross(self._walk(ids[start : start + registry.CHUNK], near, left))
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
        # Other outputs of an execution are no part of the graph. (Two IN in one statement cost SQLite their product.)
        self.edges.update(e for e in _edges(self.connection, walk) if e.source in nodes and e.target in nodes)
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
    far = EventType.INPUT if near == EventType.OUTPUT else EventType.OUTPUT
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
    onwards = onwards.join(there, sa.and_(there.c.execution_id == here.c.execution_id, there.c.type == int(far)))
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
        .join(here, sa.and_(here.c.artifact_id == seen.c.artifact_id + 0, here.c.type == int(near)))
        .join(s.execution, s.execution.c.id == here.c.execution_id)
        .where(s.execution.c.last_known_state.in_(_DONE))
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
    event, path = s.event, s.event_path
    rows = connection.execute(
        sa.select(event.c.artifact_id, event.c.execution_id, event.c.type, path.c.step_key)
        .outerjoin(path, sa.and_(path.c.event_id == event.c.id, sa.not_(path.c.is_index_step)))
        .where(
            event.c.execution_id.in_(walk.executions),
            event.c.type.in_((int(EventType.INPUT), int(EventType.OUTPUT))),
        )
    )
    for row in rows:
        artifact, execution, role = f"a{row.artifact_id}", f"e{row.execution_id}", row.step_key or ""
        if row.type == EventType.INPUT:
            yield LineageEdge(artifact, execution, role)
        else:
            yield LineageEdge(execution, artifact, role)
