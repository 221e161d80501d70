"""One holder at a time; the dead are taken over; the taken-over are refused. On every engine."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, Holder, Lease, schema
from lakecat.errors import LeaseHeldError, LeaseLostError
from lakecat.types import ExecutionState

ONE = Holder("alpha", 11, "ann", "lakecat ingest flights")
TWO = Holder("beta", 22, "bob", "lakecat ingest flights")
SHORT = timedelta(milliseconds=50)


def test_a_second_acquirer_is_told_who_has_it(bench):
    bench.catalog.acquire("raw.a", ONE)
    with pytest.raises(LeaseHeldError) as caught:
        bench.catalog.acquire("raw.a", TWO)
    text = str(caught.value)
    assert "ann@alpha" in text
    assert "11" in text
    assert "lakecat ingest flights" in text
    assert "20" in text.partition("since ")[2]  # a date
    bench.catalog.acquire("raw.b", TWO)


def test_fences_grow_over_release_and_takeover(bench):
    first = bench.catalog.acquire("raw.a", ONE)
    bench.catalog.release(first)
    second = bench.catalog.acquire("raw.a", TWO, SHORT)
    time.sleep(0.1)
    third = bench.catalog.acquire("raw.a", ONE)
    assert first.fence < second.fence < third.fence


def test_a_heartbeat_keeps_the_lease(bench):
    lease = bench.catalog.acquire("raw.a", ONE, timedelta(seconds=1))
    for _ in range(4):
        time.sleep(0.4)
        renewed = bench.catalog.renew(lease)
        assert renewed.expires > lease.expires
    with pytest.raises(LeaseHeldError):
        bench.catalog.acquire("raw.a", TWO)


def test_a_late_heartbeat_still_counts_when_nobody_came(bench):
    lease = bench.catalog.acquire("raw.a", ONE, SHORT)
    time.sleep(0.1)
    assert bench.catalog.renew(lease).fence == lease.fence


def test_takeover_cancels_the_execution_and_refuses_its_commit(bench):
    lease = bench.catalog.acquire("raw.a", ONE, SHORT)
    zombie = bench.catalog.begin(lease, bench.start("raw.a", "key"))
    change = bench.change(zombie, "raw.a")
    time.sleep(0.1)
    bench.catalog.acquire("raw.a", TWO)
    assert bench.catalog.execution(zombie.execution_id).info.state is ExecutionState.CANCELED
    with pytest.raises(LeaseLostError):
        bench.catalog.renew(lease)
    with pytest.raises(LeaseLostError):
        bench.commit(zombie, change)
    with pytest.raises(LeaseLostError):
        bench.catalog.begin(lease, bench.start("raw.a", "other"))
    assert bench.catalog.fail(zombie, "too late") is ExecutionState.CANCELED
    assert bench.catalog.datasets() == ()
    bench.catalog.release(lease)  # the new holder's lease stays
    with pytest.raises(LeaseHeldError):
        bench.catalog.acquire("raw.a", ONE)
    assert bench.catalog.integrity() == ()


def test_an_execution_left_running_by_a_released_lease_is_canceled_by_the_next(bench):
    lease, left = bench.begin("raw.a", "key")
    bench.catalog.release(lease)
    bench.catalog.acquire("raw.a", TWO)
    assert bench.catalog.execution(left.execution_id).info.state is ExecutionState.CANCELED


def test_cancel_expired_finds_the_dead_and_spares_the_living(bench):
    dead = bench.catalog.begin(bench.catalog.acquire("raw.a", ONE, SHORT), bench.start("raw.a"))
    _, living = bench.begin("raw.b")
    time.sleep(0.1)
    assert [problem.code for problem in bench.catalog.integrity()] == ["execution.stale"]
    assert bench.catalog.cancel_expired() == (dead.execution_id,)
    assert bench.catalog.execution(living.execution_id).info.state is ExecutionState.RUNNING
    with pytest.raises(LeaseLostError):
        bench.commit(dead, bench.change(dead, "raw.a"))
    assert bench.catalog.cancel_expired() == ()
    assert bench.catalog.integrity() == ()


def test_of_two_acquirers_at_once_one_wins(catalog_url: URL):
    Catalog.open(catalog_url, create=True).close()
    barrier = threading.Barrier(4, timeout=30)
    won: list[Lease] = []
    held: list[LeaseHeldError] = []

    def race(number: int) -> None:
        with Catalog.open(catalog_url) as catalog:
            for turn in range(5):
                barrier.wait()
                try:
                    won.append(catalog.acquire(f"raw.t{turn}", Holder("h", number, "u", "c")))
                except LeaseHeldError as err:
                    held.append(err)

    with ThreadPoolExecutor(4) as pool:
        for outcome in [pool.submit(race, number) for number in range(4)]:
            outcome.result(60)
    assert sorted(lease.resource for lease in won) == [f"raw.t{turn}" for turn in range(5)]
    assert len(held) == 15


def test_a_lease_that_a_wrong_clock_gave_keeps_nobody_out_when_the_clock_is_right_again(bench):
    lease, begun = bench.begin("raw.a")
    table, day = schema.lease, 86_400_000
    with bench.catalog.database.engine.begin() as connection:
        moved = {name: table.c[name] + 100 * day for name in ("acquired_ms", "heartbeat_ms", "expires_ms")}
        connection.execute(sa.update(table).values(**moved))
    assert bench.catalog.cancel_expired() == (begun.execution_id,)
    bench.catalog.acquire("raw.a", TWO)
    with pytest.raises(LeaseLostError):
        bench.catalog.renew(lease)


def test_a_clock_that_goes_back_by_less_than_a_lease_lasts_takes_it_from_nobody(bench):
    bench.catalog.acquire("raw.a", ONE, timedelta(seconds=60))
    table = schema.lease
    with bench.catalog.database.engine.begin() as connection:
        moved = {name: table.c[name] + 50_000 for name in ("acquired_ms", "heartbeat_ms", "expires_ms")}
        connection.execute(sa.update(table).values(**moved))
    with pytest.raises(LeaseHeldError):
        bench.catalog.acquire("raw.a", TWO)
