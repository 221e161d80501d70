"""MLMD's tables brought to the shape of lakecat's revision 0001, without losing a row. Every step can be repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import AddConstraint

from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0001 as t

MLMD_TABLES: Final[tuple[sa.Table, ...]] = (
    t.mlmd_env,
    t.type_,
    t.type_property,
    t.parent_type,
    t.artifact,
    t.artifact_property,
    t.execution,
    t.execution_property,
    t.context,
    t.context_property,
    t.parent_context,
    t.event,
    t.event_path,
    t.association,
    t.attribution,
)
_WIDTH: Final = re.compile(r"(INT|TINYINT|SMALLINT|BIGINT|INTEGER)\(\d+\)")


@dataclass(frozen=True, slots=True)
class Orphans:
    """``rows`` rows whose ``column`` names something that is not there."""

    column: str
    rows: int


@dataclass(frozen=True, slots=True)
class Shape:
    """What ``reshape`` changed."""

    widened: tuple[str, ...]
    reencoded: int


def table_names(connection: sa.Connection) -> frozenset[str]:
    """The names of the database's tables, in lower case, as PostgreSQL folds MLMD's."""
    return frozenset(name.lower() for name in sa.inspect(connection).get_table_names())


def plan(connection: sa.Connection) -> tuple[str, ...]:
    """The columns that ``reshape`` would widen."""
    return tuple(f"{table.name}.{column.name}" for table, columns in _narrow(connection) for column in columns)


def reshape(connection: sa.Connection) -> Shape:
    """Widen MLMD's columns on PostgreSQL and MySQL; on MySQL also text that is doubly encoded is put right."""
    widened = plan(connection)
    if connection.dialect.name == "postgresql":
        for table, columns in list(_narrow(connection)):
            _alter_postgresql(connection, table, columns)
        _widen_sequences(connection)
    elif connection.dialect.name == "mysql":
        collation = start.byte_collation(connection)
        for table in t.metadata.tables.values():
            table.kwargs["mysql_collate"] = collation
        narrow = {table.name for table, _ in _narrow(connection)}
        for table in MLMD_TABLES:
            if table.name in narrow or _collation(connection, table) != collation:
                _alter_mysql(connection, table, collation)
        return Shape(widened, _reencode(connection))
    return Shape(widened, 0)


def add_tables(connection: sa.Connection) -> None:
    """Make the tables that are not there, with their indexes."""
    there = table_names(connection)
    missing = [table for table in t.metadata.sorted_tables if table.name.lower() not in there]
    t.metadata.create_all(connection, tables=missing, checkfirst=False)


def plan_foreign_keys(connection: sa.Connection) -> tuple[tuple[Orphans, ...], int]:
    """Which rows stand in the way of foreign keys, and how many keys ``add_foreign_keys`` would add."""
    orphans = tuple(Orphans(_label(key), rows) for key in _keys() if (rows := _orphans(connection, key)))
    if connection.dialect.name == "sqlite":
        return orphans, 0
    blocked = {item.column for item in orphans}
    return orphans, sum(1 for key in _missing_keys(connection) if _label(key) not in blocked)


def add_foreign_keys(connection: sa.Connection) -> tuple[tuple[Orphans, ...], int]:
    """Put the foreign keys on MLMD's tables that no row stands in the way of; the orphans, and how many were added."""
    orphans, _ = plan_foreign_keys(connection)
    if connection.dialect.name == "sqlite":
        return orphans, 0
    blocked = {item.column for item in orphans}
    added = [key for key in _missing_keys(connection) if _label(key) not in blocked]
    for key in added:
        connection.execute(AddConstraint(key, isolate_from_table=False))
    return orphans, len(added)


def add_indexes(connection: sa.Connection) -> None:
    """Make the indexes that are not there; on PostgreSQL hashes take the place of plain indexes over long texts."""
    inspector = sa.inspect(connection)
    for table in t.metadata.sorted_tables:
        there = {str(index["name"]).lower(): index for index in inspector.get_indexes(_real(connection, table))}
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            found = there.get(str(index.name).lower())
            wanted = index.dialect_options["postgresql"]["using"]
            using = None if found is None else found.get("dialect_options", {}).get("postgresql_using")
            if found is not None and connection.dialect.name == "postgresql" and wanted and using != wanted:
                index.drop(connection, checkfirst=False)
                found = None
            if found is None:
                index.create(connection, checkfirst=False)


# what is there


def _real(connection: sa.Connection, table: sa.Table) -> str:
    """The table's name as the database has it."""
    return table.name.lower() if connection.dialect.name == "postgresql" else str(table.name)


def _narrow(connection: sa.Connection) -> Iterator[tuple[sa.Table, list[sa.Column[Any]]]]:
    """The tables with columns whose type is not ours; none on SQLite, whose types are affinities."""
    if connection.dialect.name == "sqlite":
        return
    inspector = sa.inspect(connection)
    for table in MLMD_TABLES:
        there = {column["name"]: column["type"] for column in inspector.get_columns(_real(connection, table))}
        columns = [c for c in table.columns if _spell(connection, there[c.name]) != _spell(connection, c.type)]
        if columns:
            yield table, columns


def _spell(connection: sa.Connection, type_: sa.types.TypeEngine[Any]) -> str:
    """The type in the database's words, without what does not change what fits into it."""
    text = type_.compile(connection.dialect).upper()
    text = re.sub(r"( CHARACTER SET \S+| COLLATE \S+)", "", text)
    return _WIDTH.sub(r"\1", text.replace("BOOL", "TINYINT") if connection.dialect.name == "mysql" else text)


def _keys() -> Iterator[sa.ForeignKeyConstraint]:
    for table in MLMD_TABLES:
        yield from sorted(table.foreign_key_constraints, key=_label)


def _label(key: sa.ForeignKeyConstraint) -> str:
    return f"{key.table.name}.{key.column_keys[0]}"


def _missing_keys(connection: sa.Connection) -> Iterator[sa.ForeignKeyConstraint]:
    inspector = sa.inspect(connection)
    there = {
        (table.name, tuple(key["constrained_columns"]))
        for table in MLMD_TABLES
        for key in inspector.get_foreign_keys(_real(connection, table))
    }
    return (key for key in _keys() if (key.table.name, tuple(key.column_keys)) not in there)


def _orphans(connection: sa.Connection, key: sa.ForeignKeyConstraint) -> int:
    child = key.table.c[key.column_keys[0]]
    parent = key.referred_table.alias()
    found = sa.select(sa.func.count()).where(child.is_not(None), ~sa.exists().where(parent.c.id == child))
    return connection.execute(found).scalar_one()


def _collation(connection: sa.Connection, table: sa.Table) -> str | None:
    tables = sa.table("tables", *map(sa.column, ("table_schema", "table_name", "table_collation")))
    tables.schema = "information_schema"
    mine = (tables.c.table_schema == sa.func.database(), tables.c.table_name == str(table.name))
    return connection.execute(sa.select(tables.c.table_collation).where(*mine)).scalar_one_or_none()


# changing it


def _alter_postgresql(connection: sa.Connection, table: sa.Table, columns: list[sa.Column[Any]]) -> None:
    prepare = connection.dialect.identifier_preparer
    changes = ", ".join(
        f"ALTER COLUMN {prepare.format_column(c)} TYPE {c.type.compile(connection.dialect)}" for c in columns
    )
    connection.exec_driver_sql(f"ALTER TABLE {prepare.format_table(table)} {changes}")


def _widen_sequences(connection: sa.Connection) -> None:
    prepare = connection.dialect.identifier_preparer
    for table in MLMD_TABLES:
        if table.autoincrement_column is None:
            continue
        name = sa.func.pg_get_serial_sequence(_real(connection, table), table.autoincrement_column.name)
        sequence = connection.execute(sa.select(name)).scalar_one()
        if sequence is not None:
            schema, _, plain = sequence.rpartition(".")
            quoted = f"{schema}.{plain}" if '"' in sequence else prepare.quote(plain)
            connection.exec_driver_sql(f"ALTER SEQUENCE {quoted} AS BIGINT")


def _alter_mysql(connection: sa.Connection, table: sa.Table, collation: str) -> None:
    """One statement for all columns: each statement copies the table."""
    prepare = connection.dialect.identifier_preparer
    changes = [f"DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}"]
    for column in table.columns:
        parts = [prepare.format_column(column), _mysql_type(connection, column, collation)]
        parts.append("NULL" if column.nullable else "NOT NULL")
        if column.server_default is not None:
            parts.append("DEFAULT 0")
        if table.autoincrement_column is column:
            parts.append("AUTO_INCREMENT")
        changes.append("MODIFY COLUMN " + " ".join(parts))
    connection.exec_driver_sql(f"ALTER TABLE {prepare.format_table(table)} {', '.join(changes)}")


def _mysql_type(connection: sa.Connection, column: sa.Column[Any], collation: str) -> str:
    type_: sa.types.TypeEngine[Any] = column.type
    if isinstance(type_, sa.Text):
        type_ = mysql.LONGTEXT(charset="utf8mb4", collation=collation)
    elif isinstance(type_, sa.String):
        type_ = mysql.VARCHAR(type_.length, charset="utf8mb4", collation=collation)
    return type_.compile(connection.dialect)


def _reencode(connection: sa.Connection) -> int:
    """Decode text that MLMD wrote as UTF-8 through a latin1 connection; the number of texts.

    A text is taken for such where all its characters exist in MySQL's latin1, and their bytes are valid UTF-8.
    """
    prepare = connection.dialect.identifier_preparer
    mode = connection.exec_driver_sql("SELECT @@SESSION.sql_mode").scalar_one()
    # In strict mode an UPDATE fails on the bytes that this looks for and leaves alone.
    connection.exec_driver_sql("SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'")
    changed = 0
    for table in MLMD_TABLES:
        for column in table.columns:
            if not isinstance(column.type, sa.String):
                continue
            name = prepare.format_column(column)
            latin = f"CONVERT({name} USING latin1)"
            decoded = f"CONVERT(CAST({latin} AS BINARY) USING utf8mb4)"
            changed += connection.exec_driver_sql(
                f"UPDATE {prepare.format_table(table)} SET {name} = {decoded}"
                f" WHERE LENGTH({name}) <> CHAR_LENGTH({name})"
                f" AND HEX(CONVERT({latin} USING utf8mb4)) = HEX({name})"
                f" AND HEX({decoded}) = HEX({latin})"
            ).rowcount
    connection.execute(sa.text("SET SESSION sql_mode = :mode"), {"mode": mode})
    return changed
