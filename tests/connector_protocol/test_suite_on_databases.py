"""The sql connector keeps the protocol's promises, on a file and on a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.connector import Cursor, StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat.types import Json
from lakecat_connectors.sql import Sql

META = sa.MetaData()
ORDERS = sa.Table(
    "orders",
    META,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("note", sa.String(20)),
    sa.Column("amount", sa.Numeric(12, 2)),
)


class SqlSuite(ConnectorSuite):
    connector = Sql

    def url(self, root: Path) -> URL:
        raise NotImplementedError

    def stream(self) -> str:
        return "orders"

    def options(self, root: Path) -> Mapping[str, Json]:
        url = self.url(root)
        shown = url._replace(drivername=url.get_backend_name(), password=None).render_as_string()
        password = {"password": "env:SHOP_PASSWORD"} if self.secrets else {}
        return {"connection": shown, **password}

    def fill(self, root: Path) -> None:
        engine = sa.create_engine(self.url(root))
        META.drop_all(engine)
        META.create_all(engine)
        engine.dispose()
        self.insert(root, 14)

    def grow(self, root: Path) -> None:
        self.insert(root, 3)

    def insert(self, root: Path, count: int) -> None:
        engine = sa.create_engine(self.url(root))
        with engine.begin() as connection:
            last = connection.execute(sa.select(sa.func.max(ORDERS.c.id))).scalar() or 0
            rows = [
                {"id": at, "note": None if at % 3 == 0 else f"n{at}", "amount": at * 100 + 25}
                for at in range(last + 1, last + 1 + count)
            ]
            connection.execute(sa.insert(ORDERS), rows)
        engine.dispose()

    def destroy(self, root: Path) -> None:
        engine = sa.create_engine(self.url(root))
        META.drop_all(engine)
        engine.dispose()

    def requests(self) -> Sequence[StreamRequest]:
        name = self.stream()
        return (
            StreamRequest(name=name, cursor=Cursor(column="id")),
            StreamRequest(name=name, cursor=Cursor(column="id", lag=2)),
        )

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        engine = sa.create_engine(self.url(root))
        with engine.connect() as connection:
            rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(sa.select(ORDERS)).mappings()]
        engine.dispose()
        return rows


class TestSqlite(SqlSuite):
    def url(self, root: Path) -> URL:
        return URL.create("sqlite", database=str(root / "shop.db"))


class TestPostgres(SqlSuite):
    server: URL

    @pytest.fixture(autouse=True)
    def on_a_server(self, postgres_url: URL) -> None:
        self.server = postgres_url
        self.secrets = {"env:SHOP_PASSWORD": str(postgres_url.password)}

    def url(self, root: Path) -> URL:
        return self.server

    def stream(self) -> str:
        return "public.orders"
