"""Files behind http URLs: loaded once for each ETag, never from private addresses unless that is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceError, SourceUnavailableError

pytest.importorskip("httpcore2", reason="the rest extra is not installed")


class Handler(BaseHTTPRequestHandler):
    body: ClassVar[bytes] = b"id\n1\n2\n"
    etag: ClassVar[str | None] = '"one"'
    failures: ClassVar[list[int]] = []
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = self.failures.pop() if self.failures else 404 if "missing" in self.path else 200
        body = self.body if status == 200 else b"no"
        self.send_response(status)
        if self.etag is not None:
            self.send_header("ETag", self.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.body, Handler.etag = b"id\n1\n2\n", '"one"'
    Handler.failures.clear()
    Handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize("path", ["/a.csv", "/to/a.csv", "/to/to/a.csv"])
def test_a_file_is_read(server: str, load, path: str) -> None:
    got = load(server + path, allow_private=True)
    assert got.rows == [{"id": 1}, {"id": 2}]
    (loaded,) = got.summary.files
    assert (loaded.file.uri, loaded.file.etag, loaded.file.size) == (server + path, "one", 7)


def test_a_query_is_no_wildcard(server: str, load) -> None:
    assert load(f"{server}/get?file=a[1]*", format="csv", allow_private=True).rows == [{"id": 1}, {"id": 2}]
    assert {line.partition(" ")[2] for line in Handler.asked} == {"/get?file=a[1]*"}


def test_an_unchanged_file_is_not_loaded_again(server: str, connectors, ledger_type) -> None:
    connector = connectors(f"{server}/a.csv", allow_private=True)
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    assert list(connector.plan(StreamRequest(), ledger_type(files=set(slice_.files)))) == []
    Handler.etag = '"two"'
    (again,) = connector.plan(StreamRequest(), ledger_type(files=set(slice_.files)))
    assert again.key != slice_.key


def test_a_file_that_changes_is_refused(server: str, connectors, ledger_type) -> None:
    connector = connectors(f"{server}/a.csv", allow_private=True)
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions())
    Handler.etag = '"two"'
    with pytest.raises(SourceError, match="changed"):
        list(reader)


def test_private_addresses_are_refused(server: str, load) -> None:
    with pytest.raises(SourceAccessError, match="private"):
        load(f"{server}/a.csv")
    assert Handler.asked == []


def test_a_server_that_is_busy_is_asked_again(server: str, load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakecat_connectors._http_files._WAITS", (0.0, 0.0, 0.0))
    Handler.failures.extend([503, 429])
    assert len(load(f"{server}/a.csv", allow_private=True).rows) == 2


@pytest.mark.parametrize(
    ("path", "change", "error", "says"),
    [
        ("/missing.csv", {}, SourceError, "no such file"),
        ("/a.csv", {"etag": None}, SourceError, "neither ETag"),
        ("/a.csv", {"failures": [401]}, SourceAccessError, "401"),
        ("/a.csv", {"failures": [500] * 4}, SourceUnavailableError, "500"),
        ("/a.csv", {"failures": [206]}, SourceError, "status 206"),
        ("/" + "to/" * 7 + "a.csv", {}, SourceError, "redirects more than"),
    ],
)
def test_what_the_server_cannot_give_is_said(
    server: str, load, monkeypatch: pytest.MonkeyPatch, path: str, change: dict[str, Any], error: Any, says: str
) -> None:
    monkeypatch.setattr("lakecat_connectors._http_files._WAITS", (0.0, 0.0, 0.0))
    for name, value in change.items():
        monkeypatch.setattr(Handler, name, value)
    with pytest.raises(error, match=says):
        load(server + path, allow_private=True)


def test_credentials_in_a_url_are_refused(load) -> None:
    with pytest.raises(ConfigError, match="credentials"):
        load("https://me:secret@example.org/a.csv")
