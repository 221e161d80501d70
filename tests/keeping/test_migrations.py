"""Migrations: from every released schema, on every database, cut off at every statement; and what they make."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, migrate
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("schema_lab")
BACKENDS = ("sqlite", "postgres", "mariadb")
OLDEST = lab.revisions()[0]
SEARCH = {
    "idx_lakecat_search_words", "idx_lakecat_search_fulltext", "idx_artifact_name_bytes", "idx_execution_name_bytes",
    "idx_context_name_bytes",
}  # fmt: skip
"""Indexes for text search that are beyond what schema.py can say."""


def test_every_schema_that_was_released_is_kept() -> None:
    kept = sorted(path.stem for path in lab.FOLDER.glob("*.sql"))
    assert kept == sorted(lab.revisions()), "run python tests/keeping/schema_lab.py, and commit what it writes"
    assert lab.revisions()[-1] == s.HEAD


def snapshot(url: URL, known: sa.MetaData | None = None) -> tuple[sa.MetaData, dict[str, list[Any]]]:
    """The tables (or those of ``known``) and their rows."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        tables = known or lab.reflected(connection)
        return tables, lab.rows(connection, tables)


def check_upgraded(url: URL, known: sa.MetaData, before: dict[str, list[Any]]) -> None:
    """Opened by the newest program, all is there that was there before, and the catalog is whole."""
    Catalog.open(url).close()
    after = snapshot(url, known)[1]
    assert set(before.pop("lakecat_setting")) <= set(after.pop("lakecat_setting"))
    assert after == before


@pytest.mark.parametrize("revision", lab.revisions())
def test_a_database_of_a_released_schema_is_opened_with_all_it_holds(revision: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    lab.load(revision, path)
    url = URL.create("sqlite", database=str(path))
    known, before = snapshot(url)
    assert sum(map(len, before.values())) > 100
    check_upgraded(url, known, before)


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("revision", lab.revisions())
def test_on_every_database(revision: str, kind: str, url_of: Callable[[str, str], URL]) -> None:
    url = url_of(kind, "old")
    lab.make(url, revision)
    lab.fill(url)
    known, before = snapshot(url)
    assert all(before.values())
    check_upgraded(url, known, before)


@pytest.mark.parametrize("kind", BACKENDS)
def test_cut_off_at_every_statement_an_upgrade_is_finished_by_the_next(
    kind: str, url_of: Callable[[str, str], URL]
) -> None:
    """From the oldest schema to the newest, one database for each statement; on MariaDB the DDL before it stays."""
    revision = OLDEST
    whole = url_of(kind, "whole")
    lab.make(whole, revision)
    lab.fill(whole)
    total = run_cut_off(whole, after=1_000_000)
    wanted = described(whole)
    for after in range(total):
        url = url_of(kind, f"cut{after}")
        lab.make(url, revision)
        lab.fill(url)
        known, before = snapshot(url)
        assert run_cut_off(url, after) == after
        if kind != "mariadb":
            assert snapshot(url)[1] == before
        check_upgraded(url, known, before)
        assert described(url) == wanted, after


def run_cut_off(url: URL, after: int) -> int:
    """Upgrade until the connection breaks; how many statements were run."""
    database = Database(url)
    with lab.cut_off(database.engine, after) as count:
        try:
            with migrate.locked(database) as connection:
                migrate.upgrade(connection)
        except ConnectionAbortedError:
            pass
        database.close()
        return int(count())


@pytest.mark.parametrize("kind", BACKENDS)
def test_cut_off_while_it_is_made_it_is_made_by_the_next(kind: str, url_of: Callable[[str, str], URL]) -> None:
    first = url_of(kind, "first")
    total = create_cut_off(first, 1_000_000)
    wanted = described(first)
    assert total > 100
    step = {"sqlite": 7, "postgres": 19, "mariadb": 13}[kind]
    for after in range(3, total, step):
        url = url_of(kind, f"cut{after}")
        create_cut_off(url, after)
        Catalog.open(url, create=True).close()
        assert described(url) == wanted, after


def create_cut_off(url: URL, after: int) -> int:
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).touch()
    return run_cut_off(url, after)


# What the migrations make is what schema.py says


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_migrations_make_exactly_what_the_code_says(kind: str, url_of: Callable[[str, str], URL]) -> None:
    """Columns, types, NULLs, defaults, keys, indexes, foreign keys, compared in the database's own words."""
    migrated, said = url_of(kind, "migrated"), url_of(kind, "said")
    Catalog.open(migrated, create=True).close()
    engine = sa.create_engine(said, poolclass=sa.NullPool)
    with engine.begin() as connection:
        s.metadata.create_all(connection)
    found, wanted = described(migrated), described(said)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == wanted[name], name


def described(url: URL) -> dict[str, Any]:
    """Every table of the catalog in the words of the database itself."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    names = {str(table.name).lower() for table in s.metadata.sorted_tables}
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        return {
            name.lower(): (columns(connection, name), keys(inspector, name), indexes(connection, name))
            for name in inspector.get_table_names()
            if name.lower() in names
        }


def keys(inspector: sa.Inspector, name: str) -> Any:
    foreign = [
        (key["constrained_columns"], key["referred_table"], key["referred_columns"], key.get("options"))
        for key in inspector.get_foreign_keys(name)
    ]
    unique = [one["column_names"] for one in inspector.get_unique_constraints(name)]
    return inspector.get_pk_constraint(name)["constrained_columns"], sorted(foreign, key=repr), sorted(unique)


def columns(connection: sa.Connection, name: str) -> Any:
    kind = connection.dialect.name
    if kind == "sqlite":
        rows = connection.exec_driver_sql(f'PRAGMA table_xinfo("{name}")')
        # ALTER TABLE puts a new column last.
        return sorted((row[1], row[2], row[3], row[4], row[5]) for row in rows)
    told = {
        "mysql": "column_name, column_type, is_nullable, column_default, extra, character_set_name",
        "postgresql": "column_name, data_type, character_maximum_length, is_nullable, column_default, collation_name",
    }[kind]
    schema = "database()" if kind == "mysql" else "current_schema()"
    query = f"SELECT {told} FROM information_schema.columns WHERE table_schema = {schema} AND table_name = :name"
    return sorted((tuple(row) for row in connection.execute(sa.text(query), {"name": name})), key=repr)


def indexes(connection: sa.Connection, name: str) -> Any:
    kind = connection.dialect.name
    query = {
        "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :name",
        "mysql": (
            "SELECT index_name, seq_in_index, column_name, sub_part, non_unique, index_type FROM"
            " information_schema.statistics WHERE table_schema = database() AND table_name = :name"
        ),
        "postgresql": (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = :name"
        ),
    }[kind]
    found = (tuple(row) for row in connection.execute(sa.text(query), {"name": name}))
    return sorted((row for row in found if row[0] not in SEARCH), key=repr)
