"""The files connector keeps the protocol's promises, format by format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lakecat.connector import StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat.types import Json
from lakecat_connectors.files import Files


def some(first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"id": at, "name": None if at % 4 == 0 else f"n{at}", "price": at / 4} for at in range(first, first + count)
    ]


class FilesSuite(ConnectorSuite):
    connector = Files
    notices_unchanged = True
    suffix = ""

    def options(self, root: Path) -> Mapping[str, Json]:
        return {"path": f"*{self.suffix}"}

    def fill(self, root: Path) -> None:
        self.write(root / f"one{self.suffix}", some(0, 12))
        self.write(root / f"two{self.suffix}", some(12, 5))

    def grow(self, root: Path) -> None:
        """A new file, whose name may sort before the others."""
        count = len(list(root.iterdir()))
        self.write(root / f"{'az'[count % 2]}{count}{self.suffix}", some(100 * count, 3))

    def destroy(self, root: Path) -> None:
        for file in root.iterdir():
            file.unlink()

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(), StreamRequest(batch="all"))

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        return [row for file in root.iterdir() for row in self.rows(file)]

    def write(self, file: Path, rows: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def rows(self, file: Path) -> list[dict[str, Any]]:
        raise NotImplementedError


class TestCsv(FilesSuite):
    suffix = ".csv"

    def write(self, file: Path, rows: list[dict[str, Any]]) -> None:
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        file.write_text("\n".join(["id,name,price", *lines, ""]))

    def rows(self, file: Path) -> list[dict[str, Any]]:
        lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
        return [{"id": int(a), "name": b or None, "price": float(c)} for a, b, c in lines]

    def spoil(self, root: Path) -> None:
        self.write(root / "three.csv", some(50, 2))
        with (root / "three.csv").open("a") as file:
            file.write("99,too,many,values\n")


class TestJsonLines(FilesSuite):
    suffix = ".jsonl"

    def write(self, file: Path, rows: list[dict[str, Any]]) -> None:
        file.write_text("".join(json.dumps({**row, "nest": {"list": [row["id"], None]}}) + "\n" for row in rows))

    def rows(self, file: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in file.read_text().splitlines()]

    def spoil(self, root: Path) -> None:
        self.write(root / "three.jsonl", some(50, 2))
        with (root / "three.jsonl").open("a") as file:
            file.write("{no json}\n")


class TestParquet(FilesSuite):
    suffix = ".parquet"

    def write(self, file: Path, rows: list[dict[str, Any]]) -> None:
        pq.write_table(pa.Table.from_pylist(rows), file)

    def rows(self, file: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows
