"""How fast requests may go: by the job's own limit, and by what the API says of its limits in headers.

Read are ``Retry-After`` (RFC 9110, section 10.2.3: seconds or a date), ``RateLimit`` and ``RateLimit-Reset`` of the
IETF draft "RateLimit header fields for HTTP" (in the spellings of its versions), and the older ``X-RateLimit-*``.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

_ITEM: Final = re.compile(r"(?:^|[;,\s])(r|remaining|t|reset)\s*=\s*(\d+)")
_EPOCH_FROM: Final = 1_000_000_000  # no API lets anybody wait for 30 years: such numbers are moments, not durations
_MILLISECONDS_FROM: Final = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Times:
    """Where time comes from: the calendar's, the stopwatch's (seconds), and how to wait."""

    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    jitter: Callable[[], float]


class Deadline(threading.local):
    """By when the request that this thread has sent must be over; each thread has its own."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._at = math.inf

    def start(self, seconds: float) -> None:
        """A request is about to be sent."""
        self._at = self._monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; 0 or less: none."""
        return self._at - self._monotonic()


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as the API asks in ``Retry-After``; None where it does not, or not in words that are known."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text):
        return float(text)
    moment = _moment(text)
    return None if moment is None else max((moment - now).total_seconds(), 0.0)


def _moment(text: str) -> datetime | None:
    """A date of HTTP; None for what is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def clock_ahead(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds by which the clock behind ``Date`` is ahead of ours; 0 where none is sent."""
    moment = _moment(headers.get("date", ""))
    return 0.0 if moment is None else (moment - now).total_seconds()


def quota_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds until the API's quota is filled again, where its headers say that nothing is left; else None."""
    remaining, reset = _draft(headers.get("ratelimit", ""))
    for prefix in ("ratelimit", "x-ratelimit", "x-rate-limit"):
        remaining = _number(headers.get(f"{prefix}-remaining")) if remaining is None else remaining
        reset = _number(headers.get(f"{prefix}-reset")) if reset is None else reset
    if reset is None or remaining is None or remaining > 0:
        return None
    if reset >= _MILLISECONDS_FROM:
        reset /= 1000
    return max(reset - now.timestamp(), 0.0) if reset >= _EPOCH_FROM else reset


def _draft(text: str) -> tuple[float | None, float | None]:
    """Remaining and reset of a ``RateLimit`` field; of several policies the one that has the least left."""
    least: tuple[float | None, float | None] = (None, None)
    for policy in re.split(r',\s*(?=")', text):
        found = {key: float(value) for key, value in _ITEM.findall(policy)}
        remaining, reset = found.get("r", found.get("remaining")), found.get("t", found.get("reset"))
        if remaining is not None and (least[0] is None or remaining < least[0]):
            least = (remaining, reset)
    return least


def _number(text: str | None) -> float | None:
    if text is None or not re.fullmatch(r"\s*\d{1,16}(\.\d{1,9})?\s*", text):
        return None
    return float(text)


class Pace:
    """Holds requests back; safe in several threads."""

    def __init__(self, requests: int | None, seconds: float, times: Times) -> None:
        self._requests = requests
        self._seconds = seconds
        self._times = times
        self._sent: deque[float] = deque()
        self._not_before = -math.inf
        self._lock = threading.Lock()

    def hold(self, seconds: float) -> None:
        """No request within the next ``seconds``."""
        with self._lock:
            self._not_before = max(self._not_before, self._times.monotonic() + seconds)

    def wait(self) -> None:
        """Return when the next request may go, and count it."""
        while (seconds := self._take()) > 0:
            self._times.sleep(seconds)

    def _take(self) -> float:
        """0 and the request is counted, else the seconds to wait before asking again."""
        with self._lock:
            now = self._times.monotonic()
            if (seconds := self._not_before - now) > 0:
                return seconds
            if self._requests is None:
                return 0
            while self._sent and self._sent[0] + self._seconds <= now:
                self._sent.popleft()
            if len(self._sent) >= self._requests:
                return self._sent[0] + self._seconds - now
            self._sent.append(now)
            return 0
