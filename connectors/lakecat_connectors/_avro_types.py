"""Avro schemas as Arrow types, and decoded Avro values as Arrow arrays (Avro 1.12, "Schemas", "Logical Types")."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import fold
from lakecat.connector.shapes import as_json
from lakecat.errors import ParseError, Where

_MAX_DEPTH: Final = 64
_DAY_MILLIS: Final = 86_400_000
_EXACT: Final = Context(prec=120)
_PRIMITIVES: Final[Mapping[str, pa.DataType]] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_UNITS: Final = {"millis": "ms", "micros": "us", "nanos": "ns"}

Build = Callable[[list[Any]], pa.Array]
Names = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its name, the key of its decoded values, its Arrow type and how arrays are made."""

    name: str
    type: pa.DataType
    build: Build

    @property
    def key(self) -> str:
        """The key in decoded records."""
        return self.name


@dataclass(slots=True)
class _Walk:
    """Where in the schema we are: named types seen, those that are open, the namespace, the path for messages."""

    names: Names = field(default_factory=dict)
    open: tuple[str, ...] = ()
    space: str = ""
    path: tuple[str, ...] = ()

    def inside(self, step: str, *, opened: str | None = None, space: str | None = None) -> _Walk:
        if len(self.path) > _MAX_DEPTH:
            raise self.error(f"is nested deeper than {_MAX_DEPTH}")
        return _Walk(
            self.names,
            self.open if opened is None else (*self.open, opened),
            self.space if space is None else space,
            (*self.path, step) if step else self.path,
        )

    def error(self, what: str, hint: str | None = None) -> ParseError:
        return ParseError(what, where=Where("", column=".".join(self.path) or None), hint=hint)


def arrow_fields(schema: Any) -> tuple[Field, ...]:
    """The columns of a file whose schema is this. Raises ParseError, its place the column's path."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise ParseError("its records are no Avro records", hint="the outermost schema must be a record")
    return _record_fields(schema, _Walk())


def without_logical_types(schema: Any) -> Any:
    """The same schema with raw numbers and bytes."""
    if isinstance(schema, dict):
        return {key: without_logical_types(part) for key, part in schema.items() if key != "logicalType"}
    return [without_logical_types(part) for part in schema] if isinstance(schema, list) else schema


def _record_fields(schema: Mapping[str, Any], walk: _Walk) -> tuple[Field, ...]:
    name, space = _register(schema, walk)
    fields: list[Field] = []
    seen: set[str] = set()
    for part in schema["fields"]:
        here = walk.inside(part["name"], opened=name, space=space)
        if fold(part["name"]) in seen:
            raise here.error("is a name that another field of the record has, but for case")
        seen.add(fold(part["name"]))
        kind, build = _node(part["type"], here)
        fields.append(Field(part["name"], kind, build))
    if not fields:
        raise walk.error("is a record without fields, which no column holds")
    return tuple(fields)


def _register(schema: Mapping[str, Any], walk: _Walk) -> tuple[str, str]:
    """The full name of a named type, and its namespace."""
    name = str(schema["name"])
    if "." not in name:
        space = str(schema.get("namespace") or walk.space)
        name = f"{space}.{name}" if space else name
    walk.names[name] = schema
    return name, name.rpartition(".")[0]


def _node(schema: Any, walk: _Walk) -> tuple[pa.DataType, Build]:
    if isinstance(schema, list):
        return _union(schema, walk)
    if isinstance(schema, str):
        return _primitive(schema) if schema in _PRIMITIVES else _reference(schema, walk)
    kind = schema["type"]
    if not isinstance(kind, str):
        return _node(kind, walk)
    complex_types: dict[str, Callable[[], tuple[pa.DataType, Build]]] = {
        "record": lambda: _struct(_record_fields(schema, walk)),
        "array": lambda: _list(*_node(schema["items"], walk.inside("item"))),
        "map": lambda: _map(*_node(schema["values"], walk.inside("value"))),
    }
    if kind in complex_types:
        return complex_types[kind]()
    if kind in ("enum", "fixed"):
        _register(schema, walk)
    return _primitive("string") if kind == "enum" else _logical(schema, kind, walk)


def _reference(name: str, walk: _Walk) -> tuple[pa.DataType, Build]:
    full = f"{walk.space}.{name}" if "." not in name and f"{walk.space}.{name}" in walk.names else name
    if full in walk.open:
        raise walk.error(f"holds itself ({full}); no column holds a type that never ends")
    schema = walk.names[full]
    return _node(schema, walk.inside("", space=full.rpartition(".")[0]))


def _primitive(kind: str) -> tuple[pa.DataType, Build]:
    arrow = _PRIMITIVES[kind]
    return arrow, lambda values: pa.array(values, arrow)


def _logical(schema: Mapping[str, Any], kind: str, walk: _Walk) -> tuple[pa.DataType, Build]:
    """A logical type, or the type below it where the specification says that the logical one is to be ignored."""
    size = int(schema["size"]) if kind == "fixed" else 0
    known = _known_logical(str(schema.get("logicalType")), f"{kind}{size or ''}", schema, walk)
    if known is not None:
        return known
    if kind == "fixed":
        return pa.binary(size), lambda values: pa.array(values, pa.binary(size))
    return _primitive(kind) if kind in _PRIMITIVES else _reference(kind, walk)


def _known_logical(logical: str, kind: str, schema: Mapping[str, Any], walk: _Walk) -> tuple[pa.DataType, Build] | None:
    if logical == "decimal" and kind.startswith(("bytes", "fixed")):
        return _decimal(schema, walk)
    if kind == "long" and "timestamp-" in logical:
        return _timestamp(logical)
    time = pa.time64("us")
    table: dict[tuple[str, str], tuple[pa.DataType, Build]] = {
        ("uuid", "string"): _primitive("string"),
        ("uuid", "fixed16"): (pa.string(), _each(pa.string(), lambda value: str(uuid.UUID(bytes=value)))),
        ("duration", "fixed12"): _duration(),
        ("date", "int"): (pa.date32(), lambda values: pa.array(values, pa.int32()).cast(pa.date32())),
        ("time-millis", "int"): (time, _each(time, lambda value: _time(value, 1000))),
        ("time-micros", "long"): (time, _each(time, lambda value: _time(value, 1))),
    }
    return table.get((logical, kind))


def _each(kind: pa.DataType, convert: Callable[[Any], Any]) -> Build:
    return lambda values: pa.array([None if value is None else convert(value) for value in values], kind)


def _time(value: int, micros: int) -> int:
    if not 0 <= value * micros < _DAY_MILLIS * 1000:
        raise ValueError(f"{value} is no time of day")
    return value * micros


def _timestamp(logical: str) -> tuple[pa.DataType, Build] | None:
    stem, _, unit = logical.rpartition("-")
    if stem not in ("timestamp", "local-timestamp") or unit not in _UNITS:
        return None
    zone = "UTC" if stem == "timestamp" else None
    written, kind = pa.timestamp(_UNITS[unit], zone), pa.timestamp("us", zone)
    return kind, lambda values: pa.array(values, pa.int64()).cast(written).cast(kind, safe=True)


def _decimal(schema: Mapping[str, Any], walk: _Walk) -> tuple[pa.DataType, Build]:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision:
        raise walk.error("is a decimal whose precision and scale are none")
    if precision > 38:
        raise walk.error(f"is a decimal of {precision} digits; no column holds more than 38")

    def number(value: bytes) -> Decimal:
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-scale, _EXACT)

    kind = pa.decimal128(precision, scale)
    return kind, _each(kind, number)


def _duration() -> tuple[pa.DataType, Build]:
    """Months, days and milliseconds, each counted on its own: none can be turned into another."""
    names = ("months", "days", "milliseconds")
    kind = pa.struct([pa.field(name, pa.int64()) for name in names])
    return kind, _each(kind, lambda value: dict(zip(names, struct.unpack("<III", value), strict=True)))


def _struct(fields: Sequence[Field]) -> tuple[pa.DataType, Build]:
    parts = [pa.field(part.name, part.type) for part in fields]

    def build(values: list[Any]) -> pa.Array:
        children = [part.build([None if value is None else value[part.key] for value in values]) for part in fields]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=parts, mask=mask)

    return pa.struct(parts), build


def _offsets(values: list[Any]) -> pa.Array:
    """Where each list starts; NULL for a list that is NULL."""
    at = 0
    offsets: list[int | None] = []
    for value in values:
        offsets.append(None if value is None else at)
        at += 0 if value is None else len(value)
    return pa.array([*offsets, at], pa.int32())


def _list(item: pa.DataType, inner: Build) -> tuple[pa.DataType, Build]:
    kind = pa.list_(item)

    def build(values: list[Any]) -> pa.Array:
        flat = [part for value in values if value is not None for part in value]
        return pa.ListArray.from_arrays(_offsets(values), inner(flat), kind)

    return kind, build


def _map(item: pa.DataType, inner: Build) -> tuple[pa.DataType, Build]:
    kind = pa.map_(pa.string(), item)

    def build(values: list[Any]) -> pa.Array:
        there = [value for value in values if value is not None]
        keys = pa.array([key for value in there for key in value], pa.string())
        items = inner([part for value in there for part in value.values()])
        return pa.MapArray.from_arrays(_offsets(values), keys, items, kind)

    return kind, build


def _union(branches: Sequence[Any], walk: _Walk) -> tuple[pa.DataType, Build]:
    """NULL or one type; numbers widen where that is exact; other mixtures of what JSON has become JSON text."""
    real = [branch for branch in branches if branch != "null"]
    if len(real) == 1:
        return _node(real[0], walk)
    if not real:
        return _primitive("null")
    plain = {branch for branch in real if isinstance(branch, str)}
    if len(plain) == len(real):
        if plain <= {"int", "long"}:
            return _primitive("long")
        if plain <= {"int", "float", "double"}:
            return _primitive("double")
    for branch in real:
        _refuse_beyond_json(branch, walk)
        _node(branch, walk)
    return pa.string(), _each(pa.string(), lambda value: value if isinstance(value, str) else as_json(value))


def _refuse_beyond_json(schema: Any, walk: _Walk) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _refuse_beyond_json(branch, walk)
        return
    if isinstance(schema, dict):
        parts = [part["type"] for part in schema.get("fields", ())]
        parts += [schema[key] for key in ("items", "values") if key in schema]
        kind = schema["type"]
        for part in parts if isinstance(kind, str) else [kind]:
            _refuse_beyond_json(part, walk)
        if "logicalType" not in schema and kind not in ("bytes", "fixed"):
            return
    elif schema != "bytes":
        return
    raise walk.error(
        "is a union of several types with bytes or logical types among them, which no column holds",
        "write the field with one type and null",
    )
