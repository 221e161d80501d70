"""What rewrites by key have in common: the source as a table of DuckDB, and the table's files as queries.

The files concerned are narrowed by the keys' bounds (partitions and column statistics), then by a semi-join over the
key columns of what is left. DuckDB does it in limited memory, spilling to a private folder.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, NestedField, UUIDType

from lakecat.config import EngineSettings
from lakecat.errors import SchemaError, SourceError, TableError
from lakecat.store import LakeStore
from lakecat.tables.conform import Conformer
from lakecat.tables.key_bounds import LISTED, KeyBounds, has_bounds, plain_values
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
# Names of ours in statements: a column that was called as a table is in them would be taken for it, and searched for
# the key where it is a struct.
_OURS: Final = "__lakecat_"
_FILE: Final = f"{_OURS}file"
TABLE: Final = f"{_OURS}table"
SOURCE: Final = f"{_OURS}source"
PRESENT: Final = f"{_OURS}present"
GONE: Final = f"{_OURS}gone"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What replaces what. ``rows`` streams once, inside the block; ``matched`` rows of the table had one of the keys.

    ``matched`` leaves out files that DuckDB cannot look into by field id; all of these are among ``removed``.
    """

    removed: tuple[PlannedFile, ...]
    rows: pa.RecordBatchReader
    matched: int


@contextmanager
def rewriting(
    store: LakeStore,
    scan: Scan | None,
    source: pa.RecordBatchReader,
    key: Sequence[str],
    settings: EngineSettings,
    schema: Schema,
    *,
    source_schema: Schema,
) -> Iterator[Rewriting]:
    """A rewrite of the table (None: there is none yet) by the keys of the source, for the block.

    Raises SchemaError for keys that are NULL or no columns, and values that do not fit; TableError when it fails.
    """
    if taken := [field.name for field in schema.fields if field.name.casefold().startswith(_OURS)]:
        raise SchemaError(f"column {taken[0]!r} has a name that lakecat uses itself", hint="rename it on the way in")
    fields = [key_field(schema, name) for name in key]
    if not fields:
        raise SchemaError("a merge or delete by key needs at least one key column")
    if settings.temp_directory is not None:
        settings.temp_directory.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="lakecat-rewrite-", dir=settings.temp_directory))
    con: _Connection = duckdb.connect(config=_config(settings, scratch))
    try:
        con.execute("SET TimeZone = 'UTC'")
        work = Rewriting(store, scan, schema, fields, con)
        work.load(source, source_schema)
        yield work
    except duckdb.Error as err:
        raise failed(scan, err) from err
    finally:
        con.close()
        shutil.rmtree(scratch, ignore_errors=True)


class Rewriting:
    """One rewrite. The table ``source`` holds the rows that came in, ``present`` the keys that the source has now."""

    def __init__(
        self, store: LakeStore, scan: Scan | None, schema: Schema, fields: Sequence[NestedField], con: _Connection
    ) -> None:
        self._store = store
        self._scan = scan
        self._schema = schema
        self._fields = fields
        self._con = con
        self._uuids = [i for i, field in enumerate(schema.fields) if isinstance(field.field_type, UUIDType)]
        self._direct: list[PlannedFile] = []
        self._rest: tuple[PlannedFile, ...] = ()
        self.matched = 0
        self.columns = ", ".join(_written(field) for field in schema.fields)

    @property
    def schema(self) -> Schema:
        """What the rows are written with."""
        return self._schema

    @property
    def keys(self) -> tuple[str, ...]:
        """The key columns, as quoted identifiers."""
        return tuple(quoted(field.name) for field in self._fields)

    @property
    def opened(self) -> tuple[PlannedFile, ...]:
        """The files that ``open_files`` found."""
        return (*self._direct, *self._rest)

    def load(self, source: pa.RecordBatchReader, schema: Schema) -> None:
        """Take the source in, fitted to the table's types as when it is written, and check its keys."""
        self._take_in("source", source, schema)
        self._check_null_keys()

    def load_present(self, keys: pa.RecordBatchReader) -> None:
        """Take in the keys that the source has now; other columns are not looked at."""
        names = [field.name for field in self._fields]
        self._take_in("present", only(keys, names), Schema(*self._fields))

    def refuse_emptying(self, rows: int) -> None:
        """Raise SourceError when nothing is present any more, and so many rows of the table would go."""
        if rows and not self.count("SELECT count(*) FROM present"):
            raise SourceError(
                f"the source has no rows, and {rows} in {self._scan.state.location if self._scan else 'the table'}"
                " would count as deleted",
                hint="an empty delivery is most often a broken one; to empty the table, delete its rows by a script",
            )

    def execute(self, sql: str) -> None:
        """Run a statement of ours over ``source`` and other tables of this rewrite."""
        self._con.execute(sql)

    def count(self, sql: str) -> int:
        """The one number that a query gives."""
        return int(self._con.execute(sql).fetchall()[0][0])

    def check_unique(self, *, also: str | None = None) -> None:
        """Raise SchemaError unless each key comes once in the source, or once with each value of ``also``."""
        names = self.keys if also is None else (*self.keys, quoted(also))
        rows, distinct = self._con.execute(
            f"SELECT count(*), count(DISTINCT ({', '.join(names)},)) FROM source"
        ).fetchall()[0]
        if distinct != rows:
            names_text = ", ".join(field.name for field in self._fields)
            raise SchemaError(
                f"the key {names_text} comes more than once among the rows to merge",
                hint="give each key once, or choose a key that tells the rows apart",
            )

    def open_files(self, *, everything: bool = False) -> None:
        """Look up the table's files that may hold a key of the source; ``everything``: all of its files."""
        if self._scan is None:
            return
        bounds = [] if everything else self._bounds()
        expression: BooleanExpression = AlwaysTrue()
        for bound in bounds:
            expression = And(expression, bound.expression())
        files = [
            file
            for file in plan(self._store, self._scan, expression)
            if all(bound.may_be_in(file.data_file) for bound in bounds)
        ]
        self._con.register_filesystem(SnapshotFiles(self._store, {file.location: file.size for file in files}))
        self._direct = [file for file in files if self._is_direct(file)]
        self._rest = tuple(file for file in files if not self._is_direct(file))
        if self._rest:
            self._load_rest(self._rest)

    def touched(self, *, absent: bool = False) -> str:
        """The condition for rows that have a key of the source, or (``absent``) one that is not ``present``."""
        found = f"EXISTS (SELECT 1 FROM source AS {SOURCE} WHERE {self.on(SOURCE)})"
        if not absent:
            return found
        whole = " AND ".join(f"{TABLE}.{key} IS NOT NULL" for key in self.keys)
        here = f"EXISTS (SELECT 1 FROM present AS {PRESENT} WHERE {self.on(PRESENT)})"
        return f"({found} OR ({whole} AND NOT {here}))"

    def concerned(self, *, absent: bool = False) -> tuple[PlannedFile, ...]:
        """The opened files with a touched row, and those that only PyIceberg can read; counts ``matched``."""
        files = self._files_sql(self._direct, filename=True)
        counted = f"SELECT {TABLE}.{_FILE}, count(*) FROM ({files}) AS {TABLE}"
        if absent:
            counted += f" WHERE {self.touched(absent=True)} GROUP BY 1"
        else:
            counted += f" SEMI JOIN source AS {SOURCE} ON {self.on(SOURCE)} GROUP BY 1"
        found = dict(self._con.execute(counted).fetchall()) if self._direct else {}
        self.matched = sum(found.values())
        return (*(file for file in self._direct if engine_path(self._store, file.location) in found), *self._rest)

    def holds_all(self, files: Sequence[PlannedFile], rows: str, ignored: Collection[str]) -> bool:
        """Whether these files hold each row of a query over the source as it is, and no other row that is touched.

        ``ignored`` columns are not compared; ``concerned`` must have counted before.
        """
        if self._rest or self.count(f"SELECT count(*) FROM ({rows})") != self.matched:
            return False
        compared = [field for field in self._schema.fields if field.name not in ignored]
        same = " AND ".join((self.on(SOURCE), *(_same(field) for field in compared)))
        other = f"({rows}) AS {SOURCE} ANTI JOIN ({self.rows_sql(files)}) AS {TABLE} ON {same}"
        return not self.count(f"SELECT count(*) FROM {other}")

    def rows_sql(self, files: Sequence[PlannedFile]) -> str:
        """A query for the rows of opened files, with the table's columns and types."""
        direct = self._files_sql([file for file in files if file not in self._rest])
        return f"{direct} UNION ALL SELECT * FROM rest" if self._rest else direct

    def kept_sql(self, files: Sequence[PlannedFile], *, absent: bool = False) -> str:
        """A query for the rows of these files that are not touched, as they are written."""
        rows = f"SELECT {self.columns} FROM ({self.rows_sql(files)}) AS {TABLE}"
        if absent:
            return f"{rows} WHERE NOT {self.touched(absent=True)}"
        return f"{rows} ANTI JOIN source AS {SOURCE} ON {self.on(SOURCE)}"

    def on(self, other: str) -> str:
        """The condition that a row of the table, named ``TABLE``, has the key of the other."""
        return " AND ".join(f"{TABLE}.{key} = {other}.{key}" for key in self.keys)

    def stream(self, sql: str) -> pa.RecordBatchReader:
        """The query's rows, in batches, with lakecat's errors."""
        reader = self._con.sql(sql).to_arrow_reader(_BATCH_ROWS)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for batch in reader:
                    yield with_uuids(batch, self._uuids)
            except (duckdb.Error, pa.ArrowException, OSError) as err:
                raise failed(self._scan, err) from err

        return pa.RecordBatchReader.from_batches(with_uuid_fields(reader.schema, self._uuids), batches())

    def _load_rest(self, files: tuple[PlannedFile, ...]) -> None:
        """Files that DuckDB cannot look into by field id come through PyIceberg's reader."""
        if self._scan is None:  # there are no files then
            return
        rows = read(self._store, replace(self._scan, files=files))
        self._con.register("elsewhere", rows)
        self._con.execute(f"CREATE TABLE rest AS {relation_sql([], self._schema)}")
        self._con.execute("INSERT INTO rest BY NAME SELECT * FROM elsewhere")
        self._con.unregister("elsewhere")

    def _take_in(self, name: str, rows: pa.RecordBatchReader, schema: Schema) -> None:
        conform = Conformer(schema, rows.schema)
        broken: list[BaseException] = []

        def fitted() -> Iterator[pa.RecordBatch]:
            try:
                yield from map(conform, rows)
            except BaseException as err:
                broken.append(err)
                raise

        self._con.register("incoming", pa.RecordBatchReader.from_batches(conform.schema, fitted()))
        items = ", ".join(_loaded(field) for field in schema.fields)
        try:
            self._con.execute(f"CREATE TABLE {quoted(name)} AS SELECT {items} FROM incoming")
        except duckdb.Error:
            if broken:  # the engine knows no more of it than a text
                raise broken[0] from None
            raise
        self._con.unregister("incoming")

    def _check_null_keys(self) -> None:
        missing = ", ".join(f"count(*) - count({name})" for name in self.keys)
        rows, *nulls = self._con.execute(f"SELECT count(*), {missing} FROM source").fetchall()[0]
        for field, count in zip(self._fields, nulls, strict=True):
            if count:
                raise SchemaError(
                    f"the key column {field.name!r} is NULL in {count} of the {rows} rows",
                    hint="a row without a key cannot be merged or deleted: mend the source, or choose another key",
                )

    def _bounds(self) -> list[KeyBounds]:
        """What is known of the key columns by which files can be left out."""
        now = {field.name: field.field_type for field in self._scan.schema.fields} if self._scan else {}
        # A dot would be read as a path; a type that is to widen has values that the files' statistics cannot have.
        return [
            self._bound(field)
            for field in self._fields
            if has_bounds(field.field_type) and now.get(field.name) == field.field_type and "." not in field.name
        ]

    def _bound(self, field: NestedField) -> KeyBounds:
        name = quoted(field.name)
        distinct = f"SELECT DISTINCT {name} AS v FROM source"
        if self.count(f"SELECT count(*) FROM ({distinct} LIMIT {LISTED + 1})") <= LISTED:
            values = self._con.sql(f"{distinct} ORDER BY v").to_arrow_table().column(0)
            return KeyBounds(field, plain_values(values), listed=True)
        ends = self._con.sql(f"SELECT unnest([min({name}), max({name})]) FROM source").to_arrow_table().column(0)
        return KeyBounds(field, plain_values(ends), listed=False)

    def _is_direct(self, file: PlannedFile) -> bool:
        return self._scan is not None and by_field_id(
            file.data_file, self._scan.state.spec_by_id(file.data_file.spec_id)
        )

    def _files_sql(self, files: Sequence[PlannedFile], *, filename: bool = False) -> str:
        return relation_sql(
            [engine_path(self._store, file.location) for file in files],
            self._schema,
            rows=total_rows(files),
            filename_column=_FILE if filename else None,
        )


def _written(field: NestedField) -> str:
    """A column as the result gives it to the writer."""
    name = quoted(field.name)
    return f"{uuid_bytes_sql(name)} AS {name}" if isinstance(field.field_type, UUIDType) else name


def _same(field: NestedField) -> str:
    """The condition that a row of the table and one of the source have the same value; 0 and -0 are not."""
    mine, theirs = f"{TABLE}.{quoted(field.name)}", f"{SOURCE}.{quoted(field.name)}"
    same = f"{mine} IS NOT DISTINCT FROM {theirs}"
    if isinstance(field.field_type, FloatType | DoubleType):
        same += f" AND signbit({mine}) IS NOT DISTINCT FROM signbit({theirs})"
    return same


def _loaded(field: NestedField) -> str:
    """A column of fitted Arrow data in the type that the table's files are read with."""
    name = quoted(field.name)
    return f"CAST({name} AS {duckdb_type(field.field_type)}) AS {name}"


def key_field(schema: Schema, name: str) -> NestedField:
    """The column as part of a key. Raises SchemaError when it is none, or nested."""
    found = next((field for field in schema.fields if field.name == name), None)
    if found is None:
        raise SchemaError(
            f"the table has no column {name!r} to be a key", hint=f"its columns are {', '.join(schema.column_names)}"
        )
    if not found.field_type.is_primitive:
        raise SchemaError(f"column {name!r} is nested and cannot be a key")
    return found


def only(keys: pa.RecordBatchReader, key: Sequence[str]) -> pa.RecordBatchReader:
    """The key columns alone. Raises SchemaError when one is missing."""
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


def failed(scan: Scan | None, err: BaseException) -> TableError:
    """What an error of the engine means for the table."""
    reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
    memory = "Out of Memory" in reason
    return TableError(
        f"the rewrite of {scan.state.location if scan else 'a new table'} failed: {reason}",
        hint="raise engine.memory_limit or engine.max_temp_size in lakecat.yaml" if memory else None,
    )
