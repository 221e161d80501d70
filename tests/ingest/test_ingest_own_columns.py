"""_lakecat_execution and _lakecat_file in every mode by key, and several rows with one key in one slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KEYS = {"key": "id", "file_column": True, "execution_column": True}


def deliver(project, files: dict[str, str], **keys: Any) -> str:
    """Run the job over new files, in one slice; its execution."""
    for name, lines in files.items():
        project.put(f"in/{name}.csv", f"id,v\n{lines}")
    (result,) = project.run(project.job("t", target="raw.t", options={"path": "in/*.csv"}, **{**KEYS, **keys}))
    return project.catalog.execution(result.execution_id).info.uuid


def found(project, *more: str) -> set[tuple[Any, ...]]:
    """Key, value, file, execution (and more columns) of every row."""
    rows = project.table("raw.t").to_pylist()
    shown = {
        (
            row["id"],
            row["v"],
            Path(row["_lakecat_file"]).stem,
            row["_lakecat_execution"],
            *(row[name] for name in more),
        )
        for row in rows
    }
    assert len(shown) == len(rows)
    return shown


# In one slice: key 1 comes twice in a file, key 2 in two files. The last one counts.
FIRST = {"a": "1,x\n2,y\n1,z\n", "b": "3,u\n2,w\n"}
LAST = {(1, "z", "a"), (2, "w", "b"), (3, "u", "b")}


@pytest.mark.parametrize("mode", ["merge", "append_new", "history"])
def test_the_last_row_of_a_key_counts_and_says_where_it_came_from(project, mode: str) -> None:
    one = deliver(project, FIRST, mode=mode)
    assert found(project) == {(*row, one) for row in LAST}
    two = deliver(project, {"c": "2,lost\n4,n\n2,W\n", "d": "4,N\n"}, mode=mode)
    new = {(4, "N", "d", two)}
    if mode == "append_new":
        assert found(project) == {(*row, one) for row in LAST} | new
    elif mode == "merge":
        kept = {(*row, one) for row in LAST if row[0] != 2}
        assert found(project) == kept | {(2, "W", "c", two)} | new
    else:
        rows = found(project, "valid_to")
        assert {row[:4] for row in rows if row[4] is not None} == {(2, "w", "b", one)}
        assert {row[:4] for row in rows if row[4] is None} == {
            (1, "z", "a", one),
            (3, "u", "b", one),
            (2, "W", "c", two),
            (4, "N", "d", two),
        }
    project.clean()


def test_all_rows_of_a_key_stay_where_keys_are_replaced(project) -> None:
    one = deliver(project, FIRST, mode="replace_keys")
    everything = {(1, "x", "a"), (2, "y", "a"), (1, "z", "a"), (3, "u", "b"), (2, "w", "b")}
    assert found(project) == {(*row, one) for row in everything}
    two = deliver(project, {"c": "2,p\n", "d": "2,q\n4,n\n"}, mode="replace_keys")
    kept = {(*row, one) for row in everything if row[0] != 2}
    assert found(project) == kept | {(2, "p", "c", two), (2, "q", "d", two), (4, "n", "d", two)}


def test_what_is_told_again_by_another_file_is_no_change(project) -> None:
    """A history keeps when a row began to hold; who told it again, and from where, makes no row."""
    one = deliver(project, FIRST, mode="history")
    deliver(project, {"c": "1,z\n3,u\n"}, mode="history")
    assert found(project) == {(*row, one) for row in LAST}
    assert len(project.catalog.versions(project.catalog.datasets()[0].name, 9)) == 1


def test_a_deletion_that_is_told_last_counts(project) -> None:
    keys = {"mode": "merge", "deletes": {"flag": "gone"}, "key": "id", "options": {"path": "in/*.csv"}}
    project.put("in/a.csv", "id,v,gone\n1,a,false\n2,b,false\n3,c,true\n")
    project.put("in/b.csv", "id,v,gone\n1,,true\n3,C,false\n2,,true\n2,B,false\n")
    project.run(project.job("t", target="raw.t", file_column=True, **keys))
    rows = {(row["id"], row["v"], Path(row["_lakecat_file"]).stem) for row in project.table("raw.t").to_pylist()}
    assert rows == {(2, "B", "b"), (3, "C", "b")}
