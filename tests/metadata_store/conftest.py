"""The metadata store on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from lakecat.catalog import MetadataStore

BACKENDS = ("sqlite", "memory", "postgres", "mariadb")


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetadataStore]:
    """An empty metadata store, on each backend in turn."""
    if request.param == "memory":
        opened = MetadataStore.in_memory()
    else:
        url = URL.create("sqlite", database=str(tmp_path / "catalog.db"))
        if request.param != "sqlite":
            url = request.getfixturevalue(f"{request.param}_url")
        opened = MetadataStore.open(url, create=True)
    with opened as made:
        yield made


@pytest.fixture(scope="module", params=BACKENDS)
def module_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MetadataStore]:
    """As ``store``, but one for all tests of a module: they must not hinder one another."""
    if request.param == "memory":
        with MetadataStore.in_memory() as made:
            yield made
    elif request.param == "sqlite":
        file = tmp_path_factory.mktemp("catalog") / "catalog.db"
        with MetadataStore.open(URL.create("sqlite", database=str(file)), create=True) as made:
            yield made
    else:
        server = request.getfixturevalue(f"{request.param}_server")
        url = server.new_database()
        with MetadataStore.open(url, create=True) as made:
            yield made
        server.drop_database(url)
