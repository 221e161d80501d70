"""Emulators of other clouds' object stores, one of each for a whole session: Azurite, and Google Cloud Storage's.

Use the fixtures ``azurite`` and ``google`` from any test module: ``from cloud_servers import azurite, google``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import pytest

# The key that every Azurite takes: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Azurite:
    """Microsoft's emulator of Azure Blob Storage."""

    port: int

    def connection_string(self, key: str = _AZURITE_KEY) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};"
            f"BlobEndpoint=http://127.0.0.1:{self.port}/devstoreaccount1;"
        )

    def new_bucket(self) -> Container:
        from azure.storage.blob import BlobServiceClient

        service = BlobServiceClient.from_connection_string(self.connection_string())
        name = f"in-{secrets.token_hex(6)}"
        return Container("az", name, service.create_container(name))


@dataclass(frozen=True)
class Container:
    """A container of Azurite's."""

    scheme: str
    name: str
    client: Any

    def put(self, key: str, data: bytes) -> None:
        self.client.upload_blob(key, data, overwrite=True)

    def delete(self, key: str) -> None:
        self.client.delete_blob(key)


@dataclass(frozen=True)
class GoogleStorage:
    """An emulator of Google Cloud Storage's JSON API."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def new_bucket(self) -> Bucket:
        name = f"in-{secrets.token_hex(6)}"
        self.ask("POST", "/storage/v1/b?project=p", json.dumps({"name": name}).encode())
        return Bucket("gs", name, self)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> None:
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()


@dataclass(frozen=True)
class Bucket:
    """A bucket of the emulator's."""

    scheme: str
    name: str
    server: GoogleStorage

    def put(self, key: str, data: bytes) -> None:
        path = f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(key, safe='')}"
        self.server.ask("POST", path, data, kind="text/csv")

    def delete(self, key: str) -> None:
        self.server.ask("DELETE", f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Iterator[Azurite]:
    """Azurite from npm: ``azurite-blob`` on the PATH, or where LAKECAT_AZURITE says."""
    pytest.importorskip("adlfs", reason="the azure extra is not installed")
    program = os.environ.get("LAKECAT_AZURITE") or shutil.which("azurite-blob")
    if program is None:
        missing("Azurite is not installed: npm install azurite, and LAKECAT_AZURITE=…/node_modules/.bin/azurite-blob")
    port = _free_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command = [program, *options, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    yield from _run(command, port, tmp_path_factory.mktemp("azurite"), lambda: Azurite(port))


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Iterator[GoogleStorage]:
    """The package gcp-storage-emulator, from the test group."""
    pytest.importorskip("gcsfs", reason="the gcs extra is not installed")
    if not _is_there("gcp_storage_emulator"):
        missing("gcp-storage-emulator is not installed: pip install gcp-storage-emulator")
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "gcp_storage_emulator",
        "start",
        "-H",
        "127.0.0.1",
        "--port",
        str(port),
        "-M",
        "-q",
    ]
    yield from _run(command, port, tmp_path_factory.mktemp("google"), lambda: GoogleStorage(port))


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _run(command: list[str], port: int, folder: Path, server: Callable[[], Any]) -> Iterator[Any]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        yield server()
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
