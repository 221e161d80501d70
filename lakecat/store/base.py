"""What every lake store can do. Locations are full URLs as they stand in Iceberg metadata."""

from __future__ import annotations

import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import pyarrow as pa
import pyarrow.fs as pafs

from lakecat.errors import ObjectExistsError, StoreError

if TYPE_CHECKING:
    from pyiceberg.io import FileIO

    from lakecat.config import Storage

# '?' and '#' end the path when other readers parse the URL; control characters have no place in a name.
_FORBIDDEN: Final = re.compile(r"[?#\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One file of the lake: full location, size in bytes, time of its last change (aware, UTC)."""

    location: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a store proved able to do. Latencies in seconds, of one small object.

    ``put_if_absent``: the store itself refuses the second of two racing creations. lakecat's commit never relies on it.
    """

    url: str
    put_if_absent: bool
    write_seconds: float
    read_seconds: float
    list_seconds: float


class LakeOutput(Protocol):
    """A binary output. What was written can be seen, and is durable, once ``close`` has returned.

    Leaving a ``with`` block by an exception publishes nothing.
    """

    @property
    def closed(self) -> bool:
        """Whether close or abort was called."""

    def write(self, data: bytes | memoryview | pa.Buffer, /) -> int:
        """Append; answers the number of bytes."""

    def tell(self) -> int:
        """Bytes written so far."""

    def flush(self) -> None:
        """Nothing becomes durable before close; there for writers that call it."""

    def close(self) -> None:
        """Publish the file. Raises StoreError when it did not arrive whole. Safe to call twice."""

    def abort(self) -> None:
        """Give the file up; nothing is published. Safe to call twice."""

    def readable(self) -> bool:
        """False."""

    def writable(self) -> bool:
        """True."""

    def seekable(self) -> bool:
        """False."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LakeStore(ABC):
    """The root of a lake and all that lies under it. Safe to use from several threads.

    Every method takes and gives full locations (``file:///abs/lake/raw/…``, ``s3://bucket/prefix/raw/…``) and refuses
    those outside ``url`` with StoreError. Every write is durable when it returns.
    """

    url: str
    filesystem: pafs.FileSystem

    @staticmethod
    def open(url: str, storage: Storage | None = None, *, environ: Mapping[str, str] = os.environ) -> LakeStore:
        """Open a lake by its root: ``s3://bucket/prefix``, ``file:///abs/dir``, or a local path.

        A local folder is made if it is not there. No request goes to S3 before the first use.
        Raises StoreError (bad URL, unusable folder) and ConfigError (a secret that does not resolve).
        """
        scheme, found, _ = url.partition("://")
        if not found or scheme == "file":
            from lakecat.store.local import LocalStore

            return LocalStore(url)
        if scheme == "s3":
            from lakecat.store.s3 import S3Store

            return S3Store(url, storage, environ=environ)
        raise StoreError(
            f"{scheme}:// is no kind of lake that lakecat knows",
            hint="use a folder or s3://bucket/prefix; from other stores the files connector reads",
        )

    def join(self, *parts: str) -> str:
        """A location under the root; parts may hold slashes. Raises StoreError when it would lie outside."""
        return self.confine("/".join((self.url, *(part.strip("/") for part in parts if part.strip("/")))))

    def confine(self, location: str) -> str:
        """The location itself, if it lies under the root: by its spelling, and after all links. Else StoreError."""
        if location != self.url and not location.startswith(self.url + "/"):
            raise StoreError(f"{location!r} lies outside the lake {self.url}")
        relative = location[len(self.url) :]
        if _FORBIDDEN.search(relative) or any(part in (".", "..", "") for part in relative.split("/")[1:]):
            raise StoreError(f"{location!r} is not a plain location in the lake")
        return location

    def canonical(self, location: str) -> str:
        """The location by which ``list`` names the file: after all links. Raises StoreError as ``confine``."""
        return self.confine(location)

    @abstractmethod
    def read(self, location: str) -> bytes:
        """All bytes. Raises ObjectMissingError, StoreUnavailableError, StoreError."""

    @abstractmethod
    def write(self, location: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write one whole file, durably; readers see all of it or none of it.

        ``if_absent`` raises ObjectExistsError when there is one already. Raises StoreUnavailableError, StoreError.
        """

    def mark(self, location: str) -> None:
        """Leave an empty file whose presence alone says something; a power cut may take it back.

        Raises StoreUnavailableError, StoreError.
        """
        self.write(location, b"")

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """Write several files; all are durable when it returns. Raises as ``write``; then some may be there."""
        for location, data in files.items():
            self.write(location, data)

    @abstractmethod
    def exists(self, location: str) -> bool:
        """Whether there is a file. An unreachable store or a denied request raises, and is never "no"."""

    @abstractmethod
    def size(self, location: str) -> int:
        """Size in bytes. Raises ObjectMissingError, StoreUnavailableError."""

    @abstractmethod
    def delete(self, location: str) -> None:
        """Remove a file; one that is not there is no error."""

    def prune(self, prefix: str) -> None:  # noqa: B027 - a store without folders has nothing to do
        """Remove the folder ``prefix`` and those below it, as far as they are empty. Nobody may be writing there."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every file under the folder ``prefix``, at any depth, ordered by location; nothing when there is no folder.

        A listing that breaks midway raises; it never just ends.
        """

    @abstractmethod
    def open_input(self, location: str) -> pa.NativeFile:
        """A seekable input. Raises ObjectMissingError, StoreUnavailableError."""

    @abstractmethod
    def open_output(self, location: str) -> LakeOutput:
        """An output that publishes the file, durably, when it is closed."""

    @abstractmethod
    def seal(self, locations: Iterable[str]) -> None:
        """Make files durable that another library wrote straight to the store (``local_path``, ``filesystem``).

        Raises ObjectMissingError.
        """

    @abstractmethod
    def failure(self, error: Exception, location: str) -> StoreError | None:
        """What an error that a stream of this store raised means; None when it is not the store's doing."""

    @abstractmethod
    def path(self, location: str) -> str:
        """What ``filesystem`` calls this location."""

    def local_path(self, location: str) -> Path | None:
        """The file's path on this machine, or None when the lake is remote."""
        self.confine(location)
        return None

    def file_io(self) -> FileIO:
        """PyIceberg's view of this store: the same confinement, durability, timeouts and retries."""
        from lakecat.store.fileio import LakeFileIO  # PyIceberg takes seconds to import: only when it is wanted

        return LakeFileIO(self)

    def probe(self) -> ProbeResult:
        """Write, read, list and remove one small object; find out whether put-if-absent holds. Raises StoreError."""
        location = self.join(".lakecat-probe", secrets.token_hex(8))
        data = secrets.token_bytes(64)
        started = time.perf_counter()
        self.write(location, data)
        written = time.perf_counter()
        try:
            if self.read(location) != data:
                raise StoreError(f"{self.url} gave back other bytes than were written")
            have_read = time.perf_counter()
            if location not in {found.location for found in self.list(self.join(".lakecat-probe"))}:
                raise StoreError(f"{self.url} does not list a file that was just written")
            listed = time.perf_counter()
            atomic = self._refuses_overwrite(location)
        finally:
            self.delete(location)
        return ProbeResult(
            url=self.url,
            put_if_absent=atomic,
            write_seconds=written - started,
            read_seconds=have_read - written,
            list_seconds=listed - have_read,
        )

    def _refuses_overwrite(self, location: str) -> bool:
        """Whether the store's own put-if-absent refuses to overwrite this existing file."""
        try:
            self._create(location, b"second")
        except ObjectExistsError:
            return True
        return False

    @abstractmethod
    def _create(self, location: str, data: bytes) -> None:
        """The store's own put-if-absent, with no check before it. Raises ObjectExistsError."""
