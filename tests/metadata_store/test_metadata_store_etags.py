"""Of those who change the same node at the same moment, each with its etag, one is done and the others are told."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Event,
    EventType,
    Execution,
    ExecutionType,
    PropertyType,
)
from lakecat.errors import InvalidValueError, StaleEtagError


def test_no_step_of_a_counter_is_lost(store: MetadataStore) -> None:
    """Each reads a number and puts the next one; without the etags two would put the same."""
    type_id = store.put_artifact_type(ArtifactType(name="Counter", properties={"n": PropertyType.INT}))
    (key,) = store.put_artifacts([Artifact(type_id=type_id, properties={"n": 0})])
    threads, steps = 4, 5
    errors: list[BaseException] = []

    def step() -> None:
        while True:
            (node,) = store.get_artifacts_by_id([key])
            number = node.properties["n"]
            assert isinstance(number, int)
            try:
                changed = replace(node, properties={"n": number + 1})
                store.put_artifacts([changed], if_match={key: store.etag(node)})
            except StaleEtagError:
                continue
            return

    def count() -> None:
        try:
            for _ in range(steps):
                step()
        except BaseException as err:  # noqa: BLE001 - told by the test, which a thread cannot fail
            errors.append(err)

    running = [threading.Thread(target=count) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not errors
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
