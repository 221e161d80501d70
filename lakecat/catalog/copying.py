"""Whole tables in and out of a catalog database as a stream of rows, their checksums, and where their ids go on.

A row's values are those of its columns in the schema's order, booleans as 0 and 1, so that a row is the same on every
database. A table's checksum is the sum of its rows' BLAKE2b hashes, so the order of rows does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from pydantic_core import to_json
from sqlalchemy.dialects import mysql, postgresql, sqlite

from lakecat.catalog import schema as s
from lakecat.catalog.database import Database
from lakecat.catalog.sqlite import WRITE

Values: TypeAlias = tuple[Any, ...]

BATCH: Final = 500
"""Rows in memory at a time."""
_BITS: Final = 128
_POSITIONAL: Final[Mapping[str, sa.Dialect]] = {
    "sqlite": sqlite.dialect(),
    "mysql": mysql.dialect(paramstyle="format"),
}
"""Dialects whose statements take a row's values in order."""


@dataclass(slots=True)
class Checksum:
    """Number and content of the rows that were added, whatever their order."""

    rows: int = 0
    _sum: int = 0

    def add(self, row: Values) -> None:
        """Count a row in."""
        text = to_json(row, bytes_mode="base64", inf_nan_mode="constants")
        digest = hashlib.blake2b(text, digest_size=_BITS // 8).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % (1 << _BITS)
        self.rows += 1

    def watch(self, rows: Iterable[Values]) -> Iterator[Values]:
        """The rows, counted in on their way."""
        for row in rows:
            self.add(row)
            yield row

    @property
    def text(self) -> str:
        """In hexadecimal digits."""
        return f"{self._sum:0{_BITS // 4}x}"


def tables() -> tuple[sa.Table, ...]:
    """Every table but the search index, which is made out of the others; each after those that it refers to."""
    return tuple(table for table in s.metadata.sorted_tables if table is not s.search)


def read(connection: sa.Connection, table: sa.Table) -> Iterator[Values]:
    """All rows of a table, a batch at a time; the connection is busy until the last was taken."""
    rows = connection.execute(
        sa.select(*(_plain(connection, column) for column in table.columns)),
        execution_options={"yield_per": BATCH, "stream_results": True},
    )
    with rows:
        for part in rows.partitions():
            yield from map(tuple, part)


def write(connection: sa.Connection, table: sa.Table, rows: Iterable[Values]) -> None:
    """Insert rows that ``read`` gave."""
    if connection.dialect.name == "postgresql":
        _copy(connection, table, rows)
        return
    statement = str(sa.insert(table).compile(dialect=_POSITIONAL[connection.dialect.name]))
    for batch in batches(rows):
        connection.exec_driver_sql(statement, batch)


@contextmanager
def alone(database: Database) -> Iterator[sa.Connection]:
    """A write transaction beside which nobody else can write; the caller commits. Readers see what was before."""
    with database.connect() as connection:
        connection.execution_options(**{WRITE: True})
        if database.backend == "mysql":
            connection.execution_options(isolation_level="REPEATABLE READ")  # whose locks cover the gaps, too
        with connection.begin():
            if database.backend == "postgresql":
                names = map(connection.dialect.identifier_preparer.format_table, s.metadata.sorted_tables)
                connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE")
            else:
                connection.execute(sa.select(s.iceberg_tables).with_for_update()).all()
            yield connection


def batches(rows: Iterable[Values]) -> Iterator[list[Values]]:
    """The rows in lists of at most ``BATCH``."""
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def last_ids(connection: sa.Connection) -> dict[str, int]:
    """The highest id that each table with ids of its own has ever given out, by table; 0 where there is none."""
    found = {}
    for table in tables():
        if not _gives_ids(table):
            continue
        highest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
        found[str(table.name)] = max(highest, connection.execute(_counter(connection, table)).scalar() or 0)
    return found


def continue_ids(connection: sa.Connection, last: Mapping[str, int]) -> None:
    """Give out only ids above ``last``, by table. On MySQL this commits: call it before the transaction's work."""
    known = last_ids(connection)
    for name, highest in sorted(known.items()):
        value = max(highest, last.get(name, 0))
        if value < 1:
            continue
        if connection.dialect.name == "sqlite":
            sequence = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
            changed = connection.execute(sa.update(sequence).where(sequence.c.name == name).values(seq=value))
            if not changed.rowcount:
                connection.execute(sa.insert(sequence).values(name=name, seq=value))
        elif connection.dialect.name == "postgresql":
            # Its counter knows nothing of rows that came with their ids.
            connection.execute(sa.select(sa.func.setval(_sequence(name), value)))
        elif value > highest:
            quoted = connection.dialect.identifier_preparer.format_table(s.metadata.tables[name])
            connection.exec_driver_sql(f"ALTER TABLE {quoted} AUTO_INCREMENT = {int(value) + 1}")


def _gives_ids(table: sa.Table) -> bool:
    column = table.autoincrement_column
    return column is not None and column.name == "id"


def _counter(connection: sa.Connection, table: sa.Table) -> sa.Select[Any]:
    """What the database's own counter of a table's ids says."""
    if connection.dialect.name == "sqlite":
        sequence = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
        return sa.select(sequence.c.seq).where(sequence.c.name == str(table.name))
    if connection.dialect.name == "postgresql":
        return sa.select(sa.func.pg_sequence_last_value(_sequence(str(table.name))))
    known = sa.table(
        "tables", *map(sa.column, ("table_schema", "table_name", "auto_increment")), schema="information_schema"
    )
    return sa.select(known.c.auto_increment - 1).where(
        known.c.table_schema == sa.func.database(), known.c.table_name == str(table.name)
    )


def _sequence(name: str) -> sa.ColumnElement[Any]:
    return sa.cast(sa.func.pg_get_serial_sequence(name, "id"), postgresql.REGCLASS)


def _plain(connection: sa.Connection, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if isinstance(column.type, sa.Double) and connection.dialect.name != "sqlite":
        return column + 0.0  # SQLite knows no negative zero, and what can be copied there must be the same everywhere
    if isinstance(column.type, sa.LargeBinary) and connection.dialect.name == "sqlite":
        return sa.cast(column, sa.LargeBinary)  # where another program may have left text
    if not isinstance(column.type, sa.Boolean):
        return column
    as_number = sa.cast if connection.dialect.name == "postgresql" else sa.type_coerce
    return as_number(column, sa.Integer)


def _copy(connection: sa.Connection, table: sa.Table, rows: Iterable[Values]) -> None:
    """PostgreSQL's COPY: a row costs a tenth of what an INSERT does."""
    dialect = connection.dialect
    preparer = dialect.identifier_preparer
    columns = ", ".join(preparer.format_column(column) for column in table.columns)
    statement = f"COPY {preparer.format_table(table)} ({columns}) FROM STDIN"
    dbapi: Any = dialect.loaded_dbapi
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as target:
            for row in rows:
                target.write_row(row)
    except dbapi.Error as err:
        raise sa.exc.DBAPIError.instance(statement, None, err, dbapi.Error, dialect=dialect) from err
