"""The walk in the database against a breadth-first search in Python, on random graphs with cycles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.catalog import MetadataStore
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.metadata_store import walking
from lakecat.catalog.metadata_store.filters import prepare
from lakecat.catalog.metadata_store.kinds import KINDS
from lakecat.catalog.metadata_store.session import Session
from lakecat.catalog.metadata_store.walking import COUNTED_HOPS, Limits, Way, reach, walk

READS, WRITES = (2, 3, 5), (1, 4, 6, 7)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Graph:
    """Artifacts 0..a-1 and executions 0..e-1; ``events`` join them: (artifact, execution, type)."""

    artifacts: int
    executions: int
    events: frozenset[tuple[int, int, int]]
    starts: frozenset[int] = field(default_factory=frozenset)
    """Numbers: artifact n is n + 1, execution n is -n - 1."""


@dataclass(frozen=True)
class Expected:
    nodes: frozenset[int]
    events: frozenset[tuple[int, int, int]]
    distances: dict[int, int]
    cut: frozenset[str]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    artifacts, executions = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    event = st.tuples(
        st.integers(0, artifacts - 1), st.integers(0, executions - 1), st.sampled_from((*READS, *WRITES, 0))
    )
    nodes = [*range(1, artifacts + 1), *range(-executions, 0)]
    return Graph(
        artifacts, executions, draw(st.frozensets(event, max_size=24)),
        draw(st.frozensets(st.sampled_from(nodes), min_size=1, max_size=3)),
    )  # fmt: skip


def search(graph: Graph, way: Way, ends: frozenset[int], included: bool, hops: int | None) -> Expected:
    """Breadth first, from the definition: an event leads from a node that is near to the other end."""
    leads: list[tuple[int, int, tuple[int, int, int]]] = []
    for artifact, execution, kind in graph.events:
        a, e, event = artifact + 1, -execution - 1, (artifact, execution, kind)
        if kind in READS:
            leads += [(e, a, event)] if way in ("up", "around") else []
            leads += [(a, e, event)] if way in ("down", "around") else []
        elif kind in WRITES:
            leads += [(a, e, event)] if way in ("up", "around") else []
            leads += [(e, a, event)] if way in ("down", "around") else []
    distances = dict.fromkeys(graph.starts, 0)
    level = set(graph.starts)
    while level:
        ahead = {far for near, far, _ in leads if near in level and near not in ends} - distances.keys()
        distances |= {node: 1 + max(distances[node] for node in level) for node in ahead}
        level = ahead
    cut = set()
    nodes = {n for n in distances if included or n not in ends}
    if any(hops is None or distances[n] <= hops for n in distances.keys() - nodes):
        cut.add("ending_nodes")
    if hops is not None and any(distances[n] > hops for n in nodes):
        cut.add("max_num_hops")
    nodes = {n for n in nodes if hops is None or distances[n] <= hops}
    if any(near in ends and near in nodes and far not in nodes for near, far, _ in leads):
        cut.add("ending_nodes")
    events = {
        event
        for near, far, event in leads
        if near in nodes and far in nodes and near not in ends and (hops is None or distances[near] < hops)
    }
    return Expected(frozenset(nodes), frozenset(events), distances, frozenset(cut))


class Store:
    """One database in which each graph has ids of its own."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._next = count(1000, 100)
        with database.reading() as connection:
            rows = connection.execute(sa.select(s.type_.c.type_kind, sa.func.min(s.type_.c.id)).group_by("type_kind"))
            self._types = {TypeKind(kind): key for kind, key in rows}

    def put(self, graph: Graph) -> int:
        base = next(self._next)

        def work(connection: sa.Connection) -> None:
            artifact = {"type_id": self._types[TypeKind.ARTIFACT]}
            connection.execute(
                sa.insert(s.artifact), [{**artifact, "id": base + n, "uri": f"u{n}"} for n in range(graph.artifacts)]
            )
            execution = {"type_id": self._types[TypeKind.EXECUTION]}
            connection.execute(sa.insert(s.execution), [{**execution, "id": base + n} for n in range(graph.executions)])
            if graph.events:
                keys = ("artifact_id", "execution_id", "type")
                rows = [dict(zip(keys, (base + a, base + e, t), strict=True)) for a, e, t in graph.events]
                connection.execute(sa.insert(s.event), rows)

        self.database.write(work)
        return base

    def walk(
        self, base: int, graph: Graph, way: Way, ends: frozenset[int], included: bool, hops: int | None,
        nodes: int | None = None,
    ) -> tuple[set[int], set[tuple[int, int, int]], frozenset[str]]:  # fmt: skip
        def number(node: int) -> int:
            return base + node - 1 if node > 0 else -(base - node - 1)

        def back(node: int) -> int:
            return node - base + 1 if node > 0 else -(-node - base) - 1

        backend = self.database.backend
        filters = {}
        for kind, sign in (("artifact", 1), ("execution", -1)):
            ids = [abs(number(n)) for n in ends if n * sign > 0]
            if ids:
                filters[kind] = prepare(BY_NAME[kind], f"id IN ({', '.join(map(str, ids))})", backend, prefix=kind)
        limits = Limits(
            artifacts=filters["artifact"].condition if "artifact" in filters else None,
            executions=filters["execution"].condition if "execution" in filters else None,
            include_artifacts=included,
            include_executions=included,
            parameters={k: v for one in filters.values() for k, v in one.parameters.items()},
            hops=hops,
            nodes=nodes,
        )
        with self.database.reading() as connection:
            found = walk(Session(connection), {number(n) for n in graph.starts}, way, limits)
        events = {(artifact - base, execution - base, kind) for _, artifact, execution, kind, _ in found.edges}
        assert len(events) == len(found.edges)
        return {back(node) for node in found.nodes}, events, found.truncated


@pytest.fixture
def lab(store: MetadataStore) -> Store:
    return Store(store.database)


def ends_of(graph: Graph) -> st.SearchStrategy[frozenset[int]]:
    nodes = [*range(1, graph.artifacts + 1), *range(-graph.executions, 0)]
    return st.frozensets(st.sampled_from(nodes), max_size=3)


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def turning(at: int | None) -> Iterator[None]:
    """Let a walk change its way of asking after so many hops, so that small graphs take all ways; None: as it is."""
    with pytest.MonkeyPatch.context() as patch:
        if at is not None:
            for name, value in (
                ("NEAR_HOPS", at), ("WIDE", 2), ("LEVELS", at + 1), ("_LIMITED_LEVELS", at), ("COUNTED_HOPS", at),
                ("_FEW_HOPS", at),
            ):  # fmt: skip
                assert hasattr(walking, name)
                patch.setattr(walking, name, value)
        yield


WAYS: st.SearchStrategy[Way] = st.sampled_from(("up", "down", "around"))
TURNS = st.sampled_from((None, 0, 1, 2))


@SETTINGS
@given(data=st.data())
def test_walk_finds_what_a_search_in_python_finds(lab: Store, data: st.DataObject) -> None:
    graph, way = data.draw(graphs()), data.draw(WAYS)
    ends, included = data.draw(ends_of(graph)), data.draw(st.booleans())
    hops = data.draw(st.sampled_from((None, 0, 1, 2, 3, 5, COUNTED_HOPS, COUNTED_HOPS + 1)))
    expected = search(graph, way, ends, included, hops)
    base = lab.put(graph)
    with turning(data.draw(TURNS)):
        nodes, events, cut = lab.walk(base, graph, way, ends, included, hops)
    assert (nodes, events, cut) == (expected.nodes, expected.events, expected.cut)


@SETTINGS
@given(data=st.data())
def test_a_limit_of_nodes_keeps_the_nearest_and_says_that_it_cut(lab: Store, data: st.DataObject) -> None:
    graph, way = data.draw(graphs()), data.draw(WAYS)
    ends, included = data.draw(ends_of(graph)), data.draw(st.booleans())
    hops = data.draw(st.sampled_from((None, 2, COUNTED_HOPS + 1)))
    most = data.draw(st.integers(1, 8))
    expected = search(graph, way, ends, included, hops)
    base = lab.put(graph)
    with turning(data.draw(TURNS)):
        nodes, events, cut = lab.walk(base, graph, way, ends, included, hops, most)
    if len(expected.nodes) <= most:
        assert (nodes, events, cut) == (expected.nodes, expected.events, expected.cut)
        return
    far = expected.distances
    assert nodes == set(sorted(expected.nodes, key=lambda node: (far[node], abs(node), node))[:most])
    farthest = max(far[node] for node in nodes)
    left_out = not included and any(node in ends and far[node] <= farthest for node in far)
    assert cut == {"max_nodes", *(["ending_nodes"] if left_out else [])}
    within = {event for event in expected.events if {event[0] + 1, -event[1] - 1} <= nodes}
    assert events == within


@SETTINGS
@given(data=st.data())
def test_a_start_that_is_given_twice_counts_once(lab: Store, data: st.DataObject) -> None:
    graph, way = data.draw(graphs()), data.draw(WAYS)
    base = lab.put(graph)
    starts = [base + node - 1 if node > 0 else -(base - node - 1) for node in graph.starts]
    limits = Limits(hops=data.draw(st.sampled_from((None, 2))), nodes=data.draw(st.sampled_from((None, 4))))
    with turning(data.draw(TURNS)), lab.database.reading() as connection:
        session = Session(connection)
        once, twice = walk(session, starts, way, limits), walk(session, [*starts, *starts], way, limits)
    assert (once.nodes, once.truncated) == (twice.nodes, twice.truncated)
    assert sorted(once.edges) == sorted(twice.edges)


@SETTINGS
@given(data=st.data())
def test_what_is_reached_is_what_is_walked_to(lab: Store, data: st.DataObject) -> None:
    graph, way = data.draw(graphs()), data.draw(WAYS)
    base = lab.put(graph)
    with lab.database.reading() as connection:
        session = Session(connection)
        found = reach(session, {base + node - 1 if node > 0 else -(base - node - 1) for node in graph.starts}, way)
        assert reach(session, (), way) == frozenset()
    expected = search(graph, way, frozenset(), included=True, hops=None)
    assert {node - base + 1 if node > 0 else -(-node - base) - 1 for node in found} == expected.nodes


def test_an_artifact_that_is_input_and_output_of_one_execution_ends_the_walk(lab: Store) -> None:
    graph = Graph(1, 1, frozenset({(0, 0, 3), (0, 0, 4)}), frozenset({1}))
    base = lab.put(graph)
    for hops in (None, 2, 1000):
        nodes, events, cut = lab.walk(base, graph, "up", frozenset(), True, hops)
        assert nodes == {1, -1}
        assert events == {(0, 0, 3), (0, 0, 4)}
        assert not cut


def test_a_chain_longer_than_any_recursion_limit_is_walked_to_its_end(lab: Store) -> None:
    length = 1500  # servers stop recursions after 1,000 steps by default
    events = {(n, n, 3) for n in range(length)} | {(n + 1, n, 4) for n in range(length)}
    graph = Graph(length + 1, length, frozenset(events), frozenset({length + 1}))
    base = lab.put(graph)
    nodes, found, cut = lab.walk(base, graph, "up", frozenset(), True, None)
    assert len(nodes) == 2 * length + 1
    assert found == events
    assert not cut
    near, _, cut = lab.walk(base, graph, "up", frozenset(), True, None, 10)
    assert near == {length + 1 - n for n in range(5)} | {-length + n for n in range(5)}
    assert cut == {"max_nodes"}
