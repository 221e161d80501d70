"""What each mode makes of a table, through jobs over CSV files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lakecat.errors import ConfigError, SchemaError
from lakecat.types import DatasetName


def deliver(project, name: str, text: str, **keys: Any):
    project.put(f"in/{name}.csv", text)
    job = project.job("t", target="raw.t", options={"path": "in/*.csv", "missing_columns": "null"}, **keys)
    return project.run(job)


def found(project, *columns: str) -> list[tuple[Any, ...]]:
    table = project.table("raw.t")
    return sorted(zip(*(table[name].to_pylist() for name in columns or table.column_names), strict=True), key=repr)


def test_merge_deletes_the_rows_that_say_so_also_in_the_first_load(project) -> None:
    keys = {"mode": "merge", "key": "id", "deletes": {"flag": "gone"}}
    deliver(project, "1", "id,v,gone\n1,a,false\n2,b,true\n3,c,false\n", **keys)
    assert found(project, "id", "v") == [(1, "a"), (3, "c")]
    deliver(project, "2", "id,v,gone\n1,x,true\n3,C,false\n4,d,false\n", **keys)
    assert found(project, "id", "v") == [(3, "C"), (4, "d")]
    project.clean()


def test_merge_deletes_what_is_absent(project) -> None:
    keys = {"mode": "merge", "key": "id", "deletes": "absent"}
    deliver(project, "1", "id,v\n1,a\n2,b\n3,c\n", **keys)
    deliver(project, "2", "id,v\n2,B\n4,d\n", **keys)
    assert found(project, "id", "v") == [(2, "B"), (4, "d")]


def test_append_new_leaves_known_keys_alone(project) -> None:
    keys = {"mode": "append_new", "key": "id"}
    deliver(project, "1", "id,v\n1,a\n2,b\n", **keys)
    deliver(project, "2", "id,v\n2,other\n3,c\n", **keys)
    assert found(project, "id", "v") == [(1, "a"), (2, "b"), (3, "c")]
    versions = project.catalog.versions(DatasetName("raw", "t"), 9)
    assert [(v.operation, v.added_rows, v.removed_rows) for v in versions] == [("append", 1, 0), ("append", 2, 0)]


def test_replace_keys_replaces_all_rows_of_a_key(project) -> None:
    keys = {"mode": "replace_keys", "key": "order"}
    deliver(project, "1", "order,line\n1,a\n1,b\n2,x\n", **keys)
    deliver(project, "2", "order,line\n1,c\n3,y\n3,z\n", **keys)
    assert found(project, "order", "line") == [(1, "c"), (2, "x"), (3, "y"), (3, "z")]


def test_history_by_a_column_of_the_source(project) -> None:
    keys = {"mode": "history", "key": "id", "history": {"at": "changed"}, "deletes": {"flag": "gone"}}
    deliver(project, "1", "id,v,changed,gone\n1,a,2026-01-01T00:00:00Z,false\n2,x,2026-01-01T00:00:00Z,false\n", **keys)
    deliver(project, "2", "id,v,changed,gone\n1,b,2026-01-05T00:00:00Z,false\n2,,2026-01-06T00:00:00Z,true\n", **keys)
    first, fifth, sixth = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 5, 6))
    assert found(project, "id", "v", "valid_from", "valid_to") == [
        (1, "a", first, fifth),
        (1, "b", fifth, None),
        (2, "x", first, sixth),
    ]
    project.clean()


def test_history_of_whole_deliveries_by_the_time_of_the_run(project) -> None:
    keys = {
        "mode": "history",
        "key": "id",
        "deletes": "absent",
        "history": {"valid_from": "since", "valid_to": "until"},
        "execution_column": True,
    }
    deliver(project, "1", "id,v\n1,a\n2,x\n3,y\n", **keys)
    (result,) = deliver(project, "2", "id,v\n1,a\n2,X\n", **keys)
    rows = {(row["id"], row["v"]): row for row in project.table("raw.t").to_pylist()}
    assert rows[1, "a"]["until"] is None
    assert rows[2, "x"]["until"] == rows[2, "X"]["since"] == rows[3, "y"]["until"]
    assert rows[2, "X"]["until"] is None
    assert rows[1, "a"]["since"] < rows[2, "X"]["since"]
    newest = project.catalog.latest_execution("t")
    assert newest is not None
    assert result.execution_id == newest.execution_id
    assert {key for key, row in rows.items() if row["_lakecat_execution"] == newest.uuid} == {(2, "X")}
    (same,) = deliver(project, "3", "id,v\n2,X\n1,a\n", **keys)
    assert same.version is None


def test_a_history_whose_columns_the_source_has_itself_is_refused(project) -> None:
    with pytest.raises(SchemaError, match="'valid_to' of its own"):
        deliver(project, "1", "id,valid_to\n1,x\n", mode="history", key="id")
    assert not project.exists("raw.t")


def test_every_row_can_carry_its_execution(project) -> None:
    deliver(project, "1", "id\n1\n", execution_column=True)
    deliver(project, "2", "id\n2\n", execution_column=True)
    deliver(project, "3", "id\n3\n")
    uuids = dict(found(project, "id", "_lakecat_execution"))
    assert uuids[1] != uuids[2]
    assert uuids[3] is None
    newest = project.catalog.latest_execution("t")
    assert newest is not None
    assert newest.uuid not in uuids.values()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"mode": "append", "deletes": "absent"}, "deletes means nothing"),
        ({"mode": "merge", "key": "id", "history": {"at": "t"}}, "history means nothing"),
        ({"mode": "history"}, "needs key"),
        ({"mode": "append_new"}, "needs key"),
        ({"mode": "replace_keys"}, "needs key"),
    ],
)
def test_keys_that_cannot_stand_together(project, keys, message) -> None:
    with pytest.raises(ConfigError, match=message):
        project.job("t", target="raw.t", **keys)
