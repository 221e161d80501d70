"""Where the files are: fsspec URLs and local globs, listed in the order of their paths."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from fsspec.core import url_to_fs

from lakecat.errors import ConfigError, LakecatError, SourceChangedError, SourceError, Where
from lakecat.types import FileVersion, Json
from lakecat_connectors._http_files import HttpFiles
from lakecat_connectors._periods import has_time, newest, without_times
from lakecat_connectors._sftp_files import Login, SftpFiles, sftp_path
from lakecat_connectors._walking import (
    MissingError,
    has_magic,
    is_folder,
    local_files,
    local_version,
    matcher,
    missing,
    s3_files,
)

_PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "sftp", "memory")
_COPY_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Listed:
    """One file as the listing found it; ``shown`` is what a person would call it, ``local`` where it can be opened."""

    version: FileVersion
    shown: str
    local: Path | None = None


class Listing:
    """The files of one job. ``storage`` holds the credentials and endpoint of remote stores."""

    def __init__(
        self,
        paths: Iterable[str],
        *,
        base: str,
        storage: Mapping[str, str],
        allow_private: bool = False,
        login: Login | None = None,
        since: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Check the URLs. ``since``: only so old periods of a path with times are listed.

        ``allow_private``: http(s) URLs may lead into private networks. ``login``: how to log in to sftp servers.

        Raises ConfigError for a scheme that is not supported.
        """
        self._allow_private = allow_private
        self._http: HttpFiles | None = None
        self._login = login or Login(root=Path(base), secret=_no_secret)
        self._servers: dict[str, SftpFiles] = {}
        self._since = since
        self._clock = clock
        self._patterns: list[re.Pattern[str]] = []
        self._base = Path(base)
        self._storage = dict(storage)
        self._paths = tuple(paths)
        for path in self._paths:
            _check_scheme(path)

    def walk(self) -> Iterator[FileVersion]:
        """Every file now there, in no order, as the listing's pages come; one may come twice.

        Raises SourceError when a plain path does not exist, and ConfigError.
        """
        for path, expected in self._now():
            local = self._local_pattern(path)
            try:
                yield from local_files(local) if local is not None else self._remote_files(path)
            except MissingError:
                if expected:
                    raise

    def scan(self) -> tuple[FileVersion, ...]:
        """Every file now there, once, sorted by URL. Raises as ``walk``."""
        found = {version.uri: version for version in self.walk()}
        return tuple(found[uri] for uri in sorted(found))

    def covers(self) -> Callable[[str], bool] | None:
        """Whether a URI would be listed, if the file were there; None where only a part of the files is listed."""
        return None if self._since is not None else self.names

    def names(self, uri: str) -> bool:
        """Whether some path means this file."""
        if not self._patterns:
            paths = [(self._local_pattern(without_times(path)), without_times(path)) for path in self._paths]
            self._patterns = [matcher(url if local is None else f"file://{local}") for local, url in paths]
        return any(pattern.match(uri) for pattern in self._patterns)

    def there(self, uris: Iterable[str]) -> tuple[list[FileVersion], list[FileVersion]]:
        """Those of the files that are there, as they are now, and those that are gone. Raises SourceError."""
        there: list[FileVersion] = []
        gone: list[FileVersion] = []
        for uri in uris:
            try:
                there.append(self.current(uri).version)
            except SourceChangedError:
                gone.append(FileVersion.gone(uri))
        return there, gone

    def _now(self) -> Iterator[tuple[str, bool]]:
        """The paths to list at this moment, and whether the file must be there if it is a plain one."""
        for path in self._paths:
            if not has_time(path):
                yield path, True
            elif self._since is None:
                yield without_times(path), True
            else:
                for one in self._newest(path, self._since):
                    yield one, False

    def _newest(self, path: str, since: timedelta) -> Iterator[str]:
        try:
            yield from newest(path, since, self._clock())
        except ValueError as err:
            raise ConfigError(f"files connector: option 'since': {err}") from None

    def current(self, uri: str) -> Listed:
        """The file's state at this moment. Raises SourceChangedError when it is gone."""
        local = self._local_pattern(uri)
        with _explained(uri, SourceChangedError("the file is gone", where=Where(shown(uri)))):
            if local is not None:
                return _local(local)
            filesystem, path = self._filesystem(uri)
            filesystem.invalidate_cache()
            return _remote(filesystem, filesystem.info(path))

    def fetch(self, listed: Listed, folder: Path, number: int) -> Path:
        """A local copy of a remote file (or the local file itself). Raises SourceError."""
        if listed.local is not None:
            return listed.local
        filesystem, path = self._filesystem(listed.version.uri)
        target = folder / f"{number}"
        with (
            _explained(listed.version.uri, SourceChangedError("the file is gone", where=Where(listed.shown))),
            filesystem.open(path, "rb") as source,
            target.open("wb") as sink,
        ):
            while data := source.read(_COPY_BYTES):
                sink.write(data)
        return target

    def close(self) -> None:
        """Close what connections there are; safe to call twice."""
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.close()

    def _local_pattern(self, path: str) -> str | None:
        scheme, separator, rest = path.partition("://")
        if not separator:
            return os.path.normpath(self._base.absolute() / Path(path).expanduser())
        if scheme != "file":
            return None
        return os.path.normpath("/" + rest.lstrip("/")) if rest.startswith("/") else os.path.normpath(self._base / rest)

    def _filesystem(self, url: str) -> tuple[Any, str]:
        scheme = url.partition("://")[0]
        if scheme in ("http", "https"):
            self._http = self._http or HttpFiles(allow_private=self._allow_private)
            return self._http, url
        if scheme == "sftp":
            server = url.removeprefix("sftp://").partition("/")[0]
            if server not in self._servers:
                self._servers[server] = SftpFiles(url, self._login)
            return self._servers[server], sftp_path(url)
        options = s3_options(self._storage) if scheme == "s3" else {}
        try:
            filesystem, path = url_to_fs(url, **options)
        except ImportError as err:
            raise ConfigError(
                f"files connector: option 'path': {scheme}:// needs a package that is not installed", hint=str(err)
            ) from err
        return filesystem, path

    def _remote_files(self, url: str) -> Iterator[FileVersion]:
        filesystem, path = self._filesystem(url)
        with _explained(url, missing(url)):
            filesystem.invalidate_cache()
            for info in self._infos(filesystem, url, path):
                if info["type"] == "file" and not _hidden(info["name"]):
                    yield self._stamped(filesystem, info).version

    def _infos(self, filesystem: Any, url: str, path: str) -> Iterable[Mapping[str, Any]]:
        if not has_magic(path) or url.startswith(("http://", "https://")):  # whose ? is no wildcard
            info = filesystem.info(path)
            if info["type"] != "file":
                raise is_folder(url)
            return (info,)
        if url.startswith("s3://") and not has_magic(path.partition("/")[0]):
            return s3_files(filesystem, path)
        return list(filesystem.glob(path, detail=True).values())

    def _stamped(self, filesystem: Any, info: Mapping[str, Any]) -> Listed:
        """The listed file; asked about once more where the store's listing says neither etag nor time."""
        listed = _remote(filesystem, info)
        known = listed.version.etag or listed.version.mtime
        return listed if known else _remote(filesystem, filesystem.info(info["name"]))


def _no_secret(_reference: str) -> str:
    raise ConfigError("files connector: no secrets are to be had here")


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


def _local(name: str) -> Listed:
    return Listed(local_version(name, Path(name).stat()), name, Path(name))


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


@contextlib.contextmanager
def _explained(uri: str, gone: SourceError) -> Iterator[None]:
    """Raises ``gone`` when there is no such file, and SourceError for whatever else a driver raises."""
    try:
        yield
    except FileNotFoundError as err:
        raise gone from err
    except LakecatError:
        raise
    except Exception as err:  # every fsspec driver has exceptions of its own
        # The driver's own text may hold signed URLs or keys: only its kind is shown.
        raise SourceError(
            f"cannot be read ({type(err).__name__})",
            where=Where(shown(uri)),
            hint="check that the file is there, the endpoint, and the credentials' rights",
        ) from err


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
