"""Counts a database client's round trips where they happen: on the wire, by a proxy between it and the server.

A round trip is a flight of bytes from the client after the server had the last word: BEGIN, COMMIT, a ping and a
statement cost one each, and statements sent in one pipeline cost one together. What no event of a library shows
(implicit transactions, resets, cursors) is counted too. A client that goes on sending while the answer to what it sent
before is on its way may be counted once too often, never too seldom.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from sqlalchemy.engine import URL


@dataclass
class Count:
    """What one stretch of work cost."""

    round_trips: int = 0
    sent: int = 0
    """Bytes from the client."""
    flights: list[bytes] = field(default_factory=list)
    """The first bytes of each round trip, for whoever wonders what it was."""


class Wire:
    """A proxy on a free port of the loopback before ``host:port``; one thread, any number of connections."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._count = Count()
        self._thread = threading.Thread(target=self._serve, name="wire", daemon=True)

    @classmethod
    def before(cls, url: URL) -> Self:
        """A proxy before the server that ``url`` names."""
        assert url.host is not None
        assert url.port is not None
        return cls(url.host, url.port)

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def through(self, url: URL) -> URL:
        """``url`` by way of the proxy."""
        return url.set(host="127.0.0.1", port=self.port)

    @contextmanager
    def counting(self) -> Iterator[Count]:
        """Count what happens meanwhile, on all connections."""
        with self._lock:
            self._count = count = Count()
        yield count
        with self._lock:
            self._count = Count()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b".")
        self._thread.join(10)
        for end in (self._listener, self._wake, self._woken):
            end.close()

    def _serve(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        clients: dict[socket.socket, bool] = {}  # whether the server had the last word
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    break
                for end in ready:
                    assert isinstance(end, socket.socket)
                    if end is self._listener:
                        client, _ = end.accept()
                        server = socket.create_connection(self._server)
                        pairs |= {client: server, server: client}
                        clients[client] = True
                        for each in (client, server):
                            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                            selector.register(each, selectors.EVENT_READ)
                    elif end in pairs:
                        self._forward(end, pairs, clients, selector)
        for end in pairs:
            end.close()

    def _forward(
        self,
        end: socket.socket,
        pairs: dict[socket.socket, socket.socket],
        clients: dict[socket.socket, bool],
        selector: selectors.BaseSelector,
    ) -> None:
        other = pairs[end]
        try:
            data = end.recv(1 << 16)
            if data:
                self._note(end, other, clients, data)
                other.sendall(data)
        except OSError:  # either side went away in the middle
            data = b""
        if not data:
            for each in (end, other):
                selector.unregister(each)
                del pairs[each]
                clients.pop(each, None)
                each.close()

    def _note(self, end: socket.socket, other: socket.socket, clients: dict[socket.socket, bool], data: bytes) -> None:
        if end not in clients:
            clients[other] = True
            return
        with self._lock:
            self._count.sent += len(data)
            if clients[end]:
                self._count.round_trips += 1
                self._count.flights.append(data[:200])
        clients[end] = False
