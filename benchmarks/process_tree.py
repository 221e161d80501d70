"""What a benchmark's contestants cost, each run in a process of its own; and lakecat's own run, the same for all."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

INGEST = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from lakecat.catalog import Catalog, Holder
from lakecat.config import load_jobs, load_settings
from lakecat.ingest import run_job
from lakecat.landing import Services
from lakecat.store import LakeStore

settings = load_settings(Path(sys.argv[1]), environ=os.environ)
services = Services(
    settings=settings,
    store=LakeStore.open(settings.lake),
    catalog=Catalog.open(settings.catalog, create=True),
    clock=lambda: datetime.now(UTC),
    holder=Holder("here", os.getpid(), "bench", "ingest"),
    environ=os.environ,
)
(result,) = run_job(services, load_jobs(settings)[0])
print(result.rows, "rows,", result.files, "files,", result.bytes >> 20, "MiB")
"""
"""For ``python -c``: runs the only job of the project in the folder that its argument names."""


@dataclass
class Measure:
    """Seconds on the clock, seconds of CPU, and bytes of resident memory at the peak."""

    wall: float
    cpu: float
    memory: int


def measure(command: list[str]) -> Measure:
    """Run a command to its end and measure its process tree."""
    before = _children_cpu()
    started = time.perf_counter()
    process = subprocess.Popen(command)
    root = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        total = 0
        with contextlib.suppress(psutil.Error):
            for one in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += one.memory_info().rss
        peak = max(peak, total)
        time.sleep(0.02)
    wall = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{command[0]} failed with exit code {process.returncode}")
    return Measure(wall, _children_cpu() - before, peak)


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)
