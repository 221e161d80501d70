"""What a run has still to read of its snapshot, so that it is let go of when that is nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from lakecat.connector import Slice
from lakecat.types import Json


class Left:
    """Plans that may give more slices, parts of slices that were not read to their end, and readers that are open.

    Nothing is let go of before ``settled``: until then further streams may be planned.
    """

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = threading.Lock()
        self._settled = False
        self._plans = 0
        self._readers: set[object] = set()
        self._parts: dict[str, set[str]] = {}

    def settle(self) -> None:
        """No further stream will be planned."""
        with self._lock:
            self._settled = True

    def planned(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        """The same slices, of which account is kept."""
        with self._lock:
            self._plans += 1
        return self._given(slices)

    def opened(self) -> object:
        """A reader has been opened; what it is known by."""
        reader = object()
        with self._lock:
            self._readers.add(reader)
        return reader

    def closed(self, reader: object, slice_: Slice, *, finished: bool) -> None:
        """It has been closed, perhaps once more; ``finished``: after the last row of its slice, or of its splits."""
        with self._lock:
            self._readers.discard(reader)
            if finished:
                parts = self._parts.get(slice_.key, set())
                parts -= set(map(_named, slice_.splits)) if slice_.splits else set(parts)
                if not parts:
                    self._parts.pop(slice_.key, None)
            self._release_unneeded()

    def _given(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        more = True
        for slice_ in slices:
            with self._lock:
                self._parts[slice_.key] = set(map(_named, slice_.splits)) or {""}
                if more and slice_.payload.get("last"):
                    more, self._plans = False, self._plans - 1
            yield slice_
        with self._lock:
            self._plans -= more
            self._release_unneeded()

    def _release_unneeded(self) -> None:
        if self._settled and not (self._plans or self._readers or self._parts):
            self._release()


def _named(part: Mapping[str, Json]) -> str:
    return json.dumps(part, sort_keys=True)
