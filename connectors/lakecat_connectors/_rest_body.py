"""One response's body: read in bounds, unpacked in bounds."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

import httpcore2

from lakecat.errors import ParseError, Where

_CHUNK: Final = 1 << 20


class Body:
    """Reads one response: not too long, unpacked with a bound on what comes out."""

    def __init__(self, most: int, shown: str) -> None:
        """At most so many bytes, packed or unpacked. ``shown``: the URL, for errors."""
        self._most = most
        self._shown = shown
        self._pieces: list[bytes] = []
        self._size = 0

    def read(self, response: httpcore2.Response, headers: Mapping[str, str]) -> bytes:
        """All of it, plain. Raises ParseError."""
        encoding = headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise ParseError(
                f"the answer is packed with {encoding[:40]!r}, which was not asked for", where=Where(self._shown)
            )
        unpack = None if encoding == "identity" else zlib.decompressobj(wbits=31)
        for chunk in response.iter_stream():
            if unpack is None:
                self._add(chunk)
            else:
                self._inflate(unpack, chunk)
        if unpack is not None and not unpack.eof and self._size:
            raise ParseError("the answer's gzip data ends in the middle", where=Where(self._shown))
        return b"".join(self._pieces)

    def _inflate(self, unpack: zlib._Decompress, chunk: bytes) -> None:
        try:
            while chunk and not unpack.eof:
                self._add(unpack.decompress(chunk, _CHUNK))
                chunk = unpack.unconsumed_tail
        except zlib.error as err:
            raise ParseError("the answer is not sound gzip", where=Where(self._shown)) from err
        if unpack.unused_data or chunk:
            raise ParseError("bytes follow the answer's gzip data", where=Where(self._shown))

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise ParseError(
                f"the answer is longer than {self._most} bytes",
                where=Where(self._shown),
                hint="ask for smaller pages, or raise max_response_bytes:",
            )
        self._pieces.append(piece)
