"""An ML Metadata database becomes a lakecat catalog where it lies: nothing moves, every id stays, MLMD still opens it.

Added are lakecat's tables, types, settings and indexes. On PostgreSQL and MySQL, MLMD's 32-bit columns become BIGINT,
its short texts long, and foreign keys are put where no row stands in the way; SQLite's columns hold 64 bits as they
are, and it cannot add foreign keys to a table. MLMD's MySQL client speaks latin1 and writes UTF-8 through it: text that
came to lie in the database doubly encoded is put right.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import migrate, reshape
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, parse_url
from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0001 as t
from lakecat.catalog.reshape import Orphans
from lakecat.errors import CatalogUnavailableError, CatalogVersionError, ForeignDatabaseError

_HEART = frozenset({"type", "artifact", "execution", "event"})
"""Tables that every database of MLMD's has, MLMDEnv only from schema 1 on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What adopting a database found and changed."""

    database: str
    artifacts: int
    executions: int
    contexts: int
    events: int
    widened: tuple[str, ...]
    """Columns that hold more than before, as ``Artifact.id``; none on SQLite."""
    foreign_keys: int
    """How many were added."""
    orphans: tuple[Orphans, ...]
    """Rows that name something that is not there; where there are any, that foreign key is missing."""
    reencoded: int
    """Texts whose double encoding was put right; on MySQL only."""


def mlmd_version(connection: sa.Connection) -> int | None:
    """The schema version of the MLMD database that this is; None where it is none, or lakecat's.

    An adoption that was interrupted (MySQL cannot take DDL back) leaves what still counts as MLMD's.
    Raises CatalogVersionError where the version cannot be told.
    """
    names = reshape.table_names(connection)
    if not names >= _HEART:
        return None
    if s.VERSION_TABLE in names and _has_rows(connection, sa.table(s.VERSION_TABLE)):
        return None
    if "mlmdenv" not in names:
        return 0
    versions = list(connection.execute(sa.select(t.mlmd_env.c.schema_version)).scalars())
    if not versions and s.VERSION_TABLE in names:
        return None  # MySQL, interrupted in the first migration of an empty database
    if len(versions) != 1:
        raise CatalogVersionError(
            f"MLMDEnv should say one schema version, and says {len(versions)}", hint="restore the database"
        )
    return int(versions[0])


def refuse(database: Database) -> ForeignDatabaseError:
    """The error for an MLMD database that was opened without asking for its adoption."""
    return ForeignDatabaseError(
        f"{database.display} is ML Metadata's database, not yet a lakecat catalog",
        hint="back it up, then let lakecat take it over where it lies (adopt=True in Python);"
        " ml-metadata can open it afterwards, too",
        next_command="lakecat catalog import mlmd --adopt",
    )


def adopt(connection: sa.Connection, display: str) -> Adoption:
    """Make MLMD's database a catalog of revision 0001, in the caller's transaction; MySQL commits as it goes.

    Safe to run again after an interruption. Raises CatalogVersionError for another schema than 10.
    """
    version = mlmd_version(connection)
    if version != start.SCHEMA_VERSION:
        raise CatalogVersionError(
            f"{display} has ML Metadata's schema {version}; lakecat takes over schema {start.SCHEMA_VERSION}",
            hint="open it once with ml-metadata 1.17.1 and enable_upgrade_migration=True",
        )
    shape = reshape.reshape(connection)
    reshape.add_tables(connection)
    orphans, keys = reshape.add_foreign_keys(connection)
    reshape.add_indexes(connection)
    start.insert_rows(connection, str(uuid.uuid4()))
    counts = [
        connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in (t.artifact, t.execution, t.context, t.event)
    ]
    migrate.stamp(connection, "0001")
    return Adoption(
        database=display,
        artifacts=counts[0],
        executions=counts[1],
        contexts=counts[2],
        events=counts[3],
        widened=shape.widened,
        foreign_keys=keys,
        orphans=orphans,
        reencoded=shape.reencoded,
    )


def adopt_database(url: str | URL) -> Adoption:
    """Adopt the database at ``url`` and bring it to the newest revision.

    Raises CatalogVersionError where it is not MLMD's of schema 10, CatalogUnavailableError where it cannot be opened.
    """
    database = Database(parse_url(url))
    try:
        with database.translating(), migrate.locked(database) as connection:
            _check(database, connection)
            report = adopt(connection, database.display)
            migrate.upgrade(connection)
        return report
    finally:
        database.close()


def inspect_database(url: str | URL) -> Adoption:
    """What ``adopt_database`` would find; nothing is changed. ``widened`` and ``foreign_keys`` say what would be."""
    database = Database(parse_url(url))
    try:
        with database.reading() as connection:
            _check(database, connection)
            counts = [
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (t.artifact, t.execution, t.context, t.event)
            ]
            orphans, keys = reshape.plan_foreign_keys(connection)
            return Adoption(
                database=database.display,
                artifacts=counts[0],
                executions=counts[1],
                contexts=counts[2],
                events=counts[3],
                widened=reshape.plan(connection),
                foreign_keys=keys,
                orphans=orphans,
                reencoded=0,
            )
    finally:
        database.close()


def _check(database: Database, connection: sa.Connection) -> None:
    version = mlmd_version(connection)
    if version is None:
        names = reshape.table_names(connection)
        if s.VERSION_TABLE in names:
            raise CatalogVersionError(f"{database.display} is a lakecat catalog already")
        if not names:
            raise CatalogUnavailableError(f"{database.display} is empty", hint="name ML Metadata's database")
        raise ForeignDatabaseError(f"{database.display} is not ML Metadata's database: it has other tables")
    if version != start.SCHEMA_VERSION:
        raise CatalogVersionError(
            f"{database.display} has ML Metadata's schema {version}; lakecat takes over schema {start.SCHEMA_VERSION}",
            hint="open it once with ml-metadata 1.17.1 and enable_upgrade_migration=True",
        )


def _has_rows(connection: sa.Connection, table: sa.TableClause) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None
