"""Opening a catalog: is it there, is it ours, is its schema the one this program knows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from lakecat.catalog import schema as s
from lakecat.catalog import sqlite
from lakecat.catalog.database import Database, parse_url
from lakecat.catalog.driver_errors import meaning_of
from lakecat.errors import (
    CatalogError,
    CatalogMissingError,
    CatalogReadOnlyError,
    CatalogUnavailableError,
    CatalogVersionError,
    ForeignDatabaseError,
)

WRITER_VERSION: Final = 1
"""Grows when a program older than this one would write a catalog wrongly; compared with ``min_writer_version``."""


BACKUP_TABLE: Final = "lakecat_backup"
"""Which a backup has and a catalog has not."""


def open_database(url: str | URL, *, create: bool, adopt: bool = False) -> Database:
    """Open, and where needed create or upgrade, the database; ``adopt`` makes ML Metadata's own one a catalog.

    Raises CatalogError, ConfigError.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        _prepare_file(Path(parsed.database or ""), create=create)
    database = Database(parsed)
    try:
        with database.translating():
            with database.connect() as connection:
                _check_no_backup(database, connection)
                revision = _revision(connection)
            if revision != s.HEAD:
                _migrate(database, create=create, adopt=adopt)
            _check_settings(database)
    except BaseException:  # whatever it was, nobody gets the database to close it
        database.close()
        raise
    return database


def open_in_memory() -> Database:
    """A new catalog on SQLite that is no file, and is gone when it is closed."""
    database = Database(URL.create("sqlite", database=sqlite.MEMORY))
    with database.translating():
        _migrate(database, create=True, adopt=False)
    return database


def high_water_mark(connection: sa.Connection) -> int:
    """Fences start above this number: a restored catalog raises it, so that no old fence comes again."""
    value = connection.execute(
        sa.select(s.setting.c.value).where(s.setting.c.name == "high_water_mark")
    ).scalar_one_or_none()
    return int(value or 0)


def _prepare_file(path: Path, *, create: bool) -> None:
    try:
        if not path.parent.is_dir():
            raise CatalogMissingError(f"there is no folder {path.parent} for the catalog", hint="make it first")
        sqlite.check_place(path)
        if create:
            sqlite.create_file(path)
        elif not path.exists():
            raise CatalogMissingError(f"there is no catalog {path}", next_command="lakecat init")
        if not path.is_file():
            raise ForeignDatabaseError(f"{path} is no file, so no catalog", hint="check the catalog's URL")
    except OSError as err:
        raise CatalogUnavailableError(f"the catalog {path} cannot be opened: {err.strerror}") from err


def _check_no_backup(database: Database, connection: sa.Connection) -> None:
    """Refuse a backup that was copied to where the catalog belongs: it does not know that the lake has gone on."""
    if database.backend == "sqlite" and sa.inspect(connection).has_table(BACKUP_TABLE):
        raise CatalogError(
            f"{database.display} is a backup, not a catalog",
            hint="give it another name, and restore it: the lake may be ahead of it",
            next_command="lakecat catalog restore FILE",
        )


def _revision(connection: sa.Connection) -> str | None:
    """The schema revision that the database is at; None where it holds no finished schema of ours."""
    if not sa.inspect(connection).has_table(s.VERSION_TABLE):
        return None
    table = sa.table(s.VERSION_TABLE, sa.column("version_num"))
    return connection.execute(sa.select(table.c.version_num)).scalar_one_or_none()


def _migrate(database: Database, *, create: bool, adopt: bool) -> None:
    # Alembic takes 0.2 s to import, and is needed once in a catalog's life.
    from lakecat.catalog import adopt as adopting
    from lakecat.catalog import migrate

    if database.read_only:
        with database.reading() as connection:
            _check_upgradable(database, connection, create=create)
        raise CatalogReadOnlyError(
            f"{database.display} must be brought up to schema {s.HEAD} first, and may only be read here",
            hint="open it once where it may be written",
        )
    with migrate.locked(database) as connection:
        if adopt and _revision(connection) is None and adopting.mlmd_version(connection) is not None:
            adopting.adopt(connection, database.display)
        else:
            _check_upgradable(database, connection, create=create)
        migrate.upgrade(connection)


def _check_upgradable(database: Database, connection: sa.Connection, *, create: bool) -> None:
    """Refuse what is not there, a newer lakecat's, ML Metadata's or another program's database."""
    from lakecat.catalog import adopt as adopting
    from lakecat.catalog import migrate

    revision = _revision(connection)
    if revision is None and adopting.mlmd_version(connection) is not None:
        raise adopting.refuse(database)
    if revision is None:
        _check_empty(database, connection, create=create)
    elif revision not in migrate.known_revisions():
        raise CatalogVersionError(
            f"{database.display} was written by a newer lakecat (schema {revision}; this one knows {s.HEAD})",
            hint="upgrade lakecat",
        )


def _check_empty(database: Database, connection: sa.Connection, *, create: bool) -> None:
    present = set(sa.inspect(connection).get_table_names())
    # Tables of ours without a revision: MySQL, which cannot take DDL back, was interrupted in the first migration.
    if present and s.VERSION_TABLE not in present:
        raise ForeignDatabaseError(
            f"{database.display} holds tables of another program ({', '.join(sorted(present)[:3])}, …)",
            hint="give the catalog a database of its own",
        )
    if not create:
        raise CatalogMissingError(f"{database.display} holds no catalog yet", next_command="lakecat init")


def _check_settings(database: Database) -> None:
    with database.connect() as connection:
        try:
            schema_version = connection.execute(sa.select(s.mlmd_env.c.schema_version)).scalar_one_or_none()
            minimum = connection.execute(
                sa.select(s.setting.c.value).where(s.setting.c.name == "min_writer_version")
            ).scalar_one_or_none()
        except SQLAlchemyError as err:
            if meaning_of(err, database.backend).error not in (CatalogVersionError, CatalogError):
                raise
            raise CatalogVersionError(
                f"{database.display} is no whole catalog: tables are missing", hint="restore it from a backup"
            ) from err
    if schema_version != s.MLMD_SCHEMA_VERSION:
        raise CatalogVersionError(
            f"{database.display} has ML Metadata's schema {schema_version}, not {s.MLMD_SCHEMA_VERSION}",
            hint="another program changed it; restore it from a backup",
        )
    if int(minimum or 0) > WRITER_VERSION:
        raise CatalogVersionError(
            f"{database.display} must be written by a newer lakecat (writer version {minimum})", hint="upgrade lakecat"
        )
