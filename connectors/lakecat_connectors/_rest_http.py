"""HTTP as the rest connector speaks it: to checked addresses, in time, in bounds, again where that is safe.

Built on httpcore2 rather than on httpx2's client, whose log lines hold whole URLs, API keys included. No netrc or other
setting is taken from the environment, and proxies only by the job's consent.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpcore2
import httpx2

from lakecat.errors import ConfigError, SourceAccessError, SourceError, SourceUnavailableError, Where
from lakecat_connectors._rest_address import Resolve, resolve
from lakecat_connectors._rest_auth import Fixed, Proof, Prover, prover
from lakecat_connectors._rest_body import Body
from lakecat_connectors._rest_options import ClientCredentials, Refresh, RestOptions, Retries
from lakecat_connectors._rest_pace import Deadline, Pace, Times, clock_ahead, quota_wait, retry_after
from lakecat_connectors._rest_pools import Pools
from lakecat_connectors._rest_secrets import Secrets
from lakecat_connectors._rest_url import joined, origin, parsed, site, with_params

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_EXCERPT: Final = 300
_AGENT: Final = "lakecat"
_LOGGERS: Final = ("httpcore2.connection", "httpcore2.http11", "httpcore2.proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. ``safe``: it may be sent twice. ``accept``: error statuses that are an answer.

    ``own``: headers for the API's own origin only.
    """

    url: httpx2.URL
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    safe: bool = True
    accept: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response read to its end. ``headers`` in lower case, repeated ones joined; ``shown``: the URL for people.

    ``ahead``: seconds by which the API's clock is ahead of ours, or less.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: httpx2.URL
    shown: str
    ahead: float = 0.0


class _LostError(Exception):
    """The connection failed; ``sent``: the API may have got the request."""

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class _HidingFilter(logging.Filter):
    """Takes secrets out of what httpcore2 logs at level DEBUG: an API may repeat what it was sent in its headers."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._secrets.hide(record.getMessage()), ()
        return True


class Http:
    """The API's client for one run; safe in several threads."""

    def __init__(
        self, options: RestOptions, secrets: Secrets, root: Path, times: Times, resolve: Resolve = resolve
    ) -> None:
        """Check the base URL, fetch the secrets. Raises ConfigError."""
        self._options = options
        self._secrets = secrets
        self._times = times
        self.base = _base(options)
        self._headers = secrets.headers(options.headers)
        self._hosts = frozenset(host.lower() for host in options.allowed_hosts)
        self._prover: Prover = prover(options.auth, secrets, self._token, times.clock, root)
        limit = options.rate_limit
        self._pace = Pace(limit.requests if limit else None, limit.seconds if limit else 1, times)
        ours = {origin(self.base)}
        if isinstance(options.auth, ClientCredentials | Refresh):
            ours.add(origin(parsed(options.auth.token_url, "auth.token_url")))
        self._deadline = Deadline(times.monotonic)
        self._pools = Pools(options, secrets, root, resolve, self._deadline.left, frozenset(ours))
        self._filter = _HidingFilter(secrets)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._filter)

    def send(self, call: Call) -> Answer:
        """The answer, after as many attempts as are allowed. Raises SourceError and its children."""
        self.refuse_foreign(call.url, "the request")
        if call.body is not None and origin(call.url) != origin(self.base):
            raise SourceError(f"a {call.method} with a body would leave {site(self.base)} for {site(call.url)}")
        return self._with_retries(call, self._prover)

    def refuse_foreign(self, url: httpx2.URL, what: str) -> None:
        """Refuse a URL that leaves the API's origin, unless its host is allowed. Raises SourceError."""
        if origin(url) == origin(self.base):
            return
        if url.scheme not in ("http", "https") or not url.host:
            raise SourceError(f"{what} leads to a {url.scheme}: address, which is no http(s) one")
        if url.host.lower() in self._hosts and (url.scheme == "https" or self.base.scheme == "http"):
            return
        raise SourceError(
            f"{what} leads to {site(url)}, away from {site(self.base)}",
            hint=f"mend base_url, or say allowed_hosts: [{url.host}] if that is meant (credentials are not sent there)",
        )

    def close(self) -> None:
        """Close every connection; safe to call twice."""
        self._pools.close()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._filter)

    def _token(self, url: str, headers: Mapping[str, str], form: bytes) -> bytes:
        """A token request; asking twice for a token does no harm."""
        target = parsed(url, "token_url")
        if target.scheme != "https" and not self._options.allow_private:
            raise ConfigError("rest connector: option 'auth.token_url' must be an https:// URL")
        call = Call(url=target, method="POST", headers=headers, body=form, accept=frozenset({400}))
        answer = self._with_retries(call, Fixed(Proof()))
        if answer.status == 400:  # RFC 6749, section 5.2
            raise SourceAccessError(
                f"the token server refuses{self._excerpt(answer.body)}",
                where=Where(answer.shown),
                hint="check client_id, client_secret and refresh_token under auth:; a refresh token that works only "
                "once needs write_back: true (and a new login once it is lost)",
            )
        return answer.body

    def _with_retries(self, call: Call, by: Prover) -> Answer:
        retries, attempt, renewed = self._options.retries, 0, False
        while True:
            attempt += 1
            self._pace.wait()
            proof = by.proof()
            try:
                answer = self._followed(call, proof)
            except _LostError as err:
                if attempt >= retries.attempts or (err.sent and not call.safe):
                    raise self._lost(call, err, attempt) from err
                self._times.sleep(self._backoff(retries, attempt))
                continue
            self._mind_quota(answer)
            if answer.status == 401 and not renewed and by.renew(proof):
                renewed = True
                continue
            if (answer.status < 300 and answer.status not in retries.statuses) or answer.status in call.accept:
                return answer
            if answer.status not in retries.statuses or attempt >= retries.attempts or not call.safe:
                raise self._refused(answer, attempt)
            self._wait(answer, attempt)

    def _wait(self, answer: Answer, attempt: int) -> None:
        retries = self._options.retries
        asked = retry_after(answer.headers, self._times.clock())
        if asked is None and answer.status == 429:
            asked = quota_wait(answer.headers, self._times.clock())
        if asked is None:
            self._times.sleep(self._backoff(retries, attempt))
            return
        self._refuse_long(asked, answer)
        self._pace.hold(asked)

    def _mind_quota(self, answer: Answer) -> None:
        """Where the answer says that nothing is left of the quota, the next request waits for the next one."""
        wait = quota_wait(answer.headers, self._times.clock())
        if wait is not None and wait <= self._options.retries.max_wait:
            self._pace.hold(wait)

    def _refuse_long(self, seconds: float, answer: Answer) -> None:
        if seconds > (most := self._options.retries.max_wait):
            raise SourceUnavailableError(
                f"the API asks to wait for {seconds:.0f} s (HTTP {answer.status}), more than the {most:.0f} s allowed",
                where=Where(answer.shown),
                hint="run the job later, or raise max_wait under retries:",
            )

    def _backoff(self, retries: Retries, attempt: int) -> float:
        """Doubling, and spread over its upper half, so that many clients do not come back at once."""
        return float(
            min(retries.first_wait * 2.0 ** (attempt - 1), retries.max_wait) * (0.5 + self._times.jitter() / 2)
        )

    def _followed(self, call: Call, proof: Proof) -> Answer:
        """Send, and follow redirects within the origin; a request with a body is never sent elsewhere."""
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._once(call, proof)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            target = joined(answer.url, location, answer.shown)
            if call.method != "GET":
                raise SourceError(
                    f"a {call.method} is redirected to {site(target)}",
                    where=Where(answer.shown),
                    hint="write the new address into the job",
                )
            self.refuse_foreign(target, f"a redirect of {answer.shown}")
            call = replace(call, url=target)
        raise SourceError(
            f"redirects more than {_MAX_REDIRECTS} times", where=Where(self._secrets.shown(str(call.url)))
        )

    def _once(self, call: Call, proof: Proof) -> Answer:
        ours = origin(call.url) == origin(self.base)
        url = with_params(call.url, proof.params) if ours else call.url
        own = {**self._headers, **call.own, **proof.headers} if ours else {}
        defaults = {"user-agent": _AGENT, "accept": "application/json", "accept-encoding": "gzip"}
        headers = {**defaults, **call.headers, **own}
        limits = self._options.timeout
        times = {"connect": limits.connect, "read": limits.read, "write": limits.read, "pool": limits.total}
        shown = self._secrets.shown(str(url))
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(name.encode("ascii"), text.encode("ascii")) for name, text in headers.items()]
        pool = self._pools.pool(url)
        self._deadline.start(limits.total)
        try:
            with pool.stream(
                call.method, target, headers=sent, content=call.body, extensions={"timeout": times}
            ) as response:
                received = _header_map(response.headers)
                body = Body(self._options.max_response_bytes, shown).read(response, received)
                ahead = clock_ahead(received, self._times.clock())
                return Answer(
                    status=response.status, headers=received, body=body, url=call.url, shown=shown, ahead=ahead
                )
        except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as err:
            raise self._unconnected(err, shown) from err
        except httpcore2.LocalProtocolError:
            # Not from it: its text may hold a header.
            raise SourceError("the request cannot be written", where=Where(shown), hint="check headers:") from None
        except httpcore2.ProxyError as err:
            raise self._not_by_proxy(str(err), shown) from err
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as err:
            if self._deadline.left() <= 0:
                raise SourceUnavailableError(
                    f"the answer takes longer than {limits.total:.0f} s",
                    where=Where(shown),
                    hint="ask for smaller pages, or raise total under timeout:",
                ) from err
            if (refusal := _handshake(err, shown)) is not None:
                raise refusal from err
            raise _LostError(_kind(err), sent=True) from err

    def _not_by_proxy(self, said: str, shown: str) -> Exception:
        """``said``: the status with which the proxy answers CONNECT, and its reason."""
        said = self._secrets.hide(said)
        if said.startswith(("403", "407")):
            return SourceAccessError(
                f"the proxy refuses the connection: HTTP {said[:100]}",
                where=Where(shown),
                hint="check username and password under proxy:, and what the proxy lets through",
            )
        return _LostError(f"no connection by the proxy: HTTP {said[:100]}", sent=False)

    def _unconnected(self, err: Exception, shown: str) -> Exception:
        cause = err.__cause__ or err.__context__
        if (refusal := _handshake(err, shown)) is not None:
            return refusal
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceAccessError(
                f"the server's certificate is not to be trusted ({cause.verify_message or cause.reason})",
                where=Where(shown),
                hint="if the API has a certificate of its own, say ca_certificate: PATH",
            )
        if isinstance(err, httpcore2.ConnectTimeout):
            return _LostError("no connection in time", sent=False)
        reason = getattr(cause, "strerror", None) if isinstance(cause, OSError) else None
        return _LostError(f"no connection ({reason or str(err) or 'refused'})", sent=False)

    def _lost(self, call: Call, err: _LostError, attempts: int) -> SourceUnavailableError:
        hint = "run the job again later" if call.safe else "if asking twice does no harm, say idempotent: true"
        times = f" after {attempts} attempts" if attempts > 1 else ""
        return SourceUnavailableError(
            f"the API does not answer{times}: {self._secrets.hide(str(err))}",
            where=Where(self._secrets.shown(str(call.url))),
            hint=hint,
        )

    def _refused(self, answer: Answer, attempts: int) -> SourceError:
        times = f" after {attempts} attempts" if attempts > 1 else ""
        what = f"the API answers HTTP {answer.status}{times}{self._excerpt(answer.body)}"
        where = Where(answer.shown)
        if answer.status == 407:
            return SourceAccessError(what, where=where, hint="check username and password under proxy:")
        if answer.status in (401, 403):
            return SourceAccessError(what, where=where, hint="check auth: and what its owner may do")
        if answer.status in self._options.retries.statuses:
            return SourceUnavailableError(what, where=where, hint="run the job again later")
        return SourceError(what, where=where)

    def _excerpt(self, body: bytes) -> str:
        """The beginning of a body for an error, secrets taken out before it is cut."""
        text = self._secrets.hide(body.decode("utf-8", "replace"))[: 8 * _EXCERPT]
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return f": {line[:_EXCERPT]}" if line else ""


def _handshake(err: Exception, shown: str) -> SourceAccessError | None:
    """The error where the server refuses the TLS handshake (with TLS 1.3 that comes in the place of its answer)."""
    cause = err.__cause__ or err.__context__
    if not isinstance(cause, ssl.SSLError) or "ALERT" not in (cause.reason or ""):
        return None
    return SourceAccessError(
        f"the server refuses the TLS handshake ({cause.reason})",
        where=Where(shown),
        hint="if the API asks who you are by a certificate, say client_certificate:",
    )


def _base(options: RestOptions) -> httpx2.URL:
    url = parsed(options.base_url, "base_url")
    if url.userinfo:
        raise ConfigError(
            "rest connector: option 'base_url' holds a user or password", hint="take it out and say auth: {type: basic}"
        )
    if url.query or url.fragment:
        raise ConfigError("rest connector: option 'base_url' has a query", hint="write it under params:")
    if url.scheme == "http" and options.holds_secrets and not options.allow_private:
        raise ConfigError(
            "rest connector: auth over http:// would show the credentials to everybody on the way",
            hint="write https:// in base_url (or allow_private: true in your own network)",
        )
    return url


def _header_map(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for raw_name, raw_text in headers:
        name, text = raw_name.decode("latin-1").lower(), raw_text.decode("latin-1")
        result[name] = f"{result[name]}, {text}" if name in result else text
    return result


def _kind(err: Exception) -> str:
    if isinstance(err, httpcore2.TimeoutException):
        return "nothing comes any more"
    if isinstance(err, httpcore2.ProtocolError):
        return "it broke off, or does not speak HTTP"
    return "the connection broke off"
