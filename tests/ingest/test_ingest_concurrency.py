"""Several processes at once, really: many writers of one table, two runs of one job, one that was taken for dead."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from lakecat.types import DatasetName, ExecutionState

EVENTS = DatasetName.parse("raw.events")
T = DatasetName.parse("raw.t")


def test_eight_processes_append_twenty_times_each_and_all_land(project):
    """From before the table exists, so that its creation is raced for as well."""
    start = time.time() + 8
    running = [project.start("appends", str(number), "20", str(start)) for number in range(8)]
    seconds = []
    for process in running:
        with process:
            out, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, ""), out
        seconds.append(json.loads(out.splitlines()[-1])["seconds"])
    print(f"\nseconds for 20 appends, each process: {sorted(round(s, 2) for s in seconds)}", end=" ")
    print(f"slowest/fastest {max(seconds) / min(seconds):.2f}")
    expected = Counter({(w, step, row): 1 for w in range(8) for step in range(20) for row in range(3)})
    assert project.rows("raw.events") == expected
    versions = project.catalog.versions(EVENTS)
    assert [v.version for v in versions] == list(range(160, 0, -1))
    assert len({v.execution_id for v in versions}) == 160
    complete = project.catalog.executions(state=ExecutionState.COMPLETE, limit=None)
    assert len(complete) == 160
    project.clean()


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if found and os.WIFSTOPPED(status):
            return
        assert not found, f"the process ended instead of stopping: {status}"
        time.sleep(0.02)
    pytest.fail("the process did not reach the failpoint")


def test_of_two_runs_of_one_job_one_works_and_the_other_says_who(project):
    project.put("in/1.csv", "id\n1\n2\n")
    project.job("load", target="raw.t", options={"path": "in/*.csv"})
    first = project.start("job", "load", failpoint="data.written:1:stop")
    try:
        wait_until_stopped(first.pid)
        code, said = project.process("job", "load")
    finally:
        os.kill(first.pid, signal.SIGCONT)
        with first:
            out, err = first.communicate(timeout=60)
    assert code == 1
    assert said[-1]["error"] == "LeaseHeldError"
    assert f"process {first.pid}" in said[-1]["text"]
    assert "tester@" in said[-1]["text"]
    assert (first.returncode, err) == (0, "")
    assert json.loads(out.splitlines()[-1]) == {"commits": 1, "rows": 2}
    assert project.rows("raw.t") == Counter({(1,): 1, (2,): 1})
    project.clean()


def is_locked(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
    return False


@pytest.mark.parametrize("name", ["ingest.planned", "data.written", "audited", "commit.locked"])
def test_one_that_was_taken_for_dead_is_refused(make_project, tmp_path, name):
    """Stopped for longer than its lease, replaced, and woken up again: its commit must not land."""
    for attempt in range(5):
        project = make_project(tmp_path / str(attempt))
        project.put("in/1.csv", "id\n1\n2\n")
        project.job("load", target="raw.t", options={"path": "in/*.csv"})
        zombie = project.start("job", "load", "0.5", failpoint=f"{name}:1:stop")
        wait_until_stopped(zombie.pid)
        if name == "commit.locked" or not is_locked(project.root / "catalog.db"):
            break
        # Its heartbeat was stopped in the middle of a transaction: nobody can take over before it goes on.
        zombie.kill()
        zombie.communicate()
    try:
        time.sleep(0.7)
        if name == "commit.locked":
            # It holds SQLite's write lock: nobody can take over before it has committed or died.
            zombie.send_signal(signal.SIGCONT)
            code, said = 0, [{"commits": 1}]
        else:
            code, said = project.process("job", "load")
    finally:
        os.kill(zombie.pid, signal.SIGCONT)
        with zombie:
            out, err = zombie.communicate(timeout=60)
    assert (code, said[-1]["commits"]) == (0, 1)
    assert err == ""
    if name == "commit.locked":
        assert zombie.returncode == 0
    else:
        assert zombie.returncode == 1
        assert json.loads(out.splitlines()[-1])["error"] == "LeaseLostError"
    assert project.rows("raw.t") == Counter({(1,): 1, (2,): 1})
    assert len(project.catalog.versions(T)) == 1
    assert len(project.data_files()) == 1
    states = Counter(execution.state for execution in project.catalog.executions(limit=None))
    assert states[ExecutionState.COMPLETE] == 1
    assert states[ExecutionState.RUNNING] == 0
    project.clean()
