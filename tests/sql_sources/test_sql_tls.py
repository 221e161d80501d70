"""Encrypted connections: the server is proved by its certificate and its name, the client by a secret key."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from lakecat.connector import StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceUnavailableError
from lakecat.types import WriteMode

WHOLE = StreamRequest(name="t", mode=WriteMode.REPLACE)
REFUSED = (SourceUnavailableError, "no encrypted connection")


class Authority:
    """A certificate authority in a folder, and what it has signed."""

    def __init__(self, folder: Path, openssl: str) -> None:
        self.folder = folder
        self._openssl = openssl
        self._make("ca", "authority", "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name: str, subject: str, *more: str) -> None:
        self._make(name, subject, "-CA", str(self.folder / "ca.crt"), "-CAkey", str(self.folder / "ca.key"), *more)

    def _make(self, name: str, subject: str, *more: str) -> None:
        files = ["-keyout", str(self.folder / f"{name}.key"), "-out", str(self.folder / f"{name}.crt")]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command = [self._openssl, "req", "-x509", *key, "-days", "2", "-subj", f"/CN={subject}", *files, *more]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory, missing) -> Path:
    """A folder with an authority's certificate, and those of a server of the name localhost and of a client."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("no openssl: install it to make certificates")
    made = Authority(tmp_path_factory.mktemp("authority"), openssl)
    made.sign("server", "localhost", "-addext", "subjectAltName=DNS:localhost")
    made.sign("client", "lakecat_tls")
    other = Authority(tmp_path_factory.mktemp("other"), openssl)
    shutil.copy(other.folder / "ca.crt", made.folder / "other.crt")
    return made.folder


def connect(url) -> pymysql.Connection:
    return pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database, autocommit=True
    )


@pytest.fixture(scope="module")
def encrypting(mariadb_server, authority):
    """The tests' server, started anew with a certificate."""
    files = [f"--ssl-cert={authority}/server.crt", f"--ssl-key={authority}/server.key", f"--ssl-ca={authority}/ca.crt"]
    command = [*mariadb_server.process.args, *files]
    mariadb_server.kill()
    libc = ctypes.CDLL(None)
    mariadb_server.process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(1, signal.SIGKILL),  # noqa: PLW1509 - it ends with this process
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(pymysql.Error):
            connect(mariadb_server.admin).close()
            break
        time.sleep(0.05)
    yield
    mariadb_server.kill()
    mariadb_server.restart()


@pytest.fixture
def my(encrypting, mariadb_url, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(mariadb_url.password))
    with closing(connect(mariadb_url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY) SELECT 1 AS id")
        yield cursor


@pytest.fixture
def landed(my, mariadb_url, make_landed):
    return make_landed(mariadb_url, password="env:SQL_PASSWORD")


def check(landed, host: str, ssl: dict[str, str], error: tuple[type[Exception], str] | None) -> None:
    """Rows come, or the error."""
    landed.options |= {"ssl": ssl, "connection": landed.options["connection"].replace("@127.0.0.1:", f"@{host}:")}
    if error is None:
        assert landed.run(WHOLE) == 1
        return
    with pytest.raises(error[0], match=error[1]):
        landed.run(WHOLE)


@pytest.mark.parametrize(
    ("host", "mode", "root", "error"),
    [
        ("127.0.0.1", "require", None, None),
        ("127.0.0.1", "verify-ca", "ca.crt", None),
        ("localhost", "verify-full", "ca.crt", None),
        ("127.0.0.1", "verify-full", "ca.crt", REFUSED),
        ("localhost", "verify-ca", "other.crt", REFUSED),
        ("localhost", "verify-full", "system", REFUSED),
        ("localhost", "verify-full", "missing.crt", (ConfigError, "option 'ssl'")),
    ],
)
def test_mariadb_is_proved(landed, authority, host, mode, root, error) -> None:
    files = {} if root is None else {"root_certificate": root if root == "system" else str(authority / root)}
    check(landed, host, {"mode": mode, **files}, error)


@pytest.mark.parametrize(("host", "error"), [("localhost", None), ("127.0.0.1", REFUSED)])
def test_the_name_is_looked_at_when_the_system_knows_the_authority(landed, authority, monkeypatch, host, error) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.crt"))
    check(landed, host, {"mode": "verify-full", "root_certificate": "system"}, error)


def test_mariadb_without_encryption_where_it_is_wanted(landed, my, mariadb_url) -> None:
    my.execute("SHOW STATUS LIKE 'Ssl_cipher'")
    assert my.fetchone()[1]  # a driver left to itself encrypts
    my.execute("SET GLOBAL require_secure_transport = ON")
    try:
        check(landed, "127.0.0.1", {"mode": "prefer"}, None)
        check(landed, "127.0.0.1", {"mode": "disable"}, (SourceAccessError, "refuses the user"))  # it says no more
    finally:
        my.execute("SET GLOBAL require_secure_transport = OFF")


def test_a_client_of_mariadb_is_proved_by_a_secret_key(landed, my, authority, mariadb_url, monkeypatch) -> None:
    user = f"tls{mariadb_url.database[-10:]}"
    my.execute(f"CREATE USER {user} IDENTIFIED BY 'pw' REQUIRE SUBJECT '/CN=lakecat_tls'")
    my.execute(f"GRANT SELECT ON *.* TO {user}")
    monkeypatch.setenv("SQL_PASSWORD", "pw")
    monkeypatch.setenv("CLIENT_KEY", (authority / "client.key").read_text())
    landed.options["connection"] = landed.options["connection"].replace("lakecat@", f"{user}@")
    proved = {"mode": "verify-full", "root_certificate": str(authority / "ca.crt")}
    check(landed, "localhost", proved, (SourceAccessError, "refuses the user"))
    proved["certificate"] = str(authority / "client.crt")
    for key in ("env:CLIENT_KEY", str(authority / "client.key")):
        check(landed, "localhost", {**proved, "key": key}, None)
        landed.rows.clear()
    check(landed, "localhost", {**proved, "key": str(authority / "ca.key")}, (ConfigError, "do not belong together"))
    monkeypatch.setenv("CLIENT_KEY", "geheim")
    landed.options["ssl"] = {**proved, "key": "env:CLIENT_KEY"}
    with pytest.raises(ConfigError) as caught:
        landed.run(WHOLE)
    assert "geheim" not in str(caught.value)


@pytest.fixture
def encrypting_pg(pg, authority):
    """The tests' PostgreSQL with a certificate; the role lakecat_tls proves itself by its own."""
    folder = Path(pg.execute("SHOW data_directory").fetchone()[0])
    for name in ("server.crt", "server.key", "ca.crt"):
        shutil.copy(authority / name, folder / name)
        os.chown(folder / name, folder.stat().st_uid, folder.stat().st_gid)
        (folder / name).chmod(0o600)
    rules = (folder / "pg_hba.conf").read_text()
    (folder / "pg_hba.conf").write_text(f"hostssl all lakecat_tls all cert clientcert=verify-full\n{rules}")
    pg.execute("ALTER SYSTEM SET ssl = on")
    pg.execute("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'")
    pg.execute("SELECT pg_reload_conf()")
    pg.execute("CREATE ROLE lakecat_tls LOGIN; CREATE TABLE t AS SELECT 1 AS id; GRANT SELECT ON t TO lakecat_tls")
    yield
    pg.execute("DROP OWNED BY lakecat_tls; DROP ROLE lakecat_tls")
    (folder / "pg_hba.conf").write_text(rules)
    pg.execute("ALTER SYSTEM RESET ssl")
    pg.execute("ALTER SYSTEM RESET ssl_ca_file")
    pg.execute("SELECT pg_reload_conf()")


def test_postgresql_and_its_client_are_proved(encrypting_pg, authority, postgres_url, make_landed, monkeypatch) -> None:
    monkeypatch.setenv("CLIENT_KEY", (authority / "client.key").read_text())
    landed = make_landed(postgres_url)
    proved = {"mode": "verify-full", "root_certificate": str(authority / "ca.crt")}
    own = landed.options["connection"]
    check(landed, "127.0.0.1", proved, REFUSED)
    landed.options["connection"] = own.replace("127.0.0.1", "localhost")
    check(landed, "localhost", proved, None)
    landed.options["connection"] = own.replace("postgres@127.0.0.1", "lakecat_tls@localhost")
    check(landed, "localhost", proved, REFUSED)
    proved["certificate"] = str(authority / "client.crt")
    check(landed, "localhost", {**proved, "key": "env:CLIENT_KEY"}, None)
