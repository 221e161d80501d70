"""What proves to the API who asks, put on requests to the API's own origin and nowhere else."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from lakecat.errors import ConfigError, SourceAccessError, SourceError, Where
from lakecat_connectors._rest_options import ApiKey, Basic, Bearer, ClientCredentials, Refresh
from lakecat_connectors._rest_secrets import Secrets, sound
from lakecat_connectors._rest_token_file import TokenFile, TokenPlace

_EARLY: Final = timedelta(seconds=60)
_LONGEST: Final = 365 * 86_400
_FORM: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request gets: headers, and query parameters."""

    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


class Prover(Protocol):
    """One way of authentication."""

    def proof(self) -> Proof:
        """What the next request gets. Raises SourceError."""

    def renew(self, used: Proof) -> bool:
        """The API refused a proof: whether there is hope that another one will do."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same for every request."""

    value: Proof

    def proof(self) -> Proof:
        """Always the same."""
        return self.value

    def renew(self, used: Proof) -> bool:  # noqa: ARG002 - the protocol's
        """There is no other."""
        return False


TokenRequest = Callable[[str, Mapping[str, str], bytes], bytes]
"""Sends a POST with headers and a form to a URL, and gives the answer's body."""


class OAuth2:
    """Access tokens of a token server (RFC 6749), fetched when needed and again a minute before they expire."""

    def __init__(
        self,
        options: ClientCredentials | Refresh,
        secrets: Secrets,
        send: TokenRequest,
        clock: Callable[[], datetime],
        root: Path,
    ) -> None:
        self._options = options
        self._secrets = secrets
        self._send = send
        self._clock = clock
        self._client_id = secrets.maybe(options.client_id)
        self._client_secret = None if options.client_secret is None else secrets.get(options.client_secret)
        self._refresh = secrets.get(options.refresh_token) if isinstance(options, Refresh) else None
        self._file: TokenFile | None = None
        if isinstance(options, Refresh) and options.write_back:
            self._file = TokenFile(root / options.refresh_token.removeprefix("file:"))
        self._token: Proof | None = None
        self._expires: datetime | None = None
        self._lock = threading.Lock()
        self._pair: str | None = None
        if self._client_secret is not None:
            self._pair = f"{quote(self._client_id, safe='')}:{quote(self._client_secret, safe='')}"
            secrets.add(self._pair)

    def proof(self) -> Proof:
        """A bearer token that is still good. Raises SourceError."""
        with self._lock:
            if self._token is None or (self._expires is not None and self._clock() >= self._expires):
                self._renew()
            if self._token is None:
                raise AssertionError("fetching sets the token or raises")
            return self._token

    def renew(self, used: Proof) -> bool:
        """Forget a token that was refused, unless another thread has renewed it already."""
        with self._lock:
            if self._token is used:
                self._token = None
            return True

    def _renew(self) -> None:
        if self._file is None or not isinstance(self._options, Refresh):
            self._fetch(None)
            return
        with self._file.turn() as place:
            self._refresh = self._secrets.get(self._options.refresh_token)  # another process may have replaced it
            self._fetch(place)

    def _fetch(self, place: TokenPlace | None) -> None:
        headers, form = dict(_FORM), self._form()
        if self._pair is not None and self._options.client_auth == "basic":
            headers["authorization"] = _basic(self._pair)
        else:
            form["client_id"] = self._client_id
            if self._client_secret is not None:
                form["client_secret"] = self._client_secret
        self._take(self._send(self._options.token_url, headers, urlencode(form).encode()), place)

    def _form(self) -> dict[str, str]:
        options = self._options
        if isinstance(options, Refresh):
            form = {"grant_type": "refresh_token", "refresh_token": self._refresh or ""}
        else:
            form = {"grant_type": "client_credentials"}
            if options.audience is not None:
                form["audience"] = options.audience
        return form if options.scope is None else {**form, "scope": options.scope}

    def _take(self, body: bytes, place: TokenPlace | None) -> None:
        where = Where(self._secrets.shown(self._options.token_url))
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise SourceError("the token server's answer is not JSON", where=where) from None
        again = answer.get("refresh_token") if isinstance(answer, dict) and self._refresh is not None else None
        if isinstance(again, str) and again and again != self._refresh:
            self._secrets.add(again)
            if not again.isascii() or not again.isprintable():
                raise SourceError("the token server gave a refresh_token that is none", where=where)
            if place is not None:  # first of all: the old one may be dead by now
                place.keep(again)
            self._refresh = again
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise SourceAccessError("the token server gave no access_token", where=where)
        if str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise SourceError("the token server gave a token of another type than bearer", where=where)
        self._secrets.add(token)
        if not token.isascii() or not token.isprintable():
            raise SourceError("the token server gave an access_token that no header can hold", where=where)
        life = _lifetime(answer.get("expires_in"))
        self._expires = None if life is None else self._clock() + max(life - _EARLY, life / 2)
        self._token = Proof({"authorization": f"Bearer {token}"})


def _lifetime(seconds: Any) -> timedelta | None:
    """How long a token is good; None where that is not said, or in no words that make sense."""
    if isinstance(seconds, str) and re.fullmatch(r"[0-9]{1,18}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        return None
    return timedelta(seconds=float(min(seconds, _LONGEST)))


def prover(
    auth: Basic | Bearer | ApiKey | ClientCredentials | Refresh | None,
    secrets: Secrets,
    send: TokenRequest,
    clock: Callable[[], datetime],
    root: Path,
) -> Prover:
    """The way of authentication that a job declares, its secrets fetched. Raises ConfigError."""
    if isinstance(auth, ClientCredentials | Refresh):
        return OAuth2(auth, secrets, send, clock, root)
    proof = Proof() if auth is None else fixed_proof(auth, secrets)
    return Fixed(Proof(sound(dict(proof.headers)), proof.params))


def _basic(pair: str) -> str:
    """The header of RFC 7617 for ``user:password``."""
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def fixed_proof(auth: Basic | Bearer | ApiKey, secrets: Secrets) -> Proof:
    """What shows who asks: headers, and parameters of the query. Raises ConfigError for a secret that is not there."""
    if isinstance(auth, Bearer):
        return Proof({"authorization": f"Bearer {secrets.get(auth.token)}"})
    if isinstance(auth, Basic):
        pair = f"{secrets.maybe(auth.username)}:{secrets.get(auth.password)}"
        secrets.add(pair)
        return Proof({"authorization": _basic(pair)})
    value = auth.prefix + secrets.get(auth.value)
    if auth.place == "query":
        return Proof(params={auth.name: value})
    if auth.place == "cookie" and ";" in value:
        raise ConfigError(f"rest connector: the secret for the cookie {auth.name!r} holds ;, which ends a cookie")
    if auth.place == "cookie":
        return Proof({"cookie": f"{auth.name}={value}"})
    return Proof({auth.name.lower(): value})
