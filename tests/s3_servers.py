"""S3 servers for tests, one of each for a whole session: moto (in a process of its own) and a real Ceph RGW.

Use the fixtures ``moto_s3`` and ``ceph_s3`` from any conftest: ``from s3_servers import ceph_s3, moto_s3``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

_CEPH_PROGRAMS = ("monmaptool", "ceph-authtool", "ceph-mon", "ceph-osd", "ceph", "radosgw", "radosgw-admin")


@dataclass(frozen=True)
class S3Server:
    """A running server and the keys that it takes."""

    name: str
    endpoint: str
    access_key: str = "LAKECATTESTKEY"
    secret_key: str = field(default="lakecat-test-secret", repr=False)

    @property
    def environ(self) -> dict[str, str]:
        """What the secret references of ``storage`` resolve in."""
        return {"LAKECAT_TEST_KEY": self.access_key, "LAKECAT_TEST_SECRET": self.secret_key}

    def storage(self, **changes: object) -> dict[str, object]:
        """The storage section of a project that uses this server."""
        return {
            "endpoint": self.endpoint,
            "region": "us-east-1",
            "access_key": "env:LAKECAT_TEST_KEY",
            "secret_key": "env:LAKECAT_TEST_SECRET",
            "path_style": True,
            "connect_timeout": "2s",
            "read_timeout": "20s",
            "attempts": 3,
            **changes,
        }

    def new_bucket(self) -> str:
        """Make a bucket with a fresh name."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"}, request_checksum_calculation="when_required", connect_timeout=5
            ),
        )
        try:
            name = f"lake-{secrets.token_hex(6)}"
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return name


@pytest.fixture(scope="session")
def moto_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """moto's S3, with conditional writes as AWS has them."""
    with run_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real object store: one monitor, one memory-backed OSD and the S3 gateway of Ceph, on loopback."""
    missing = [program for program in _CEPH_PROGRAMS if shutil.which(program) is None]
    if missing:
        reason = f"Ceph is not installed ({', '.join(missing)}): apt-get install ceph-mon ceph-osd radosgw ceph-common"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    with run_ceph(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@contextmanager
def run_moto(folder: Path) -> Iterator[S3Server]:
    """Run moto's server in a process of its own."""
    port = _free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait("moto", lambda: _answers(port), [process], folder)
        yield S3Server("moto", f"http://127.0.0.1:{port}")
    finally:
        _stop([process])


@contextmanager
def run_ceph(folder: Path) -> Iterator[S3Server]:
    """Run a one-node Ceph with its S3 gateway; everything lies in ``folder``."""
    cluster = _Ceph(folder, mon=_free_port(), rgw=_free_port())
    server = S3Server("ceph", f"http://127.0.0.1:{cluster.rgw}")
    try:
        cluster.start()
        cluster.run(
            *("radosgw-admin", "-c", cluster.conf, "-n", "client.rgw.a", "user", "create"),
            *("--uid=lakecat", "--display-name=lakecat"),
            f"--access-key={server.access_key}",
            f"--secret-key={server.secret_key}",
        )
        yield server
    finally:
        _stop(list(reversed(cluster.daemons)))


@dataclass
class _Ceph:
    folder: Path
    mon: int
    rgw: int
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def conf(self) -> str:
        return str(self.folder / "ceph.conf")

    def start(self) -> None:
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd", "run", "log", "rgw"):
            (self.folder / name).mkdir()
        Path(self.conf).write_text(_CEPH_CONF.format(folder=self.folder, fsid=fsid, mon=self.mon, rgw=self.rgw))
        self._make_keys()
        address = f"[v2:127.0.0.1:{self.mon}]"
        monmap, keyring = str(self.folder / "monmap"), str(self.folder / "keyring")
        self.run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, monmap)
        self.run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self.spawn("mon", "ceph-mon", "-c", self.conf, "-i", "a", "-f")
        _wait("ceph-mon", lambda: _answers(self.mon), self.daemons, self.folder)
        osd = str(uuid.uuid4())
        self.ceph("osd", "new", osd)
        self.ceph("auth", "import", "-i", keyring)
        self.run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.ceph("osd", "crush", "add", "osd.0", "1.0", "root=default")
        self.spawn("osd", "ceph-osd", "-c", self.conf, "-i", "0", "-f")
        _wait("ceph-osd", lambda: b"1 up" in self.ceph("osd", "stat"), self.daemons, self.folder)
        self.spawn("rgw", "radosgw", "-c", self.conf, "-n", "client.rgw.a", "-f")
        _wait("radosgw", lambda: _answers(self.rgw), self.daemons, self.folder)

    def _make_keys(self) -> None:
        keyring = str(self.folder / "keyring")
        self.run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name, caps in {
            "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
            "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
            "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
        }.items():
            pairs = [part for cap in caps.items() for part in ("--cap", *cap)]
            self.run("ceph-authtool", keyring, "--gen-key", "-n", name, *pairs)

    def ceph(self, *arguments: str) -> bytes:
        return self.run("ceph", "-c", self.conf, "--connect-timeout", "60", *arguments)

    def run(self, *command: str) -> bytes:
        done = subprocess.run(command, capture_output=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout

    def spawn(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("wb") as log:
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))


_CEPH_CONF = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {folder}/keyring
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
crash dir = {folder}/run/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
ms bind ipv6 = false
mon data avail crit = 1
mon data avail warn = 2
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{rgw}
rgw dns name = localhost
rgw thread pool size = 64
rgw data = {folder}/rgw
rgw enable ops log = false
rgw enable usage log = false
rgw verify ssl = false
"""


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


def _wait(
    what: str, ready: Callable[[], bool], processes: Sequence[subprocess.Popen[bytes]], folder: Path, limit: float = 240
) -> None:
    deadline = time.monotonic() + limit
    while not ready():
        if any(process.poll() is not None for process in processes):
            raise RuntimeError(f"{what} stopped while starting; its log is in {folder}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not answer within {limit:.0f} s; its log is in {folder}")
        time.sleep(0.1)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)
