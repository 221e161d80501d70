"""The rest connector keeps the protocol's promises, on a server that asks for a token and gives pages of three."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lakecat.connector import Cursor, StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat.types import Json
from lakecat_connectors.rest import Rest

TOKEN = "s3cret-token"


class Shop(ThreadingHTTPServer):
    daemon_threads = True
    rows: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Shop

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        rows = [row for row in self.server.rows if row["seq"] >= asked.get("since", 0)]
        start = asked.get("offset", 0)
        known = parts.path == "/orders"
        body = json.dumps(rows[start : start + 3] if known and allowed else {"error": "no"}).encode()
        self.send_response((200 if allowed else 401) if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class TestRest(ConnectorSuite):
    connector = Rest
    secrets = {"env:TOKEN": TOKEN}  # noqa: RUF012 - as an author writes it
    seeds = 3

    @pytest.fixture(autouse=True)
    def shop(self) -> Iterator[None]:
        self.server = Shop(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.gone = False
        yield
        if not self.gone:
            self.stop()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def options(self, root: Path) -> Mapping[str, Json]:
        return {
            "base_url": f"http://127.0.0.1:{self.server.server_address[1]}",
            "allow_private": True,
            "auth": {"type": "bearer", "token": "env:TOKEN"},
            "retries": 1,
            "resources": {
                "orders": {
                    "path": "/orders",
                    "primary_key": ["id"],
                    "incremental": {"param": "since"},
                    "paginator": {"type": "offset", "limit": 3},
                },
                "others": {"path": "/others"},
            },
        }

    def fill(self, root: Path) -> None:
        self.server.rows = []
        for at in (1, 2, 2, 3, 5, 5, 5, 6, 7, 7, 8, 9):
            self.order(at)

    def order(self, seq: int) -> None:
        number = len(self.server.rows)
        self.server.rows.append({"id": number, "seq": seq, "note": None if number % 3 == 0 else f"n{number}"})

    def grow(self, root: Path) -> None:
        latest = self.server.rows[-1]["seq"]
        for more in (0, 0, 1):
            self.order(latest + more)

    def destroy(self, root: Path) -> None:
        self.stop()
        self.gone = True

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(name="orders", cursor=Cursor(column="seq")),)

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        return list(self.server.rows)
