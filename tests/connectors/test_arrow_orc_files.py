"""Arrow IPC files and streams, and ORC: values kept, cut-off and malformed files refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import orc

from lakecat.errors import ParseError

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "word": pa.array(["a", None, "c"]).dictionary_encode(),
        "money": pa.array([Decimal("1.10"), None, Decimal("-3.30")], pa.decimal128(10, 2)),
        "at": pa.array([0, 1, None], pa.timestamp("ms", "Europe/Berlin")),
        "deep": pa.array([{"x": [1]}, None, {"x": []}]),
    }
)
ROWS = [
    {"id": 1, "word": "a", "money": Decimal("1.10"), "at": dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "deep": {"x": [1]}},
    {
        "id": 2,
        "word": None,
        "money": None,
        "at": dt.datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=dt.UTC),
        "deep": None,
    },
    {"id": 3, "word": "c", "money": Decimal("-3.30"), "at": None, "deep": {"x": []}},
]


def stream(path: Path, *tables: pa.Table, compression: str | None = None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink:
        for table in tables:
            with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
                writer.write_table(table)


def file(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def test_file_and_stream(tmp_path: Path, load) -> None:
    file(tmp_path / "1.arrow", TABLE)
    stream(tmp_path / "2.arrows", TABLE, compression="zstd")
    for name in ("1.arrow", "2.arrows"):
        got = load(name)
        assert got.rows == ROWS
        assert got.types["at"] == "timestamp[us, tz=UTC]"
        assert got.types["word"] == "string"


def test_structs_of_several_files_are_united_by_name(tmp_path: Path, load) -> None:
    file(tmp_path / "1.arrow", pa.table({"s": pa.array([{"a": 1, "b": [{"c": 1}]}])}))
    file(tmp_path / "2.arrow", pa.table({"s": pa.array([{"b": [{"d": "x"}, None], "a": None}, None])}))
    got = load("*.arrow")
    assert got.rows == [
        {"s": {"a": 1, "b": [{"c": 1, "d": None}]}},
        {"s": {"a": None, "b": [{"c": None, "d": "x"}, None]}},
        {"s": None},
    ]


def test_orc(tmp_path: Path, load) -> None:
    table = TABLE.set_column(1, "word", TABLE["word"].cast(pa.string())).drop(["at"])
    orc.write_table(table, tmp_path / "a.orc", compression="zlib")
    got = load("a.orc")
    assert got.rows == [{key: value for key, value in row.items() if key != "at"} for row in ROWS]


def test_a_stream_cut_off_between_batches_is_refused(tmp_path: Path, load) -> None:
    stream(tmp_path / "a.arrow", TABLE)
    whole = (tmp_path / "a.arrow").read_bytes()
    (tmp_path / "a.arrow").write_bytes(whole[:-8])
    with pytest.raises(ParseError, match="end-of-stream"):
        load("a.arrow")


def test_a_second_stream_behind_the_first_is_refused(tmp_path: Path, load) -> None:
    stream(tmp_path / "a.arrow", TABLE, TABLE)
    with pytest.raises(ParseError, match="end-of-stream"):
        load("a.arrow")


@pytest.mark.parametrize("name", ["a.arrow", "a.orc"])
@pytest.mark.parametrize("content", [b"", b"FEA1....", b"ORC", b"ARROW1\0\0", b"PAR1" * 10])
def test_what_is_no_such_file_is_refused(tmp_path: Path, load, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ParseError):
        load(name)


def test_nanoseconds_are_not_cut_off(tmp_path: Path, load) -> None:
    file(tmp_path / "a.arrow", pa.table({"t": pa.array([1], pa.timestamp("ns"))}))
    with pytest.raises(ParseError, match="exactly"):
        load("a.arrow")


def test_durations_and_unions_are_refused(tmp_path: Path, load) -> None:
    file(tmp_path / "a.arrow", pa.table({"t": pa.array([1], pa.duration("us"))}))
    with pytest.raises(ParseError, match="no table holds") as caught:
        load("a.arrow")
    assert caught.value.where is not None
    assert caught.value.where.column == "t"
