"""A real HTTP server on the loopback whose answers the tests write, and connectors with a clock of their own."""

from __future__ import annotations

import gzip
import importlib.util
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from lakecat.connector import ConnectorContext, ReadOptions, ReadSummary, StreamRequest
from lakecat.errors import ConfigError
from lakecat.types import Position, WriteMode
from lakecat_connectors._rest_options import parse_options
from lakecat_connectors._rest_pace import Times
from lakecat_connectors.rest import Rest

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""What the servers' clocks say where a test does not set them: all rows are older."""


@dataclass(frozen=True)
class Request:
    """What came to the server."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@dataclass(frozen=True)
class Reply:
    """What the server answers. ``cut``: the connection is closed after so many bytes of the body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    packed: bool = False

    def encoded(self) -> bytes:
        plain = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return gzip.compress(plain) if self.packed else plain


Answer = Callable[[Request], Any]


class Api:
    """The server: what each path answers, and what it was asked."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self.now = LATER
        self._server = ThreadingHTTPServer((host, 0), _handler(self))
        self._server.daemon_threads = True
        self.host = host
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def on(self, path: str, answer: Any) -> None:
        """``answer``: a function of the request, or what to answer always: a Reply, or JSON."""
        self.answers[path] = answer if callable(answer) else lambda _request: answer

    def clear(self) -> None:
        self.answers.clear()
        self.requests.clear()
        self.now = LATER

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def date(self, *_args: Any) -> str:
        return format_datetime(self.now, usegmt=True)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        wbufsize = -1  # headers and body in one packet
        date_time_string = api.date

        def log_message(self, *args: Any) -> None:
            del args

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): text for name, text in self.headers.items()}
            request = Request(self.command, parts.path, query, headers, body)
            api.requests.append(request)
            answer = api.answers.get(parts.path)
            reply = Reply({"message": "no such path"}, 404) if answer is None else answer(request)
            self._send(reply if isinstance(reply, Reply) else Reply(reply))

        def _send(self, reply: Reply) -> None:
            body = reply.encoded()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
            if reply.packed:
                headers["Content-Encoding"] = "gzip"
            for name, text in headers.items():
                self.send_header(name, text)
            self.end_headers()
            try:
                self.wfile.write(body if reply.cut is None else body[: reply.cut])
                self.wfile.flush()
                if reply.cut is not None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
            except OSError:
                self.close_connection = True

    return Handler


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = START
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)

    def times(self) -> Times:
        def stopwatch() -> float:
            return (self.now - START).total_seconds()

        return Times(lambda: self.now, stopwatch, self.sleep, lambda: 1.0)


@dataclass
class State:
    """What the catalog would remember."""

    position: Position | None = None

    def loaded(self, files: Any) -> frozenset[Any]:
        del files
        return frozenset()

    def ledger(self) -> Iterator[Any]:
        return iter(())


@dataclass(frozen=True)
class Loaded:
    """What one run handed out."""

    table: pa.Table
    summaries: list[ReadSummary]
    keys: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    @property
    def types(self) -> dict[str, str]:
        return {column.name: str(column.type) for column in self.table.schema}

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [row for one in self.summaries if one.rejected is not None for row in one.rejected.to_pylist()]


class Lab:
    """Opens connectors on the server and runs them as lakecat does."""

    def __init__(self, api: Api, clock: Clock, root: Path) -> None:
        self.api = api
        self.clock = clock
        self.root = root
        self.secrets: dict[str, str] = {}
        self.opened: list[Rest] = []

    def open(self, options: Mapping[str, Any] | None = None, resolver: Any = None, **resource: Any) -> Rest:
        """A connector with these options; ``resource``: the only one, ``items`` at ``/items`` unless it says so."""
        given = dict(options or {})
        given.setdefault("base_url", self.api.url)
        given.setdefault("allow_private", True)
        given.setdefault("resources", {"items": {"path": "/items", **resource}})
        context = ConnectorContext(root=self.root, secret=self._secret, clock=lambda: self.clock.now)
        more = () if resolver is None else (resolver,)
        self.opened.append(Rest(parse_options(given), context, self.clock.times(), *more))
        return self.opened[-1]

    def load(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        stream: str | None = None,
        mode: WriteMode = WriteMode.REPLACE,
        state: State | None = None,
        read: ReadOptions | None = None,
        cursor: Any = None,
        key: tuple[str, ...] = (),
        checkpoint: int | None = None,
        **resource: Any,
    ) -> Loaded:
        """One run: what was planned is read, and its position remembered in ``state``."""
        return self.run(
            self.open(options, **resource),
            StreamRequest(name=stream, mode=mode, cursor=cursor, key=key, checkpoint=checkpoint),
            State() if state is None else state,
            read or ReadOptions(),
        )

    def run(self, connector: Rest, request: StreamRequest, state: State, read: ReadOptions) -> Loaded:
        tables, summaries, keys = [], [], []
        for slice_ in connector.plan(request, state):
            reader = connector.read(slice_, read)
            batches = list(reader)
            assert all(batch.schema == reader.schema for batch in batches)
            table = pa.Table.from_batches(batches, reader.schema)
            table.validate(full=True)
            summary = reader.summary()
            reader.close()
            assert summary.rows == table.num_rows
            tables.append(table)
            summaries.append(summary)
            keys.append(slice_.key)
            state.position = summary.position or slice_.position
        joined = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
        return Loaded(joined, summaries, keys)

    def run_with(self, options: Mapping[str, Any], resolver: Any) -> Loaded:
        """One run with a name server of the test's own."""
        connector = self.open({**options}, resolver)
        request = StreamRequest(mode=WriteMode.REPLACE)
        return self.run(connector, request, State(), ReadOptions())

    def _secret(self, reference: str) -> str:
        if reference not in self.secrets:
            raise ConfigError("a secret must be given by reference")
        return self.secrets[reference]


@pytest.fixture(scope="session")
def servers() -> Iterator[list[Api]]:
    """Two servers, which are two origins."""
    started = [Api(), Api()]
    yield started
    for api in started:
        api.stop()


@pytest.fixture
def api(servers: list[Api]) -> Api:
    servers[0].clear()
    return servers[0]


@pytest.fixture
def other_api(servers: list[Api]) -> Api:
    servers[1].clear()
    return servers[1]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lab(api: Api, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Lab]:
    caplog.set_level(logging.DEBUG)
    made = Lab(api, clock, tmp_path)
    yield made
    for connector in made.opened:
        connector.close()
    for secret in made.secrets.values():
        assert secret not in caplog.text, "a secret was logged"


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def new_state() -> type[State]:
    return State


@pytest.fixture(scope="session")
def project_type() -> Any:
    """The ``Project`` of the ingest tests: a folder with a real catalog and a local lake."""
    path = Path(__file__).parent.parent / "ingest" / "conftest.py"
    spec = importlib.util.spec_from_file_location("rest_ingest_lab", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Project


@pytest.fixture
def project(project_type: Any, tmp_path: Path) -> Iterator[Any]:
    made = project_type(tmp_path / "project")
    yield made
    made.catalog.close()
