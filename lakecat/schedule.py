"""When jobs are due. The cron maths is cronsim's (Debian cron's rules); nothing here sleeps or starts anything.

Summer time, as Debian's cron(8) has it: a job at a fixed time that the spring gap swallows runs at the gap's end, and
one in the hour that autumn repeats runs the first time only. A job whose minute or hour is a ``*`` goes by the time
that really passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from lakecat.catalog import Catalog, Lease
from lakecat.catalog.opening import high_water_mark
from lakecat.catalog.starts import Stamp, clock, stamps
from lakecat.config import Schedule
from lakecat.errors import ConfigError, LeaseHeldError
from lakecat.types import ExecutionState

_COUNTS: Final = frozenset({ExecutionState.COMPLETE, ExecutionState.FAILED, ExecutionState.RUNNING})
"""A run in one of these states has used up its instant; one that was killed has not."""

_OVERLAP: Final = timedelta(hours=26)
"""How much earlier the search starts. A local time can lie a zone change (at most a day) before its neighbours."""

_WINDOWS: Final = tuple(timedelta(days=days) for days in (0.1, 1, 8, 40, 400, 4000, 20000))
"""How far back the newest instant is searched, near first, so that dense schedules cost little."""


@dataclass(frozen=True, slots=True)
class Due:
    """A job that should run now; ``scheduled`` (UTC) is the newest instant that it has not run for."""

    job: str
    scheduled: datetime


def instants(schedule: Schedule, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """The schedule's instants in ``(after, until]``, in UTC, ascending, each once; without end when ``until`` is None.

    ``after`` and ``until`` are aware. Raises ConfigError for an expression or zone that is none.
    """
    try:
        zone = UTC if schedule.timezone == "UTC" else ZoneInfo(schedule.timezone)
        found = CronSim(schedule.cron, (after - _OVERLAP).astimezone(zone))
    except (CronSimError, ZoneInfoNotFoundError, ValueError) as err:
        raise ConfigError(f"the schedule {schedule.cron!r} ({schedule.timezone}) cannot be read: {err}") from err
    last = after.astimezone(UTC)
    for local in found:
        instant = local.astimezone(UTC)
        if until is not None and instant > until:
            return
        # Two local times inside the spring gap end at the same instant.
        if instant > last:
            last = instant
            yield instant


def next_instant(schedule: Schedule, after: datetime) -> datetime | None:
    """The first instant later than ``after``, in UTC; None when there is none within 50 years. Raises ConfigError."""
    return next(instants(schedule, after), None)


def newest_instant(schedule: Schedule, now: datetime) -> datetime | None:
    """The last instant that is not later than ``now``, in UTC; None when there is none. Raises ConfigError."""
    for window in _WINDOWS:
        newest = None
        for instant in instants(schedule, now - window, now):
            newest = instant
        if newest is not None:
            return newest
    return None


def due(jobs: Mapping[str, Schedule], last_started: Mapping[str, datetime], now: datetime) -> tuple[Due, ...]:
    """Jobs that have an instant between their last start and ``now``, by name.

    However many instants were missed, a job is due once. A job that never started is due when its schedule has any
    instant before ``now``. Raises ConfigError.
    """
    found = []
    for job in sorted(jobs):
        newest = newest_instant(jobs[job], now)
        started = last_started.get(job)
        if newest is not None and (started is None or started < newest):
            found.append(Due(job, newest))
    return tuple(found)


class Held(Protocol):
    """A lease that is kept alive; ``lakecat.landing.hold`` gives one."""

    @property
    def lease(self) -> Lease:
        """The lease."""


@contextmanager
def claim(
    catalog: Catalog, jobs: Mapping[str, Schedule], hold: Callable[[str], AbstractContextManager[Held]]
) -> Iterator[frozenset[str]]:
    """The jobs that are due now, claimed for the block, so that each instant runs once however many ask.

    A job's last start is its newest execution that was not canceled, or the last claim that was given back: a claimed
    job with nothing to do leaves no execution, and is not due again either. Whoever dies inside the block leaves its
    jobs due. The database's clock counts. ``hold`` holds a lease by name for a block.

    Raises ConfigError, CatalogError.
    """
    catalog.cancel_expired()
    before = stamps(catalog.database, map(_resource, jobs))
    with catalog.database.reading() as connection:
        floor = high_water_mark(connection)
    now = clock(catalog.database)
    candidates = due(jobs, _last_starts(catalog, jobs, before, now), now)
    with ExitStack() as claims:
        claimed = set()
        for entry in candidates:
            resource = _resource(entry.job)
            try:
                held = claims.enter_context(hold(resource))
            except LeaseHeldError:
                continue
            stamp = before.get(resource)
            # A fence that grew by more than our own holding: somebody else has run the job since we looked.
            if held.lease.fence == max(floor, stamp.fence if stamp else 0) + 1:
                claimed.add(entry.job)
        yield frozenset(claimed)


def _resource(job: str) -> str:
    return f"schedule:{job}"


def _last_starts(
    catalog: Catalog, jobs: Iterable[str], before: Mapping[str, Stamp], now: datetime
) -> Mapping[str, datetime]:
    """When each job started last. A start that is still to come is one of a wrong clock, and counts for nothing."""
    found: dict[str, datetime] = {}
    for job in jobs:
        newest = (catalog.latest_execution(job, state) for state in ExecutionState if state in _COUNTS)
        started = [execution.started_at for execution in newest if execution is not None]
        stamp = before.get(_resource(job))
        if stamp is not None and stamp.returned:
            started.append(stamp.acquired)
        if past := [moment for moment in started if moment <= now]:
            found[job] = max(past)
    return found
