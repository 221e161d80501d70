"""Any value of lakecat as JSON: the same shapes on every command."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from uuid import UUID

from lakecat.errors import LakecatError, Where
from lakecat.types import DatasetName, Json, VersionRef


def to_json(value: object) -> Json:
    """``value`` as JSON.

    Names and references are their text, times ISO 8601 in UTC, durations seconds, decimals and UUIDs text, bytes
    base64, NaN and infinities text. Dataclasses and pydantic models become objects of their public fields.
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(_key(key)): to_json(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type | DatasetName | VersionRef | Where):
        fields = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return {name: to_json(getattr(value, name)) for name in fields}
    if isinstance(value, LakecatError):
        return error_document(value)
    return _leaf(value)


def _key(key: object) -> object:
    return key.value if isinstance(key, Enum) else key


def _leaf(value: object) -> Json:
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, date | time | Decimal | UUID | PurePath | DatasetName | VersionRef | Where):
        return value.isoformat() if isinstance(value, date | time) else str(value)
    if isinstance(value, Iterable):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [to_json(item) for item in items]
    return str(value)


def error_document(error: LakecatError) -> Json:
    """An error as an object: class, what, file, line, column, mend, next."""
    where = error.where
    return {
        "error": type(error).__name__,
        "what": error.what,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "mend": error.hint,
        "next": error.next_command,
    }
