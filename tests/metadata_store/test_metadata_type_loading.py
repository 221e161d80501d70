"""Types from files into the store: all or none, growing only where that is allowed, and out again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store.type_files import parse_types
from lakecat.catalog.metadata_store.type_loading import TypeFileMethods
from lakecat.catalog.metadata_store.values import ArtifactType, ContextType, ExecutionType
from lakecat.errors import ConfigError, InvalidValueError, NameTakenError, TypeConflictError

FIRST = """\
artifact_types:
  - name: Model
    base_type: MODEL
    properties: {accuracy: DOUBLE, framework: STRING}
execution_types:
  - {name: Train, external_id: train, description: Makes a model}
context_types:
  - {name: Experiment, version: "1"}
  - {name: Experiment, version: "2"}
"""


@pytest.fixture
def store(catalog_url: URL) -> Iterator[TypeFileMethods]:
    with Catalog.open(catalog_url, create=True) as catalog:
        yield TypeFileMethods(catalog.database)


@pytest.fixture
def write(tmp_path: Path):
    def put(text: str) -> Path:
        path = tmp_path / "types.yaml"
        path.write_text(text)
        return path

    return put


def mine(store: TypeFileMethods) -> list[ArtifactType | ExecutionType | ContextType]:
    everything = [*store.get_artifact_types(), *store.get_execution_types(), *store.get_context_types()]
    return [one for one in everything if not one.name.startswith("lakecat.")]


def test_a_file_is_loaded_once_and_dumped_as_it_was(store, write):
    loaded = store.load_types(write(FIRST))
    assert [one.name for one in loaded.types] == ["Model", "Train", "Experiment", "Experiment"]
    assert mine(store) == list(loaded.types)
    assert store.load_types(write(FIRST)) == loaded
    assert store.load_types(write(store.dump_types())) == loaded
    assert parse_types(store.dump_types()).types == parse_types(FIRST).types


def test_all_of_a_file_or_nothing(store, write):
    """The last type of it is not allowed."""
    store.load_types(write("artifact_types: [{name: Model, properties: {accuracy: INT}}]"))
    before = mine(store)
    changed = (
        "context_types: [{name: New}]\nartifact_types: [{name: Other}, {name: Model, properties: {accuracy: DOUBLE}}]"
    )
    with pytest.raises(TypeConflictError) as caught:
        store.load_types(write(changed), can_add_fields=True, can_omit_fields=True)
    assert caught.value.field == "properties.accuracy"
    for wrong in ("context_types: [{name: New}]\nartifact_types: [{name: lakecat.Mine}]",):
        with pytest.raises(InvalidValueError):
            store.load_types(write(wrong))
    with pytest.raises(ConfigError):
        store.load_types(write("artifact_types: [{name: New}, {name: New}]"))
    assert mine(store) == before


def test_types_grow_only_where_that_is_allowed(store, write):
    store.load_types(write("artifact_types: [{name: Model, properties: {a: INT, b: STRING}}]"))
    other = write("artifact_types: [{name: Model, properties: {b: STRING, c: BOOLEAN}}]")
    for allowed in ({}, {"can_add_fields": True}, {"can_omit_fields": True}):
        with pytest.raises(TypeConflictError):
            store.load_types(other, **allowed)
    store.load_types(other, can_add_fields=True, can_omit_fields=True)
    assert store.get_artifact_type("Model").properties == {
        "a": PropertyType.INT, "b": PropertyType.STRING, "c": PropertyType.BOOLEAN,
    }  # fmt: skip


def test_an_external_id_that_another_type_has(store):
    store.put_types([ArtifactType(name="One", external_id="x")])
    with pytest.raises(NameTakenError) as caught:
        store.put_types([ContextType(name="New"), ArtifactType(name="Two", external_id="x")])
    assert (caught.value.field, caught.value.value) == ("external_id", "x")
    assert [one.name for one in mine(store)] == ["One"]


def test_what_is_no_type_is_refused_before_anything_is_written(store):
    with pytest.raises(InvalidValueError):
        store.put_types([ArtifactType(name="One"), "Two"])
    assert mine(store) == []


def test_several_load_the_same_file_at_once(store, write):
    path = write(FIRST)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: store.load_types(path), range(4)))
    assert all(one == loaded[0] for one in loaded)
    assert mine(store) == list(loaded[0].types)
