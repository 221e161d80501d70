"""Connections: to checked addresses or by a proxy, with certificates as the job says; never more than is declared."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # it is there

import httpcore2
import httpx2

from lakecat.errors import ConfigError, SourceAccessError
from lakecat_connectors._rest_address import GuardedBackend, Resolve, is_private_name
from lakecat_connectors._rest_options import ClientCertificate, Proxy, RestOptions
from lakecat_connectors._rest_secrets import Secrets
from lakecat_connectors._rest_url import origin, parsed

_KEEP_SECONDS: Final = 30
_Origin = tuple[str, str, int | None]


class Pools:
    """Connection pools by what may be shown and which way is taken; safe in several threads."""

    def __init__(
        self,
        options: RestOptions,
        secrets: Secrets,
        root: Path,
        resolve: Resolve,
        left: Callable[[], float],
        ours: frozenset[_Origin],
    ) -> None:
        """``ours``: origins that the client's certificate is shown to. Raises ConfigError."""
        self._options = options
        self._ours = ours
        self._direct = GuardedBackend(allow_private=options.allow_private, resolve=resolve, left=left)
        # What is connected to is the proxy, which the job names and which mostly stands in a private network.
        self._by_proxy = GuardedBackend(allow_private=True, resolve=resolve, left=left)
        self._plain = _tls(options.ca_certificate, None, secrets, root)
        self._proving = self._plain
        if options.client_certificate is not None:
            self._proving = _tls(options.ca_certificate, options.client_certificate, secrets, root)
        self._proxies = _Proxies(options.proxy, secrets, self._plain)
        self._pools: dict[tuple[bool, str | None], httpcore2.ConnectionPool] = {}
        self._lock = threading.Lock()

    def pool(self, url: httpx2.URL) -> httpcore2.ConnectionPool:
        """The pool for a URL. Raises SourceAccessError for a private address that a proxy would be asked for."""
        proxy = self._proxies.of(url)
        if proxy is not None and not self._options.allow_private and is_private_name(url.host):
            raise SourceAccessError(
                f"{url.host} is an address of a private network",
                hint="if the API stands in your own network, say allow_private: true",
            )
        proving = origin(url) in self._ours
        key = proving, None if proxy is None else str(proxy.url)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = httpcore2.ConnectionPool(
                    ssl_context=self._proving if proving else self._plain,
                    proxy=proxy,
                    network_backend=self._direct if proxy is None else self._by_proxy,
                    keepalive_expiry=_KEEP_SECONDS,
                )
            return self._pools[key]

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()


class _Proxies:
    """Which proxy a URL goes by: the job's, or by its consent the environment's, which may except hosts."""

    def __init__(self, options: Proxy | None, secrets: Secrets, trusted: ssl.SSLContext | None) -> None:
        self._secrets = secrets
        self._trusted = trusted
        self._always: httpcore2.Proxy | None = None
        self._by_scheme: Mapping[str, httpcore2.Proxy] = {}
        self._said: dict[str, str] = {}
        if options is not None and options.url == "environment":
            self._said = getproxies_environment()
            wanted = {scheme: self._said.get(scheme) or self._said.get("all") for scheme in ("http", "https")}
            self._by_scheme = {scheme: self._from_text(text) for scheme, text in wanted.items() if text}
        elif options is not None:
            user = None if options.username is None else secrets.maybe(options.username)
            password = "" if options.password is None else secrets.get(options.password)
            self._always = self._proxy(parsed(options.url, "proxy.url"), user, password)

    def of(self, url: httpx2.URL) -> httpcore2.Proxy | None:
        """None: none."""
        if self._always is not None or not self._by_scheme:
            return self._always
        host = f"{url.host}:{url.port}" if url.port else url.host
        return None if proxy_bypass_environment(host, self._said) else self._by_scheme.get(url.scheme)

    def _from_text(self, text: str) -> httpcore2.Proxy:
        """As the environment writes it, with or without a scheme, a user and a password."""
        text = text if "://" in text else f"http://{text}"
        parts = urlsplit(text)
        user = None if parts.username is None else unquote(parts.username)
        password = unquote(parts.password or "")
        if password:
            self._secrets.add(password)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return self._proxy(parsed(bare, "proxy: environment"), user, password)

    def _proxy(self, url: httpx2.URL, user: str | None, password: str) -> httpcore2.Proxy:
        headers = []
        if user is not None:
            pair = f"{user}:{password}"
            self._secrets.add(pair)
            headers.append((b"Proxy-Authorization", b"Basic " + base64.b64encode(pair.encode())))
        at = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target="/")
        return httpcore2.Proxy(at, headers=headers, ssl_context=self._trusted if url.scheme == "https" else None)


def _tls(
    authorities: str | None, client: ClientCertificate | None, secrets: Secrets, root: Path
) -> ssl.SSLContext | None:
    """None: the system's certificates, as httpcore2 takes them when it first needs TLS. Raises ConfigError."""
    if authorities is None and client is None:
        return None
    try:
        if authorities is None:
            context = httpcore2.default_ssl_context()
        else:
            context = ssl.create_default_context(cafile=str(root / authorities))
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(
            f"rest connector: option 'ca_certificate': {authorities!r} is no file of PEM certificates"
        ) from err
    if client is not None:
        _show(context, client, secrets, root)
    return context


def _show(context: ssl.SSLContext, client: ClientCertificate, secrets: Secrets, root: Path) -> None:
    # Without a password OpenSSL would ask for one on the terminal.
    password = "" if client.password is None else secrets.get(client.password)
    key = None if client.key is None else str(root / client.key)
    try:
        context.load_cert_chain(str(root / client.certificate), key, lambda: password)
    except (OSError, ssl.SSLError, ValueError) as err:
        raise ConfigError(
            f"rest connector: option 'client_certificate': {client.certificate!r} with its key cannot be loaded",
            hint="it is a PEM file with the certificate; key: one with the private key, password: the key's password",
        ) from err
