"""The sql connector over PostgreSQL, held to the protocol by the suite that every connector gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest

from lakecat.connector import Cursor, StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat_connectors.sql import Sql

ROWS = """
INSERT INTO t (at, v, day)
SELECT coalesce((SELECT max(at) FROM t), 0) + n / 5, CASE WHEN n % 4 > 0 THEN repeat('x', 600) || n END, '2024-01-01'
FROM generate_series({first}, {last}) AS n
"""


class TestPostgres(ConnectorSuite):
    """Each folder of the suite is a database."""

    connector = Sql
    secrets: Mapping[str, str] = {"env:PG_PASSWORD": "s3cret-t0ken"}
    notices_unchanged = False
    seeds = 2

    @pytest.fixture(autouse=True)
    def _server(self, postgres_server) -> Iterator[None]:
        self.server = postgres_server.admin
        self.made: set[str] = set()
        yield
        for name in self.made:
            self.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def admin(self, statement: str, database: str = "postgres") -> None:
        url = self.server.set(database=database)
        with psycopg.connect(
            host=url.host, port=url.port, user=url.username, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)

    def database(self, root: Path) -> str:
        return f"suite_{root.parent.name}_{root.name}".replace("-", "_").lower()[-60:]

    def options(self, root: Path) -> Mapping[str, object]:
        name = f"postgresql://postgres@{self.server.host}:{self.server.port}/{self.database(root)}"
        return {"connection": name, "password": "env:PG_PASSWORD", "splits": 3}

    def fill(self, root: Path) -> None:
        name = self.database(root)
        self.made.add(name)
        self.admin(f"CREATE DATABASE {name}")
        self.admin("CREATE TABLE t (id serial PRIMARY KEY, at integer NOT NULL, v text, day date, u uuid)", name)
        self.admin("CREATE TABLE other (id integer PRIMARY KEY, at integer NOT NULL)", name)
        self.admin("INSERT INTO other SELECT n, n FROM generate_series(1, 20) n", name)
        self.admin(ROWS.format(first=1, last=40), name)

    def grow(self, root: Path) -> None:
        self.admin(ROWS.format(first=0, last=6), self.database(root))

    def spoil(self, root: Path) -> None:
        self.admin("INSERT INTO t (at, day) VALUES (20, '-infinity')", self.database(root))

    def destroy(self, root: Path) -> None:
        self.admin(f"DROP DATABASE {self.database(root)} WITH (FORCE)")

    def requests(self) -> Sequence[StreamRequest]:
        return (
            StreamRequest(name="public.t", cursor=Cursor(column="at", lag=2)),
            StreamRequest(name="public.other", cursor=Cursor(column="id", step=7)),
        )

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        with psycopg.connect(
            host=self.server.host, port=self.server.port, user="postgres", dbname=self.database(root)
        ) as connection:
            cursor = connection.execute(f"TABLE {request.name}")
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
