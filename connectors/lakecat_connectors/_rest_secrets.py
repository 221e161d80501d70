"""Secrets in memory, and the one place that takes them out of every text that a person, a log or lineage sees."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit, urlunsplit

from lakecat.errors import ConfigError
from lakecat_connectors._rest_options import REFERENCE

HIDDEN: Final = "***"
_SHORTEST: Final = 3
_SUSPECT: Final = ("key", "token", "secret", "password", "signature", "auth", "credential", "session", "code")


class Secrets:
    """The secrets of one run: fetched by reference, or given by a token server."""

    def __init__(self, fetch: Callable[[str], str]) -> None:
        self._fetch = fetch
        self._texts: set[str] = set()
        self._plain: set[str] = set()
        self._lock = threading.Lock()

    def get(self, reference: str) -> str:
        """The secret behind a reference. Raises ConfigError."""
        value = self._fetch(reference)
        self.add(value)
        return value

    def maybe(self, text: str) -> str:
        """What a reference stands for; any other text as it is."""
        return self.get(text) if REFERENCE.fullmatch(text) else text

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Headers by their names in lower case, references resolved. Raises ConfigError for what none can hold."""
        return sound({name.lower(): self.maybe(text) for name, text in given.items()})

    def add(self, secret: str) -> None:
        """Remember a text that nobody may see, in every spelling in which it may come back."""
        spellings = {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1]}
        spellings.add(secret.encode().hex())
        spellings |= {base64.b64encode(secret.encode()).decode(), base64.urlsafe_b64encode(secret.encode()).decode()}
        with self._lock:
            self._texts |= {text for text in spellings if len(text) >= _SHORTEST}
            if len(secret) >= _SHORTEST:
                self._plain.add(secret)

    def hide(self, text: str) -> str:
        """The text without any secret."""
        with self._lock:
            longest_first = sorted(self._texts, key=len, reverse=True)
        for secret in longest_first:
            text = text.replace(secret, HIDDEN)
        return text

    def shown(self, url: str) -> str:
        """A URL without user information, and without the values of parameters that are, or look like, secrets."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = "&".join(map(_without_value, parts.query.split("&"))) if parts.query else ""
        return self.hide(urlunsplit((parts.scheme, host, self._part(parts.path), self._part(query), "")))

    def _part(self, text: str) -> str:
        """A part of a URL; nothing of it where a secret stands in it in some half-encoded spelling."""
        hidden = self.hide(text)
        plain = unquote_plus(hidden)
        with self._lock:
            return HIDDEN if any(secret in plain or secret in unquote(hidden) for secret in self._plain) else hidden


def sound(headers: dict[str, str]) -> dict[str, str]:
    """The same. Raises ConfigError for a secret that no header can hold."""
    for name, text in headers.items():
        if not text.isascii() or not text.isprintable():
            raise ConfigError(
                f"rest connector: the secret for {name!r} holds a line break, or what is no ASCII",
                hint="write it in one line, as the API gave it",
            )
    return headers


def _without_value(parameter: str) -> str:
    name, sign, _ = parameter.partition("=")
    harmless = not any(word in name.lower() for word in _SUSPECT) or _is_paging(name)
    return parameter if harmless else f"{name}{sign}{HIDDEN}"


def _is_paging(name: str) -> bool:
    """``page_token`` and the like are where a reader stands, no secrets, and help to find a fault."""
    return "page" in name.lower() or "cursor" in name.lower()
