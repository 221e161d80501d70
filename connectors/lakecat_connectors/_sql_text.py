"""Texts as databases write them to Arrow arrays, exactly: whole columns at once, in pyarrow's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Convert = Callable[[pa.Array], pa.Array]
"""From a string array to one of a column's type; raises ArrowInvalid or ValueError for a text that is none."""

INTERVAL: Final = pa.struct([("months", pa.int32()), ("days", pa.int32()), ("microseconds", pa.int64())])

BEYOND: Final = r"-?infinity|.* BC|\d{5,}-.*|24:00:00(?:\.0*)?"
"""Dates and times that PostgreSQL has and Iceberg has not: outside the years 1 to 9999, and the hour 24."""


def cast(type_: pa.DataType) -> Convert:
    """The conversion by pyarrow's cast, which takes a text whole or not at all."""
    if pa.types.is_boolean(type_):
        return _booleans
    if pa.types.is_time(type_):
        return lambda texts: to_time(texts).cast(type_)
    return lambda texts: texts.cast(type_)


def to_time(texts: pa.Array) -> pa.Array:
    """Times of day; the hour 24 and what lies beyond are none."""
    return pc.binary_join_element_wise("1970-01-01", texts, " ").cast(pa.timestamp("us")).cast(pa.time64("us"))


def _booleans(texts: pa.Array) -> pa.Array:
    true = pc.is_in(texts, value_set=pa.array(["t", "true"]))
    known = pc.or_(true, pc.is_in(texts, value_set=pa.array(["f", "false"])))
    if not pc.all(pc.or_(known, texts.is_null())).as_py():
        raise ValueError("not a boolean")
    return pc.if_else(texts.is_valid(), true, pa.scalar(None, pa.bool_()))


def from_hex(texts: pa.Array) -> pa.Array:
    r"""``bytea`` as PostgreSQL writes it (``\x`` and hexadecimal digits)."""
    offsets, data = _parts(texts)
    digits = np.maximum(np.diff(offsets) - 2, 0)
    keep = np.ones(len(data), dtype=bool)
    starts = offsets[:-1][np.diff(offsets) > 0]
    keep[starts] = False
    keep[starts + 1] = False
    raw = bytes.fromhex(data[keep].tobytes().decode("ascii"))
    ends = np.concatenate([[0], np.cumsum(digits // 2)]).astype(np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(texts), [_validity(texts), pa.py_buffer(ends), pa.py_buffer(raw)], texts.null_count
    )


def to_uuid(texts: pa.Array) -> pa.Array:
    """UUIDs from their canonical text."""
    valid = texts.drop_null() if texts.null_count else texts
    _, data = _parts(valid)
    raw = np.frombuffer(bytes.fromhex(data.tobytes().decode("ascii").replace("-", "")), dtype="V16")
    if len(raw) != len(valid):
        raise ValueError("not a UUID")
    whole = np.zeros(len(texts), dtype="V16")
    whole[texts.is_valid().to_numpy(zero_copy_only=False)] = raw
    buffers = [_validity(texts), pa.py_buffer(whole.tobytes())]
    storage = pa.Array.from_buffers(pa.binary(16), len(texts), buffers, texts.null_count)
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def to_interval(texts: pa.Array) -> pa.Array:
    """Intervals from ``months days microseconds``, three numbers with blanks between them."""
    parts = pc.split_pattern(texts, " ")
    fields = [
        pc.list_element(parts, number).cast(INTERVAL.field(number).type) if len(texts) else pa.array([], field.type)
        for number, field in enumerate(INTERVAL)
    ]
    return pa.StructArray.from_arrays(fields, fields=list(INTERVAL), mask=texts.is_null())


def to_list(leaf: Convert, depth: int, type_: pa.DataType) -> Convert:
    """Arrays of ``depth`` dimensions from JSON whose leaves are texts or null."""
    texts_type: pa.DataType = pa.string()
    for _ in range(depth):
        texts_type = pa.list_(texts_type)

    def convert(texts: pa.Array) -> pa.Array:
        values = [None if text is None else _of_depth(json.loads(text), depth) for text in texts.to_pylist()]
        return _with_leaves(pa.array(values, texts_type), leaf, type_)

    return convert


def _of_depth(value: Any, depth: int) -> Any:
    """The value, if every path to a leaf goes through ``depth`` lists; an empty array has no dimensions."""
    if value == [] and depth:
        return value
    if not isinstance(value, list) or any((depth > 1) != isinstance(part, list) for part in value):
        raise ValueError(f"an array that has not {depth} dimension{'' if depth == 1 else 's'}")
    return value if depth == 1 else [_of_depth(part, depth - 1) for part in value]


def _with_leaves(values: pa.Array, leaf: Convert, type_: pa.DataType) -> pa.Array:
    if not pa.types.is_list(values.type):
        return leaf(values)
    inside = _with_leaves(values.values, leaf, type_.value_type)
    buffers = values.buffers()[:2]
    return pa.Array.from_buffers(type_, len(values), buffers, values.null_count, children=[inside])


def _parts(texts: pa.Array) -> tuple[Any, Any]:
    """Offsets from 0, and the bytes they point into."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if data is None or not len(ends):
        return np.zeros(len(texts) + 1, np.int32), np.empty(0, np.uint8)
    return ends - ends[0], np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]


def _validity(texts: pa.Array) -> Any:
    if not texts.null_count:
        return None
    return pa.array(texts.is_valid().to_numpy(zero_copy_only=False), pa.bool_()).buffers()[1]
