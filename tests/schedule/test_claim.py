from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from lakecat.catalog import Catalog, ExecutionStart, Holder, Lease, RunningExecution, schema
from lakecat.config import Schedule
from lakecat.schedule import claim
from lakecat.types import DatasetName, ExecutionType

# Half an hour from now, so that no instant passes while a test runs.
HOURLY = Schedule(cron=f"{(datetime.now(UTC).minute + 30) % 60} * * * *")
HOUR_MS = 3_600_000


class Handle:
    def __init__(self, lease: Lease) -> None:
        self.lease = lease


class Jobs:
    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    @contextmanager
    def hold(self, resource: str) -> Iterator[Handle]:
        lease = self.catalog.acquire(resource, Holder("host", os.getpid(), "tester", "pytest"))
        try:
            yield Handle(lease)
        finally:
            self.catalog.release(lease)

    def claim(self, *jobs: str) -> AbstractContextManager[frozenset[str]]:
        return claim(self.catalog, dict.fromkeys(jobs, HOURLY), self.hold)

    def claimed(self, *jobs: str) -> frozenset[str]:
        with self.claim(*jobs) as names:
            return names

    def execute(self, job: str) -> tuple[Lease, RunningExecution]:
        lease = self.catalog.acquire(job, Holder("host", 1, "tester", "pytest"), timedelta(seconds=60))
        start = ExecutionStart(
            type=ExecutionType.INGEST, job=job, run_key=None, targets=(DatasetName("raw", "x"),), project="p"
        )
        begun = self.catalog.begin(lease, start)
        assert isinstance(begun, RunningExecution)
        return lease, begun

    def pass_time(self, hours: int) -> None:
        """All that was done is so much longer ago; instead of waiting."""
        past = hours * HOUR_MS
        with self.catalog.database.engine.begin() as connection:
            for column in (schema.lease.c.acquired_ms, schema.lease.c.heartbeat_ms, schema.lease.c.expires_ms):
                connection.execute(sa.update(schema.lease).values({column: column - past}))
            started = schema.lake_execution.c.started_ms
            connection.execute(sa.update(schema.lake_execution).values({started: started - past}))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        yield Jobs(catalog)


def test_a_job_that_found_nothing_to_do_is_not_due_again_before_its_next_instant(jobs: Jobs) -> None:
    assert jobs.claimed("a", "b") == {"a", "b"}
    assert jobs.claimed("a", "b") == frozenset()
    jobs.pass_time(hours=1)
    assert jobs.claimed("a", "b") == {"a", "b"}


def test_missed_instants_are_caught_up_once(jobs: Jobs) -> None:
    jobs.claimed("a")
    jobs.pass_time(hours=72)
    assert jobs.claimed("a") == {"a"}
    assert jobs.claimed("a") == frozenset()


def test_two_that_ask_at_the_same_time_do_not_both_get_it(jobs: Jobs) -> None:
    with jobs.claim("a", "b") as first, jobs.claim("a", "b") as second:
        assert (first, second) == ({"a", "b"}, frozenset())


def test_who_looked_before_another_ran_does_not_run_it_again(jobs: Jobs) -> None:
    jobs.claimed("a")
    jobs.pass_time(hours=1)
    plain = jobs.hold

    @contextmanager
    def late(resource: str) -> Iterator[Handle]:
        with plain(resource):  # between our look and our hold, another process claims and ends
            pass
        with plain(resource) as held:
            yield held

    jobs.hold = late  # type: ignore[method-assign]
    assert jobs.claimed("a") == frozenset()


def test_who_looked_before_another_ran_a_new_job_does_not_run_it_again(jobs: Jobs) -> None:
    plain = jobs.hold

    @contextmanager
    def late(resource: str) -> Iterator[Handle]:
        with plain(resource):  # the job's first claim ever, by another process, which ends at once
            pass
        with plain(resource) as held:
            yield held

    jobs.hold = late  # type: ignore[method-assign]
    assert jobs.claimed("new") == frozenset()


def test_a_restored_catalog_whose_fences_jump_still_runs_what_is_due(jobs: Jobs, tmp_path: Path) -> None:
    jobs.claimed("a")
    jobs.pass_time(hours=1)
    with jobs.catalog.database.engine.begin() as connection:
        connection.execute(sa.delete(schema.setting).where(schema.setting.c.name == "high_water_mark"))
        connection.execute(sa.insert(schema.setting).values(name="high_water_mark", value="1000"))
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as restored:
        assert Jobs(restored).claimed("a", "new") == {"a", "new"}


def test_runs_that_were_killed_do_not_hide_the_one_before_them(jobs: Jobs) -> None:
    lease, failed = jobs.execute("a")
    jobs.catalog.fail(failed, "no")
    jobs.catalog.release(lease)
    for _ in range(3):
        jobs.execute("a")  # by hand, and killed
        with jobs.catalog.database.engine.begin() as connection:
            connection.execute(sa.update(schema.lease).values(expires_ms=0))
    assert jobs.claimed("a") == frozenset()


def test_a_failed_run_counts_and_a_killed_one_does_not(jobs: Jobs) -> None:
    lease, failed = jobs.execute("failing")
    jobs.catalog.fail(failed, "no")
    jobs.catalog.release(lease)
    jobs.execute("killed")  # never ends, and nobody renews its lease
    assert jobs.claimed("failing", "killed") == frozenset()
    with jobs.catalog.database.engine.begin() as connection:
        connection.execute(sa.update(schema.lease).values(expires_ms=0))
    assert jobs.claimed("failing", "killed") == {"killed"}


def test_a_claim_that_died_leaves_its_job_due(jobs: Jobs, tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from lakecat.catalog import Catalog, Holder\n"
        "Catalog.open(sys.argv[1]).acquire('schedule:a', Holder('host', 1, 'tester', 'killed'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, f"sqlite:///{tmp_path}/catalog.db"], check=False)
    assert done.returncode == -9
    assert jobs.claimed("a") == frozenset()
    jobs.pass_time(hours=1)
    assert jobs.claimed("a") == {"a"}


@pytest.mark.parametrize("how", ["executed", "claimed"])
def test_a_start_that_is_still_to_come_is_one_of_a_wrong_clock_and_keeps_no_job_from_its_turn(
    jobs: Jobs, how: str
) -> None:
    if how == "executed":
        lease, begun = jobs.execute("flights")
        jobs.catalog.fail(begun, "no")
        jobs.catalog.release(lease)
    else:
        assert jobs.claimed("flights") == {"flights"}
    assert jobs.claimed("flights") == frozenset()
    jobs.pass_time(-2400)  # the clock was a hundred days ahead then
    assert jobs.claimed("flights") == {"flights"}
    assert jobs.claimed("flights") == frozenset()
