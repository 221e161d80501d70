"""What can be wrong with the catalog's database, each its own error class: no driver's error, no password, no half."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat import errors
from lakecat.catalog import Catalog, Holder, database, sqlite
from lakecat.catalog import schema as s
from lakecat.catalog.driver_errors import meaning_of

HOLDER = Holder("host", 1, "user", "lakecat run")
SECRET = "hunter2 @:/"


def ask(catalog: Catalog) -> None:
    """Any question."""
    assert catalog.datasets() == ()


def write(catalog: Catalog, resource: str = "raw.orders") -> None:
    """Any change."""
    catalog.release(catalog.acquire(resource, HOLDER))


def make(url: URL) -> None:
    Catalog.open(url, create=True).close()


def check_told(error: BaseException) -> None:
    """What every error for people keeps to."""
    assert isinstance(error, errors.LakecatError)
    assert "p@ss" not in str(error)
    assert "p%40ss" not in str(error)
    assert SECRET not in str(error)
    assert "sqlalche.me" not in str(error)
    assert "Traceback" not in str(error)
    assert error.hint or error.next_command


# another program's


def test_a_database_of_another_program_is_refused_and_left_alone(catalog_url: URL):
    engine = sa.create_engine(catalog_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id INT PRIMARY KEY)")
    for create in (True, False):
        with pytest.raises(errors.ForeignDatabaseError, match="customers") as caught:
            Catalog.open(catalog_url, create=create)
        check_told(caught.value)
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["customers"]


@pytest.mark.parametrize("content", [b"<html>no database</html>" * 99, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes):
    path = tmp_path / "catalog.db"
    path.write_bytes(content)
    for create in (True, False):
        with pytest.raises((errors.ForeignDatabaseError, errors.CatalogDamagedError)) as caught:
            Catalog.open(f"sqlite:///{path}", create=create)
        check_told(caught.value)
    assert path.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.db"]


def test_a_folder_is_no_catalog(tmp_path: Path):
    with pytest.raises(errors.ForeignDatabaseError, match="no file"):
        Catalog.open(f"sqlite:///{tmp_path}", create=True)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "no/such/folder.db"])
def test_a_path_that_cannot_be_is_told(tmp_path: Path, name: str):
    for create in (True, False):
        with pytest.raises((errors.CatalogUnavailableError, errors.ConfigError)):
            Catalog.open(URL.create("sqlite", database=f"{tmp_path}/{name}"), create=create)


def test_damage_is_called_damage(tmp_path: Path):
    path = tmp_path / "catalog.db"
    url = URL.create("sqlite", database=str(path))
    make(url)
    with path.open("r+b") as file:
        file.seek(4096)  # behind the page with the table of tables
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with (
        pytest.raises((errors.CatalogDamagedError, errors.CatalogVersionError)) as caught,
        Catalog.open(url) as catalog,
    ):
        ask(catalog)
    check_told(caught.value)


# read-only


@pytest.fixture
def frozen(missing) -> Iterator[Callable[[Path], Path]]:
    """Makes a folder one that nobody can write into, root neither; its path as such."""
    undo: list[Callable[[], object]] = []

    def freeze(folder: Path) -> Path:
        if os.geteuid() != 0:
            for path in folder.iterdir():
                path.chmod(0o444)
            folder.chmod(0o555)
            undo.append(lambda: folder.chmod(0o755))
            return folder
        view = folder.with_name(f"{folder.name}_frozen")
        view.mkdir()
        for command in (["mount", "--bind", str(folder), str(view)], ["mount", "-o", "remount,ro,bind", str(view)]):
            if subprocess.run(command, check=False, capture_output=True).returncode:
                missing("root may not mount here, so nothing is read-only to it")
        undo.append(lambda: subprocess.run(["umount", str(view)], check=True))
        return view

    yield freeze
    for step in undo:
        step()


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("create", [True, False])
def test_a_read_only_catalog_answers_questions_and_says_so_when_written(tmp_path: Path, frozen, journal, create):
    folder = tmp_path / "data"
    folder.mkdir()
    make(URL.create("sqlite", database=f"{folder}/catalog.db"))
    with closing(sqlite3.connect(folder / "catalog.db")) as raw:
        raw.execute(f"PRAGMA journal_mode = {journal}")
    files, before = sorted(item.name for item in folder.iterdir()), (folder / "catalog.db").read_bytes()
    view = frozen(folder)
    with Catalog.open(URL.create("sqlite", database=f"{view}/catalog.db"), create=create) as catalog:
        ask(catalog)
        assert catalog.integrity() == ()
        with pytest.raises(errors.CatalogReadOnlyError) as caught:
            write(catalog)
        check_told(caught.value)
        ask(catalog)
    assert sorted(item.name for item in folder.iterdir()) == files
    assert (folder / "catalog.db").read_bytes() == before


def test_a_read_only_catalog_of_an_older_lakecat_is_told_to_be_upgraded_elsewhere(tmp_path: Path, frozen):
    folder = tmp_path / "data"
    folder.mkdir()
    make(URL.create("sqlite", database=f"{folder}/catalog.db"))
    with closing(sqlite3.connect(folder / "catalog.db")) as raw:
        raw.execute(f"UPDATE {s.VERSION_TABLE} SET version_num = '0001'")
        raw.commit()
    (folder / "other.db").touch()
    view = frozen(folder)
    with pytest.raises(errors.CatalogReadOnlyError, match="schema") as caught:
        Catalog.open(URL.create("sqlite", database=f"{view}/catalog.db"))
    check_told(caught.value)
    with pytest.raises(errors.CatalogMissingError):
        Catalog.open(URL.create("sqlite", database=f"{view}/other.db"))
    with pytest.raises(errors.CatalogReadOnlyError):
        Catalog.open(URL.create("sqlite", database=f"{view}/new.db"), create=True)


def reader_of(url: URL) -> URL:
    """A user of the server who may only read this database."""
    name = f"reader_{uuid4().hex[:8]}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        if url.get_backend_name() == "postgresql":
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
            connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
        else:
            connection.exec_driver_sql(f"CREATE USER '{name}'@'%%' IDENTIFIED BY 'p@ss:w/rd'")
            connection.exec_driver_sql(f"GRANT SELECT ON {url.database}.* TO '{name}'@'%%'")
    return url.set(username=name)


@pytest.fixture(params=["postgres", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> URL:
    url: URL = request.getfixturevalue(f"{request.param}_url")
    return url


def test_a_user_who_may_only_read_gets_answers(server_url: URL):
    make(server_url)
    reader = reader_of(server_url)
    try:
        with Catalog.open(reader, create=True) as catalog:
            ask(catalog)
            for _ in range(2):
                with pytest.raises(errors.CatalogReadOnlyError) as caught:
                    write(catalog)
                check_told(caught.value)
            ask(catalog)
    finally:
        drop_user(server_url, str(reader.username))


def drop_user(url: URL, name: str) -> None:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        if url.get_backend_name() == "postgresql":
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")
        else:
            connection.exec_driver_sql(f"DROP USER '{name}'@'%%'")


def test_a_server_that_only_reads_says_so(postgres_url: URL):
    """As a standby does."""
    make(postgres_url)
    with sa.create_engine(postgres_url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {postgres_url.database} SET default_transaction_read_only = on")
    with Catalog.open(postgres_url) as catalog:
        ask(catalog)
        with pytest.raises(errors.CatalogReadOnlyError) as caught:
            write(catalog)
    check_told(caught.value)


# full


@pytest.fixture
def small_disk(tmp_path: Path, missing) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of this size."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk_{size}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
            if os.environ.get("CI") == "true" and os.geteuid() == 0:
                missing("root may not mount here, so no disk can be filled")
            pytest.skip("only root can mount a small disk to fill it")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free on it; the file to remove to make room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return filler


def fill_catalog(catalog: Catalog) -> None:
    """Write until there is no room."""
    for number in range(2000):
        catalog.acquire(f"{number} {'x' * 400}", HOLDER)
    pytest.fail("the disk never became full")


def check_full_then_room(catalog: Catalog, make_room: Callable[[], object]) -> None:
    with pytest.raises(errors.CatalogFullError) as caught:
        fill_catalog(catalog)
    check_told(caught.value)
    with catalog.database.reading() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(s.lease)).scalar_one()
        last = connection.execute(sa.select(s.lease.c.resource).where(s.lease.c.resource.like(f"{count} %"))).all()
    assert last == [], "the one that failed left nothing"
    make_room()
    catalog.acquire(f"{count} {'x' * 400}", HOLDER)


def test_a_full_disk_under_sqlite(small_disk):
    disk = small_disk("2m")
    with Catalog.open(f"sqlite:///{disk}/catalog.db", create=True) as catalog:
        filler = fill(disk)
        check_full_then_room(catalog, filler.unlink)
        assert catalog.integrity() == ()


def test_no_room_for_a_new_catalog(small_disk):
    disk = small_disk("64k")
    with pytest.raises(errors.CatalogFullError) as caught:
        Catalog.open(f"sqlite:///{disk}/catalog.db", create=True)
    check_told(caught.value)


def test_a_full_quota_under_sqlite(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        engine = catalog.database.engine
        engine.dispose()

        def limit(connection: Any, _entry: Any) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + room[0]}")

        room = [4]
        sa.event.listen(engine, "connect", limit)

        def more() -> None:
            room[0] = 1000
            engine.dispose()

        check_full_then_room(catalog, more)


def test_a_full_disk_under_postgresql(postgres_server, small_disk):
    disk = small_disk("24m")
    if os.geteuid() == 0:
        shutil.chown(disk, "nobody")
    name = f"small_{uuid4().hex[:8]}"
    admin = sa.create_engine(postgres_server.admin, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        for parent in disk.parents:  # the server, which runs as another user, must get there
            if parent.owner() == "root" and parent.stat().st_mode & 0o077 == 0 and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o011)
        connection.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION '{disk}'")
        connection.exec_driver_sql(f"CREATE DATABASE {name} TABLESPACE {name}")
    try:
        with Catalog.open(postgres_server.admin.set(database=name), create=True) as catalog:
            filler = fill(disk)
            check_full_then_room(catalog, filler.unlink)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
            connection.exec_driver_sql(f"DROP TABLESPACE {name}")


def test_a_full_disk_under_mariadb(mariadb_server, mariadb_url, small_disk):
    """The database's folder is a link to the small disk."""
    with sa.create_engine(mariadb_url, poolclass=sa.NullPool).connect() as connection:
        data = Path(connection.exec_driver_sql("SELECT @@datadir").scalar_one())
    disk = small_disk("24m")
    folder = data / str(mariadb_url.database)
    shutil.copytree(folder, disk / "db")
    shutil.rmtree(folder)
    folder.symlink_to(disk / "db")
    try:
        with Catalog.open(mariadb_url, create=True) as catalog:
            filler = fill(disk)
            check_full_then_room(catalog, filler.unlink)
            mariadb_server.drop_database(mariadb_url)
    finally:
        folder.unlink(missing_ok=True)
        if not folder.exists():  # the fixture drops the database once more
            mariadb_server._execute(f"CREATE DATABASE {mariadb_url.database}")


# nobody there, or not for us


class _Shouts(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        self.request.recv(100)


class _HangsUp(BaseRequestHandler):
    pass


@pytest.mark.parametrize("handler", [_Shouts, _HangsUp])
@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_something_else_listens_there(driver: str, handler: type[BaseRequestHandler]):
    with ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = URL.create(driver, "user", SECRET, "127.0.0.1", server.server_address[1], "catalog")
        with pytest.raises((errors.CatalogUnreachableError, errors.CatalogLostError)) as caught:
            Catalog.open(url, create=True)
        server.shutdown()
    check_told(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "a" * 70 + ".invalid", "ä..b"])
@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_nobody_is_there(driver: str, host: str):
    with pytest.raises(errors.CatalogUnreachableError) as caught:
        Catalog.open(URL.create(driver, "user", SECRET, host, 1, "catalog"), create=True)
    check_told(caught.value)


def test_an_unknown_database(server_url: URL):
    with pytest.raises(errors.CatalogMissingError) as caught:
        Catalog.open(server_url.set(database="no_such_database"), create=True)
    check_told(caught.value)


def test_an_unknown_user_and_a_wrong_password(server_url: URL):
    with pytest.raises(errors.CatalogAccessError) as caught:
        Catalog.open(server_url.set(username="nobody_of_that_name", password=SECRET), create=True)
    check_told(caught.value)
    if server_url.get_backend_name() == "mysql":  # the tests' PostgreSQL trusts everybody
        with pytest.raises(errors.CatalogAccessError) as caught:
            Catalog.open(server_url.set(password=SECRET), create=True)
        check_told(caught.value)


def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    def no_driver(*_args: object, **_more: object) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(sa, "create_engine", no_driver)
    with pytest.raises(errors.ConfigError, match="driver psycopg") as caught:
        Catalog.open(f"postgresql://u:{'hunter2'}@h/d")
    assert caught.value.hint == "pip install 'lakecat[postgres]'"


# locks


def test_a_lock_that_is_held_too_long(catalog_url: URL, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 1)
    monkeypatch.setattr(database, "_RETRY_SECONDS", 1)
    monkeypatch.setattr(sqlite, "WRITE_WAIT_SECONDS", 0.5)
    make(catalog_url)
    with Catalog.open(catalog_url) as ours, Catalog.open(catalog_url) as theirs:
        write(ours)
        with theirs.database.writing() as connection:
            connection.execute(sa.update(s.lease).values(host="them"))
            with pytest.raises(errors.CatalogBusyError) as caught:
                ours.acquire("raw.orders", HOLDER)
            ask(ours)
        check_told(caught.value)
        write(ours)


# the table of codes


def driver_error(backend: str, code: object, text: str = "it is so") -> sa.exc.DBAPIError:
    if backend == "sqlite":
        original: Exception = sqlite3.OperationalError(text)
        original.sqlite_errorcode = code  # type: ignore[attr-defined]
    elif backend == "postgresql":
        original = Exception(text)
        original.sqlstate = code  # type: ignore[attr-defined]
    else:
        original = Exception(code, text)
    return sa.exc.OperationalError("INSERT INTO x VALUES (1)", None, original)


@pytest.mark.parametrize(
    ("backend", "code", "wanted"),
    [
        ("sqlite", sqlite3.SQLITE_BUSY, errors.CatalogBusyError),
        ("sqlite", sqlite3.SQLITE_BUSY_SNAPSHOT, errors.CatalogBusyError),
        ("sqlite", sqlite3.SQLITE_LOCKED, errors.CatalogBusyError),
        ("sqlite", sqlite3.SQLITE_READONLY, errors.CatalogReadOnlyError),
        ("sqlite", sqlite3.SQLITE_READONLY_DIRECTORY, errors.CatalogReadOnlyError),
        ("sqlite", sqlite3.SQLITE_READONLY_DBMOVED, errors.CatalogUnavailableError),
        ("sqlite", sqlite3.SQLITE_FULL, errors.CatalogFullError),
        ("sqlite", sqlite3.SQLITE_IOERR_WRITE, errors.CatalogUnavailableError),
        ("sqlite", sqlite3.SQLITE_CORRUPT, errors.CatalogDamagedError),
        ("sqlite", sqlite3.SQLITE_CORRUPT_INDEX, errors.CatalogDamagedError),
        ("sqlite", sqlite3.SQLITE_NOTADB, errors.ForeignDatabaseError),
        ("sqlite", sqlite3.SQLITE_CANTOPEN, errors.CatalogUnavailableError),
        ("sqlite", sqlite3.SQLITE_TOOBIG, errors.CatalogError),
        ("postgresql", "08006", errors.CatalogLostError),
        ("postgresql", "08001", errors.CatalogUnreachableError),
        ("postgresql", "25006", errors.CatalogReadOnlyError),
        ("postgresql", "28P01", errors.CatalogAccessError),
        ("postgresql", "3D000", errors.CatalogMissingError),
        ("postgresql", "40001", errors.CatalogBusyError),
        ("postgresql", "40P01", errors.CatalogBusyError),
        ("postgresql", "42501", errors.CatalogReadOnlyError),
        ("postgresql", "42P01", errors.CatalogVersionError),
        ("postgresql", "53100", errors.CatalogFullError),
        ("postgresql", "53300", errors.CatalogBusyError),
        ("postgresql", "55P03", errors.CatalogBusyError),
        ("postgresql", "57P01", errors.CatalogLostError),
        ("postgresql", "57P03", errors.CatalogBusyError),
        ("postgresql", "XX001", errors.CatalogDamagedError),
        ("mysql", 1021, errors.CatalogFullError),
        ("mysql", 1114, errors.CatalogFullError),
        ("mysql", 1040, errors.CatalogBusyError),
        ("mysql", 1044, errors.CatalogAccessError),
        ("mysql", 1045, errors.CatalogAccessError),
        ("mysql", 1049, errors.CatalogMissingError),
        ("mysql", 1142, errors.CatalogReadOnlyError),
        ("mysql", 1146, errors.CatalogVersionError),
        ("mysql", 1205, errors.CatalogBusyError),
        ("mysql", 1213, errors.CatalogBusyError),
        ("mysql", 1290, errors.CatalogReadOnlyError),
        ("mysql", 1792, errors.CatalogReadOnlyError),
        ("mysql", 1927, errors.CatalogLostError),
        ("mysql", 2003, errors.CatalogUnreachableError),
        ("mysql", 2005, errors.CatalogUnreachableError),
        ("mysql", 2006, errors.CatalogLostError),
        ("mysql", 2013, errors.CatalogLostError),
        ("mysql", 1712, errors.CatalogDamagedError),
    ],
)  # fmt: skip
def test_codes_by_their_manuals(backend: str, code: object, wanted: type[errors.CatalogError]):
    assert meaning_of(driver_error(backend, code), backend).error is wanted


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB'),
        (1026, "Error writing file './x/y.ibd' (Errcode: 28 \"No space left on device\")"),
        (3, "Error writing file '/tmp/x' (errno: 28 - No space left on device)"),
    ],
)
def test_no_space_left_is_full_whatever_the_number(code: int, text: str):
    assert meaning_of(driver_error("mysql", code, text), "mysql").error is errors.CatalogFullError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('FATAL:  password authentication failed for user "x"', errors.CatalogAccessError),
        ('FATAL:  role "x" does not exist', errors.CatalogAccessError),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "x", database "y"', errors.CatalogAccessError),
        ('FATAL:  permission denied for database "x"', errors.CatalogAccessError),
        ('FATAL:  database "x" does not exist', errors.CatalogMissingError),
        ("FATAL:  sorry, too many clients already", errors.CatalogBusyError),
        ("FATAL:  the database system is starting up", errors.CatalogBusyError),
        ("FATAL:  Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen", errors.CatalogAccessError),
        ('connection to server at "h" failed: Connection refused', errors.CatalogUnreachableError),
    ],
)
def test_what_postgresql_says_to_a_connection(text: str, wanted: type[errors.CatalogError]):
    error = sa.exc.OperationalError(None, None, Exception(text))  # type: ignore[arg-type]
    assert meaning_of(error, "postgresql").error is wanted


@pytest.mark.parametrize("backend", ["postgresql", "mysql", "sqlite"])
def test_a_value_that_the_driver_itself_refuses(backend: str):
    """As psycopg does with NUL in text, also where the statement is not told."""
    for statement in (None, "INSERT INTO x VALUES (1)"):
        error = sa.exc.DataError(statement, None, Exception("text fields cannot contain NUL"))  # type: ignore[arg-type]
        assert meaning_of(error, backend).error is errors.CatalogError
