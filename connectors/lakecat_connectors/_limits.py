"""Limits that the parser process puts on itself, so that a hostile file ends it and not the machine."""

from __future__ import annotations

import contextlib
import math
import resource
from collections.abc import Iterator
from typing import Final

_MEMORY: Final = 6 << 30
_WRITTEN: Final = 16 << 20
CPU_SECONDS: Final = 600


def limit() -> None:
    """No core dumps, no large files written, a bound on memory."""
    for name, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, _WRITTEN), (resource.RLIMIT_AS, _MEMORY)):
        _lower(name, value)


@contextlib.contextmanager
def may_write(most: int) -> Iterator[None]:
    """For as long as it lasts, files of up to so many bytes may be written."""
    before, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    _lower(resource.RLIMIT_FSIZE, most)
    try:
        yield
    finally:
        _lower(resource.RLIMIT_FSIZE, before)


def progress(seconds: int = CPU_SECONDS) -> None:
    """Called whenever a piece of the file is done: from now on, so many CPU seconds may pass until the next call.

    A parser that loops forever is ended by SIGXCPU, and its file named.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime) + seconds)


def _lower(name: int, value: int) -> None:
    _, hard = resource.getrlimit(name)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(name, (bound, hard))
    except (OSError, ValueError):  # some systems refuse some limits
        return
