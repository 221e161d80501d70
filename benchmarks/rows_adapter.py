"""Rows as dicts to Arrow: the adapter beside pyarrow's ``from_pylist``, which is told the types and holds everything.

Run: ``python benchmarks/rows_adapter.py [ROWS]``. Figures are rows of 16 columns for each CPU second, best of three.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakecat.connector import ConnectorContext, ReadOptions, RowsConnector, StreamRequest, rows_reader, stream
from lakecat.testing.lab import MemoryState

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "customer": number * 7 % 100_003,
        "quantity": number % 50,
        "paid": number % 2 == 0,
        "price": number / 7,
        "discount": number % 10 / 10,
        "name": f"customer {number}",
        "city": f"city {number % 1000}",
        "status": "shipped",
        "note": None,
        "ordered_at": START + timedelta(seconds=number),
        "changed_at": START,
        "due": date(2026, 1, 1),
        "rating": None if number % 3 else 5,
        "warehouse": number % 100,
        "channel": "web",
    }


class Shop(RowsConnector):
    rows: list[dict[str, Any]]

    @stream(cursor="ordered_at")
    def orders(self, since: datetime | None) -> Iterator[dict[str, Any]]:
        return iter(self.rows if since is None else [one for one in self.rows if one["ordered_at"] >= since])


def by_adapter(rows: list[dict[str, Any]], options: ReadOptions) -> pa.Schema:
    with closing(rows_reader(rows, options, uri="bench:rows")) as reader:
        assert sum(map(len, reader)) == len(rows)
        return reader.schema


def by_connector(rows: list[dict[str, Any]]) -> None:
    connector = Shop.open({}, ConnectorContext(root=Path()))
    connector.rows = rows
    (slice_,) = connector.plan(StreamRequest(), MemoryState())
    with closing(connector.read(slice_, ReadOptions())) as reader:
        assert sum(map(len, reader)) == len(rows)


def measured(call: Callable[[], object], rows: int) -> float:
    """The best of three, in rows for each CPU second."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return rows / best


def main() -> None:
    rows = [row(number) for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)]
    schema = by_adapter(rows, ReadOptions())
    limit = measured(lambda: pa.Table.from_pylist(rows, schema), len(rows))
    ways = {
        "pyarrow from_pylist (limit)": limit,
        "rows_reader, types found": measured(lambda: by_adapter(rows, ReadOptions()), len(rows)),
        "rows_reader, the table's types": measured(lambda: by_adapter(rows, ReadOptions(expected=schema)), len(rows)),
        "RowsConnector, by a cursor": measured(lambda: by_connector(rows), len(rows)),
    }
    for name, figure in ways.items():
        print(f"{name:32} {figure:12,.0f} rows/CPU s   {figure / limit:5.2f}")


if __name__ == "__main__":
    main()
