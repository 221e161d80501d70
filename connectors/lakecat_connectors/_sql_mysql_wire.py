"""Rows of MySQL's text protocol, straight from the socket into Arrow arrays, column by column.

A row is a packet (a length of 3 bytes and a sequence number, then the values one after the other), a value is its
length and its bytes ("Text Resultset Row" in MySQL's protocol). Python finds the packets; NumPy finds the n-th value of
all rows of a block at once. PyMySQL's own cursors make an object of every value, which takes some ten times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pymysql
from pymysql.connections import MySQLResult
from pymysql.constants import COMMAND, CR
from pymysql.protocol import MysqlPacket

_NULL: Final = 0xFB
_EOF: Final = 0xFE
_ERROR: Final = 0xFF
_EOF_SIZE: Final = 9
_WHOLE_PACKET: Final = 0xFFFFFF
_CHUNK: Final = 256 * 1024
_WIDE: Final = 512
_LENGTHS: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}
_header = struct.Struct("<I").unpack_from


def abandon(connection: Any) -> None:
    """Drop a connection whose state is unknown, without a word to the server."""
    connection._force_close()  # noqa: SLF001 - PyMySQL's close wants to take its leave


class Block:
    """Whole rows: the packets' bytes, and where each row begins."""

    def __init__(self, data: bytes, starts: list[int]) -> None:
        self.size = len(data)
        self.rows = len(starts)
        self._data = np.frombuffer(data + bytes(9), dtype=np.uint8)
        self._raw = data
        self._at = np.array(starts, dtype=np.int64)

    def columns(self, binary: list[bool]) -> list[pa.Array]:
        """A string or binary array for each column; raises ArrowInvalid for text that is not UTF-8."""
        return [self._next(pa.binary() if one else pa.string()) for one in binary]

    def _next(self, type_: pa.DataType) -> pa.Array:
        length = self._data[self._at].astype(np.int64)
        start = self._at + 1
        null = None
        if length.size and int(length.max()) >= _NULL:
            null = length == _NULL
            length[null] = 0
            for mark, count in _LENGTHS.items():
                self._long(length, start, mark, count)
        self._at = start + length
        return _array(type_, self._gather(start, length), length, null)

    def _long(self, length: Any, start: Any, mark: int, count: int) -> None:
        rows = np.flatnonzero(self._data[start - 1] == mark)
        if not rows.size:
            return
        value = np.zeros(rows.size, dtype=np.int64)
        for byte in range(count):
            value |= self._data[start[rows] + byte].astype(np.int64) << (8 * byte)
        length[rows] = value
        start[rows] += count

    def _gather(self, start: Any, length: Any) -> bytes | Any:
        total = int(length.sum())
        if total > _WIDE * self.rows:
            raw = memoryview(self._raw)
            return b"".join(
                raw[first : first + size] for first, size in zip(start.tolist(), length.tolist(), strict=True)
            )
        before = np.cumsum(length) - length
        return self._data[np.repeat(start - before, length) + np.arange(total)]


def _array(type_: pa.DataType, data: Any, length: Any, null: Any) -> pa.Array:
    offsets = np.zeros(length.size + 1, dtype=np.int32)
    np.cumsum(length, out=offsets[1:])
    validity = None
    if null is not None and null.any():
        validity = pa.py_buffer(np.packbits(~null, bitorder="little").tobytes())
    array = pa.Array.from_buffers(type_, length.size, [validity, pa.py_buffer(offsets), pa.py_buffer(data)])
    if pa.types.is_string(type_):
        array.validate(full=True)
    return array


class Result:
    """The rows of one query on their way; nothing else can be asked on the connection until they are at their end."""

    def __init__(self, connection: Any, statement: str) -> None:
        """Send the query. Raises pymysql.Error."""
        self._connection = connection
        connection._execute_command(COMMAND.COM_QUERY, statement.encode())  # noqa: SLF001 - PyMySQL shows no packets
        result: Any = MySQLResult(connection)
        result.init_unbuffered_query()
        result.unbuffered_active = False
        self.fields = result.fields
        self.ended = False
        self._left = bytearray()

    def blocks(self, rows: int, size: int) -> Iterator[Block]:
        """Blocks of at most so many rows, and about so many bytes. Raises pymysql.Error."""
        while not self.ended:
            data, starts = self._block(rows, size)
            if starts:
                yield Block(data, starts)

    def drain(self) -> None:
        """Take what is still to come, and drop it."""
        while not self.ended:
            self._block(65_536, 2**20)

    def _block(self, rows: int, size: int) -> tuple[bytes, list[int]]:
        starts: list[int] = []
        buffer, at = self._left, 0
        while len(starts) < rows and at < size:
            end = len(buffer)
            # The rows that are there as a whole.
            while at + 4 < end and len(starts) < rows:
                length = _header(buffer, at)[0] & _WHOLE_PACKET
                if at + 4 + length > end or length == _WHOLE_PACKET or buffer[at + 4] >= _EOF:
                    break
                starts.append(at + 4)
                at += 4 + length
            if len(starts) == rows or at >= size:
                break
            length = self._need(buffer, at)
            if self._is_end(buffer, at, length):
                break
            starts.append(at + 4)
            at = self._join(buffer, at) if length == _WHOLE_PACKET else at + 4 + length
        self._left = buffer[at:]
        return bytes(buffer[:at]), starts

    def _need(self, buffer: bytearray, at: int) -> int:
        """Read until the packet at ``at`` is whole; its length."""
        while len(buffer) < at + 4:
            self._read(buffer, _CHUNK)
        length = int(_header(buffer, at)[0]) & _WHOLE_PACKET
        while len(buffer) < at + 4 + length:
            self._read(buffer, max(_CHUNK, at + 4 + length - len(buffer)))
        return length

    def _join(self, buffer: bytearray, at: int) -> int:
        """Take the headers out of a row of several packets ("Sending More Than 16Mb" in the protocol); its end."""
        end, length = at + 4 + _WHOLE_PACKET, _WHOLE_PACKET
        while length == _WHOLE_PACKET:
            length = self._need(buffer, end)
            del buffer[end : end + 4]
            end += length
        return end

    def _is_end(self, buffer: bytearray, at: int, length: int) -> bool:
        first = buffer[at + 4] if length else 0
        if first == _ERROR:
            self._ended_by(bytes(buffer[at + 4 : at + 4 + length]))
        if first == _EOF and length < _EOF_SIZE:
            self.ended = True
            del buffer[at:]
        return self.ended

    def _ended_by(self, data: bytes) -> None:
        self.ended = True
        MysqlPacket(data, "utf8").raise_for_error()

    def _read(self, buffer: bytearray, size: int) -> None:
        cause: OSError | None = None
        try:
            data = self._connection._rfile.read1(size)  # noqa: SLF001 - PyMySQL shows no packets
        except OSError as err:
            data, cause = b"", err
        if not data:
            self.ended = True
            abandon(self._connection)
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, "lost connection while reading") from cause
        buffer += data
