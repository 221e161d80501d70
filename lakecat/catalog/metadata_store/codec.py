"""Properties' values and the columns they are kept in, exactly, on every database.

Formats are those of ``ml-metadata`` 1.17.1: one column for each type; a struct is the text ``mlmd-struct::`` and base64
of its bytes; a packed message is base64 of an Any, on PostgreSQL its bytes.

What the columns cannot hold on every database stands exactly in ``byte_value``, which ML Metadata neither reads nor
writes: integers beyond 64 bits, NaN, infinities, -0.0, texts with NUL and texts that would be taken for a
struct. Then the other column has the nearest value that it can hold, for filters and for ML Metadata; where that one
was changed since, by ML Metadata, it counts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store.structs import StructError, decode_struct, encode_struct, wire_field
from lakecat.catalog.metadata_store.values import PropertyValue, ProtoValue
from lakecat.errors import InvalidValueError, PropertyTypeError

Encoded: TypeAlias = tuple[int | None, float | None, str | None, bytes | None, str | bytes | None, bool | None]
"""A property's columns: ``int_value``, ``double_value``, ``string_value``, ``byte_value``, ``proto_value``,
``bool_value``."""

STRUCT_PREFIX: Final = "mlmd-struct::"
_LEAST, _MOST = -(2**63), 2**63 - 1
_LARGEST: Final = 1.7976931348623157e308
_REPLACEMENT: Final = "\ufffd"
_INT, _DOUBLE, _STRING = b"int:", b"double:", b"string:"


def encode(name: str, value: PropertyValue) -> Encoded:
    """The columns of a property's value. Raises PropertyTypeError, InvalidValueError."""
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(name, value)
    for kind, encoder in _FALLBACKS:
        if isinstance(value, kind):
            return encoder(name, value)
    raise PropertyTypeError(
        f"property {name!r} cannot hold a {type(value).__name__}",
        field=name,
        value=value,
        hint="int, float, str, bool, a mapping (STRUCT) or ProtoValue",
    )


def decode(row: Encoded) -> PropertyValue | None:
    """The value in a property's columns; None where they are all empty."""
    integer, double, text, exact, proto, boolean = row
    if exact is not None:
        found = _exact(bytes(exact), integer, double, text)
        if found is not None:
            return found
    if text is not None:
        return _struct_or_text(text) if text.startswith(STRUCT_PREFIX) else text
    if integer is not None:
        return integer
    if double is not None:
        return float(double)
    if boolean is not None:
        return bool(boolean)
    return None if proto is None else decode_proto(proto)


def same(stored: Encoded, new: Encoded) -> bool:
    """Whether two sets of columns mean the same value: ML Metadata writes the parts of a struct in any order."""
    if stored == new:
        return True
    text = stored[2]
    if text is None or new[2] is None or not text.startswith(STRUCT_PREFIX) or new[3] is not None:
        return False
    value = _struct_or_text(text)
    return isinstance(value, Mapping) and _encode_struct("", value) == new


def check_text(field: str, text: str | None) -> None:
    """Refuse a text that not every database can keep. Raises InvalidValueError."""
    if text is None:
        return
    if not isinstance(text, str):
        raise InvalidValueError(f"{field} must be a text, not a {type(text).__name__}", field=field, value=text)
    if "\0" in text:
        raise InvalidValueError(f"{field} holds a NUL character", field=field, value=text, hint="leave it out")
    if not text.isascii():
        _check_unicode(field, text)


def kind_of(value: PropertyValue) -> PropertyType | None:
    """The type of property that holds such a value; None where none does."""
    found = _TYPES.get(type(value))
    if found is not None:
        return found
    return next((kind for python, kind in _TYPE_FALLBACKS if isinstance(value, python)), None)


def digest(*parts: object) -> str:
    """A hash of values that have an exact ``repr``."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _check_unicode(field: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise InvalidValueError(
            f"{field} holds half of a surrogate pair, which is no Unicode text", field=field, value=text
        ) from err


def _encode_int(_name: str, value: int) -> Encoded:
    if _LEAST <= value <= _MOST:
        return (value, None, None, None, None, None)
    exact = _INT + hex(value).encode()
    return (_MOST if value > 0 else _LEAST, None, None, exact, None, None)


def _encode_own_int(name: str, value: int) -> Encoded:
    return _encode_int(name, int(value))


def _encode_float(_name: str, value: float) -> Encoded:
    value = float(value)
    if value - value == 0 and (value != 0 or math.copysign(1, value) > 0):  # finite, and not -0.0
        return (None, value, None, None, None, None)
    nearest = 0.0 if value == 0 else -_LARGEST if value < 0 else _LARGEST
    return (None, nearest, None, _DOUBLE + repr(value).encode(), None, None)


def _encode_text(name: str, value: str) -> Encoded:
    value = str(value)
    if not value.isascii():
        _check_unicode(name, value)
    if "\0" in value or value.startswith(STRUCT_PREFIX):
        return (None, None, _stand_in(value), _STRING + value.encode(), None, None)
    return (None, None, value, None, None, None)


def _stand_in(value: str) -> str:
    shown = value.replace("\0", _REPLACEMENT)
    return _REPLACEMENT + shown if shown.startswith(STRUCT_PREFIX) else shown


def _encode_bool(_name: str, value: bool) -> Encoded:  # noqa: FBT001 - a value
    return (None, None, None, None, None, value)


def _encode_struct(name: str, value: Mapping[str, Any]) -> Encoded:
    try:
        data = encode_struct(value)
    except StructError as err:
        raise InvalidValueError(
            f"property {name!r} cannot be kept as a struct: {err}", field=name, value=value
        ) from err
    return (None, None, STRUCT_PREFIX + base64.b64encode(data).decode(), None, None, None)


def _encode_proto(name: str, value: ProtoValue) -> Encoded:
    check_text(f"{name}.type_url", value.type_url)
    return (None, None, None, None, base64.b64encode(any_bytes(value)).decode(), None)


def any_bytes(value: ProtoValue) -> bytes:
    """The bytes of a ``google.protobuf.Any``."""
    fields = ((1, value.type_url.encode()), (2, bytes(value.value)))
    return b"".join(wire_field(number, data) for number, data in fields if data)


def encoded_proto(data: str | bytes | None) -> str | None:
    """What is in ``proto_value`` as base64: ML Metadata keeps the bytes of an Any as they are on PostgreSQL."""
    if data is None or isinstance(data, str):
        return data
    raw = bytes(data)
    # An Any's first byte is the tag of one of its two fields, which base64 never has.
    return base64.b64encode(raw).decode() if raw[:1] in (b"\n", b"\x12") else raw.decode("ascii", "replace")


def decode_proto(data: str | bytes) -> ProtoValue:
    """The message in ``proto_value``: base64 of an Any, or its bytes as they are."""
    raw = data.encode() if isinstance(data, str) else bytes(data)
    try:
        return _read_any(base64.b64decode(raw, validate=True))
    except (binascii.Error, ValueError, IndexError):
        pass
    try:
        return _read_any(raw)
    except (ValueError, IndexError):
        return ProtoValue("", raw)


def _read_any(data: bytes) -> ProtoValue:
    fields: dict[int, bytes] = {1: b"", 2: b""}
    at = 0
    while at < len(data):
        tag, at = data[at], at + 1
        if tag not in (0x0A, 0x12):
            raise ValueError("no Any")
        size = shift = 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + size > len(data):
            raise ValueError("no Any")
        fields[tag >> 3], at = data[at : at + size], at + size
    return ProtoValue(fields[1].decode(), fields[2])


def _exact(data: bytes, integer: int | None, double: float | None, text: str | None) -> PropertyValue | None:
    """What ``byte_value`` holds; None where it is not ours, or the other column was changed since."""
    value: PropertyValue
    try:
        if data.startswith(_INT):
            value = int(data[len(_INT) :], 16)
            return value if _encode_int("", value)[0] == integer else None
        if data.startswith(_DOUBLE):
            value = float(data[len(_DOUBLE) :])
            return value if _encode_float("", value)[1] == double else None
        if data.startswith(_STRING):
            value = data[len(_STRING) :].decode()
            return value if _stand_in(value) == text else None
    except ValueError:  # somebody else's bytes
        pass
    return None


def _struct_or_text(text: str) -> PropertyValue:
    try:
        return decode_struct(base64.b64decode(text[len(STRUCT_PREFIX) :], validate=True))
    except (binascii.Error, ValueError):
        return text


_ENCODERS: Final[dict[type, Callable[[str, Any], Encoded]]] = {
    int: _encode_int,
    float: _encode_float,
    str: _encode_text,
    bool: _encode_bool,
    dict: _encode_struct,
    ProtoValue: _encode_proto,
}
_FALLBACKS: Final[tuple[tuple[type, Callable[[str, Any], Encoded]], ...]] = (
    (int, _encode_own_int),
    (float, _encode_float),
    (str, _encode_text),
    (Mapping, _encode_struct),
)
_TYPES: Final[dict[type, PropertyType]] = {
    int: PropertyType.INT,
    float: PropertyType.DOUBLE,
    str: PropertyType.STRING,
    bool: PropertyType.BOOLEAN,
    dict: PropertyType.STRUCT,
    ProtoValue: PropertyType.PROTO,
}
_TYPE_FALLBACKS: Final[tuple[tuple[type, PropertyType], ...]] = (
    (int, PropertyType.INT),
    (float, PropertyType.DOUBLE),
    (str, PropertyType.STRING),
    (Mapping, PropertyType.STRUCT),
)
