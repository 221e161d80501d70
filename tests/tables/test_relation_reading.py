"""DuckDB reads a snapshot's files by field id exactly as PyIceberg reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    LongType,
    StringType,
)

from lakecat.tables.relation import empty_sql, quoted, relation_sql

Make = Callable[[pa.Schema], Table]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    catalog = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/wh")
    catalog.create_namespace("ns")
    yield lambda schema: catalog.create_table("ns.t", schema, properties={"format-version": "2"})
    catalog.engine.dispose()


def append(table: Table, rows: list[dict[str, Any]]) -> None:
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


def paths(table: Table, snapshot_id: int | None = None) -> list[str]:
    return [task.file.file_path.removeprefix("file://") for task in table.scan(snapshot_id=snapshot_id).plan_files()]


def duck(sql: str) -> pa.Table:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        return con.sql(sql).to_arrow_table()


def assert_reads_same(table: Table, snapshot_id: int | None = None) -> list[dict[str, Any]]:
    scan = table.scan(snapshot_id=snapshot_id)
    schema = scan.projection()
    got = duck(relation_sql(paths(table, snapshot_id), schema))
    expected = scan.to_arrow()
    assert got.column_names == expected.column_names
    key = str
    assert sorted(got.to_pylist(), key=key) == sorted(expected.to_pylist(), key=key)
    return got.to_pylist()


def test_top_level_changes(make: Make) -> None:
    table = make(
        pa.schema(
            [("id", pa.int32()), ("amount", pa.float32()), ("price", pa.decimal128(5, 2)), ("country", pa.string())]
        )
    )
    append(table, [{"id": 1, "amount": 1.5, "price": Decimal("1.25"), "country": "DE"}])
    with table.update_schema() as update:
        update.rename_column("country", "country code")
        update.update_column("id", field_type=LongType())
        update.update_column("amount", field_type=DoubleType())
        update.update_column("price", field_type=DecimalType(12, 2))
        update.add_column("channel", StringType())
        update.move_first("price")
    append(table, [{"price": Decimal("7.00"), "id": 2**40, "amount": 0.1, "country code": "FR", "channel": "app"}])
    rows = assert_reads_same(table)
    assert {"price": Decimal("1.25"), "id": 1, "amount": 1.5, "country code": "DE", "channel": None} in rows


def test_nested_changes(make: Make) -> None:
    inner = pa.struct([("a", pa.int32()), ("b", pa.string())])
    table = make(
        pa.schema([("id", pa.int32()), ("s", inner), ("l", pa.list_(inner)), ("m", pa.map_(pa.string(), inner))])
    )
    old = {"a": 1, "b": "x"}
    append(table, [{"id": 1, "s": old, "l": [old, None], "m": [("k", old)]}, {"id": 2, "s": None, "l": [], "m": None}])
    with table.update_schema(allow_incompatible_changes=True) as update:
        for parent in (("s",), ("l", "element"), ("m", "value")):
            update.rename_column((*parent, "a"), "alpha")
            update.update_column((*parent, "a"), field_type=LongType())
            update.delete_column((*parent, "b"))
            update.add_column((*parent, "c"), DoubleType())
    new = {"alpha": 2**40, "c": 0.5}
    append(table, [{"id": 3, "s": new, "l": [new], "m": [("k", new)]}])
    rows = assert_reads_same(table)
    assert next(row for row in rows if row["id"] == 1)["l"] == [{"alpha": 1, "c": None}, None]


def test_a_dropped_name_that_comes_back_is_a_new_column(make: Make) -> None:
    table = make(pa.schema([("id", pa.int32()), ("gone", pa.string())]))
    append(table, [{"id": 1, "gone": "secret"}])
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("gone")
    with table.update_schema() as update:
        update.add_column("gone", StringType())
    append(table, [{"id": 2, "gone": "new"}])
    rows = assert_reads_same(table)
    assert sorted((row["id"], row["gone"]) for row in rows) == [(1, None), (2, "new")]


def test_time_travel_reads_the_schema_of_then(make: Make) -> None:
    table = make(pa.schema([("id", pa.int32()), ("name", pa.string())]))
    append(table, [{"id": 1, "name": "a"}])
    then = table.current_snapshot()
    assert then is not None
    with table.update_schema() as update:
        update.rename_column("name", "title")
    append(table, [{"id": 2, "title": "b"}])
    assert assert_reads_same(table, then.snapshot_id) == [{"id": 1, "name": "a"}]


def test_partitioned_by_identity(make: Make) -> None:
    table = make(pa.schema([("origin", pa.string()), ("at", pa.timestamp("us")), ("n", pa.int64())]))
    with table.update_spec() as update:
        update.add_field("origin", IdentityTransform(), "origin")
        update.add_field("n", IdentityTransform(), "n")
    rows = [{"origin": o, "at": dt.datetime(2013, 1, d, 5), "n": d} for o in ("JFK", "a=b/c", None) for d in (1, 2)]  # noqa: DTZ001 - zoneless
    append(table, rows)
    assert len(paths(table)) == 6
    assert_reads_same(table)


def test_initial_defaults_of_every_kind(tmp_path: Path) -> None:
    """Format 2 has no initial defaults of its own; other writers' metadata may still carry them."""
    raw = {
        "type": "struct",
        "schema-id": 0,
        "fields": [
            {"id": 1, "name": "id", "required": False, "type": "int"},
            {"id": 2, "name": "s", "required": False, "type": "string", "initial-default": "it's"},
            {"id": 3, "name": "d", "required": False, "type": "date", "initial-default": "2020-02-03"},
            {"id": 4, "name": "b", "required": False, "type": "boolean", "initial-default": True},
            {"id": 5, "name": "n", "required": False, "type": "decimal(9,2)", "initial-default": "1.50"},
            {"id": 6, "name": "f", "required": False, "type": "double", "initial-default": 0.1},
        ],
    }
    schema = Schema.model_validate(raw)
    with duckdb.connect() as con:
        assert con.sql(f"SELECT 1 FROM ({empty_sql(schema)})").fetchall() == []
    with_ids = pa.schema([pa.field("id", pa.int32(), metadata={"PARQUET:field_id": "1"})])
    pq.write_table(pa.table({"id": [7]}, schema=with_ids), tmp_path / "f.parquet")
    got = duck(relation_sql([str(tmp_path / "f.parquet")], schema)).to_pylist()
    assert got == [{"id": 7, "s": "it's", "d": dt.date(2020, 2, 3), "b": True, "n": Decimal("1.50"), "f": 0.1}]


def test_every_primitive_type(make: Make) -> None:
    schema = pa.schema(
        [
            ("b", pa.bool_()),
            ("i", pa.int32()),
            ("l", pa.int64()),
            ("f", pa.float32()),
            ("d", pa.float64()),
            ("n", pa.decimal128(38, 9)),
            ("day", pa.date32()),
            ("t", pa.time64("us")),
            ("ts", pa.timestamp("us")),
            ("tz", pa.timestamp("us", tz="UTC")),
            ("s", pa.string()),
            ("x", pa.binary()),
            ("fx", pa.binary(3)),
            ("u", pa.uuid()),
        ]
    )
    table = make(schema)
    row = {
        "b": True,
        "i": -(2**31),
        "l": 2**63 - 1,
        "f": 1.5,
        "d": float("inf"),
        "n": Decimal("12345678901234567890123456789.123456789"),
        "day": dt.date(1, 1, 1),
        "t": dt.time(23, 59, 59, 999999),
        "ts": dt.datetime(1969, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001 - zoneless
        "tz": dt.datetime(2013, 6, 1, tzinfo=dt.UTC),
        "s": "naïve 🐈 '\"\\",
        "x": b"\x00\xff",
        "fx": b"abc",
        "u": UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes,
    }
    table.append(pa.Table.from_pylist([row, dict.fromkeys(row)], schema=table.schema().as_arrow()))
    projected = table.scan().projection()
    got = duck(relation_sql(paths(table), projected)).to_pylist()
    assert got[0] == {**row, "u": "f79c3e09-677c-4bbd-a479-3f349cb785e7"}
    assert got[1] == dict.fromkeys(row)
    empty = duck(empty_sql(projected))
    assert empty.schema == duck(relation_sql(paths(table), projected)).schema
    assert empty.num_rows == 0


@pytest.mark.parametrize("name", ['a"b', "a'b", "a]b}", "select", "a.b", "ä 🐈", "a--b", "a;b", "{x: 1}", "Ab"])
def test_hostile_column_names(make: Make, name: str) -> None:
    kind = pa.struct([(name, pa.int32())])
    table = make(pa.schema([(name, pa.int32()), ("s", kind)]))
    append(table, [{name: 1, "s": {name: 2}}])
    assert assert_reads_same(table) == [{name: 1, "s": {name: 2}}]


def test_filename_column_names_the_file_of_each_row(make: Make) -> None:
    table = make(pa.schema([("id", pa.int32())]))
    append(table, [{"id": 1}])
    append(table, [{"id": 2}])
    files = paths(table)
    rows = duck(relation_sql(files, table.schema(), filename_column="the file")).to_pylist()
    assert {row["the file"] for row in rows} == set(files)


def test_rows_given_do_not_change_what_is_counted(make: Make) -> None:
    table = make(pa.schema([("id", pa.int32())]))
    append(table, [{"id": 1}, {"id": 2}])
    sql = relation_sql(paths(table), table.schema(), rows=77)
    assert duck(f"SELECT count(*) AS n FROM ({sql})").to_pylist() == [{"n": 2}]


def test_quoting_is_the_librarys() -> None:
    assert quoted('a"b') == '"a""b"'
