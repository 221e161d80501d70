"""Databases of older schemas: made by the migrations, filled with sample rows, described, dumped as SQL text.

``python tests/keeping/schema_lab.py`` writes ``schemas/<revision>.sql`` for each revision that has none yet: run it
when a migration was added. A dump that is there stays: it is what a release has made.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL

from lakecat.catalog import migrate

FOLDER = Path(__file__).with_name("schemas")
UUID = "11111111-1111-1111-1111-111111111111"
ROWS = 3
BOOLEANS = ("is_custom_property", "is_index_step", "bool_value", "expired", "whole", "held", "masked", "required")
"""MariaDB and MySQL know them as small integers."""


def revisions() -> list[str]:
    """All that there are, oldest first."""
    scripts = ScriptDirectory(str(migrate._FOLDER)).walk_revisions()
    return [script.revision for script in scripts][::-1]


def upgrade(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate._FOLDER).replace("%", "%%"))
    config.attributes.update(connection=connection, catalog_uuid=UUID)
    command.upgrade(config, revision)


def make(url: URL, revision: str) -> None:
    """A database at a revision, with what the migrations put into it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        upgrade(connection, revision)


def reflected(connection: sa.Connection) -> sa.MetaData:
    """The tables as they are now, but the search index and what Alembic and SQLite keep."""
    known = sa.MetaData()
    known.reflect(
        connection, only=lambda name, _: not name.startswith(("lakecat_search", "lakecat_alembic", "sqlite_"))
    )
    return known


def fill(url: URL) -> None:
    """Sample rows in every table that is empty, or has types only: each column has a value, and in one row NULL."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in reflected(connection).sorted_tables:
            if table.name.lower() in ("mlmdenv", "lakecat_setting"):
                continue
            for number in range(1, ROWS + 1):
                row = {column.name: value(column, number) for column in table.columns}
                if "id" in row:
                    row["id"] += 1000
                connection.execute(sa.insert(table).values(row))


def value(column: sa.Column[Any], number: int) -> Any:
    """The value of a column in row ``number`` (1, 2, …): keys of other tables refer to the row of the same number."""
    if column.foreign_keys:
        target = next(iter(column.foreign_keys)).column
        return number + 1000 if target.name == "id" else value(target, number)
    if column.nullable and number == ROWS and not column.primary_key:
        return None
    kind = column.type
    if kind.python_type is bool or column.name in BOOLEANS:
        return number % 2 == 0
    if kind.python_type in (float, Decimal):
        return number / 3
    if kind.python_type is int:
        return number
    if kind.python_type is bytes:
        return bytes([0, 255, number])
    return f"{column.name} {number}"[: getattr(kind, "length", None) or 100]


def rows(connection: sa.Connection, known: sa.MetaData) -> dict[str, list[tuple[Any, ...]]]:
    """All rows by table, in lower case and in one order."""
    return {
        table.name.lower(): sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
        for table in known.sorted_tables
    }


def load(revision: str, path: Path) -> None:
    """The dump of a revision as an SQLite database."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((FOLDER / f"{revision}.sql").read_text(encoding="utf-8"))
    connection.close()


def dump(revision: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.db"
        url = URL.create("sqlite", database=str(path))
        make(url, revision)
        fill(url)
        with closing(sqlite3.connect(path)) as connection, connection:
            # Python dumps no virtual tables rightly; what is left is what an SQLite without FTS5 has.
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")
            connection.execute("DROP TABLE IF EXISTS lakecat_search_words")
            text = "\n".join(connection.iterdump())
        connection.close()
    return text + "\n"


@contextmanager
def cut_off(engine: sa.Engine, after: int) -> Iterator[Callable[[], int]]:
    """Let the connection break before statement ``after`` + 1; gives the number of statements that were run."""
    count = 0

    def before(*_args: Any) -> None:
        nonlocal count
        if count == after:
            raise ConnectionAbortedError("cut off")
        count += 1

    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        yield lambda: count
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)


if __name__ == "__main__":
    for one in revisions():
        if not (FOLDER / f"{one}.sql").exists():
            (FOLDER / f"{one}.sql").write_text(dump(one), encoding="utf-8")
