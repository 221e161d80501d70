"""A slice's rows on disk, column by column, until the types of all its columns are known."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final

import pyarrow as pa

_IN_MEMORY: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: columns by number, as arrays or, where their values are of several kinds, as Python values."""

    rows: int
    arrays: Mapping[int, pa.Array]
    values: Mapping[int, Sequence[Any]]


@dataclass(slots=True)
class Spool:
    """Chunks in a temporary file that nobody else can open; small ones never leave memory."""

    _file: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115
    _places: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return sum(rows for rows, _, _ in self._places)

    def add(self, chunk: Chunk) -> None:
        """Write one chunk at the end."""
        start = self._file.tell()
        batch = pa.RecordBatch.from_arrays(list(chunk.arrays.values()), names=[str(n) for n in chunk.arrays])
        with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), batch.schema) as writer:
            writer.write_batch(batch)
        middle = self._file.tell()
        pickle.dump(dict(chunk.values), self._file, pickle.HIGHEST_PROTOCOL)
        self._places.append((chunk.rows, start, middle))

    def chunks(self) -> Iterator[Chunk]:
        """All chunks, in their order; also a second time."""
        for rows, start, middle in self._places:
            self._file.seek(start)
            data = self._file.read(middle - start)
            batch = pa.ipc.open_stream(data).read_next_batch()
            values = pickle.load(self._file)  # noqa: S301 - our own file, which has no name
            yield Chunk(rows, {int(name): batch.column(name) for name in batch.schema.names}, values)

    def close(self) -> None:
        """Remove the file; safe to call twice."""
        self._file.close()
