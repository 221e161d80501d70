"""What a stream's keys mean: for the connector that reads it, and for the table that it goes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from lakecat.config import FILE_COLUMN, HistoryKeys, StreamJob
from lakecat.connector import ReadOptions
from lakecat.connector.nested import narrow
from lakecat.ingest.naming import column_names, known_names
from lakecat.ingest.shaping import EXECUTION_COLUMN
from lakecat.ingest.target import Target, validity_of
from lakecat.tables import TableState
from lakecat.tables.validity import Validity
from lakecat.types import WriteMode


def read_options(stream: StreamJob, state: TableState | None) -> ReadOptions:
    """What the connector is told when it reads a slice; columns have the source's names."""
    expected = None if state is None else source_columns(state, _our_columns(stream))
    if expected is not None and stream.mode is WriteMode.DELETE:
        expected = pa.schema([expected.field(name) for name in stream.key if name in expected.names])
    rejects = None if stream.quarantine is None else stream.quarantine.max_rows
    keys = stream.key if stream.deletes and stream.deletes.absent else ()
    file_column = FILE_COLUMN if stream.asks_for_file else None
    return ReadOptions(
        expected=expected, declared=_declared(stream), rejects=rejects, keys=keys, file_column=file_column
    )


def target_of(
    stream: StreamJob, names: Mapping[str, str], *, source: str, null_for_missing: bool, now: datetime
) -> Target:
    """The table of a stream whose columns became ``names``; the job names columns as the source does."""

    def column(name: str) -> str:
        return names.get(name, name)

    deletes = stream.deletes
    by_file = stream.mode is WriteMode.REPLACE_FILES
    return Target(
        dataset=stream.target,
        mode=WriteMode.REPLACE_KEYS if by_file else stream.mode,
        key=(FILE_COLUMN,) if by_file else tuple(column(name) for name in stream.key),
        partition=stream.partition,
        null_for_missing=null_for_missing,
        deleted=column(deletes.flag) if deletes and deletes.flag else None,
        absent=deletes.absent if deletes else False,
        validity=_validity(stream, names, now),
        names=names if stream.names == "snake" else None,
        where=stream.where_of,
        source=source,
        anew=stream.anew,
        may_be_empty=stream.may_be_empty,
    )


def names_of(stream: StreamJob, schema: pa.Schema, state: TableState | None) -> dict[str, str]:
    """The table's column for each column of the source."""
    theirs = [name for name in schema.names if not (stream.asks_for_file and name == FILE_COLUMN)]
    if stream.names == "keep":
        return {name: name for name in theirs}
    known = known_names(state)
    taken = [] if state is None else [field.name for field in state.schema.fields]
    return column_names(theirs, known, taken)


def plain_columns(state: TableState) -> pa.Schema:
    """The table's columns, with the types that every Arrow reader makes."""
    return _plain(schema_to_pyarrow(state.schema, include_field_ids=False))


def source_columns(state: TableState, ours: Collection[str]) -> pa.Schema:
    """The table's columns by the source's names for them, without those that are ``ours``."""
    source = {column: name for name, column in known_names(state).items()}
    return pa.schema(
        [
            column.with_name(source.get(column.name, column.name))
            for column in plain_columns(state)
            if column.name not in ours
        ]
    )


def _our_columns(stream: StreamJob) -> frozenset[str]:
    """Columns of the table that the source does not have."""
    history = stream.history or HistoryKeys()
    times = (history.valid_from, history.valid_to) if stream.mode is WriteMode.HISTORY else ()
    return frozenset((EXECUTION_COLUMN, FILE_COLUMN, *times))


def _validity(stream: StreamJob, names: Mapping[str, str], now: datetime) -> Validity | None:
    if stream.mode is not WriteMode.HISTORY:
        return None
    keys = stream.history or HistoryKeys()
    at = None if keys.at is None else names.get(keys.at, keys.at)
    ignore = tuple(names.get(name, name) for name in keys.ignore)
    return validity_of(keys.model_copy(update={"at": at, "ignore": ignore}), now)


def _declared(stream: StreamJob) -> dict[str, pa.DataType]:
    if not stream.columns:
        return {}
    fields = [
        NestedField(number, name, text, required=False) for number, (name, text) in enumerate(stream.columns.items(), 1)
    ]
    return {column.name: column.type for column in _plain(schema_to_pyarrow(Schema(*fields), include_field_ids=False))}


def _plain(schema: pa.Schema) -> pa.Schema:
    """The same columns with 32-bit offsets, which every Arrow reader makes."""
    return pa.schema([column.with_type(narrow(column.type)) for column in schema])
