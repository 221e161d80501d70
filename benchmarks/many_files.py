"""Planning where nearly everything is loaded: ``--files`` local files in the ledger (SQLite), 10 new ones.

What is timed is ``ingest.plan_job``, in a process of its own: it lists the folders, asks the ledger of every file,
finds the new ones, and looks for files that are gone. Memory is the process's peak, and how much planning raised it.
What no planning can beat is printed beside it: ``os.scandir`` with a ``stat`` of every file.

Run: ``python benchmarks/many_files.py [--files 100000] [--folder DIR]``. It fails beyond ``--limit`` CPU seconds (5)
for each 100,000 files: planning is one thread, so on an idle machine they are seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

NEW = 10
IN_FOLDER = 10_000
JOB = "connector: files\ntarget: raw.many\noptions:\n  path: in/*/*.csv\n"
SETTINGS = "project: bench\nlake: ./lake\ncatalog: sqlite:///./catalog.db\n"


def services(root: Path):
    """The project's services."""
    from lakecat.catalog import Catalog, Holder
    from lakecat.config import load_settings
    from lakecat.landing import Services
    from lakecat.store import LakeStore

    settings = load_settings(root, environ=os.environ)
    return Services(
        settings=settings,
        store=LakeStore.open(settings.lake, settings.storage),
        catalog=Catalog.open(settings.catalog_url(os.environ), create=True),
        clock=lambda: datetime.now(UTC),
        holder=Holder("bench", os.getpid(), "bench", "many_files"),
        environ=os.environ,
    )


def make(root: Path, count: int) -> None:
    """The project, its files, and a ledger that holds all but the last ten."""
    import sqlalchemy as sa

    from lakecat.catalog.queries import uri_hash
    from lakecat.catalog.schema import lake_execution, loaded_file
    from lakecat.config import load_jobs
    from lakecat.ingest import run_job
    from lakecat_connectors._walking import LocalTree, matching

    (root / "ingest").mkdir(parents=True)
    (root / "lakecat.yaml").write_text(SETTINGS)
    (root / "ingest/many.yaml").write_text(JOB)
    (root / "in/00000").mkdir(parents=True)
    (root / "in/00000/0000000.csv").write_text("a\n1\n")
    opened = services(root)
    run_job(opened, load_jobs(opened.settings)[0])
    for number in range(1, count):
        folder = root / f"in/{number // IN_FOLDER:05}"
        if number % IN_FOLDER == 0:
            folder.mkdir()
        (folder / f"{number:07}.csv").write_text("a\n1\n")

    def rows() -> Iterator[dict[str, object]]:
        for file in matching(LocalTree(), f"{root}/in/*/*.csv"):
            mtime = None if file.mtime is None else round(file.mtime.timestamp() * 1_000_000)
            yield {
                "stream": "ingest/many/raw.many",
                "uri_hash": uri_hash(file.uri),
                "identity_hash": uri_hash(file.identity),
                "uri": file.uri,
                "size": file.size,
                "mtime_us": mtime,
                "loaded_rows": 1,
                "execution_id": execution,
            }

    with opened.catalog.database.writing() as connection:
        execution = connection.execute(sa.select(sa.func.max(lake_execution.c.execution_id))).scalar_one()
        connection.execute(sa.delete(loaded_file))
        source = rows()
        while part := list(islice(source, 10_000)):
            connection.execute(sa.insert(loaded_file), part)
        connection.commit()
    for number in range(NEW):
        (root / f"in/00000/new{number}.csv").write_text("a\n1\n")
    opened.catalog.close()


def plan(root: Path) -> dict[str, float]:
    """Plan the job once, and say what it took."""
    from lakecat.config import load_jobs
    from lakecat.ingest import plan_job

    opened = services(root)
    (job,) = load_jobs(opened.settings)
    before, cpu = resource.getrusage(resource.RUSAGE_SELF), time.process_time()
    started = time.perf_counter()
    found = plan_job(opened, job)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF)
    files = [file for stream in found.streams for slice_ in stream.slices for file in slice_.files]
    if len(files) != NEW:
        raise SystemExit(f"{len(files)} new files were found, not {NEW}")
    return {
        "seconds": seconds,
        "cpu": cpu,
        "grew": (after.ru_maxrss - before.ru_maxrss) / 1024,
        "peak": after.ru_maxrss / 1024,
    }


def floor(root: Path) -> float:
    """Seconds to list the folders and ask for the state of each file, doing nothing with it."""
    started = time.perf_counter()
    for folder in os.scandir(root / "in"):
        for entry in os.scandir(folder):
            entry.stat()
    return time.perf_counter() - started


def main() -> int:
    """Make the files, plan in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--limit", type=float, default=5.0)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan:
        print(json.dumps(plan(arguments.plan)))
        return 0
    with tempfile.TemporaryDirectory(prefix="lakecat-bench-", dir=arguments.folder) as folder:
        root = Path(folder) / "project"
        make(root, arguments.files)
        least = min(floor(root) for _ in range(2))
        command = [sys.executable, __file__, "--plan", str(root)]
        runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    best = min(runs, key=lambda run: run["cpu"])
    print(f"{arguments.files:,} files loaded, {NEW} new: planned in {best['seconds']:.2f} s ({best['cpu']:.2f} s CPU)")
    print(f"memory: {best['peak']:.0f} MiB at its peak, of which {best['grew']:.0f} by planning")
    print(f"scandir and stat alone take {least:.2f} s")
    return int(best["cpu"] > arguments.limit * max(arguments.files / 100_000, 1))


if __name__ == "__main__":
    sys.exit(main())
