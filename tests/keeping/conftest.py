"""Databases of every kind, several at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, str], URL]:
    """A fresh database of a kind; ``name`` tells two of one kind apart."""

    def make(kind: str, name: str) -> URL:
        if kind == "sqlite":
            return URL.create("sqlite", database=str(tmp_path / f"{name}.db"))
        server = request.getfixturevalue(f"{kind}_server")
        url: URL = server.new_database()
        request.addfinalizer(lambda: server.drop_database(url))
        return url

    return make
