"""Where the files are: fsspec URLs and local globs, listed in the order of their paths."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fsspec.core import url_to_fs

from lakecat.errors import ConfigError, SourceChangedError, SourceError, Where
from lakecat.types import FileVersion, Json

_PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
_MAGIC: Final = frozenset("*?[")
_COPY_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One file as the listing found it; ``shown`` is what a person would call it, ``local`` where it can be opened."""

    version: FileVersion
    shown: str
    local: Path | None = None


class Listing:
    """The files of one job. ``storage`` holds the credentials and endpoint of remote stores."""

    def __init__(self, paths: Iterable[str], *, base: str, storage: Mapping[str, str]) -> None:
        """Check the URLs. Raises ConfigError for a scheme that is not supported."""
        self._base = Path(base)
        self._storage = dict(storage)
        self._paths = tuple(paths)
        for path in self._paths:
            _check_scheme(path)

    def scan(self) -> tuple[Listed, ...]:
        """Every file now there, once, sorted by URL. Raises SourceError when a plain path does not exist."""
        found: dict[str, Listed] = {}
        for path in self._paths:
            local = self._local_pattern(path)
            for item in _list_local(local) if local is not None else self._list_remote(path):
                found.setdefault(item.version.uri, item)
        return tuple(found[uri] for uri in sorted(found))

    def current(self, uri: str) -> Listed:
        """The file's state at this moment. Raises SourceChangedError when it is gone."""
        local = self._local_pattern(uri)
        try:
            if local is not None:
                return _local(local)
            filesystem, path = self._filesystem(uri)
            filesystem.invalidate_cache()
            return _remote(filesystem, filesystem.info(path))
        except FileNotFoundError as err:
            raise SourceChangedError("the file is gone", where=Where(shown(uri))) from err
        except Exception as err:  # every fsspec driver has exceptions of its own
            raise _unreadable(uri, err) from err

    def fetch(self, listed: Listed, folder: Path, number: int) -> Path:
        """A local copy of a remote file (or the local file itself). Raises SourceError."""
        if listed.local is not None:
            return listed.local
        filesystem, path = self._filesystem(listed.version.uri)
        target = folder / f"{number}"
        try:
            with filesystem.open(path, "rb") as source, target.open("wb") as sink:
                while data := source.read(_COPY_BYTES):
                    sink.write(data)
        except FileNotFoundError as err:
            raise SourceChangedError("the file is gone", where=Where(listed.shown)) from err
        except Exception as err:  # every fsspec driver has exceptions of its own
            raise _unreadable(listed.version.uri, err) from err
        return target

    def _local_pattern(self, path: str) -> str | None:
        scheme, separator, rest = path.partition("://")
        if not separator:
            return os.path.normpath(self._base.absolute() / Path(path).expanduser())
        if scheme != "file":
            return None
        return os.path.normpath("/" + rest.lstrip("/")) if rest.startswith("/") else os.path.normpath(self._base / rest)

    def _filesystem(self, url: str) -> tuple[Any, str]:
        scheme = url.partition("://")[0]
        options = s3_options(self._storage) if scheme == "s3" else {}
        try:
            filesystem, path = url_to_fs(url, **options)
        except ImportError as err:
            raise ConfigError(
                f"files connector: option 'path': {scheme}:// needs a package that is not installed", hint=str(err)
            ) from err
        return filesystem, path

    def _list_remote(self, url: str) -> list[Listed]:
        filesystem, path = self._filesystem(url)
        try:
            filesystem.invalidate_cache()
            if _MAGIC.isdisjoint(path):
                infos = [filesystem.info(path)]
                if infos[0]["type"] != "file":
                    raise _is_folder(url)
            else:
                infos = list(filesystem.glob(path, detail=True).values())
        except FileNotFoundError as err:
            raise SourceError(
                "no such file", where=Where(url), hint="mend path: in the job, or deliver the file"
            ) from err
        except SourceError:
            raise
        except Exception as err:  # every fsspec driver has exceptions of its own
            raise _unreadable(url, err) from err
        files = [info for info in infos if info["type"] == "file" and not _hidden(info["name"])]
        return [self._stamped(filesystem, info) for info in files]

    def _stamped(self, filesystem: Any, info: Mapping[str, Any]) -> Listed:
        """The listed file; asked about once more where the store's listing says neither etag nor time."""
        listed = _remote(filesystem, info)
        known = listed.version.etag or listed.version.mtime
        return listed if known else _remote(filesystem, filesystem.info(info["name"]))


def shown(uri: str) -> str:
    """A local file's path, any other URL as it is."""
    return uri.removeprefix("file://")


def changed(planned: FileVersion, now: FileVersion) -> bool:
    """Whether a file is not what it was."""
    return planned.identity != now.identity


def _check_scheme(path: str) -> None:
    scheme, separator, rest = path.partition("://")
    if not separator:
        scheme = "file"
    user, at, _host = rest.partition("/")[0].partition("@")
    if at and (":" in user or scheme not in _PROTOCOLS):
        # A path is shown in messages and kept in the lineage; so not even this one is.
        raise ConfigError(
            "files connector: option 'path': credentials do not belong into a URL",
            hint="name them by reference, under storage: in lakecat.yaml",
        )
    if scheme not in _PROTOCOLS or "::" in path:
        raise ConfigError(
            f"files connector: option 'path': {path.partition('?')[0]!r} is not supported",
            hint=f"a local path, or a URL that starts with one of {', '.join(p + '://' for p in _PROTOCOLS[:-1])}",
        )


def _list_local(pattern: str) -> list[Listed]:
    path = Path(pattern)
    if _MAGIC.isdisjoint(pattern) or path.is_file():
        try:
            return [_local(pattern)]
        except FileNotFoundError as err:
            raise SourceError(
                "no such file", where=Where(pattern), hint="mend path: in the job, or deliver the file"
            ) from err
    found = []
    for name in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute patterns
        try:
            if Path(name).is_file():
                found.append(_local(name))
        except FileNotFoundError:
            continue
    return found


def _local(name: str) -> Listed:
    try:
        name.encode()
    except UnicodeEncodeError as err:
        raise SourceError(f"the file's name is not UTF-8: {name!a}", hint="rename the file") from err
    facts = Path(name).stat()
    if stat.S_ISDIR(facts.st_mode):
        raise _is_folder(name)
    if not stat.S_ISREG(facts.st_mode):
        raise SourceError("is not a regular file", where=Where(name))
    seconds, nanoseconds = divmod(facts.st_mtime_ns, 1_000_000_000)
    mtime = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1_000)
    return Listed(FileVersion(f"file://{name}", facts.st_size, mtime=mtime), name, Path(name))


def _remote(filesystem: Any, info: Mapping[str, Any]) -> Listed:
    url = str(filesystem.unstrip_protocol(info["name"]))
    etag = info.get("ETag") or info.get("etag") or info.get("md5Hash")
    times = (info.get(key) for key in ("LastModified", "last_modified", "updated", "mtime", "created"))
    mtime = next((_aware(value) for value in times if isinstance(value, datetime)), None)
    version = FileVersion(url, int(info["size"]), str(etag).strip('"') if etag else None, mtime)
    return Listed(version, url)


def _aware(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _hidden(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith(".")


def _is_folder(name: str) -> SourceError:
    return SourceError("is a folder", where=Where(name), hint=f"say which files: {name.rstrip('/')}/*.csv")


def _unreadable(uri: str, err: Exception) -> SourceError:
    # The driver's own text may hold signed URLs or keys: only its kind is shown.
    return SourceError(
        f"cannot be read ({type(err).__name__})",
        where=Where(shown(uri)),
        hint="check that the file is there, the endpoint, and the credentials' rights",
    )


def s3_options(storage: Mapping[str, str]) -> dict[str, Any]:
    """The storage settings of lakecat.yaml as s3fs options, with timeouts always set."""
    client = {"endpoint_url": storage.get("endpoint"), "region_name": storage.get("region")}
    config: dict[str, Json] = {
        "connect_timeout": float(storage.get("connect_timeout") or 5),
        "read_timeout": float(storage.get("read_timeout") or 30),
        "retries": {"max_attempts": int(storage.get("attempts") or 5), "mode": "standard"},
    }
    if _true(storage.get("path_style")):
        config["s3"] = {"addressing_style": "path"}
    return {
        "key": storage.get("access_key"),
        "secret": storage.get("secret_key"),
        "token": storage.get("session_token"),
        "anon": _true(storage.get("anonymous")),
        "client_kwargs": {key: value for key, value in client.items() if value},
        "config_kwargs": config,
        "use_listings_cache": False,
    }


def _true(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true", "yes", "on")
