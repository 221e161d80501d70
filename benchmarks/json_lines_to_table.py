"""JSON lines to Parquet: lakecat's whole ingest against DuckDB's read_json (the limit).

A million events, made here from a fixed seed: ids, times, a nested user and a list of items (``--shape nested``), or
ten columns without any nesting (``flat``). Both write Parquet with zstd.

- ``duckdb``: ``COPY (SELECT * FROM read_json(…)) TO …``: types guessed from a sample, no checks, no commit;
- ``lakecat``: ``ingest.run_job`` with the ``files`` connector: types decided over every value, up to the commit. The
  project's catalog is there already, as it is for all but a project's first job.

Each runs in processes of its own, one after the other, ``--repeat`` times in turn; the fastest counts. CPU and memory
are those of the whole process tree. ``start`` is lakecat's CPU for the file's first thousand lines: what starting two
interpreters and a commit cost. It is part of ``lakecat``, too.

Run: ``python benchmarks/json_lines_to_table.py [--rows 1000000] [--shape nested] [--repeat 3] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from process_tree import INGEST, Measure, measure

DUCKDB = """
import sys, duckdb
source, folder = sys.argv[1:]
con = duckdb.connect(config={"memory_limit": "1GB"})
con.execute("SET enable_progress_bar = false")
con.execute(
    f"COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited')) "
    f"TO '{folder}/out.parquet' (FORMAT parquet, COMPRESSION zstd)"
)
"""

CATALOG = """
import os, sys
from pathlib import Path
from lakecat.catalog import Catalog
from lakecat.config import load_settings
Catalog.open(load_settings(Path(sys.argv[1]), environ=os.environ).catalog, create=True).close()
"""


def nested(draw: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "at": f"2024-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00Z",
        "user": {
            "id": draw.randrange(10**6),
            "name": f"user {number % 9973}",
            "tags": [draw.choice("abcdef") for _ in range(number % 4)],
            "geo": {"lat": round(draw.uniform(-90, 90), 5), "lon": round(draw.uniform(-180, 180), 5)},
        },
        "items": [
            {"sku": f"S{draw.randrange(10**5):05}", "n": draw.randrange(9), "price": round(draw.uniform(1, 500), 2)}
            for _ in range(number % 5)
        ],
        "ok": number % 3 == 0,
        "note": None if number % 7 else "a note",
    }


def flat(draw: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "at": f"2024-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00Z",
        "name": f"user {draw.randrange(10**6)}",
        "amount": round(draw.uniform(1, 500), 2),
        "quantity": draw.randrange(9),
        "ok": number % 3 == 0,
        "country": draw.choice(("DE", "FR", "US")),
        "note": None if number % 7 else "a note",
        "url": f"https://example.com/{draw.randrange(10**7)}",
        "score": round(draw.random(), 6),
    }


SHAPES: dict[str, Callable[[random.Random, int], dict[str, Any]]] = {"nested": nested, "flat": flat}


def make(path: Path, rows: int, row: Callable[[random.Random, int], dict[str, Any]]) -> None:
    draw = random.Random(1)
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps(row(draw, number)) + "\n")


def duckdb(source: Path, folder: Path) -> Measure:
    empty(folder)
    return measure([sys.executable, "-c", DUCKDB, str(source), str(folder)])


def lakecat(source: Path, folder: Path) -> Measure:
    empty(folder)
    (folder / "lakecat.yaml").write_text("project: bench\n")
    (folder / "ingest").mkdir()
    (folder / "ingest" / "events.yaml").write_text(f"target: bench.events\noptions:\n  path: {source}\n")
    subprocess.run([sys.executable, "-c", CATALOG, str(folder)], check=True)
    return measure([sys.executable, "-c", INGEST, str(folder)])


def empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def main() -> None:
    options = argparse.ArgumentParser(description="JSON lines to a table: lakecat against DuckDB's COPY")
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--shape", choices=SHAPES, default="nested")
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--folder", type=Path)
    said = options.parse_args()
    folder = (said.folder or Path(tempfile.mkdtemp(prefix="lakecat-bench-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    source, first = folder / f"{said.shape}-{said.rows}.jsonl", folder / f"{said.shape}-first.jsonl"
    if not source.exists():
        make(source, said.rows, SHAPES[said.shape])
    with source.open() as file:
        first.write_text("".join(islice(file, 1_000)))
    best: dict[str, Measure] = {}
    for _ in range(said.repeat):
        for name, run, data in (("duckdb", duckdb, source), ("lakecat", lakecat, source), ("start", lakecat, first)):
            found = run(data, folder / name)
            best[name] = min(found, best.get(name, found), key=lambda one: one.cpu)
    print(f"{'':8} {'CPU s':>7} {'rows/CPU s':>11} {'of DuckDB':>10} {'wall s':>7} {'MiB':>6}")
    for name, found in best.items():
        rows = said.rows if name != "start" else 1_000
        print(
            f"{name:8} {found.cpu:7.2f} {rows / found.cpu:11,.0f} {best['duckdb'].cpu / found.cpu:10.2f} "
            f"{found.wall:7.2f} {found.memory >> 20:6}"
        )


if __name__ == "__main__":
    main()
