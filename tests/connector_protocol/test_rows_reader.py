"""Rows as dicts become typed batches: exactly, whatever is mixed, wherever it is cut; or they are refused by number."""

# ruff: noqa: DTZ001 - times without a zone are among what is tested
from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.connector import ReadOptions
from lakecat.connector import rows as rows_module
from lakecat.connector.rows import RowsReader
from lakecat.errors import ParseError, SourceError, SourceUnavailableError, UsageError
from lakecat.types import Position

TOKYO = timezone(timedelta(hours=9))
SOME_UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


OPENED: list[RowsReader] = []


def rows_reader(*arguments: Any, **keywords: Any) -> RowsReader:
    OPENED.append(rows_module.rows_reader(*arguments, **keywords))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def close_readers() -> Any:
    yield
    while OPENED:
        OPENED.pop().close()


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def table_of(rows: Any, **options: Any) -> pa.Table:
    reader = rows_reader(rows, ReadOptions(**options), uri="test:rows")
    table = pa.Table.from_batches(list(reader), reader.schema)
    assert reader.summary().rows == len(table)
    reader.close()
    reader.close()
    return table


def column_of(*values: Any, **options: Any) -> pa.ChunkedArray:
    return table_of([{"c": value} for value in values], **options)["c"]


@pytest.mark.parametrize(
    ("values", "type_", "read"),
    [
        ([1, None, -(2**63)], pa.int64(), None),
        ([2**63, 1], pa.decimal128(38, 0), [Decimal(2**63), Decimal(1)]),
        ([1.5, float("inf"), None], pa.float64(), None),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**53 + 1, 0.5], pa.decimal128(38, 1), [Decimal(2**53 + 1), Decimal("0.5")]),
        ([Decimal("1.50"), Decimal("1E+3"), 7], pa.decimal128(38, 2), [Decimal("1.50"), Decimal(1000), Decimal(7)]),
        ([Decimal("0.1"), 0.25], pa.decimal128(38, 2), [Decimal("0.10"), Decimal("0.25")]),
        (["", "é", None], pa.string(), None),
        ([True, None, False], pa.bool_(), None),
        ([b"\x00\xff", b""], pa.binary(), None),
        ([date(1, 1, 1), date(9999, 12, 31)], pa.date32(), None),
        ([datetime(2024, 1, 1, 0, 0, 0, 1)], pa.timestamp("us"), None),
        (
            [datetime(2024, 1, 1, 9, tzinfo=TOKYO), datetime(2024, 1, 1, 0, tzinfo=UTC)],
            pa.timestamp("us", "UTC"),
            [datetime(2024, 1, 1, tzinfo=UTC)] * 2,
        ),
        (
            [datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin")) for fold in (0, 1)],
            pa.timestamp("us", "UTC"),
            [datetime(2024, 10, 27, 0, 30, tzinfo=UTC), datetime(2024, 10, 27, 1, 30, tzinfo=UTC)],
        ),
        ([time(23, 59, 59, 999999)], pa.time64("us"), None),
        ([SOME_UUID, None], pa.uuid(), None),
        ([None, None], pa.string(), None),
        ([{"a": 1}, {"b": [Decimal("1.5")]}], None, [{"a": 1, "b": None}, {"a": None, "b": [Decimal("1.5")]}]),
        ([[1, None], (2,)], pa.list_(pa.int64()), [[1, None], [2]]),
        ([1, "x", True, None], pa.string(), ["1", "x", "true", None]),
        ([date(2024, 1, 2), "x", {"a": SOME_UUID}], pa.string(), ["2024-01-02", "x", f'{{"a":"{SOME_UUID}"}}']),
        ([{"t": datetime(2024, 1, 1, 9, tzinfo=TOKYO)}], None, [{"t": datetime(2024, 1, 1, tzinfo=UTC)}]),
        ([Decimal("NaN"), Decimal("1.5")], pa.string(), ["NaN", "1.5"]),
        ([Colour.RED], pa.string(), ["red"]),
        ([Level.HIGH, np.int32(4)], pa.int64(), [3, 4]),
        ([np.float64(0.5), np.bool_(True)], pa.string(), ["0.5", "true"]),
        ([np.datetime64("2024-01-01T00:00:01.5", "ms")], pa.timestamp("us"), [datetime(2024, 1, 1, 0, 0, 1, 500000)]),
        ([bytearray(b"x"), memoryview(b"y")], pa.binary(), [b"x", b"y"]),
    ],
)
def test_types(values: list[Any], type_: pa.DataType | None, read: list[Any] | None) -> None:
    column = column_of(*values)
    assert type_ is None or column.type == type_
    assert column.to_pylist() == (values if read is None else read)


def test_nan_is_a_number_and_not_null() -> None:
    column = column_of(float("nan"), None)
    assert column.null_count == 1
    assert str(column.to_pylist()[0]) == "nan"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("\ud800", "surrogate"),
        (10**38, "39 digits"),
        (Decimal("1." + "1" * 38), "39 digits"),
        (time(1, 2, tzinfo=UTC), "zone"),
        (datetime(1, 1, 1, tzinfo=TOKYO), "years 1 to 9999"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9))), "years 1 to 9999"),
        (timedelta(1), "datetime.timedelta"),
        ({1, 2}, "builtins.set"),
        (1j, "complex"),
        ({1: 2}, "key that is no text"),
        (np.datetime64("2024-01-01T00:00:00.000000001"), "finer than microseconds"),
        (object(), "builtins.object"),
        ({"A": 1, "a": 2}, "are one column"),
    ],
)
def test_what_no_column_holds_is_refused_by_row(value: Any, says: str) -> None:
    with pytest.raises(ParseError) as caught:
        column_of(None, value)
    assert says in caught.value.what
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("test:rows", 2)
    good = rows_reader([{"c": None}, {"c": value}, {"c": None}], ReadOptions(rejects=1), uri="test:rows")
    assert sum(map(len, good)) == 2
    rejected = good.summary().rejected
    assert rejected is not None
    assert rejected["line"].to_pylist() == [2]


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ParseError, match="deeper than 64"):
        column_of(deep)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)], "some times have a zone"),
        ([b"x", "x"], "bytes"),
        ([b"x", 1], "bytes"),
        ([{"d": b"x"}, 1], "not"),
    ],
)
def test_mixtures_that_no_text_tells_apart_are_refused(values: list[Any], says: str) -> None:
    with pytest.raises(ParseError) as caught:
        column_of(*values)
    assert says in caught.value.what
    assert "column c" in str(caught.value)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.decimals(-(10**9), 10**9, places=3),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.uuids(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=4,
)


def signature(table: pa.Table) -> tuple[Any, str]:
    return table.schema, repr(table.to_pylist())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=9), st.integers(1, 4))
def test_where_rows_are_cut_changes_nothing(rows: list[dict[str, Any]], size: int) -> None:
    def outcome() -> Any:
        try:
            return signature(table_of(rows))
        except ParseError as err:
            return str(err.what)

    whole = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "CHUNK_ROWS", size)
        assert outcome() == whole


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.decimals(-(10**20), 10**20, places=9),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.binary(),
            st.dates(),
            st.times(),
            st.datetimes(),
            st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones()),
            st.uuids(),
        ]
    ).flatmap(lambda one: st.lists(st.one_of(st.none(), one), min_size=1, max_size=9))
)
def test_values_of_one_kind_come_out_as_they_went_in(values: list[Any]) -> None:
    assert column_of(*values).to_pylist() == values


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-(10**17), 10**17), st.floats(-1e9, 1e9), st.decimals(-9, 9, places=4)), min_size=1)
)
def test_numbers_of_any_kinds_keep_their_value(values: list[Any]) -> None:
    def exact(value: Any) -> Decimal:
        return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)

    column = column_of(*values)
    assert [exact(json.loads(v, parse_float=Decimal) if isinstance(v, str) else v) for v in column.to_pylist()] == [
        exact(value) for value in values
    ]


def test_the_table_and_the_job_decide_types() -> None:
    expected = pa.schema([("Id", pa.int64()), ("price", pa.decimal128(10, 2)), ("gone", pa.string())])
    rows = [{"price": 1, "id": 5, "when": "2024-01-01", "n": "0042"}]
    table = table_of(rows, expected=expected, declared={"when": pa.date32(), "n": pa.int64()})
    assert table.to_pylist() == [{"price": Decimal("1.00"), "Id": 5, "when": date(2024, 1, 1), "n": 42, "gone": None}]
    assert table.schema.field("price").type == pa.decimal128(10, 2)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.int64(), "5"),
        (pa.int64(), 5.0),
        (pa.int64(), True),
        (pa.int32(), 2**31),
        (pa.float64(), 2**53 + 1),
        (pa.decimal128(4, 2), Decimal("1.234")),
        (pa.decimal128(4, 2), Decimal("123.4")),
        (pa.date32(), datetime(2024, 1, 1)),
        (pa.timestamp("us"), datetime(2024, 1, 1, tzinfo=UTC)),
        (pa.timestamp("us", "UTC"), datetime(2024, 1, 1)),
        (pa.timestamp("us"), date(2024, 1, 1)),
        (pa.timestamp("us"), 5),
        (pa.binary(), "x"),
        (pa.string(), b"x"),
        (pa.bool_(), 1),
        (pa.uuid(), "no uuid"),
        (pa.uuid(), b"1234567890123456"),
        (pa.time64("us"), time(1, tzinfo=UTC)),
        (pa.struct([("a", pa.int64())]), {"a": "x", "b": 1}),
        (pa.list_(pa.int64()), [1, "x"]),
    ],
)
def test_a_value_that_is_not_of_the_type_is_refused(type_: pa.DataType, value: Any) -> None:
    expected = pa.schema([("c", type_)])
    for others in ([], [None], ["x"]):
        with pytest.raises(ParseError) as caught:
            column_of(*others, value, expected=expected)
        assert caught.value.where is not None
        assert caught.value.where.column == "c"


POINT = pa.struct([("x", pa.int64()), ("at", pa.timestamp("us", "UTC"))])


def test_a_struct_of_the_table_gets_the_fields_that_rows_have_beside() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    values = [{"x": 1, "at": noon}, None, {"x": 2, "b": {"id": SOME_UUID}}, {"b": {"n": None}}]
    got = column_of(*values, expected=pa.schema([("c", POINT)]))
    inner = pa.struct([("id", pa.uuid()), ("n", pa.string())])
    assert got.type == pa.struct([*POINT, pa.field("b", inner)])
    assert got.to_pylist() == [
        {"x": 1, "at": noon, "b": None},
        None,
        {"x": 2, "at": None, "b": {"id": SOME_UUID, "n": None}},
        {"x": None, "at": None, "b": {"id": None, "n": None}},
    ]


def test_chunks_before_and_after_a_field_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "CHUNK_ROWS", 2)
    kind = pa.map_(pa.string(), pa.list_(pa.struct([("n", pa.int64())])))
    values = [{"a": [{"n": 1}]}, {}, None, {"b": None, "c": [{"n": 2, "m": 0.5}]}, {"d": [{"n": 3}]}]
    got = column_of(*values, expected=pa.schema([("c", kind)]))
    assert got.to_pylist() == [
        [("a", [{"n": 1, "m": None}])],
        [],
        None,
        [("b", None), ("c", [{"n": 2, "m": 0.5}])],
        [("d", [{"n": 3, "m": None}])],
    ]


def test_a_declared_struct_has_all_its_fields() -> None:
    with pytest.raises(ParseError):
        column_of({"x": 1, "b": 1}, declared={"c": POINT})
    reader = rows_reader(
        [{"c": {"x": 1, "b": 1}}, {"c": {"x": 2}}], ReadOptions(declared={"c": POINT}, rejects=1), uri="t:r"
    )
    assert [row for batch in reader for row in batch.to_pylist()] == [{"c": {"x": 2, "at": None}}]


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        (pa.string(), 5, "5"),
        (pa.string(), Decimal("1.50"), "1.50"),
        (pa.string(), SOME_UUID, str(SOME_UUID)),
        (pa.uuid(), str(SOME_UUID), SOME_UUID),
        (pa.float64(), 5, 5.0),
        (pa.float64(), 2**54, float(2**54)),
        (pa.decimal128(10, 2), 0.1, Decimal("0.10")),
        (pa.timestamp("us", "UTC"), "2024-01-01T09:00:00+09:00", datetime(2024, 1, 1, tzinfo=UTC)),
        (pa.list_(pa.date32()), [date(2024, 1, 1)], [date(2024, 1, 1)]),
        (pa.map_(pa.string(), pa.int64()), {"a": 1}, [("a", 1)]),
        (pa.struct([("u", pa.uuid())]), {"u": SOME_UUID}, {"u": SOME_UUID}),
    ],
)
def test_a_value_of_another_kind_that_is_exactly_of_the_type_is_taken(type_: Any, value: Any, read: Any) -> None:
    assert column_of(value, expected=pa.schema([("c", type_)])).to_pylist() == [read]


def test_rejected_rows_keep_their_number_text_and_reason() -> None:
    rows = [{"n": 1, "s": "a"}, {"n": "x", "s": "b"}, 7, {"n": 2, "s": "c"}, {"n": None, 5: "d"}]
    reader = rows_reader(rows, ReadOptions(declared={"n": pa.int64()}, rejects=3), uri="test:rows")  # type: ignore[list-item]
    assert [row for batch in reader for row in batch.to_pylist()] == [{"n": 1, "s": "a"}, {"n": 2, "s": "c"}]
    rejected = reader.summary().rejected
    assert rejected is not None
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        ("test:rows", 2, "n", '{"n": "x", "s": "b"}', "'x' is not long"),
        ("test:rows", 3, None, "7", "is no mapping of names to values but int"),
        ("test:rows", 5, None, '{"n": null, "5": "d"}', "has a name that is no text but int"),
    ]
    for limit in (2, 1, 0, None):
        with pytest.raises(ParseError):
            rows_reader(rows, ReadOptions(declared={"n": pa.int64()}, rejects=limit), uri="test:rows")  # type: ignore[list-item]


def test_a_rejected_row_has_no_say_in_types() -> None:
    rows = [{"n": 1, "other": 5}, {"n": "bad", "other": "text"}]
    assert table_of(rows, declared={"n": pa.int64()}, rejects=1).schema.field("other").type == pa.int64()


@pytest.mark.parametrize("names", [("a", "A"), ("é", "e\u0301"), ("",), (" ",), ("a\nb",), ("x" * 256,)])
def test_names_that_no_table_holds_are_refused_even_where_rows_may_be_set_aside(names: tuple[str, ...]) -> None:
    for rows in ([dict.fromkeys(names, 1)], [{name: 1} for name in names]):
        with pytest.raises(ParseError):
            table_of(rows, rejects=100)


def test_mappings_of_any_kind_and_missing_keys() -> None:
    rows = [MappingProxyType({"a": 1}), OrderedDict(b=2), {}]
    assert table_of(rows).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": 2}, {"a": None, "b": None}]
    with pytest.raises(ParseError, match="no columns"):
        table_of([{}])
    assert table_of([]).num_rows == 0


def test_a_source_that_says_its_schema() -> None:
    schema = pa.schema([("id", pa.int32()), ("note", pa.string())])
    reader = rows_reader(
        [{"ID": 1, "extra": True}], ReadOptions(expected=pa.schema([("Id", pa.int64())])), uri="x", schema=schema
    )
    with pytest.raises(UsageError):
        reader.summary()
    (batch,) = reader
    assert batch.to_pylist() == [{"Id": 1, "extra": True, "note": None}]
    assert reader.schema == pa.schema([("Id", pa.int32()), ("extra", pa.bool_()), ("note", pa.string())])
    with pytest.raises(UsageError):
        list(reader)


def test_positions_are_known_after_the_last_row() -> None:
    seen: list[int] = []

    def rows() -> Any:
        for number in range(3):
            seen.append(number)
            yield {"n": number}

    reader = rows_reader(
        rows(), ReadOptions(), uri="x", position=lambda: Position({"n": max(seen)}), properties={"q": "z"}
    )
    list(reader)
    summary = reader.summary()
    assert summary.position == Position({"n": 2})
    assert summary.sources[0].properties == {"q": "z"}


def test_errors_of_the_authors_code_are_ours_and_tell_no_secrets() -> None:
    def broken(err: Exception) -> Any:
        yield {"a": 1}
        raise err

    with pytest.raises(SourceError) as caught:
        table_of(broken(RuntimeError("password=hunter2")))
    assert "RuntimeError" in caught.value.what
    assert "hunter2" not in str(caught.value)
    with pytest.raises(SourceUnavailableError):
        table_of(broken(SourceUnavailableError("it is away")))


def test_batches_are_bounded_in_rows_and_bytes() -> None:
    reader = rows_reader(({"n": n} for n in range(20_000)), ReadOptions(batch_rows=3_000), uri="x")
    sizes = [len(batch) for batch in reader]
    assert sizes == [3_000] * 6 + [2_000]
    text = "x" * 1_000_000
    reader = rows_reader(({"n": n, "t": text} for n in range(100)), ReadOptions(), uri="x")
    batches = list(reader)
    assert [n for batch in batches for n in batch["n"].to_pylist()] == list(range(100))
    assert max(batch.nbytes for batch in batches) < 64 << 20
    assert len(batches) > 2


def test_rows_are_not_held_in_memory() -> None:
    before = pa.total_allocated_bytes()
    reader = rows_reader(({"n": n, "t": f"{n:0100}"} for n in range(300_000)), ReadOptions(), uri="x")
    assert pa.total_allocated_bytes() - before < 8 << 20, "33 MB of rows are on disk"
    most = 0
    for batch in reader:
        del batch
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 48 << 20
