"""The files connector on Azure Blob Storage and Google Cloud Storage: their own protocols, spoken by emulators."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cloud_servers import Azurite, GoogleStorage, azurite, google
from hypothesis import given
from hypothesis import strategies as st

from lakecat.connector import ConnectorContext, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceChangedError, SourceError
from lakecat_connectors import _object_pages
from lakecat_connectors._walking import matcher
from lakecat_connectors.files import Files

__all__ = ["azurite", "google"]

Opened = Callable[..., Files]


@pytest.fixture(params=["azure", "google"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Opened]]:
    """A fresh bucket, and how a job opens it."""
    if request.param == "azure":
        azure: Azurite = request.getfixturevalue("azurite")
        secret = azure.connection_string()
        login: dict[str, Any] = {"azure": {"connection_string": "env:CLOUD"}}
        bucket: Any = azure.new_bucket()
    else:
        server: GoogleStorage = request.getfixturevalue("google")
        secret = "unused"
        login = {"google": {"endpoint": server.url, "anonymous": True}}
        bucket = server.new_bucket()
    opened: list[Files] = []

    def open_files(key: str, **options: Any) -> Files:
        given = {"path": f"{bucket.scheme}://{bucket.name}/{key}", **login, **options}
        opened.append(Files.open(given, ConnectorContext(root=tmp_path, secret=lambda _: secret)))
        return opened[-1]

    yield bucket, open_files
    for files in opened:
        files.close()


def rows(connector: Files, ledger: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for slice_ in connector.plan(StreamRequest(), ledger):
        reader = connector.read(slice_, ReadOptions())
        found += [(slice_.files[0].uri, row) for batch in reader for row in batch.to_pylist()]
        ledger.files.update(item.file for item in reader.summary().files)
    return found


def test_files_are_listed_read_and_loaded_once(cloud: tuple[Any, Opened], ledger_type: Any) -> None:
    bucket, opened = cloud
    site = f"{bucket.scheme}://{bucket.name}"
    for key in ("in/b.csv", "in/a #1?%20é.csv", "in/x.txt", "in/deep/c.csv", "other/d.csv", "in/.hidden.csv"):
        bucket.put(key, b"id\n1\n")
    ledger = ledger_type()
    one = {"id": 1}
    assert rows(opened("in/*.csv"), ledger) == [(f"{site}/in/a #1?%20é.csv", one), (f"{site}/in/b.csv", one)]
    assert rows(opened("in/*.csv"), ledger) == []
    assert rows(opened("in/**/*.csv"), ledger) == [(f"{site}/in/deep/c.csv", one)]
    bucket.put("in/late.csv", b"id\n2\n")
    assert rows(opened("in/*.csv"), ledger) == [(f"{site}/in/late.csv", {"id": 2})]
    assert rows(opened("other/d.csv"), ledger) == [(f"{site}/other/d.csv", one)]


@pytest.mark.parametrize("pattern", ["in/*.csv", "**/*.csv", "*/dt=*/*.csv", "in/[a-c]?.csv"])
def test_pages_make_one_listing(cloud: tuple[Any, Opened], pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, opened = cloud
    keys = [f"in/{letter}{digit}.csv" for letter in "abcd" for digit in range(3)] + ["in/dt=1/a.csv", "in/dt=2/b.csv"]
    for key in keys:
        bucket.put(key, b"id\n1\n")
    whole = opened(pattern)._listing.scan()
    monkeypatch.setattr(_object_pages, "PAGE", 2)
    assert opened(pattern)._listing.scan() == whole
    expected = {"in/*.csv": 12, "**/*.csv": 14, "*/dt=*/*.csv": 2, "in/[a-c]?.csv": 9}
    assert len({version.uri for version in whole}) == len(whole) == expected[pattern]
    assert all(version.etag and version.mtime and version.size == 5 for version in whole)


def test_a_file_of_another_content_and_the_same_size_is_another_version(
    cloud: tuple[Any, Opened], ledger_type: Any
) -> None:
    bucket, opened = cloud
    bucket.put("in/a.csv", b"id\n1\n")
    ledger = ledger_type()
    assert len(rows(opened("in/*.csv"), ledger)) == 1
    bucket.put("in/a.csv", b"id\n2\n")
    connector = opened("in/*.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger)
    bucket.put("in/a.csv", b"id\n3\n")
    with pytest.raises(SourceChangedError):
        connector.read(slice_, ReadOptions())
    reading = opened("in/*.csv")
    (slice_,) = reading.plan(StreamRequest(), ledger)
    reader = reading.read(slice_, ReadOptions())
    bucket.put("in/a.csv", b"id\n4\n")
    with pytest.raises(SourceChangedError):
        list(reader)
    assert [row for _, row in rows(opened("in/*.csv"), ledger)] == [{"id": 4}]


def test_files_that_go_are_noticed(cloud: tuple[Any, Opened], ledger_type: Any) -> None:
    bucket, opened = cloud
    bucket.put("in/a.csv", b"id\n1\n")
    bucket.put("in/b.csv", b"id\n1\n")
    ledger = ledger_type()
    rows(opened("in/*.csv"), ledger)
    connector = opened("in/*.csv")
    bucket.delete("in/a.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger)
    assert [file.uri for file in slice_.gone] == [f"{bucket.scheme}://{bucket.name}/in/a.csv"]
    with pytest.raises(SourceError, match="no such file"):
        opened("in/a.csv").plan(StreamRequest(), ledger)


def test_a_bucket_that_is_not_there_is_an_error(cloud: tuple[Any, Opened], ledger_type: Any) -> None:
    bucket, opened = cloud
    connector = opened("", path=f"{bucket.scheme}://no-such-bucket/*.csv")
    with pytest.raises(SourceError, match="no such bucket"):
        connector.plan(StreamRequest(), ledger_type())
    assert opened("nothing/*.csv").plan(StreamRequest(), ledger_type()) == ()


def test_a_wrong_key_of_azure_is_refused(azurite: Azurite, tmp_path: Path, ledger_type: Any) -> None:
    wrong = "d3Jvbmc="
    bucket = azurite.new_bucket()
    bucket.put("a.csv", b"id\n1\n")
    context = ConnectorContext(root=tmp_path, secret=lambda _: azurite.connection_string(wrong))
    for path in ("*.csv", "a.csv"):
        options = {"path": f"az://{bucket.name}/{path}", "azure": {"connection_string": "env:CLOUD"}}
        with pytest.raises(SourceAccessError) as info:
            Files.open(options, context).plan(StreamRequest(), ledger_type())
        assert wrong not in f"{info.value} {info.value.hint}"
        assert info.value.hint == "check the credentials, and what they may do"


class Refusing(BaseHTTPRequestHandler):
    """A token server that knows nobody."""

    def do_POST(self) -> None:
        body = json.dumps({"error": "invalid_grant"}).encode()
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_wrong_key_of_google_is_refused(
    google: GoogleStorage, tmp_path: Path, ledger_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    plain = serialization.NoEncryption()
    kind = serialization.PrivateFormat.PKCS8
    key = rsa.generate_private_key(65537, 2048).private_bytes(serialization.Encoding.PEM, kind, plain).decode()
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        account = {
            "type": "service_account",
            "client_email": "me@example.org",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
            "private_key": key,
        }
        options = {"path": "gs://any/*.csv", "google": {"service_account": "env:K", "endpoint": google.url}}
        context = ConnectorContext(root=tmp_path, secret=lambda _: json.dumps(account))
        with pytest.raises(SourceAccessError) as info:
            Files.open(options, context).plan(StreamRequest(), ledger_type())
        server.shutdown()
    assert "PRIVATE" not in f"{info.value} {info.value.hint}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "az://in/*.csv", "azure": {"account": "a", "key": "abc"}}, "must be a reference"),
        ({"path": "az://in/*.csv", "azure": {"sas": "sv=1"}}, "must be a reference"),
        ({"path": "gs://in/*.csv", "google": {"service_account": "{}"}}, "must be a reference"),
        ({"path": "gs://in/*.csv", "google": {"token": "env:A"}}, "unknown option 'google.token'"),
        ({"path": "abfss://in@account.dfs.core.windows.net/*.csv"}, "credentials do not belong"),
    ],
)
def test_logins_that_make_no_sense_are_refused_at_once(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Files.open(options, ConnectorContext(root=tmp_path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "az://in/*.csv"}, "no way to log in"),
        ({"path": "gs://in/*.csv", "google": {"service_account": "env:K"}}, "no key of a service account"),
    ],
)
def test_logins_that_do_not_hold_are_refused_when_used(
    tmp_path: Path, options: dict[str, Any], says: str, ledger_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("adlfs", reason="the azure extra is not installed")
    pytest.importorskip("gcsfs", reason="the gcs extra is not installed")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    connector = Files.open(options, ConnectorContext(root=tmp_path, secret=lambda _: "no key"))
    with pytest.raises(ConfigError, match=says):
        connector.plan(StreamRequest(), ledger_type())


def test_one_store_has_one_scheme_in_the_ledger(tmp_path: Path) -> None:
    for written, uri in (("gcs", "gs"), ("abfs", "az"), ("abfss", "az")):
        connector = Files.open({"path": f"{written}://in/*.csv"}, ConnectorContext(root=tmp_path))
        assert connector._listing.names(f"{uri}://in/a.csv")


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_buckets_have_no_wildcards(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(ConfigError, match="a bucket has no wildcards"):
        Files.open({"path": f"{scheme}://b*/in/a.csv"}, ConnectorContext(root=tmp_path))


class Paged:
    """Google's objects.list as its documentation has it, in pages of two; the emulator gives everything at once."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        self.asked: list[str] = []

    def call(self, *_: str, json_out: bool, prefix: str, delimiter: str = "", pageToken: str = "", **__: Any) -> Any:  # noqa: N803
        assert json_out
        self.asked.append(prefix)
        found = [key for key in self.keys if key.startswith(prefix)]
        entries = sorted(
            {
                key[: key.index(delimiter, len(prefix)) + 1] if delimiter and delimiter in key[len(prefix) :] else key
                for key in found
            }
        )
        start = int(pageToken or 0)
        page = entries[start : start + 2]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if folders := [one for one in page if delimiter and one.endswith(delimiter)]:
            answer["prefixes"] = folders
        if items := [one for one in page if one not in folders]:
            made = "2026-01-02T03:04:05.678Z"
            answer["items"] = [{"name": one, "size": "5", "generation": "1", "timeCreated": made} for one in items]
        if start + 2 < len(entries):
            answer["nextPageToken"] = str(start + 2)
        return answer


@given(
    keys=st.sets(st.from_regex(r"(in|x|dt=[0-9])/([a-c]/)?[a-e]\.(csv|txt)", fullmatch=True), max_size=25),
    pattern=st.sampled_from(["in/*.csv", "**/*.csv", "*/*.csv", "dt=*/a/*.csv", "in/[ab].csv", "*/?/a.*"]),
)
def test_pages_of_google_hold_what_a_pattern_matches(keys: set[str], pattern: str) -> None:
    pages = _object_pages.pages_of(Paged(list(keys)), "gs")
    assert pages is not None
    found = sorted(str(one["name"]) for one in _object_pages.objects(pages, f"b/{pattern}"))
    assert found == sorted(f"b/{key}" for key in keys if matcher(pattern).match(key))
