"""Walking the lineage inside the database: which artifacts and executions are reached, how far away, over which events.

One recursion over events reaches any depth. In it a node is one number: an artifact its id, an execution its id
negated; so each node is expanded once, however many paths lead to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS
from lakecat.catalog.metadata_store import ids as id_lists
from lakecat.catalog.metadata_store.session import IDS, Query, Session, one_of

Way: TypeAlias = Literal["up", "down", "around"]
"""``around`` follows every event of every node, up and down by turns."""

COUNTED_HOPS: Final = 32
"""Up to this many hops the recursion counts them, and may pass a node once for each distance; beyond it walks to the
end, passing each node once, and distances are counted from the events."""
_HOPS: Final = "most_hops"
_ZERO: Final = sa.literal_column("0", sa.BigInteger)
_FEW_HOPS: Final = 16
"""So far a walk goes first that is limited by the number of nodes only."""

INPUTS: Final = sorted(map(int, INPUT_EVENTS))
OUTPUTS: Final = sorted(map(int, OUTPUT_EVENTS))
_FROM_ARTIFACTS: Final[Mapping[Way, list[int]]] = {"up": OUTPUTS, "down": INPUTS, "around": INPUTS + OUTPUTS}
_FROM_EXECUTIONS: Final[Mapping[Way, list[int]]] = {"up": INPUTS, "down": OUTPUTS, "around": INPUTS + OUTPUTS}


def _events(key: sa.Column[int], types: list[int]) -> Query:
    c = s.event.c
    columns = (c.id, c.artifact_id, c.execution_id, c.type, c.milliseconds_since_epoch)
    return Query(
        lambda backend: sa.select(*columns).where(
            one_of(key, backend), c.type.in_([sa.literal_column(str(kind)) for kind in types])
        ),
        by_ids=True,
    )


_EVENTS_OF_ARTIFACTS: Final = {way: _events(s.event.c.artifact_id, types) for way, types in _FROM_ARTIFACTS.items()}
_EVENTS_OF_EXECUTIONS: Final = {way: _events(s.event.c.execution_id, types) for way, types in _FROM_EXECUTIONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a walk ends. ``artifacts``, ``executions``: conditions on nodes from which it goes no further.

    ``parameters`` are those of the conditions. ``include_…``: whether such nodes are part of what is found.
    """

    artifacts: sa.ColumnElement[bool] | None = None
    executions: sa.ColumnElement[bool] | None = None
    include_artifacts: bool = True
    include_executions: bool = True
    parameters: Mapping[str, Any] = field(default_factory=dict)
    hops: int | None = None
    nodes: int | None = None

    @property
    def cut(self) -> bool:
        """Whether there is any limit."""
        return not (self.artifacts is None and self.executions is None and self.hops is None and self.nodes is None)


Edge: TypeAlias = tuple[int, int, int, int, int | None]
"""An event that was walked over: its id, artifact, execution, type and time."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What was reached: nodes as numbers, the events walked over, and which limits cut it.

    ``nodes`` has the hops to each; 0 where nothing needed them.
    """

    nodes: Mapping[int, int]
    edges: Sequence[Edge]
    truncated: frozenset[str]


def walk(session: Session, starts: Collection[int], way: Way, limits: Limits) -> Walk:
    """Everything that is reached from the nodes ``starts``, nearest first where ``limits.nodes`` cuts."""
    if not starts:
        return Walk({}, [], frozenset())
    connection = session.connection
    if not limits.cut:
        reached = _recursion(session, starts, way, limits, None)
        return Walk(reached, _edges_from(session, reached, way), frozenset())
    hops = _FEW_HOPS if limits.hops is None and limits.nodes is not None else limits.hops
    counted = hops is not None and hops <= COUNTED_HOPS
    found = _recursion(session, starts, way, limits, hops if counted else None)
    ends = _ends(connection, found, limits)
    if counted and limits.hops is None and max(found.values()) > _FEW_HOPS and not _too_many(found, ends, limits):
        counted, found = False, _recursion(session, starts, way, limits, None)
        ends = _ends(connection, found, limits)
    left = (node for node in found if node not in ends)
    if counted and limits.hops is not None:
        most = limits.hops
        left = (node for node in left if found[node] < most)
    edges = _edges_from(session, left, way)
    if not counted and (limits.hops is not None or limits.nodes is not None):
        found = _distances(starts, edges, way, ends)
    return _cut(session, found, edges, ends, way, limits)


def _too_many(found: Mapping[int, int], ends: Mapping[int, bool], limits: Limits) -> bool:
    return limits.nodes is not None and sum(ends.get(node, True) for node in found) > limits.nodes


def _recursion(session: Session, starts: Collection[int], way: Way, limits: Limits, hops: int | None) -> dict[int, int]:
    """Every node that is reached, and in how many hops (0 where they are not counted).

    It goes one hop further than ``hops``, so that it is known whether something was cut.
    """
    parameters = id_lists.number_parameters(session.backend, starts)
    names, counted = tuple(parameters), hops is not None
    if counted:
        parameters[_HOPS] = hops
    if limits.artifacts is None and limits.executions is None:
        rows: Sequence[Any] = session.ask(_unconditional(names, way, counted=counted), parameters)
    else:
        query = _reaching(session.backend, names, way, limits, counted=counted)
        rows = session.connection.execute(query, {**limits.parameters, **parameters}).all()
    if counted:
        return {int(node): int(distance) for node, distance in rows}
    return dict.fromkeys((row[0] for row in rows), 0)


@cache
def _unconditional(names: tuple[str, ...], way: Way, *, counted: bool) -> Query:
    """The recursion that no condition ends; built once, as building it costs more than a short walk."""
    return Query(lambda backend: _reaching(backend, names, way, Limits(), counted=counted))


def _reaching(backend: str, names: tuple[str, ...], way: Way, limits: Limits, *, counted: bool) -> sa.Select[Any]:
    listed = id_lists.numbers(backend, names).subquery()
    first = sa.select(listed.c.node)
    if counted:
        first = first.add_columns(sa.cast(_ZERO, sa.BigInteger).label("hops"))
    seen = first.cte("seen", recursive=True)
    lateral = backend == "postgresql"
    steps = [_hop(seen, way, limits, artifacts=artifacts, lateral=lateral) for artifacts in (True, False)]
    if lateral:  # PostgreSQL lets a recursion refer to itself only once
        onwards = sa.union_all(*(step.correlate(seen) for step in steps)).lateral("onwards")
        steps = [sa.select(onwards.c.node).select_from(seen.join(onwards, sa.true()))]
    if counted:
        most = sa.bindparam(_HOPS, type_=sa.BigInteger())
        steps = [step.add_columns(seen.c.hops + sa.literal_column("1")).where(seen.c.hops <= most) for step in steps]
    seen = seen.union(*steps)
    if not counted:
        return sa.select(seen.c.node)
    return sa.select(seen.c.node, sa.func.min(seen.c.hops)).group_by(seen.c.node)


def _hop(seen: sa.CTE, way: Way, limits: Limits, *, artifacts: bool, lateral: bool) -> sa.Select[Any]:
    """One hop from artifacts to executions, or from executions to artifacts."""
    event = s.event.alias()
    near: sa.ColumnElement[int] = event.c.artifact_id if artifacts else event.c.execution_id
    far: sa.ColumnElement[int] = -event.c.execution_id if artifacts else event.c.artifact_id
    # An expression, so that SQLite looks the events up by it, and does not read all events to look them up here.
    key = seen.c.node + _ZERO if artifacts else -seen.c.node
    types = _FROM_ARTIFACTS[way] if artifacts else _FROM_EXECUTIONS[way]
    query = sa.select(far.label("node")).where(event.c.type.in_([sa.literal_column(str(kind)) for kind in types]))
    source: sa.FromClause = event if lateral else seen.join(event, near == key)
    if lateral:
        query = query.where(near == key)
    ends = limits.artifacts if artifacts else limits.executions
    if ends is not None:
        table = s.artifact if artifacts else s.execution
        source = source.join(table, table.c.id == near)
        query = query.where(ends.is_not(sa.true()))
    # MySQL's optimizer knows nothing of the size of a recursion; the only sensible order is this one.
    return query.select_from(source).prefix_with("STRAIGHT_JOIN", dialect="mysql")


def _ends(connection: sa.Connection, found: Iterable[int], limits: Limits) -> dict[int, bool]:
    """Those of the nodes where the walk ended by condition, and whether they are part of what is found."""
    ends: dict[int, bool] = {}
    nodes = list(found)
    for condition, table, ids, sign, included in (
        (limits.artifacts, s.artifact, [n for n in nodes if n > 0], 1, limits.include_artifacts),
        (limits.executions, s.execution, [-n for n in nodes if n < 0], -1, limits.include_executions),
    ):
        if condition is not None:
            query = sa.select(table.c.id).where(condition)
            rows = id_lists.rows_by_ids(connection, query, table.c.id, ids, limits.parameters)
            ends.update((sign * row.id, included) for row in rows)
    return ends


def _edges_from(session: Session, nodes: Iterable[int], way: Way) -> list[Edge]:
    """The events that lead on from these nodes, each once."""
    nodes = list(nodes)
    artifacts, executions = [node for node in nodes if node > 0], [-node for node in nodes if node < 0]
    asked = [(_EVENTS_OF_ARTIFACTS[way], {IDS: artifacts})] if artifacts else []
    asked += [(_EVENTS_OF_EXECUTIONS[way], {IDS: executions})] if executions else []
    found: list[Any] = [row for rows in session.ask_all(asked) for row in rows]
    # Up or down, an event leads on from one of its ends only.
    return list({row[0]: row for row in found}.values()) if way == "around" else found


def _distances(starts: Collection[int], edges: Iterable[Edge], way: Way, ends: Mapping[int, bool]) -> dict[int, int]:
    """In how many hops each node is reached, counted from the events."""
    onwards: dict[int, list[int]] = {}
    for edge in edges:
        for near in _near(edge, way):
            onwards.setdefault(near, []).append(edge[1] - edge[2] - near)
    found = dict.fromkeys(starts, 0)
    level, hops = list(found), 0
    while level:
        hops += 1
        ahead = (other for node in level if node not in ends for other in onwards.get(node, ()))
        level = [other for other in dict.fromkeys(ahead) if other not in found]
        found.update(dict.fromkeys(level, hops))
    return found


def _cut(
    session: Session,
    found: Mapping[int, int],
    edges: Sequence[Edge],
    ends: Mapping[int, bool],
    way: Way,
    limits: Limits,
) -> Walk:
    """What lies within the limits, and which of them left something out."""
    truncated = set()
    nodes: dict[int, int] = {}
    for node, hops in found.items():
        beyond, included = limits.hops is not None and hops > limits.hops, ends.get(node, True)
        if included and not beyond:
            nodes[node] = hops
        elif included or not beyond:
            truncated.add("max_num_hops" if beyond else "ending_nodes")
    if limits.nodes is not None and len(nodes) > limits.nodes:
        truncated.add("max_nodes")
        nodes = _nearest(nodes, limits.nodes)

    def inside(edge: Edge) -> bool:
        return edge[1] in nodes and -edge[2] in nodes

    stopped = [node for node in nodes if node in ends]
    if stopped and not all(map(inside, _edges_from(session, stopped, way))):
        truncated.add("ending_nodes")
    # An event counts where the walk took it, not where both its ends happen to be found.
    left = {node for node, hops in nodes.items() if node not in ends and (limits.hops is None or hops < limits.hops)}
    walked = [edge for edge in edges if inside(edge) and any(near in left for near in _near(edge, way))]
    return Walk(nodes, walked, frozenset(truncated))


def _near(edge: Edge, way: Way) -> tuple[int, ...]:
    """The ends from which the walk may take an event."""
    if way == "around":
        return edge[1], -edge[2]
    return (edge[1],) if edge[3] in _FROM_ARTIFACTS[way] else (-edge[2],)


def join(walks: Sequence[Walk], limits: Limits) -> Walk:
    """What any of the walks reached; the nearest where that is too much."""
    distances: dict[int, int] = {}
    for one in walks:
        for node, hops in one.nodes.items():
            distances[node] = min(hops, distances.get(node, hops))
    edges = {edge[0]: edge for one in walks for edge in one.edges}
    truncated = frozenset[str]().union(*(one.truncated for one in walks))
    if limits.nodes is not None and len(distances) > limits.nodes:
        distances = _nearest(distances, limits.nodes)
        edges = {key: edge for key, edge in edges.items() if edge[1] in distances and -edge[2] in distances}
        truncated |= {"max_nodes"}
    return Walk(distances, list(edges.values()), truncated)


def _nearest(distances: Mapping[int, int], count: int) -> dict[int, int]:
    order = sorted(distances, key=lambda node: (distances[node], abs(node), node))
    return {node: distances[node] for node in order[:count]}
