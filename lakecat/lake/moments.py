"""Moments as people write them: ``yesterday``, ``2h``, ``2026-11-01``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final

from lakecat.errors import UsageError

_UNITS: Final = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(r"(\d{1,9})\s*(s|min|m|h|d|w)(?:\s+ago)?\Z")


def parse_moment(text: str, now: datetime) -> datetime:
    """A point in time in UTC: ``now``, ``today``, ``yesterday`` (their beginnings), ``2h`` (ago), a date or a time.

    Dates and times without a zone are in UTC. Raises UsageError.
    """
    words = text.strip().lower()
    moment = now.astimezone(UTC)
    midnight = datetime.combine(moment.date(), time(), UTC)
    named = {"now": moment, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if words in named:
        return named[words]
    try:
        if match := _AGO.match(words):
            return moment - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no point in time",
            hint="write yesterday, today, 30min, 2h, 7d, 2026-11-01 or 2026-11-01T12:00:00Z",
        ) from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
