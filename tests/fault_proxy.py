"""A proxy between a client and a server that breaks connections at chosen bytes."""

from __future__ import annotations

import selectors
import socket
import threading


class Proxy:
    """A TCP proxy that cuts all its connections once so many bytes have gone one way."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._left: dict[str, int | None] = {"up": None, "down": None}
        self._lock = threading.Lock()
        self._unanswered: bytes | None = None
        self.cuts = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, way: str, count: int) -> None:
        """Cut when ``count`` more bytes have gone ``up`` (to the server) or ``down``; what is beyond never arrives."""
        self._left[way] = count

    def cut_answer_to(self, text: bytes) -> None:
        """Let the next message that holds this text through to the server, and cut before its answer."""
        self._unanswered = text

    def heal(self) -> None:
        """Let everything pass again."""
        with self._lock:
            self._left = {"up": None, "down": None}
        self._unanswered = None

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        for pair in list(self._pairs):
            self._drop(pair)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            pair = (client, socket.create_connection(self._target))
            self._pairs.add(pair)
            threading.Thread(target=self._pump, args=(pair,), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, ("up", server))
            selector.register(server, selectors.EVENT_READ, ("down", client))
            try:
                while True:
                    for key, _ in selector.select():
                        way, other = key.data
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if way == "up" and self._unanswered is not None and self._unanswered in data:
                            self._unanswered = None
                            self.cuts += 1
                            other.sendall(data)
                            other.recv(1)  # the server has answered
                            return
                        passing = self._count(way, len(data))
                        other.sendall(data[:passing])
                        if passing < len(data):
                            return
            except (OSError, ValueError):
                return
            finally:
                self._drop(pair)

    def _count(self, way: str, size: int) -> int:
        """How many of these bytes may pass. Counted before they do: who gets them may heal the proxy at once."""
        with self._lock:
            left = self._left[way]
            if left is None:
                return size
            self._left[way] = left - size
            if size > left:
                self._left = {"up": None, "down": None}
                self.cuts += 1
            return min(left, size)

    def _drop(self, pair: tuple[socket.socket, socket.socket]) -> None:
        self._pairs.discard(pair)
        for one in pair:
            one.close()
