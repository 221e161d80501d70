"""Paths with times in them, ``{%Y-%m-%d}``: only the folders of the newest periods are listed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

_TIME: Final = re.compile(r"\{([^{}]*%[^{}]*)\}")
_DIRECTIVE: Final = re.compile(r"%(.)")
_SPAN: Final = re.compile(r"(\d{1,6})\s*(min|h|hours?|d|days?|w|weeks?)\Z")
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_STEPS: Final = {
    "M": timedelta(minutes=1),
    "H": timedelta(hours=1),
    "d": timedelta(days=1),
    "j": timedelta(days=1),
    "m": timedelta(days=1),
    "Y": timedelta(days=1),
    "y": timedelta(days=1),
}
# Who names a folder by local time is at most so far ahead of UTC.
_AHEAD: Final = timedelta(hours=14)
_MOST: Final = 20_000


def has_time(path: str) -> bool:
    """Whether the path has a part that is a time."""
    return _TIME.search(path) is not None


def check_times(path: str) -> None:
    """Raises ValueError for a time that is not known or not whole."""
    letters = {letter for part in _TIME.findall(path) for letter in _DIRECTIVE.findall(part)}
    if unknown := letters - set(_STEPS):
        raise ValueError(f"%{min(unknown)} is no time in a path; write %Y, %y, %m, %d, %j, %H and %M")
    if letters and not letters & {"Y", "y"}:
        raise ValueError("a time in a path needs its year, %Y")


def parse_span(text: str) -> timedelta:
    """``3 days`` or ``12 h``. Raises ValueError."""
    found = _SPAN.match(text.strip())
    if found is None:
        raise ValueError("must be a duration such as 3 days, 12 h or 90 min")
    return int(found[1]) * _UNITS[found[2][0]]


def without_times(path: str) -> str:
    """The path with a wildcard for each time."""
    return _TIME.sub("*", path)


def newest(path: str, since: timedelta, now: datetime) -> Iterator[str]:
    """The paths of the periods from ``since`` ago until now, in UTC, each once. Raises ValueError for too many."""
    letters = {letter for part in _TIME.findall(path) for letter in _DIRECTIVE.findall(part)}
    step = min((_STEPS[letter] for letter in letters), default=timedelta(days=1))
    end = now.astimezone(UTC) + _AHEAD
    moment = now.astimezone(UTC) - since
    if (end - moment) / step > _MOST:
        raise ValueError(f"more than {_MOST} periods; give since a shorter time, or the path coarser times")
    last = None
    while moment < end + step:
        at = min(moment, end)
        made = _TIME.sub(lambda part: at.strftime(part[1]), path)  # noqa: B023 - used at once
        if made != last:
            yield made
        last = made
        moment += step
