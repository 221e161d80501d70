"""The metadata store on every backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from lakecat.catalog import MetadataStore


@pytest.fixture(params=["sqlite", "memory", "postgres", "mariadb"])
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
