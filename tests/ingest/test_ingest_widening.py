"""Files that say their types widen a column, as Iceberg lets one become the other; no other type comes in by itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakecat.errors import ParseError
from lakecat.landing import current_state
from lakecat.tables import Scan, read
from lakecat.types import DatasetName

TABLE = DatasetName.parse("raw.x")
SMALL, LARGE = 7, 2**40
WIDE = pa.decimal128(12, 2)
NARROW = pa.decimal128(6, 2)


def parquet(rows: dict[str, pa.Array]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue()


def arrow(rows: dict[str, pa.Array]) -> bytes:
    table = pa.table(rows)
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def avro(rows: dict[str, pa.Array]) -> bytes:
    kinds = {pa.int32(): "int", pa.int64(): "long"}
    fields = [{"name": name, "type": kinds[values.type]} for name, values in rows.items()]
    sink = io.BytesIO()
    fastavro.writer(sink, {"type": "record", "name": "R", "fields": fields}, pa.table(rows).to_pylist())
    return sink.getvalue()


def kind_of(project: Any, column: str) -> str:
    return str(current_state(project.services, TABLE).schema.find_type(column))


@pytest.mark.parametrize(("name", "make"), [("parquet", parquet), ("arrow", arrow), ("avro", avro)])
def test_an_int_becomes_a_long(project: Any, name: str, make: Callable[[dict[str, pa.Array]], bytes]) -> None:
    job = project.job("t", target="raw.x", options={"path": f"in/*.{name}"})
    project.put(f"in/1.{name}", make({"n": pa.array([SMALL], pa.int32())}))
    project.run(job)
    before = current_state(project.services, TABLE)
    assert kind_of(project, "n") == "int"
    project.put(f"in/2.{name}", make({"n": pa.array([LARGE], pa.int64())}))
    (result,) = project.run(job)
    assert result.schema_changes == ("widen n from int to long",)
    assert sorted(project.table("raw.x")["n"].to_pylist()) == [SMALL, LARGE]
    after = current_state(project.services, TABLE)
    assert read(project.services.store, Scan(after, before.current_snapshot_id)).read_all()["n"].to_pylist() == [SMALL]
    project.put(f"in/3.{name}", make({"n": pa.array([SMALL], pa.int32())}))
    (result,) = project.run(job)
    assert (result.schema_changes, kind_of(project, "n")) == ((), "long")
    project.clean()


@pytest.mark.parametrize(
    ("known", "found", "value", "type_"),
    [
        (pa.float32(), pa.float64(), 0.1, "double"),
        (NARROW, WIDE, Decimal("1234567890.12"), "decimal(12, 2)"),
        (pa.int16(), pa.uint32(), 2**32 - 1, "long"),
    ],
)
@pytest.mark.parametrize("place", ["whole", "struct", "list", "map"])
def test_values_widen_at_every_depth(
    project: Any, known: pa.DataType, found: pa.DataType, value: Any, type_: str, place: str
) -> None:
    def column(kind: pa.DataType, value: Any) -> pa.Array:
        match place:
            case "struct":
                return pa.array([{"v": value}], pa.struct([("v", kind)]))
            case "list":
                return pa.array([[value, None]], pa.list_(kind))
            case "map":
                return pa.array([[("k", value)]], pa.map_(pa.string(), kind))
        return pa.array([value], kind)

    first = Decimal("1.50") if pa.types.is_decimal(known) else 2
    job = project.job("t", target="raw.x", options={"path": "in/*.parquet"})
    project.put("in/1.parquet", parquet({"c": column(known, first)}))
    project.run(job)
    project.put("in/2.parquet", parquet({"c": column(found, value)}))
    project.run(job)
    path = {"whole": "c", "struct": "c.v", "list": "c.element", "map": "c.value"}[place]
    assert kind_of(project, path) == type_
    rows = project.table("raw.x")["c"].to_pylist()
    assert sorted(rows, key=repr) == sorted(
        [column(known, first).to_pylist()[0], column(found, value).to_pylist()[0]], key=repr
    )
    project.clean()


def test_a_key_that_widens_still_finds_its_rows(project: Any) -> None:
    job = project.job("t", target="raw.x", mode="merge", key=["id"], options={"path": "in/*.parquet"})
    project.put("in/1.parquet", parquet({"id": pa.array([1, 2], pa.int32()), "v": ["a", "b"]}))
    project.run(job)
    project.put("in/2.parquet", parquet({"id": pa.array([2, LARGE], pa.int64()), "v": ["B", "c"]}))
    project.run(job)
    rows = {row["id"]: row["v"] for row in project.table("raw.x").to_pylist()}
    assert rows == {1: "a", 2: "B", LARGE: "c"}
    assert project.table("raw.x").num_rows == 3
    project.clean()


def test_a_declared_type_stays(project: Any) -> None:
    job = project.job("t", target="raw.x", columns={"n": "int"}, options={"path": "in/*.parquet"})
    project.put("in/1.parquet", parquet({"n": pa.array([SMALL], pa.int64())}))
    project.run(job)
    project.put("in/2.parquet", parquet({"n": pa.array([LARGE], pa.int64())}))
    with pytest.raises(ParseError, match="long value that int cannot hold exactly"):
        project.run(job)
    assert (kind_of(project, "n"), project.table("raw.x")["n"].to_pylist()) == ("int", [SMALL])


@pytest.mark.parametrize(
    ("known", "found", "fits", "misfits"),
    [
        (pa.int32(), pa.uint64(), [1], [2**63]),
        (NARROW, pa.decimal128(8, 4), [Decimal("1.5000")], [Decimal("1.5555")]),
        (pa.float32(), pa.int64(), [4], [2**24 + 1]),
    ],
)
def test_what_no_column_may_become_is_read_where_each_value_fits(
    project: Any, known: pa.DataType, found: pa.DataType, fits: list[Any], misfits: list[Any]
) -> None:
    job = project.job("t", target="raw.x", options={"path": "in/*.parquet"})
    first = [Decimal("2.25")] if pa.types.is_decimal(known) else [2]
    project.put("in/1.parquet", parquet({"n": pa.array(first, known)}))
    project.run(job)
    before = kind_of(project, "n")
    project.put("in/2.parquet", parquet({"n": pa.array(fits, found)}))
    project.run(job)
    assert sorted(project.table("raw.x")["n"].to_pylist()) == sorted(first + fits)
    project.put("in/3.parquet", parquet({"n": pa.array(misfits, found)}))
    with pytest.raises(ParseError, match="cannot hold exactly"):
        project.run(job)
    assert (kind_of(project, "n"), project.table("raw.x").num_rows) == (before, 2)
