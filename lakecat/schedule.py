"""When jobs are due. The cron maths is cronsim's (Debian cron's rules); nothing here sleeps or starts anything.

Summer time, as Debian's cron(8) has it: a job at a fixed time that the spring gap swallows runs at the gap's end, and
one in the hour that autumn repeats runs the first time only. A job whose minute or hour is a ``*`` goes by the time
that really passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from lakecat.config import Schedule
from lakecat.errors import ConfigError

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
