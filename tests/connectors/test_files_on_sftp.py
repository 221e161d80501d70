"""Files on an SFTP server, a real one in this process: listed, read, and only from a server whose key is known."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakecat.connector import ConnectorContext, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceError
from lakecat_connectors.files import Files

paramiko = pytest.importorskip("paramiko", reason="the sftp extra is not installed")


class Server(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == ("me", "secret")
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username: str) -> str:
        return "password"


class Handle(paramiko.SFTPHandle):
    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class Folder(paramiko.SFTPServerInterface):
    root: Path

    def _path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def list_folder(self, path: str) -> Any:
        if path.endswith("closed"):
            return paramiko.SFTP_PERMISSION_DENIED
        if not self._path(path).is_dir():
            return paramiko.SFTP_NO_SUCH_FILE
        found = []
        for item in self._path(path).iterdir():
            facts = paramiko.SFTPAttributes.from_stat(item.lstat())  # as OpenSSH's server does
            facts.filename = item.name
            found.append(facts)
        return found

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(self._path(path).stat())
        except OSError as err:
            return paramiko.SFTPServer.convert_errno(err.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            handle = Handle(flags)
            handle.filename, handle.readfile = path, self._path(path).open("rb")
        except OSError as err:
            return paramiko.SFTPServer.convert_errno(err.errno)
        return handle


@pytest.fixture(scope="module")
def host_key() -> Any:
    return paramiko.ECDSAKey.generate()


@pytest.fixture
def server(tmp_path: Path, host_key: Any) -> Iterator[str]:
    """A server of the folder ``served``; its key stands in ``known``."""
    Folder.root = tmp_path / "served"
    (Folder.root / "in").mkdir(parents=True)
    transports: list[Any] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    line = f"[127.0.0.1]:{port} {host_key.get_name()} {host_key.get_base64()}\n"
    (tmp_path / "known").write_text(line)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Folder)
            transports.append(transport)
            transport.start_server(event=threading.Event(), server=Server())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"sftp://me@127.0.0.1:{port}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)
    for transport in transports:
        transport.close()


def opened(tmp_path: Path, path: str, password: str = "secret", **login: Any) -> Files:
    options = {"path": path, "sftp": {"password": "env:WORD", "known_hosts": "known", **login}}
    return Files.open(options, ConnectorContext(root=tmp_path, secret=lambda _: password))


def rows(connector: Files, ledger: Any) -> tuple[list[str], list[Any]]:
    uris: list[str] = []
    values: list[Any] = []
    for slice_ in connector.plan(StreamRequest(), ledger):
        reader = connector.read(slice_, ReadOptions())
        values += [row for batch in reader for row in batch.to_pylist()]
        uris += [file.uri for file in slice_.files]
        ledger.files.update(slice_.files)
    connector.close()
    return uris, values


def test_files_are_listed_and_read_once(tmp_path: Path, server: str, ledger_type: Any) -> None:
    ledger = ledger_type()
    (tmp_path / "served" / "in" / "b.csv").write_text("id\n2\n")
    (tmp_path / "served" / "in" / "a.csv").write_text("id\n1\n")
    (tmp_path / "served" / "in" / "x.txt").write_text("no")
    found = rows(opened(tmp_path, f"{server}/in/*.csv"), ledger)
    assert found == ([f"{server}/in/a.csv", f"{server}/in/b.csv"], [{"id": 1}, {"id": 2}])
    (tmp_path / "served" / "in" / "c.csv").write_text("id\n3\n")
    assert rows(opened(tmp_path, f"{server}/in/*.csv"), ledger) == ([f"{server}/in/c.csv"], [{"id": 3}])


def test_a_plain_path(tmp_path: Path, server: str, ledger_type: Any) -> None:
    (tmp_path / "served" / "a.csv").write_text("id\n1\n")
    assert rows(opened(tmp_path, f"{server}/a.csv"), ledger_type())[1] == [{"id": 1}]
    with pytest.raises(SourceError, match="no such file"):
        rows(opened(tmp_path, f"{server}/b.csv"), ledger_type())


def test_links_to_files_are_followed(tmp_path: Path, server: str, ledger_type: Any) -> None:
    folder = tmp_path / "served" / "in"
    (tmp_path / "served" / "a.csv").write_text("id\n1\n")
    (folder / "l.csv").symlink_to("../a.csv")
    (folder / "nowhere.csv").symlink_to("none.csv")
    (folder / "up").symlink_to("..")
    ledger = ledger_type()
    assert rows(opened(tmp_path, f"{server}/in/*.csv"), ledger) == ([f"{server}/in/l.csv"], [{"id": 1}])
    assert rows(opened(tmp_path, f"{server}/in/**/*.csv"), ledger) == ([], [])


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, server: str, ledger_type: Any) -> None:
    (tmp_path / "served" / "in" / "closed").mkdir()
    (tmp_path / "served" / "in" / "open").mkdir()
    (tmp_path / "served" / "in" / "open" / "a.csv").write_text("id\n1\n")
    for pattern in ("in/*/*.csv", "in/**/*.csv"):
        with pytest.raises(SourceAccessError, match="PermissionError"):
            rows(opened(tmp_path, f"{server}/{pattern}"), ledger_type())
    assert rows(opened(tmp_path, f"{server}/none/*.csv"), ledger_type()) == ([], [])


def test_a_wrong_password_is_refused(tmp_path: Path, server: str, ledger_type: Any) -> None:
    with pytest.raises(SourceAccessError) as caught:
        rows(opened(tmp_path, f"{server}/*.csv", password="wrong"), ledger_type())
    assert "wrong" not in str(caught.value).replace("wrong login", "")


def test_a_server_that_is_not_known_is_refused(tmp_path: Path, server: str, ledger_type: Any) -> None:
    (tmp_path / "none").write_text("")
    with pytest.raises(SourceAccessError, match="not in none"):
        rows(opened(tmp_path, f"{server}/*.csv", known_hosts="none"), ledger_type())
    with pytest.raises(ConfigError, match="cannot be read"):
        rows(opened(tmp_path, f"{server}/*.csv", known_hosts="missing"), ledger_type())


def test_passwords_come_by_reference(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reference"):
        Files.open({"path": "sftp://me@h/a.csv", "sftp": {"password": "secret"}}, ConnectorContext(root=tmp_path))
    with pytest.raises(ConfigError, match="credentials"):
        opened(tmp_path, "sftp://me:secret@h/a.csv")
