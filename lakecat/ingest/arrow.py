"""Arrow in memory into a table: anything that speaks the Arrow PyCapsule protocol (pyarrow, polars, pandas, …)."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lakecat.catalog import ExecutionStart
from lakecat.config import KEYED, HistoryKeys
from lakecat.errors import LeaseHeldError, StoreError, UsageError
from lakecat.ingest.keyed import temporary_folder
from lakecat.ingest.results import IngestResult, result_of
from lakecat.ingest.target import Loaded, Target, validity_of
from lakecat.ingest.target import load as load_rows
from lakecat.landing import Harvest, Held, OnProgress, Services, Work, current_state, hold, land
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, ExecutionType, SourceRead, WriteMode

_SLOTS: Final = 256


def load(
    services: Services,
    dataset: DatasetName,
    data: object,
    *,
    mode: WriteMode = WriteMode.APPEND,
    key: Sequence[str] = (),
    partition: Sequence[str] = (),
    null_for_missing: bool = False,
    source: str | None = None,
    run_key: str | None = None,
    on_progress: OnProgress | None = None,
) -> IngestResult:
    """Write ``data`` into the table, creating it at the first time, in one commit.

    ``data`` has ``__arrow_c_stream__`` or ``__arrow_c_array__``. ``source`` names where it came from, for the lineage.
    A ``run_key`` makes it happen once, ever. Many may append to one table at the same time.
    Raises UsageError, SchemaError, CommitConflictError, StoreError, CatalogError.
    """
    if mode is WriteMode.REPLACE_FILES:
        raise UsageError("mode replace_files is for jobs that read files")
    if bool(key) != (mode in KEYED):
        modes = ", ".join(sorted(KEYED))
        raise UsageError(f"key names the columns that identify a row: for {modes}, and only for them")
    started = time.monotonic()
    name = source or f"python:{dataset}"
    target = Target(
        dataset=dataset,
        mode=mode,
        key=tuple(key),
        partition=tuple(partition),
        null_for_missing=null_for_missing,
        validity=validity_of(HistoryKeys(), services.clock()) if mode is WriteMode.HISTORY else None,
        source=name,
    )
    loads: list[Loaded] = []
    with ExitStack() as stack:
        rows = stack.enter_context(_replayable(data, services, target))
        held = stack.enter_context(_slot(services, dataset))

        def produce(work: Work) -> Harvest:
            reader = rows()
            loads.append(load_rows(services, work, target, work.state(dataset), reader))
            return _harvest(loads[-1], dataset, name, reader.schema)

        start = ExecutionStart(
            type=ExecutionType.INGEST,
            job=f"{mode.value} {dataset}",
            run_key=run_key,
            targets=(dataset,),
            project=services.settings.project,
        )
        landed = land(services, held, start, produce, on_progress=on_progress)
    return result_of(dataset, landed, loads[-1] if loads else None, time.monotonic() - started)


def append(services: Services, dataset: DatasetName, data: object, **options: Any) -> IngestResult:
    """``load`` with mode append."""
    return load(services, dataset, data, mode=WriteMode.APPEND, **options)


def replace(services: Services, dataset: DatasetName, data: object, **options: Any) -> IngestResult:
    """``load`` with mode replace: the table's rows become these, its history stays."""
    return load(services, dataset, data, mode=WriteMode.REPLACE, **options)


def merge(
    services: Services,
    dataset: DatasetName,
    data: object,
    *,
    key: Sequence[str],
    **options: Any,
) -> IngestResult:
    """``load`` with mode merge: rows whose key is there are replaced, others added."""
    return load(services, dataset, data, mode=WriteMode.MERGE, key=key, **options)


def _harvest(loaded: Loaded, dataset: DatasetName, source: str, schema: pa.Schema) -> Harvest:
    if loaded.change is None:
        return Harvest(sources=(SourceRead(source, loaded.rows),))
    return Harvest(
        changes=(loaded.change,),
        sources=(SourceRead(source, loaded.rows),),
        edges=tuple(ColumnEdge(str(dataset), column, source, column, EdgeKind.IDENTITY) for column in schema.names),
    )


@contextmanager
def _slot(services: Services, dataset: DatasetName) -> Iterator[Held]:
    """A lease of our own on one of the table's places for writers, which work side by side.

    Every execution runs under a lease, so that it is known to be dead when its process is. Numbered places, instead of
    a name for each process, keep the number of leases bounded.
    """
    first = hash((os.getpid(), threading.get_ident())) % _SLOTS
    for step in range(_SLOTS):
        try:
            holding = hold(services, f"write/{dataset}/{(first + step) % _SLOTS}")
            held = holding.__enter__()
        except LeaseHeldError:
            if step == _SLOTS - 1:
                raise
            continue
        with ExitStack() as stack:
            stack.push(holding)
            yield held
        return


@contextmanager
def _replayable(data: object, services: Services, target: Target) -> Iterator[Callable[[], pa.RecordBatchReader]]:
    """A function that gives the rows, from the first one, as often as it is called.

    A stream that can be read once is kept in a temporary file when the commit may have to be repeated on a table that
    changed meanwhile; a plain append to a table never has to.
    """
    if isinstance(data, pa.RecordBatch) or (
        hasattr(data, "__arrow_c_array__") and not hasattr(data, "__arrow_c_stream__")
    ):
        batch = data if isinstance(data, pa.RecordBatch) else pa.record_batch(data)
        yield lambda: pa.RecordBatchReader.from_batches(batch.schema, [batch])
    elif not hasattr(data, "__arrow_c_stream__"):
        raise UsageError(
            f"{type(data).__name__} is no Arrow data",
            hint="give a pyarrow, polars, pandas or DuckDB table, or anything with __arrow_c_stream__",
        )
    elif not isinstance(data, pa.RecordBatchReader):
        yield lambda: pa.RecordBatchReader.from_stream(data)
    elif _never_repeated(services, target, data.schema):
        yield lambda: data
    else:
        folder = temporary_folder(services.settings.engine)
        try:
            path = _keep(data, folder)
            yield lambda: pa.ipc.open_stream(pa.OSFile(str(path), "rb"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _never_repeated(services: Services, target: Target, schema: pa.Schema) -> bool:
    if target.mode is not WriteMode.APPEND:
        return False
    state = current_state(services, target.dataset)
    return state is not None and set(schema.names) <= {field.name for field in state.schema.fields}


def _keep(rows: pa.RecordBatchReader, folder: Path) -> Path:
    path = folder / "rows.arrows"
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
            for batch in rows:
                writer.write_batch(batch)
    except OSError as err:
        raise StoreError(
            f"cannot keep rows in {folder}: {err.strerror or err}",
            hint="free space there, or set engine.temp_directory to a disk that has it",
        ) from err
    return path
