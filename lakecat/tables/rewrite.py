"""Upsert and delete by key as copy-on-write: only the files that hold one of the keys are written anew.

The files concerned are narrowed by the keys' bounds (partitions and column statistics), then by a semi-join over the
key columns of what is left; their other rows are kept by an anti-join. DuckDB does both in limited memory, spilling to
a private folder. (Measured on a million rows and 100,000 keys: 3.6 s CPU, PyIceberg's upsert 29.5 s.)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, In, LessThanOrEqual
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    UUIDType,
)

from lakecat.config import EngineSettings
from lakecat.errors import SchemaError, TableError
from lakecat.store import LakeStore
from lakecat.tables.conform import Conformer
from lakecat.tables.reading import read
from lakecat.tables.relation import (
    by_field_id,
    duckdb_type,
    quoted,
    relation_sql,
    total_rows,
    uuid_bytes_sql,
    with_uuid_fields,
    with_uuids,
)
from lakecat.tables.scan import PlannedFile, Scan, plan
from lakecat.tables.snapshot_files import SnapshotFiles, engine_path

#: duckdb's connections have no types.
_Connection: TypeAlias = Any

_BATCH_ROWS: Final = 65_536
# Beyond so many keys, their bounds say as much to statistics and partitions as the keys themselves.
_LISTED_KEYS: Final = 200
# Of these, DuckDB's order and Iceberg's are the same for every value.
_BOUNDED: Final = (IntegerType, LongType, DecimalType, StringType, DateType, TimestampType, TimestamptzType)
_FILE: Final = "__lakecat_file"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What replaces what. ``rows`` streams once, inside the block; ``matched`` rows of the table had one of the keys.

    ``matched`` leaves out files that DuckDB cannot look into by field id; all of these are among ``removed``.
    """

    removed: tuple[PlannedFile, ...]
    rows: pa.RecordBatchReader
    matched: int


@contextmanager
def merge_upsert(
    store: LakeStore,
    scan: Scan,
    source: pa.RecordBatchReader,
    key: Sequence[str],
    *,
    settings: EngineSettings,
    schema: Schema | None = None,
) -> Iterator[Rewrite]:
    """Rows of ``source`` take the place of the table's rows with their key; others are added.

    Args:
        store: the lake.
        scan: the table as it is.
        source: rows by column name, each key once; a column that is missing becomes NULL.
        key: the columns that tell rows apart.
        settings: memory, threads and spill space.
        schema: what the rows are written with, when it is to evolve with this change.

    Raises:
        SchemaError: a key that is NULL, comes twice in the source, or is no column; a value that does not fit.
        TableError: the rewrite failed, as when memory or spill space ran out.
    """
    target = schema or scan.schema
    with _rewriting(store, scan, source, key, settings, target, source_schema=target) as work:
        new = f"SELECT {work.columns} FROM source"
        removed, kept = work.split()
        rows = work.stream(f"{kept} UNION ALL {new}" if removed else new)
        yield Rewrite(removed, rows, work.matched)


@contextmanager
def delete_keys(
    store: LakeStore, scan: Scan, keys: pa.RecordBatchReader, key: Sequence[str], *, settings: EngineSettings
) -> Iterator[Rewrite]:
    """The table's rows with one of these keys go; rows whose key is NULL stay.

    Other columns of ``keys`` are not looked at. Raises as :func:`merge_upsert`.
    """
    keyed = Schema(*[_key_field(scan.schema, name) for name in key])
    with _rewriting(store, scan, _only(keys, key), key, settings, scan.schema, source_schema=keyed) as work:
        removed, kept = work.split()
        yield Rewrite(removed, work.stream(kept), work.matched)


@contextmanager
def _rewriting(
    store: LakeStore,
    scan: Scan,
    source: pa.RecordBatchReader,
    key: Sequence[str],
    settings: EngineSettings,
    schema: Schema,
    *,
    source_schema: Schema,
) -> Iterator[_Work]:
    fields = [_key_field(schema, name) for name in key]
    if not fields:
        raise SchemaError("a merge or delete by key needs at least one key column")
    if settings.temp_directory is not None:
        settings.temp_directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="lakecat-rewrite-", dir=settings.temp_directory))
    con: _Connection = duckdb.connect(config=_config(settings, scratch))
    try:
        con.execute("SET TimeZone = 'UTC'")
        work = _Work(store, scan, schema, fields, con)
        work.load(source, source_schema)
        yield work
    except duckdb.Error as err:
        raise _failed(scan, err) from err
    finally:
        con.close()
        shutil.rmtree(scratch, ignore_errors=True)


class _Work:
    """One rewrite: its source as a table of DuckDB, and the table's files as queries."""

    def __init__(
        self, store: LakeStore, scan: Scan, schema: Schema, fields: Sequence[NestedField], con: _Connection
    ) -> None:
        self._store = store
        self._scan = scan
        self._schema = schema
        self._fields = fields
        self._con = con
        self._uuids = [i for i, field in enumerate(schema.fields) if isinstance(field.field_type, UUIDType)]
        self.matched = 0
        self.columns = ", ".join(_written(field) for field in schema.fields)

    def load(self, source: pa.RecordBatchReader, schema: Schema) -> None:
        """Take the source in, fitted to the table's types as when it is written, and check its keys."""
        conform = Conformer(schema, source.schema)
        self._con.register("incoming", pa.RecordBatchReader.from_batches(conform.schema, map(conform, source)))
        items = ", ".join(_loaded(field) for field in schema.fields)
        self._con.execute(f"CREATE TABLE source AS SELECT {items} FROM incoming")
        self._con.unregister("incoming")
        self._check_keys()

    def split(self) -> tuple[tuple[PlannedFile, ...], str]:
        """The files that hold one of the keys, and the query for their rows that have none."""
        files = plan(self._store, self._scan, self._bounds())
        self._con.register_filesystem(SnapshotFiles(self._store, {file.location: file.size for file in files}))
        direct = [file for file in files if self._is_direct(file)]
        concerned = self._with_keys(direct)
        rest = tuple(file for file in files if not self._is_direct(file))
        kept = f"SELECT {self.columns} FROM ({self._rows(concerned)}) AS t ANTI JOIN source AS s ON {self._on()}"
        if rest:
            self._load_rest(rest)
            kept += f" UNION ALL SELECT {self.columns} FROM rest AS t ANTI JOIN source AS s ON {self._on()}"
        return (*concerned, *rest), kept

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """The query's rows, in batches, with lakecat's errors."""
        reader = self._con.sql(sql).to_arrow_reader(_BATCH_ROWS)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for batch in reader:
                    yield with_uuids(batch, self._uuids)
            except (duckdb.Error, pa.ArrowException, OSError) as err:
                raise _failed(self._scan, err) from err

        return pa.RecordBatchReader.from_batches(with_uuid_fields(reader.schema, self._uuids), batches())

    def _load_rest(self, files: tuple[PlannedFile, ...]) -> None:
        """Files that DuckDB cannot look into by field id come through PyIceberg's reader."""
        rows = read(self._store, replace(self._scan, files=files))
        self._con.register("elsewhere", rows)
        self._con.execute(f"CREATE TABLE rest AS {relation_sql([], self._schema)}")
        self._con.execute("INSERT INTO rest BY NAME SELECT * FROM elsewhere")
        self._con.unregister("elsewhere")

    def _check_keys(self) -> None:
        names = [quoted(field.name) for field in self._fields]
        missing = ", ".join(f"count(*) - count({name})" for name in names)
        rows, distinct, *nulls = self._con.execute(
            f"SELECT count(*), count(DISTINCT ({', '.join(names)},)), {missing} FROM source"
        ).fetchall()[0]
        for field, count in zip(self._fields, nulls, strict=True):
            if count:
                raise SchemaError(
                    f"the key column {field.name!r} is NULL in {count} of the {rows} rows",
                    hint="a row without a key cannot be merged or deleted: mend the source, or choose another key",
                )
        if distinct != rows:
            names_text = ", ".join(field.name for field in self._fields)
            raise SchemaError(
                f"the key {names_text} comes more than once among the rows to merge",
                hint="give each key once, or choose a key that tells the rows apart",
            )

    def _bounds(self) -> BooleanExpression:
        """What every row with one of the keys satisfies."""
        now = {field.name: field.field_type for field in self._scan.schema.fields}
        bounds: BooleanExpression = AlwaysTrue()
        for field in self._fields:
            # A dot would be read as a path; a type that is to widen has values that the files' statistics cannot have.
            if (
                isinstance(field.field_type, _BOUNDED)
                and now.get(field.name) == field.field_type
                and "." not in field.name
            ):
                bounds = And(bounds, self._bound(field))
        return bounds

    def _bound(self, field: NestedField) -> BooleanExpression:
        name = quoted(field.name)
        sql = f"SELECT DISTINCT {name} FROM source LIMIT {_LISTED_KEYS + 1}"
        values = self._con.sql(sql).to_arrow_table().column(0).to_pylist()
        if not values:
            return AlwaysTrue()
        if len(values) <= _LISTED_KEYS:
            return _expression(In, field.name, values)
        bounds = self._con.sql(f"SELECT min({name}), max({name}) FROM source").to_arrow_table()
        least, most = (column[0].as_py() for column in bounds.columns)
        return And(_expression(GreaterThanOrEqual, field.name, least), _expression(LessThanOrEqual, field.name, most))

    def _is_direct(self, file: PlannedFile) -> bool:
        return by_field_id(file.data_file, self._scan.state.spec_by_id(file.data_file.spec_id))

    def _rows(self, files: Sequence[PlannedFile], *, filename: bool = False) -> str:
        return relation_sql(
            [engine_path(self._store, file.location) for file in files],
            self._schema,
            rows=total_rows(files),
            filename_column=_FILE if filename else None,
        )

    def _with_keys(self, files: Sequence[PlannedFile]) -> list[PlannedFile]:
        found = dict(
            self._con.execute(
                f"SELECT t.{quoted(_FILE)}, count(*) FROM ({self._rows(files, filename=True)}) AS t"
                f" SEMI JOIN source AS s ON {self._on()} GROUP BY 1"
            ).fetchall()
        )
        self.matched = sum(found.values())
        return [file for file in files if engine_path(self._store, file.location) in found]

    def _on(self) -> str:
        return " AND ".join(f"t.{quoted(field.name)} = s.{quoted(field.name)}" for field in self._fields)


def _expression(kind: Any, name: str, value: object) -> BooleanExpression:
    """Pyiceberg's constructors take names and plain values, which their annotations do not say."""
    expression: BooleanExpression = kind(name, value)
    return expression


def _written(field: NestedField) -> str:
    """A column as the result gives it to the writer."""
    name = quoted(field.name)
    return f"{uuid_bytes_sql(name)} AS {name}" if isinstance(field.field_type, UUIDType) else name


def _loaded(field: NestedField) -> str:
    """A column of fitted Arrow data in the type that the table's files are read with."""
    name = quoted(field.name)
    return f"CAST({name} AS {duckdb_type(field.field_type)}) AS {name}"


def _key_field(schema: Schema, name: str) -> NestedField:
    found = next((field for field in schema.fields if field.name == name), None)
    if found is None:
        raise SchemaError(
            f"the table has no column {name!r} to be a key", hint=f"its columns are {', '.join(schema.column_names)}"
        )
    if not found.field_type.is_primitive:
        raise SchemaError(f"column {name!r} is nested and cannot be a key")
    return found


def _only(keys: pa.RecordBatchReader, key: Sequence[str]) -> pa.RecordBatchReader:
    missing = [name for name in key if name not in keys.schema.names]
    if missing:
        raise SchemaError(f"the key column {missing[0]!r} is missing in the input")
    schema = pa.schema([keys.schema.field(name) for name in key])
    return pa.RecordBatchReader.from_batches(schema, (batch.select(list(key)) for batch in keys))


def _config(settings: EngineSettings, scratch: Path) -> dict[str, str | bool | int | float | list[str]]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": str(settings.memory_limit),
        "temp_directory": str(scratch),
        "python_enable_replacements": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
    }
    if settings.threads is not None:
        config["threads"] = str(settings.threads)
    if settings.max_temp_size is not None:
        config["max_temp_directory_size"] = str(settings.max_temp_size)
    return config


def _failed(scan: Scan, err: BaseException) -> TableError:
    reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
    memory = "Out of Memory" in reason
    return TableError(
        f"the rewrite of {scan.state.location} failed: {reason}",
        hint="raise engine.memory_limit or engine.max_temp_size in lakecat.yaml" if memory else None,
    )
