"""Results of DuckDB as types that an Iceberg v2 table can hold: made to fit exactly, or refused by name.

The one place where that is decided. Fitting happens inside DuckDB as a projection, so that an overflow is an error
there (a HUGEINT above decimal(38,0)) and not a wrong number later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from lakecat.errors import EngineError
from lakecat.tables.relation import quoted, uuid_bytes_sql

#: A type as DuckDB's Python package gives it: has ``id``, ``children`` and a text form.
DuckDBType: TypeAlias = Any

_SAME: Final = frozenset(
    {
        "boolean",
        "integer",
        "bigint",
        "float",
        "double",
        "decimal",
        "date",
        "time",
        "timestamp",
        "timestamp with time zone",
        "varchar",
        "blob",
        "null",
        "uuid",
    }
)
_FITTED: Final[Mapping[str, str]] = {
    "tinyint": "INTEGER",
    "smallint": "INTEGER",
    "utinyint": "INTEGER",
    "usmallint": "INTEGER",
    "uinteger": "BIGINT",
    "ubigint": "DECIMAL(20,0)",
    "hugeint": "DECIMAL(38,0)",
    "uhugeint": "DECIMAL(38,0)",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
    "enum": "VARCHAR",
}
_ADVICE: Final[Mapping[str, str]] = {
    "interval": "cast it to VARCHAR, or store epoch(…) as seconds",
    "bit": "cast it to VARCHAR",
    "timestamp_ns": "cast it to TIMESTAMP, which holds microseconds",
    "time_ns": "cast it to TIME, which holds microseconds",
    "time with time zone": "cast it to TIME",
    "union": "cast it to VARCHAR, or take one member with union_extract(…)",
    "variant": "cast it to VARCHAR or JSON",
    "bignum": "cast it to DECIMAL(38,0), DOUBLE or VARCHAR",
}


def storable_projection(names: Sequence[str], types: Sequence[DuckDBType]) -> str | None:
    """The SELECT list that makes every column of a result fit a table; None when all fit already.

    Raises:
        EngineError: a column's type has no exact counterpart; names the column and how to cast it.
    """
    items = [_item(name, kind) for name, kind in zip(names, types, strict=True)]
    if all(changed is None for _, changed in items):
        return None
    return ", ".join(column if changed is None else f"{changed} AS {column}" for column, changed in items)


def uuid_columns(types: Sequence[DuckDBType]) -> tuple[int, ...]:
    """Positions of UUID columns, which :func:`storable_projection` turns to 16 bytes each, for with_uuids."""
    return tuple(i for i, kind in enumerate(types) if kind.id == "uuid")


def _item(name: str, kind: DuckDBType) -> tuple[str, str | None]:
    column = quoted(name)
    if kind.id == "uuid":
        return column, uuid_bytes_sql(column)
    try:
        fitted = _fit(kind)
    except _UnstorableError as err:
        raise EngineError(
            f"column {name!r} is of type {kind}, which a table cannot hold", hint=_ADVICE.get(err.kind, "cast it")
        ) from None
    return column, None if fitted == str(kind) else f"CAST({column} AS {fitted})"


class _UnstorableError(Exception):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def _fit(kind: DuckDBType) -> str:
    """The storable DuckDB type closest to ``kind``, as SQL text."""
    if kind.id in _SAME:
        return str(kind)
    if kind.id in _FITTED:
        return _FITTED[kind.id]
    nested = _NESTED.get(kind.id)
    if nested is None:
        raise _UnstorableError(kind.id)
    return nested(dict(kind.children))


_NESTED: Final[Mapping[str, Callable[[dict[str, DuckDBType]], str]]] = {
    "list": lambda parts: f"{_fit(parts['child'])}[]",
    "array": lambda parts: f"{_fit(parts['child'])}[]",
    "map": lambda parts: f"MAP({_fit(parts['key'])}, {_fit(parts['value'])})",
    "struct": lambda parts: f"STRUCT({', '.join(f'{quoted(name)} {_fit(kind)}' for name, kind in parts.items())})",
}
