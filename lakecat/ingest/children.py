"""Loading rows whose lists go to tables of their own: they wait in a file, and each table takes its part of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lakecat.config import FILE_COLUMN, StreamJob
from lakecat.ingest.absence import check_file_column, replaced_files, without_gone
from lakecat.ingest.asking import names_of, source_columns, target_of
from lakecat.ingest.keyed import Spooled, rows_by_key
from lakecat.ingest.naming import column_names, known_names
from lakecat.ingest.parts import Part
from lakecat.ingest.shaping import EXECUTION_COLUMN, renamed, with_execution
from lakecat.ingest.target import Loaded, Target, load, unchanged
from lakecat.ingest.unnesting import (
    Unnested,
    child_dataset,
    exploded,
    is_place,
    root_column,
    root_keys,
    unnested,
    with_expected_list,
    without_lists,
)
from lakecat.landing import Services, Work
from lakecat.tables import TableState
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, WriteMode

_OURS: Final = frozenset({EXECUTION_COLUMN})

Outcome = tuple[Loaded, tuple[ColumnEdge, ...]]
"""What became of one table, and where its columns came from."""

_NO_EDGES: Final[tuple[ColumnEdge, ...]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A stream whose rows are spread over the table of the rows and those of their lists.

    ``source`` names the input in errors, ``sources`` are its names in the lineage.
    """

    services: Services
    work: Work
    part: Part
    source: str
    sources: tuple[str, ...]
    null_for_missing: bool

    @property
    def stream(self) -> StreamJob:
        """The stream whose rows these are."""
        return self.part.stream

    def load(self, rows: pa.RecordBatchReader) -> list[Outcome]:
        """Write every table; the first is that of the rows. Raises as ``target.load``."""
        lists = unnested(self.stream.unnest)
        unique = self.stream.mode is WriteMode.MERGE
        with rows_by_key(rows, self.stream.key, self.services.settings.engine, unique=unique) as spooled:
            return [self._rows(spooled, lists), *(self._elements(spooled, child) for child in lists)]

    def _rows(self, spooled: Spooled, lists: tuple[Unnested, ...]) -> Outcome:
        """The table of the rows."""
        with spooled.open() as rows:
            kept = without_lists(rows, [child.path for child in lists])
            names = names_of(self.stream, kept.schema, self.work.state(self.stream.target))
            target = self._target(self.stream, names, null_for_missing=self.null_for_missing)
            return self._written(target, kept, names, {name: name for name in names}, replaced_files(self.part))

    def _elements(self, spooled: Spooled, child: Unnested) -> Outcome:
        """The table of one list; a merge puts it in the place of all elements of the rows that come.

        In mode replace_files it takes the place of all elements that came from the files.
        """
        stream = _stream_of(self.stream, child)
        state = self.work.state(stream.target)
        origin = dict(zip(stream.key, self.stream.key, strict=True))
        with spooled.open() as rows, spooled.open() as all_rows:
            elements = self._exploded(rows, child, state)
            if elements is None:
                return unchanged(0), ()
            check_file_column(stream, state, spooled.schema)
            names = _element_names(stream, elements.schema, state)
            target = replace(self._target(stream, names, null_for_missing=True), may_be_empty=True)
            came = {name: origin.get(name, f"{child.text}.{name}") for name in names if not is_place(name)}
            gone = replaced_files(self.part)
            if stream.mode is WriteMode.REPLACE_KEYS:
                gone = renamed(root_keys(all_rows, self.stream.key), names)
            return self._written(target, elements, names, came, gone)

    def _exploded(
        self, rows: pa.RecordBatchReader, child: Unnested, state: TableState | None
    ) -> pa.RecordBatchReader | None:
        """The elements of a list; None where there is no table yet and nothing to begin it with.

        A list that is empty or NULL in every row has a type that its reader has made up.
        """
        flag = self.stream.deletes.flag if self.stream.deletes else None
        missing = self.null_for_missing or state is not None
        kept = tuple(dict.fromkeys((*self.stream.key, *((FILE_COLUMN,) if self.stream.asks_for_file else ()))))
        found = exploded(_living(rows, flag), kept, child, may_be_missing=missing)
        if state is None:
            return None if found is None else _begun(found)
        return found if found is not None else pa.RecordBatchReader.from_batches(source_columns(state, _OURS), [])

    def _target(self, stream: StreamJob, names: Mapping[str, str], *, null_for_missing: bool) -> Target:
        now = self.services.clock()
        return target_of(stream, names, source=self.source, null_for_missing=null_for_missing, now=now)

    def _written(
        self,
        target: Target,
        rows: pa.RecordBatchReader,
        names: Mapping[str, str],
        came: Mapping[str, str],
        gone: pa.RecordBatchReader | None = None,
    ) -> Outcome:
        """Write one table; ``came`` says which part of the source a column is."""
        shaped = renamed(rows, names)
        if self.stream.execution_column:
            shaped = with_execution(shaped, self.work.execution.uuid)
        loaded = load(self.services, self.work, target, self.work.state(target.dataset), shaped, gone=gone)
        edges = tuple(
            ColumnEdge(str(target.dataset), names[column], source, theirs, EdgeKind.IDENTITY)
            for source in self.sources
            for column, theirs in came.items()
        )
        return loaded, edges


def _stream_of(stream: StreamJob, child: Unnested) -> StreamJob:
    """What the stream's keys mean for the table of one of its lists."""
    mode = WriteMode.REPLACE_KEYS if stream.mode is WriteMode.MERGE else stream.mode
    return stream.model_copy(
        update={
            "target": child_dataset(stream.target, child.text),
            "mode": mode,
            "key": tuple(root_column(name) for name in stream.key),
            "partition": (),
            "deletes": None,
        }
    )


def _element_names(stream: StreamJob, schema: pa.Schema, state: TableState | None) -> dict[str, str]:
    """The table's columns by those of the elements; what lakecat added keeps its name."""
    ours = {name: name for name in schema.names if is_place(name)} | _root_names(stream, state)
    theirs = pa.schema([field for field in schema if field.name not in ours])
    return {**ours, **names_of(stream, theirs, state)}


def _root_names(stream: StreamJob, state: TableState | None) -> dict[str, str]:
    """The columns for the key of the row that a list stood in."""
    if stream.names == "keep":
        return {name: name for name in stream.key}
    known = known_names(state)
    columns = column_names([name.removeprefix(root_column("")) for name in stream.key], {}, ())
    return {root_column(name): known.get(root_column(name), root_column(column)) for name, column in columns.items()}


def _begun(rows: pa.RecordBatchReader) -> pa.RecordBatchReader | None:
    """The same rows; None when there are none."""
    for batch in rows:
        if batch.num_rows:
            return pa.RecordBatchReader.from_batches(rows.schema, chain((batch,), rows))
    return None


def without_gone_files(services: Services, work: Work, target: Target, part: Part) -> list[Outcome]:
    """The stream's tables without the rows of files that are gone, where nothing else is to be done."""
    targets = [replace(target, dataset=dataset, partition=()) for dataset in datasets_of(part.stream)]
    return [(without_gone(services, work, one, work.state(one.dataset), part), _NO_EDGES) for one in targets]


def datasets_of(stream: StreamJob) -> tuple[DatasetName, ...]:
    """The stream's own dataset, and those of its lists."""
    return (stream.target, *(child_dataset(stream.target, path) for path in stream.unnest))


def with_lists(work: Work, stream: StreamJob, expected: pa.Schema | None) -> pa.Schema | None:
    """The columns that the connector is to expect: those of the table, and the lists as their own tables have them.

    A column with a list that has no table yet is left out, for nobody knows what it will be.
    """
    if expected is None:
        return None
    children = sorted(unnested(stream.unnest), key=lambda child: len(child.path))
    states = {child: work.state(child_dataset(stream.target, child.text)) for child in children}
    unknown = {child.path[0] for child, state in states.items() if state is None}
    expected = pa.schema([field for field in expected if field.name not in unknown])
    ours = {FILE_COLUMN, *(root_column(name) for name in stream.key)}
    for child, state in states.items():
        if state is not None and child.path[0] not in unknown:
            columns = [
                field for field in source_columns(state, _OURS) if not (field.name in ours or is_place(field.name))
            ]
            expected = with_expected_list(expected, child.path, columns)
    return expected


def _living(rows: pa.RecordBatchReader, flag: str | None) -> pa.RecordBatchReader:
    """The rows that do not say of themselves that they are deleted."""
    if flag is None or rows.schema.get_field_index(flag) < 0:
        return rows

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            column = batch.column(flag)
            dead = pc.fill_null(column, False) if pa.types.is_boolean(column.type) else pc.is_valid(column)
            yield batch.filter(pc.invert(dead))

    return pa.RecordBatchReader.from_batches(rows.schema, batches())
