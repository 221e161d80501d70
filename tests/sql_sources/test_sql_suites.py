"""The sql connector over MariaDB, DuckDB and SQLAlchemy, held to the protocol by every connector's suite."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pymysql
import pytest
from sqlalchemy.engine import URL

from lakecat.connector import Cursor, StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat_connectors.sql import Sql


class Suite(ConnectorSuite):
    connector = Sql
    notices_unchanged = False
    seeds = 2
    name = "t"

    def connect(self, root: Path) -> Any:
        raise NotImplementedError

    def url(self, root: Path) -> URL:
        raise NotImplementedError

    def run(self, root: Path, *statements: str) -> list[dict[str, object]]:
        """Run statements, each committed; the rows of the last one."""
        with closing(self.connect(root)) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def options(self, root: Path) -> Mapping[str, object]:
        password = {"password": "env:SUITE_PASSWORD"} if self.secrets else {}
        return {"connection": self.url(root)._replace(password=None).render_as_string(), **password}

    def fill(self, root: Path) -> None:
        self.run(
            root,
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t (id integer PRIMARY KEY, seq integer NOT NULL, v varchar(700), d decimal(12, 2), day date)",
        )
        self.insert(root, 1, 40)

    def insert(self, root: Path, first: int, last: int) -> None:
        """Five rows at a time have the same cursor; the first of them that of the rows before."""
        rows = (
            f"({n}, {(n - 1) // 5}, {'NULL' if n % 4 == 0 else repr('x' * 600 + str(n))}, {n}.25, '2024-01-01')"
            for n in range(first, last + 1)
        )
        self.run(root, f"INSERT INTO t VALUES {', '.join(rows)}")

    def grow(self, root: Path) -> None:
        (row,) = self.run(root, "SELECT max(id) AS last FROM t")
        last = int(str(row["last"]))
        self.insert(root, last + 1, last + 7)

    def destroy(self, root: Path) -> None:
        self.run(root, "DROP TABLE t")

    def requests(self) -> Sequence[StreamRequest]:
        return (
            StreamRequest(name=self.name, cursor=Cursor(column="seq", lag=2)),
            StreamRequest(name=self.name, cursor=Cursor(column="id", step=7)),
        )

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        return self.run(root, "SELECT * FROM t")


class TestMariaDb(Suite):
    @pytest.fixture(autouse=True)
    def _server(self, mariadb_url) -> None:
        self.server = mariadb_url
        self.name = f"{mariadb_url.database}.t"
        self.secrets = {"env:SUITE_PASSWORD": str(mariadb_url.password)}

    def url(self, root: Path) -> URL:
        return self.server.set(drivername="mysql")

    def connect(self, root: Path) -> Any:
        url = self.server
        return pymysql.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, database=url.database,
            autocommit=True,
        )  # fmt: skip

    def spoil(self, root: Path) -> None:
        self.run(root, "SET sql_mode = ''", "INSERT INTO t VALUES (-1, 20, '', 1, '2024-00-00')")


class TestDuckDb(Suite):
    name = "main.t"

    def url(self, root: Path) -> URL:
        return URL.create("duckdb", database=str(root / "data.duckdb"))

    def connect(self, root: Path) -> Any:
        return duckdb.connect(str(root / "data.duckdb"))

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        """Of a copy: the file itself is open in this process, as the connector opens it."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(root / "data.duckdb", folder)
            return super().truth(Path(folder), request)

    def spoil(self, root: Path) -> None:
        self.run(root, "INSERT INTO t VALUES (-1, 20, '', 1, '-infinity')")


class TestGeneric(Suite):
    name = "public.t"

    @pytest.fixture(autouse=True)
    def _server(self, postgres_url) -> None:
        self.server = postgres_url
        self.secrets = {"env:SUITE_PASSWORD": str(postgres_url.password)}

    def url(self, root: Path) -> URL:
        return self.server.set(drivername="postgresql+pg8000")

    def connect(self, root: Path) -> Any:
        url = self.server
        return psycopg.connect(
            host=url.host, port=url.port, dbname=url.database, user=url.username, password=str(url.password),
            autocommit=True,
        )  # fmt: skip

    def spoil(self, root: Path) -> None:
        self.run(root, "INSERT INTO t VALUES (-1, 20, '', 1, '-infinity')")
