"""Files that match a pattern, one by one: memory does not grow with how many there are."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from fsspec.utils import glob_translate

from lakecat.errors import SourceError, Where
from lakecat.types import FileVersion

MAGIC: Final = frozenset("*?[")
_PAGE: Final = 1_000
_NOWHERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""Of a path that leads to no file: one that is not there, below a file, or a link that leads to itself."""


class MissingError(SourceError):
    """There is no file of just this name."""


def has_magic(pattern: str) -> bool:
    """Whether a pattern has wildcards."""
    return not MAGIC.isdisjoint(pattern)


def matcher(pattern: str) -> re.Pattern[str]:
    """A pattern with wildcards as a regular expression over whole paths."""
    try:
        return re.compile(glob_translate(pattern))
    except ValueError:  # ** inside a name means the same as * there
        return re.compile(glob_translate(re.sub(r"(?<=[^/])\*\*+|\*\*+(?=[^/])", "*", pattern)))


class Entry(Protocol):
    """One name in a folder."""

    @property
    def name(self) -> str:
        """The name, without the folder."""

    def is_dir(self) -> bool:
        """Whether it is a folder, or a link to one. Raises OSError."""


_E = TypeVar("_E", bound=Entry)
_F_co = TypeVar("_F_co", covariant=True)


class Tree(Protocol[_E, _F_co]):
    """Folders that can be walked."""

    def entries(self, folder: str) -> Iterator[_E]:
        """What is in a folder; nothing when it is not there. Raises SourceError when it cannot be listed."""

    def file(self, path: str, entry: _E) -> _F_co | None:
        """The file of that path; None for what is no file, or not there any more. Raises SourceError."""

    def identity(self, folder: str) -> Hashable:
        """The same for one folder under all of its names. Raises SourceError."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A folder to go into, what is still to match below it, and the folders that ``**`` went through to it."""

    folder: str
    parts: tuple[str, ...]
    above: tuple[Hashable, ...] = ()


def matching(tree: Tree[_E, _F_co], pattern: str) -> Iterator[_F_co]:
    """The files that a pattern matches, a folder at a time; names that start with a dot only where the pattern does.

    Links are followed, but for those to a folder that holds them, which would lead round and round.
    """
    ahead = [_Ahead(pattern[: len(pattern) - len(pattern.lstrip("/"))], _parts(pattern.lstrip("/")))]
    while ahead:
        here = ahead.pop()
        head, rest = here.parts[0], here.parts[1:]
        if head == "**":
            identity = tree.identity(here.folder)
            if identity in here.above:
                continue
            ahead.extend(_deeper(tree, here, (*here.above, identity)))
            here = _Ahead(here.folder, rest or ("*",))
            head, rest = here.parts[0], here.parts[1:]
        if rest and not has_magic(head):
            ahead.append(_Ahead(f"{here.folder}{head}/", rest))
            continue
        for entry in _named(tree, here.folder, head):
            if not rest:
                if (file := tree.file(here.folder + entry.name, entry)) is not None:
                    yield file
            elif _leads_on(entry):
                ahead.append(_Ahead(f"{here.folder}{entry.name}/", rest))


def _parts(pattern: str) -> tuple[str, ...]:
    """The parts between slashes, a row of ``**`` as one."""
    parts = pattern.split("/")
    return tuple(part for at, part in enumerate(parts) if part != "**" or parts[at - 1 : at] != ["**"])


def _named(tree: Tree[_E, _F_co], folder: str, pattern: str) -> Iterator[_E]:
    match = matcher(pattern).match
    hidden = pattern.startswith(".")
    for entry in tree.entries(folder):
        if match(entry.name) is not None and (hidden or not entry.name.startswith(".")):
            yield entry


def _deeper(tree: Tree[_E, _F_co], here: _Ahead, above: tuple[Hashable, ...]) -> list[_Ahead]:
    """The folders in a folder that ``**`` goes into."""
    inner = [one.name for one in tree.entries(here.folder) if not one.name.startswith(".") and _leads_on(one)]
    return [_Ahead(f"{here.folder}{name}/", here.parts, above) for name in inner]


def _leads_on(entry: Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


class LocalTree:
    """The folders of this machine."""

    def entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What is in a folder. Raises SourceError."""
        try:
            with os.scandir(folder) as entries:
                yield from entries
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as err:
            raise _unlisted(folder, err) from err

    def file(self, path: str, entry: os.DirEntry[str]) -> FileVersion | None:
        """The state of a regular file, or of the one that a link leads to. Raises SourceError."""
        try:
            facts = entry.stat()
        except OSError as err:
            if err.errno in _NOWHERE:
                return None
            raise _unlisted(path, err) from err
        return local_version(path, facts) if stat.S_ISREG(facts.st_mode) else None

    def identity(self, folder: str) -> Hashable:
        """Device and inode."""
        try:
            facts = Path(folder).stat()
        except OSError:
            return folder
        return facts.st_dev, facts.st_ino


def local_file(name: str) -> FileVersion:
    """The state of one file. Raises SourceError, MissingError when it is not there."""
    try:
        return local_version(name, Path(name).stat())
    except OSError as err:
        if err.errno in _NOWHERE:
            raise missing(name) from err
        raise _unlisted(name, err) from err


def _unlisted(name: str, err: OSError | ValueError) -> SourceError:
    why = err.strerror if isinstance(err, OSError) else "is no name"
    return SourceError(f"cannot be listed ({why})", where=Where(name), hint="check the path, and its permissions")


def local_version(name: str, facts: os.stat_result) -> FileVersion:
    """A local file's state. Raises SourceError for what is no regular file."""
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as err:
            raise SourceError(f"the file's name is not UTF-8: {name!a}", hint="rename the file") from err
    if stat.S_ISDIR(facts.st_mode):
        raise is_folder(name)
    if not stat.S_ISREG(facts.st_mode):
        raise SourceError("is not a regular file", where=Where(name))
    seconds, nanoseconds = divmod(facts.st_mtime_ns, 1_000_000_000)
    mtime = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1_000)
    return FileVersion(f"file://{name}", facts.st_size, mtime=mtime)


def missing(name: str) -> MissingError:
    """The error for a path that names no file."""
    return MissingError("no such file", where=Where(name), hint="mend path: in the job, or deliver the file")


def is_folder(name: str) -> SourceError:
    """The error for a path that names a folder."""
    return SourceError("is a folder", where=Where(name), hint=f"say which files: {name.rstrip('/')}/*.csv")


class FsspecTree:
    """The folders of a server that fsspec speaks with. Links to files are followed, links to folders are not."""

    def __init__(self, files: Any) -> None:
        """``files`` offers ``ls`` and ``info`` as fsspec does."""
        self._files = files

    def entries(self, folder: str) -> Iterator[_Listed]:
        """What is in a folder. Raises the driver's errors."""
        try:
            found = self._files.ls(folder.rstrip("/") or "/", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        for info in found:
            if info["name"].rpartition("/")[0].strip("/") == folder.strip("/"):
                yield _Listed(info)

    def file(self, path: str, entry: _Listed) -> Mapping[str, Any] | None:
        """What the server says of a file. Raises the driver's errors."""
        info = entry.info
        if info["type"] == "link":
            try:
                info = self._files.info(path)
            except FileNotFoundError:
                return None
        return info if info["type"] == "file" else None

    def identity(self, folder: str) -> Hashable:
        """The path: without links each folder has one."""
        return folder


@dataclass(frozen=True, slots=True)
class _Listed:
    """One name in a folder, as fsspec describes it."""

    info: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.info["name"]).rstrip("/").rpartition("/")[2]

    def is_dir(self) -> bool:
        return bool(self.info["type"] == "directory")
