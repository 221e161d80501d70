"""Partition texts: ``origin``, ``day(time_hour)``, ``bucket(16, id)``, ``truncate(4, name)``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import NestedField, PrimitiveType

from lakecat.errors import SchemaError

_TIMES: Final[dict[str, Transform[Any, Any]]] = {
    "year": YearTransform(),
    "month": MonthTransform(),
    "day": DayTransform(),
    "hour": HourTransform(),
}
_CALL: Final = re.compile(r"\s*([a-z]+)\s*\(\s*(?:([0-9]+)\s*,\s*)?(.+?)\s*\)\s*\Z", re.IGNORECASE)
_HINT: Final = "write a column, or year|month|day|hour(column), bucket(count, column), truncate(width, column)"


def parse_partition(
    texts: Iterable[str], schema: Schema, *, spec_id: int = 0, last_partition_id: int = PARTITION_FIELD_ID_START - 1
) -> PartitionSpec:
    """Read partition texts against a table's schema; no texts give the unpartitioned spec.

    A column that is spelled like a call can be written in double quotes. Raises SchemaError.
    """
    fields: list[PartitionField] = []
    taken = {name.casefold() for name in schema.column_names}
    for number, text in enumerate(texts, start=last_partition_id + 1):
        transform, column = _parse(text, schema)
        if any(done.source_id == column.field_id and done.transform == transform for done in fields):
            raise SchemaError(f"the partition {text!r} is there twice", hint="remove one")
        name = _name(transform, schema.find_column_name(column.field_id) or column.name, taken)
        taken.add(name.casefold())
        fields.append(PartitionField(source_id=column.field_id, field_id=number, transform=transform, name=name))
    return PartitionSpec(*fields, spec_id=spec_id)


def _parse(text: str, schema: Schema) -> tuple[Transform[Any, Any], NestedField]:
    match = None if _find(text, schema) else _CALL.match(text)
    transform: Transform[Any, Any]
    if match is None:
        transform, name = IdentityTransform(), text.strip()
    else:
        kind, number, name = match.group(1).lower(), match.group(2), match.group(3)
        transform = _transform(kind, number, text)
    column = _find(name, schema)
    if column is None:
        raise SchemaError(f"the partition {text!r} names no column of the table", hint=_HINT)
    type_ = column.field_type
    if not isinstance(type_, PrimitiveType) or not transform.can_transform(type_):
        raise SchemaError(f"the partition {text!r} cannot be made from the type {type_}", hint=_HINT)
    _check_parents(column, schema, text)
    return transform, column


def _transform(kind: str, number: str | None, text: str) -> Transform[Any, Any]:
    if kind in _TIMES and number is None:
        return _TIMES[kind]
    if kind == "identity" and number is None:
        return IdentityTransform()
    if kind in ("bucket", "truncate") and number is not None and 0 < int(number) < 2**31:
        return BucketTransform(int(number)) if kind == "bucket" else TruncateTransform(int(number))
    raise SchemaError(f"the partition {text!r} cannot be read", hint=_HINT)


def _find(name: str, schema: Schema) -> NestedField | None:
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('""', '"')
    try:
        return schema.find_field(name)
    except ValueError:
        return None


def _check_parents(column: NestedField, schema: Schema, text: str) -> None:
    """Only fields inside structs may partition: a list or map has many values for a row."""
    parent = schema._lazy_id_to_parent.get(column.field_id)  # noqa: SLF001 - PyIceberg offers no public way up
    while parent is not None:
        if not schema.find_type(parent).is_struct:
            raise SchemaError(f"the partition {text!r} lies inside a list or map", hint=_HINT)
        parent = schema._lazy_id_to_parent.get(parent)  # noqa: SLF001 - as above


def _name(transform: Transform[Any, Any], column: str, taken: set[str]) -> str:
    """The partition field's name, as Iceberg's libraries build it; never one that a column has."""
    if isinstance(transform, IdentityTransform):
        return column
    if isinstance(transform, BucketTransform):
        name = f"{column}_bucket_{transform.num_buckets}"
    elif isinstance(transform, TruncateTransform):
        name = f"{column}_trunc_{transform.width}"
    else:
        name = f"{column}_{transform}"
    while name.casefold() in taken:
        name += "_part"
    return name
