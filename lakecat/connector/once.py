"""What every reader of a slice promises: its batches come once, and the summary is there after the last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from lakecat.errors import UsageError

_T = TypeVar("_T")


@dataclass(slots=True)
class Once:
    """How far one reader's batches have been taken."""

    _taken: bool = False
    _finished: bool = False

    def through(self, batches: Iterable[_T]) -> Iterator[_T]:
        """The batches. Raises UsageError the second time."""
        if self._taken:
            raise UsageError("a slice can be read once")
        self._taken = True
        yield from batches
        self._finished = True

    def check_finished(self) -> None:
        """Raises UsageError before the last batch was taken."""
        if not self._finished:
            raise UsageError("the slice has not been read to its end")
