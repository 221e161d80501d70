"""A table's snapshots as JSON text, one piece each, so that a commit neither parses nor re-writes what it keeps.

lakecat writes ``snapshots`` and ``snapshot-log`` last in a metadata file, each entry beginning with its snapshot id,
and right before them a checksum of that text. A file of this form is cut into pieces without parsing them; any other
file (Iceberg's own libraries order the keys otherwise) is parsed in full. The marks looked for cannot be inside a JSON
string, where a quote would be escaped.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json

from lakecat.errors import CorruptFileError, Where

_SEPARATOR: Final = b'},{"snapshot-id":'
_LOG: Final = b'}],"snapshot-log":[{"snapshot-id":'
LARGEST_METADATA: Final = 256 << 20
"""Compressed metadata may not unpack to more: a few kilobytes could fill any memory."""
_START: Final = re.compile(rb',"lakecat-history-crc32":(\d+),("snapshots":\[)(?=\{"snapshot-id":)')


@dataclass(frozen=True, slots=True)
class History:
    """Snapshots and log entries, oldest first, as JSON objects that begin with ``"snapshot-id"``."""

    snapshots: tuple[bytes, ...] = ()
    log: tuple[bytes, ...] = ()

    def find(self, snapshot_id: int | None) -> dict[str, Any] | None:
        """One snapshot, parsed; None when it is not there."""
        if snapshot_id is None:
            return None
        start = b'{"snapshot-id":%d,' % snapshot_id
        found = next((text for text in reversed(self.snapshots) if text.startswith(start)), None)
        return None if found is None else from_json(found)

    def parsed(self) -> tuple[dict[str, Any], ...]:
        """All snapshots."""
        return tuple(from_json(b"[" + b",".join(self.snapshots) + b"]"))

    def parsed_log(self) -> tuple[dict[str, Any], ...]:
        """All log entries."""
        return tuple(from_json(b"[" + b",".join(self.log) + b"]"))

    def append(self, snapshot: Mapping[str, Any], log: Mapping[str, Any]) -> History:
        """One more of each."""
        return History((*self.snapshots, _text(snapshot)), (*self.log, _text(log)))


def decode(data: bytes, location: str) -> tuple[dict[str, Any], History]:
    """A metadata file: all of it but snapshots and log, parsed; and those two. Raises CorruptFileError."""
    where = Where(location)
    try:
        if data[:2] == b"\x1f\x8b":
            data = _unzip(data, where)
        if (start := _START.search(data)) is not None and data.endswith(b"}]}"):
            body = data[start.start(2) :]
            if zlib.crc32(body) != int(start.group(1)):
                raise CorruptFileError("the table's metadata was changed after it was written", where=where)
            return from_json(data[: start.start()] + b"}"), _cut(body, len(start.group(2)))
        raw = from_json(data)
    except (ValueError, zlib.error) as err:
        raise CorruptFileError("the table's metadata is not JSON", where=where) from err
    if not isinstance(raw, dict) or "format-version" not in raw:
        raise CorruptFileError("this is not Iceberg table metadata", where=where)
    try:
        snapshots = tuple(_text(entry) for entry in raw.pop("snapshots", None) or ())
        log = tuple(_text(entry) for entry in raw.pop("snapshot-log", None) or ())
    except (KeyError, TypeError) as err:
        raise CorruptFileError("the table's snapshots are damaged", where=where) from err
    raw.pop("lakecat-history-crc32", None)
    return raw, History(snapshots, log)


def _unzip(data: bytes, where: Where) -> bytes:
    """A gzip member, as long as it stays below what any table's metadata comes to."""
    stream = zlib.decompressobj(wbits=31)
    found = stream.decompress(data, LARGEST_METADATA)
    if stream.unconsumed_tail:
        raise CorruptFileError(f"the table's metadata unpacks to more than {LARGEST_METADATA:,} bytes", where=where)
    if not stream.eof or stream.unused_data:
        raise CorruptFileError("the table's metadata is cut off, or has something behind its end", where=where)
    return found


def encode(head: Mapping[str, Any], history: History) -> bytes:
    """The metadata file."""
    body = b'"snapshots":[' + b",".join(history.snapshots) + b'],"snapshot-log":[' + b",".join(history.log) + b"]}"
    return to_json(head)[:-1] + b',"lakecat-history-crc32":%d,' % zlib.crc32(body) + body


def _cut(body: bytes, start: int) -> History:
    end = body.rindex(_LOG)
    log_start = end + len(_LOG) - len(b'{"snapshot-id":')
    return History(_split(body[start : end + 1]), _split(body[log_start:-2]))


def _split(text: bytes) -> tuple[bytes, ...]:
    """The objects of a JSON array's inside."""
    first, *rest = text[:-1].split(_SEPARATOR)
    return (first + b"}", *(b'{"snapshot-id":' + piece + b"}" for piece in rest))


def _text(entry: Mapping[str, Any]) -> bytes:
    return to_json({"snapshot-id": entry["snapshot-id"], **entry})
