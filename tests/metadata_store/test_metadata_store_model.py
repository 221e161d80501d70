"""Random puts and masked changes of artifacts leave what a plain dict of them would hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import Artifact, ArtifactState, ArtifactType, PropertyType

FIELDS = ("uri", "state", "properties", "custom_properties")


@pytest.fixture(scope="module", params=["sqlite", "memory", "postgres", "mariadb"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadataStore]:
    server = None
    if request.param == "memory":
        opened = MetadataStore.in_memory()
    else:
        folder: Path = tmp_path_factory.mktemp("model")
        url = URL.create("sqlite", database=str(folder / "catalog.db"))
        if request.param != "sqlite":
            server = request.getfixturevalue(f"{request.param}_server")
            url = server.new_database()
        opened = MetadataStore.open(url, create=True)
    with opened as made:
        made.put_artifact_type(ArtifactType(name="Data", properties={"i": PropertyType.INT, "s": PropertyType.STRING}))
        yield made
    if server is not None:
        server.drop_database(url)


CONTENT = st.fixed_dictionaries(
    {
        "uri": st.none() | st.sampled_from(["", "a", "b"]),
        "state": st.none() | st.sampled_from(ArtifactState),
        "properties": st.dictionaries(st.just("i"), st.integers(-(2**70), 2**70))
        | st.dictionaries(st.just("s"), st.text(max_size=3)),
        "custom_properties": st.dictionaries(
            st.sampled_from(["x", "y"]), st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3), max_size=2
        ),
    }
)
PATHS = [*FIELDS, "properties.i", "properties.s", "custom_properties.x", "custom_properties.y", "nothing"]
STEPS = st.lists(
    st.lists(st.tuples(st.none() | st.integers(0, 3), CONTENT), min_size=1, max_size=3)
    | st.tuples(st.integers(0, 3), CONTENT, st.lists(st.sampled_from(PATHS), min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


def masked(stored: dict[str, Any], given_: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """What a masked change makes of what is stored."""
    found = {name: given_[name] if name in paths else stored[name] for name in FIELDS}
    for path in paths:
        owner, _, name = path.partition(".")
        if name and owner not in paths:
            merged = {key: value for key, value in found[owner].items() if key != name}
            found[owner] = merged | {key: value for key, value in given_[owner].items() if key == name}
    return found


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_the_store_holds_what_a_dict_would(store: MetadataStore, steps: list[Any]) -> None:
    type_id = store.get_artifact_type("Data").id
    model: dict[int, dict[str, Any]] = {}

    def pick(place: int | None) -> int | None:
        keys = list(model)
        return keys[place % len(keys)] if keys and place is not None else None

    for step in steps:
        if isinstance(step, list):
            values = [(pick(place), content) for place, content in step]
            made = store.put_artifacts([Artifact(id=key, type_id=type_id, **content) for key, content in values])
            assert [key for key, _ in values if key is not None] == [
                key for key, (given_key, _) in zip(made, values, strict=True) if given_key is not None
            ]
            model.update((key, content) for key, (_, content) in zip(made, values, strict=True))
        else:
            place, content, paths = step
            key = pick(place)
            if key is not None:
                store.put_artifacts([Artifact(id=key, **content)], paths)
                model[key] = masked(model[key], content, paths)
        found = {node.id: node for node in store.get_artifacts_by_id(model)}
        assert {key: {name: getattr(node, name) for name in FIELDS} for key, node in found.items()} == model
    before = store.get_artifacts_by_id(model)
    store.put_artifacts([replace(node, create_time_since_epoch=None) for node in before])
    assert store.get_artifacts_by_id(model) == before, "what is put as it was changes nothing, not even its time"
