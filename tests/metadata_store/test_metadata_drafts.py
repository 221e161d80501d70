"""Values made in bulk are those that the constructors make; and what making them asks of the garbage collector."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactState,
    ArtifactType,
    Context,
    ContextType,
    Event,
    EventType,
    Execution,
    ExecutionState,
    ExecutionType,
    PropertyType,
)
from lakecat.catalog.metadata_store.drafts import making


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Any, Any]]:
    """What a store returned, and the same by the constructor, with the times and ids that the store gave."""
    with MetadataStore.in_memory() as store:
        kinds = {"n": PropertyType.INT}
        data = store.put_artifact_type(ArtifactType(name="Data", properties=kinds))
        train = store.put_execution_type(ExecutionType(name="Train"))
        run = store.put_context_type(ContextType(name="Run"))
        artifact = Artifact(
            type_id=data, name="a", uri="file:///a", external_id="x", properties={"n": 1}, state=ArtifactState.LIVE,
            custom_properties={"text": "t"},
        )  # fmt: skip
        execution = Execution(type_id=train, name="e", last_known_state=ExecutionState.RUNNING)
        context = Context(type_id=run, name="c", custom_properties={"n": 2.5})
        store.put_artifacts([artifact])
        store.put_executions([execution])
        store.put_contexts([context])
        event = Event(type=EventType.INPUT, artifact_id=1, execution_id=1, path=("k", 3), milliseconds_since_epoch=7)
        store.put_events([event])
        found: list[tuple[Any, str, Any]] = [
            (store.get_artifacts()[0], "Data", artifact),
            (store.get_executions()[0], "Train", execution),
            (store.get_contexts()[0], "Run", context),
        ]
        (event_found,) = store.get_events_by_artifact_ids([1])
    made = [
        (
            one,
            replace(
                put, id=1, type=name, create_time_since_epoch=one.create_time_since_epoch,
                last_update_time_since_epoch=one.last_update_time_since_epoch,
            ),
        )
        for one, name, put in found
    ]  # fmt: skip
    return [*made, (event_found, event)]


def test_what_is_read_is_what_the_constructor_makes(pairs: list[tuple[Any, Any]]) -> None:
    for found, made in pairs:
        assert type(found) is type(made)
        assert found == made
        assert repr(found) == repr(made)
        assert pickle.loads(pickle.dumps(found)) == made
        assert copy.deepcopy(found) == made
        assert not hasattr(found, "__dict__")
    event, made = pairs[-1]
    assert hash(event) == hash(made)


def test_what_is_read_cannot_be_changed(pairs: list[tuple[Any, Any]]) -> None:
    for found, _ in pairs:
        name = "type" if isinstance(found, Event) else "name"
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, "other")
        with pytest.raises(FrozenInstanceError):
            delattr(found, name)


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector on, and as it was afterwards."""
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


@pytest.mark.usefixtures("collector")
def test_the_collector_rests_while_many_values_are_made_and_only_then() -> None:
    with making(10):
        assert gc.isenabled()
    with making(100_000):
        assert not gc.isenabled()
        with making(100_000):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), making(100_000):
        _ = 1 / 0
    assert gc.isenabled()


@pytest.mark.usefixtures("collector")
def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with making(100_000):
        pass
    assert not gc.isenabled()


@pytest.mark.usefixtures("collector")
def test_the_collector_rests_until_the_last_of_several_threads_is_done() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with making(100_000):
            inside.set()
            leave.wait(30)

    with making(100_000):
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(30)
    assert not gc.isenabled()
    leave.set()
    thread.join(30)
    assert gc.isenabled()
