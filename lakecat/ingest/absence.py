"""Files that were loaded once and are no longer there: noted in the ledger, and where a job says so their rows go."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from lakecat.config import FILE_COLUMN, StreamJob
from lakecat.connector import ReadSummary, Slice
from lakecat.errors import ConfigError, SourceError
from lakecat.ingest.asking import plain_columns
from lakecat.ingest.parts import Part
from lakecat.ingest.target import Loaded, Target, load, unchanged
from lakecat.landing import Services, Work
from lakecat.tables import TableState
from lakecat.types import DatasetName, FileVersion, LoadedFile, WriteMode


def ledger_entries(slice_: Slice, summary: ReadSummary) -> tuple[LoadedFile, ...]:
    """What the ledger is to hold of a slice: every planned file is in it, or it would come again at the next run."""
    known = {entry.file for entry in summary.files}
    return (
        *summary.files,
        *(LoadedFile(file, 0) for file in slice_.files if file not in known),
        *(LoadedFile(FileVersion.gone(file.uri), 0) for file in slice_.gone),
    )


def without_gone(services: Services, work: Work, target: Target, state: TableState | None, part: Part) -> Loaded:
    """The table without the rows of files that are gone, where nothing else is to be done."""
    if part.stream.gone != "remove" or state is None:
        return unchanged(0)
    _refuse_unknown(part.stream, target.dataset, state)
    none = pa.RecordBatchReader.from_batches(plain_columns(state), iter(()))
    # What the source calls its columns is not told anew, for nothing is read.
    return load(services, work, replace(target, names=None), state, none, gone=replaced_files(part))


def replaced_files(part: Part) -> pa.RecordBatchReader | None:
    """The files whose rows go, in mode replace_files: also those whose newest version has no rows."""
    if part.stream.mode is not WriteMode.REPLACE_FILES:
        return None
    gone = part.slice.gone if part.stream.gone == "remove" else ()
    uris = pa.array([file.uri for file in (*part.slice.files, *gone)], pa.string())
    return pa.Table.from_arrays([uris], [FILE_COLUMN]).to_reader()


def check_file_column(stream: StreamJob, state: TableState | None, columns: pa.Schema) -> None:
    """Refuse a job whose rows cannot be told apart by file. Raises ConfigError."""
    if not stream.asks_for_file:
        return
    if columns.get_field_index(FILE_COLUMN) < 0:
        raise ConfigError(
            f"connector {stream.connector} does not read files, so no row has {FILE_COLUMN}",
            where=stream.where_of("file_column") or stream.where_of("mode"),
        )
    _refuse_unknown(stream, stream.target, state)


def _refuse_unknown(stream: StreamJob, dataset: DatasetName, state: TableState | None) -> None:
    known = state is None or state.current_snapshot_id is None or FILE_COLUMN in state.schema.column_names
    if stream.mode is WriteMode.REPLACE_FILES and not known:
        raise ConfigError(
            f"the rows of {dataset} do not say which file they are of",
            where=stream.where_of("mode"),
            hint="load into a new target; a table can only be replaced by file if it was loaded so from the start",
        )


def refuse_emptied(part: Part, state: TableState | None, loaded: Loaded) -> None:
    """Refuse to take a table's last rows because files are gone: that is most often a folder that is not mounted.

    Raises SourceError.
    """
    change = loaded.change
    if not part.slice.gone or part.stream.gone != "remove" or change is None or change.added or state is None:
        return
    if state.current_snapshot_id is None or not isinstance(change.removed, tuple) or not change.removed:
        return
    summary = state.snapshot(state.current_snapshot_id).get("summary") or {}
    if len(change.removed) >= int(summary.get("total-data-files", 0)):
        raise SourceError(
            f"every file is gone, and {part.stream.target} would be emptied",
            hint="check that the folder is there; to empty the table, delete its rows by a script",
        )
