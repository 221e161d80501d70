"""Nested data evolves: a new field inside a struct or a list of structs becomes a field of the table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import desk_connector as desk
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakecat.errors import ParseError
from lakecat.landing import current_state
from lakecat.tables import Scan, read
from lakecat.types import DatasetName

OLD = [{"id": 1, "user": {"id": 7, "name": "Ann"}, "items": [{"sku": "a"}, {"sku": "b"}]}]
NEW = [{"id": 2, "user": {"id": 8, "name": "Bob", "age": 44}, "items": [{"sku": "c", "tax": {"rate": 0.5}}]}]
BOTH = [
    {
        "id": 1,
        "user": {"id": 7, "name": "Ann", "age": None},
        "items": [{"sku": "a", "tax": None}, {"sku": "b", "tax": None}],
    },
    {"id": 2, "user": {"id": 8, "name": "Bob", "age": 44}, "items": [{"sku": "c", "tax": {"rate": 0.5}}]},
]

TABLE = DatasetName.parse("raw.x")
Rows = list[dict[str, Any]]


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def document(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1).encode()


def parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def avro(rows: Rows) -> bytes:
    user = [("id", "long"), ("name", "string"), *([("age", "long")] if rows is NEW else [])]
    rate = {"type": "record", "name": "T", "fields": [{"name": "rate", "type": "double"}]}
    item = [("sku", "string"), *([("tax", rate)] if rows is NEW else [])]
    sink = io.BytesIO()
    schema = record("R", [("id", "long"), ("user", record("U", user)), ("items", array(record("I", item)))])
    fastavro.writer(sink, schema, rows)
    return sink.getvalue()


def record(name: str, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": part, "type": kind} for part, kind in fields]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def xml(rows: Rows) -> bytes:
    def element(name: str, value: Any) -> str:
        if isinstance(value, list):
            return "".join(element(name, part) for part in value)
        inner = "".join(element(part, own) for part, own in value.items()) if isinstance(value, dict) else str(value)
        return f"<{name}>{inner}</{name}>"

    return f"<rows>{element('row', rows)}</rows>".encode()


@pytest.mark.parametrize(
    ("name", "make"), [("jsonl", lines), ("json", document), ("parquet", parquet), ("avro", avro), ("xml", xml)]
)
def test_new_fields_inside_are_added(project, name: str, make: Callable[[Rows], bytes]) -> None:
    job = project.job("t", target="raw.x", options={"path": f"in/*.{name}"})
    project.put(f"in/1.{name}", make(OLD))
    project.run(job)
    before = current_state(project.services, TABLE)
    project.put(f"in/2.{name}", make(NEW))
    (result,) = project.run(job)
    assert (result.rows, sorted(step.split()[1] for step in result.schema_changes)) == (
        1,
        ["items.element.tax", "user.age"],
    )
    assert sorted(project.table("raw.x").to_pylist(), key=lambda row: row["id"]) == BOTH
    after = current_state(project.services, TABLE)
    assert read(project.services.store, Scan(after, before.current_snapshot_id)).read_all().to_pylist() == OLD
    project.put(f"in/3.{name}", make(OLD))
    project.run(job)
    assert project.table("raw.x").num_rows == 3
    ids = {field.name: field.field_id for field in before.schema.fields}
    assert {field.name: field.field_id for field in after.schema.fields} == ids
    assert after.schema.find_field("user.id").field_id == before.schema.find_field("user.id").field_id
    assert after.schema.find_field("user.age").field_id > before.last_column_id
    project.clean()


def inner(project, column: str) -> list[Any]:
    return sorted((row[column] for row in project.table("raw.x").to_pylist()), key=repr)


def test_rows_of_python(project) -> None:
    (project.root / "desk").mkdir()
    folder = project.root / "desk"
    job = project.job(
        "desk", connector="desk_connector:Desk", options={"folder": "desk"}, target="raw.tickets", stream="tickets"
    )
    at = desk.moment
    desk.put(folder, "tickets", [{"id": 1, "changed_at": at(1), "by": {"id": 1}, "all": [{"a": 1}]}])
    project.run(job)
    later = [
        {"id": 2, "changed_at": at(2), "by": {"id": 2, "desk": {"n": 5}}, "all": [{"a": 2, "b": "x"}]},
        {"id": 3, "changed_at": at(3), "by": {"id": 3}, "all": None},
    ]
    desk.put(folder, "tickets", later)
    project.run(job)
    rows = sorted(project.table("raw.tickets").to_pylist(), key=lambda row: row["id"])
    assert [row["by"] for row in rows] == [
        {"id": 1, "desk": None},
        {"id": 2, "desk": {"n": 5}},
        {"id": 3, "desk": None},
    ]
    assert [row["all"] for row in rows] == [[{"a": 1, "b": None}], [{"a": 2, "b": "x"}], None]
    project.clean()


def test_values_of_known_fields_are_still_of_their_types(project) -> None:
    """As for whole columns: what fits a table's type exactly is read with it, and nothing else is."""
    job = project.job("t", target="raw.x", options={"path": "in/*.jsonl"})
    project.put("in/1.jsonl", lines([{"p": {"whole": 1, "part": 0.5}}]))
    project.run(job)
    project.put("in/2.jsonl", lines([{"p": {"whole": 2, "part": 3, "more": 2**40}}]))
    project.run(job)
    assert inner(project, "p") == [
        {"whole": 1, "part": 0.5, "more": None},
        {"whole": 2, "part": 3.0, "more": 2**40},
    ]
    project.put("in/3.jsonl", lines([{"p": {"whole": 3}}, {"p": {"whole": 1.5, "other": 1}}]))
    with pytest.raises(ParseError, match="struct") as caught:
        project.run(job)
    assert caught.value.where is not None
    assert (caught.value.where.line, caught.value.where.column) == (2, "p")


def test_a_quarantine_takes_wrong_values_and_not_new_fields(project) -> None:
    keys: dict[str, Any] = {"target": "raw.x", "options": {"path": "in/*.jsonl"}}
    project.put("in/1.jsonl", lines([{"p": {"n": 1}}]))
    project.run(project.job("t", **keys))
    project.put("in/2.jsonl", lines([{"p": {"n": 2, "new": "a"}}, {"p": {"n": "x", "odd": 1}}, {"p": {"n": 3}}]))
    (result,) = project.run(project.job("t", **keys, quarantine=True))
    assert (result.rows, result.rejected) == (2, 1)
    assert inner(project, "p") == [
        {"n": 1, "new": None},
        {"n": 2, "new": "a"},
        {"n": 3, "new": None},
    ]


def test_a_list_that_is_a_table_of_its_own_gets_the_field(project) -> None:
    keys: dict[str, Any] = {"target": "raw.x", "mode": "merge", "key": "id", "unnest": ["items"]}
    job = project.job("t", **keys, options={"path": "in/*.jsonl"})
    project.put("in/1.jsonl", lines(OLD))
    project.run(job)
    project.put("in/2.jsonl", lines(NEW))
    project.run(job)
    rows = sorted(project.table("raw.x__items").to_pylist(), key=lambda row: (row["_root_id"], row["_index_1"]))
    assert [(row["sku"], row["tax"]) for row in rows] == [("a", None), ("b", None), ("c", {"rate": 0.5})]


def test_merging_by_key_into_a_struct_with_a_new_field(project) -> None:
    job = project.job("t", target="raw.x", mode="merge", key="id", options={"path": "in/*.jsonl"})
    project.put("in/1.jsonl", lines([{"id": 1, "p": {"n": 1}}, {"id": 2, "p": {"n": 2}}]))
    project.run(job)
    project.put("in/2.jsonl", lines([{"id": 2, "p": {"n": 3, "new": True}}]))
    project.run(job)
    rows = sorted(project.table("raw.x").to_pylist(), key=lambda row: row["id"])
    assert rows == [{"id": 1, "p": {"n": 1, "new": None}}, {"id": 2, "p": {"n": 3, "new": True}}]
    project.clean()


def test_a_format_without_structs_leaves_them_null(project) -> None:
    project.put("in/1.jsonl", lines(OLD))
    project.run(project.job("t", target="raw.x", options={"path": "in/*.jsonl"}))
    project.put("in/2.csv", b"id\n2\n")
    project.run(project.job("u", target="raw.x", options={"path": "in/*.csv", "missing_columns": "null"}))
    rows = sorted(project.table("raw.x").to_pylist(), key=lambda row: row["id"])
    assert rows == [*OLD, {"id": 2, "user": None, "items": None}]
