"""Several programs that put the same things at the same moment: each is done or told, and nothing is half or twice.

Each has a store of its own, with connections and a memory of types of its own, as a process has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
from mlmd_lab import make_database
from sqlalchemy.engine import URL

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Context,
    ContextType,
    Event,
    EventType,
    Execution,
    ExecutionType,
    PropertyType,
)
from lakecat.errors import LakecatError, NameTakenError, UnknownTypeError

T = TypeVar("T")
MANY = 6


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[MetadataStore]]:
    """Several stores on one database."""
    url = URL.create("sqlite", database=str(tmp_path / "catalog.db"))
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    opened = [MetadataStore.open(url, create=True) for _ in range(MANY)]
    yield opened
    for store in opened:
        store.close()


def at_once(stores: list[MetadataStore], work: Callable[[MetadataStore, int], T]) -> list[T | LakecatError]:
    """What each store answers, when all are asked in the same moment."""
    gate = Barrier(len(stores))

    def one(number: int) -> T | LakecatError:
        gate.wait()
        try:
            return work(stores[number], number)
        except LakecatError as err:
            return err

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(one, range(len(stores))))


def test_a_new_type_is_made_once_and_gets_everybodys_properties(stores: list[MetadataStore]) -> None:
    def put(store: MetadataStore, number: int) -> int:
        value = ArtifactType(name="Grown", properties={f"p{number}": PropertyType.INT, "all": PropertyType.STRING})
        return store.put_artifact_type(value, can_add_fields=True, can_omit_fields=True)

    ids = at_once(stores, put)
    assert len(set(ids)) == 1
    (found,) = [one for one in stores[0].get_artifact_types() if one.name == "Grown"]
    assert found.id == ids[0]
    assert found.properties == {f"p{n}": PropertyType.INT for n in range(MANY)} | {"all": PropertyType.STRING}


def test_a_property_that_somebody_else_added_can_be_put_at_once(stores: list[MetadataStore]) -> None:
    first, other = stores[:2]
    type_id = first.put_artifact_type(ArtifactType(name="T", properties={"a": PropertyType.INT}))
    for store in (first, other):
        store.put_artifacts([Artifact(type_id=type_id, properties={"a": 1})])
    other.put_artifact_type(
        ArtifactType(name="T", properties={"a": PropertyType.INT, "b": PropertyType.STRING}), can_add_fields=True
    )
    (key,) = first.put_artifacts([Artifact(type_id=type_id, properties={"b": "new"})])
    assert other.get_artifacts_by_id([key])[0].properties == {"b": "new"}


def test_one_gets_the_name_and_the_others_are_told(stores: list[MetadataStore]) -> None:
    type_id = stores[0].put_artifact_type(ArtifactType(name="T"))

    def put(store: MetadataStore, number: int) -> int:
        own = Artifact(type_id=type_id, name=f"own-{number}")
        return store.put_artifacts([own, Artifact(type_id=type_id, name="same", uri=str(number))])[1]

    answers = at_once(stores, put)
    (winner,) = [number for number, answer in enumerate(answers) if isinstance(answer, int)]
    for answer in answers[:winner] + answers[winner + 1 :]:
        assert isinstance(answer, NameTakenError)
        assert (answer.field, answer.value) == ("name", "same")
    assert {(a.name, a.uri) for a in stores[0].get_artifacts()} == {(f"own-{winner}", None), ("same", str(winner))}


def test_one_gets_the_external_id_whether_it_is_put_on_a_new_node_or_an_old_one(stores: list[MetadataStore]) -> None:
    type_id = stores[0].put_context_type(ContextType(name="T"))
    old = stores[0].put_contexts([Context(type_id=type_id, name=f"old-{n}") for n in range(MANY)])

    def put(store: MetadataStore, number: int) -> int:
        (mine,) = store.get_contexts_by_id([old[number]])
        taking = replace(mine, external_id="x")
        return store.put_contexts([taking if number % 2 else Context(type_id=type_id, name="new", external_id="x")])[0]

    answers = at_once(stores, put)
    (winner,) = [answer for answer in answers if isinstance(answer, int)]
    assert all(isinstance(answer, NameTakenError) for answer in answers if answer != winner)
    assert [context.id for context in stores[0].get_contexts_by_external_ids(["x"])] == [winner]


def test_an_event_is_there_once_however_many_put_it(stores: list[MetadataStore]) -> None:
    data = stores[0].put_artifact_type(ArtifactType(name="T"))
    step = stores[0].put_execution_type(ExecutionType(name="T"))
    artifacts = stores[0].put_artifacts([Artifact(type_id=data) for _ in range(3)])
    (run,) = stores[0].put_executions([Execution(type_id=step)])
    events = [
        Event(type=kind, artifact_id=key, execution_id=run, path=("p", 1), milliseconds_since_epoch=7)
        for key in artifacts
        for kind in (EventType.INPUT, EventType.OUTPUT)
    ]

    def put(store: MetadataStore, number: int) -> None:
        # In every order: who waits for whom differs.
        store.put_events(events[number:] + events[:number])

    assert at_once(stores, put) == [None] * MANY
    found = stores[0].get_events_by_execution_ids([run])
    assert sorted(found, key=events.index) == events


def test_executions_that_share_everything_are_put_each_once(stores: list[MetadataStore]) -> None:
    data = stores[0].put_artifact_type(ArtifactType(name="T"))
    step = stores[0].put_execution_type(ExecutionType(name="T"))
    group = stores[0].put_context_type(ContextType(name="T"))

    def put(store: MetadataStore, number: int) -> tuple[int, list[int], list[int]]:
        return store.put_execution(
            Execution(type_id=step, name=f"run-{number}"),
            [(Artifact(type_id=data, external_id=f"in-{n}", uri="u"), Event(type=EventType.INPUT)) for n in range(3)],
            [Context(type_id=group, name=name) for name in ("one", "two")],
            reuse_context_if_already_exist=True,
            reuse_artifact_if_already_exist_by_external_id=True,
        )

    answers = at_once(stores, put)
    assert not [answer for answer in answers if isinstance(answer, LakecatError)]
    assert len({tuple(answer[1]) for answer in answers if isinstance(answer, tuple)}) == 1
    assert (len(stores[0].get_artifacts()), len(stores[0].get_contexts())) == (3, 2)
    runs = [run.id for run in stores[0].get_executions()]
    assert len(stores[0].get_events_by_execution_ids([key for key in runs if key])) == 3 * MANY
    for context in stores[0].get_contexts():
        assert context.id is not None
        assert len(stores[0].get_executions_by_context(context.id)) == MANY
        assert len(stores[0].get_artifacts_by_context(context.id)) == 3


def test_a_type_that_somebody_else_removed_is_not_put_on_anything(stores: list[MetadataStore]) -> None:
    check_a_removed_type(*stores[:2])


def test_nor_where_the_database_keeps_no_types(tmp_path: Path) -> None:
    """ML Metadata's SQLite files have no foreign keys."""
    url = make_database(tmp_path / "mlmd.db")
    with MetadataStore.open(url, adopt=True) as first, MetadataStore.open(url) as other:
        check_a_removed_type(first, other)


def check_a_removed_type(first: MetadataStore, other: MetadataStore) -> None:
    type_id = first.put_artifact_type(ArtifactType(name="Gone", properties={"a": PropertyType.INT}))
    (key,) = first.put_artifacts([Artifact(type_id=type_id, properties={"a": 1})])
    other.delete_artifacts([key])
    other.delete_types([type_id])
    before = first.get_artifacts()
    with pytest.raises(UnknownTypeError) as caught:
        first.put_artifacts([Artifact(type_id=type_id, properties={"a": 2})])
    assert (caught.value.field, caught.value.value) == ("type_id", type_id)
    assert first.get_artifacts() == before
