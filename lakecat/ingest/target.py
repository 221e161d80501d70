"""How rows change a table: schema, partitions and files of one commit, decided from the table as it is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from lakecat.config import FILE_COLUMN, KEYED, HistoryKeys
from lakecat.errors import ConfigError, NotFoundError, SchemaError, SourceError, Where
from lakecat.ingest.keyed import rows_by_key
from lakecat.ingest.naming import names_property
from lakecat.ingest.shaping import EXECUTION_COLUMN, plain
from lakecat.landing import Services, Work
from lakecat.tables import (
    ALL,
    PARTITIONS,
    Operation,
    Removal,
    Scan,
    SchemaChange,
    TableChange,
    TableState,
    WrittenFiles,
    arrow_to_iceberg,
    evolve,
    new_table,
    parse_partition,
)
from lakecat.tables.rewrite import Rewrite, delete_keys, insert_new, merge_upsert, replace_keys
from lakecat.tables.validity import Validity, rewrite_history
from lakecat.types import DatasetName, WriteMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The table that rows go to, and how. ``where`` is the place to mend in the job, ``source`` names the input.

    ``deleted`` is a column that says that its row is deleted; ``absent``: so are rows that do not come any more.
    ``may_be_empty``: no rows are no sign of a broken delivery. ``names`` are the columns by the source's names for
    them, where these are to be remembered. ``anew``: the rows take the place of all that are there.
    """

    dataset: DatasetName
    mode: WriteMode
    key: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()
    null_for_missing: bool = False
    deleted: str | None = None
    absent: bool = False
    validity: Validity | None = None
    names: Mapping[str, str] | None = None
    may_be_empty: bool = False
    where: Callable[[str], Where | None] = lambda _key: None
    source: str | None = None
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of the rows: at most one change, and how many were read and written."""

    change: TableChange | None
    rows: int
    written: WrittenFiles
    schema_changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The table's next schema and spec; ``change`` and ``new_spec`` are None where they stay."""

    schema: Schema
    spec: PartitionSpec
    change: SchemaChange | None
    properties: Mapping[str, str]
    new_spec: PartitionSpec | None


def load(
    services: Services,
    work: Work,
    target: Target,
    state: TableState | None,
    rows: pa.RecordBatchReader,
    present: Callable[[], pa.RecordBatchReader] | None = None,
    *,
    gone: pa.RecordBatchReader | None = None,
) -> Loaded:
    """Write ``rows`` and build the change for the commit.

    ``present`` gives every key that the source has now; without it those of ``rows`` count as that. ``gone`` are
    further keys whose rows go, for mode replace_keys.
    Raises SchemaError (the rows do not fit the table), ConfigError (the job does not), NotFoundError (delete from a
    table that is not there), SourceError (an empty source would replace rows).
    """
    if state is None and target.mode is WriteMode.DELETE:
        raise NotFoundError(f"there is no table {target.dataset} to delete from", where=target.where("target"))
    counted = _Counted(rows := plain(rows))
    plan = _plan(target, state, _with_validity(rows.schema, target.validity))
    if target.mode in KEYED:
        return _load_by_key(services, work, target, state, plan, counted, _Keys(present, gone))
    written = work.write(target.dataset, counted.reader, schema=plan.schema, spec=plan.spec)
    removed = _removed(target, state, written)
    emptied = removed is ALL and not written.files and _holds_files(state)
    changes = bool(written.files) or plan.change is not None or emptied
    return _loaded(work, target, plan, counted.rows, written, removed) if changes else unchanged(counted.rows)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Keys beside the rows: those that the source has now, and those whose rows go."""

    present: Callable[[], pa.RecordBatchReader] | None
    gone: pa.RecordBatchReader | None


def validity_of(history: HistoryKeys, now: datetime) -> Validity:
    """How a table keeps its history, as a job says it, at this moment."""
    return Validity(
        valid_from=history.valid_from,
        valid_to=history.valid_to,
        now=now,
        at=history.at,
        ignored=frozenset((*history.ignore, EXECUTION_COLUMN, FILE_COLUMN)),
    )


class _Counted:
    """A reader that counts its rows on the way."""

    def __init__(self, rows: pa.RecordBatchReader) -> None:
        self.rows = 0
        self.reader = pa.RecordBatchReader.from_batches(rows.schema, self._count(rows))

    def _count(self, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            self.rows += batch.num_rows
            yield batch


def _plan(target: Target, state: TableState | None, incoming: pa.Schema) -> _Plan:
    """Schema and partitions, decided before a byte is written."""
    if not incoming.names:
        raise SchemaError("the input has no columns", where=_source(target))
    if state is None:
        change = new_table(arrow_to_iceberg(incoming))
        spec = _spec(target, change.schema)
        return _Plan(change.schema, spec, change, _properties(target, None, change.schema), spec)
    if target.mode is WriteMode.DELETE:
        return _Plan(state.schema, state.spec, None, {}, None)
    theirs = [field.name for field in state.schema.fields if field.name not in (EXECUTION_COLUMN, FILE_COLUMN)]
    missing = [name for name in theirs if incoming.get_field_index(name) < 0]
    if missing and not target.null_for_missing:
        raise SchemaError(
            f"the table's column {missing[0]!r} is missing",
            where=Where(target.source or str(target.dataset), column=missing[0]),
            hint="deliver it, or say missing_columns: null among the job's options to fill it with NULL",
        )
    evolved = _evolved(target, state, incoming)
    schema = evolved.schema if evolved else state.schema
    _check_partition(target, state, schema)
    if target.mode is WriteMode.REPLACE_PARTITIONS and state.spec.is_unpartitioned():
        raise ConfigError(
            f"{target.dataset} has no partitions to replace",
            where=target.where("mode"),
            hint="use mode: replace, or partition the table",
        )
    return _Plan(schema, state.spec, evolved, _properties(target, state, schema), None)


def _evolved(target: Target, state: TableState, incoming: pa.Schema) -> SchemaChange | None:
    try:
        return evolve(state.schema, incoming, last_column_id=state.last_column_id)
    except SchemaError as err:
        err.where = err.where or _source(target)
        raise


def _properties(target: Target, state: TableState | None, schema: Schema) -> dict[str, str]:
    return {} if target.names is None else names_property(state, schema, target.names)


def _source(target: Target) -> Where | None:
    return Where(target.source) if target.source else None


def _spec(target: Target, schema: Schema) -> PartitionSpec:
    if target.mode is WriteMode.REPLACE_PARTITIONS and not target.partition:
        raise ConfigError(
            "mode replace_partitions needs partition: how the table is partitioned", where=target.where("mode")
        )
    try:
        return parse_partition(target.partition, schema)
    except SchemaError as err:
        err.where = err.where or target.where("partition")
        raise


def _check_partition(target: Target, state: TableState, schema: Schema) -> None:
    """A job that asks for other partitions than the table has would be disobeyed silently."""
    if not target.partition:
        return
    wanted = [(field.source_id, field.transform) for field in _spec(target, schema).fields]
    if wanted != [(field.source_id, field.transform) for field in state.spec.fields]:
        raise ConfigError(
            f"{target.dataset} is partitioned by {state.spec.fields or 'nothing'}, not as the job says",
            where=target.where("partition"),
            hint="remove partition: from the job, or give it what the table has",
        )


def _holds_files(state: TableState | None) -> bool:
    if state is None or state.current_snapshot_id is None:
        return False
    summary = state.snapshot(state.current_snapshot_id).get("summary") or {}
    return int(summary.get("total-data-files", 1)) > 0


def _removed(target: Target, state: TableState | None, written: WrittenFiles) -> tuple[DataFile, ...] | Removal:
    """The files that go, for modes that do not look at rows."""
    if state is None or (target.mode is WriteMode.APPEND and not target.anew):
        return ()
    if target.mode is WriteMode.REPLACE_PARTITIONS and not target.anew:
        return PARTITIONS
    if not written.rows and not target.may_be_empty:
        raise SourceError(
            f"the source has no rows, and {target.dataset} would be emptied",
            where=_source(target),
            hint="an empty delivery is most often a broken one; where it may be, say may_be_empty: true (mode replace)",
        )
    return ALL


_OPERATIONS = {
    WriteMode.APPEND: Operation.APPEND,
    WriteMode.REPLACE: Operation.REPLACE,
    WriteMode.REPLACE_PARTITIONS: Operation.OVERWRITE,
    WriteMode.DELETE: Operation.DELETE,
}


def _with_validity(schema: pa.Schema, validity: Validity | None) -> pa.Schema:
    """The columns of a history table: those that come in, and when a row holds."""
    for name in () if validity is None else (validity.valid_from, validity.valid_to):
        if schema.get_field_index(name) >= 0:
            raise SchemaError(
                f"the input has a column {name!r} of its own",
                hint="give valid_from and valid_to other names in history:",
            )
        schema = schema.append(pa.field(name, pa.timestamp("us", "UTC")))
    return schema


def _load_by_key(
    services: Services,
    work: Work,
    target: Target,
    state: TableState | None,
    plan: _Plan,
    counted: _Counted,
    keys: _Keys,
) -> Loaded:
    """Only the files that hold a key of the input are written anew."""
    engine = services.settings.engine
    at = target.validity.at if target.validity else None
    key = target.key if at is None or at in target.key else (*target.key, at)
    begun = state is not None and state.current_snapshot_id is not None and not target.anew
    scan = Scan(state) if state is not None and begun else None
    unique = target.mode is not WriteMode.REPLACE_KEYS
    with ExitStack() as stack:
        spooled = stack.enter_context(rows_by_key(counted.reader, key, engine, unique=unique))
        rows = stack.enter_context(spooled.open())
        if scan is None and target.mode is WriteMode.DELETE:
            return unchanged(counted.rows)
        if scan is None and target.deleted is None and target.validity is None:
            written = work.write(target.dataset, rows, schema=plan.schema, spec=plan.spec)
            removed = _removed(target, state, written) if target.anew else ()
            return _loaded(work, target, plan, counted.rows, written, removed)
        if target.absent and keys.present is None:
            keys = replace(keys, present=lambda: stack.enter_context(spooled.open()))
        rewrite = stack.enter_context(_rewrite(services, scan, target, plan.schema, rows, keys))
        written = work.write(target.dataset, rewrite.rows, schema=plan.schema, spec=plan.spec)
        removed = tuple(file.data_file for file in rewrite.removed)
        if target.anew:
            removed = _removed(target, state, written)
    if not removed and not written.files and plan.change is None:
        return unchanged(counted.rows)
    base = None if state is None else state.current_snapshot_id
    return _loaded(work, target, plan, counted.rows, written, removed, base=base)


def _rewrite(
    services: Services,
    scan: Scan | None,
    target: Target,
    schema: Schema,
    rows: pa.RecordBatchReader,
    keys: _Keys,
) -> AbstractContextManager[Rewrite]:
    """The rewrite that the mode asks for."""
    store, engine, key = services.store, services.settings.engine, target.key
    if target.mode is WriteMode.DELETE and scan is not None:
        return delete_keys(store, scan, rows, key, settings=engine)
    if target.mode is WriteMode.APPEND_NEW:
        return insert_new(store, scan, rows, key, settings=engine, schema=schema)
    if target.mode is WriteMode.REPLACE_KEYS:
        return replace_keys(store, scan, rows, key, settings=engine, schema=schema, gone=keys.gone)
    deleted = target.deleted
    present = keys.present() if target.absent and keys.present else None
    if target.validity is None:
        return merge_upsert(
            store,
            scan,
            rows,
            key,
            settings=engine,
            schema=schema,
            deleted=deleted,
            present=present,
            ignored=(EXECUTION_COLUMN,),
        )
    return rewrite_history(
        store, scan, rows, key, target.validity, settings=engine, schema=schema, deleted=deleted, present=present
    )


def _loaded(
    work: Work,
    target: Target,
    plan: _Plan,
    rows: int,
    written: WrittenFiles,
    removed: tuple[DataFile, ...] | Removal,
    *,
    base: int | None = None,
) -> Loaded:
    change = TableChange(
        dataset=target.dataset,
        operation=_operation(target, removed),
        location=work.location(target.dataset),
        schema=plan.change,
        spec=plan.new_spec,
        added=written.files,
        removed=removed,
        base_snapshot_id=base,
        properties=work.summary(),
        table_properties=plan.properties,
    )
    summary = plan.change.summary if plan.change else ()
    return Loaded(change=change, rows=rows, written=written, schema_changes=summary)


def _operation(target: Target, removed: tuple[DataFile, ...] | Removal) -> Operation:
    # What met no row of the table is an append, also for those who ask what was appended.
    if not removed and target.mode in KEYED and target.mode is not WriteMode.DELETE:
        return Operation.APPEND
    return Operation.REPLACE if removed is ALL else _OPERATIONS.get(target.mode, Operation.OVERWRITE)


def unchanged(rows: int) -> Loaded:
    """That these rows, which were read, left the table as it was."""
    return Loaded(change=None, rows=rows, written=WrittenFiles((), 0, 0), schema_changes=())
