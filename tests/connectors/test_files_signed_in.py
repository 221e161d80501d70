"""Files behind http URLs that want to know who asks: credentials by reference, for the servers of the paths only."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lakecat.connector import ConnectorContext, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceUnavailableError
from lakecat_connectors.files import Files

pytest.importorskip("httpcore2", reason="the rest extra is not installed")

SECRETS = {"env:WORD": "s3cret", "env:BREAK": "two\nlines"}
BODY = b"id\n1\n"


class Site(ThreadingHTTPServer):
    """Serves one file to whoever sends ``wanted``, and remembers what was sent; ``/to/`` redirects to ``other``."""

    def __init__(self, wanted: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wanted = wanted
        self.other = ""
        self.cut = False
        self.sent: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer():
            self.wfile.write(BODY[:2] if self.server.cut else BODY)

    def _answer(self) -> bool:
        self.server.sent.append({name.lower(): text for name, text in self.headers.items()})
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.server.other + self.path.removeprefix("/to"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        known = all(self.headers.get(name) == text for name, text in self.server.wanted.items())
        self.send_response(200 if known else 401)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(BODY)) if known else "0")
        self.end_headers()
        return known

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sites() -> Iterator[Any]:
    started: list[Site] = []

    def start(**wanted: str) -> Site:
        site = Site(wanted)
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        started.append(site)
        return site

    yield start
    for site in started:
        site.shutdown()
        site.server_close()


def load(root: Path, url: str, ledger: Any, **options: Any) -> list[Any]:
    given = {"path": url, "allow_private": True, **options}
    connector = Files.open(given, ConnectorContext(root=root, secret=SECRETS.__getitem__))
    try:
        (slice_,) = connector.plan(StreamRequest(), ledger)
        return [row for batch in connector.read(slice_, ReadOptions()) for row in batch.to_pylist()]
    finally:
        connector.close()


PAIR = base64.b64encode(b"me:s3cret").decode()
WAYS: list[tuple[dict[str, Any], dict[str, str]]] = [
    (
        {"auth": {"type": "basic", "username": "me", "password": "env:WORD"}},
        {"authorization": f"Basic {PAIR}"},
    ),
    ({"auth": {"type": "bearer", "token": "env:WORD"}}, {"authorization": "Bearer s3cret"}),
    ({"auth": {"type": "api_key", "name": "X-Key", "value": "env:WORD"}}, {"x-key": "s3cret"}),
    ({"headers": {"X-Key": "env:WORD", "X-For": "lake"}}, {"x-key": "s3cret", "x-for": "lake"}),
]


@pytest.mark.parametrize(("http", "sent"), WAYS)
def test_who_asks_is_told(
    tmp_path: Path, sites: Any, ledger_type: Any, http: dict[str, Any], sent: dict[str, str]
) -> None:
    site = sites(**sent)
    assert load(tmp_path, f"{site.url}/a.csv", ledger_type(), http=http) == [{"id": 1}]
    with pytest.raises(SourceAccessError, match="401") as info:
        load(tmp_path, f"{site.url}/a.csv", ledger_type())
    assert info.value.hint is not None
    assert "sign in" in info.value.hint


@pytest.mark.parametrize(("http", "sent"), WAYS)
def test_redirects_to_other_servers_get_no_credentials(
    tmp_path: Path, sites: Any, ledger_type: Any, http: dict[str, Any], sent: dict[str, str]
) -> None:
    first, second = sites(), sites()
    first.other = second.url
    assert load(tmp_path, f"{first.url}/to/a.csv", ledger_type(), http=http) == [{"id": 1}]
    assert second.sent
    assert not [one for one in second.sent if set(one) & set(sent)]
    assert all(set(sent) <= set(one) for one in first.sent)


def test_a_redirect_back_is_known_again(tmp_path: Path, sites: Any, ledger_type: Any) -> None:
    first = sites(authorization="Bearer s3cret")
    first.other = first.url
    bearer = {"auth": {"type": "bearer", "token": "env:WORD"}}
    assert load(tmp_path, f"{first.url}/to/a.csv", ledger_type(), http=bearer) == [{"id": 1}]


def test_wrong_credentials_are_refused_and_not_shown(tmp_path: Path, sites: Any, ledger_type: Any) -> None:
    site = sites(authorization="Bearer right")
    with pytest.raises(SourceAccessError, match="401") as info:
        load(tmp_path, f"{site.url}/a.csv", ledger_type(), http={"auth": {"type": "bearer", "token": "env:WORD"}})
    assert "s3cret" not in f"{info.value} {info.value.hint} {info.value.__cause__!r}"


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ({"auth": {"type": "bearer", "token": "s3cret"}}, "reference"),
        ({"auth": {"type": "bearer"}}, "token: Field required"),
        ({"auth": {"type": "kerberos"}}, "not known here"),
        ({"auth": {"token": "env:WORD"}}, "not known here"),
        ({"auth": {"type": "api_key", "name": "k", "value": "env:WORD", "in": "query"}}, "in the query"),
        ({"auth": {"type": "bearer", "token": "env:BREAK"}}, "line break"),
        ({"headers": {"a b": "c"}}, "no sound HTTP header"),
        ({"cookies": {}}, r"unknown option 'http.cookies'"),
    ],
)
def test_sign_ins_that_make_no_sense_are_refused_at_once(tmp_path: Path, http: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as info:
        Files.open({"path": "https://x/a.csv", "http": http}, ConnectorContext(root=tmp_path, secret=SECRETS.get))
    assert "s3cret" not in str(info.value)


def test_credentials_do_not_go_over_open_wires(tmp_path: Path) -> None:
    options = {"path": ["https://x/a.csv", "http://x/b.csv"], "http": {"headers": {"x-key": "env:WORD"}}}
    with pytest.raises(ConfigError, match="everybody on the way"):
        Files.open(options, ConnectorContext(root=tmp_path, secret=SECRETS.__getitem__))


def test_a_file_that_breaks_off_is_no_file(tmp_path: Path, sites: Any, ledger_type: Any) -> None:
    site = sites()
    site.cut = True
    with pytest.raises(SourceUnavailableError):
        load(tmp_path, f"{site.url}/a.csv", ledger_type())
