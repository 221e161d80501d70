"""What is NULL and what is empty stay apart at every depth: written, read by three engines, and rewritten."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keyed_table_lab import KeyedTable
from pyiceberg.table import StaticTable
from table_lab import TableLab

from lakecat.store import LakeStore
from lakecat.tables import Operation, Rewrite, Scan, plan, read
from lakecat.tables.evolution import AddColumn, DropColumn, MoveColumn, RenameColumn, WidenColumn, alter
from lakecat.tables.relation import relation_sql
from lakecat.tables.rewrite import delete_keys, insert_new, merge_upsert, replace_keys
from lakecat.tables.snapshot_files import engine_path
from lakecat.tables.validity import Validity, rewrite_history

NUMBER = pa.int64()
STAMP = pa.timestamp("us", "UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)


def a_list(of: pa.DataType) -> pa.DataType:
    return pa.list_(of)


def a_struct(of: pa.DataType) -> pa.DataType:
    return pa.struct([("n", NUMBER), ("x", of)])


def a_map(of: pa.DataType) -> pa.DataType:
    return pa.map_(pa.string(), of)


def nest(levels: list[Any]) -> pa.DataType:
    kind: pa.DataType = NUMBER
    for level in levels:
        kind = level(kind)
    return kind


KINDS = st.lists(st.sampled_from([a_list, a_struct, a_map]), min_size=1, max_size=3).map(nest)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        some: Any = st.lists(values(kind.value_type), max_size=3)
    elif pa.types.is_struct(kind):
        some = st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    elif pa.types.is_map(kind):
        some = st.dictionaries(st.sampled_from("ab"), values(kind.item_type), max_size=2).map(lambda d: list(d.items()))
    else:
        some = st.integers(0, 9)
    return st.none() | some


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, list[Any]]:
    kind = draw(KINDS)
    return kind, draw(st.lists(values(kind), min_size=4, max_size=8))


def has_struct_in_collection(kind: pa.DataType, inside: bool = False) -> bool:
    if pa.types.is_list(kind):
        return has_struct_in_collection(kind.value_type, True)
    if pa.types.is_map(kind):
        return has_struct_in_collection(kind.item_type, True)
    return pa.types.is_struct(kind) and (inside or has_struct_in_collection(kind.field("x").type))


def by_key(rows: list[dict[str, Any]]) -> dict[int, Any]:
    assert len({row["k"] for row in rows}) == len(rows)
    return {row["k"]: row["v"] for row in rows}


def through_duckdb(table: KeyedTable) -> list[dict[str, Any]]:
    """As the engine reads it."""
    paths = [engine_path(table.store, file.location) for file in plan(table.store, table.scan)]
    with duckdb.connect() as con:
        return con.sql(relation_sql(paths, table.state.schema)).to_arrow_table().to_pylist()


def through_parquet(table: KeyedTable) -> list[dict[str, Any]]:
    """What Arrow alone finds in the files."""
    files = plan(table.store, table.scan)
    return [row for file in files for row in pq.read_table(table.store.local_path(file.location)).to_pylist()]


def through_pyiceberg(table: KeyedTable) -> list[dict[str, Any]]:
    return StaticTable.from_metadata(table.state.metadata_location).scan().to_arrow().to_pylist()


def check(table: KeyedTable, expected: dict[int, Any], kind: pa.DataType) -> None:
    assert by_key(table.rows()) == expected
    assert by_key(through_duckdb(table)) == expected
    assert by_key(through_parquet(table)) == expected
    # PyIceberg 0.12 itself reads a NULL list or map of structs as an empty one.
    if not has_struct_in_collection(kind):
        assert by_key(through_pyiceberg(table)) == expected


def rows(kind: pa.DataType, found: dict[int, Any]) -> pa.Table:
    return pa.table({"k": pa.array(list(found), NUMBER), "v": pa.array(list(found.values()), kind)})


STRUCTS = a_list(a_struct(a_map(NUMBER)))
ODD = [None, [], [None], [{"n": 1, "x": None}], [{"n": None, "x": []}, None], [{"n": 2, "x": [("a", None)]}]]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example((STRUCTS, ODD))
@example((a_map(a_struct(a_list(NUMBER))), [None, [], [("a", None)], [("a", {"n": 1, "x": None})]]))
@given(columns())
def test_rewrites_keep_them_apart(tmp_path: Path, column: tuple[pa.DataType, list[Any]]) -> None:
    kind, found = column
    table = KeyedTable(tmp_path / str(uuid4()), rows(kind, dict(enumerate(found))), file_rows=4)
    expected = dict(enumerate(found))
    check(table, expected, kind)

    def apply(change: Any, told: dict[int, Any]) -> None:
        source = rows(kind, told).to_reader()
        rewrite: AbstractContextManager[Rewrite] = change(
            table.store, table.scan, source, ["k"], settings=table.settings
        )
        assert table.apply(rewrite)

    apply(merge_upsert, {0: found[1], 90: found[2]})
    expected |= {0: found[1], 90: found[2]}
    check(table, expected, kind)
    apply(replace_keys, {1: found[0], 91: found[3]})
    expected |= {1: found[0], 91: found[3]}
    apply(insert_new, {1: found[2], 92: found[0]})
    expected |= {92: found[0]}
    apply(delete_keys, {2: None})
    del expected[2]
    check(table, expected, kind)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example((STRUCTS, ODD))
@given(columns())
def test_history_keeps_them_apart(tmp_path: Path, column: tuple[pa.DataType, list[Any]]) -> None:
    kind, found = column
    schema = pa.schema([("k", NUMBER), ("v", kind), ("valid_from", STAMP), ("valid_to", STAMP)])
    table = KeyedTable(tmp_path / str(uuid4()), schema.empty_table())
    told: dict[int, list[Any]] = {}
    for day, turn in enumerate((found, [*found[1:], found[0]], found)):
        moment = START + timedelta(days=day)
        table.apply(
            rewrite_history(
                table.store,
                table.scan if day else None,
                rows(kind, dict(enumerate(turn))).to_reader(),
                ["k"],
                Validity(valid_from="valid_from", valid_to="valid_to", now=moment),
                settings=table.settings,
                schema=table.state.schema,
            )
        )
        for key, value in enumerate(turn):
            known = told.setdefault(key, [])
            if not known or known[-1] != value:
                known.append(value)
    for number, held in told.items():
        found_rows = sorted((row for row in table.rows() if row["k"] == number), key=lambda row: row["valid_from"])
        assert [row["v"] for row in found_rows] == held


@pytest.mark.parametrize("batch", [3, 200_000])
def test_batches_that_are_cut_out_of_larger_ones(tmp_path: Path, batch: int) -> None:
    """Arrow hands out slices of what it decodes: offsets must not slip."""
    lab = TableLab(LakeStore.open(str(tmp_path / "lake")))
    found = [ODD[number % len(ODD)] for number in range(batch)]
    lab.create(pa.table({"k": range(batch), "v": pa.array(found, STRUCTS)}))
    read_back = read(lab.store, Scan(lab.current)).read_all()["v"]
    assert read_back.null_count == sum(value is None for value in found)
    assert read_back.slice(batch - 3).to_pylist() == found[-3:]


def test_nested_columns_that_changed(tmp_path: Path) -> None:
    """Renamed, moved, widened, dropped and added inside lists of lists and maps: old files by field id."""
    inner = pa.struct([("a", pa.int32()), ("b", pa.string())])
    kinds = {"l": pa.list_(pa.list_(inner)), "m": pa.map_(pa.string(), pa.list_(inner)), "s": pa.struct([("i", inner)])}
    lab = TableLab(LakeStore.open(str(tmp_path / "lake")))
    one, none = {"a": 1, "b": "x"}, {"a": None, "b": None}
    data = {"l": [[[one, None], None, []], None, []], "m": [[("k", [none]), ("n", None)], None, []],
            "s": [{"i": one}, {"i": None}, None]}  # fmt: skip
    lab.create(pa.table({name: pa.array(data[name], kind) for name, kind in kinds.items()}))
    changes = [
        change
        for path in (("l", "element", "element"), ("m", "value", "element"), ("s", "i"))
        for change in (
            WidenColumn((*path, "a"), pa.int64()),
            RenameColumn((*path, "a"), "alpha"),
            AddColumn((*path, "c"), pa.float64()),
            MoveColumn((*path, "c")),
            DropColumn((*path, "b")),
        )
    ]
    lab.commit(
        Operation.APPEND,
        schema=alter(lab.current.schema, changes, last_column_id=lab.current.last_column_id),
    )
    old, empty = {"c": None, "alpha": 1}, {"c": None, "alpha": None}
    expected = {"l": [[[old, None], None, []], None, []], "m": [[("k", [empty]), ("n", None)], None, []],
                "s": [{"i": old}, {"i": None}, None]}  # fmt: skip
    assert read(lab.store, Scan(lab.current)).read_all().to_pydict() == expected
    paths = [engine_path(lab.store, file.location) for file in plan(lab.store, Scan(lab.current))]
    with duckdb.connect() as con:
        assert con.sql(relation_sql(paths, lab.current.schema)).to_arrow_table().to_pydict() == expected
