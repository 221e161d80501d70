"""An S3 store that does not answer, refuses, or lies."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from s3_servers import S3Server

from lakecat.config import Storage
from lakecat.errors import ConfigError, StoreError, StoreUnavailableError
from lakecat.store import LakeStore

ENVIRON = {"KEY": "AKIDEXAMPLE", "SECRET": "very-secret-text"}


def _storage(endpoint: str, **changes: object) -> Storage:
    return Storage.model_validate(
        {
            "endpoint": endpoint,
            "region": "us-east-1",
            "access_key": "env:KEY",
            "secret_key": "env:SECRET",
            "connect_timeout": "1s",
            "read_timeout": "1s",
            "attempts": 2,
            **changes,
        }
    )


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
    for connection in held:
        connection.close()


def _put(store: LakeStore, location: str) -> None:
    with store.open_output(location) as output:
        output.write(b"x")


OPERATIONS: dict[str, Callable[[LakeStore, str], object]] = {
    "read": lambda store, at: store.read(at),
    "write": lambda store, at: store.write(at, b"x"),
    "create": lambda store, at: store.write(at, b"x", if_absent=True),
    "exists": lambda store, at: store.exists(at),
    "delete": lambda store, at: store.delete(at),
    "list": lambda store, at: list(store.list(at)),
    "open_input": lambda store, at: store.open_input(at),
    "open_output": _put,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_never_answers_is_given_up(silent: str, operation: str) -> None:
    store = LakeStore.open("s3://bucket/lake", _storage(silent), environ=ENVIRON)
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        OPERATIONS[operation](store, store.join("a"))
    assert time.monotonic() - started < 20
    assert "very-secret-text" not in str(caught.value)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nobody_listening(operation: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        store = LakeStore.open("s3://bucket/lake", _storage(endpoint), environ=ENVIRON)
        with pytest.raises(StoreUnavailableError):
            OPERATIONS[operation](store, store.join("a"))


class _Handler(BaseHTTPRequestHandler):
    """Answers every request with what the test set."""

    protocol_version = "HTTP/1.1"
    status = 200
    body = b""
    etag = '"00000000000000000000000000000000"'

    signatures: ClassVar[list[str | None]] = []

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.signatures.append(self.headers.get("Authorization"))
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = b"" if self.command == "PUT" and self.status == 200 else self.body
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", self.etag)
        self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    handler = type("Answer", (_Handler,), {"status": status, "body": body})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


def test_bytes_that_arrive_changed_are_found() -> None:
    with _answering(200, b"Other") as endpoint:
        store = LakeStore.open("s3://bucket/lake", _storage(endpoint), environ=ENVIRON)
        with pytest.raises(StoreError, match="other bytes"):
            store.write(store.join("a"), b"right")


def test_a_checksum_of_another_kind_is_settled_by_the_bytes() -> None:
    with _answering(200, b"right") as endpoint:
        store = LakeStore.open("s3://bucket/lake", _storage(endpoint), environ=ENVIRON)
        store.write(store.join("a"), b"right")


def test_an_upload_that_arrives_short_is_found() -> None:
    with _answering(200, b"abc") as endpoint:
        store = LakeStore.open("s3://bucket/lake", _storage(endpoint), environ=ENVIRON)
        with pytest.raises(StoreError, match="3 bytes, not the 8"), store.open_output(store.join("a")) as output:
            output.write(b"8 bytes.")


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"open_output"}))
def test_a_denied_request_is_never_a_missing_file(operation: str) -> None:
    body = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
    with _answering(403, body) as endpoint:
        store = LakeStore.open("s3://bucket/lake", _storage(endpoint), environ=ENVIRON)
        with pytest.raises(StoreError, match="refused"):
            OPERATIONS[operation](store, store.join("a"))


def test_wrong_keys_on_a_real_server(ceph_s3: S3Server) -> None:
    url = f"s3://{ceph_s3.new_bucket()}/x"
    store = LakeStore.open(
        url, Storage.model_validate(ceph_s3.storage()), environ={"LAKECAT_TEST_KEY": "A", "LAKECAT_TEST_SECRET": "B"}
    )
    with pytest.raises(StoreError, match="refused"):
        store.exists(store.join("a"))


def test_a_bucket_that_is_not_there(ceph_s3: S3Server) -> None:
    store = LakeStore.open(
        "s3://no-such-bucket-here/x", Storage.model_validate(ceph_s3.storage()), environ=ceph_s3.environ
    )
    for operation in ("write", "list", "open_output"):
        with pytest.raises(StoreError):
            OPERATIONS[operation](store, store.join("a"))


def test_keys_come_in_pairs_and_must_resolve() -> None:
    half = Storage.model_validate({"access_key": "env:KEY"})
    with pytest.raises(ConfigError, match="both"):
        LakeStore.open("s3://bucket/x", half, environ=ENVIRON)
    with pytest.raises(ConfigError, match="SECRET"):
        LakeStore.open("s3://bucket/x", _storage("http://127.0.0.1:1"), environ={"KEY": "x"})


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """AWS's own places hold nothing."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return monkeypatch


@pytest.mark.usefixtures("no_aws")
def test_no_keys_anywhere() -> None:
    with pytest.raises(ConfigError, match="no credentials"):
        LakeStore.open("s3://bucket/x")


def test_keys_from_an_aws_profile(moto_s3: S3Server, no_aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {moto_s3.access_key}\naws_secret_access_key = {moto_s3.secret_key}\n"
    )
    no_aws.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    url = f"s3://{moto_s3.new_bucket()}/x"
    store = LakeStore.open(url, Storage.model_validate({"endpoint": moto_s3.endpoint, "path_style": True}))
    store.write(store.join("small"), b"1")
    _put(store, store.join("large"))
    assert [one.size for one in store.list(store.url)] == [1, 1]


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize("anonymous", [True, False])
def test_anonymous_requests_are_not_signed(*, anonymous: bool) -> None:
    _Handler.signatures.clear()
    keys = {"access_key": None, "secret_key": None, "anonymous": True} if anonymous else {}
    with _answering(200, b"x") as endpoint:
        store = LakeStore.open("s3://bucket/x", _storage(endpoint, **keys), environ=ENVIRON)
        store.read(store.join("small"))
        store.open_input(store.join("large")).close()
    assert len(_Handler.signatures) >= 2
    assert {signature is None for signature in _Handler.signatures} == {anonymous}
