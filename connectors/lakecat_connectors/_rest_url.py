"""URLs as the rest connector reads, joins and completes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus, urlencode

import httpx2

from lakecat.errors import ConfigError, SourceError, Where


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454)."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host.lower(), port


def site(url: httpx2.URL) -> str:
    """The origin as text. What follows it in a link is the API's, and may repeat what it was sent."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def joined(base: httpx2.URL, reference: str, shown: str) -> httpx2.URL:
    """A link found at a URL (RFC 3986, section 5). Raises SourceError."""
    try:
        return base.join(reference.strip()).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise SourceError("the answer holds a link that is no URL", where=Where(shown)) from None


def parsed(text: str, option: str) -> httpx2.URL:
    """A URL of the job's. Raises ConfigError."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"rest connector: option {option!r} must be an http:// or https:// URL")
    return url


def with_params(url: httpx2.URL, params: Mapping[str, Any]) -> httpx2.URL:
    """The URL with these parameters in the place of its own of the same names.

    What else its query holds stays as it is: a link's token may be anything but text. Raises ValueError for a value
    that no URL can hold.
    """
    if not params:
        return url
    pieces = url.query.decode("ascii").split("&")
    kept = [piece for piece in pieces if piece and unquote_plus(piece.partition("=")[0]) not in params]
    return url.copy_with(query="&".join([*kept, form_of(params)]).encode("ascii"))


def form_of(params: Mapping[str, Any]) -> str:
    """As ``application/x-www-form-urlencoded``; a list repeats its name. Raises ValueError for lone surrogates."""
    return urlencode({name: _text(value) for name, value in params.items()}, doseq=True)


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_text(part) for part in value]
    return "" if value is None else str(value)
