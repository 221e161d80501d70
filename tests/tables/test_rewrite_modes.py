"""Other changes by key: deletions that the rows themselves tell, rows that are new only, groups, and what is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyed_table_lab import KeyedTable

from lakecat.errors import SchemaError
from lakecat.tables.rewrite import insert_new, merge_upsert, replace_keys

SIX = pa.table({"k": [1, 2, 3, 4, 5, 6], "v": ["a", "b", "c", "d", "e", None], "gone": [False] * 6})


def pairs(table: KeyedTable) -> list[tuple[Any, Any]]:
    return sorted(((row["k"], row["v"]) for row in table.rows()), key=repr)


def rows(*values: tuple[Any, Any, Any]) -> pa.RecordBatchReader:
    columns = list(zip(*values, strict=True)) or [(), (), ()]
    types = zip(["k", "v", "gone"], (pa.int64(), pa.string(), pa.bool_()), strict=True)
    return pa.table({n: pa.array(c, t) for (n, t), c in zip(types, columns, strict=True)}).to_reader()


def merged(table: KeyedTable, source: pa.RecordBatchReader, **options: Any) -> tuple[int, int]:
    return table.apply(merge_upsert(table.store, table.scan, source, ["k"], settings=table.settings, **options))


def test_flagged_rows_go_and_are_not_written(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, SIX)
    assert merged(table, rows((1, "x", True), (2, "B", False), (3, "C", None), (9, "n", True)), deleted="gone") == (
        2,
        3,
    )
    assert pairs(table) == [(2, "B"), (3, "C"), (4, "d"), (5, "e"), (6, None)]


def test_any_column_may_be_the_flag_by_not_being_null(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, SIX)
    merged(table, rows((1, None, False), (2, "tomb", False)), deleted="v")
    assert pairs(table) == [(1, None), (3, "c"), (4, "d"), (5, "e"), (6, None)]


def test_a_flag_that_is_no_column_is_refused(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, SIX)
    with pytest.raises(SchemaError, match="no column 'goner'"):
        merged(table, rows((1, "x", True)), deleted="goner")


def test_what_is_not_present_goes(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, SIX)
    present = pa.table({"k": [2, 3, 4, 5, 9]}).to_reader()
    assert merged(table, rows((9, "n", None)), present=present) == (2, 2)
    assert pairs(table) == [(2, "b"), (3, "c"), (4, "d"), (5, "e"), (9, "n")]


def test_a_row_without_a_key_is_never_absent(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, pa.table({"k": [1, None], "v": ["a", "b"], "gone": [False, False]}))
    merged(table, rows((2, "n", None)), present=pa.table({"k": [2]}).to_reader())
    assert pairs(table) == [(2, "n"), (None, "b")]


def test_only_rows_with_a_new_key_are_added(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, SIX)
    source = rows((1, "other", None), (7, "new", None))
    assert table.apply(insert_new(table.store, table.scan, source, ["k"], settings=table.settings)) == (0, 1)
    assert pairs(table) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, None), (7, "new")]


def test_a_key_may_have_many_rows_that_are_replaced_together(tmp_path: Path) -> None:
    table = KeyedTable(tmp_path, pa.table({"k": [1, 1, 2, 2, 3], "v": list("abcde"), "gone": [False] * 5}))
    source, gone = rows((1, "x", None), (1, "y", None), (1, "z", None)), pa.table({"k": [3]}).to_reader()
    table.apply(replace_keys(table.store, table.scan, source, ["k"], settings=table.settings, gone=gone))
    assert pairs(table) == [(1, "x"), (1, "y"), (1, "z"), (2, "c"), (2, "d")]


keys = st.integers(0, 5)
changes = st.dictionaries(keys, st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=6)
there = st.sets(keys, min_size=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["merge", "new", "present"]), changes, there), max_size=3))
def test_every_mode_does_to_a_table_what_it_does_to_a_dictionary(tmp_path: Path, steps: Any) -> None:
    table = KeyedTable(tmp_path, SIX.slice(0, 4))
    model: dict[int, str] = dict(zip([1, 2, 3, 4], "abcd", strict=True))
    for mode, change, present in steps:
        source = rows(*((k, v, gone) for k, (v, gone) in change.items()))
        if mode == "new":
            table.apply(insert_new(table.store, table.scan, source, ["k"], settings=table.settings))
            model = {**{k: v for k, (v, _) in change.items()}, **model}
            continue
        if mode == "merge":
            merged(table, source, deleted="gone")
        else:
            all_keys = pa.table({"k": pa.array([*present, *change], pa.int64())}).to_reader()
            merged(table, source, deleted="gone", present=all_keys)
            model = {k: v for k, v in model.items() if k in present or k in change}
        for k, (v, gone) in change.items():
            model.pop(k, None) if gone else model.update({k: v})
    assert pairs(table) == sorted(model.items())
