"""Lists inside rows as tables of their own: nothing lost, every element found by its row's key and its place."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.errors import ConfigError, SchemaError
from lakecat.ingest.unnesting import exploded, unnested, without_lists
from lakecat.types import DatasetName

ORDERS = [
    {"id": 1, "who": "Ann", "items": [{"sku": "a", "taxes": [{"t": 1}, {"t": 2}]}, {"sku": "b", "taxes": []}]},
    {"id": 2, "who": "Bob", "items": []},
    {"id": 3, "who": None, "items": [{"sku": "c", "taxes": [{"t": 3}]}], "tags": ["x", "y"]},
]


def deliver(project, name: str, *rows: dict[str, Any], **keys: Any) -> None:
    project.put(f"in/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    given_keys = {"mode": "merge", "key": "id", "unnest": ["items", "items.taxes", "tags"], **keys}
    project.run(project.job("t", target="raw.orders", options={"path": "in/*.jsonl"}, **given_keys))


def rows(project, name: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in project.table(name).to_pylist()), key=repr)


def test_each_list_becomes_a_table_in_the_same_commit(project) -> None:
    deliver(project, "1", *ORDERS)
    assert rows(project, "raw.orders") == [(1, "Ann"), (2, "Bob"), (3, None)]
    assert project.table("raw.orders__items").column_names == ["_root_id", "_index_1", "sku"]
    assert rows(project, "raw.orders__items") == [(1, 1, "a"), (1, 2, "b"), (3, 1, "c")]
    assert rows(project, "raw.orders__items__taxes") == [(1, 1, 1, 1), (1, 1, 2, 2), (3, 1, 1, 3)]
    assert project.table("raw.orders__tags").to_pylist() == [
        {"_root_id": 3, "_index_1": 1, "_value": "x"},
        {"_root_id": 3, "_index_1": 2, "_value": "y"},
    ]
    names = ("orders", "orders__items", "orders__items__taxes", "orders__tags")
    made = [project.catalog.versions(DatasetName("raw", name), 9) for name in names]
    assert [len(versions) for versions in made] == [1, 1, 1, 1]
    assert len({versions[0].execution_id for versions in made}) == 1
    project.clean()


def test_a_merge_puts_new_lists_in_the_place_of_the_old_ones(project) -> None:
    deliver(project, "1", *ORDERS)
    deliver(project, "2", {"id": 1, "who": "Ann", "items": [{"sku": "z"}]}, {"id": 3, "who": "Cy", "items": []})
    assert rows(project, "raw.orders") == [(1, "Ann"), (2, "Bob"), (3, "Cy")]
    assert rows(project, "raw.orders__items") == [(1, 1, "z")]
    assert rows(project, "raw.orders__items__taxes") == []
    assert rows(project, "raw.orders__tags") == []


def test_the_elements_of_a_deleted_row_go_with_it(project) -> None:
    keys = {"deletes": {"flag": "gone"}, "unnest": ["items"]}
    items = [{"sku": "a"}]
    deliver(project, "1", {"id": 1, "gone": False, "items": items}, {"id": 2, "gone": False, "items": items}, **keys)
    deliver(project, "2", {"id": 1, "gone": True, "items": items}, **keys)
    assert [row[0] for row in rows(project, "raw.orders")] == [2]
    assert rows(project, "raw.orders__items") == [(2, 1, "a")]


def test_appended_and_replaced_rows_append_and_replace_their_elements(project) -> None:
    deliver(project, "1", ORDERS[0], mode="append", unnest="items")
    deliver(project, "2", {"id": 9, "who": "New", "items": [{"sku": "n", "taxes": []}]}, mode="append", unnest="items")
    assert [row[:3] for row in rows(project, "raw.orders__items")] == [(1, 1, "a"), (1, 2, "b"), (9, 1, "n")]
    (project.root / "in/1.jsonl").unlink()
    deliver(project, "2", {"id": 8, "who": "Only", "items": []}, mode="replace", unnest="items")
    assert rows(project, "raw.orders") == [(8, "Only")]
    assert rows(project, "raw.orders__items") == []


def test_the_types_of_a_list_stay_from_delivery_to_delivery(project) -> None:
    deliver(project, "1", {"id": 1, "items": [{"price": 1.5}]}, unnest="items")
    deliver(project, "2", {"id": 2, "items": [{"price": 2}, {"price": None}]}, unnest="items")
    assert rows(project, "raw.orders__items") == [(1, 1, 1.5), (2, 1, 2.0), (2, 2, None)]


def test_a_list_within_a_struct(project) -> None:
    deliver(project, "1", {"id": 1, "head": {"v": 1, "lines": [{"n": 7}]}}, unnest="head.lines")
    assert project.table("raw.orders").to_pylist() == [{"id": 1, "head": {"v": 1}}]
    assert rows(project, "raw.orders__head__lines") == [(1, 1, 7)]
    deliver(project, "2", {"id": 1, "head": {"v": 2, "lines": [{"n": 8}, {"n": 9}]}}, unnest="head.lines")
    assert rows(project, "raw.orders__head__lines") == [(1, 1, 8), (1, 2, 9)]


@pytest.mark.parametrize(("path", "message"), [("nothing", "no 'nothing'"), ("who", "is string and no list")])
def test_what_is_no_list_is_refused(project, path: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        deliver(project, "1", ORDERS[0], unnest=path)
    assert not project.exists("raw.orders")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "append", "unnest": "a"}, "unnest needs key"),
        ({"mode": "history", "key": "id", "unnest": "a"}, "unnest means nothing"),
        ({"mode": "merge", "key": "id", "unnest": "a", "deletes": "absent"}, "cannot stand together"),
    ],
)
def test_jobs_that_cannot_unnest(project, keys, message) -> None:
    with pytest.raises(ConfigError, match=message):
        project.job("t", target="raw.t", **keys)


@pytest.mark.parametrize("nothing", [None, []])
@pytest.mark.parametrize("mode", ["merge", "append", "replace"])
def test_a_list_begins_its_table_with_the_first_element(project, mode: str, nothing) -> None:
    keys = {"unnest": "items", "mode": mode}
    deliver(project, "1", {"id": 1, "items": nothing}, {"id": 2, "items": nothing}, **keys)
    assert not project.exists("raw.orders__items")
    deliver(project, "1" if mode == "replace" else "2", {"id": 3, "items": [{"v": 1.5}]}, **keys)
    assert rows(project, "raw.orders__items") == [(3, 1, 1.5)]
    deliver(project, "1" if mode == "replace" else "3", {"id": 3, "items": nothing}, **keys)
    assert rows(project, "raw.orders__items") == ([(3, 1, 1.5)] if mode == "append" else [])
    project.clean()


def test_a_list_that_does_not_come_any_more_has_no_elements(project) -> None:
    deliver(project, "1", {"id": 1, "items": [{"v": 1}]}, {"id": 2, "items": [{"v": 2}]}, unnest="items")
    deliver(project, "2", {"id": 1}, unnest="items")
    assert rows(project, "raw.orders__items") == [(2, 1, 2)]


def test_a_struct_around_a_list_may_be_null_at_first(project) -> None:
    deliver(project, "1", {"id": 1, "head": None}, unnest="head.lines")
    deliver(project, "2", {"id": 1, "head": {"v": 2, "lines": [{"n": 8}]}}, unnest="head.lines")
    assert project.table("raw.orders").to_pylist() == [{"id": 1, "head": {"v": 2}}]
    assert rows(project, "raw.orders__head__lines") == [(1, 1, 8)]
    deliver(project, "3", {"id": 1, "head": None}, unnest="head.lines")
    assert rows(project, "raw.orders__head__lines") == []


def test_an_inner_list_that_begins_later(project) -> None:
    keys = {"unnest": ["items", "items.taxes"]}
    deliver(project, "1", {"id": 1, "items": [{"v": 1, "taxes": None}]}, **keys)
    deliver(project, "2", {"id": 1, "items": [{"v": 1, "taxes": [{"t": 5}]}]}, **keys)
    assert rows(project, "raw.orders__items") == [(1, 1, 1)]
    assert rows(project, "raw.orders__items__taxes") == [(1, 1, 1, 5)]


def test_names_by_the_rule_in_the_tables_of_lists_too(project) -> None:
    keys = {"key": "Order ID", "unnest": "lineItems", "names": "snake"}
    deliver(project, "1", {"Order ID": 1, "lineItems": [{"unitPrice": 1.5}, {"unitPrice": 2.5}]}, **keys)
    deliver(project, "2", {"Order ID": 1, "lineItems": [{"unitPrice": 2}]}, **keys)
    assert project.table("raw.orders__lineitems").to_pylist() == [{"_root_order_id": 1, "_index_1": 1, "unit_price": 2}]
    assert project.table("raw.orders").column_names == ["order_id"]


def test_the_elements_own_fields_may_look_like_places(project) -> None:
    deliver(project, "1", {"id": 1, "items": [{"_index_of": 1.5}]}, unnest="items")
    deliver(project, "2", {"id": 2, "items": [{"_index_of": 2}]}, unnest="items")
    assert rows(project, "raw.orders__items") == [(1, 1, 1.5), (2, 1, 2.0)]


def test_elements_carry_their_execution(project) -> None:
    for number in (1, 2):
        row = {"id": number, "items": [{"v": number}]}
        deliver(project, str(number), row, unnest="items", execution_column=True)
    found = project.table("raw.orders__items").to_pylist()
    assert len({row["_lakecat_execution"] for row in found} - {None}) == 2


def test_lists_of_lists_stay_lists(project) -> None:
    deliver(project, "1", {"id": 1, "items": [[1, 2], [3]]}, unnest="items")
    assert rows(project, "raw.orders__items") == [(1, 1, [1, 2]), (1, 2, [3])]


@pytest.mark.parametrize("value", ["x", ["x"]])
def test_values_where_lists_should_be_are_refused(project, value) -> None:
    with pytest.raises(SchemaError, match="is string and no list"):
        deliver(project, "1", {"id": 1, "items": value}, unnest="items" if value == "x" else ["items", "items.taxes"])
    assert not project.exists("raw.orders")
    assert project.data_files() == []


def test_nulls_that_hide_elements(project) -> None:
    """A list that is NULL has no elements, also where its array has some behind it."""
    hidden = pa.ListArray.from_arrays([0, 2, 3], pa.array([1, 2, 3]), mask=pa.array([True, False]))
    table = pa.table({"id": [1, 2], "e": hidden})
    assert exploded(table.to_reader(), ["id"], unnested(["e"])[0]).read_all().to_pylist() == [
        {"_root_id": 2, "_index_1": 1, "_value": 3}
    ]
    inner = pa.StructArray.from_arrays([hidden], ["l"], mask=pa.array([False, True]))
    table = pa.table({"id": [1, 2], "s": inner})
    assert exploded(table.to_reader(), ["id"], unnested(["s.l"])[0]).read_all().to_pylist() == []


element = st.fixed_dictionaries(
    {"v": st.none() | st.integers(0, 9), "w": st.none() | st.lists(st.integers(0, 3), max_size=3)}
)
nested = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 99), "e": st.none() | st.lists(st.none() | element, max_size=3)}),
    max_size=6,
)
SCHEMA = pa.schema([("id", pa.int64()), ("e", pa.list_(pa.struct([("v", pa.int64()), ("w", pa.list_(pa.int64()))])))])


@settings(deadline=None)
@given(nested, st.integers(1, 4))
def test_every_element_is_a_row_with_its_key_and_places(values, batch_rows) -> None:
    table = pa.Table.from_pylist(values, SCHEMA)

    def reader() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(SCHEMA, table.to_batches(batch_rows))

    outer, inner = unnested(["e", "e.w"])
    assert [tuple(row.values()) for row in exploded(reader(), ["id"], outer).read_all().to_pylist()] == [
        (row["id"], place, None if one is None else one["v"])
        for row in values
        for place, one in enumerate(row["e"] or [], 1)
    ]
    assert [tuple(row.values()) for row in exploded(reader(), ["id"], inner).read_all().to_pylist()] == [
        (row["id"], place, deeper, value)
        for row in values
        for place, one in enumerate(row["e"] or [], 1)
        for deeper, value in enumerate((one or {}).get("w") or [], 1)
    ]
    assert without_lists(reader(), [("e",)]).read_all().to_pylist() == [{"id": row["id"]} for row in values]
