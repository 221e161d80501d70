"""lakecat's own reading and writing of google.protobuf.Struct agrees with protobuf's."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlmd_lab import find_python

from lakecat.catalog.metadata_store.structs import StructError, decode_struct, encode_struct

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
STRUCTS = st.dictionaries(st.text(), JSON, max_size=5)

PEER = """
import base64, json, sys
from google.protobuf import struct_pb2

def pack(value):
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return ["struct", {name: pack(item) for name, item in value.struct_value.fields.items()}]
    if kind == "list_value":
        return ["list", [pack(item) for item in value.list_value.values]]
    if kind == "number_value":
        return ["number", value.number_value.hex()]
    return ["null", None] if kind in (None, "null_value") else [kind, getattr(value, kind)]

answers = []
for data in json.load(sys.stdin):
    message = struct_pb2.Struct()
    message.ParseFromString(base64.b64decode(data))
    fields = {name: pack(value) for name, value in message.fields.items()}
    answers.append([fields, base64.b64encode(message.SerializeToString()).decode()])
print(json.dumps(answers))
"""

VALUES: list[dict[str, Any]] = [
    {},
    {"": None, "a": True, "b": False, "z": "", "number": 0.1},
    {"list": [], "lists": [[], [1.0, ["x", None, {}]]], "struct": {"a": {"b": {"c": [{"d": -0.0}]}}}},
    {"grüße": "🐱\0\n", "nan": math.nan, "inf": [math.inf, -math.inf], "tiny": 5e-324, "long": "x" * 70_000},
]


def packed(value: Any) -> Any:
    """The same as the peer's ``pack``, of Python's values."""
    if value is None:
        return ["null", None]
    if isinstance(value, bool):
        return ["bool_value", value]
    if isinstance(value, float):
        return ["number", value.hex()]
    if isinstance(value, str):
        return ["string_value", value]
    if isinstance(value, list):
        return ["list", [packed(item) for item in value]]
    return ["struct", {name: packed(item) for name, item in value.items()}]


def ask(python: str, *messages: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """What protobuf reads in these bytes, and how it writes it."""
    asked = json.dumps([base64.b64encode(message).decode() for message in messages])
    done = subprocess.run([python, "-c", PEER], check=False, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [(fields, base64.b64decode(data)) for fields, data in json.loads(done.stdout)]


def test_protobuf_reads_what_is_written_and_the_other_way_round(missing: Callable[[str], NoReturn]) -> None:
    python = find_python(missing)
    answers = ask(python, *(encode_struct(value) for value in VALUES))
    for value, (fields, written) in zip(VALUES, answers, strict=True):
        assert fields == packed(value)[1]
        assert packed(decode_struct(written)) == packed(value)


def test_the_deepest_struct_that_is_written_is_one_that_protobuf_reads(missing: Callable[[str], NoReturn]) -> None:
    value: dict[str, Any] = {}
    while True:
        deeper = {"a": value}
        try:
            encode_struct(deeper)
        except StructError:
            break
        value = deeper
    ((fields, _written),) = ask(find_python(missing), encode_struct(value))
    assert fields == packed(value)[1]


def test_fields_that_are_not_known_are_passed_over() -> None:
    known = encode_struct({"a": 1.0})
    varint, fixed64, text, fixed32 = b"\x78\x96\x01", b"\x79" + bytes(8), b"\x7a\x03abc", b"\x7d" + bytes(4)
    assert decode_struct(varint + fixed64 + known + text + fixed32) == {"a": 1.0}


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05a", b"\x00\x00", b"\x0b", b"\xff" * 12, b"\x0a\x03\x0a\x01\xff"])
def test_what_is_no_struct_is_refused(data: bytes) -> None:
    with pytest.raises(StructError):
        decode_struct(data)


@pytest.mark.parametrize("value", [{"a": 2**53 + 1}, {"a": 10**400}, {1: "a"}, {"a": b"x"}, {"a": "\ud800"}])
def test_what_no_struct_holds_exactly_is_refused(value: Any) -> None:
    with pytest.raises(StructError):
        encode_struct(value)


@given(STRUCTS)
def test_any_struct_comes_back(value: dict[str, Any]) -> None:
    data = encode_struct(value)
    assert packed(decode_struct(data)) == packed(value)
    assert encode_struct(dict(reversed(value.items()))) == data, "the same struct is the same bytes"


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        value = decode_struct(data)
    except StructError:
        return
    assert isinstance(value, dict)
