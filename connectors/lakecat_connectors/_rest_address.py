"""Which addresses may be connected to: checked when the connection is made, on the address that is connected to.

A name is resolved once and the connection goes to the very address that was checked, so that a DNS server that
answers differently the next time (DNS rebinding) gains nothing. Spellings such as ``127.1``, ``0x7f.1`` or
``[::ffff:127.0.0.1]`` need no rules of their own: only what they resolve to counts.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import httpcore2

from lakecat.errors import SourceAccessError, SourceUnavailableError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SHARED: Final = ipaddress.IPv4Network("100.64.0.0/10")


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether an address is one of the internet at large: not private, loopback, link-local, shared or reserved."""
    address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))
    if isinstance(address, ipaddress.IPv4Address) and address in _SHARED:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _unwrapped(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 one that only carries it (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    return address if inner is None else inner


def is_private_name(host: str) -> bool:
    """Whether a host, not resolved, says by itself that it is no public one: an address in any spelling, localhost."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return not is_public(name)
    except ValueError:
        pass
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
    except OSError:
        return False


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which no answer takes longer than it may, however slowly its bytes drip, headers and all."""

    def __init__(self, inner: httpcore2.NetworkStream, left: Callable[[], float]) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As the connection. Raises httpcore2.ReadTimeout, for what came too late as well."""
        data = self._inner.read(max_bytes, self._within(timeout))
        self._within(timeout)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As the connection."""
        self._inner.write(buffer, self._within(timeout))

    def close(self) -> None:
        """As the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """As the connection."""
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, self._within(timeout)), self._left)

    def get_extra_info(self, info: str) -> Any:
        """As the connection."""
        return self._inner.get_extra_info(info)

    def _within(self, timeout: float | None) -> float | None:
        left = self._left()
        if left <= 0:
            raise httpcore2.ReadTimeout
        return timeout if left == math.inf else left if timeout is None else min(timeout, left)


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to public addresses only, unless private ones are allowed."""

    def __init__(
        self, *, allow_private: bool, resolve: Resolve = resolve, left: Callable[[], float] = lambda: math.inf
    ) -> None:
        """``left``: how many seconds the request that is on its way may still take."""
        self._allow_private = allow_private
        self._resolve = resolve
        self._left = left
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of the host that answers. Raises SourceAccessError for a forbidden one."""
        try:
            addresses = self._resolve(host.strip("[]"), port)
        except (OSError, UnicodeError) as err:
            raise httpcore2.ConnectError(f"the host {host!r} is not known") from err
        self._refuse_private(host, addresses)
        failure: Exception = SourceUnavailableError(f"the host {host!r} has no address")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
                return _TimedStream(stream, self._left)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as err:
                failure = err
        raise failure

    def _refuse_private(self, host: str, addresses: Sequence[str]) -> None:
        """One private address among public ones is enough: which one is connected to must not be chance."""
        if not self._allow_private and not all(map(is_public, addresses)):
            raise SourceAccessError(
                f"{host} is an address of a private network",
                hint="if the API stands in your own network, say allow_private: true",
            )
