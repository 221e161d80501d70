"""History over values of every kind: what is the same makes no row, what changed makes one, columns come and go."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lakecat.errors import SchemaError
from lakecat.ingest import load
from lakecat.types import DatasetName, WriteMode

T = DatasetName("raw", "t")
NAN = math.nan

VALUES: list[tuple[str, pa.DataType, Any, Any]] = [
    ("boolean", pa.bool_(), False, None),
    ("long", pa.int64(), 2**53 + 1, 2**53),
    ("float", pa.float32(), NAN, 0.0),
    ("double", pa.float64(), NAN, None),
    ("decimal", pa.decimal128(38, 9), Decimal("12345678901234567890123456789.123456789"), Decimal("0.000000001")),
    ("date", pa.date32(), date(1, 1, 1), date(9999, 12, 31)),
    ("time", pa.time64("us"), time(23, 59, 59, 999999), time(0)),
    ("timestamp", pa.timestamp("us"), datetime.fromisoformat("2026-03-29"), datetime.fromisoformat("2026-03-30")),
    (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ),
    ("string", pa.string(), "", None),
    ("uuid", pa.uuid(), uuid.UUID(int=1), uuid.UUID(int=2)),
    ("binary", pa.binary(), b"\x00\xff", b""),
    ("list", pa.list_(pa.float64()), [1.0, None, NAN], [1.0, NAN, None]),
    ("empty", pa.list_(pa.int64()), [], None),
    ("struct", pa.struct([("a", pa.int64()), ("b", pa.string())]), {"a": None, "b": "x"}, None),
    ("structs", pa.list_(pa.struct([("a", pa.int64())])), [{"a": 1}, None], [{"a": 1}]),
    ("map", pa.map_(pa.string(), pa.int64()), [("k", 1), ("l", None)], [("k", 1)]),
]


def array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(kind, pa.UuidType):
        stored = [None if value is None else value.bytes for value in values]
        return pa.ExtensionArray.from_storage(kind, pa.array(stored, pa.binary(16)))
    return pa.array(values, kind)


def tell(project, key: list[Any], **columns: pa.Array) -> None:
    load(project.services, T, pa.table({"k": pa.array(key), **columns}), mode=WriteMode.HISTORY, key=["k"])


def rows(project) -> list[dict[str, Any]]:
    found = project.table("raw.t").to_pylist()
    return sorted(found, key=lambda row: (row["k"], row["valid_from"]))


@pytest.mark.parametrize(("kind", "first", "second"), [v[1:] for v in VALUES], ids=[v[0] for v in VALUES])
def test_the_same_value_makes_no_row_and_another_one_does(project, kind: pa.DataType, first: Any, second: Any) -> None:
    tell(project, [1, 2], v=array([first, second], kind))
    tell(project, [2, 1], v=array([second, first], kind))
    assert [row["valid_to"] for row in rows(project)] == [None, None]
    assert len(project.catalog.versions(T, 9)) == 1, "nothing changed, so there is no version"
    tell(project, [1, 2], v=array([second, first], kind))
    before_1, now_1, before_2, now_2 = rows(project)
    assert before_1["valid_to"] == now_1["valid_from"] == before_2["valid_to"] == now_2["valid_from"]
    assert (now_1["valid_to"], now_2["valid_to"]) == (None, None)
    shown = [repr(row["v"]) for row in (before_1, now_1, before_2, now_2)]
    assert shown == [repr(one) for one in array([first, second, second, first], kind).to_pylist()]
    project.clean()


@pytest.mark.parametrize(
    "keys",
    [
        array([uuid.UUID(int=1), uuid.UUID(int=2)], pa.uuid()),
        pa.array([Decimal("1.10"), Decimal("2.20")]),
        pa.array([b"a", b"\xff"]),
        pa.array(["a", "A"]),
        pa.array([date(2026, 1, 1), date(2026, 1, 2)]),
        pa.array([NAN, 1.5]),
    ],
    ids=lambda keys: str(keys.type),
)
@pytest.mark.parametrize("mode", [WriteMode.HISTORY, WriteMode.MERGE, WriteMode.APPEND_NEW, WriteMode.REPLACE_KEYS])
def test_keys_of_every_kind(project, keys: pa.Array, mode: WriteMode) -> None:
    for value in ("old", "new"):
        load(project.services, T, pa.table({"k": keys, "v": [value] * 2}), mode=mode, key=["k"])
    found = project.table("raw.t").to_pylist()
    expected = {WriteMode.HISTORY: ["new", "new", "old", "old"], WriteMode.APPEND_NEW: ["old", "old"]}
    assert sorted(row["v"] for row in found) == expected.get(mode, ["new", "new"])
    project.clean()


def test_a_new_column_is_a_change_only_where_it_says_something(project) -> None:
    tell(project, [1, 2], v=pa.array(["a", "b"]))
    tell(project, [1, 2], v=pa.array(["a", "b"]), w=pa.array([None, 5], pa.int64()))
    assert [(row["k"], row["v"], row["w"], row["valid_to"] is None) for row in rows(project)] == [
        (1, "a", None, True),
        (2, "b", None, False),
        (2, "b", 5, True),
    ]
    assert project.table("raw.t").column_names == ["k", "v", "valid_from", "valid_to", "w"]


def test_a_wider_type_is_no_change(project) -> None:
    tell(project, [1], v=pa.array([7], pa.int32()))
    tell(project, [1], v=pa.array([7], pa.int64()))
    assert [row["v"] for row in rows(project)] == [7]
    tell(project, [1], v=pa.array([2**40], pa.int64()))
    assert [row["v"] for row in rows(project)] == [7, 2**40]


def test_a_column_that_does_not_come_is_refused(project) -> None:
    tell(project, [1], v=pa.array(["a"]), w=pa.array([1]))
    with pytest.raises(SchemaError, match="'w' is missing"):
        tell(project, [1], v=pa.array(["a"]))


def deliver(project, name: str, text: str, **keys: Any) -> None:
    project.put(f"in/{name}.csv", text)
    project.run(project.job("t", target="raw.t", options={"path": "in/*.csv"}, mode="history", key="id", **keys))


@pytest.mark.parametrize(
    ("kind", "first", "second", "begins"),
    [
        ("date", "2026-03-29", "2026-03-30", datetime(2026, 3, 29, tzinfo=UTC)),
        ("timestamp", "2026-03-29 02:30:00", "2026-03-29 03:30:00", datetime(2026, 3, 29, 2, 30, tzinfo=UTC)),
        (
            "timestamptz",
            "2026-03-29T01:30:00+01:00",
            "2026-03-29T03:30:00+02:00",
            datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
        ),
    ],
)
def test_times_of_every_kind_say_when(project, kind: str, first: str, second: str, begins: datetime) -> None:
    keys = {"columns": {"at": kind}, "history": {"at": "at"}, "partition": "year(valid_from)"}
    deliver(project, "1", f"id,v,at\n1,a,{first}\n", **keys)
    deliver(project, "2", f"id,v,at\n1,b,{second}\n1,a,{first}\n", **keys)
    old, new = sorted(project.table("raw.t").to_pylist(), key=lambda row: row["valid_from"])
    assert (old["v"], old["valid_from"], old["valid_to"]) == ("a", begins, new["valid_from"])
    width = timedelta(days=1) if kind == "date" else timedelta(hours=1)
    assert (new["v"], new["valid_from"], new["valid_to"]) == ("b", begins + width, None)
    project.clean()


def test_the_same_instant_in_two_zones_comes_twice(project) -> None:
    keys = {"columns": {"at": "timestamptz"}, "history": {"at": "at"}}
    text = "id,v,at\n1,a,2026-03-29T01:00:00+00:00\n1,b,2026-03-29T03:00:00+02:00\n"
    deliver(project, "1", text, **keys)
    assert [row["v"] for row in project.table("raw.t").to_pylist()] == ["b"], "the last one in the delivery counts"


def test_what_is_told_again_at_the_same_instant_is_a_correction(project) -> None:
    keys = {"columns": {"at": "date"}, "history": {"at": "at"}}
    deliver(project, "1", "id,v,at\n1,a,2026-01-01\n1,b,2026-01-05\n", **keys)
    deliver(project, "2", "id,v,at\n1,A,2026-01-01\n", **keys)
    assert sorted((row["v"], row["valid_to"] is None) for row in project.table("raw.t").to_pylist()) == [
        ("A", False),
        ("b", True),
    ]


def test_partitions_of_a_history_keep_every_row(project) -> None:
    keys = {"partition": ["bucket(4, id)", "month(valid_to)"], "history": {"at": "at", "ignore": "note"}}
    keys["columns"] = {"at": "date", "note": "string"}
    days = [date(2026, 1, 1) + timedelta(days=17 * step) for step in range(5)]
    for number, day in enumerate(days):
        lines = "".join(f"{key},{(number + key) // 2},{day},{number}\n" for key in range(6))
        deliver(
            project,
            f"{number:02}",
            f"id,v,at,note\n{lines}",
            **keys | {"history": {"at": "at", "ignore": ["note", "at"]}},
        )
    for key in range(6):
        mine = sorted(
            (row for row in project.table("raw.t").to_pylist() if row["id"] == key), key=lambda row: row["valid_from"]
        )
        changes = [n for n in range(5) if n == 0 or (n + key) // 2 != (n + key - 1) // 2]
        assert [row["valid_from"].date() for row in mine] == [days[n] for n in changes]
        assert [row["valid_to"] for row in mine] == [*(row["valid_from"] for row in mine[1:]), None]
    project.clean()
