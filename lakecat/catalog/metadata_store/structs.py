"""``google.protobuf.Struct`` as Python mappings, and its wire format, without protobuf's library.

Format: https://protobuf.dev/programming-guides/encoding/ for the messages of ``google/protobuf/struct.proto``. What is
written has its keys in order, so that equal structs are equal bytes. Fields that are not known are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from lakecat.types import Json

MAX_DEPTH: Final = 100
"""Messages within messages that protobuf's parsers take; each mapping costs three of them, each list two."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_NULL, _NUMBER, _STRING, _BOOL, _STRUCT, _LIST = 1, 2, 3, 4, 5, 6
_DOUBLE: Final = struct.Struct("<d")


class StructError(ValueError):
    """A value that no Struct can hold, or bytes that are none."""


def encode_struct(value: Mapping[str, Json]) -> bytes:
    """A Struct's bytes. Raises StructError for what it cannot hold exactly."""
    return _struct(value, 0)


def decode_struct(data: bytes) -> dict[str, Json]:
    """The mapping in a Struct's bytes. Raises StructError."""
    try:
        return _read_struct(data)
    except (IndexError, struct.error, UnicodeDecodeError, RecursionError) as err:
        raise StructError(f"these bytes are no Struct: {err}") from err


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def wire_field(number: int, data: bytes) -> bytes:
    """A field of a message that holds bytes: its tag, their length, and they."""
    return _varint(number << 3 | _LENGTH) + _varint(len(data)) + data


def _struct(value: Mapping[str, Json], depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise StructError("it is nested too deeply")
    parts = []
    for name in sorted(_names(value)):
        entry = wire_field(1, _text(name)) + wire_field(2, _value(value[name], depth + 2))
        parts.append(wire_field(1, entry))
    return b"".join(parts)


def _names(value: Mapping[str, Json]) -> Iterator[str]:
    for name in value:
        if not isinstance(name, str):
            raise StructError(f"its names are texts, and {name!r} is none")
        yield name


def _text(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as err:
        raise StructError(f"{text!r} is no Unicode text") from err


def _value(value: Json, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise StructError("it is nested too deeply")
    if value is None:
        return bytes((_NULL << 3 | _VARINT, 0))
    if isinstance(value, bool):
        return bytes((_BOOL << 3 | _VARINT, value))
    if isinstance(value, int | float):
        return bytes((_NUMBER << 3 | _FIXED64,)) + _DOUBLE.pack(_number(value))
    if isinstance(value, str):
        return wire_field(_STRING, _text(value))
    if isinstance(value, Mapping):
        return wire_field(_STRUCT, _struct(value, depth + 1))
    if isinstance(value, list | tuple):
        return wire_field(_LIST, b"".join(wire_field(1, _value(item, depth + 2)) for item in value))
    raise StructError(f"it cannot hold a {type(value).__name__}")


def _number(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if isinstance(value, int) and number != value:
        raise StructError(f"its numbers are doubles, and {value} is none exactly: give it as a text")
    return number


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """The fields of a message: number, wire type, and the value: an integer, or the bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise StructError("a field's number is 0")
        value: int | bytes
        if kind == _VARINT:
            value, at = _read_varint(data, at)
        else:
            if kind == _LENGTH:
                size, at = _read_varint(data, at)
            elif kind in (_FIXED64, _FIXED32):
                size = 8 if kind == _FIXED64 else 4
            else:
                raise StructError(f"wire type {kind} is not known")
            if at + size > end:
                raise StructError("they end within a field")
            value, at = data[at : at + size], at + size
        yield number, kind, value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift > 63:
            raise StructError("a number has more than 64 bits")


def _read_struct(data: bytes) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for number, kind, value in _fields(data):
        if number != 1 or kind != _LENGTH:
            continue
        name, item = "", b""
        for inner, inner_kind, part in _fields(value if isinstance(value, bytes) else b""):
            if inner_kind == _LENGTH and isinstance(part, bytes):
                if inner == 1:
                    name = part.decode()
                elif inner == 2:
                    item += part  # two parts of one message are merged
        found[name] = _read_value(item)
    return found


def _read_value(data: bytes) -> Json:
    found: Json = None
    for number, kind, value in _fields(data):
        if kind == _VARINT and number == _NULL:
            found = None
        elif kind == _VARINT and number == _BOOL:
            found = bool(value)
        elif isinstance(value, bytes):
            if kind == _FIXED64 and number == _NUMBER:
                found = float(_DOUBLE.unpack(value)[0])
            elif kind == _LENGTH:
                found = _read_nested(number, value, found)
    return found


def _read_nested(number: int, data: bytes, before: Json) -> Json:
    if number == _STRING:
        return data.decode()
    if number == _STRUCT:
        merged = dict(before) if isinstance(before, dict) else {}
        return merged | _read_struct(data)
    if number == _LIST:
        items = [
            _read_value(value)
            for inner, kind, value in _fields(data)
            if inner == 1 and kind == _LENGTH and isinstance(value, bytes)
        ]
        return (before if isinstance(before, list) else []) + items
    return before
