"""What the metadata store does, the same on SQLite, in memory, on PostgreSQL and on MariaDB."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.catalog import Catalog, MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactState,
    ArtifactType,
    Association,
    Attribution,
    Context,
    ContextType,
    Event,
    EventType,
    Execution,
    ExecutionState,
    ExecutionType,
    ListOptions,
    OrderByField,
    ParentContext,
    PropertyType,
    ProtoValue,
)
from lakecat.errors import (
    InvalidValueError,
    NameTakenError,
    PropertyTypeError,
    StaleEtagError,
    TypeConflictError,
    UnknownNodeError,
    UnknownTypeError,
)

EVERY = {kind.name.lower(): kind for kind in PropertyType}


class Lab:
    """A store with one type of each kind; ``every`` has a property of every kind."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self.data = store.put_artifact_type(ArtifactType(name="Data", properties=EVERY))
        self.train = store.put_execution_type(ExecutionType(name="Train", properties=EVERY))
        self.run = store.put_context_type(ContextType(name="Run", properties=EVERY))

    def artifacts(self, *names: str) -> list[int]:
        return self.store.put_artifacts([Artifact(type_id=self.data, name=name) for name in names])

    def executions(self, *names: str) -> list[int]:
        return self.store.put_executions([Execution(type_id=self.train, name=name) for name in names])

    def contexts(self, *names: str) -> list[int]:
        return self.store.put_contexts([Context(type_id=self.run, name=name) for name in names])


@pytest.fixture
def lab(store: MetadataStore) -> Lab:
    return Lab(store)


VALUES = {
    "int": -(2**63), "double": 0.1, "string": "grüße 🐱", "boolean": False,
    "struct": {"a": [1.0, None, {"b": "c"}], "": True}, "proto": ProtoValue("type.googleapis.com/x", b"\x00\xff"),
}  # fmt: skip


def test_nodes_come_back_as_they_were_put(lab: Lab) -> None:
    custom = {"a": 1, "b": 2.5, "c": "text", "d": True, "e": {"x": 1.0}}
    (artifact,) = lab.store.put_artifacts(
        [
            Artifact(
                type_id=lab.data, name="one", uri="s3://bucket/x", external_id="ext", state=ArtifactState.LIVE,
                properties=VALUES, custom_properties=custom,
            )
        ]
    )  # fmt: skip
    (execution,) = lab.store.put_executions(
        [Execution(type_id=lab.train, name="one", last_known_state=ExecutionState.CACHED, properties=VALUES)]
    )
    (context,) = lab.store.put_contexts([Context(type_id=lab.run, name="one", custom_properties=custom)])
    (found,) = lab.store.get_artifacts_by_id([artifact])
    assert (found.type, found.name, found.uri, found.external_id) == ("Data", "one", "s3://bucket/x", "ext")
    assert found.state is ArtifactState.LIVE
    assert found.properties == VALUES
    assert found.custom_properties == custom
    assert found.custom_properties["d"] is True
    assert found.create_time_since_epoch == found.last_update_time_since_epoch
    assert lab.store.get_artifact_by_type_and_name("Data", "one") == found
    assert lab.store.get_artifacts_by_uri("s3://bucket/x") == [found]
    assert lab.store.get_artifacts_by_external_ids(["ext"]) == [found]
    assert lab.store.get_artifacts_by_type("Data") == [found]
    (run,) = lab.store.get_executions_by_id([execution])
    assert (run.last_known_state, run.properties) == (ExecutionState.CACHED, VALUES)
    (group,) = lab.store.get_contexts_by_id([context])
    assert (group.name, group.custom_properties) == ("one", custom)
    assert lab.store.get_context_by_type_and_name("Run", "two") is None
    assert lab.store.get_artifacts_by_type("Nothing") == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3])
def test_doubles_are_exact(lab: Lab, value: float) -> None:
    (key,) = lab.store.put_artifacts([Artifact(type_id=lab.data, properties={"double": value})])
    (found,) = lab.store.get_artifacts_by_id([key])
    kept = found.properties["double"]
    assert isinstance(kept, float)
    assert repr(kept) == repr(value)


@pytest.mark.parametrize("text", ["", "a\0b", "mlmd-struct::x", "'; DROP TABLE Artifact; --", "x" * 100_000, "\\%_"])
def test_texts_are_exact(lab: Lab, text: str) -> None:
    (key,) = lab.store.put_artifacts([Artifact(type_id=lab.data, properties={"string": text})])
    (found,) = lab.store.get_artifacts_by_id([key])
    assert found.properties["string"] == text


def test_a_put_is_all_or_nothing(lab: Lab) -> None:
    lab.artifacts("taken")
    with pytest.raises(NameTakenError) as caught:
        lab.artifacts("new", "taken")
    assert (caught.value.field, caught.value.value) == ("name", "taken")
    with pytest.raises(PropertyTypeError):
        lab.store.put_artifacts([Artifact(type_id=lab.data), Artifact(type_id=lab.data, properties={"int": "text"})])
    with pytest.raises(UnknownTypeError):
        lab.store.put_artifacts([Artifact(type_id=lab.data), Artifact(type_id=999_999)])
    with pytest.raises(UnknownNodeError):
        lab.store.put_artifacts([Artifact(type_id=lab.data), Artifact(id=999_999, type_id=lab.data)])
    assert [a.name for a in lab.store.get_artifacts()] == ["taken"]


def test_a_change_is_of_the_whole_node_or_of_what_the_mask_names(lab: Lab) -> None:
    (key,) = lab.store.put_artifacts(
        [Artifact(type_id=lab.data, name="x", uri="u", properties={"int": 1, "string": "s"})]
    )
    lab.store.put_artifacts([Artifact(id=key, uri="v", properties={"int": 2})], ["properties.int"])
    (found,) = lab.store.get_artifacts_by_id([key])
    assert (found.uri, found.properties) == ("u", {"int": 2, "string": "s"})
    lab.store.put_artifacts([Artifact(id=key, type_id=lab.data, properties={"int": 3})])
    (found,) = lab.store.get_artifacts_by_id([key])
    assert (found.name, found.uri, found.properties) == ("x", None, {"int": 3})


def test_who_changes_what_somebody_else_changed_is_told(lab: Lab) -> None:
    (key,) = lab.artifacts("x")
    (read,) = lab.store.get_artifacts_by_id([key])
    etag = lab.store.etag(read)
    lab.store.put_artifacts([Artifact(id=key, uri="first")], if_match={key: etag})
    with pytest.raises(StaleEtagError):
        lab.store.put_artifacts([Artifact(id=key, uri="second")], if_match={key: etag})
    assert lab.store.get_artifacts_by_id([key])[0].uri == "first"


def test_types_only_grow(lab: Lab) -> None:
    wider = ArtifactType(name="Data", properties={**EVERY, "more": PropertyType.INT})
    with pytest.raises(TypeConflictError):
        lab.store.put_artifact_type(wider)
    assert lab.store.put_artifact_type(wider, can_add_fields=True) == lab.data
    with pytest.raises(TypeConflictError):
        lab.store.put_artifact_type(ArtifactType(name="Data"), can_add_fields=True)
    assert lab.store.put_artifact_type(ArtifactType(name="Data"), can_omit_fields=True) == lab.data
    assert lab.store.get_artifact_type("Data").properties == wider.properties
    other = lab.store.put_artifact_type(ArtifactType(name="Data", version="2"))
    assert other != lab.data
    assert lab.store.get_artifact_type("Data", "2").id == other


def test_an_execution_is_put_with_all_around_it(lab: Lab) -> None:
    stored, _ = lab.artifacts("in", "unrelated")
    lab.contexts("there")
    execution, artifacts, contexts = lab.store.put_execution(
        Execution(type_id=lab.train, name="run"),
        [
            (Artifact(id=stored, type_id=lab.data, uri="now"), Event(type=EventType.INPUT, path=("role", 7))),
            (Artifact(type_id=lab.data, name="out"), Event(type=EventType.OUTPUT, milliseconds_since_epoch=5)),
            (Artifact(type_id=lab.data, name="beside"), None),
        ],
        [Context(type_id=lab.run, name="there"), Context(type_id=lab.run, name="new")],
        reuse_context_if_already_exist=True,
    )
    assert artifacts[0] == stored
    assert lab.store.get_artifacts_by_id([stored])[0].uri == "now"
    events = lab.store.get_events_by_execution_ids([execution])
    assert [(e.artifact_id, e.type, e.path) for e in events] == [
        (stored, EventType.INPUT, ("role", 7)), (artifacts[1], EventType.OUTPUT, ()),
    ]  # fmt: skip
    assert events[1].milliseconds_since_epoch == 5
    assert lab.store.get_events_by_artifact_ids([artifacts[2]]) == []
    for context in contexts:
        assert {a.id for a in lab.store.get_artifacts_by_context(context)} == set(artifacts)
        assert [e.id for e in lab.store.get_executions_by_context(context)] == [execution]
    assert [c.name for c in lab.store.get_contexts_by_execution(execution)] == ["there", "new"]
    assert [c.name for c in lab.store.get_contexts_by_artifact(artifacts[2])] == ["there", "new"]


def test_an_execution_that_fails_leaves_nothing(lab: Lab) -> None:
    lab.contexts("taken")
    for context, error in (
        (Context(type_id=lab.run, name="taken"), NameTakenError),
        (Context(type_id=lab.run, name="x", properties={"int": "y"}), PropertyTypeError),
    ):
        with pytest.raises(error):
            lab.store.put_execution(
                Execution(type_id=lab.train, name="run"),
                [(Artifact(type_id=lab.data, name="out"), Event(type=EventType.OUTPUT))],
                [context],
            )
    assert lab.store.get_executions() == []
    assert lab.store.get_artifacts() == []
    assert len(lab.store.get_contexts()) == 1


def test_artifacts_are_reused_by_external_id(lab: Lab) -> None:
    def put(uri: str, *, reuse: bool) -> list[int]:
        artifact = Artifact(type_id=lab.data, external_id="e", uri=uri)
        pairs = [(artifact, Event(type=EventType.INPUT))]
        return lab.store.put_execution(
            Execution(type_id=lab.train), pairs, reuse_artifact_if_already_exist_by_external_id=reuse
        )[1]

    first = put("one", reuse=True)
    with pytest.raises(NameTakenError) as caught:
        put("two", reuse=False)
    assert caught.value.field == "external_id"
    assert put("three", reuse=True) == first
    assert lab.store.get_artifacts_by_external_ids(["e"])[0].uri == "three"


def test_events_are_idempotent(lab: Lab) -> None:
    (artifact,), (execution,) = lab.artifacts("a"), lab.executions("e")
    event = Event(type=EventType.INPUT, artifact_id=artifact, execution_id=execution, path=("k",))
    for _ in range(2):
        lab.store.put_events([event, event])
    lab.store.put_execution(
        Execution(id=execution, type_id=lab.train),
        [(Artifact(id=artifact, type_id=lab.data), Event(type=EventType.INPUT))],
    )
    (found,) = lab.store.get_events_by_execution_ids([execution])
    assert found.path == ("k",)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (Event(type=EventType.UNKNOWN, artifact_id=1, execution_id=1), InvalidValueError),
        (Event(type=EventType.INPUT, execution_id=1), InvalidValueError),
        (Event(type=EventType.INPUT, artifact_id=1), InvalidValueError),
        (Event(type=EventType.INPUT, artifact_id=999_999, execution_id=1), UnknownNodeError),
        (Event(type=EventType.INPUT, artifact_id=1, execution_id=999_999), UnknownNodeError),
        (Event(type=EventType.INPUT, artifact_id=1, execution_id=1, path=(True,)), InvalidValueError),
        (Event(type=EventType.INPUT, artifact_id=1, execution_id=1, path=("a\0",)), InvalidValueError),
    ],
)
def test_bad_events_are_refused(lab: Lab, event: Event, error: type[Exception]) -> None:
    assert lab.artifacts("a") == [1]
    assert lab.executions("e") == [1]
    with pytest.raises(error):
        lab.store.put_events([event])
    assert lab.store.get_events_by_artifact_ids([1]) == []


def test_a_piece_of_lineage_is_put_at_once(lab: Lab) -> None:
    (stored,) = lab.executions("stored")
    executions, artifacts, contexts = lab.store.put_lineage_subgraph(
        [Execution(type_id=lab.train, name=name) for name in ("e0", "e1")],
        [Artifact(type_id=lab.data, name=name) for name in ("a0", "a1")],
        [Context(type_id=lab.run, name="c")],
        [
            (0, 0, Event(type=EventType.OUTPUT)),
            (1, 0, Event(type=EventType.INPUT)),
            (1, 1, Event(type=EventType.OUTPUT)),
            (None, 1, Event(type=EventType.INPUT, execution_id=stored)),
        ],
    )
    up = lab.store.lineage(execution_ids=[stored])
    assert {a.name for a in up.artifacts} == {"a0", "a1"}
    assert {e.name for e in up.executions} == {"e0", "e1", "stored"}
    assert len(up.events) == 4
    assert {e.id for e in lab.store.get_executions_by_context(contexts[0])} == set(executions)
    assert {a.id for a in lab.store.get_artifacts_by_context(contexts[0])} == set(artifacts)
    for edge in ((5, 0), (0, 5), (-1, 0), (None, 0), (0, None)):
        with pytest.raises(InvalidValueError):
            lab.store.put_lineage_subgraph(
                [Execution(type_id=lab.train)], [Artifact(type_id=lab.data)], [], [(*edge, Event(type=EventType.INPUT))]
            )
    assert len(lab.store.get_artifacts()) == 2


def test_contexts_lie_in_contexts_but_not_in_themselves(lab: Lab) -> None:
    a, b, c = lab.contexts("a", "b", "c")
    lab.store.put_parent_contexts([ParentContext(a, b), ParentContext(b, c)])
    assert [x.name for x in lab.store.get_parent_contexts_by_context(a)] == ["b"]
    assert [x.name for x in lab.store.get_children_contexts_by_context(c)] == ["b"]
    for pair, error in (
        (ParentContext(c, a), InvalidValueError), (ParentContext(a, a), InvalidValueError),
        (ParentContext(a, b), NameTakenError), (ParentContext(a, 999_999), UnknownNodeError),
    ):  # fmt: skip
        with pytest.raises(error):
            lab.store.put_parent_contexts([pair])


def test_attributions_and_associations_may_be_put_again(lab: Lab) -> None:
    (artifact,), (execution,), (context,) = lab.artifacts("a"), lab.executions("e"), lab.contexts("c")
    for _ in range(2):
        lab.store.put_attributions_and_associations([Attribution(artifact, context)], [Association(execution, context)])
    assert [a.id for a in lab.store.get_artifacts_by_context(context)] == [artifact]
    with pytest.raises(UnknownNodeError):
        lab.store.put_attributions_and_associations([Attribution(artifact, 999_999)], [])


def test_lists_have_an_order_and_a_limit(lab: Lab) -> None:
    ids = lab.artifacts("a", "b", "c", "d")
    lab.store.put_artifacts([Artifact(id=ids[1], uri="changed")])

    def names(**options: object) -> list[str | None]:
        return [a.name for a in lab.store.get_artifacts(ListOptions(**options))]  # type: ignore[arg-type]

    assert names() == ["a", "b", "c", "d"]
    assert names(is_asc=False, limit=3) == ["d", "c", "b"]
    assert names(order_by=OrderByField.ID, limit=2) == ["a", "b"]
    assert names(order_by=OrderByField.CREATE_TIME, is_asc=False, limit=1) == ["d"]
    assert names(filter_query="uri = 'changed'") == ["b"]
    assert names(filter_query="name IN ('a', 'd')", is_asc=False) == ["d", "a"]
    assert names(filter_query="name IN ('b', 'c', 'x')", limit=1) == ["b"]
    with pytest.raises(InvalidValueError):
        names(limit=-1)


def test_many_who_put_the_same_execution_context_agree(lab: Lab) -> None:
    errors: list[BaseException] = []
    found: list[int] = []

    def put(number: int) -> None:
        try:
            _, _, contexts = lab.store.put_execution(
                Execution(type_id=lab.train, name=f"e{number}"),
                [(Artifact(type_id=lab.data, external_id="shared"), Event(type=EventType.INPUT))],
                [Context(type_id=lab.run, name="shared")],
                reuse_context_if_already_exist=True,
                reuse_artifact_if_already_exist_by_external_id=True,
            )
            found.extend(contexts)
        except BaseException as err:  # noqa: BLE001 - told by the assertion below
            errors.append(err)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(lab.store.get_executions_by_context(found[0])) == 8
    assert len(lab.store.get_artifacts()) == 1


def test_bulk(lab: Lab) -> None:
    many = [Artifact(type_id=lab.data, name=f"n{n}", properties={"int": n, "string": str(n)}) for n in range(12_000)]
    ids = lab.store.put_artifacts(many)
    assert len(set(ids)) == 12_000
    found = lab.store.get_artifacts_by_id(ids)
    assert [(a.name, a.properties) for a in found] == [(a.name, a.properties) for a in many]


def test_nodes_of_the_commit_are_changed_by_nobody_else(tmp_path: Path) -> None:
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        store = catalog.metadata_store
        version = store.get_artifact_type("lakecat.TableVersion").id
        ingest = store.get_execution_type("lakecat.Ingest").id
        with pytest.raises(InvalidValueError):
            store.put_artifacts([Artifact(type_id=version, name="raw.x@v1")])
        with pytest.raises(InvalidValueError):
            store.put_execution(Execution(type_id=ingest), [])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20),
        st.one_of(st.integers(), st.floats(), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]))),
        max_size=5,
    )
)
def test_any_custom_property_comes_back(shared: Lab, properties: dict[str, object]) -> None:
    (key,) = shared.store.put_artifacts([Artifact(type_id=shared.data, custom_properties=properties)])  # type: ignore[arg-type]
    (found,) = shared.store.get_artifacts_by_id([key])
    assert {name: repr(value) for name, value in found.custom_properties.items()} == {
        name: repr(value) for name, value in properties.items()
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with MetadataStore.in_memory() as store:
        yield Lab(store)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name LIKE 'a%'", ["ab", "a%c"]),
        ("name LIKE '%!%%' ESCAPE '!'", ["a%c"]),
        ("properties.boolean.bool_value = TRUE", ["ab"]),
        ("properties.double.double_value BETWEEN 0.5 AND 2", ["a%c", "d"]),
        ("NOT properties.double.double_value > 1", ["ab", "a%c"]),
        ("properties.string.string_value IS NULL AND id > 0", ["d"]),
        ("contexts_0.name = 'group' AND state = LIVE", ["a%c"]),
        ("events_0.type = INPUT OR name = 'd'", ["ab", "d"]),
        ("custom_properties.`a b`.int_value IN (1, 2)", ["d"]),
        ("name = 'nothing'", []),
    ],
)
def test_filters_choose_the_same_on_every_database(lab: Lab, text: str, expected: list[str]) -> None:
    ids = lab.store.put_artifacts(
        [
            Artifact(type_id=lab.data, name="ab", properties={"boolean": True, "double": 0.25, "string": "x"}),
            Artifact(
                type_id=lab.data, name="a%c", state=ArtifactState.LIVE,
                properties={"boolean": False, "double": 0.5, "string": ""},
            ),
            Artifact(type_id=lab.data, name="d", properties={"double": 2.0}, custom_properties={"a b": 2}),
        ]
    )  # fmt: skip
    (execution,), (context,) = lab.executions("e"), lab.contexts("group")
    lab.store.put_events([Event(type=EventType.INPUT, artifact_id=ids[0], execution_id=execution)])
    lab.store.put_attributions_and_associations([Attribution(key, context) for key in ids[1:]], [])
    for _ in range(2):  # the second time by the statement that was kept
        assert [a.name for a in lab.store.get_artifacts(ListOptions(filter_query=text))] == expected
    inside = lab.store.get_artifacts_by_context(context, ListOptions(filter_query=text, limit=5))
    assert [a.name for a in inside] == [name for name in expected if name != "ab"]
