"""JSON lines that are written the way programs write them, proved to be so and then read by DuckDB.

Of the types of the lines so far a regular expression is made: the same keys in the same order (all but an object's
first may be missing), values of the same types, no number and no escape that two readers could take differently. RE2
runs it over a block in one pass. In such lines DuckDB's reader, which is faster than pyarrow's and less strict, has
nothing left to be lenient with.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from lakecat.connector.nested import cast
from lakecat_connectors._json_fast import Lines, is_text, matches
from lakecat_connectors._typed import leaf_count

if TYPE_CHECKING:
    import duckdb


BLOCK_BYTES: Final = 16 << 20
"""So much at a time, for DuckDB and RE2 begin with each block anew."""

_WORTH_BYTES: Final = 64 << 20
_TRIES: Final = 4
_MAX_LEAVES: Final = 32
_MAX_PATTERN: Final = 15_000
_MEMORY: Final = "512MB"

_BLANK: Final = r"[ \t]*"
_COMMA: Final = f"{_BLANK},{_BLANK}"
# Whole numbers of 64 bits; fractions of fifteen digits, which survive a double, and exponents of two, which stay within
# its range. A whole -0 is neither.
_WHOLE: Final = r"-?(?:[1-9][0-9]{0,17}|[1-8][0-9]{18})|0"
_FRACTION: Final = r"(?:-?[1-9][0-9.]{0,14}|-?0\.[0-9]{1,14}|0)(?:[eE][-+]?[0-9]{1,2})?"
_ESCAPE: Final = (
    r"\\(?:[\"\\/bfnrt]"
    r"|u(?:[1-9a-fA-F][0-9a-fA-F]{3}|0[1-9a-fA-F][0-9a-fA-F]{2}|00[1-9a-fA-F][0-9a-fA-F]|000[1-9a-fA-F]))"
)
_TEXT: Final = rf'"(?:[^"\\\x00-\x1f]|{_ESCAPE})*"'
_PLAIN_KEY: Final = re.compile(r'[^"\\\x00-\x1f]+')
_VALUES: Final = {pa.int64(): _WHOLE, pa.float64(): _FRACTION, pa.string(): _TEXT, pa.bool_(): "true|false"}
_NAMES: Final = {pa.int64(): "BIGINT", pa.float64(): "DOUBLE", pa.string(): "VARCHAR", pa.bool_(): "BOOLEAN"}


class PlainLines:
    """Reads a slice's blocks for as long as they turn out to be plain."""

    def __init__(self, size: int) -> None:
        """``size``: the slice's bytes, few of which are not worth DuckDB's start."""
        self.worth_it = size >= _WORTH_BYTES
        self._tries = _TRIES if self.worth_it else 0
        self._types: pa.Schema | None = None
        self._pattern: str | None = None
        self._reader: Any = None
        self._connection: duckdb.DuckDBPyConnection | None = None

    def table(self, block: Lines, types: pa.Schema) -> pa.Table | None:
        """The block's rows with these types; None when another reader has to read it."""
        if self._tries <= 0:
            return None
        if types is not self._types:
            self._learn(types)
        if self._pattern is None or not (is_text(block.data) and matches(block.data, self._pattern)):
            self._tries -= 1
            return None
        table = self._read(block, types)
        self._tries = _TRIES if table is not None else 0
        return table

    def close(self) -> None:
        """Forget everything; safe to call twice."""
        self._tries = 0
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _learn(self, types: pa.Schema) -> None:
        import duckdb

        self._types = types
        self._pattern = pattern_of(types)
        if self._connection is None:
            config: dict[str, Any] = {
                "threads": 1,
                "memory_limit": _MEMORY,
                "enable_external_access": False,
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
            }
            self._connection = duckdb.connect(config=config)
        structure = json.dumps(_structure(pa.struct(list(types))))
        line, constant = duckdb.ColumnExpression("line"), duckdb.ConstantExpression(structure)
        self._reader = duckdb.FunctionExpression("from_json", line, constant).alias("row")

    def _read(self, block: Lines, types: pa.Schema) -> pa.Table | None:
        import duckdb

        if self._connection is None:
            return None
        starts = np.zeros(block.count + 1, dtype=np.int32)
        starts[1:] = block.feeds + 1
        lines = pa.Array.from_buffers(
            pa.string(), block.count, [None, pa.py_buffer(starts.data), pa.py_buffer(block.data)]
        )
        try:
            read = self._connection.from_arrow(pa.table({"line": lines})).select(self._reader).to_arrow_table()
        except duckdb.Error:
            return None
        rows = read.column("row")
        if read.num_rows != block.count or rows.null_count:
            return None
        parts = [
            [cast(array, field.type) for array, field in zip(chunk.flatten(), types, strict=True)]
            for chunk in rows.chunks
        ]
        return pa.Table.from_batches([pa.RecordBatch.from_arrays(arrays, schema=types) for arrays in parts], types)


def pattern_of(types: pa.Schema) -> str | None:
    """The regular expression of blocks of plain lines with these types; None where there is none."""
    kind = pa.struct(list(types))
    if leaf_count(kind) > _MAX_LEAVES:
        return None
    value = _value(kind)
    pattern = None if value is None else rf"\A(?:(?:{value}){_BLANK}\r?\n)*\z"
    return pattern if pattern is not None and len(pattern) <= _MAX_PATTERN else None


def _value(kind: pa.DataType) -> str | None:
    """The expression of a value that is not NULL; None for what cannot be said in one."""
    if pa.types.is_struct(kind):
        return _object(kind)
    if pa.types.is_list(kind):
        item = _or_null(kind.value_type)
        return None if item is None else rf"\[{_BLANK}(?:{item}(?:{_COMMA}{item})*)?{_BLANK}\]"
    return _VALUES.get(kind)


def _or_null(kind: pa.DataType) -> str | None:
    if pa.types.is_null(kind):
        return "null"
    value = _value(kind)
    return None if value is None else f"(?:{value}|null)"


def _object(kind: pa.StructType) -> str | None:
    parts = []
    for part in kind:
        value = _or_null(part.type)
        if value is None or not _PLAIN_KEY.fullmatch(part.name):
            return None
        parts.append(f'"{re.escape(part.name)}"{_BLANK}:{_BLANK}{value}')
    rest = "".join(f"(?:{_COMMA}{part})?" for part in parts[1:])
    return rf"\{{{_BLANK}{parts[0]}{rest}{_BLANK}\}}" if parts else None


def _structure(kind: pa.DataType) -> Any:
    """The type as DuckDB's ``from_json`` takes it."""
    if pa.types.is_struct(kind):
        return {part.name: _structure(part.type) for part in kind}
    if pa.types.is_list(kind):
        return [_structure(kind.value_type)]
    return _NAMES.get(kind, "VARCHAR")
