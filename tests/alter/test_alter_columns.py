"""Columns changed by hand: old rows read under the new schema, versions and lineage go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import lakecat
from lakecat.errors import NotFoundError, SchemaError, UsageError
from lakecat.tables import AddColumn, DropColumn, MoveColumn, RenameColumn, WidenColumn


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[lakecat.Lake]:
    lakecat.init_project(tmp_path)
    with lakecat.connect(tmp_path) as opened:
        yield opened


def orders(identifier: int, gone: str = "x") -> pa.Table:
    return pa.table({"id": pa.array([identifier], pa.int32()), "amount": [1.5], "gone": [gone]})


def test_every_change_in_one_version_and_old_rows_follow(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", orders(1))
    version = lake.alter(
        "raw.orders",
        RenameColumn(("amount",), "total"),
        WidenColumn(("id",), pa.int64()),
        AddColumn(("note",), pa.string()),
        MoveColumn(("note",)),
        DropColumn(("gone",)),
    )
    assert version is not None
    assert (version.version, version.rows, version.added_rows) == (2, 1, 0)
    lake.append("raw.orders", pa.table({"note": ["n"], "id": [1 << 40], "total": [2.5]}))
    assert lake.query("SELECT * FROM raw.orders ORDER BY id").to_pylist() == [
        {"note": None, "id": 1, "total": 1.5},
        {"note": "n", "id": 1 << 40, "total": 2.5},
    ]
    assert lake.query("SELECT * FROM raw.orders@v1").to_pylist() == [{"id": 1, "amount": 1.5, "gone": "x"}]
    assert "bad" not in {check.verdict.value for check in lake.doctor(deep=True)}


def test_a_dropped_name_that_comes_back_is_a_new_column(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", orders(1))
    lake.alter("raw.orders", DropColumn(("gone",)))
    lake.alter("raw.orders", AddColumn(("gone",), pa.string()))
    assert lake.query("SELECT id, gone FROM raw.orders").to_pylist() == [{"id": 1, "gone": None}]


def test_lineage_follows_a_renamed_column(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", orders(1))
    lake.alter("raw.orders", RenameColumn(("amount",), "net"), RenameColumn(("net",), "total"))
    paths = lake.lineage("raw.orders.total").columns
    assert ("raw.orders", "amount") in {(path.input.dataset, path.input.column) for path in paths}
    assert ("python:raw.orders", "amount") in {(path.input.dataset, path.input.column) for path in paths}


def test_nothing_to_change_makes_no_version(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", orders(1))
    assert lake.alter("raw.orders", MoveColumn(("id",))) is None
    assert lake.show("raw.orders").version.version == 1


def test_what_cannot_be_is_refused_and_changes_nothing(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", orders(1))
    with pytest.raises(SchemaError, match="amount"):
        lake.alter("raw.orders", AddColumn(("ok",), pa.string()), WidenColumn(("amount",), pa.int32()))
    with pytest.raises(UsageError):
        lake.alter("raw.orders")
    with pytest.raises(NotFoundError, match=r"raw\.nothing"):
        lake.alter("raw.nothing", DropColumn(("a",)))
    assert lake.show("raw.orders").version.version == 1


def test_delete_by_key(lake: lakecat.Lake) -> None:
    lake.append("raw.orders", pa.concat_tables([orders(1), orders(2)]))
    result = lake.delete("raw.orders", pa.table({"id": pa.array([2], pa.int32())}), key=["id"])
    assert result.version is not None
    assert lake.query("SELECT id FROM raw.orders").to_pylist() == [{"id": 1}]
