"""The container of Avro files: header, blocks, codecs, sync markers (Avro 1.12, "Object Container Files")."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from lakecat.errors import LakecatError, ParseError, Where
from lakecat_connectors._bytes import RawFile

_MAGIC: Final = b"Obj\x01"
_SYNC: Final = 16
_MAX_HEADER: Final = 16 << 20
_MAX_BLOCK: Final = 256 << 20
_CHUNK: Final = 1 << 20


class Container:
    """One Avro file, its header read. ``schema`` is the JSON text of the writer's schema."""

    def __init__(self, raw: RawFile) -> None:
        """Read the header. Raises ParseError."""
        self.shown = raw.shown
        self._raw = raw
        self._data = b""
        self._at = 0
        try:
            self._header()
        except LakecatError:
            raw.close()
            raise

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Each block's number of records and its decompressed bytes. Raises ParseError."""
        unpack = self._codec()
        while not self._ended():
            count, size = self._long(), self._long()
            if count < 0 or not 0 <= size <= _MAX_BLOCK:
                raise self.error(f"a block says that it holds {count} records in {size} bytes")
            data = self._take(size)
            if self._take(_SYNC) != self._sync:
                raise self.error("a block does not end with the file's sync marker")
            try:
                plain = unpack(data)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, pa.ArrowException) as err:
                raise self.error(f"a block is not sound {self._codec_name} data ({str(err)[:80]})") from err
            yield count, plain

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def error(self, what: str) -> ParseError:
        """A ParseError at this file."""
        return ParseError(what, where=Where(self.shown), hint="get the file again; it may be damaged or cut off")

    def _header(self) -> None:
        if self._take(4) != _MAGIC:
            raise ParseError("is not an Avro file", where=Where(self.shown), hint="say the format that it has")
        facts: dict[bytes, bytes] = {}
        while count := self._long():
            if count < 0:
                self._long()
            for _ in range(abs(count)):
                key = self._sized()
                facts[key] = self._sized()
        self._sync = self._take(_SYNC)
        self._codec_name = facts.get(b"avro.codec", b"null").decode("ascii", "replace")
        try:
            self.schema = facts[b"avro.schema"].decode()
        except (KeyError, UnicodeDecodeError) as err:
            raise self.error("its header holds no schema") from err

    def _sized(self) -> bytes:
        size = self._long()
        if not 0 <= size <= _MAX_HEADER:
            raise self.error(f"its header says that a text has {size} bytes")
        return self._take(size)

    def _ended(self) -> bool:
        if self._at < len(self._data):
            return False
        self._data, self._at = self._raw.read(_CHUNK), 0
        return not self._data

    def _take(self, size: int) -> bytes:
        missing = size - (len(self._data) - self._at)
        if missing > 0:
            pieces = [self._data[self._at :]]
            while missing > 0 and (piece := self._raw.read(max(missing, _CHUNK))):
                pieces.append(piece)
                missing -= len(piece)
            self._data, self._at = b"".join(pieces), 0
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise self.error("the Avro data ends in the middle")
        self._at += size
        return taken

    def _long(self) -> int:
        """A zig-zag number of variable length, at most 64 bits."""
        result = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (result >> 1) ^ -(result & 1)
        raise self.error("a number has more than 64 bits")

    def _codec(self) -> Callable[[bytes], bytes]:
        codecs: dict[str, Callable[[bytes], bytes]] = {
            "null": lambda data: data,
            "deflate": lambda data: _bounded(zlib.decompressobj(-15), data),
            "bzip2": lambda data: _bounded(bz2.BZ2Decompressor(), data),
            "xz": lambda data: _bounded(lzma.LZMADecompressor(lzma.FORMAT_XZ), data),
            "snappy": _unsnappy,
            "zstandard": _unzstd,
        }
        if self._codec_name not in codecs:
            raise ParseError(
                f"is compressed with {self._codec_name[:40]!r}, which is not read",
                where=Where(self.shown),
                hint=f"the codecs are {', '.join(codecs)}",
            )
        return codecs[self._codec_name]


def _bounded(inflater: Any, data: bytes) -> bytes:
    out: bytes = inflater.decompress(data, _MAX_BLOCK)
    if not inflater.eof:
        raise ValueError("the data ends in the middle" if len(out) < _MAX_BLOCK else _too_large())
    return out


def _unsnappy(data: bytes) -> bytes:
    """Snappy's raw format, then the CRC-32 of what it holds, big-endian."""
    body, checksum = data[:-4], data[-4:]
    size = 0
    for shift, byte in enumerate(body[:5]):
        size |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            break
    if size > _MAX_BLOCK:
        raise ValueError(_too_large())
    out: bytes = pa.Codec("snappy").decompress(body, size, asbytes=True)
    if len(checksum) != 4 or struct.unpack(">I", checksum)[0] != zlib.crc32(out):
        raise ValueError("the checksum differs")
    return out


def _unzstd(data: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        out: bytes = stream.read(_MAX_BLOCK + 1)
    if len(out) > _MAX_BLOCK:
        raise ValueError(_too_large())
    return out


def _too_large() -> str:
    return f"a block holds more than {_MAX_BLOCK >> 20} MiB"
