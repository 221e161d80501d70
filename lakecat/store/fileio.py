"""PyIceberg's FileIO over a LakeStore, so that PyIceberg's readers and writers get its confinement and durability."""

# ruff: noqa: FBT001, FBT002, ARG002 - the signatures are PyIceberg's

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from lakecat.errors import ObjectMissingError

if TYPE_CHECKING:
    from lakecat.store.base import LakeStore


class LakeFileIO(FileIO):
    """Reads and writes through one LakeStore."""

    def __init__(self, store: LakeStore) -> None:
        super().__init__({})
        self._store = store

    def new_input(self, location: str) -> InputFile:
        """An input at a location of the lake."""
        return _Input(location, self._store)

    def new_output(self, location: str) -> OutputFile:
        """An output at a location of the lake."""
        return _Output(location, self._store)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file; FileNotFoundError as PyIceberg wants it."""
        where = location if isinstance(location, str) else location.location
        if not self._store.exists(where):
            raise FileNotFoundError(where)
        self._store.delete(where)


class _Input(InputFile):
    def __init__(self, location: str, store: LakeStore) -> None:
        super().__init__(location)
        self._store = store

    def __len__(self) -> int:
        return self._store.size(self.location)

    def exists(self) -> bool:
        return self._store.exists(self.location)

    def open(self, seekable: bool = True) -> InputStream:
        try:
            return cast("InputStream", self._store.open_input(self.location))
        except ObjectMissingError as err:
            raise FileNotFoundError(self.location) from err


class _Output(OutputFile):
    def __init__(self, location: str, store: LakeStore) -> None:
        super().__init__(location)
        self._store = store

    def __len__(self) -> int:
        return self._store.size(self.location)

    def exists(self) -> bool:
        return self._store.exists(self.location)

    def to_input_file(self) -> InputFile:
        return _Input(self.location, self._store)

    def create(self, overwrite: bool = False) -> OutputStream:
        if not overwrite and self.exists():
            raise FileExistsError(self.location)
        return cast("OutputStream", self._store.open_output(self.location))


class MemoryInput(InputFile):
    """Bytes that were read already."""

    def __init__(self, location: str, data: bytes) -> None:
        super().__init__(location)
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def exists(self) -> bool:
        """True."""
        return True

    def open(self, seekable: bool = True) -> InputStream:
        """A stream over the bytes."""
        return cast("InputStream", io.BytesIO(self._data))


class MemoryOutput(OutputFile):
    """Collects what PyIceberg's Avro writers produce, so that the store writes it in one piece."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._buffer = _Kept()

    def __len__(self) -> int:
        return len(self._buffer.data)

    @property
    def data(self) -> bytes:
        """The bytes, once the writer has closed its stream."""
        return self._buffer.data

    def exists(self) -> bool:
        """False: nothing is in the store."""
        return False

    def to_input_file(self) -> InputFile:
        """The same bytes, to read."""
        return MemoryInput(self.location, self.data)

    def create(self, overwrite: bool = False) -> OutputStream:
        """The stream that collects."""
        return cast("OutputStream", self._buffer)


class _Kept(io.BytesIO):
    """A buffer whose bytes outlive close()."""

    data: bytes = b""

    def close(self) -> None:
        if not self.closed:
            self.data = self.getvalue()
        super().close()
