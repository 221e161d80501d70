"""Of those who change the same node at the same moment, each with its etag, one is done and the others are told."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Context,
    ContextType,
    Etags,
    Event,
    EventType,
    Execution,
    ExecutionType,
    PropertyType,
)
from lakecat.errors import InvalidValueError, StaleEtagError, UnknownNodeError

Put = Callable[[MetadataStore, Artifact, str], object]


def alone(store: MetadataStore, changed: Artifact, etag: str) -> object:
    assert changed.id is not None
    return store.put_artifacts([changed], if_match={changed.id: etag})


def in_a_graph(store: MetadataStore, changed: Artifact, etag: str) -> object:
    assert changed.id is not None
    return store.put_lineage_subgraph([], [changed], [], [], if_match={"artifacts": {changed.id: etag}})


@pytest.mark.parametrize("put", [alone, in_a_graph])
def test_no_step_of_a_counter_is_lost(store: MetadataStore, put: Put) -> None:
    """Each reads a number and puts the next one; without the etags two would put the same."""
    type_id = store.put_artifact_type(ArtifactType(name="Counter", properties={"n": PropertyType.INT}))
    (key,) = store.put_artifacts([Artifact(type_id=type_id, properties={"n": 0})])
    threads, steps = 4, 5

    def step() -> None:
        while True:
            (node,) = store.get_artifacts_by_id([key])
            number = node.properties["n"]
            assert isinstance(number, int)
            try:
                put(store, replace(node, properties={"n": number + 1}), store.etag(node))
            except StaleEtagError:
                continue
            return

    def count(_thread: int) -> None:
        for _ in range(steps):
            step()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(count, range(threads)))
    assert store.get_artifacts_by_id([key])[0].properties == {"n": threads * steps}


def test_an_execution_is_guarded_with_all_around_it(store: MetadataStore) -> None:
    train = store.put_execution_type(ExecutionType(name="Train"))
    data = store.put_artifact_type(ArtifactType(name="Data"))
    (key,) = store.put_executions([Execution(type_id=train, name="e", custom_properties={"round": 1})])
    (read,) = store.get_executions_by_id([key])
    store.put_executions([replace(read, custom_properties={"round": 2})])
    output = [(Artifact(type_id=data, name="out"), Event(type=EventType.OUTPUT))]
    with pytest.raises(StaleEtagError) as caught:
        store.put_execution(read, output, if_match=store.etag(read))
    assert (caught.value.field, caught.value.value) == ("if_match", store.etag(read))
    assert store.get_artifacts() == []
    (now,) = store.get_executions_by_id([key])
    assert now.custom_properties == {"round": 2}
    store.put_execution(now, output, if_match=store.etag(now))
    assert [event.execution_id for event in store.get_events_by_execution_ids([key])] == [key]
    with pytest.raises(InvalidValueError):
        store.put_execution(Execution(type_id=train), [], if_match="x")


@dataclass(frozen=True)
class Graph:
    """A stored node of each kind, as it was read."""

    execution: Execution
    artifact: Artifact
    context: Context

    def etags(self) -> Etags:
        nodes = (("executions", self.execution), ("artifacts", self.artifact), ("contexts", self.context))
        return {name: {node.id: MetadataStore.etag(node)} for name, node in nodes}  # type: ignore[return-value,misc]


def read(store: MetadataStore) -> Graph:
    return Graph(store.get_executions()[0], store.get_artifacts()[0], store.get_contexts()[0])


@pytest.fixture
def graph(store: MetadataStore) -> Graph:
    train = store.put_execution_type(ExecutionType(name="Train"))
    data = store.put_artifact_type(ArtifactType(name="Data"))
    run = store.put_context_type(ContextType(name="Run"))
    store.put_executions([Execution(type_id=train, name="e")])
    store.put_artifacts([Artifact(type_id=data, name="a", uri="first")])
    store.put_contexts([Context(type_id=run, name="c")])
    return read(store)


def put_around(store: MetadataStore, graph: Graph, etags: Any) -> None:
    """A new artifact beside the stored nodes, which get a property each."""
    marked: dict[str, Any] = {"custom_properties": {"mine": 1}}
    store.put_lineage_subgraph(
        [replace(graph.execution, **marked)],
        [replace(graph.artifact, **marked), Artifact(type_id=graph.artifact.type_id, name="new")],
        [replace(graph.context, **marked)],
        [(0, 1, Event(type=EventType.OUTPUT))],
        if_match=etags,
    )


CHANGES: dict[str, Callable[[MetadataStore, Graph], object]] = {
    "executions": lambda store, g: store.put_executions([replace(g.execution, external_id="theirs")]),
    "artifacts": lambda store, g: store.put_artifacts([replace(g.artifact, uri="theirs")]),
    "contexts": lambda store, g: store.put_contexts([replace(g.context, custom_properties={"by": "them"})]),
}


@pytest.mark.parametrize("changed", sorted(CHANGES))
def test_a_graph_is_put_whole_or_not_at_all_when_one_of_its_nodes_was_changed(
    store: MetadataStore, graph: Graph, changed: str
) -> None:
    CHANGES[changed](store, graph)
    now = read(store)
    with pytest.raises(StaleEtagError) as caught:
        put_around(store, graph, graph.etags())
    assert caught.value.field == "if_match"
    assert caught.value.value in graph.etags()[changed].values()  # type: ignore[literal-required]
    assert (read(store), len(store.get_artifacts())) == (now, 1)
    put_around(store, now, now.etags())
    assert len(store.get_artifacts()) == 2
    mine = read(store)
    for node in (mine.execution, mine.artifact, mine.context):
        assert node.custom_properties["mine"] == 1


def test_nodes_that_are_not_put_guard_a_graph_too(store: MetadataStore, graph: Graph) -> None:
    fresh = [Artifact(type_id=graph.artifact.type_id, name="new")]
    CHANGES["contexts"](store, graph)
    with pytest.raises(StaleEtagError):
        store.put_lineage_subgraph([], fresh, [], [], if_match=graph.etags())
    assert len(store.get_artifacts()) == 1
    store.put_lineage_subgraph([], fresh, [], [], if_match=read(store).etags())
    assert len(store.get_artifacts()) == 2


def test_what_a_graph_cannot_be_guarded_by_is_refused(store: MetadataStore, graph: Graph) -> None:
    missing = (graph.context.id or 0) + 1
    with pytest.raises(UnknownNodeError) as caught:
        put_around(store, graph, {"contexts": {missing: "x"}})
    assert (caught.value.field, caught.value.value) == ("if_match", missing)
    with pytest.raises(InvalidValueError) as refused:
        put_around(store, graph, {"context": {graph.context.id: "x"}})
    assert (refused.value.field, refused.value.value) == ("if_match", "context")
    assert len(store.get_artifacts()) == 1
    put_around(store, graph, {"contexts": {}})
    assert len(store.get_artifacts()) == 2
