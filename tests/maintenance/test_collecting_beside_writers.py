"""Garbage collection while others write: a stopped writer's files stay; a dead writer that wakes up is refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if found and os.WIFSTOPPED(status):
            return
        assert not found, f"the process ended instead of stopping: {status}"
        time.sleep(0.02)
    pytest.fail("the process did not reach the failpoint")


def go_on(process) -> tuple[int, str]:
    os.kill(process.pid, signal.SIGCONT)
    with process:
        out, err = process.communicate(timeout=60)
    assert err == ""
    return process.returncode, out


def make_old(lab) -> None:
    """As if everything in the lake had been written a month ago."""
    month_ago = time.time() - 30 * 86_400
    for path in (lab.root / "lake").rglob("*"):
        os.utime(path, (month_ago, month_ago))


@pytest.mark.parametrize("step", ["data.first_file", "data.written", "audited"])
def test_files_of_a_writer_that_was_stopped_stay_however_old_they_are(lab, step):
    lab.append(1)
    writer = lab.start("append", "2", failpoint=f"{step}:1:stop")
    wait_until_stopped(writer.pid)
    lab.append(3)
    lab.append(4)
    make_old(lab)
    assert lab.collect().abandoned.files == 0
    code, _ = go_on(writer)
    assert code == 0
    assert lab.rows() == [1, 2, 3, 4]
    assert lab.services.catalog.integrity() == ()


@pytest.mark.parametrize("step", ["data.written", "audited"])
def test_a_writer_that_was_taken_for_dead_is_refused_and_harms_nothing(lab, step):
    lab.append(1)
    before = lab.files()
    writer = lab.start("append", "2", failpoint=f"{step}:1:stop")
    wait_until_stopped(writer.pid)
    lab.expire_leases()
    assert lab.collect().abandoned.files == 1
    assert lab.files() == before
    code, out = go_on(writer)
    assert code == 1
    assert "LeaseLostError" in out or "ObjectMissingError" in out  # whichever it meets first
    assert lab.rows() == [1]
    lab.gc()
    assert lab.files() == before


def test_on_postgresql(make_lab: Callable[..., object], postgres_url):
    lab = make_lab(catalog=postgres_url)
    lab.append(1)
    lab.replace(2)
    lab.append(3)
    writer = lab.start("append", "4", failpoint="data.written:1:stop")
    wait_until_stopped(writer.pid)
    assert lab.process("append", "5", failpoint="commit.before:1:kill")[0] == -9
    item = lab.collect()
    assert item.error is None
    assert (item.versions, item.abandoned.files) == (1, 0)
    assert go_on(writer)[0] == 0
    lab.expire_leases()
    item = lab.collect()
    assert item.abandoned.files > 0
    assert lab.rows() == [2, 3, 4]
    assert lab.services.catalog.integrity() == ()


def test_on_s3(s3_lab):
    lab = s3_lab
    lab.append(1)
    lab.replace(2)
    lab.append(3)
    sizes = lab.files()
    item = lab.collect()
    removed = sizes.keys() - lab.files().keys()
    assert item.error is None
    assert (item.expired.files, item.expired.bytes) == (len(removed), sum(sizes[name] for name in removed))
    assert len(lab.parquet()) == 2
    assert lab.rows() == [2, 3]
    assert lab.gc().removable.files == 0


def test_two_at_once_do_no_harm(lab):
    lab.append(1)
    lab.replace(2)
    lab.append(3)
    first = lab.start("gc", failpoint="gc.file_deleted:2:stop")
    wait_until_stopped(first.pid)
    lab.expire_leases()  # the first is taken for dead, and wakes up after the second has done its work
    assert lab.collect().error is None
    left = lab.files()
    code, out = go_on(first)
    assert (code, "LeaseLostError" in out) == (1, True)
    assert lab.files() == left
    assert lab.rows() == [2, 3]
    assert Path(lab.root / "catalog.db").exists()
