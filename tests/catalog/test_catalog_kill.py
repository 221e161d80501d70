"""Processes that are killed, stopped or raced in the middle of a commit: all of it, or nothing. On every engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


class Runner:
    """Starts workers on one catalog and lake."""

    def __init__(self, url: URL, tmp_path: Path) -> None:
        self.url = url
        self.lake = f"file://{tmp_path}/lake"
        self.store = LakeStore.open(self.lake)
        Catalog.open(url, create=True).close()

    def start(self, job: str, runs: int, *datasets: str, **environ: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(WORKER), self.url.render_as_string(hide_password=False), self.lake, job]
        return subprocess.Popen(
            [*command, str(runs), *datasets], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environ},
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err


@pytest.fixture
def runner(catalog_url: URL, tmp_path: Path) -> Runner:
    return Runner(catalog_url, tmp_path)


def rows_of(runner: Runner, catalog: Catalog, name: DatasetName) -> int:
    """What a reader of the table really gets."""
    version = catalog.resolve(VersionRef(name))
    state = tables.load_state(runner.store, catalog.metadata_location(name))
    assert state.current_snapshot_id == version.snapshot_id
    return tables.read(runner.store, tables.Scan(state, version.snapshot_id)).read_all().num_rows


def test_killed_at_every_step_and_run_again_every_row_is_there_once(runner: Runner):
    """One catalog; before each kill its tables hold what all runs so far have made, after it all or nothing of one."""
    with Catalog.open(runner.url) as catalog:
        for done, (point, after) in enumerate([*((p, False) for p in BEFORE), *((p, True) for p in AFTER)]):
            job = f"job-{done}"
            spec = {"LAKECAT_FAILPOINT": f"{point}:1:kill", "WORKER_TTL": "0.2"}
            code, _, err = runner.finish(runner.start(job, 1, "raw.a", "raw.b", **spec))
            assert code == -signal.SIGKILL, f"{point} was not reached: {err}"
            made = done + 1 if after else done
            names = {str(info.name): info.versions for info in catalog.datasets()}
            assert names == ({"raw.a": made, "raw.b": made} if made else {}), point
            file = FileVersion(f"{job}-0.csv", 9, "e")
            assert catalog.position(job) == (Position({"done": f"{job}-0"}) if after else None), point
            assert catalog.loaded(job, [file]) == ({file} if after else frozenset()), point
            assert [p for p in catalog.integrity() if not p.warning] == [], point
            time.sleep(0.25)
            code, out, err = runner.finish(runner.start(job, 1, "raw.a", "raw.b"))
            assert code == 0, f"{point}: {err}"
            assert out.startswith("already" if after else "1 "), point
            assert catalog.integrity() == (), point
        total = len(BEFORE) + len(AFTER)
        assert rows_of(runner, catalog, A) == rows_of(runner, catalog, B) == 3 * total
        states = [e.state for e in catalog.executions(limit=None)]
        assert states.count(ExecutionState.COMPLETE) == total
        assert states.count(ExecutionState.CANCELED) == len(BEFORE)
        assert len(states) == total + len(BEFORE)


def test_a_stopped_process_wakes_up_too_late(runner: Runner):
    """SIGSTOP while writing, lease taken over, SIGCONT: the zombie's commit is refused."""
    zombie = runner.start("job", 1, "raw.a", LAKECAT_FAILPOINT="data.written:1:stop", WORKER_TTL="0.5")
    with Catalog.open(runner.url) as catalog:
        deadline = time.monotonic() + 60
        while Path(f"/proc/{zombie.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.6)
        code, out, err = runner.finish(runner.start("job", 1, "raw.a"))
        assert (code, out.split()[0]) == (0, "1"), err
        zombie.send_signal(signal.SIGCONT)
        code, out, err = runner.finish(zombie)
        assert code == 1
        assert "LeaseLostError" in err
        assert catalog.dataset(A).versions == 1
        assert rows_of(runner, catalog, A) == 3
        assert catalog.integrity() == ()


@pytest.mark.parametrize("writers", [4])
def test_writers_of_one_table_all_land_at_their_first_attempt(runner: Runner, writers: int):
    first = runner.start("first", 1, "raw.a", "raw.b")
    assert runner.finish(first)[0] == 0
    started = [runner.start(f"job-{n}", 5, *(("raw.a", "raw.b") if n % 2 else ("raw.b", "raw.a"))) for n in range(writers)]
    attempts = []
    for process in started:
        code, out, err = runner.finish(process, 240)
        assert code == 0, err
        attempts += [int(line.split()[0]) for line in out.splitlines()]
    assert attempts == [1] * (5 * writers)
    with Catalog.open(runner.url) as catalog:
        assert catalog.dataset(A).versions == catalog.dataset(B).versions == 5 * writers + 1
        assert rows_of(runner, catalog, A) == 3 * (5 * writers + 1)
        assert catalog.integrity() == ()


def test_writers_that_create_the_same_table_at_once_all_land(runner: Runner):
    started = [runner.start(f"job-{n}", 1, "raw.a") for n in range(3)]
    for process in started:
        code, _, err = runner.finish(process)
        # A loser may find the table made with a schema of its own: a conflict that says so, and a second run lands.
        assert code == 0 or "CommitConflictError" in err or "SchemaError" in err, err
        if code:
            assert runner.finish(runner.start(f"again-{process.pid}", 1, "raw.a"))[0] == 0
    with Catalog.open(runner.url) as catalog:
        assert catalog.dataset(A).versions == 3
        assert rows_of(runner, catalog, A) == 9
        assert [p for p in catalog.integrity() if not p.warning] == []
