"""Frozen values by the thousand: without a frozen dataclass's own constructor, and without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from threading import Lock
from typing import Any, Final

_MANY: Final = 1_000


def draft_of(value: type[Any]) -> type[Any]:
    """The draft of a frozen dataclass with slots: set every field, then ``draft.__class__ = value``.

    A frozen dataclass's constructor sets each field by a call of ``object.__setattr__``, which is most of what a large
    answer costs. A draft is a class with the very same slots whose fields are set as any object's are; filled, it
    becomes the frozen one, which Python allows for classes of the same slots: what the constructor would have made.
    """
    return type(f"{value.__name__}Draft", (), {"__slots__": tuple(field.name for field in fields(value))})


class _Collector:
    """The process's garbage collector, off while anybody needs it to be."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._paused = 0
        self._was_on = False

    def pause(self) -> None:
        with self._lock:
            if not self._paused:
                self._was_on = gc.isenabled()
                gc.disable()
            self._paused += 1

    def resume(self) -> None:
        with self._lock:
            self._paused -= 1
            if self._was_on and not self._paused:
                gc.enable()


_COLLECTOR: Final = _Collector()


@contextmanager
def making(count: int = _MANY) -> Iterator[None]:
    """Where ``count`` values are many (or it is not known), the garbage collector doesn't run until they are made.

    It runs after so many new objects, as if most of them were garbage by then. With ten thousand new values, all in
    use, it searches the whole process once or twice and finds nothing, for longer than making them takes. Safe to nest
    and in several threads: it is on again when the last of them is done, unless it was off before the first began.
    """
    if count < _MANY:
        yield
        return
    _COLLECTOR.pause()
    try:
        yield
    finally:
        _COLLECTOR.resume()
