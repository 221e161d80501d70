"""Rows by key: no key is NULL, and each key comes once, its last row being the one that counts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from lakecat.config import EngineSettings
from lakecat.errors import SchemaError, StoreError, TableError
from lakecat.ingest.shaping import plain

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")
_ORDINAL: Final = "lakecat_ordinal"


@dataclass(frozen=True, slots=True)
class Spooled:
    """Rows that wait in a file and can be read as often as is wanted."""

    schema: pa.Schema
    path: Path
    survivors: pa.ChunkedArray | None

    @contextmanager
    def open(self) -> Iterator[pa.RecordBatchReader]:
        """The rows, in the order of the input."""
        with pa.OSFile(str(self.path), "rb") as source:
            reader = pa.ipc.open_file(source)
            yield pa.RecordBatchReader.from_batches(self.schema, _surviving(reader, self.survivors))


@contextmanager
def rows_by_key(
    batches: pa.RecordBatchReader, key: Sequence[str], settings: EngineSettings, *, unique: bool = True
) -> Iterator[Spooled]:
    """The same rows with each key once: where it comes several times, the last row in the order of the input.

    With ``unique`` False every row stays. The rows wait in a temporary file on the local disk while the block runs, so
    their number is not bounded by memory.
    Raises SchemaError naming the column and the row where a key is NULL or a key column is missing.
    """
    for name in key:
        if batches.schema.get_field_index(name) < 0:
            raise SchemaError(f"the key column {name!r} is missing in the input")
    batches = plain(batches)
    folder = temporary_folder(settings)
    try:
        path = folder / "rows.arrow"
        rows = _spool(batches, key, path)
        survivors = _last_of_each(path, key, rows, settings, folder) if unique else None
        yield Spooled(batches.schema, path, survivors)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(settings: EngineSettings) -> Path:
    """A private folder on the local disk, where the engine spills too. Raises StoreError."""
    parent = settings.temp_directory
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="lakecat-rows-", dir=parent))
    except OSError as err:
        raise StoreError(
            f"cannot make a temporary folder in {parent or tempfile.gettempdir()}: {err.strerror or err}",
            hint="set engine.temp_directory to a folder that this user may write to",
        ) from err


def _spool(batches: pa.RecordBatchReader, key: Sequence[str], path: Path) -> int:
    rows = 0
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches.schema, options=_OPTIONS) as writer:
            for batch in batches:
                for name in key:
                    _refuse_null(batch.column(name), name, rows)
                writer.write_batch(batch)
                rows += batch.num_rows
    except OSError as err:
        raise StoreError(
            f"cannot keep rows in {path.parent}: {err.strerror or err}",
            hint="free space there, or set engine.temp_directory to a disk that has it",
        ) from err
    return rows


def _refuse_null(column: pa.Array, name: str, before: int) -> None:
    if column.null_count:
        at = pc.index(pc.is_null(column), pa.scalar(value=True)).as_py()
        raise SchemaError(
            f"the key column {name!r} is NULL in row {before + at + 1}",
            hint="a row without a key cannot be merged or deleted: mend the source, or choose another key",
        )


def _keys(path: Path, key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    start = 0
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            ordinals = pa.array(range(start, start + batch.num_rows), pa.int64())
            columns = [_comparable(batch.column(name)) for name in key]
            yield pa.RecordBatch.from_arrays([*columns, ordinals], [*_key_names(key), _ORDINAL])
            start += batch.num_rows


def _comparable(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _key_names(key: Sequence[str]) -> list[str]:
    return [f"k{number}" for number in range(len(key))]


def _last_of_each(
    path: Path, key: Sequence[str], rows: int, settings: EngineSettings, folder: Path
) -> pa.ChunkedArray | None:
    """The ordinals of the rows that count, ascending; None when all do. DuckDB groups, and spills where it must."""
    first = next(_keys(path, key), None)
    if first is None:
        return None
    config: dict[str, Any] = {"memory_limit": settings.memory_limit, "temp_directory": str(folder)}
    if settings.threads is not None:
        config["threads"] = settings.threads
    groups = ", ".join(_key_names(key))
    try:
        with duckdb.connect(config=config) as connection:
            connection.register("keys", pa.RecordBatchReader.from_batches(first.schema, _keys(path, key)))
            result = connection.sql(f"SELECT max({_ORDINAL}) AS n FROM keys GROUP BY {groups} ORDER BY n")
            survivors = result.to_arrow_table()["n"]
    except duckdb.Error as err:
        raise TableError(
            f"the rows could not be told apart by {', '.join(key)}: {str(err).splitlines()[0]}",
            hint="raise engine.memory_limit, or free space for the engine to spill",
        ) from err
    return None if len(survivors) == rows else survivors


def _surviving(reader: Any, survivors: pa.ChunkedArray | None) -> Iterator[pa.RecordBatch]:
    start = taken = 0
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        if survivors is None:
            yield batch
            continue
        candidates = survivors.slice(taken, batch.num_rows)
        here = candidates.filter(pc.less(candidates, start + batch.num_rows))
        if len(here):
            yield batch.take(pc.subtract(here, start).combine_chunks())
        taken += len(here)
        start += batch.num_rows
