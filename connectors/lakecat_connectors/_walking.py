"""Files that match a pattern, one by one: memory does not grow with how many there are."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fsspec.utils import glob_translate

from lakecat.errors import SourceError, Where
from lakecat.types import FileVersion

MAGIC: Final = frozenset("*?[")
_PAGE: Final = 1_000


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


def local_files(pattern: str) -> Iterator[FileVersion]:
    """The local files that match, and a file of just that name. Raises SourceError."""
    if not has_magic(pattern) or Path(pattern).is_file():
        try:
            yield local_version(pattern, Path(pattern).stat())
        except FileNotFoundError as err:
            raise missing(pattern) from err
        return
    folders, _, name = pattern.rpartition("/")
    if "**" in name:
        yield from _by_glob(pattern)
        return
    for folder in glob.iglob(f"{folders}/", recursive=True) if has_magic(folders) else (f"{folders}/",):  # noqa: PTH207
        yield from _in_folder(folder, name)


def _by_glob(pattern: str) -> Iterator[FileVersion]:
    for name in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute patterns
        try:
            facts = Path(name).stat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(facts.st_mode):
            yield local_version(name, facts)


def _in_folder(folder: str, pattern: str) -> Iterator[FileVersion]:
    match = matcher(pattern).match
    hidden = pattern.startswith(".")
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if match(entry.name) is None or (entry.name.startswith(".") and not hidden):
                    continue
                try:
                    facts = entry.stat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(facts.st_mode):
                    yield local_version(folder + entry.name, facts)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as err:
        raise SourceError(
            f"cannot be listed ({err.strerror})", where=Where(folder), hint="check the folder's permissions"
        ) from err


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


def s3_files(filesystem: Any, pattern: str) -> Iterator[Mapping[str, Any]]:
    """The objects that match ``bucket/key``, a page of the store's listing at a time, as s3fs describes them.

    Folders are gone into level by level, so that none is listed that cannot hold a match.
    """
    bucket, _, key = pattern.partition("/")
    for found in _keys(filesystem, bucket, "", key.split("/")):
        yield {
            "name": f"{bucket}/{found['Key']}",
            "size": found["Size"],
            "ETag": found.get("ETag"),
            "LastModified": found.get("LastModified"),
            "type": "file",
        }


def _keys(filesystem: Any, bucket: str, prefix: str, parts: list[str]) -> Iterator[Mapping[str, Any]]:
    while len(parts) > 1 and not has_magic(parts[0]):
        prefix, parts = f"{prefix}{parts[0]}/", parts[1:]
    head, *rest = parts
    literal = re.split(r"[*?\[]", head, maxsplit=1)[0]
    match = matcher(head).match
    if "**" in head:
        whole = matcher(prefix + "/".join(parts)).match
        for page in _pages(filesystem, bucket, prefix, delimiter=""):
            yield from (one for one in page.get("Contents", ()) if whole(one["Key"]) and not one["Key"].endswith("/"))
        return
    for page in _pages(filesystem, bucket, prefix + literal, delimiter="/"):
        if not rest:
            yield from (one for one in page.get("Contents", ()) if match(one["Key"][len(prefix) :]))
            continue
        for folder in page.get("CommonPrefixes", ()):
            if match(folder["Prefix"][len(prefix) : -1]):
                yield from _keys(filesystem, bucket, folder["Prefix"], rest)


def _pages(filesystem: Any, bucket: str, prefix: str, *, delimiter: str) -> Iterator[Mapping[str, Any]]:
    more: dict[str, Any] = {}
    while True:
        page = filesystem.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=_PAGE, **more
        )
        yield page
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}
