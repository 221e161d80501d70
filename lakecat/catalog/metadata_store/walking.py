"""Walking the lineage inside the database: which artifacts and executions are reached, how far away, over which events.

One recursion over events reaches any depth. In it a node is one number: an artifact its id, an execution its id
negated; so each node is expanded once, however many paths lead to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS
from lakecat.catalog.metadata_store import ids as id_lists
from lakecat.catalog.metadata_store.session import IDS, Query, Session, one_of

Way: TypeAlias = Literal["up", "down", "around"]
"""``around`` follows every event of every node, up and down by turns."""

NEAR_HOPS: Final = 8
"""So many hops SQLite is asked for one by one; then for the rest by one recursion, unless many nodes are near."""
WIDE: Final = 8
"""From so many nodes on, SQLite is asked for the next hop alone, also farther away."""
LEVELS: Final = 32
"""After so many hops SQLite is asked for the rest by one recursion."""
_LIMITED_LEVELS: Final = 1_000
"""The same where the walk is limited, so that a small part of a long lineage can be had without the whole."""
COUNTED_HOPS: Final = 32
"""On servers, up to this many hops the recursion counts them, and may pass a node once for each distance; beyond it
walks to the end, passing each node once, and distances are counted from the events."""
_HOPS: Final = "most_hops"
_ZERO: Final = sa.literal_column("0", sa.BigInteger)
_FEW_HOPS: Final = 16
"""So far a walk goes first that is limited by the number of nodes only."""

INPUTS: Final = sorted(map(int, INPUT_EVENTS))
OUTPUTS: Final = sorted(map(int, OUTPUT_EVENTS))
_FROM_ARTIFACTS: Final[Mapping[Way, list[int]]] = {"up": OUTPUTS, "down": INPUTS, "around": INPUTS + OUTPUTS}
_FROM_EXECUTIONS: Final[Mapping[Way, list[int]]] = {"up": INPUTS, "down": OUTPUTS, "around": INPUTS + OUTPUTS}


def _is_one_of(column: sa.ColumnElement[int], types: list[int], backend: str) -> sa.ColumnElement[bool]:
    """Whether an event's type is one of these.

    SQLite would look an execution up once for each of the types; it has few events of the others, so once is better.
    """
    column = column + _ZERO if backend == "sqlite" else column
    return column.in_([sa.literal_column(str(kind)) for kind in types])


def _events(key: sa.Column[int], types: list[int]) -> Query:
    c = s.event.c
    columns = (c.id, c.artifact_id, c.execution_id, c.type, c.milliseconds_since_epoch)
    return Query(
        lambda backend: sa.select(*columns).where(one_of(key, backend), _is_one_of(c.type, types, backend)),
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


@dataclass(slots=True)
class _Reached:
    """How far a walk has come: nodes with their hops, and which of them are ends (and part of what is found).

    ``edges`` has the events that lead on from every node with fewer than ``expanded`` hops that is no end.
    ``level`` are the nodes from which it is still to go on; empty when it is over.
    """

    nodes: dict[int, int]
    edges: list[Edge]
    ends: dict[int, bool]
    expanded: int
    level: Sequence[int]

    def kept(self) -> int:
        """How many nodes are part of what is found."""
        return len(self.nodes) - sum(not included for included in self.ends.values())


def walk(session: Session, starts: Collection[int], way: Way, limits: Limits) -> Walk:
    """Everything that is reached from the nodes ``starts``, nearest first where ``limits.nodes`` cuts."""
    if not starts:
        return Walk({}, [], frozenset())
    if session.backend == "sqlite":
        reached = _by_levels(session, starts, way, limits)
    else:
        reached = _counted(session, starts, way, limits) or _Reached(dict.fromkeys(starts, 0), [], {}, 0, list(starts))
    if reached.level:
        _to_the_end(session, starts, reached, way, limits)
    if limits.cut:
        return _cut(session, reached, way, limits)
    return Walk(reached.nodes, _each_once(reached.edges, way), frozenset())


def reach(session: Session, starts: Collection[int], way: Way) -> frozenset[int]:
    """Every node that is reached from ``starts``; without the events that lead there, which are more than the nodes."""
    return frozenset(_recursion(session, starts, way, Limits(), None)) if starts else frozenset()


def _by_levels(session: Session, starts: Collection[int], way: Way, limits: Limits) -> _Reached:
    """The nearest nodes, asked for hop by hop; one hop further than ``limits`` lets it, to know what they cut.

    SQLite answers without a round trip, and needs half the time of a recursion, which keeps its own account of what
    it has seen and has to be asked for the events afterwards.
    """
    ends = _ends(session.connection, starts, limits)
    reached = _Reached(dict.fromkeys(starts, 0), [], ends, 0, sorted(set(starts)))
    while _goes_by_levels(reached, limits):
        onwards = [node for node in reached.level if node not in ends] if ends else reached.level
        edges, ahead = _hop_on(session, onwards, way)
        reached.edges += edges
        reached.level = sorted(node for node in ahead if node not in reached.nodes)
        reached.expanded += 1
        reached.nodes.update(dict.fromkeys(reached.level, reached.expanded))
        ends.update(_ends(session.connection, reached.level, limits))
    if _is_enough(reached, limits):
        reached.level = ()
    return reached


def _goes_by_levels(reached: _Reached, limits: Limits) -> bool:
    """Whether the next hop is worth a question of its own."""
    if not reached.level or _is_enough(reached, limits):
        return False
    if limits.hops is not None or limits.nodes is not None:
        return reached.expanded < _LIMITED_LEVELS
    return reached.expanded < NEAR_HOPS or (reached.expanded < LEVELS and len(reached.level) >= WIDE)


def _is_enough(reached: _Reached, limits: Limits) -> bool:
    """Whether the walk has come one hop too far, or to too many nodes."""
    beyond = limits.hops is not None and reached.expanded > limits.hops
    return beyond or (limits.nodes is not None and reached.kept() > limits.nodes)


def _counted(session: Session, starts: Collection[int], way: Way, limits: Limits) -> _Reached | None:
    """A walk of few hops, by a recursion that counts them; None where it has to go further."""
    hops = _FEW_HOPS if limits.hops is None and limits.nodes is not None else limits.hops
    if hops is None or hops > COUNTED_HOPS:
        return None
    found = _recursion(session, starts, way, limits, hops)
    reached = _Reached(found, [], _ends(session.connection, found, limits), 0, ())
    if limits.hops is None and max(found.values()) > _FEW_HOPS and not _is_enough(reached, limits):
        return None
    return reached


def _to_the_end(session: Session, starts: Collection[int], reached: _Reached, way: Way, limits: Limits) -> None:
    """The rest of a walk, however long, by one recursion; what limits cut is known afterwards."""
    level = set(reached.level)
    found = _recursion(session, level, way, limits, None)
    fresh = [node for node in found if node in level or node not in reached.nodes]
    reached.ends.update(_ends(session.connection, fresh, limits))
    reached.edges += _hop_on(session, [node for node in fresh if node not in reached.ends], way)[0]
    reached.level, reached.expanded = (), len(reached.nodes) + len(fresh)
    if limits.hops is not None or limits.nodes is not None:
        reached.nodes = _distances(starts, reached.edges, way, reached.ends)
    else:
        reached.nodes.update(dict.fromkeys(fresh, 0))


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
    steps = [_hop(backend, seen, way, limits, artifacts=artifacts) for artifacts in (True, False)]
    if backend == "postgresql":  # PostgreSQL lets a recursion refer to itself only once
        onwards = sa.union_all(*(step.correlate(seen) for step in steps)).lateral("onwards")
        steps = [sa.select(onwards.c.node).select_from(seen.join(onwards, sa.true()))]
    if counted:
        most = sa.bindparam(_HOPS, type_=sa.BigInteger())
        steps = [step.add_columns(seen.c.hops + sa.literal_column("1")).where(seen.c.hops <= most) for step in steps]
    seen = seen.union(*steps)
    if not counted:
        return sa.select(seen.c.node)
    return sa.select(seen.c.node, sa.func.min(seen.c.hops)).group_by(seen.c.node)


def _hop(backend: str, seen: sa.CTE, way: Way, limits: Limits, *, artifacts: bool) -> sa.Select[Any]:
    """One hop from artifacts to executions, or from executions to artifacts."""
    lateral = backend == "postgresql"
    event = s.event.alias()
    near: sa.ColumnElement[int] = event.c.artifact_id if artifacts else event.c.execution_id
    far: sa.ColumnElement[int] = -event.c.execution_id if artifacts else event.c.artifact_id
    # An expression, so that SQLite looks the events up by it, and does not read all events to look them up here.
    key = seen.c.node + _ZERO if artifacts else -seen.c.node
    types = _FROM_ARTIFACTS[way] if artifacts else _FROM_EXECUTIONS[way]
    mine = seen.c.node > _ZERO if artifacts else seen.c.node < _ZERO
    query = sa.select(far.label("node")).where(mine, _is_one_of(event.c.type, types, backend))
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
    if limits.artifacts is None and limits.executions is None:
        return ends
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


def _hop_on(session: Session, nodes: Sequence[int], way: Way) -> tuple[list[Edge], set[int]]:
    """The events that lead on from these nodes, and where to. ``around`` has those between two of them twice."""
    artifacts, executions = [node for node in nodes if node > 0], [-node for node in nodes if node < 0]
    asked = [(_EVENTS_OF_ARTIFACTS[way], {IDS: artifacts})] if artifacts else []
    asked += [(_EVENTS_OF_EXECUTIONS[way], {IDS: executions})] if executions else []
    answers: list[Any] = session.ask_all(asked)
    ahead = {-edge[2] for edge in answers[0]} if artifacts else set()
    if executions:
        ahead |= {edge[1] for edge in answers[-1]}
    return list(chain.from_iterable(answers)), ahead


def _each_once(edges: Sequence[Edge], way: Way) -> Sequence[Edge]:
    # Up or down, an event leads on from one of its ends only.
    return list({edge[0]: edge for edge in edges}.values()) if way == "around" else edges


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


def _cut(session: Session, reached: _Reached, way: Way, limits: Limits) -> Walk:
    """What lies within the limits, and which of them left something out."""
    truncated = set()
    nodes: dict[int, int] = {}
    left_out: list[int] = []
    for node, hops in reached.nodes.items():
        beyond, included = limits.hops is not None and hops > limits.hops, reached.ends.get(node, True)
        if included and not beyond:
            nodes[node] = hops
        elif included:
            truncated.add("max_num_hops")
        elif not beyond:
            left_out.append(hops)
    if limits.nodes is not None and len(nodes) > limits.nodes:
        nodes = _nearest(nodes, limits.nodes)
        # What the other limits would cut farther away is not asked for.
        farthest = max(nodes.values())
        truncated = {"max_nodes"} | {"ending_nodes" for hops in left_out if hops <= farthest}
    elif left_out or _leads_out(session, [node for node in nodes if node in reached.ends], nodes, way):
        truncated.add("ending_nodes")

    # An event counts where the walk took it, not where both its ends happen to be found.
    left = {n for n, hops in nodes.items() if n not in reached.ends and (limits.hops is None or hops < limits.hops)}
    more, _ = _hop_on(session, [node for node in left if nodes[node] >= reached.expanded], way)
    walked = [
        edge
        for edge in (*reached.edges, *more)
        if edge[1] in nodes and -edge[2] in nodes and any(near in left for near in _near(edge, way))
    ]
    return Walk(nodes, _each_once(walked, way), frozenset(truncated))


def _leads_out(session: Session, ends: Sequence[int], nodes: Mapping[int, int], way: Way) -> bool:
    """Whether the walk would go on from one of these ends to a node that is not found."""
    _, ahead = _hop_on(session, ends, way)
    return not ahead <= nodes.keys()


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
