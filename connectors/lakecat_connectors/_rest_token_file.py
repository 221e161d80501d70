"""A refresh token's file that is replaced when the token server gives a new token for the old one (RFC 9700, 4.14.2).

The old token may be dead from the moment in which the server answers, so all that can fail is tried before it is asked:
the lock is held, and the new file is there, with room for the token. From the answer on, only a write of a few bytes,
``fsync`` and a rename are left; who is killed before the rename leaves the token for the next one to find.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lakecat.errors import ConfigError, SourceError, Where

_ROOM: Final = 64 << 10
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TokenFile:
    """One token in a file, for all processes that use it in turn."""

    def __init__(self, path: Path) -> None:
        """A link is followed: what it leads to is replaced."""
        self._path = Path(os.path.realpath(path))

    @contextmanager
    def turn(self) -> Iterator[TokenPlace]:
        """Nobody else reads, uses or replaces the token meanwhile. Raises ConfigError where it cannot be replaced."""
        lock = self._path.with_name(f".{self._path.name}.lock")
        new = self._path.with_name(f".{self._path.name}.new")
        with contextlib.ExitStack() as stack:
            try:
                held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, held)
                fcntl.flock(held, fcntl.LOCK_EX)
                self._take_over(new)
                file = os.open(new, _NEW, 0o600)
                stack.callback(_unlink, new)
                stack.callback(os.close, file)
                os.write(file, b"\n" * _ROOM)
                os.fsync(file)
            except OSError as err:
                raise ConfigError(
                    f"write_back: a new refresh token could not be kept: {err.strerror or err}",
                    where=Where(str(self._path)),
                    hint="the file and its folder must be writable; take write_back out if the token never changes",
                ) from err
            yield TokenPlace(self._path, new, file)

    def _take_over(self, new: Path) -> None:
        """What somebody left who was killed: a token, or only the room for one; older than the file it is nothing."""
        with contextlib.suppress(FileNotFoundError):
            left = new.lstat()
            token = new.read_bytes().strip(b"\n")
            if token and left.st_mtime_ns >= self._path.stat().st_mtime_ns:
                new.rename(self._path)
            else:
                new.unlink()


class TokenPlace:
    """Where a new token goes, during one's turn."""

    def __init__(self, path: Path, new: Path, file: int) -> None:
        self._path = path
        self._new = new
        self._file = file

    def keep(self, token: str) -> None:
        """Put a new token into the place of the old one, for good. Raises SourceError."""
        try:
            data = token.encode()
            os.pwrite(self._file, data, 0)
            os.ftruncate(self._file, len(data))
            os.fsync(self._file)
            self._new.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as err:
            raise SourceError(
                f"the new refresh token could not be kept: {err.strerror or err}",
                where=Where(str(self._path)),
                hint="log in again, and put the new refresh token into the file",
            ) from err


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)


__all__ = ["TokenFile", "TokenPlace"]
