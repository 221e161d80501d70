"""Processes that are killed, stopped or raced in the middle of a commit: all of it, or nothing. On every engine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from lakecat import tables
from lakecat.catalog import Catalog
from lakecat.store import LakeStore
from lakecat.types import DatasetName, ExecutionState, FileVersion, Position, VersionRef

WORKER = Path(__file__).with_name("commit_worker.py")
A, B = DatasetName("raw", "a"), DatasetName("raw", "b")
BEFORE = (
    "begun", "data.first_file", "data.written", "commit.locked", "commit.manifest_written",
    "commit.metadata_written", "commit.sidecar_written", "commit.pointer_swapped", "commit.lineage_recorded",
    "commit.before",
)  # fmt: skip
AFTER = ("commit.after", "released")


class Zygote:
    """The process that forks workers."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: object) -> int:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=10)


@dataclass
class Worker:
    pid: int
    output: Path
    zygote: Zygote

    def finish(self) -> tuple[int, str]:
        """Its exit code (negative: the signal it died of) and what it printed."""
        code = self.zygote.ask(wait=self.pid)
        return code, self.output.read_text()


class Runner:
    """Starts workers on one catalog and lake."""

    def __init__(self, url: URL, folder: Path, zygote: Zygote) -> None:
        self.url, self.folder, self.zygote = url, folder, zygote
        self.store = LakeStore.open(f"file://{folder}/lake")
        self._count = itertools.count()
        Catalog.open(url, create=True).close()

    def start(self, job: str, runs: int, *datasets: str, failpoint: str = "", ttl: float = 60) -> Worker:
        output = self.folder / f"worker-{next(self._count)}.txt"
        url = self.url.render_as_string(hide_password=False)
        work = [url, self.store.url, job, runs, datasets, ttl]
        return Worker(self.zygote.ask(output=str(output), failpoint=failpoint, work=work), output, self.zygote)

    def run(self, job: str, runs: int, *datasets: str, failpoint: str = "", ttl: float = 60) -> tuple[int, str]:
        return self.start(job, runs, *datasets, failpoint=failpoint, ttl=ttl).finish()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def runner(catalog_url: URL, tmp_path: Path, zygote: Zygote) -> Runner:
    return Runner(catalog_url, tmp_path, zygote)


def rows_of(runner: Runner, catalog: Catalog, name: DatasetName) -> int:
    """What a reader of the table really gets."""
    version = catalog.resolve(VersionRef(name))
    state = tables.load_state(runner.store, catalog.metadata_location(name))
    assert state.current_snapshot_id == version.snapshot_id
    return tables.read(runner.store, tables.Scan(state, version.snapshot_id)).read_all().num_rows


def test_killed_at_every_step_and_run_again_every_row_is_there_once(runner: Runner):
    """One catalog; after each kill its tables hold all or nothing of that run, and the next run makes it whole."""
    with Catalog.open(runner.url) as catalog:
        for done, point in enumerate(BEFORE + AFTER):
            job, after = f"job-{done}", point in AFTER
            code, out = runner.run(job, 1, "raw.a", "raw.b", failpoint=f"{point}:1:kill", ttl=0.2)
            assert code == -signal.SIGKILL, f"{point} was not reached: {out}"
            made = done + 1 if after else done
            names = {str(info.name): info.versions for info in catalog.datasets()}
            assert names == ({"raw.a": made, "raw.b": made} if made else {}), point
            file = FileVersion(f"{job}-0.csv", 9, "e")
            assert catalog.position(job) == (Position({"done": f"{job}-0"}) if after else None), point
            assert catalog.loaded(job, [file]) == ({file} if after else frozenset()), point
            assert [p for p in catalog.integrity() if not p.warning] == [], point
            time.sleep(0.25)
            code, out = runner.run(job, 1, "raw.a", "raw.b")
            assert code == 0, f"{point}: {out}"
            assert out.strip() == ("already" if after else "1"), point
            assert catalog.integrity() == (), point
        total = len(BEFORE) + len(AFTER)
        assert rows_of(runner, catalog, A) == rows_of(runner, catalog, B) == 3 * total
        states = [e.state for e in catalog.executions(limit=None)]
        assert states.count(ExecutionState.COMPLETE) == total
        assert states.count(ExecutionState.CANCELED) == len(BEFORE)
        assert len(states) == total + len(BEFORE)


def test_a_stopped_process_wakes_up_too_late(runner: Runner):
    """SIGSTOP while writing, lease taken over, SIGCONT: the zombie's commit is refused."""
    zombie = runner.start("job", 1, "raw.a", failpoint="data.written:1:stop", ttl=0.5)
    with Catalog.open(runner.url) as catalog:
        deadline = time.monotonic() + 60
        while Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.6)
        assert runner.run("job", 1, "raw.a") == (0, "1\n")
        os.kill(zombie.pid, signal.SIGCONT)
        code, out = zombie.finish()
        assert code == 1
        assert out.startswith("LeaseLostError")
        assert catalog.dataset(A).versions == 1
        assert rows_of(runner, catalog, A) == 3
        assert catalog.integrity() == ()


def test_eight_writers_of_two_tables_all_land_at_their_first_attempt(runner: Runner):
    """Half of them name the tables in the other order: locks are taken in name order, so there is no deadlock."""
    assert runner.run("first", 1, "raw.a", "raw.b")[0] == 0
    orders = (("raw.a", "raw.b"), ("raw.b", "raw.a"))
    started = [runner.start(f"job-{n}", 5, *orders[n % 2]) for n in range(8)]
    attempts = []
    for worker in started:
        code, out = worker.finish()
        assert code == 0, out
        attempts += out.split()
    assert attempts == ["1"] * 40
    with Catalog.open(runner.url) as catalog:
        assert catalog.dataset(A).versions == catalog.dataset(B).versions == 41
        assert rows_of(runner, catalog, A) == 3 * 41
        assert catalog.integrity() == ()


def test_writers_that_create_the_same_table_at_once_all_land(runner: Runner):
    """A loser finds a table that it meant to create: an error that says so, and its next run lands."""
    started = [runner.start(f"job-{n}", 1, "raw.a") for n in range(3)]
    for number, worker in enumerate(started):
        code, out = worker.finish()
        assert code == 0 or out.startswith(("CommitConflictError", "SchemaError")), out
        if code:
            assert runner.run(f"again-{number}", 1, "raw.a")[0] == 0
    with Catalog.open(runner.url) as catalog:
        assert catalog.dataset(A).versions == 3
        assert rows_of(runner, catalog, A) == 9
        assert [p for p in catalog.integrity() if not p.warning] == []
