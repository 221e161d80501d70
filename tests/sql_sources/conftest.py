"""A project whose jobs read a real database, and a way to run statements there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from project_lab import Project
from sqlalchemy.engine import URL

from lakecat.config import IngestJob
from lakecat.connector import ConnectorContext, ReadOptions, Slice, StreamRequest
from lakecat.types import Position
from lakecat_connectors.sql import Sql

SQL = "lakecat_connectors.sql:Sql"


def plain(url: URL) -> str:
    """The URL as a job has it: no driver, no password."""
    return url._replace(drivername=url.get_backend_name(), password=None).render_as_string()


class SqlProject(Project):
    """A project in a folder, whose jobs read one database."""

    def __init__(self, root: Path, url: URL) -> None:
        super().__init__(root)
        self.connection = plain(url)

    def job(self, name: str = "load", *, options: dict[str, Any] | None = None, **keys: Any) -> IngestJob:
        return super().job(name, connector=SQL, options={"connection": self.connection, **(options or {})}, **keys)


@pytest.fixture
def make_sql_project():
    made: list[SqlProject] = []

    def make(root: Path, url: URL) -> SqlProject:
        made.append(SqlProject(root, url))
        return made[-1]

    yield make
    for project in made:
        project.catalog.close()


@pytest.fixture
def pg_project(tmp_path, make_sql_project, postgres_url) -> SqlProject:
    return make_sql_project(tmp_path / "project", postgres_url)


@pytest.fixture
def pg(postgres_url):
    """A connection whose statements are committed one by one."""
    with connect(postgres_url) as connection:
        yield connection


@pytest.fixture
def pg_connect(postgres_url):
    """More connections, closed at the end."""
    made: list[psycopg.Connection[Any]] = []

    def more(**keys: Any) -> psycopg.Connection[Any]:
        made.append(connect(postgres_url, **keys))
        return made[-1]

    yield more
    for connection in made:
        connection.close()


def connect(url: URL, **keys: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=url.host,
        port=url.port,
        dbname=url.database,
        user=url.username,
        password=str(url.password),
        **{"autocommit": True, **keys},
    )


class Landed:
    """What the catalog and the table would hold of one stream: rows come only with the position that goes with them."""

    def __init__(self, connection: str, root: Path, **options: Any) -> None:
        self.options = {"connection": connection, **options}
        self.context = ConnectorContext(root=root, secret=lambda reference: os.environ[reference.partition(":")[2]])
        self.position: Position | None = None
        self.rows: list[dict[str, Any]] = []
        self.keyed: dict[Any, dict[str, Any]] = {}
        self.slices: list[Slice] = []

    def run(self, request: StreamRequest, *, commits: int | None = None) -> int:
        """Run once, or until it is killed before its next commit; how many rows came."""
        connector = Sql.open(self.options, self.context)
        came = 0
        try:
            for number, slice_ in enumerate(connector.plan(request, self)):
                rows = read_slice(connector, slice_)
                if number == commits:
                    break
                came += len(rows)
                self.rows += rows
                for row in rows:
                    self.keyed[tuple(row[name] for name in request.key)] = row
                self.slices.append(slice_)
                self.position = round_trip(slice_.position)
        finally:
            connector.close()
        return came

    def loaded(self, files: Any) -> frozenset[Any]:
        return frozenset()

    def ledger(self) -> Any:
        return iter(())


def read_slice(connector: Sql, slice_: Slice) -> list[dict[str, Any]]:
    """The rows of a slice, by its splits where it has some, each read by a reader of its own."""
    parts = [replace(slice_, splits=(split,)) for split in slice_.splits] or [slice_]
    rows: list[dict[str, Any]] = []
    for part in parts:
        reader = connector.read(part, ReadOptions())
        before = len(rows)
        for batch in reader:
            assert batch.schema == reader.schema
            rows += batch.to_pylist()
        assert reader.summary().rows == len(rows) - before
        reader.close()
    return rows


def round_trip(position: Position | None) -> Position | None:
    """As the catalog keeps it: JSON of at most 64 KiB."""
    if position is None:
        return None
    text = json.dumps(position.value)
    assert len(text) <= 64 * 1024
    return Position(json.loads(text))


@pytest.fixture
def make_landed(tmp_path):
    def make(url: URL, **options: Any) -> Landed:
        return Landed(plain(url), tmp_path, **options)

    return make
