"""The files of pinned snapshots as a read-only filesystem for DuckDB.

Sizes come from the manifests and nothing is ever listed, so that a file costs the one look-up of its opening: through
s3fs, DuckDB asked 169 times for the sizes of six files. Only the files it was given exist; whatever else is asked for
is not there, and nothing can be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from fsspec.spec import AbstractFileSystem

_GLOB: Final = frozenset("*?[]{}")
# Data files never change, so that any fixed moment is true; DuckDB keys its cache of file parts by it.
_WRITTEN: Final = datetime(2000, 1, 1, tzinfo=UTC)


class FileSource(Protocol):
    """The part of the lake's store that reading needs."""

    def open_input(self, location: str) -> Any:
        """Open a file for random access."""
        ...

    def local_path(self, location: str) -> Any:
        """The local path of a location, or None when it is not local."""
        ...


class SnapshotFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Read-only, exact set of files under the protocol ``lake://``."""

    protocol = "lake"
    cachable = False

    def __init__(self, source: FileSource, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self._source = source
        self._sizes = {engine_url(location): (location, size) for location, size in sizes.items()}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def _entry(self, path: str) -> tuple[str, int]:
        try:
            return self._sizes[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Size and kind of a known file."""
        return {"name": path, "size": self._entry(path)[1], "type": "file"}

    def exists(self, path: str, **_: object) -> bool:
        """Whether the file is one of those given."""
        return path in self._sizes

    def isfile(self, path: str) -> bool:
        """Whether the file is one of those given."""
        return path in self._sizes

    def isdir(self, path: str) -> bool:  # noqa: ARG002 - fsspec's signature
        """Never: there are no folders."""
        return False

    def glob(self, path: str, **_: object) -> list[str]:
        """The very path when it is known; nothing is listed."""
        return [path] if path in self._sizes else []

    def modified(self, path: str) -> datetime:
        """A fixed moment: data files never change."""
        self._entry(path)
        return _WRITTEN

    def created(self, path: str) -> datetime:
        """A fixed moment: data files never change."""
        return self.modified(path)

    def ukey(self, path: str) -> str:
        """The path: data files never change."""
        return path

    def open(self, path: str, mode: str = "rb", **_: object) -> Any:
        """Open a known file for reading.

        Raises:
            PermissionError: any mode but ``rb``.
        """
        if mode != "rb":
            raise PermissionError("the files of a snapshot cannot be written")
        return self._source.open_input(self._entry(path)[0])


def engine_url(location: str) -> str:
    """The URL under which a registered :class:`SnapshotFiles` serves a location."""
    return f"lake://{location}"


def engine_path(source: FileSource, location: str) -> str:
    """What DuckDB opens for a location: the plain path of a local file, else its ``lake://`` URL.

    Paths that DuckDB would expand as a pattern go through the filesystem too, which expands nothing.
    """
    path = source.local_path(location)
    if path is None or _GLOB & set(str(path)):
        return engine_url(location)
    return str(path)
