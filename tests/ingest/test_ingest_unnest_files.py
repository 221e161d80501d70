"""Lists in tables of their own, where the rows of a file take the place of those that it had before."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import ConfigError, SourceError
from lakecat.ingest.shaping import plain
from lakecat.ingest.unnesting import exploded, unnested

KEYS = {
    "connector": "files",
    "target": "raw.orders",
    "mode": "replace_files",
    "key": "id",
    "gone": "remove",
    "unnest": ["items", "items.taxes"],
    "options": {"path": "in/*.jsonl", "empty": "skip"},
}
versions = iter(range(1, 1_000_000))


def put(project, name: str, rows: list[dict[str, Any]]) -> None:
    path = project.put(f"in/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    os.utime(path, ns=(0, next(versions) * 1_000_000_000))


def found(project, table: str, *columns: str) -> Counter[tuple[Any, ...]]:
    """The rows, with the file that each is of."""
    if not project.exists(table):
        return Counter()
    rows = project.table(table).to_pylist()
    return Counter((Path(row["_lakecat_file"]).stem, *(row[column] for column in columns)) for row in rows)


def order(number: int, *items: list[int]) -> dict[str, Any]:
    """An order whose items have these taxes."""
    return {"id": number, "items": [{"n": len(taxes), "taxes": [{"t": tax} for tax in taxes]} for taxes in items]}


def check(project, files: dict[str, list[dict[str, Any]]]) -> None:
    """The tables are what stands in the files, and nothing else."""
    rows = [(name, row) for name, rows in files.items() for row in rows]
    items = [(name, row["id"], at, item) for name, row in rows for at, item in enumerate(row["items"], 1)]
    taxes = [(*where, at, tax["t"]) for *where, item in items for at, tax in enumerate(item["taxes"], 1)]
    assert found(project, "raw.orders", "id") == Counter((name, row["id"]) for name, row in rows)
    assert found(project, "raw.orders__items", "_root_id", "_index_1", "n") == Counter(
        (*where, item["n"]) for *where, item in items
    )
    names = ("_root_id", "_index_1", "_index_2", "t")
    assert found(project, "raw.orders__items__taxes", *names) == Counter(map(tuple, taxes))


@pytest.mark.parametrize("keys", [{"batch": "file"}, {"partition": "bucket(4, id)"}])
def test_the_elements_of_a_file_are_replaced_with_its_rows(project, keys: dict[str, str]) -> None:
    job = project.job("t", **KEYS, **keys)
    files = {"a": [order(1, [1, 2], []), order(1, [9])], "b": [order(1, [3]), order(2)], "z": [order(1, [1])]}
    for name, rows in files.items():
        put(project, name, rows)
    project.run(job)
    check(project, files)
    files |= {"a": [order(1), order(5, [5])], "c": [order(1, [7])]}
    put(project, "a", files["a"])
    put(project, "c", files["c"])
    project.run(job)
    check(project, files)
    (project.root / "in/b.jsonl").unlink()
    del files["b"]
    project.run(job)
    check(project, files)
    files["a"] = []
    put(project, "a", [])
    (project.root / "in/c.jsonl").unlink()
    files["d"] = [order(8, [8])]
    put(project, "d", files["d"])
    del files["c"]
    project.run(job)
    check(project, files)
    assert project.run(job) == ()
    project.clean()


ORDERS = st.builds(order, st.integers(1, 3), st.lists(st.integers(0, 3), max_size=2))
FOLDERS = st.dictionaries(st.sampled_from("abc"), st.lists(ORDERS, max_size=3), min_size=1)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FOLDERS, min_size=2, max_size=4))
def test_the_tables_are_always_what_stands_in_the_folder(make_project, tmp_path_factory, folders) -> None:
    project = make_project(tmp_path_factory.mktemp("unnest") / "project")
    job = project.job("t", **KEYS)
    for folder in folders:
        put(project, "always", [order(99, [1])])
        for path in (project.root / "in").glob("[abc].jsonl"):
            path.unlink()
        for name, rows in folder.items():
            put(project, name, rows)
        project.run(job)
        check(project, {**folder, "always": [order(99, [1])]})


@pytest.mark.parametrize("keys", [{}, {"mode": "merge", "gone": "note", "file_column": True}])
def test_ids_may_be_those_of_a_file(project, keys: dict[str, Any]) -> None:
    """The file is part of the key, and comes into the tables of lists once."""
    job = project.job("orders", **KEYS | {"key": ["id", "_lakecat_file"]} | keys)
    put(project, "a", [order(1, [5], [6, 7])])
    put(project, "b", [order(1, [8])])
    project.run(job)
    check(project, {"a": [order(1, [5], [6, 7])], "b": [order(1, [8])]})
    put(project, "a", [order(1, [9])])
    project.run(job)
    check(project, {"a": [order(1, [9])], "b": [order(1, [8])]})


def test_a_folder_that_is_empty_takes_nothing_away(project) -> None:
    job = project.job("t", **KEYS)
    put(project, "a", [order(1, [1])])
    project.run(job)
    (project.root / "in/a.jsonl").unlink()
    with pytest.raises(SourceError, match="would be emptied"):
        project.run(job)
    check(project, {"a": [order(1, [1])]})


def test_elements_that_do_not_say_their_file_cannot_be_replaced_by_it(project) -> None:
    put(project, "a", [order(1, [1])])
    project.run(project.job("t", **{**KEYS, "mode": "merge", "gone": "note", "unnest": "items"}))
    put(project, "a", [order(1, [2])])
    job = project.job("u", **{**KEYS, "unnest": "items"})
    with pytest.raises(ConfigError, match="do not say which file"):
        project.run(job)


def test_nor_can_they_where_the_file_is_gone(project) -> None:
    put(project, "a", [order(1, [1])])
    put(project, "b", [order(2, [1])])
    keys = {**KEYS, "unnest": "items"}
    project.run(project.job("t", **{**keys, "mode": "merge", "gone": "note"}))
    (project.root / "in/a.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"rows of raw\.orders do not say which file"):
        project.run(project.job("t", **keys))


def test_elements_say_their_file_where_the_rows_do(project) -> None:
    keys = {**KEYS, "mode": "append", "gone": "note", "unnest": "items", "file_column": True, "names": "snake"}
    job = project.job("t", **keys)
    put(project, "a", [order(1, [1])])
    put(project, "b", [order(2, [])])
    project.run(job)
    assert found(project, "raw.orders__items", "_root_id", "n") == Counter([("a", 1, 1), ("b", 2, 0)])


@pytest.mark.parametrize(
    ("name", "nth"), [("data.written", 3), ("audited", 1), ("commit.sidecar_written", 2), ("commit.after", 1)]
)
def test_killed_anywhere_and_run_again(project, expire_leases, name: str, nth: int) -> None:
    job = project.job("t", **KEYS)
    before = {"a": [order(1, [1, 2], [])], "b": [order(1, [3]), order(2)], "z": [order(1, [1])]}
    for file, rows in before.items():
        put(project, file, rows)
    project.run(job)
    after = {"a": [order(7, [8], [9])], "c": [order(1, [5])], "z": before["z"]}
    put(project, "a", after["a"])
    put(project, "c", after["c"])
    (project.root / "in/b.jsonl").unlink()
    assert project.process("job", "t", failpoint=f"{name}:{nth}:kill")[0] == -signal.SIGKILL
    check(project, after if name == "commit.after" else before)
    expire_leases(project)
    project.run(job)
    check(project, after)
    assert project.run(job) == ()
    project.clean()


def test_lists_of_a_fixed_size_and_views_of_lists_are_lists(project) -> None:
    """As Arrow's files have them; Parquet's say so in the schema that Arrow adds."""
    rows = pa.table(
        {
            "id": [1, 2, 3],
            "pair": pa.array([[1, 2], None, [None, 3]], pa.list_(pa.int64(), 2)),
            "view": pa.array([["a"], [], None], pa.list_view(pa.string_view())),
        }
    )
    pq.write_table(rows.select(["id", "pair"]), project.root / "pairs.parquet")
    keys = {"mode": "merge", "key": "id", "unnest": "pair", "options": {"path": "pairs.parquet"}}
    project.run(project.job("p", target="raw.p", **keys))
    found = [tuple(row.values()) for row in project.table("raw.p__pair").to_pylist()]
    assert sorted(found, key=repr) == [(1, 1, 1), (1, 2, 2), (3, 1, None), (3, 2, 3)]
    views = exploded(plain(rows.to_reader()), ["id"], unnested(["view"])[0])
    assert views is not None
    assert views.read_all().to_pylist() == [{"_root_id": 1, "_index_1": 1, "_value": "a"}]
