"""The bytes of one file: hashed, counted, decompressed with every check the format has, decoded to UTF-8."""

from __future__ import annotations

import bz2
import codecs
import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import pyarrow as pa

from lakecat.errors import ParseError, SourceChangedError, SourceError, Where
from lakecat_connectors._limits import progress
from lakecat_connectors._options import Compression

CHUNK: Final = 1 << 22
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MAGICS: Final[tuple[tuple[bytes, Compression], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
)
_XZ_MEMORY: Final = 1 << 30


class RawFile:
    """A local file read once from start to end, its bytes hashed; ``finish`` proves that it did not change."""

    def __init__(self, path: str, shown: str, size: int) -> None:
        """Open the file. Raises SourceChangedError when it is gone or has another size than planned."""
        self.shown = shown
        self._size = size
        self._hash = hashlib.sha256()
        self._read = 0
        try:
            self._file: BinaryIO = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
        except FileNotFoundError as err:
            raise SourceChangedError("the file is gone", where=Where(shown)) from err
        except OSError as err:
            what = f"cannot be read ({err.strerror})"
            raise SourceError(what, where=Where(shown), hint="check the file's permissions") from err
        self._before = os.fstat(self._file.fileno())

    def read(self, size: int = CHUNK) -> bytes:
        """Up to ``size`` bytes; empty at the end."""
        data = self._file.read(size)
        self._hash.update(data)
        self._read += len(data)
        progress()
        return data

    def finish(self) -> str:
        """The SHA-256 of all bytes, in hex. Raises SourceChangedError unless exactly the planned file was read."""
        while self.read():
            pass
        after = os.fstat(self._file.fileno())
        same = (after.st_size, after.st_mtime_ns) == (self._before.st_size, self._before.st_mtime_ns)
        if not same or self._read != self._size:
            raise SourceChangedError(
                "the file changed while it was read",
                where=Where(self.shown),
                hint="deliver files under another name and rename them when they are complete; then run the job again",
            )
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


MARKING: Final = "lakecat.marking"
"""Decodes each byte that is no text to a surrogate, which no text in UTF-8 holds."""


def _mark(err: UnicodeError) -> tuple[str, int]:
    if not isinstance(err, UnicodeDecodeError):
        raise err
    return "".join(chr(0xDC00 + byte) for byte in err.object[err.start : err.end]), err.end


codecs.register_error(MARKING, _mark)


def text_chunks(raw: RawFile, compression: Compression, encoding: str, *, marking: bool = False) -> Iterator[bytes]:
    """The file's text as UTF-8 chunks of about 4 MiB, without a byte order mark. Raises ParseError.

    UTF-8 is not checked here. Bytes that are no text of another encoding raise as well, or with ``marking`` come as
    surrogates, which are not valid in UTF-8 either.
    """
    chunks = _joined(decompressed(raw, compression))
    first = next(chunks, b"")
    _refuse_compressed(first, raw.shown, compression)
    if encoding == "utf-8":
        _refuse_other_bom(first, raw.shown)
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from chunks
        return
    yield from (_marked(first, chunks, encoding) if marking else _transcoded(first, chunks, encoding, raw.shown))


def _joined(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces put together, so that the first chunk holds any byte order mark whole."""
    pieces: list[bytes] = []
    size = 0
    for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size >= CHUNK // 2:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def _refuse_compressed(first: bytes, shown: str, compression: Compression) -> None:
    for magic, name in MAGICS:
        if first.startswith(magic):
            what = f"is {name} inside {compression}" if compression != "none" else f"is compressed with {name}"
            raise ParseError(what, where=Where(shown), hint=f"say compression: {name}, or unpack the file once")


def _refuse_other_bom(first: bytes, shown: str) -> None:
    for bom, name in _BOMS:
        if first.startswith(bom):
            raise ParseError(
                f"starts with a byte order mark of {name}, not UTF-8",
                where=Where(shown, 1),
                hint=f"say encoding: {name}",
            )


def _transcoded(first: bytes, chunks: Iterator[bytes], encoding: str, shown: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line = 1
    start = True
    for chunk in _then(first, chunks):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as err:
            line += bytes(err.object[: err.start]).decode(encoding, "ignore").count("\n")
            raise ParseError(
                f"bytes {err.object[err.start : err.end].hex(' ')} are not {encoding} text",
                where=Where(shown, line),
                hint="say the encoding that the file has in encoding:",
            ) from None
        if start and text:
            text, start = text.removeprefix("\ufeff"), False
        line += text.count("\n")
        try:
            yield text.encode()
        except UnicodeEncodeError:
            raise ParseError("holds a lone surrogate", where=Where(shown, line), hint="mend the file") from None


def _marked(first: bytes, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(MARKING)
    start = True
    for chunk in _then(first, chunks):
        text = decoder.decode(chunk, final=not chunk)
        if start and text:
            text, start = text.removeprefix("\ufeff"), False
        yield text.encode("utf-8", "surrogatepass")


def _then(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from (chunk for chunk in chunks if chunk)
    yield b""


class _Inflater(Protocol):
    """What zlib's and bz2's decompressor objects have in common here."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def decompressed(raw: RawFile, compression: Compression) -> Iterator[bytes]:
    """The file's bytes without its compression, in chunks of at most 4 MiB. Raises ParseError."""
    if compression == "none":
        return iter(raw.read, b"")
    if compression == "zstd":
        return _unzstd(raw)
    if compression == "gzip":
        return _members(raw, "gzip", lambda: zlib.decompressobj(wbits=31), _inflate, padding=b"\0")
    if compression == "xz":
        return _members(
            raw, "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY), _feed, padding=b"\0"
        )
    return _members(raw, "bz2", bz2.BZ2Decompressor, _feed, padding=b"")


def _members(
    raw: RawFile,
    name: str,
    new: Callable[[], Any],
    feed: Callable[[Any, bytes], Iterator[bytes]],
    *,
    padding: bytes,
) -> Iterator[bytes]:
    """Every member of a gzip (RFC 1952) or bz2 file, its checksum and length checked by the library."""
    current: _Inflater | None = None
    pending = b""
    complete = False
    while data := pending or raw.read():
        pending = b""
        if current is None:
            data = data.lstrip(padding) if complete and padding else data
            if not data:
                continue
            current = new()
        try:
            yield from feed(current, data)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as err:
            what = f"is not {name} after its last member" if complete else f"is not a sound {name} file"
            raise ParseError(
                f"{what} ({err})", where=Where(raw.shown), hint="get the file again; it may be damaged or cut off"
            ) from err
        if current.eof:
            pending, current, complete = current.unused_data, None, True
    if current is not None:
        raise ParseError(
            f"the {name} data ends in the middle", where=Where(raw.shown), hint="get the file again: it is cut off"
        )


def _inflate(inflater: Any, data: bytes) -> Iterator[bytes]:
    out = b"-" * CHUNK
    while data or len(out) == CHUNK:  # output may wait inside zlib when all input is consumed
        out = inflater.decompress(data, CHUNK)
        data = inflater.unconsumed_tail
        yield out
        if inflater.eof:
            return


def _feed(inflater: Any, data: bytes) -> Iterator[bytes]:
    yield inflater.decompress(data, CHUNK)
    while not inflater.eof and not inflater.needs_input:
        yield inflater.decompress(b"", CHUNK)


def _unzstd(raw: RawFile) -> Iterator[bytes]:
    try:
        with pa.CompressedInputStream(pa.PythonFile(_Readable(raw), mode="r"), "zstd") as stream:
            while data := stream.read(CHUNK):
                yield data
    except (OSError, pa.ArrowException) as err:
        raise ParseError(
            f"is not a sound zstd file ({err})", where=Where(raw.shown), hint="get the file again; it may be cut off"
        ) from err


class _Readable:
    """RawFile as the file object pyarrow asks for."""

    closed = False

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        return self._raw.read(CHUNK if size < 0 else size)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
