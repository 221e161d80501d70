"""Tables of parsed lines, kept until the types of all lines are known: in memory, then in a temporary file."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from lakecat_connectors._limits import may_write

_IN_MEMORY: Final = 32 << 20
_ON_DISK: Final = 4 << 30
_SHARE_OF_DISK: Final = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where one table is kept."""

    table: pa.Table | None
    start: int = 0
    size: int = 0


class KeptTables:
    """Takes tables in for as long as there is room: a few MiB of memory, a few GiB of at most half the free disk."""

    def __init__(self) -> None:
        self._memory = _IN_MEMORY
        self._disk = _ON_DISK
        self._file: _File | None = None

    def keep(self, table: pa.Table) -> Place | None:
        """Where the table is from now on; None when there is no room."""
        size = table.nbytes
        if size <= self._memory:
            self._memory -= size
            return Place(table)
        self._memory = 0
        if size > self._disk:
            return None
        try:
            return self._spilled(table)
        except OSError:  # a full disk, or none to write to: the lines will be parsed again
            self._disk = 0
            return None

    def table(self, place: Place) -> pa.Table:
        """The table that is kept there."""
        if place.table is not None or self._file is None:
            return place.table
        return pa.ipc.open_stream(os.pread(self._file.reading, place.size, place.start)).read_all()

    def close(self) -> None:
        """Remove the file; safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _spilled(self, table: pa.Table) -> Place:
        if self._file is None:
            self._disk = min(self._disk, shutil.disk_usage(tempfile.gettempdir()).free // _SHARE_OF_DISK)
            self._file = _File()
        start = self._file.writing.tell()
        with may_write(_ON_DISK), pa.ipc.new_stream(self._file.writing, table.schema) as writer:
            writer.write_table(table)
        size = self._file.writing.tell() - start
        self._disk -= size
        return Place(None, start, size)


class _File:
    """A file without a name; Arrow writes into it without a copy on the way."""

    def __init__(self) -> None:
        self.reading, path = tempfile.mkstemp(prefix="lakecat-")
        try:
            self.writing = pa.OSFile(path, "wb")
        except OSError:
            os.close(self.reading)
            raise
        finally:
            Path(path).unlink()

    def close(self) -> None:
        """Give its space back."""
        self.writing.close()
        os.close(self.reading)
