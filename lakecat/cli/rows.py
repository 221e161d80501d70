"""Rows of a result as table, CSV or JSON; streamed, so that a result may be larger than memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from lakecat.cli.jsonable import to_json
from lakecat.cli.output import Grid, Output
from lakecat.cli.text import escape

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_ROWS: Final = 100


def value_text(value: object) -> str:
    """A value as a person reads it; NULL is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.10g}"
    found = to_json(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _rows(reader: pa.RecordBatchReader, limit: int | None) -> Iterator[tuple[object, ...]]:
    left = limit
    for batch in reader:
        if left is not None and left <= 0:
            return
        part = batch if left is None else batch.slice(0, left)
        left = None if left is None else left - part.num_rows
        columns = [column.to_pylist() for column in part.columns]
        yield from zip(*columns, strict=True) if columns else ()


def grid_of(table: pa.Table, *, title: str | None = None) -> Grid:
    """A small Arrow table as a grid."""
    return _grid(table.schema, list(zip(*(column.to_pylist() for column in table.columns), strict=True)), title)


def _grid(schema: pa.Schema, rows: Sequence[Sequence[object]], title: str | None = None) -> Grid:
    import pyarrow.types as kinds

    names = [escape(name) for name in schema.names]
    numbers = {
        name
        for name, type_ in zip(names, schema.types, strict=True)
        if kinds.is_integer(type_) or kinds.is_floating(type_) or kinds.is_decimal(type_)
    }
    return Grid(names, [[value_text(value) for value in row] for row in rows], frozenset(numbers), title)


def print_table(reader: pa.RecordBatchReader, output: Output, limit: int | None) -> None:
    """Print an aligned table of at most ``limit`` rows (100 without one), saying when there were more."""
    most = TABLE_ROWS if limit is None else limit
    rows = list(_rows(reader, most + 1))
    output.emit(None, lambda: [_grid(reader.schema, rows[:most])])
    if len(rows) > most:
        output.talk(f"more than {most} rows; --limit shows more, --format csv all of them", "dim")
    elif not rows:
        output.talk("no rows", "dim")


def print_csv(reader: pa.RecordBatchReader, out: TextIO, limit: int | None) -> None:
    """Print CSV (RFC 4180, with header); NULL is an empty field, text is never changed."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(reader.schema.names)
    for row in _rows(reader, limit):
        writer.writerow([_csv_value(value) for value in row])


def _csv_value(value: object) -> object:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    found = to_json(value)
    return found if isinstance(found, str) else json.dumps(found)


def print_lines(reader: pa.RecordBatchReader, out: TextIO, limit: int | None) -> None:
    """Print one JSON object a row, one row a line."""
    names = reader.schema.names
    for row in _rows(reader, limit):
        print(json.dumps({name: to_json(value) for name, value in zip(names, row, strict=True)}), file=out)


def print_document(reader: pa.RecordBatchReader, out: TextIO, limit: int | None) -> None:
    """Print one JSON document: ``{"columns": [...], "rows": [[...], …]}``, without holding the rows in memory."""
    from lakecat.connector import type_name

    columns = [{"name": field.name, "type": type_name(field.type)} for field in reader.schema]
    out.write('{"columns": ' + json.dumps(columns) + ', "rows": [')
    out.writelines(
        (",\n" if number else "\n") + json.dumps([to_json(value) for value in row])
        for number, row in enumerate(_rows(reader, limit))
    )
    out.write("]}\n")
