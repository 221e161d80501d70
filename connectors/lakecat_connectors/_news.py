"""Which files are new, and which are gone: the listing against the ledger, a part at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

import numpy as np

from lakecat.connector import StreamState
from lakecat.types import FileVersion

_PART: Final = 5_000


class Seen:
    """The URIs that were listed, 16 bytes of a hash for each."""

    def __init__(self) -> None:
        self._hashes = bytearray()
        self._sorted: Any = None

    def add(self, uri: str) -> None:
        """Remember a URI."""
        self._hashes += _hash(uri)

    def missing(self, files: Iterable[FileVersion]) -> Iterator[FileVersion]:
        """Those of the files that were not listed; nothing may be added after it was asked."""
        if self._sorted is None:
            self._sorted = np.sort(np.frombuffer(self._hashes, dtype="S16"))
        source = iter(files)
        while part := list(islice(source, _PART)):
            asked = np.frombuffer(b"".join(_hash(file.uri) for file in part), dtype="S16")
            places = np.searchsorted(self._sorted, asked)
            places[places == len(self._sorted)] = 0
            there = self._sorted[places] == asked if len(self._sorted) else np.zeros(len(part), dtype=bool)
            yield from (part[index] for index in np.flatnonzero(~there))


def _hash(uri: str) -> bytes:
    return hashlib.blake2b(uri.encode(), digest_size=16).digest()


def news(
    listed: Iterator[FileVersion], state: StreamState, covers: Callable[[str], bool] | None
) -> tuple[tuple[FileVersion, ...], tuple[FileVersion, ...]]:
    """New file versions and files that are gone, both by URI.

    ``covers`` tells whether a file would have been listed if it were there; None: gone files are not asked for.
    """
    seen = Seen()
    new: dict[str, FileVersion] = {}
    while part := list(islice(listed, _PART)):
        loaded = state.loaded(part)
        for version in part:
            if covers is not None:
                seen.add(version.uri)
            if version not in loaded:
                new[version.uri] = version
    gone = () if covers is None else (file for file in seen.missing(state.ledger()) if covers(file.uri))
    return tuple(new[uri] for uri in sorted(new)), tuple(sorted(gone, key=lambda file: file.uri))
