"""What lakecat does to rows between the source and the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa

from lakecat.errors import SchemaError

EXECUTION_COLUMN: Final = "_lakecat_execution"


def renamed(rows: pa.RecordBatchReader, names: Mapping[str, str]) -> pa.RecordBatchReader:
    """The same rows under other column names; columns that are not among them keep theirs."""
    schema = pa.schema([column.with_name(names.get(column.name, column.name)) for column in rows.schema])
    if schema == rows.schema:
        return rows
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in rows)
    return pa.RecordBatchReader.from_batches(schema, batches)


def with_execution(rows: pa.RecordBatchReader, uuid: str) -> pa.RecordBatchReader:
    """The same rows, each with the execution that wrote it. Raises SchemaError when they have such a column."""
    if rows.schema.get_field_index(EXECUTION_COLUMN) >= 0:
        raise SchemaError(f"the source has a column {EXECUTION_COLUMN} of its own")
    column = pa.field(EXECUTION_COLUMN, pa.string())
    schema = rows.schema.append(column)

    def stamped() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            values = pa.repeat(pa.scalar(uuid), batch.num_rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, values], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, stamped())
