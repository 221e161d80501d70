"""Avro: every type exactly, files of different schemas united by name, damaged ones refused."""

from __future__ import annotations

import datetime as dt
import json
import struct
import uuid
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakecat.errors import ParseError

fastavro = pytest.importorskip("fastavro", reason="the avro extra is not installed")

UTC = dt.UTC
NOON = dt.time(12, 0, 0, 1000)


def write(path: Path, fields: list[dict[str, Any]], rows: list[dict[str, Any]], codec: str = "null") -> None:
    schema = fastavro.parse_schema({"type": "record", "name": "Row", "namespace": "n", "fields": fields})
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows, codec=codec)


TYPES: list[tuple[Any, Any, str, Any]] = [
    ("boolean", True, "bool", True),
    ("int", -(2**31), "int32", -(2**31)),
    ("long", 2**63 - 1, "int64", 2**63 - 1),
    ("float", 0.5, "float", 0.5),
    ("double", 0.1, "double", 0.1),
    ("bytes", b"\0\xff", "binary", b"\0\xff"),
    ("string", "é\0", "string", "é\0"),
    ({"type": "int", "logicalType": "date"}, dt.date(1, 1, 1), "date32[day]", dt.date(1, 1, 1)),
    (
        {"type": "int", "logicalType": "time-millis"},
        dt.time(23, 59, 59, 999000),
        "time64[us]",
        dt.time(23, 59, 59, 999000),
    ),
    ({"type": "long", "logicalType": "time-micros"}, dt.time(0, 0, 0, 1), "time64[us]", dt.time(0, 0, 0, 1)),
    (
        {"type": "long", "logicalType": "timestamp-millis"},
        dt.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
        "timestamp[us, tz=UTC]",
        dt.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
    ),
    (
        {"type": "long", "logicalType": "timestamp-micros"},
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        "timestamp[us, tz=UTC]",
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    ),
    (
        {"type": "long", "logicalType": "local-timestamp-micros"},
        dt.datetime(1900, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 - a local time has no zone
        "timestamp[us]",
        dt.datetime(1900, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
    ),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 4},
        Decimal("-9999999999999999999999999999999999.9999"),
        "decimal128(38, 4)",
        Decimal("-9999999999999999999999999999999999.9999"),
    ),
    (
        {"type": "fixed", "name": "D", "size": 5, "logicalType": "decimal", "precision": 9, "scale": 9},
        Decimal("-0.000000001"),
        "decimal128(9, 9)",
        Decimal("-0.000000001"),
    ),
    (
        {"type": "string", "logicalType": "uuid"},
        uuid.UUID(int=1),
        "string",
        "00000000-0000-0000-0000-000000000001",
    ),
    ({"type": "fixed", "name": "F", "size": 3}, b"abc", "fixed_size_binary[3]", b"abc"),
    (
        {"type": "fixed", "name": "U", "size": 12, "logicalType": "duration"},
        struct.pack("<III", 1, 2**32 - 1, 3),
        "struct<months: int64, days: int64, milliseconds: int64>",
        {"months": 1, "days": 2**32 - 1, "milliseconds": 3},
    ),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", "string", "B"),
    ({"type": "array", "items": ["null", "long"]}, [1, None], "list<item: int64>", [1, None]),
    ({"type": "map", "values": "int"}, {"x": 1}, "map<string, int32>", [("x", 1)]),
    (["int", "long"], 5, "int64", 5),
    (["string", "long", "boolean"], 5, "string", "5"),
    (["string", "long", "boolean"], "5", "string", "5"),
    (["string", {"type": "array", "items": "double"}], [0.5, 1e300], "string", "[0.5,1e+300]"),
    (
        {"type": "record", "name": "P", "fields": [{"name": "x", "type": ["null", "int"]}]},
        {"x": None},
        "struct<x: int32>",
        {"x": None},
    ),
]


@pytest.mark.parametrize(("kind", "written", "arrow", "value"), TYPES, ids=[str(index) for index in range(len(TYPES))])
def test_every_type(tmp_path: Path, load, kind: Any, written: Any, arrow: str, value: Any) -> None:
    nullable = ["null", *kind] if isinstance(kind, list) else ["null", kind]
    write(tmp_path / "a.avro", [{"name": "v", "type": nullable}], [{"v": written}, {"v": None}])
    got = load("a.avro")
    assert got.types == {"v": arrow}
    assert [row["v"] for row in got.rows] == [value, None]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_codecs_and_many_blocks(tmp_path: Path, load, codec: str) -> None:
    write(tmp_path / "a.avro", [{"name": "i", "type": "long"}], [{"i": i} for i in range(30_000)], codec)
    got = load("a.avro")
    assert got.table["i"].to_pylist() == list(range(30_000))


def test_named_types_are_found_again(tmp_path: Path, load) -> None:
    point = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
    fields = [{"name": "a", "type": point}, {"name": "b", "type": {"type": "array", "items": "Point"}}]
    write(tmp_path / "a.avro", fields, [{"a": {"x": 1}, "b": [{"x": 2}, {"x": 3}]}])
    assert load("a.avro").rows == [{"a": {"x": 1}, "b": [{"x": 2}, {"x": 3}]}]


def test_schemas_of_several_files_are_united_by_name(tmp_path: Path, load) -> None:
    inner = {"type": "record", "name": "P", "fields": [{"name": "x", "type": "int"}]}
    wider = {"type": "record", "name": "P", "fields": [{"name": "y", "type": "string"}, {"name": "x", "type": "long"}]}
    write(
        tmp_path / "1.avro", [{"name": "id", "type": "int"}, {"name": "p", "type": inner}], [{"id": 1, "p": {"x": 1}}]
    )
    write(
        tmp_path / "2.avro",
        [{"name": "p", "type": wider}, {"name": "id", "type": "long"}, {"name": "new", "type": "string"}],
        [{"id": 2**40, "p": {"x": 2**41, "y": "z"}, "new": "n"}],
    )
    got = load("*.avro", missing_columns="null")
    assert got.types == {"id": "int64", "p": "struct<x: int64, y: string>", "new": "string"}
    assert got.rows == [
        {"id": 1, "p": {"x": 1, "y": None}, "new": None},
        {"id": 2**40, "p": {"x": 2**41, "y": "z"}, "new": "n"},
    ]


def container(schema: Any, count: int, data: bytes, *, codec: bytes = b"null") -> bytes:
    """A file written by hand, so that it can be wrong."""

    def long(number: int) -> bytes:
        number = (number << 1) ^ (number >> 63)
        out = bytearray()
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*out, number])

    def sized(text: bytes) -> bytes:
        return long(len(text)) + text

    text = json.dumps(schema).encode()
    header = long(2) + sized(b"avro.schema") + sized(text) + sized(b"avro.codec") + sized(codec) + long(0)
    return b"Obj\1" + header + b"S" * 16 + long(count) + long(len(data)) + data + b"S" * 16


LONG = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "long"}]}


def test_the_hand_written_container_is_sound(tmp_path: Path, load) -> None:
    (tmp_path / "a.avro").write_bytes(container(LONG, 2, b"\x02\x04"))
    assert load("a.avro").rows == [{"v": 1}, {"v": 2}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"PAR1", "not an Avro file"),
        (container(LONG, 2, b"\x02\x04")[:-1], "ends in the middle"),
        (container(LONG, 2, b"\x02\x04")[:-1] + b"x", "sync marker"),
        (container(LONG, 1, b"\x02\x04"), "left behind"),
        (container(LONG, 3, b"\x02\x04"), "cannot be decoded"),
        (container(LONG, 10**9, b"\x02\x04"), "says that it holds"),
        (container(LONG, 1, b"\x02", codec=b"lzo"), "compressed with 'lzo'"),
        (container(LONG, 1, b"\x02", codec=b"deflate"), "deflate data"),
        (container("long", 1, b"\x02"), "no Avro records"),
        (container({"type": "record", "name": "R", "fields": []}, 10**6, b""), "without fields"),
        (container(LONG | {"fields": [{"name": "v", "type": "nope"}]}, 1, b"\x02"), "schema"),
        (container(LONG | {"fields": [{"name": "v", "type": ["null", "R"]}]}, 1, b"\x02"), "holds itself"),
        (
            container(
                LONG | {"fields": [{"name": "v", "type": {"type": "int", "logicalType": "time-millis"}}]}, 1, b"\x01"
            ),
            "none of its type",
        ),
        (
            container(
                LONG | {"fields": [{"name": "v", "type": {"type": "long", "logicalType": "timestamp-nanos"}}]},
                1,
                b"\x02",
            ),
            "none of its type",
        ),
        (
            container(
                LONG
                | {"fields": [{"name": "v", "type": {"type": "bytes", "logicalType": "decimal", "precision": 39}}]},
                1,
                b"\x02\x01",
            ),
            "39 digits",
        ),
    ],
)
def test_damage_is_refused(tmp_path: Path, load, content: bytes, says: str) -> None:
    (tmp_path / "a.avro").write_bytes(content)
    with pytest.raises(ParseError, match=says) as caught:
        load("a.avro")
    assert caught.value.where is not None
    assert caught.value.where.file == str(tmp_path / "a.avro")


def test_a_block_that_unpacks_to_too_much_is_refused(tmp_path: Path, load) -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(260)) + packer.flush()
    (tmp_path / "a.avro").write_bytes(container(LONG, 260 << 20, bomb, codec=b"deflate"))
    with pytest.raises(ParseError, match="more than 256 MiB"):
        load("a.avro")


def test_a_tables_type_binds(tmp_path: Path, load) -> None:
    write(tmp_path / "a.avro", [{"name": "v", "type": "int"}], [{"v": 1}])
    assert load("a.avro", expected=pa.schema([("v", pa.int64())])).types == {"v": "int64"}
    with pytest.raises(ParseError, match="is int, not date"):
        load("a.avro", expected=pa.schema([("v", pa.date32())]))
