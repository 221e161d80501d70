"""Files that say their types (Parquet, Arrow, ORC, Avro): types made plain, united by name, values kept exact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lakecat.connector import type_name
from lakecat.connector.columns import MAX_COLUMNS, Column, check_names, fold, unite
from lakecat.connector.nested import cast, grown, is_any_list, promoted, typed, without_null
from lakecat.errors import ParseError, SchemaError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import FileResult, Job, JobFile
from lakecat_connectors._reader import Reader

_MAX_DEPTH: Final = 64


@dataclass(frozen=True)
class TypedFile:
    """One file's columns: names and plain types. ``leaves`` counts the innermost columns."""

    file: JobFile
    schema: pa.Schema
    leaves: int

    @functools.cached_property
    def positions(self) -> dict[str, int]:
        """Where each column stands."""
        return {fold(name): index for index, name in enumerate(self.schema.names)}


class TypedReader(Reader):
    """Reads one slice of files that say their types. A format gives ``columns`` and ``contents``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._files: list[TypedFile] = []

    def columns(self, file: JobFile) -> TypedFile:
        """What one file says of its columns. Raises ParseError."""
        raise NotImplementedError

    def contents(self, item: TypedFile) -> Iterator[pa.RecordBatch]:
        """One file's rows, in the file's own types and column order. Raises ParseError."""
        raise NotImplementedError

    def open(self) -> pa.Schema:
        """Read what the files say of their columns and decide each column's type over all of them."""
        self._files = [self.columns(file) for file in self._job.files]
        headers = [(Where(item.file.shown), item.schema.names) for item in self._files]
        columns = unite(headers, self._job.wanted, self._job.options.missing_columns)
        self._columns = tuple(
            typed(column, None if column.declared else self._unified(column), promoted) for column in columns
        )
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row; nothing but exact conversions."""
        schema = self._schema()
        for index, item in enumerate(self._files):
            at_file(index)
            sources = [item.positions.get(fold(column.name)) for column in self._columns]
            raw = RawFile(item.file.path, item.file.shown, item.file.size)
            rows = 0
            try:
                for batch in self.contents(item):
                    rows += batch.num_rows
                    arrays = [
                        pa.nulls(batch.num_rows, column.type)
                        if source is None
                        else exact(batch.column(source), column, item.file.shown)
                        for column, source in zip(self._columns, sources, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                self._results.append(FileResult(rows, raw.finish()))
            finally:
                raw.close()

    def _unified(self, column: Column) -> pa.DataType | None:
        """The type that holds the column's values of all files; None when no file has it."""
        result: pa.DataType | None = None
        for item in self._files:
            position = item.positions.get(fold(column.name))
            if position is None:
                continue
            kind = item.schema.field(position).type
            found = kind if result is None else wider(result, kind)
            if found is None and result is not None and column.type is not None:
                found = grown(result, kind)  # the table's type decides where they differ
            if found is None:
                raise ParseError(
                    f"is {kind}, and {result} in the files before it",
                    where=Where(item.file.shown, column=column.name),
                    hint=f"declare the type of {column.name} under columns:",
                )
            result = found
        return None if result is None else without_null(result)


def checked(file: JobFile, schema: pa.Schema, leaves: int) -> TypedFile:
    """A file's columns with the types this connector hands out. Raises ParseError for names and types it cannot."""
    where = Where(file.shown)
    if not schema.names:
        raise ParseError("has no columns", where=where)
    check_names(schema.names, where)
    if leaves > MAX_COLUMNS:
        raise ParseError(f"has {leaves} columns; at most {MAX_COLUMNS} are read", where=where)
    fields = []
    for field in schema:
        try:
            fields.append(pa.field(field.name, plain(field.type)))
        except SchemaError as err:
            raise ParseError(err.what, where=Where(file.shown, column=field.name)) from err
    return TypedFile(file, pa.schema(fields), leaves)


def leaf_count(kind: pa.DataType) -> int:
    """How many innermost columns a type has. Raises RecursionError for one nested beyond reason."""
    if pa.types.is_struct(kind):
        return sum(leaf_count(part.type) for part in kind)
    if pa.types.is_map(kind):
        return leaf_count(kind.key_type) + leaf_count(kind.item_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return leaf_count(kind.value_type)
    return 1


def plain(kind: pa.DataType, depth: int = 0) -> pa.DataType:
    """The type without encodings and units that tables do not have: same values, wider names. Raises SchemaError."""
    if depth > _MAX_DEPTH:
        raise SchemaError(f"is nested deeper than {_MAX_DEPTH}")
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type, depth + 1)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(kind.value_type, depth + 1)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(part.name, plain(part.type, depth + 1)) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type, depth + 1), plain(kind.item_type, depth + 1))
    if is_any_list(kind):
        return pa.list_(plain(kind.value_type, depth + 1))
    return _plain_scalar(kind)


def _plain_scalar(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_union(kind) or pa.types.is_duration(kind) or pa.types.is_interval(kind):
        raise SchemaError(f"is of the type {str(kind)[:80]}, which no table holds")
    simple: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
        (pa.types.is_large_string, pa.string()),
        (pa.types.is_string_view, pa.string()),
        (pa.types.is_large_binary, pa.binary()),
        (pa.types.is_binary_view, pa.binary()),
        (pa.types.is_date64, pa.date32()),
        (pa.types.is_float16, pa.float32()),
    )
    return next((target for matches, target in simple if matches(kind)), kind)


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both exactly, or None. Structs have the fields of both, by name."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_integer(one) and pa.types.is_integer(other):
        return _wider_integer(one, other)
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return pa.float64()
    if pa.types.is_decimal(one) and pa.types.is_decimal(other):
        scale = max(one.scale, other.scale)
        precision = max(one.precision - one.scale, other.precision - other.scale) + scale
        return pa.decimal128(precision, scale) if precision <= 38 else None
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = wider(one.value_type, other.value_type)
        return None if item is None else pa.list_(item)
    return _wider_struct(one, other) if pa.types.is_struct(one) and pa.types.is_struct(other) else None


def _wider_struct(one: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    fields: dict[str, tuple[str, pa.DataType]] = {fold(part.name): (part.name, part.type) for part in one}
    for part in other:
        name, kind = fields.get(fold(part.name), (part.name, part.type))
        both = wider(kind, part.type)
        if both is None:
            return None
        fields[fold(part.name)] = (name, both)
    return pa.struct([pa.field(name, kind) for name, kind in fields.values()])


def _wider_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    signed = [kind for kind in (one, other) if pa.types.is_signed_integer(kind)]
    unsigned = [kind for kind in (one, other) if pa.types.is_unsigned_integer(kind)]
    if not signed or not unsigned:
        return max((one, other), key=lambda kind: int(kind.bit_width))
    return pa.int64() if unsigned[0].bit_width < 64 else None


def castable(source: pa.DataType, target: pa.DataType, *, declared: bool) -> bool:
    """Whether values of one type may be read as the other; the values are still checked one by one."""
    if pa.types.is_null(source) or plain(source) == plain(target):
        return True
    if pa.types.is_struct(source) and pa.types.is_struct(target):
        parts = {fold(part.name): part.type for part in target}
        return all(
            fold(part.name) in parts and castable(part.type, parts[fold(part.name)], declared=declared)
            for part in source
        )
    if is_any_list(source) and is_any_list(target):
        return castable(source.value_type, target.value_type, declared=declared)
    if pa.types.is_nested(source) or pa.types.is_nested(target):
        return bool(pa.types.is_nested(target) and source.id == target.id)
    if pa.types.is_integer(source):
        return bool(pa.types.is_integer(target) or pa.types.is_floating(target) or pa.types.is_decimal(target))
    if pa.types.is_floating(source):
        return bool(pa.types.is_float64(target) or (declared and pa.types.is_floating(target)))
    if pa.types.is_decimal(source):
        return bool(pa.types.is_decimal(target) or (declared and pa.types.is_floating(target)))
    return bool(pa.types.is_date(source) and pa.types.is_timestamp(target) and target.tz is None)


def exact(values: pa.Array, column: Column, shown: str) -> pa.Array:
    """The values in the column's type. Raises ParseError when the type or a value is not to be had in it exactly."""
    try:
        values.validate(full=True)  # readers of Parquet, ORC and Arrow take any bytes for text
    except pa.ArrowInvalid as err:
        text = "UTF8" in str(err)
        raise ParseError(
            "holds text that is not UTF-8" if text else f"is damaged ({str(err)[:80]})",
            where=Where(shown, column=column.name),
            hint="whoever writes the file must write such bytes as binary" if text else "get the file again",
        ) from err
    if values.type == column.type:
        return values
    where = Where(shown, column=column.name)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if not castable(values.type, column.type, declared=column.declared):
        raise ParseError(
            f"is {type_name(values.type)}, not {column.shown}",
            where=where,
            hint=f"mend the file, or load it into a table whose column {column.name} has that type",
        )
    try:
        return cast(values, column.type)
    except pa.ArrowException as err:
        raise ParseError(
            f"holds a {type_name(values.type)} value that {column.shown} cannot hold exactly ({str(err)[:80]})",
            where=where,
            hint="nanoseconds, fractions and overflow are never cut off; mend the file or the column's type",
        ) from err
