"""Where the files are: fsspec URLs and local globs, listed in the order of their paths."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lakecat.errors import (
    ConfigError,
    LakecatError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceUnavailableError,
    Where,
)
from lakecat.types import FileVersion
from lakecat_connectors._clouds import AZURE, canonical
from lakecat_connectors._periods import has_time, newest, without_times
from lakecat_connectors._remotes import Credentials, Remotes
from lakecat_connectors._walking import LocalTree, MissingError, has_magic, local_file, matcher, matching, missing

_PROTOCOLS: Final = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "sftp", "memory")
_BUCKETS: Final = ("s3://", "gs://", "az://")
_COPY_BYTES: Final = 4 << 20
_NOT_FOUND: Final = 404
_NO_ACCESS: Final = frozenset(
    {
        "ClientAuthenticationError",
        "DefaultCredentialsError",
        "NoCredentialsError",
        "RefreshError",
        "TokenRetrievalError",
    }
)
_NO_ANSWER: Final = frozenset(
    {
        "ClientConnectorError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "ServiceRequestError",
        "TransportError",
    }
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One file as the listing found it; ``shown`` is what a person would call it, ``local`` where it can be opened."""

    version: FileVersion
    shown: str
    local: Path | None = None


class Listing:
    """The files of one job."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        since: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Check the URLs of the options. ``since``: only so old periods of a path with times are listed.

        Raises ConfigError for a scheme that is not supported.
        """
        self._remotes = Remotes(credentials)
        self._since = since
        self._clock = clock
        self._meant: list[tuple[str, re.Pattern[str]]] = []
        self._base = credentials.root.absolute()
        for path in credentials.options.paths:
            _check_scheme(path)
        self._paths = tuple(map(canonical, credentials.options.paths))

    def walk(self) -> Iterator[FileVersion]:
        """Every file now there, in no order, as the listing's pages come; one may come twice.

        Raises SourceError when a plain path does not exist, and ConfigError.
        """
        for path, expected in self._now():
            try:
                yield from self._local_files(path) if _is_local(path) else self._remote_files(path)
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
        if not self._meant:
            self._meant = [self._meaning(path) for path in map(without_times, self._paths)]
        return any(
            uri == plain or (pattern.match(uri) is not None and not _passed_over(plain, uri))
            for plain, pattern in self._meant
        )

    def _meaning(self, path: str) -> tuple[str, re.Pattern[str]]:
        """The URI of just that name, and the pattern of all that are meant."""
        if not _is_local(path):
            return path, matcher(path)
        return f"file://{self._local(path)}", matcher(f"file://{self._local_pattern(path)}")

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
        gone = SourceChangedError("the file is gone", where=Where(shown(uri)))
        if _is_local(uri):
            name = self._local(uri)
            try:
                return Listed(local_file(name), name, Path(name))
            except MissingError as err:
                raise gone from err
        with _explained(uri, gone):
            info = self._remotes.info(uri)
            if info["type"] != "file":
                raise gone
            return _remote(info)

    def fetch(self, listed: Listed, folder: Path, number: int) -> Path:
        """A local copy of a remote file (or the local file itself). Raises SourceError."""
        if listed.local is not None:
            return listed.local
        target = folder / f"{number}"
        with (
            _explained(listed.version.uri, SourceChangedError("the file is gone", where=Where(listed.shown))),
            self._remotes.open(listed.version.uri) as source,
            target.open("wb") as sink,
        ):
            while data := source.read(_COPY_BYTES):
                sink.write(data)
        return target

    def close(self) -> None:
        """Close what connections there are; safe to call twice."""
        self._remotes.close()

    def _local(self, path: str) -> str:
        """The absolute path that a path or a ``file://`` URL names."""
        return os.path.normpath(self._base / _on_disk(path))

    def _local_pattern(self, path: str) -> str:
        """The same of a pattern; the project's own folder has no wildcards."""
        return os.path.normpath(Path(glob.escape(str(self._base))) / _on_disk(path))

    def _local_files(self, path: str) -> Iterator[FileVersion]:
        name = self._local(path)
        if not has_magic(path) or Path(name).is_file():
            yield local_file(name)
        else:
            yield from matching(LocalTree(), self._local_pattern(path))

    def _remote_files(self, url: str) -> Iterator[FileVersion]:
        with _explained(url, _no_bucket(url) if has_magic(url) else missing(url)):
            for info in self._remotes.files(url):
                if not _passed_over(url, info["name"]):
                    yield self._stamped(info).version

    def _stamped(self, info: Mapping[str, Any]) -> Listed:
        """The listed file; asked about once more where the store's listing says neither etag nor time."""
        listed = _remote(info)
        known = listed.version.etag or listed.version.mtime
        return listed if known else _remote(self._remotes.info(listed.version.uri))


def _is_local(path: str) -> bool:
    return "://" not in path or path.startswith("file://")


def _on_disk(path: str) -> Path:
    """A path, or what stands in a ``file://`` URL. Raises ConfigError."""
    scheme, separator, rest = path.partition("://")
    if separator:
        return Path(f"/{rest.lstrip('/')}" if rest.startswith("/") else rest)
    try:
        return Path(scheme).expanduser()
    except RuntimeError as err:
        raise ConfigError(f"files connector: option 'path': {scheme!r} names no user of this machine") from err


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
    if at and (":" in user or scheme != "sftp"):
        # A path is shown in messages and kept in the lineage; so not even this one is.
        hint = "name the account in the job: azure: {account: NAME}" if scheme in AZURE else None
        raise ConfigError(
            "files connector: option 'path': credentials do not belong into a URL",
            hint=hint or "name them by reference, under storage: in lakecat.yaml, or in the job",
        )
    if canonical(path).startswith(_BUCKETS) and has_magic(rest.partition("/")[0]):
        raise ConfigError(
            "files connector: option 'path': a bucket has no wildcards", hint="list the buckets: path: [...]"
        )
    if scheme not in _PROTOCOLS or "::" in path:
        raise ConfigError(
            f"files connector: option 'path': {path.partition('?')[0]!r} is not supported",
            hint=f"a local path, or a URL that starts with one of {', '.join(p + '://' for p in _PROTOCOLS[:-1])}",
        )


def _remote(info: Mapping[str, Any]) -> Listed:
    url = str(info["name"])
    etag = info.get("ETag") or info.get("etag")
    times = (info.get(key) for key in ("LastModified", "last_modified", "mtime", "created"))
    mtime = next((_aware(value) for value in times if isinstance(value, datetime)), None)
    version = FileVersion(url, int(info["size"]), str(etag).strip('"') if etag else None, mtime)
    return Listed(version, url)


def _aware(moment: datetime) -> datetime:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _no_bucket(url: str) -> SourceError:
    bucket = "/".join(url.split("/", 3)[:3])
    return SourceError("there is no such bucket", where=Where(bucket), hint="mend path: in the job")


def _passed_over(pattern: str, name: str) -> bool:
    """Whether a name starts with a dot, and the pattern that it matches does not."""
    return has_magic(pattern) and _name(name).startswith(".") and not _name(pattern).startswith(".")


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


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
        if getattr(err, "status_code", None) == _NOT_FOUND:
            raise gone from err
        # The driver's own text may hold signed URLs or keys: only its kind is shown.
        kind, hint = _kind(err)
        raise kind(f"cannot be read ({type(err).__name__})", where=Where(shown(uri)), hint=hint) from err


def _kind(err: Exception) -> tuple[type[SourceError], str]:
    """What an error of a driver means: no right to read, no connection, or something else."""
    chain: list[BaseException] = []
    link: BaseException | None = err
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    status = {str(getattr(one, name, "")) for one in chain for name in ("status_code", "code", "status")}
    names = {type(one).__name__ for one in chain}
    if any(isinstance(one, PermissionError) for one in chain) or status & {"401", "403"} or names & _NO_ACCESS:
        return SourceAccessError, "check the credentials, and what they may do"
    if any(isinstance(one, ConnectionError | TimeoutError) for one in chain) or names & _NO_ANSWER:
        return SourceUnavailableError, "check the endpoint and the network, and run the job again"
    return SourceError, "check that the file is there, the endpoint, and the credentials' rights"
