"""Nested JSON lines to Parquet: lakecat's whole ingest against DuckDB's read_json (the limit).

A million events, made here from a fixed seed: ids, times, a nested user, a list of items. Both write Parquet with zstd.

- ``duckdb``: ``COPY (SELECT * FROM read_json(…)) TO …``: types guessed from a sample, no checks, no commit;
- ``lakecat``: ``ingest.run_job`` with the ``files`` connector: types decided over every value, up to the commit.

Each runs in processes of its own, one after the other, ``--repeat`` times in turn; the fastest counts, by CPU seconds
of the process and its children.

Run: ``python benchmarks/json_lines_to_table.py [--rows 1000000] [--repeat 3] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DUCKDB = """
import sys, duckdb
source, folder = sys.argv[1:]
con = duckdb.connect(config={"memory_limit": "1GB"})
con.execute(
    f"COPY (SELECT * FROM read_json('{source}', format = 'newline_delimited')) "
    f"TO '{folder}/out.parquet' (FORMAT parquet, COMPRESSION zstd)"
)
"""

LAKECAT = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from lakecat.catalog import Catalog, Holder
from lakecat.config import load_jobs, load_settings
from lakecat.ingest import run_job
from lakecat.landing import Services
from lakecat.store import LakeStore

source, folder = sys.argv[1:]
root = Path(folder)
(root / "lakecat.yaml").write_text("project: bench\\n")
(root / "ingest").mkdir()
(root / "ingest" / "events.yaml").write_text(f"target: bench.events\\noptions:\\n  path: {source}\\n")
settings = load_settings(root / "lakecat.yaml", environ=os.environ)
services = Services(
    settings=settings,
    store=LakeStore.open(settings.lake),
    catalog=Catalog.open(settings.catalog, create=True),
    clock=lambda: datetime.now(UTC),
    holder=Holder("here", os.getpid(), "bench", "json_lines_to_table"),
    environ=os.environ,
)
(result,) = run_job(services, load_jobs(settings)[0])
print(result.rows, "rows")
from lakecat_connectors import _worker
_worker._stop_idle()
"""

TIMED = """
import resource
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print("CPU", sum(one.ru_utime + one.ru_stime for one in usage))
"""


def make(path: Path, rows: int) -> None:
    draw = random.Random(1)
    with path.open("w") as file:
        for number in range(rows):
            event = {
                "id": number,
                "at": f"2024-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}:{number % 60:02}:00Z",
                "user": {
                    "id": draw.randrange(10**6),
                    "name": f"user {number % 9973}",
                    "tags": [draw.choice("abcdef") for _ in range(number % 4)],
                    "geo": {"lat": round(draw.uniform(-90, 90), 5), "lon": round(draw.uniform(-180, 180), 5)},
                },
                "items": [
                    {
                        "sku": f"S{draw.randrange(10**5):05}",
                        "n": draw.randrange(9),
                        "price": round(draw.uniform(1, 500), 2),
                    }
                    for _ in range(number % 5)
                ],
                "ok": number % 3 == 0,
                "note": None if number % 7 else "a note",
            }
            file.write(json.dumps(event) + "\n")


def measured(code: str, source: Path, folder: Path) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code + TIMED, str(source), str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return float(done.stdout.split("CPU")[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--folder", type=Path)
    said = options.parse_args()
    folder = said.folder or Path(tempfile.mkdtemp(prefix="lakecat-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"events-{said.rows}.jsonl"
    if not source.exists():
        make(source, said.rows)
    best = {
        name: min(measured(code, source, folder / name) for _ in range(said.repeat))
        for name, code in (("duckdb", DUCKDB), ("lakecat", LAKECAT))
    }
    for name, seconds in best.items():
        print(
            f"{name:8} {seconds:6.2f} CPU s  {said.rows / seconds:10,.0f} rows/CPU s  {best['duckdb'] / seconds:5.2f}"
        )


if __name__ == "__main__":
    main()
