"""Files behind http(s) URLs: their state by HEAD, their bytes by GET, from checked addresses only.

Offers of a file system what the listing asks for. No proxy and no setting of the environment is used. Credentials go to
the servers that the job's paths name, by https, and to no other that a redirect leads to.
"""

from __future__ import annotations

import contextlib
import email.utils
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from lakecat.errors import ConfigError, SourceAccessError, SourceError, SourceUnavailableError, Where
from lakecat_connectors._needs import needed
from lakecat_connectors._options import FilesOptions

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_WAITS: Final = (0.5, 1.0, 2.0)
_TIMEOUTS: Final = {"connect": 10.0, "read": 60.0, "write": 30.0, "pool": 10.0}
# The bytes of the file itself: a server must not compress them on the way.
_HEADERS: Final = ((b"accept-encoding", b"identity"), (b"user-agent", b"lakecat"), (b"accept", b"*/*"))


@dataclass(frozen=True, slots=True)
class SignIn:
    """The headers that prove who asks."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, options: FilesOptions, secret: Callable[[str], str]) -> SignIn:
        """What the job says under ``http``, its secrets fetched. Raises ConfigError."""
        if options.http is None:
            return cls()
        if not options.allow_private and any(path.startswith("http://") for path in options.paths):
            raise ConfigError(
                "files connector: option 'http' over http:// would show the credentials to everybody on the way",
                hint="write https:// in path (or allow_private: true in your own network)",
            )
        needed("jmespath", "rest", "http(s)://")
        rest = needed("lakecat_connectors._http_sign_in", "rest", "http(s)://")
        return cls(rest.sign_in_headers(options.http, secret))


class HttpFiles:
    """One run's connections. ``allow_private``: whether addresses of private networks may be connected to."""

    def __init__(
        self, *, allow_private: bool, sign_in: SignIn | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises ConfigError when the package for HTTP is not installed."""
        proof = {} if sign_in is None else sign_in.headers
        self._proof = tuple((name.encode(), text.encode()) for name, text in proof.items())
        self._core = needed("httpcore2", "rest", "http(s)://")
        guard = needed("lakecat_connectors._rest_address", "rest", "http(s)://")
        self._sleep = sleep
        self._pool = self._core.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=guard.GuardedBackend(allow_private=allow_private)
        )

    def invalidate_cache(self) -> None:
        """There is no cache."""

    def info(self, url: str) -> dict[str, Any]:
        """Size, ETag and time of the file. Raises FileNotFoundError, and SourceError for a server that says neither."""
        with self._answer("HEAD", url) as answer:
            headers = _headers(answer)
        length = headers.get("content-length", "")
        if not length.isdigit():
            raise SourceError("the server does not say how long the file is", where=Where(_shown(url)))
        moment = _moment(headers.get("last-modified"))
        if not headers.get("etag") and moment is None:
            raise SourceError(
                "the server says neither ETag nor Last-Modified, so a changed file could not be told",
                where=Where(_shown(url)),
                hint="fetch the file by other means, and land it from a folder",
            )
        return {"name": url, "type": "file", "size": int(length), "ETag": headers.get("etag"), "LastModified": moment}

    @contextlib.contextmanager
    def open(self, url: str, mode: str = "rb") -> Iterator[_Body]:
        """The file's bytes. Raises as ``info``."""
        del mode
        with self._answer("GET", url) as answer:
            if _headers(answer).get("content-encoding", "identity") != "identity":
                raise SourceError("the server compresses the file though it was asked not to", where=Where(_shown(url)))
            yield _Body(answer.iter_stream())

    @contextlib.contextmanager
    def _answer(self, method: str, url: str) -> Iterator[Any]:
        """The last answer of a chain of redirects, its status good."""
        target = url
        for _ in range(_MAX_REDIRECTS + 1):
            with self._attempts(method, target, url) as answer:
                if answer.status not in _REDIRECTS:
                    _refuse_status(answer.status, url, signed=bool(self._proof))
                    yield answer
                    return
                target = _next(target, _headers(answer).get("location", ""), url)
        raise SourceError(f"redirects more than {_MAX_REDIRECTS} times", where=Where(_shown(url)))

    @contextlib.contextmanager
    def _attempts(self, method: str, target: str, url: str) -> Iterator[Any]:
        """An answer; asked for again when the server is busy or the connection is not to be had."""
        for wait in (*_WAITS, None):
            proof = self._proof if _origin(target) == _origin(url) else ()
            headers = (*_HEADERS, *proof)
            stream = self._pool.stream(method, target, headers=headers, extensions={"timeout": _TIMEOUTS})
            try:
                answer = stream.__enter__()
            except (self._core.NetworkError, self._core.TimeoutException, self._core.ProtocolError) as err:
                if wait is None:
                    raise SourceUnavailableError(
                        f"the server cannot be reached ({type(err).__name__})", where=Where(_shown(url))
                    ) from err
                self._sleep(wait)
                continue
            with contextlib.ExitStack() as stack:
                stack.push(stream)
                if wait is not None and (answer.status == 429 or answer.status >= 500):
                    self._sleep(wait)
                    continue
                yield answer
                return


class _Body:
    """A response's bytes, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        """The next piece of whatever size; empty at the end."""
        del size
        return next((piece for piece in self._pieces if piece), b"")


def _headers(answer: Any) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


def _shown(url: str) -> str:
    """Without the query, which may hold a signature."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def _next(here: str, location: str, url: str) -> str:
    target = urljoin(here, location)
    scheme = urlsplit(target).scheme
    if not location or scheme not in ("http", "https") or (scheme == "http" and here.startswith("https:")):
        raise SourceError("redirects to what is no https:// address", where=Where(_shown(url)))
    return target


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _refuse_status(status: int, url: str, *, signed: bool) -> None:
    where = Where(_shown(url))
    if status in (404, 410):
        raise FileNotFoundError(url)
    if status in (401, 403):
        hint = "check http: and what its owner may do" if signed else "say http: {auth: …} to sign in"
        raise SourceAccessError(f"the server refuses (status {status})", where=where, hint=hint)
    if status == 429 or status >= 500:
        raise SourceUnavailableError(f"the server is not able to answer (status {status})", where=where)
    if status != 200:
        raise SourceError(f"the server answers with status {status}", where=where)


def _moment(text: str | None) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
