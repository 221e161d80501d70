"""Upsert and delete by key: the same rows as a dictionary would hold, and only the files concerned are written anew."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyed_table_lab import KeyedTable
from pyiceberg.types import NestedField, StringType

from lakecat.config import EngineSettings
from lakecat.errors import SchemaError, TableError
from lakecat.tables import (
    evolve,
    plan,
)
from lakecat.tables.key_bounds import KeyBounds
from lakecat.tables.rewrite import delete_keys, merge_upsert


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., KeyedTable]:
    return lambda *args, **options: KeyedTable(tmp_path, *args, **options)


SIX = pa.table({"k": [1, 2, 3, 4, 5, 6], "v": ["a", "b", "c", "d", "e", None]})


def test_merge_replaces_and_adds_in_the_files_concerned_only(make: Any) -> None:
    table = make(SIX)
    assert table.merge(pa.table({"k": [3, 9], "v": ["C", "n"]}), ["k"]) == (1, 1)
    assert [(row["k"], row["v"]) for row in table.rows()] == [
        (1, "a"), (2, "b"), (3, "C"), (4, "d"), (5, "e"), (6, None), (9, "n"),
    ]  # fmt: skip
    assert len(plan(table.store, table.scan)) == 3


def test_merge_of_new_keys_removes_nothing(make: Any) -> None:
    table = make(SIX)
    assert table.merge(pa.table({"k": [0, 9], "v": ["x", "y"]}), ["k"]) == (0, 0)
    assert len(table.rows()) == 8


def test_merge_into_an_empty_table_and_of_nothing(make: Any) -> None:
    table = make(SIX.slice(0, 0))
    assert table.merge(SIX, ["k"]) == (0, 0)
    assert table.rows() == sorted(SIX.to_pylist(), key=repr)
    assert table.merge(SIX.slice(0, 0), ["k"]) == (0, 0)
    assert table.rows() == sorted(SIX.to_pylist(), key=repr)


def test_a_missing_column_becomes_null(make: Any) -> None:
    table = make(SIX)
    table.merge(pa.table({"k": [1]}), ["k"])
    assert {"k": 1, "v": None} in table.rows()


def test_merge_evolves_the_schema(make: Any) -> None:
    table = make(SIX)
    rows = pa.table({"new": [1.5], "v": ["A"], "k": [1]})
    evolved = evolve(table.state.schema, rows.schema, last_column_id=table.state.last_column_id)
    table.merge(rows, ["k"], evolved)
    assert table.rows()[:2] == [{"k": 1, "v": "A", "new": 1.5}, {"k": 2, "v": "b", "new": None}]


def test_a_widened_key_still_finds_its_rows(make: Any) -> None:
    table = make(pa.table({"k": pa.array([1, 2, 3], pa.int32()), "v": ["a", "b", "c"]}))
    rows = pa.table({"k": pa.array([2, 2**40], pa.int64()), "v": ["B", "big"]})
    evolved = evolve(table.state.schema, rows.schema, last_column_id=table.state.last_column_id)
    assert table.merge(rows, ["k"], evolved) == (1, 1)
    assert [row["v"] for row in table.rows()] == ["a", "big", "B", "c"]


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([1, 2, 3], pa.int64()),
        pa.array(["a", "ä", "z" * 100]),
        pa.array([Decimal("1.10"), Decimal("-2.00"), Decimal("3.33")], pa.decimal128(9, 2)),
        pa.array([dt.date(2020, 1, 1), dt.date(1969, 1, 1), dt.date(9999, 12, 31)]),
        pa.array([dt.datetime(2020, 1, d, tzinfo=dt.UTC) for d in (1, 2, 3)], pa.timestamp("us", tz="UTC")),
        pa.array([0.5, float("inf"), float("nan")]),
        pa.array([b"\x00", b"a", b"\xff"]),
        pa.array([uuid.UUID(int=n).bytes for n in (1, 2, 3)], pa.binary(16)).cast(pa.uuid()),
        pa.array([True, False, None])[:2],
        pa.array([dt.time(1), dt.time(2), dt.time(3)], pa.time64("us")),
    ],
    ids=lambda keys: str(keys.type),
)
def test_every_type_of_key(make: Any, keys: pa.Array) -> None:
    table = make(pa.table({"k": keys, "v": list(range(len(keys)))}), file_rows=1)
    last = keys.slice(len(keys) - 1)
    assert table.merge(pa.table({"k": last, "v": [99]}), ["k"]) == (1, 1)
    expected = [*range(len(keys) - 1), 99]
    assert sorted(row["v"] for row in table.rows()) == expected
    assert table.delete(pa.table({"k": last}), ["k"]) == (1, 1)
    assert sorted(row["v"] for row in table.rows()) == expected[:-1]


def test_other_partitions_and_bounds_are_not_opened(make: Any) -> None:
    rows = pa.table({"at": [dt.datetime(2013, 1, d) for d in (1, 2, 3)], "v": [1, 2, 3]})  # noqa: DTZ001
    table = make(rows, ["day(at)"], file_rows=3)
    day = rows.slice(1, 1)
    for file in plan(table.store, table.scan):
        if file.data_file.partition[0] != (dt.date(2013, 1, 2) - dt.date(1970, 1, 1)).days:
            table.store.delete(file.location)
    with delete_keys(table.store, table.scan, day.to_reader(), ["at"], settings=table.settings) as done:
        assert (len(done.removed), done.rows.read_all().num_rows) == (1, 0)


def test_delete_leaves_rows_without_key(make: Any) -> None:
    table = make(pa.table({"k": [1, None, 3, None], "v": [1, 2, 3, 4]}))
    assert table.delete(pa.table({"k": [1, 3, 7], "other": ["x", "y", "z"]}), ["k"]) == (2, 2)
    assert [row["v"] for row in table.rows()] == [2, 4]


@pytest.mark.parametrize(
    ("rows", "key", "what"),
    [
        ({"k": [1, None]}, ["k"], "'k' is NULL in 1 of the 2 rows"),
        ({"k": [1, 1]}, ["k"], "more than once"),
        ({"v": ["a"]}, ["k"], "'k' is NULL"),
        ({"k": [1]}, ["nope"], "no column 'nope'"),
        ({"k": [1]}, [], "at least one"),
        ({"k": ["x"]}, ["k"], "'k'"),
        ({"k": [1], "z": [1]}, ["k"], "'z'"),
    ],
)
def test_what_is_refused(make: Any, rows: dict[str, Any], key: list[str], what: str) -> None:
    table = make(SIX)
    with (
        pytest.raises(SchemaError, match=what),
        merge_upsert(table.store, table.scan, pa.table(rows).to_reader(), key, settings=table.settings),
    ):
        pass
    assert not list((table.root / "spill").glob("*"))


def test_more_rows_than_memory(make: Any) -> None:
    n = 2_000_000
    numbers = pa.array(range(n), pa.int64())
    filler = pc.binary_join_element_wise(numbers.cast(pa.string()), pa.scalar("x" * 150), "-")
    table = make(pa.table({"k": numbers, "v": filler}), file_rows=n)
    odd = pa.table({"k": pa.array(range(1, n, 2), pa.int64()), "v": pc.take(filler, pa.array(range(0, n, 2)))})
    with merge_upsert(table.store, table.scan, odd.to_reader(), ["k"], settings=table.settings) as done:
        assert sum(batch.num_rows for batch in done.rows) == n
        assert done.matched == n // 2


def test_no_memory_at_all_is_said(make: Any) -> None:
    table = make(SIX)
    n = 3_000_000
    rows = pa.table({"k": pa.array(range(n), pa.int64()), "v": pa.array([str(i) * 20 for i in range(n)])})
    settings_ = EngineSettings(memory_limit="30MB", threads=1, temp_directory=table.root / "spill", max_temp_size="1MB")
    with (
        pytest.raises(TableError, match="rewrite of") as caught,
        merge_upsert(table.store, table.scan, rows.to_reader(), ["k"], settings=settings_),
    ):
        pass
    assert caught.value.hint is not None


keys = st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", ""]))
contents = st.dictionaries(keys, st.one_of(st.none(), st.integers(-9, 9)), max_size=8)


@given(before=contents, upserts=contents, deletes=st.sets(keys, max_size=4), file_rows=st.integers(1, 4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_is_what_a_dictionary_would_be(
    tmp_path: Path, before: dict, upserts: dict, deletes: set, file_rows: int
) -> None:
    schema = pa.schema([("n", pa.int64()), ("s", pa.string()), ("v", pa.int64())])

    def rows(content: dict) -> pa.Table:
        return pa.Table.from_pylist([{"n": n, "s": s, "v": v} for (n, s), v in content.items()], schema)

    table = KeyedTable(tmp_path, rows(before), ["s"], file_rows=file_rows)
    table.merge(rows(upserts), ["n", "s"])
    expected = before | upserts
    assert {(row["n"], row["s"]): row["v"] for row in table.rows()} == expected
    assert len(table.rows()) == len(expected)
    table.delete(rows(dict.fromkeys(deletes)), ["s", "n"])
    assert {(r["n"], r["s"]): r["v"] for r in table.rows()} == {k: v for k, v in expected.items() if k not in deletes}


STAMPS = pa.array([253_402_300_800_000_000, 0, -99_999_999_999_999_999], pa.timestamp("us", "UTC"))


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([f"file:///srv/project/landing/{n}.csv" for n in range(6)]),
        pa.array(range(6), pa.int32()),
        pa.array(range(-3, 3), pa.date32()),
        STAMPS,
        STAMPS.cast(pa.int64()).cast(pa.timestamp("us")),
    ],
    ids=["text", "int", "date", "beyond Python's years", "without a zone"],
)
def test_files_between_the_keys_are_not_opened(make: Any, keys: pa.Array) -> None:
    """Each file holds one key; those of every second key are asked for, and the others are not even there."""
    table = make(pa.table({"_lakecat_file": keys, "v": range(len(keys))}), file_rows=1)
    files = sorted(plan(table.store, table.scan), key=lambda file: file.sequence_number)
    for file in files[1::2]:
        table.store.delete(file.location)
    source = pa.table({"_lakecat_file": keys.take(pa.array(range(0, len(keys), 2)))})
    with delete_keys(table.store, table.scan, source.to_reader(), ["_lakecat_file"], settings=table.settings) as done:
        assert {file.location for file in done.removed} == {file.location for file in files[::2]}
        assert done.rows.read_all().num_rows == 0


@given(st.lists(st.text(max_size=3)), st.text(max_size=3), st.text(max_size=3))
def test_a_key_is_looked_for_within_a_files_bounds(keys: list[str], one: str, other: str) -> None:
    low, high = sorted((one, other), key=str.encode)
    file = SimpleNamespace(lower_bounds={7: low.encode()}, upper_bounds={7: high.encode()})
    field = NestedField(7, "k", StringType(), required=False)
    found = KeyBounds(field, sorted(set(keys), key=str.encode), listed=True).may_be_in(file)
    assert found == any(low.encode() <= key.encode() <= high.encode() for key in keys)
    assert KeyBounds(field, ["a", "b"], listed=False).may_be_in(file)
    assert KeyBounds(field, ["a"], listed=True).may_be_in(SimpleNamespace(lower_bounds=None, upper_bounds={}))
