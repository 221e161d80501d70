"""Lineage as values, on every backend: directions, stops, limits, what is filled, and how many statements it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Association,
    Attribution,
    Context,
    ContextType,
    EndingNodes,
    Event,
    EventType,
    Execution,
    ExecutionType,
    LineageDirection,
    LineageSubgraph,
    LineageSubgraphQueryOptions,
    StartingNodes,
)
from lakecat.catalog.metadata_store.session import Session
from lakecat.catalog.metadata_store.subgraph import FIELDS
from lakecat.errors import InvalidValueError, UnknownNodeError

READS = (EventType.INPUT, EventType.DECLARED_INPUT, EventType.INTERNAL_INPUT)
WRITES = (EventType.OUTPUT, EventType.DECLARED_OUTPUT, EventType.INTERNAL_OUTPUT, EventType.PENDING_OUTPUT)
Node = tuple[str, int]
"""``a`` (an artifact) or ``e`` (an execution), and its number."""
Edge = tuple[int, int, EventType]
"""An event: numbers of artifact and execution, and its type."""


class Lab:
    """A store; the graphs put into it keep apart by a number in their nodes' names."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self.data = store.put_artifact_type(ArtifactType(name="Data"))
        self.train = store.put_execution_type(ExecutionType(name="Train"))
        self.run = store.put_context_type(ContextType(name="Run"))
        self._graphs = count()

    def put(self, artifacts: int, executions: int, edges: Sequence[Edge]) -> tuple[int, list[int], list[int]]:
        """The graph's number, the ids of its artifacts and of its executions."""
        graph = next(self._graphs)
        made, stored, _ = self.store.put_lineage_subgraph(
            [Execution(type_id=self.train, name=f"{graph}:{n}") for n in range(executions)],
            [Artifact(type_id=self.data, name=f"{graph}:{n}") for n in range(artifacts)],
            [],
            [(execution, artifact, Event(type=kind)) for artifact, execution, kind in edges],
        )
        return graph, list(stored), list(made)

    def chain(self, length: int) -> int:
        """``length`` executions, each with the one before's output as its input; the last one's output."""
        edges = [(n, n, EventType.INPUT) for n in range(length)] + [(n + 1, n, EventType.OUTPUT) for n in range(length)]
        return self.put(length + 1, length, edges)[1][-1]


@pytest.fixture
def lab(store: MetadataStore) -> Lab:
    return Lab(store)


@dataclass(frozen=True)
class Question:
    """What to ask of a random graph, and the graph."""

    artifacts: int
    executions: int
    edges: tuple[Edge, ...]
    starts: tuple[Node, ...]
    stops: frozenset[Node]
    included: bool
    direction: str
    hops: int | None


@st.composite
def questions(draw: st.DrawFn) -> Question:
    artifacts, executions = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    edge = st.tuples(st.integers(0, artifacts - 1), st.integers(0, executions - 1), st.sampled_from((*READS, *WRITES)))
    nodes = st.sampled_from([("a", n) for n in range(artifacts)] + [("e", n) for n in range(executions)])
    return Question(
        artifacts, executions,
        tuple(draw(st.frozensets(edge, max_size=22))),
        tuple(draw(st.lists(nodes, min_size=1, max_size=4))),  # the same one may be there twice
        draw(st.frozensets(nodes, max_size=2)), draw(st.booleans()),
        draw(st.sampled_from(("up", "down", "both", "around"))),
        draw(st.sampled_from((None, 0, 1, 2, 3, 7, 40))),
    )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    hops: dict[Node, int]
    edges: frozenset[Edge]
    truncated: frozenset[str]

    @property
    def nodes(self) -> frozenset[Node]:
        return frozenset(self.hops)


def leads_of(edges: Sequence[Edge], way: str) -> dict[Node, list[tuple[Node, Edge]]]:
    """What an event means: up it leads from an output to who wrote it, and from there to what that read."""
    leads: dict[Node, list[tuple[Node, Edge]]] = {}
    for edge in edges:
        artifact, execution, read = ("a", edge[0]), ("e", edge[1]), edge[2] in READS
        if way == "around" or (way == "up") == read:
            leads.setdefault(execution, []).append((artifact, edge))
        if way == "around" or (way == "down") == read:
            leads.setdefault(artifact, []).append((execution, edge))
    return leads


def search(asked: Question, way: str) -> Answer:
    """Breadth first."""
    leads = leads_of(asked.edges, way)
    hops, queue, over, cut = dict.fromkeys(asked.starts, 0), list(dict.fromkeys(asked.starts)), set[Edge](), set[str]()
    for node in queue:  # grows as it goes
        if node in asked.stops:
            continue
        for other, edge in leads.get(node, ()):
            hidden = other in asked.stops and not asked.included
            if asked.hops is not None and hops[node] == asked.hops:
                if other not in hops and not hidden:
                    cut.add("max_num_hops")
                continue
            over.add(edge)
            if other not in hops:
                hops[other] = hops[node] + 1
                queue.append(other)
    kept = {node: far for node, far in hops.items() if asked.included or node not in asked.stops}
    stopped = [other for node in kept if node in asked.stops for other, _ in leads.get(node, ())]
    if len(kept) < len(hops) or any(other not in kept for other in stopped):
        cut.add("ending_nodes")
    edges = {edge for edge in over if ("a", edge[0]) in kept and ("e", edge[1]) in kept}
    return Answer(kept, frozenset(edges), frozenset(cut))


def expect(asked: Question) -> Answer:
    if asked.direction != "both":
        return search(asked, asked.direction)
    up, down = search(asked, "up"), search(asked, "down")
    hops = {node: min(one.hops.get(node, 99) for one in (up, down)) for node in up.nodes | down.nodes}
    return Answer(hops, up.edges | down.edges, up.truncated | down.truncated)


def ask(lab: Lab, asked: Question, most: int | None = None) -> Answer:
    """The store's answer in the question's terms."""
    graph, artifact_ids, execution_ids = lab.put(asked.artifacts, asked.executions, asked.edges)
    ids = {("a", n): key for n, key in enumerate(artifact_ids)} | {("e", n): key for n, key in enumerate(execution_ids)}
    until = {
        kind: f"id IN ({', '.join(str(ids[node]) for node in asked.stops if node[0] == kind)})"
        for kind in {kind for kind, _ in asked.stops}
    }
    found = lab.store.lineage(
        artifact_ids=[ids[node] for node in asked.starts if node[0] == "a"],
        execution_ids=[ids[node] for node in asked.starts if node[0] == "e"],
        direction=asked.direction,  # type: ignore[arg-type]
        until_artifacts=until.get("a"),
        until_executions=until.get("e"),
        include_until=asked.included,
        max_num_hops=asked.hops,
        max_nodes=most,
    )
    return read(found, graph, artifact_ids, execution_ids)


def read(found: LineageSubgraph, graph: int, artifact_ids: list[int], execution_ids: list[int]) -> Answer:
    """A subgraph in the terms of a question; that nothing comes twice, and all in the order of its ids."""
    assert [a.id for a in found.artifacts] == sorted({a.id for a in found.artifacts if a.id is not None})
    assert [e.id for e in found.executions] == sorted({e.id for e in found.executions if e.id is not None})
    named = [("a", node.name) for node in found.artifacts] + [("e", node.name) for node in found.executions]
    nodes = []
    for kind, name in named:
        assert name is not None
        of_graph, _, number = name.partition(":")
        assert of_graph == str(graph)
        nodes.append((kind, int(number)))
    edges = [(artifact_ids.index(e.artifact_id or 0), execution_ids.index(e.execution_id or 0), e.type)
             for e in found.events]  # fmt: skip
    assert len(edges) == len(set(edges))
    return Answer(dict.fromkeys(nodes, 0), frozenset(edges), found.truncated)


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(asked=questions())
def test_lineage_is_what_a_search_in_python_finds(lab: Lab, asked: Question) -> None:
    found, expected = ask(lab, asked), expect(asked)
    assert (found.nodes, found.edges, found.truncated) == (expected.nodes, expected.edges, expected.truncated)


@SETTINGS
@given(asked=questions(), most=st.integers(1, 8))
def test_a_limit_of_nodes_cuts_exactly_where_there_are_more(lab: Lab, asked: Question, most: int) -> None:
    found, expected = ask(lab, asked, most), expect(asked)
    if len(expected.nodes) <= most:
        assert (found.nodes, found.edges, found.truncated) == (expected.nodes, expected.edges, expected.truncated)
        return
    assert "max_nodes" in found.truncated
    assert len(found.nodes) == most
    assert found.nodes < expected.nodes
    assert found.edges <= expected.edges
    nearest = min(expected.hops[node] for node in expected.nodes - found.nodes)
    assert max(expected.hops[node] for node in found.nodes) <= nearest


@SETTINGS
@given(asked=questions())
def test_a_subgraph_in_the_terms_of_ml_metadata_is_the_same_lineage(lab: Lab, asked: Question) -> None:
    directions = {
        "up": LineageDirection.UPSTREAM, "down": LineageDirection.DOWNSTREAM,
        "both": LineageDirection.BIDIRECTIONAL, "around": LineageDirection.DIRECTION_UNSPECIFIED,
    }  # fmt: skip
    around = replace(asked, direction="around") if asked.direction == "both" else asked
    graph, artifact_ids, execution_ids = lab.put(asked.artifacts, asked.executions, asked.edges)
    ids = {"a": artifact_ids, "e": execution_ids}

    def fitting(nodes: Sequence[Node], kind: str) -> str:
        return " OR ".join(f"id = {ids[kind][number]}" for mine, number in nodes if mine == kind)

    starts = {kind: StartingNodes(text) if (text := fitting(asked.starts, kind)) else None for kind in ids}
    stops = {
        kind: EndingNodes(text, asked.included) if (text := fitting(sorted(asked.stops), kind)) else None
        for kind in ids
    }
    options = LineageSubgraphQueryOptions(
        starting_artifacts=starts["a"],
        starting_executions=starts["e"],
        ending_artifacts=stops["a"],
        ending_executions=stops["e"],
        max_num_hops=asked.hops,
        direction=directions[asked.direction],
    )
    found = read(lab.store.get_lineage_subgraph(options), graph, artifact_ids, execution_ids)
    expected = expect(around)
    assert (found.nodes, found.edges, found.truncated) == (expected.nodes, expected.edges, expected.truncated)


def filled(lab: Lab) -> tuple[list[int], LineageSubgraph]:
    """An execution with an input and an output, all in a context; the artifacts, and the whole answer upstream."""
    _, artifacts, executions = lab.put(2, 1, [(0, 0, EventType.INPUT), (1, 0, EventType.OUTPUT)])
    contexts = lab.store.put_contexts([Context(type_id=lab.run, name=name) for name in ("one", "two")])
    lab.store.put_attributions_and_associations(
        [Attribution(artifacts[0], contexts[0]), Attribution(artifacts[1], contexts[1])],
        [Association(executions[0], contexts[0])],
    )
    return artifacts, lab.store.lineage(artifact_ids=artifacts[1:])


def test_every_part_of_a_subgraph_is_filled(lab: Lab) -> None:
    artifacts, whole = filled(lab)
    assert [a.id for a in whole.artifacts] == artifacts
    assert {a.type for a in whole.artifacts} == {"Data"}
    assert [(e.type, e.id) for e in whole.executions] == [("Train", whole.associations[0].execution_id)]
    assert [c.name for c in whole.contexts] == ["one", "two"]
    assert [t.name for t in (*whole.artifact_types, *whole.execution_types, *whole.context_types)] == [
        "Data", "Train", "Run",
    ]  # fmt: skip
    assert {(e.artifact_id, e.type) for e in whole.events} == {
        (artifacts[0], EventType.INPUT), (artifacts[1], EventType.OUTPUT),
    }  # fmt: skip
    assert {(a.artifact_id, a.context_id) for a in whole.attributions} == {
        (artifacts[0], whole.contexts[0].id), (artifacts[1], whole.contexts[1].id),
    }  # fmt: skip
    assert [a.context_id for a in whole.associations] == [whole.contexts[0].id]
    assert whole.truncated == frozenset()


def test_a_field_mask_fills_what_it_names_and_nothing_else(lab: Lab) -> None:
    artifacts, whole = filled(lab)
    options = LineageSubgraphQueryOptions(
        starting_artifacts=StartingNodes(f"id = {artifacts[1]}"), direction=LineageDirection.UPSTREAM
    )
    assert {f.name for f in fields(LineageSubgraph)} == {*FIELDS, "truncated"}
    for mask in (
        *[[name] for name in FIELDS],
        ["artifacts", "events"],
        ["context_types", "associations"],
        list(FIELDS),
    ):
        expected = replace(whole, **{name: () for name in FIELDS if name not in mask})
        assert lab.store.lineage(artifact_ids=artifacts[1:], fields=mask) == expected
        assert lab.store.get_lineage_subgraph(options, mask) == expected
    assert lab.store.lineage(artifact_ids=artifacts[1:], fields=[]) == whole
    assert lab.store.get_lineage_subgraph(options) == whole
    with pytest.raises(InvalidValueError) as refused:
        lab.store.lineage(artifact_ids=artifacts[1:], fields=["artifacts", "nothing"])
    assert refused.value.field == "fields"
    assert refused.value.value == "nothing"
    # ML Metadata takes what it does not know, and fills nothing for it.
    assert lab.store.get_lineage_subgraph(options, ["nothing"]) == LineageSubgraph()


def test_a_limit_that_cuts_is_told_however_little_is_filled(lab: Lab) -> None:
    last = lab.chain(3)
    found = lab.store.lineage(artifact_ids=[last], max_num_hops=2, fields=["artifact_types"])
    assert found.truncated == {"max_num_hops"}
    assert [t.name for t in found.artifact_types] == ["Data"]
    assert found.artifacts == ()


def test_starts_that_are_not_there_are_refused(lab: Lab) -> None:
    last = lab.chain(1)
    for starts in ({"artifact_ids": [last, 999_999]}, {"execution_ids": [999_999]}):
        with pytest.raises(UnknownNodeError) as refused:
            lab.store.lineage(**starts)  # type: ignore[arg-type]
        assert refused.value.value == 999_999
    assert lab.store.lineage() == LineageSubgraph()
    assert lab.store.lineage(artifacts="name = 'nobody'") == LineageSubgraph()
    for limit in ({"max_num_hops": -1}, {"max_nodes": 0}):
        with pytest.raises(InvalidValueError):
            lab.store.lineage(artifact_ids=[last], **limit)  # type: ignore[arg-type]


@contextmanager
def counted(store: MetadataStore) -> Iterator[list[int]]:
    """How many statements a block asks: those handed to the driver by a session, and SQLAlchemy's own."""
    statements = [0]
    asked_before = Session.ask_all

    def ask_all(session: Session, asked: Sequence[Any]) -> Any:
        statements[0] += len(asked)
        return asked_before(session, asked)

    def executed(*_: object) -> None:
        statements[0] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "ask_all", ask_all)
        sa.event.listen(store.database.engine, "before_cursor_execute", executed)
        try:
            yield statements
        finally:
            sa.event.remove(store.database.engine, "before_cursor_execute", executed)


def test_a_long_lineage_takes_no_more_statements_than_a_short_one(lab: Lab) -> None:
    asked: dict[str, list[int]] = {}
    for length in (20, 200):
        last = lab.chain(length)
        options = LineageSubgraphQueryOptions(starting_artifacts=StartingNodes(f"id = {last}"))
        ways: dict[str, Callable[[], LineageSubgraph]] = {
            "up": partial(lab.store.lineage, artifact_ids=[last]),
            "both": partial(lab.store.lineage, artifact_ids=[last], direction="both"),
            "stop": partial(lab.store.lineage, artifact_ids=[last], until_artifacts="id = 0"),
            "subgraph": partial(lab.store.get_lineage_subgraph, options),
        }
        for name, question in ways.items():
            with counted(lab.store) as statements:
                found = question()
            assert len(found.executions) == length
            assert not found.truncated
            asked.setdefault(name, []).append(statements[0])
    assert all(short == long for short, long in asked.values()), asked
    # The walk is a handful (on SQLite, where a statement is no round trip, the nearest hops are some more); then come
    # nodes, properties, types, contexts, events' paths: what is asked for all nodes at once.
    handful = 32 if lab.store.database.backend == "sqlite" else 20
    assert max(number for numbers in asked.values() for number in numbers) <= handful, asked


def test_a_walk_of_few_hops_takes_few_statements(lab: Lab) -> None:
    last = lab.chain(50)
    with counted(lab.store) as statements:
        found = lab.store.lineage(artifact_ids=[last], max_num_hops=2, fields=["events"])
    assert len(found.events) == 2
    assert found.truncated == {"max_num_hops"}
    # Whether the start is there, the walk, and the events' paths.
    assert statements[0] <= 6
