"""Inserting many rows at once and knowing their ids, on every database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog.mlmd_import.source import Record

_ROWS: Final = 500
_BYTES: Final = 1_000_000
"""How much text and bytes one statement takes: far below any server's largest packet, unless one value is larger."""


def insert_all(connection: sa.Connection, table: sa.Table, rows: Iterable[Record]) -> int:
    """Insert rows, which may come as they are read; their number."""
    done = 0
    for part in batches(rows):
        connection.execute(sa.insert(table), part)
        done += len(part)
    return done


def insert_numbered(connection: sa.Connection, table: sa.Table, rows: Sequence[Record]) -> list[int]:
    """Insert rows without ids into a table that numbers them; the ids, in the order of the rows."""
    if connection.dialect.name == "mysql":
        return [key for part in batches(rows) for key in _insert_mysql(connection, table, part)]
    ids = _take_ids(connection, table, len(rows))
    insert_all(connection, table, ({**row, "id": key} for row, key in zip(rows, ids, strict=True)))
    return ids


def batches(rows: Iterable[Record]) -> Iterator[list[Record]]:
    """The rows in lists that fit into one statement."""
    part: list[Record] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if len(part) >= _ROWS or size >= _BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _take_ids(connection: sa.Connection, table: sa.Table, count: int) -> list[int]:
    """Ids that nobody else gets."""
    if count == 0:
        return []
    if connection.dialect.name == "postgresql":
        numbers = sa.func.generate_series(1, count).table_valued("n")
        sequence = sa.func.pg_get_serial_sequence(table.name.lower(), "id")
        return list(connection.execute(sa.select(sa.func.nextval(sequence)).select_from(numbers)).scalars())
    # SQLite has one writer at a time. AUTOINCREMENT never gives an id again, also not one that was deleted.
    counters = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
    known = connection.execute(sa.select(counters.c.seq).where(counters.c.name == table.name)).scalar() or 0
    largest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
    first = max(known, largest) + 1
    return list(range(first, first + count))


def _insert_mysql(connection: sa.Connection, table: sa.Table, rows: list[Record]) -> list[int]:
    """One statement of known size gets consecutive ids (InnoDB, "simple inserts"), as far apart as the server says."""
    result: Any = connection.execute(sa.insert(table).values(rows))
    step = connection.exec_driver_sql("SELECT @@auto_increment_increment").scalar_one()
    first = int(result.lastrowid)
    return [first + place * step for place in range(len(rows))]
