"""Backup of a catalog: one moment of it, from whichever database, as one SQLite file with a manifest.

The file is a catalog itself: the migrations make its tables. Its one-row table ``lakecat_backup`` says when and from
what it was made, with the number and checksum of each table's rows, and of all that a checksum, too. The file is
written under a temporary name beside its place and moved there once it was read back and found right; nobody but its
owner may read it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import copying, opening, sqlite
from lakecat.catalog import schema as s
from lakecat.catalog.copying import Checksum, Values
from lakecat.catalog.database import Database
from lakecat.errors import CatalogError, CatalogFullError, UsageError, Where
from lakecat.failpoints import failpoint

FORMAT: Final = 1
"""Of the manifest. Grows when an older program could not restore the file rightly."""
MANIFEST: Final = opening.BACKUP_TABLE
_NAN: Final = "NaN"
"""How a NaN lies in a column of numbers of the backup."""
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A path that begins like a URL; a drive's name has one letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContent:
    """A table in a backup: its columns in order, how many rows it has, and their checksum."""

    columns: tuple[str, ...]
    rows: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup says of itself.

    ``source``: the database's URL without user and password. ``revision``: of its schema. ``last_ids``: by table, the
    highest id that was ever given out.
    """

    created_at: datetime
    source: str
    lakecat: str
    revision: str
    catalog_uuid: str
    tables: Mapping[str, TableContent]
    last_ids: Mapping[str, int]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def write_backup(database: Database, path: Path, *, now: datetime, replace: bool = False) -> Manifest:
    """Write a backup of the catalog as it is at one moment, while others go on writing.

    Raises UsageError (``path`` exists, and ``replace`` is not given; or it is the catalog itself), CatalogError.
    """
    if _URL.match(str(path)):
        raise UsageError(f"{path} is no file", hint="back up into a file, and copy that to where it shall be kept")
    if database.backend == "sqlite" and _same(path, Path(database.url.database or "")):
        raise UsageError(f"{path} is the catalog itself", hint="give the backup a name of its own")
    if path.exists() and not replace:
        raise UsageError(f"{path} exists already", hint="give another name, or replace it: --yes")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="make it first")
    with _part(path) as part, translated(path):
        content = _fill(database, part)
        manifest = _seal(part, content, source=_source(database.url), now=now)
        failpoint("backup.written")
        check_backup(part)
        failpoint("backup.checked")
        _publish(part, path)
    return manifest


def check_backup(path: Path) -> Manifest:
    """Read a backup whole and compare it with its manifest. Raises CatalogError where they differ."""
    where = Where(str(path))
    with translated(path), open_backup(path) as connection:
        manifest = read_manifest(connection, path)
        found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise _damaged(where, found[0])
        for name, table in manifest.tables.items():
            checksum = Checksum()
            for row in rows_of(connection, name, table.columns):
                checksum.add(row)
            if (checksum.rows, checksum.text) != (table.rows, table.checksum):
                raise _damaged(where, f"table {name} has other rows than were written ({checksum.rows}, {table.rows})")
    return manifest


@contextmanager
def open_backup(path: Path) -> Iterator[sqlite3.Connection]:
    """A backup's file, to be read only. Raises UsageError where there is none."""
    if not path.is_file():
        raise UsageError(f"there is no backup {path}")
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        yield connection


def read_manifest(connection: sqlite3.Connection, path: Path) -> Manifest:
    """What the backup says of itself. Raises CatalogError for a file that is no backup, or one of a newer lakecat."""
    where = Where(str(path))
    try:
        cursor = connection.execute(f"SELECT * FROM {MANIFEST}")
        (row,) = cursor.fetchall()
        told = dict(zip((name for name, *_ in cursor.description), row, strict=True))
        found, text, checksum = told["format"], told["content"], told.get("checksum")  # older ones have none
        if int(found) > FORMAT:
            raise CatalogError(
                f"the backup was made by a newer lakecat (format {found})", where=where, hint="upgrade lakecat"
            )
        if checksum is not None and checksum != _digest(text):
            raise ValueError
        content = json.loads(text)
        tables = {name: TableContent(**{**table, "columns": tuple(table["columns"])})
                  for name, table in content.pop("tables").items()}  # fmt: skip
        created = datetime.fromisoformat(content.pop("created_at"))
        return Manifest(created_at=created, tables=tables, **content)
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise CatalogError(
            "this is no backup of a catalog, or it is damaged",
            where=where,
            hint="give a file that `lakecat catalog backup` wrote",
        ) from err


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows_of(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> Iterator[Values]:
    """All rows of a table of the backup, a batch at a time."""
    known = s.metadata.tables.get(table)
    numbers = set() if known is None else {name for name in columns if name in known.c and _is_double(known.c[name])}
    places = [place for place, name in enumerate(columns) if name in numbers]
    selected = sa.select(sa.table(table, *(sa.column(name) for name in columns)))
    cursor = connection.execute(str(selected.compile(dialect=sa.dialects.sqlite.dialect())))
    while rows := cursor.fetchmany(copying.BATCH):
        yield from (_with_nan(row, places) for row in rows) if places else rows


def _is_double(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.Double)


def _with_nan(row: Values, places: Sequence[int]) -> Values:
    return tuple(math.nan if place in places and value == _NAN else value for place, value in enumerate(row))


def _without_nan(row: Values) -> Values:
    """SQLite would make NULL of a NaN; the text is kept as it is, also in a column of numbers."""
    return tuple(_NAN if isinstance(value, float) and math.isnan(value) else value for value in row)


def _fill(database: Database, part: Path) -> dict[str, Any]:
    """Make the catalog's tables in the file and copy one snapshot of every row; what the manifest says of them."""
    _make_tables(part)
    with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as target:
        # Nobody sees the file before it is whole: a crash in between leaves garbage, so nothing needs a journal.
        target.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN")
        with _snapshot(database, part) as source:
            tables = {str(table.name): _copy_table(source, target, part, table) for table in copying.tables()}
            last_ids = copying.last_ids(source)
        target.execute("COMMIT")
    return {"tables": {name: asdict(table) for name, table in tables.items()}, "last_ids": last_ids}


@contextmanager
def _snapshot(database: Database, part: Path) -> Iterator[sa.Connection]:
    """A transaction that sees one moment.

    Of SQLite a raw copy is read, so that writers wait no longer than the disk takes to copy the file.
    """
    if database.backend != "sqlite":
        with database.reading(snapshot=True) as connection:
            yield connection
        return
    copy = part.with_name(f"{part.name}.raw")
    try:
        sqlite.create_file(copy)
        with database.reading() as connection, contextlib.closing(sqlite3.connect(copy)) as raw:
            driver: Any = connection.connection.driver_connection
            try:
                driver.backup(raw)
            except sqlite3.OperationalError as err:
                if _is_full(err):
                    raise _no_room(Where(str(part))) from err
                raise
        copied = Database(URL.create("sqlite", database=str(copy)))
        try:
            with copied.reading() as connection:
                yield connection
        finally:
            copied.close()
    finally:
        _remove(copy)


def _copy_table(source: sa.Connection, target: sqlite3.Connection, part: Path, table: sa.Table) -> TableContent:
    checksum = Checksum()
    statement = str(sa.insert(table).compile(dialect=sa.dialects.sqlite.dialect()))
    target.execute(str(sa.delete(table).compile(dialect=sa.dialects.sqlite.dialect())))
    doubles = any(map(_is_double, table.columns))
    for batch in copying.batches(checksum.watch(copying.read(source, table))):
        with translated(part):
            target.executemany(statement, map(_without_nan, batch) if doubles else batch)
    columns = tuple(column.name for column in table.columns)
    return TableContent(columns=columns, rows=checksum.rows, checksum=checksum.text)


def _make_tables(part: Path) -> None:
    # Alembic takes 0.2 s to import, and questions do not need it.
    from lakecat.catalog import migrate

    sqlite.create_file(part)
    database = Database(URL.create("sqlite", database=str(part)))
    try:
        with migrate.locked(database) as connection:
            migrate.upgrade(connection)
    finally:
        database.close()


def _seal(part: Path, content: Mapping[str, Any], *, source: str, now: datetime) -> Manifest:
    """Add the manifest, and make the file one that needs no other beside it; it is on the disk after that."""
    with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as target:
        setting = {name: value for name, value in target.execute("SELECT name, value FROM lakecat_setting")}  # noqa: C416
        described = {
            **content,
            "created_at": now.astimezone(UTC).isoformat(),
            "source": source,
            "lakecat": package_version("lakecat"),
            "revision": s.HEAD,
            "catalog_uuid": setting["catalog_uuid"],
        }
        text = json.dumps(described)
        target.execute(f"CREATE TABLE {MANIFEST} (format INTEGER NOT NULL, content TEXT NOT NULL, checksum TEXT)")
        target.execute(f"INSERT INTO {MANIFEST} VALUES (?, ?, ?)", (FORMAT, text, _digest(text)))
        target.execute("PRAGMA journal_mode = DELETE")
        manifest = read_manifest(target, part)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return manifest


def _publish(part: Path, path: Path) -> None:
    part.replace(path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; removed at the end, and so are those that killed processes left."""
    prefix = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.glob(f"{_escaped(prefix)}*.part*"):
        pid = left.name.removeprefix(prefix).partition(".")[0]
        if pid.isdecimal() and not _runs(int(pid)):
            _remove(left)
    part = path.with_name(f"{prefix}{os.getpid()}.part")
    _remove(part)
    try:
        yield part
    finally:
        _remove(part)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _escaped(text: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _runs(pid: int) -> bool:
    if os.name != "posix":  # os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _source(url: URL) -> str:
    return URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database).render_as_string()


def _damaged(where: Where, what: str) -> CatalogError:
    return CatalogError(f"the backup is damaged: {what}", where=where, hint="take another one; do not restore this one")


def _is_full(err: BaseException | None) -> bool:
    return getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def _no_room(where: Where) -> CatalogFullError:
    return CatalogFullError("there is no room for the backup", where=where, hint="free some space")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of the backup's file as lakecat's own."""
    where = Where(str(path))
    try:
        yield
    except (sqlite3.DatabaseError, sa.exc.DBAPIError) as err:
        if _is_full(err.orig if isinstance(err, sa.exc.DBAPIError) else err):
            raise _no_room(where) from err
        raise _damaged(where, str(err)) from err
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(where) from err
        raise CatalogError(f"the backup cannot be written or read: {err.strerror}", where=where) from err
