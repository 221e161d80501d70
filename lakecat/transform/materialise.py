"""A statement's rows become one change of its table, all written and nothing visible yet."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema

from lakecat.engines import Session
from lakecat.errors import SchemaError, ScriptError
from lakecat.landing import Work
from lakecat.tables import (
    ALL,
    Operation,
    Removal,
    SchemaChange,
    TableChange,
    TableState,
    arrow_to_iceberg,
    new_table,
    parse_partition,
)
from lakecat.transform.compile import Compiled
from lakecat.transform.decide import looks_at_target
from lakecat.transform.scripts import Kind, Script
from lakecat.transform.shape import insert_names, listed_names, renamed, replace_columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The changes to commit; ``columns`` are the target's columns after them, in order; ``rows`` were written."""

    changes: tuple[TableChange, ...]
    columns: tuple[str, ...]
    rows: int


def replace_rows(script: Script, work: Work, reader: pa.RecordBatchReader) -> Made:
    """All rows of the table become the query's, and its columns too. Raises SchemaError, TableError, StoreError."""
    state = work.state(script.target)
    if state is None:
        return _create(script, work, reader)
    change = replace_columns(state.schema, reader.schema, last_column_id=state.last_column_id)
    return _replace(script, work, state, reader, change)


def insert_rows(script: Script, work: Work, reader: pa.RecordBatchReader, *, renew: bool, alone: bool) -> Made:
    """The query's rows come to the table's, or take their place (OVERWRITE, and ``renew`` for a full refresh).

    Unless ``alone``, others fill the table before: rows that one of them brings meanwhile are a conflict. A table that
    is not there is created with the query's columns.

    Raises ScriptError when the columns do not match, SchemaError, TableError, StoreError.
    """
    state = work.state(script.target)
    if state is None:
        return _create(script, work, renamed(reader, listed_names(script, reader.schema.names)))
    if renew and not _fits(script, state, reader):
        listed = renamed(reader, listed_names(script, reader.schema.names))
        new_columns = replace_columns(state.schema, listed.schema, last_column_id=state.last_column_id)
        return _replace(script, work, state, listed, new_columns)
    columns = tuple(column.name for column in state.schema.fields)
    batches = renamed(reader, insert_names(script, columns, reader.schema.names))
    if renew or script.kind is Kind.OVERWRITE:
        return _replace(script, work, state, batches, None)
    written = work.write(script.target, batches, schema=state.schema, spec=state.spec)
    base = state.current_snapshot_id if looks_at_target(script) or not alone else None
    if not written.files:
        return Made(changes=(), columns=columns, rows=0)
    change = _change(script, work, Operation.APPEND, added=written.files, base_snapshot_id=base)
    return Made(changes=(change,), columns=columns, rows=written.rows)


def modify_rows(script: Script, work: Work, session: Session, compiled: Compiled) -> Made:
    """MERGE, UPDATE or DELETE by copy-on-write over the files concerned.

    Raises EngineError, SchemaError, TableError, StoreError.
    """
    state = work.state(script.target)
    if state is None:
        raise ScriptError(f"there is no table {script.target}", where=script.where(script.statement))
    columns = tuple(column.name for column in state.schema.fields)
    modification = session.modify(compiled.sql, script.target, compiled.parameters)
    written = work.write(script.target, modification.rows, schema=state.schema, spec=state.spec)
    if not written.files and not modification.removed:
        return Made(changes=(), columns=columns, rows=0)
    operation = Operation.OVERWRITE if written.files else Operation.DELETE
    if not modification.removed:
        operation = Operation.APPEND
    change = _change(
        script,
        work,
        operation,
        added=written.files,
        removed=tuple(file.data_file for file in modification.removed),
        base_snapshot_id=state.current_snapshot_id,
    )
    return Made(changes=(change,), columns=columns, rows=written.rows)


def _create(script: Script, work: Work, reader: pa.RecordBatchReader) -> Made:
    schema = arrow_to_iceberg(reader.schema)
    spec = parse_partition(script.partition, schema)
    written = work.write(script.target, reader, schema=schema, spec=spec)
    change = TableChange(
        dataset=script.target,
        operation=Operation.REPLACE if script.kind.creates else Operation.APPEND,
        location=work.location(script.target),
        schema=new_table(schema),
        spec=spec,
        added=written.files,
        properties=work.summary(),
    )
    return Made(changes=(change,), columns=tuple(reader.schema.names), rows=written.rows)


def _replace(
    script: Script,
    work: Work,
    state: TableState,
    reader: pa.RecordBatchReader,
    schema_change: SchemaChange | None,
) -> Made:
    schema: Schema = state.schema if schema_change is None else schema_change.schema
    written = work.write(script.target, reader, schema=schema, spec=state.spec)
    change = _change(script, work, Operation.REPLACE, added=written.files, removed=ALL, schema=schema_change)
    return Made(changes=(change,), columns=tuple(column.name for column in schema.fields), rows=written.rows)


def _change(
    script: Script,
    work: Work,
    operation: Operation,
    *,
    added: tuple[DataFile, ...],
    removed: tuple[DataFile, ...] | Removal = (),
    schema: SchemaChange | None = None,
    base_snapshot_id: int | None = None,
) -> TableChange:
    return TableChange(
        dataset=script.target,
        operation=operation,
        location=work.location(script.target),
        schema=schema,
        added=added,
        removed=removed,
        base_snapshot_id=base_snapshot_id,
        properties=work.summary(),
    )


def _fits(script: Script, state: TableState, reader: pa.RecordBatchReader) -> bool:
    try:
        insert_names(script, [column.name for column in state.schema.fields], reader.schema.names)
    except (ScriptError, SchemaError):
        return False
    return True
