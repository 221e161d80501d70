"""A run of some of a job's streams, a load from the start, a window read again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from project_lab import Project

from lakecat.errors import SchemaError, SourceError, UsageError
from lakecat.ingest import plan_job, run_job
from lakecat.ingest.scope import Scope
from lakecat.types import DatasetName


@pytest.fixture
def shop(project: Project) -> Project:
    """A database with two tables beside the project."""
    with closing(sqlite3.connect(project.root / "shop.db")) as database:
        database.executescript(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, at INTEGER, total INTEGER);"
            "CREATE TABLE lines (id INTEGER PRIMARY KEY, at INTEGER, sku TEXT);"
            "INSERT INTO orders VALUES (1, 10, 100), (2, 20, 200), (3, 30, 300);"
            "INSERT INTO lines VALUES (1, 10, 'a'), (2, 20, 'b');"
        )
    return project


def change(project: Project, *statements: str) -> None:
    with closing(sqlite3.connect(project.root / "shop.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def job_of(project: Project, **keys: Any) -> Any:
    said = {"target": "raw.*", "streams": ["orders", "lines"], "mode": "merge", "cursor": "at", **keys}
    return project.job("shop", connector="sql", options={"connection": "sqlite:///shop.db"}, **said)


def rows(project: Project, table: str) -> list[tuple[Any, ...]]:
    return sorted(project.rows(table).elements())


def run(project: Project, job: Any, **scope: Any) -> dict[str, int]:
    """How many rows came, by dataset."""
    results = run_job(project.services, job, scope=Scope(**scope))
    return {str(result.dataset): result.rows for result in results}


@pytest.mark.parametrize("name", ["ord*", "raw.orders"])
def test_only_the_streams_that_are_named_are_read(shop: Project, name: str) -> None:
    job = job_of(shop)
    assert run(shop, job, streams=(name,)) == {"raw.orders": 3}
    assert not shop.exists("raw.lines")
    assert run(shop, job) == {"raw.lines": 2}  # and the other one had its turn later
    shop.clean()


def test_a_stream_that_the_job_does_not_have_is_refused(shop: Project) -> None:
    with pytest.raises(UsageError, match="no stream 'customers'") as caught:
        run(shop, job_of(shop), streams=("orders", "customers"))
    assert "orders, lines" in str(caught.value.hint)
    assert not shop.exists("raw.orders")


@pytest.mark.parametrize("mode", ["append", "merge", "history", "replace"])
def test_a_refresh_makes_the_table_what_the_source_is(shop: Project, mode: str) -> None:
    keys = {} if mode in ("append", "replace") else {"key": "id"}
    job = job_of(shop, mode=mode, streams={"orders": keys, "lines": keys})
    run(shop, job)
    # None of this is seen by the cursor.
    change(shop, "DELETE FROM orders WHERE id = 1", "UPDATE orders SET total = 250 WHERE id = 2")
    assert run(shop, job, streams=("orders",), refresh=True) == {"raw.orders": 2}
    now = [row[:3] for row in rows(shop, "raw.orders")]
    assert now == [(2, 20, 250), (3, 30, 300)]
    assert len(rows(shop, "raw.lines")) == 2
    change(shop, "INSERT INTO orders VALUES (4, 40, 400)")
    assert run(shop, job, streams=("orders",)) == {"raw.orders": 3 if mode == "replace" else 1}
    assert [row[0] for row in rows(shop, "raw.orders")] == [2, 3, 4]
    shop.clean()


def test_a_refresh_is_one_version_and_the_one_before_stays_readable(shop: Project) -> None:
    job = job_of(shop)
    run(shop, job)
    change(shop, "DELETE FROM orders WHERE id > 1")
    run(shop, job, streams=("orders",), refresh=True)
    versions = shop.catalog.versions(DatasetName.parse("raw.orders"))
    assert [(one.operation, one.rows) for one in versions] == [("replace", 1), ("append", 3)]


def test_a_refresh_in_parts_replaces_with_the_first_and_adds_the_others(shop: Project) -> None:
    job = job_of(shop, mode="append", cursor={"column": "at", "step": 10}, streams=["orders"])
    run(shop, job)
    change(shop, "UPDATE orders SET total = total + 1")
    run(shop, job, refresh=True)
    assert rows(shop, "raw.orders") == [(1, 10, 101), (2, 20, 201), (3, 30, 301)]


def test_a_refresh_that_fails_changes_nothing(shop: Project) -> None:
    job = job_of(shop, streams=["orders"])
    run(shop, job)
    change(shop, "UPDATE orders SET total = 'many' WHERE id = 3", "INSERT INTO orders VALUES (4, 40, 1)")
    with pytest.raises(SourceError):
        run(shop, job, refresh=True)
    change(shop, "UPDATE orders SET total = 333 WHERE id = 3")
    assert run(shop, job) == {"raw.orders": 1}  # the position stayed where it was
    assert rows(shop, "raw.orders")[2] == (3, 30, 300)


def test_a_source_without_rows_does_not_empty_the_table(shop: Project) -> None:
    job = job_of(shop, deletes="absent")
    run(shop, job)
    change(shop, "DELETE FROM orders")
    assert run(shop, job, streams=("orders",), refresh=True) == {}
    assert len(rows(shop, "raw.orders")) == 3


def test_a_source_that_may_be_empty_empties_the_table_and_is_filled_again(shop: Project) -> None:
    refused = job_of(shop, mode="replace", cursor=None, streams=["orders"])
    run(shop, refused)
    change(shop, "DELETE FROM orders")
    with pytest.raises(SourceError, match="no rows") as caught:
        run(shop, refused)
    assert "may_be_empty" in str(caught.value.hint)
    job = job_of(shop, mode="replace", cursor=None, streams=["orders"], may_be_empty=True)
    run(shop, job)
    assert rows(shop, "raw.orders") == []
    run(shop, job)
    assert [one.rows for one in shop.catalog.versions(DatasetName.parse("raw.orders"))] == [0, 3]
    change(shop, "INSERT INTO orders VALUES (7, 70, 700)")
    run(shop, job)
    assert rows(shop, "raw.orders") == [(7, 70, 700)]
    shop.clean()


def test_files_are_loaded_again_by_a_refresh(project: Project) -> None:
    project.put("in/a.csv", "x\n1\n")
    project.put("in/b.csv", "x\n2\n")
    job = project.job("a", target="raw.a", batch="file", options={"path": "in/*.csv"})
    run(project, job)
    assert run(project, job) == {}
    (project.root / "in/a.csv").unlink()
    run(project, job, refresh=True)
    assert rows(project, "raw.a") == [(2,)]
    assert run(project, job) == {}
    project.put("in/c.csv", "x\n3\n")
    run(project, job)
    assert rows(project, "raw.a") == [(2,), (3,)]
    run(project, job, refresh=True)
    assert rows(project, "raw.a") == [(2,), (3,)]
    project.clean()


def test_the_lists_of_the_rows_are_refreshed_with_them(project: Project) -> None:
    project.put("in/a.jsonl", '{"id": 1, "items": [{"n": 1}, {"n": 2}]}\n')
    job = project.job("a", target="raw.a", mode="append", key="id", unnest="items", options={"path": "in/*.jsonl"})
    run(project, job)
    project.put("in/a.jsonl", '{"id": 1, "items": [{"n": 7}]}\n')
    run(project, job, refresh=True)
    assert rows(project, "raw.a") == [(1,)]
    assert rows(project, "raw.a__items") == [(1, 1, 7)]


def test_a_window_is_read_again_and_no_position_moves(shop: Project) -> None:
    job = job_of(shop, deletes="absent")
    run(shop, job)
    change(
        shop,
        "UPDATE orders SET total = 1 WHERE id = 1",
        "UPDATE orders SET total = 2 WHERE id = 2",
        "INSERT INTO orders VALUES (4, 15, 4), (5, 50, 5)",
    )
    assert run(shop, job, streams=("orders",), start=15, end=30) == {"raw.orders": 2}
    assert rows(shop, "raw.orders") == [(1, 10, 100), (2, 20, 2), (3, 30, 300), (4, 15, 4)]
    assert run(shop, job) == {"raw.orders": 1, "raw.lines": 0} or rows(shop, "raw.orders")[-1] == (5, 50, 5)
    assert (1, 10, 100) in rows(shop, "raw.orders")


def test_a_window_that_was_read_once_can_be_read_again(shop: Project) -> None:
    job = job_of(shop, streams=["orders"])
    run(shop, job)
    for total in (7, 8):
        change(shop, f"UPDATE orders SET total = {total} WHERE id = 2")
        run(shop, job, start=20, end=21)
        assert rows(shop, "raw.orders")[1] == (2, 20, total)


@pytest.mark.parametrize(("keys", "problem"), [({"mode": "append"}, "twice"), ({"cursor": None}, "no cursor")])
def test_a_window_is_refused_where_it_would_do_harm(shop: Project, keys: dict[str, Any], problem: str) -> None:
    job = job_of(shop, **{**keys, "streams": ["orders"]})
    with pytest.raises(UsageError, match=problem):
        run(shop, job, start=15)
    with pytest.raises(UsageError, match="window"):
        Scope(refresh=True, start=1)


def test_a_plan_tells_what_a_refresh_would_read(shop: Project) -> None:
    job = job_of(shop, streams=["orders"])
    run(shop, job)
    assert [len(one.slices) for one in plan_job(shop.services, job).streams] == [0]
    assert [len(one.slices) for one in plan_job(shop.services, job, scope=Scope(refresh=True)).streams] == [1]
    assert run(shop, job) == {}


def test_a_job_with_another_target_starts_anew_beside_a_refreshed_one(shop: Project) -> None:
    run(shop, job_of(shop, streams=["orders"]))
    run(shop, job_of(shop, streams=["orders"]), refresh=True)
    other = job_of(shop, streams=["orders"], target="other.*")
    assert run(shop, other) == {"other.orders": 3}
    assert Path(shop.root / "lake").exists()


def test_a_column_of_another_type_is_refused_with_its_source_and_the_ways_out(shop: Project) -> None:
    job = job_of(shop, streams=["orders"])
    run(shop, job)
    change(
        shop,
        "ALTER TABLE orders RENAME TO former",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, at INTEGER, total TEXT)",
        "INSERT INTO orders SELECT id, at + 100, total FROM former",
    )
    with pytest.raises(SchemaError, match="'total' has the type long") as caught:
        run(shop, job)
    assert caught.value.where is not None
    assert "shop.db/orders" in caught.value.where.file
    assert "columns: {total: long}" in str(caught.value.hint)
    assert run(shop, job_of(shop, streams=["orders"], columns={"total": "long"})) == {"raw.orders": 3}
