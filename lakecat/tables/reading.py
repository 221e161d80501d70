"""Rows of a scan as a stream of Arrow batches, resolved by field id exactly as PyIceberg's own scan does it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.metadata import TableMetadataV2

from lakecat.errors import CorruptFileError, LakecatError, SchemaError, Where
from lakecat.store import LakeStore
from lakecat.tables.scan import PlannedFile, Scan, plan
from lakecat.tables.schemas import iceberg_to_arrow


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
    batches = _batches(store, scan, projected, files, predicate or AlwaysTrue())
    return pa.RecordBatchReader.from_batches(target, (_conform(batch, target) for batch in batches))


def _batches(
    store: LakeStore,
    scan: Scan,
    projected: Schema,
    files: Sequence[PlannedFile],
    predicate: BooleanExpression,
) -> Iterator[pa.RecordBatch]:
    reader = ArrowScan(_small_metadata(scan), store.file_io(), projected, predicate)
    for file in files:
        task = FileScanTask(file.data_file)
        try:
            # The public to_record_batches() collects a whole file before it gives the first batch.
            yield from reader._record_batches_from_scan_tasks_and_deletes([task], {})  # noqa: SLF001 - see above
        except LakecatError:
            raise
        except (OSError, ValueError, pa.ArrowException) as err:
            if (failure := store.failure(err, file.location)) is not None:
                raise failure from err
            raise CorruptFileError(f"the data file cannot be read: {err}", where=Where(file.location)) from err


def _small_metadata(scan: Scan) -> TableMetadataV2:
    """As much of the metadata as reading needs: PyIceberg would validate every snapshot of it."""
    raw: dict[str, Any] = dict(scan.state.head)
    for name in ("metadata-log", "refs", "statistics", "partition-statistics"):
        raw.pop(name, None)
    raw["current-snapshot-id"] = None
    raw["current-schema-id"] = scan.schema.schema_id
    return TableMetadataV2.model_validate(raw)


def _conform(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    return batch if batch.schema.equals(target, check_metadata=True) else batch.cast(target)
