"""A lake in a local folder. A file is there whole and for good, or not at all, also after a power cut.

A file is written beside its place under a temporary name, flushed to the disk (fsync), renamed, and the folder is
flushed, with every folder above it whose own entry may be new. POSIX promises no less work than that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from lakecat.errors import ObjectExistsError, ObjectMissingError, StoreError
from lakecat.store.base import LakeOutput, LakeStore, StoredObject

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class LocalStore(LakeStore):
    """See LakeStore. ``url`` is ``file://`` and the folder's real path, not percent-encoded (as PyIceberg reads it)."""

    def __init__(self, url: str) -> None:
        root = _root(url)
        self._durable: set[Path] = set()
        self._lock = threading.Lock()
        with _wrapped(str(root)):
            _make_folders(root)
            self._root = Path(os.path.realpath(root))
        self.url = f"file://{self._root}"
        self.filesystem = pafs.LocalFileSystem(use_mmap=False)

    def confine(self, location: str) -> str:
        """See LakeStore.confine."""
        self.canonical(location)
        return location

    def canonical(self, location: str) -> str:
        """See LakeStore.canonical."""
        super().confine(location)
        real = Path(os.path.realpath(location.removeprefix("file://")))
        if real != self._root and self._root not in real.parents:
            raise StoreError(f"{location!r} leads out of the lake {self.url} through a link")
        return f"file://{real}"

    def local_path(self, location: str) -> Path:
        """The file's path."""
        return Path(self.confine(location).removeprefix("file://"))

    def path(self, location: str) -> str:
        """The file's path, for ``filesystem``."""
        return str(self.local_path(location))

    def read(self, location: str) -> bytes:
        """See LakeStore.read."""
        with _wrapped(location):
            path = self.local_path(location)
            _size(path)
            return path.read_bytes()

    def write(self, location: str, data: bytes, *, if_absent: bool = False) -> None:
        """See LakeStore.write."""
        if if_absent:
            self._create(location, data)
        else:
            self.write_all({location: data})

    def mark(self, location: str) -> None:
        """See LakeStore.mark. Nothing is flushed: the file says what is so, and its absence says nothing."""
        with _wrapped(location):
            os.close(os.open(self.local_path(location), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """See LakeStore.write_all; each folder is flushed once."""
        folders: dict[Path, None] = {}
        for location, data in files.items():
            path = self.local_path(location)
            with _wrapped(location):
                temporary = self._write_temporary(path, data)
                temporary.replace(path)
            folders[path.parent] = None
        for folder in folders:
            with _wrapped(str(folder)):
                self._sync_folder(folder)

    def exists(self, location: str) -> bool:
        """See LakeStore.exists."""
        with _wrapped(location):
            try:
                return stat.S_ISREG(self.local_path(location).stat().st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def size(self, location: str) -> int:
        """See LakeStore.size."""
        with _wrapped(location):
            return _size(self.local_path(location))

    def delete(self, location: str) -> None:
        """See LakeStore.delete."""
        with _wrapped(location), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.local_path(location).unlink()

    def prune(self, prefix: str) -> None:
        """See LakeStore.prune."""
        folder = self.local_path(prefix)
        for path, _, _ in os.walk(folder, topdown=False):  # links are not followed
            with contextlib.suppress(OSError):  # not empty, or gone
                Path(path).rmdir()

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See LakeStore.list. Links are not followed."""
        folder = self.local_path(prefix)
        with _wrapped(prefix):
            if not folder.is_dir():
                return
            found = sorted(_walk(folder), key=str)
        for path in found:
            with _wrapped(str(path)):
                try:
                    status = path.lstat()
                except FileNotFoundError:  # removed since
                    continue
            yield StoredObject(f"file://{path}", status.st_size, datetime.fromtimestamp(status.st_mtime, tz=UTC))

    def open_input(self, location: str) -> pa.NativeFile:
        """See LakeStore.open_input."""
        with _wrapped(location):
            path = self.local_path(location)
            _size(path)
            return self.filesystem.open_input_file(str(path))

    def open_output(self, location: str) -> LakeOutput:
        """See LakeStore.open_output."""
        return _LocalOutput(self, location)

    def seal(self, locations: Iterable[str]) -> None:
        """See LakeStore.seal."""
        folders: dict[Path, None] = {}
        for location in locations:
            path = self.local_path(location)
            with _wrapped(location):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    _fsync(descriptor)
                finally:
                    os.close(descriptor)
            folders[path.parent] = None
        for folder in folders:
            with _wrapped(str(folder)):
                self._make_folder(folder)
                self._sync_folder(folder)

    def failure(self, error: Exception, location: str) -> StoreError | None:
        """See LakeStore.failure."""
        ours = isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno is not None)
        return _explain(error, location) if ours else None

    def publish(self, temporary: Path, path: Path) -> None:
        """Move a flushed temporary file to its place, durably."""
        temporary.replace(path)
        self._sync_folder(path.parent)

    def temporary(self, path: Path) -> Path:
        """A free name beside ``path``, in a folder that is there for good."""
        self._make_folder(path.parent)
        return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")

    def _create(self, location: str, data: bytes) -> None:
        path = self.local_path(location)
        with _wrapped(location):
            temporary = self._write_temporary(path, data)
            try:
                _link(temporary, path, data)
            except FileExistsError as err:
                raise ObjectExistsError(f"{location} is there already") from err
            finally:
                temporary.unlink(missing_ok=True)
            self._sync_folder(path.parent)

    def _write_temporary(self, path: Path, data: bytes) -> Path:
        temporary = self.temporary(path)
        try:
            _write_new(temporary, data)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _make_folder(self, folder: Path) -> None:
        """Make the folder and flush every entry between it and the root that this process has not flushed yet."""
        if folder in self._durable:
            if folder.is_dir():
                return
            with self._lock:
                self._durable = {known for known in self._durable if folder not in known.parents and known != folder}
        if folder != self._root:
            self._make_folder(folder.parent)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            self._sync_folder(folder.parent)
        with self._lock:
            self._durable.add(folder)

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _fsync(descriptor)
        finally:
            os.close(descriptor)


class _LocalOutput:
    """A LakeOutput that buffers a mebibyte and publishes by rename."""

    def __init__(self, store: LocalStore, location: str) -> None:
        self._store = store
        self._location = location
        self._path = store.local_path(location)
        with _wrapped(location):
            self._temporary = store.temporary(self._path)
            descriptor = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 20)
        self._written = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes | memoryview | pa.Buffer, /) -> int:
        with _wrapped(self._location):
            count = self._file.write(data)
        self._written += count
        return count

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            with _wrapped(self._location):
                self._file.flush()
                _fsync(self._file.fileno())
                self._file.close()
                self._store.publish(self._temporary, self._path)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def _root(url: str) -> Path:
    """The folder that a URL or path names, absolute."""
    text = url
    if url.startswith("file://"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise StoreError(f"{url!r} is not a local folder", hint="write file:///absolute/folder, or just its path")
        text = unquote(parts.path)
    if any(character in text for character in "?#\\") or not text.isprintable():
        raise StoreError(f"the lake's folder {text!r} has a character that URLs cannot hold", hint="rename the folder")
    return Path(text).absolute()


def _make_folders(folder: Path) -> None:
    """Make the root and what is missing above it, durably."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    LocalStore._sync_folder(folder.parent)  # noqa: SLF001 - same module


def _write_new(path: Path, data: bytes) -> None:
    """Write and flush a file that must not exist; permissions follow the umask."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        _fsync(descriptor)


def _size(path: Path) -> int:
    """The size of a regular file. A pipe would block its reader for ever, a device has no end: StoreError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is no regular file", hint="lakecat makes none of that kind: see what put it there")
    return status.st_size


def _link(temporary: Path, path: Path, data: bytes) -> None:
    """Give a finished file its name, unless the name is taken: FileExistsError."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except OSError as err:
        if err.errno not in _NO_HARD_LINKS:
            raise
        _write_new(path, data)


def _fsync(descriptor: int) -> None:
    """Flush to the medium itself; on macOS plain fsync stops at the drive's cache."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def _walk(folder: Path) -> Iterator[Path]:
    """Files and links below a folder; a folder that cannot be read raises, one that went away in between does not."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


@contextlib.contextmanager
def _wrapped(location: str) -> Iterator[None]:
    """Turn operating system errors into StoreError; errno says what to do about it."""
    try:
        yield
    except OSError as err:
        raise _explain(err, location) from err


def _explain(error: Exception, location: str) -> StoreError:
    """Say what happened to a file; errno says what to do about it."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectMissingError(f"{location} is not there")
    hint = {
        errno.ENOSPC: "the disk is full: free space, or move the lake",
        errno.EDQUOT: "the disk quota is used up: free space, or move the lake",
        errno.EACCES: "this user may not read or write there",
        errno.EROFS: "the disk is mounted read-only",
        errno.ENAMETOOLONG: "the path is too long for this filesystem",
    }.get(getattr(error, "errno", None) or 0)
    return StoreError(f"{location}: {getattr(error, 'strerror', None) or error}", hint=hint)
