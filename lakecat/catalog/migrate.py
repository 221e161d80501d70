"""Bringing a catalog's schema up to date with Alembic, one process at a time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from lakecat.catalog import search_index, sqlite
from lakecat.catalog.database import Database
from lakecat.errors import CatalogUnavailableError

_FOLDER: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x6C616B65636174
"""PostgreSQL advisory lock: the bytes of ``lakecat``."""
_WAIT_SECONDS: Final = 120


def known_revisions() -> frozenset[str]:
    """The schema revisions this program can upgrade from."""
    return frozenset(script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions())


def heads() -> tuple[str, ...]:
    """The newest revisions; one, unless two branches of migrations were merged wrongly."""
    return tuple(ScriptDirectory(str(_FOLDER)).get_heads())


@contextmanager
def locked(database: Database) -> Iterator[sa.Connection]:
    """A write transaction during which no other process migrates; committed when the block ends well."""
    with database.connect() as connection:
        connection.execution_options(**{sqlite.WRITE: True})
        with connection.begin():
            _lock(connection)
            yield connection
        # MySQL's lock belongs to the session, and must outlive the transaction. Where the block raised, it ends with
        # the session.
        if connection.dialect.name == "mysql":
            connection.execute(sa.text("SELECT RELEASE_LOCK('lakecat_migrate')"))


def upgrade(connection: sa.Connection) -> None:
    """Upgrade to the newest revision; in the caller's transaction, but MySQL commits at each DDL statement."""
    command.upgrade(_config(connection), "head")
    search_index.rebuild(connection)


def stamp(connection: sa.Connection, revision: str) -> None:
    """Note that the database is at a revision which something else than its migration made."""
    command.stamp(_config(connection), revision)


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["catalog_uuid"] = str(uuid.uuid4())
    return config


def _lock(connection: sa.Connection) -> None:
    backend = connection.dialect.name
    if backend == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    elif backend == "mysql":
        got = connection.execute(sa.select(sa.func.get_lock("lakecat_migrate", _WAIT_SECONDS))).scalar_one()
        if got != 1:
            raise CatalogUnavailableError("another process has been upgrading the catalog for two minutes")
