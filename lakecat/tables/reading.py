"""Rows of a scan as a stream of Arrow batches, resolved by field id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind, translate_column_names
from pyiceberg.io.pyarrow import expression_to_pyarrow, pyarrow_to_schema
from pyiceberg.schema import Schema
from pyiceberg.table.name_mapping import parse_mapping_from_json

from lakecat.errors import CorruptFileError, LakecatError, SchemaError, Where
from lakecat.store import LakeStore
from lakecat.tables.projection import partition_values, project
from lakecat.tables.scan import PlannedFile, Scan, plan
from lakecat.tables.schemas import iceberg_to_arrow

_NAME_MAPPING: Final = "schema.name-mapping.default"
_FORMAT: Final = ds.ParquetFileFormat(pre_buffer=True, buffer_size=8 << 20)


def read(
    store: LakeStore,
    scan: Scan,
    *,
    columns: Sequence[str] | None = None,
    predicate: BooleanExpression | None = None,
) -> pa.RecordBatchReader:
    """Stream the rows for which the predicate is true; memory holds one file as it is stored, and a few batches.

    ``columns`` selects by name, in the schema's order. Errors of planning are raised at once, errors of reading
    (CorruptFileError, ObjectMissingError, StoreUnavailableError) while the stream is read.
    """
    schema = scan.schema
    try:
        projected = schema if columns is None else schema.select(*columns)
    except ValueError as err:
        raise SchemaError(f"{scan.state.location}: {err}") from err
    files = plan(store, scan, predicate)
    target = iceberg_to_arrow(projected)
    rows_of = _Reader(store, scan, projected, target, predicate or AlwaysTrue())
    return pa.RecordBatchReader.from_batches(target, (batch for file in files for batch in rows_of(file)))


class _Reader:
    """Reads one file after the other."""

    def __init__(
        self, store: LakeStore, scan: Scan, wanted: Schema, target: pa.Schema, predicate: BooleanExpression
    ) -> None:
        self._store = store
        self._scan = scan
        self._wanted = wanted
        self._target = target
        self._predicate = bind(scan.schema, predicate, case_sensitive=True)
        mapping = scan.state.properties.get(_NAME_MAPPING)
        self._names = None if mapping is None else parse_mapping_from_json(mapping)

    def __call__(self, file: PlannedFile) -> Iterator[pa.RecordBatch]:
        try:
            with self._store.open_input(file.location) as source:
                yield from self._batches(source, file)
        except LakecatError:
            raise
        except (OSError, ValueError, pa.ArrowException) as err:
            if (failure := self._store.failure(err, file.location)) is not None:
                raise failure from err
            raise CorruptFileError(f"the data file cannot be read: {err}", where=Where(file.location)) from err

    def _batches(self, source: pa.NativeFile, file: PlannedFile) -> Iterator[pa.RecordBatch]:
        fragment = _FORMAT.make_fragment(source)
        physical = fragment.physical_schema
        file_schema = pyarrow_to_schema(physical, self._names, downcast_ns_timestamp_to_us=True)
        values = partition_values(file.data_file, self._scan.state.spec_by_id(file.data_file.spec_id))
        ids = {field.field_id for field in self._wanted.fields}
        scanner = ds.Scanner.from_fragment(
            fragment,
            schema=physical,
            columns=[field.name for field in file_schema.fields if field.field_id in ids],
            filter=self._filter(file_schema, values),
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield project(batch, file_schema, self._wanted, self._target, values)

    def _filter(self, file_schema: Schema, values: dict[int, object]) -> ds.Expression | None:
        """The predicate in the file's names for the columns; None where every row is wanted."""
        if self._predicate == AlwaysTrue():
            return None
        known = {number: value for number, value in values.items() if number not in file_schema.field_ids}
        translated = translate_column_names(self._predicate, file_schema, True, known)
        return expression_to_pyarrow(bind(file_schema, translated, case_sensitive=True), file_schema)
