"""Reading an ML Metadata database that stays as it is: opened read-only, one moment of it, in pieces."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from lakecat.catalog import reshape
from lakecat.catalog import schema as s
from lakecat.catalog.adopt import mlmd_version
from lakecat.catalog.database import build_engine, parse_url
from lakecat.catalog.migrations import tables_0001 as t
from lakecat.errors import CatalogError, CatalogUnavailableError, CatalogVersionError, ForeignDatabaseError

Record: TypeAlias = dict[str, Any]
PIECE: Final = 1_000
_STREAMED: Final = 500
_SCHEMA: Final = 10


def source_url(text: str | Path | URL) -> URL:
    """The URL of an MLMD database: a catalog URL, or the path of an SQLite file. Raises ConfigError."""
    if isinstance(text, URL):
        return parse_url(text)
    if isinstance(text, Path) or "://" not in text:
        return URL.create("sqlite", database=str(text))
    return parse_url(text)


class Source:
    """One moment of an MLMD database. Every method raises CatalogError."""

    def __init__(self, connection: sa.Connection, url: URL) -> None:
        """Take a connection in a transaction; use ``opened``."""
        self._connection = connection
        self.backend = connection.dialect.name
        self.display = url.render_as_string(hide_password=True)

    @classmethod
    @contextmanager
    def opened(cls, url: URL) -> Iterator[Source]:
        """Open it; nothing is written, not even a journal.

        Raises CatalogUnavailableError where it cannot be read, ForeignDatabaseError where it is not MLMD's,
        CatalogVersionError where its schema is not 10.
        """
        engine = _engine(url)
        display = url.render_as_string(hide_password=True)
        try:
            with engine.connect() as connection, connection.begin():
                source = cls(connection, url)
                source._check()
                yield source
        except SQLAlchemyError as err:
            raise _error(err, url, display) from err
        finally:
            engine.dispose()

    def rows(self, table: sa.Table, columns: Sequence[str]) -> list[Record]:
        """All rows of a small table."""
        table = _mlmd(table)
        query = sa.select(*(table.c[name] for name in columns))
        return [self._record(row) for row in self._connection.execute(query).mappings()]

    def pieces(self, table: sa.Table, columns: Sequence[str]) -> Iterator[list[Record]]:
        """The rows of a table with an ``id``, in its order, in lists of at most ``PIECE``."""
        table = _mlmd(table)
        last = -1
        while True:
            query = sa.select(table.c.id, *(table.c[name] for name in columns)).where(table.c.id > last)
            found = self._connection.execute(query.order_by(table.c.id).limit(PIECE)).mappings().all()
            if not found:
                return
            yield [self._record(row) for row in found]
            last = found[-1]["id"]

    def owned(self, table: sa.Table, owner: str, first: int, last: int) -> Iterator[Record]:
        """The rows of a table that belong to the ids ``first`` to ``last``; read as they are asked for."""
        column = table.c[owner]
        query = sa.select(table).where(column.between(first, last)).order_by(column)
        streamed = self._connection.execution_options(yield_per=_STREAMED).execute(query)
        for row in streamed.mappings():
            yield self._record(row)

    def by_ids(self, table: sa.Table, columns: Sequence[str], ids: Sequence[int]) -> list[Record]:
        """A few rows of a table with an ``id``."""
        table = _mlmd(table)
        query = sa.select(table.c.id, *(table.c[name] for name in columns)).where(table.c.id.in_(ids))
        return [self._record(row) for row in self._connection.execute(query).mappings()]

    def _record(self, row: Mapping[Any, Any]) -> Record:
        if self.backend != "mysql":
            return dict(row)
        return {name: decoded(value) if isinstance(value, str) else value for name, value in row.items()}

    def _check(self) -> None:
        version = mlmd_version(self._connection)
        if version is None:
            if s.VERSION_TABLE in reshape.table_names(self._connection):
                raise ForeignDatabaseError(
                    f"{self.display} is a lakecat catalog, not ML Metadata's own database",
                    hint="name it as the catalog in lakecat.yaml, or restore a backup of it",
                )
            raise ForeignDatabaseError(f"{self.display} is not ML Metadata's database")
        if version != _SCHEMA:
            raise CatalogVersionError(
                f"{self.display} has ML Metadata's schema {version}; lakecat imports schema {_SCHEMA}",
                hint="open a copy of it once with ml-metadata 1.17.1 and enable_upgrade_migration=True",
            )


def _mlmd(table: sa.Table) -> sa.Table:
    """The table with MLMD's columns alone; ours may have more."""
    return t.metadata.tables[str(table.name)]


def decoded(text: str) -> str:
    """The text that MLMD meant, which writes UTF-8 through a latin1 connection to MySQL; others stay as they are."""
    if text.isascii():
        return text
    try:
        return _latin1(text).decode("utf-8")
    except UnicodeError:
        return text


def _latin1(text: str) -> bytes:
    """MySQL's latin1: Windows-1252, with the five codes that it leaves out as control characters."""
    return b"".join(bytes((ord(c),)) if ord(c) in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else c.encode("cp1252") for c in text)


def _engine(url: URL) -> sa.Engine:
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = Path(str(url.database)).absolute()
        if not path.is_file():
            raise CatalogUnavailableError(f"there is no file {path}")
        # SQLite's own read-only mode; the slashes of the path stay.
        read_only = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
        return sa.create_engine(read_only)
    engine = build_engine(url).execution_options(isolation_level="REPEATABLE READ")
    if backend == "postgresql":
        return engine.execution_options(postgresql_readonly=True)

    @sa.event.listens_for(engine, "connect")
    def _only_read(connection: Any, _entry: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")

    return engine


def _error(error: SQLAlchemyError, url: URL, display: str) -> CatalogError:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
    text = lines[0].replace(str(url.password), "***") if url.password else lines[0]
    if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return ForeignDatabaseError(f"{display} is no SQLite database")
    kind = CatalogUnavailableError if isinstance(error, sa.exc.OperationalError) else CatalogError
    return kind(f"{display}: {text}")
