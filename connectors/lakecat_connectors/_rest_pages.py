"""From one page to the next: what each way of paging asks first, and what it asks after an answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, Protocol

import httpx2

from lakecat.errors import SourceChangedError, SourceError, Where
from lakecat_connectors import _rest_options as options_of
from lakecat_connectors._rest_http import Answer
from lakecat_connectors._rest_paths import search
from lakecat_connectors._rest_url import joined

# Possessive: a header that is no list of links must not cost more than its length.
_TARGET: Final = re.compile(r"<([^<>]*+)>\s*+")
_PARAMETER: Final = re.compile(r";\s*+([^,;=\"\s]++)\s*+(?:=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"|([^,;\"\s]*+))\s*+)?+")


@dataclass(frozen=True, slots=True)
class Ask:
    """One page's request: URL (with a query of its own, or none), further parameters, body (a form or JSON)."""

    url: httpx2.URL
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    is_form: bool = False

    def having(self, name: str, value: Any, place: str) -> Ask:
        """The same with one parameter set; in a JSON body ``name`` may be a path with dots."""
        if place == "query":
            return replace(self, params={**self.params, name: value})
        path = [name] if self.is_form else name.split(".")
        return replace(self, body=_set(self.body or {}, path, value))


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: its JSON, and how many rows were found in it. ``seen``: rows of all pages so far, with these."""

    ask: Ask
    answer: Answer
    document: Any
    rows: Sequence[Any]
    number: int
    seen: int

    @property
    def where(self) -> Where:
        """The page, for errors."""
        return Where(self.answer.shown)


class Pager(Protocol):
    """One way of paging."""

    def first(self, ask: Ask) -> Ask:
        """The first page's request."""

    def following(self, page: Page) -> Ask | None:
        """The request after a page, None at the end. Raises SourceError."""


def has_more(document: Any, path: str | None, where: Where) -> bool | None:
    """The has-more flag; None where none is declared. Raises SourceError where it is missing."""
    if path is None:
        return None
    value = search(path, document, where)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise SourceError(f"the answer has no true or false at has_more_path {path!r}", where=where)


def count_at(document: Any, path: str | None, where: Where, option: str) -> int | None:
    """A number of the answer. Raises SourceError where it is declared and missing."""
    if path is None:
        return None
    value = search(path, document, where)
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value):
        return int(value)
    raise SourceError(f"the answer has no number at {option} {path!r}", where=where)


@dataclass(frozen=True, slots=True)
class SinglePager:
    """One answer holds everything."""

    def first(self, ask: Ask) -> Ask:
        """As it is."""
        return ask

    def following(self, page: Page) -> Ask | None:  # noqa: ARG002 - the protocol's
        """Nothing."""
        return None


@dataclass(frozen=True, slots=True)
class LinkPager:
    """By the Link header."""

    options: options_of.LinkHeader

    def first(self, ask: Ask) -> Ask:
        """As it is."""
        return ask

    def following(self, page: Page) -> Ask | None:
        """The link's target."""
        target = link(page.answer.headers.get("link", ""), self.options.rel)
        return None if target is None else replace(page.ask, url=_link(page, target), params={})


@dataclass(frozen=True, slots=True)
class NextUrlPager:
    """By a URL in the body."""

    options: options_of.NextUrl

    def first(self, ask: Ask) -> Ask:
        """As it is."""
        return ask

    def following(self, page: Page) -> Ask | None:
        """The URL's page."""
        more = has_more(page.document, self.options.has_more_path, page.where)
        target = search(self.options.path, page.document, page.where)
        if more is False or (more is None and target in (None, "", False)):
            return None
        if not isinstance(target, str) or not target:
            raise SourceError(f"the answer has no URL at {self.options.path!r}", where=page.where)
        return replace(page.ask, url=_link(page, target), params={})


@dataclass(frozen=True, slots=True)
class OffsetPager:
    """By counting rows."""

    options: options_of.Offset

    def first(self, ask: Ask) -> Ask:
        """From the start, with the limit."""
        own = self.options
        if own.limit_param is not None and own.limit is not None:
            ask = ask.having(own.limit_param, own.limit, own.place)
        return ask.having(own.offset_param, own.start, own.place)

    def following(self, page: Page) -> Ask | None:
        """Behind the rows that came."""
        own = self.options
        if _is_last(own, page):
            return None
        if own.maximum is not None and page.seen >= own.maximum:
            return None
        return page.ask.having(own.offset_param, own.start + page.seen, own.place)


@dataclass(frozen=True, slots=True)
class NumberPager:
    """By counting pages."""

    options: options_of.PageNumber

    def first(self, ask: Ask) -> Ask:
        """The first page."""
        own = self.options
        if own.size_param is not None and own.size is not None:
            ask = ask.having(own.size_param, own.size, own.place)
        return ask.having(own.page_param, own.start, own.place)

    def following(self, page: Page) -> Ask | None:
        """The page behind this one."""
        own = self.options
        pages = count_at(page.document, own.total_pages_path, page.where, "total_pages_path")
        if pages is not None and page.number >= pages:
            return None
        if (pages is None or not page.rows) and _is_last(own, page):
            if pages is not None:
                raise _too_few(page, f"page {page.number} of {pages}")
            return None
        following = own.start + page.number
        if own.maximum is not None and following > own.maximum:
            return None
        return page.ask.having(own.page_param, following, own.place)


@dataclass(frozen=True, slots=True)
class CursorPager:
    """By a token."""

    options: options_of.CursorToken

    def first(self, ask: Ask) -> Ask:
        """Without a token."""
        return ask

    def following(self, page: Page) -> Ask | None:
        """With the answer's token, or with a field of its last row."""
        own = self.options
        more = has_more(page.document, own.has_more_path, page.where)
        if more is False:
            return None
        token = self._token(page)
        if token in (None, "", False):
            if more:
                raise SourceError("the answer says that there is more, but has no token for it", where=page.where)
            return None
        if isinstance(token, bool) or not isinstance(token, str | int | float | Decimal):
            raise SourceError(f"what stands at {own.path or own.last_row!r} is no token", where=page.where)
        value = token if isinstance(token, str | int) else str(token)
        return page.ask.having(own.param, value, own.place)

    def _token(self, page: Page) -> Any:
        if self.options.path is not None:
            return search(self.options.path, page.document, page.where)
        field_path = self.options.last_row or "@"
        token = search(field_path, page.rows[-1], page.where) if page.rows else None
        if page.rows and token is None:
            raise SourceError(f"the last row has no {field_path!r}, which last_row names", where=page.where)
        return token


def pager(options: options_of.Paginator) -> Pager:
    """The way of paging that a job declares; not for ``auto``."""
    if isinstance(options, options_of.LinkHeader):
        return LinkPager(options)
    if isinstance(options, options_of.NextUrl):
        return NextUrlPager(options)
    if isinstance(options, options_of.Offset):
        return OffsetPager(options)
    if isinstance(options, options_of.PageNumber):
        return NumberPager(options)
    if isinstance(options, options_of.CursorToken):
        return CursorPager(options)
    return SinglePager()


def _is_last(own: options_of.Offset | options_of.PageNumber, page: Page) -> bool:
    """By the flag, by the total, else by a page without rows. Raises SourceChangedError for fewer than the total."""
    more = has_more(page.document, own.has_more_path, page.where)
    total = count_at(page.document, own.total_path, page.where, "total_path")
    if total is not None and page.seen >= total - _skipped(own):
        return True
    if more is True:
        if not page.rows:
            raise SourceError("the answer says that there is more, but has no rows", where=page.where)
        return False
    last = more is False or not page.rows
    if last and total is not None and own.maximum is None:
        raise _too_few(page, f"{page.seen} rows of {total}")
    return last


def refuse_end(options: options_of.Paginator, page: Page) -> None:
    """The pages ended after this one, without another. Raises SourceError where it had promised more."""
    if isinstance(options, options_of.Offset | options_of.PageNumber) and options.maximum is None:
        total = count_at(page.document, options.total_path, page.where, "total_path")
        if total is not None and page.seen < total - _skipped(options):
            raise _too_few(page, f"{page.seen} rows of {total}")
    pages = options.total_pages_path if isinstance(options, options_of.PageNumber) else None
    if pages is not None:
        raise _too_few(page, f"page {page.number} of {count_at(page.document, pages, page.where, 'total_pages_path')}")


def refuse_shrunk(options: options_of.Paginator, before: Page, page: Page) -> None:
    """Rows were deleted while pages were counted, so that later ones moved up. Raises SourceChangedError."""
    if not isinstance(options, options_of.Offset | options_of.PageNumber) or options.total_path is None:
        return
    was = count_at(before.document, options.total_path, before.where, "total_path")
    now = count_at(page.document, options.total_path, page.where, "total_path")
    if was is not None and now is not None and now < was:
        raise SourceChangedError(
            f"the total went from {was} to {now} while pages were counted: rows may have moved to a page that was read",
            where=page.where,
            hint="run the job again; where that is always so, page by a cursor, or leave total_path out",
        )


def _skipped(own: options_of.Offset | options_of.PageNumber) -> int:
    return own.start if isinstance(own, options_of.Offset) else 0


def _too_few(page: Page, what: str) -> SourceChangedError:
    return SourceChangedError(
        f"the pages end at {what}",
        where=page.where,
        hint="rows were deleted meanwhile (run the job again), or the API does not hand out more than that: "
        "ask for less at once, by params: or incremental:",
    )


def link(header: str, rel: str) -> str | None:
    """The target of the first link with a relation in a Link header (RFC 8288, section 3)."""
    place = 0
    while (target := _TARGET.search(header, place)) is not None:
        place, meant = target.end(), False
        while (parameter := _PARAMETER.match(header, place)) is not None:
            place = parameter.end()
            name, quoted, plain = parameter.groups("")
            meant = meant or (name.lower() == "rel" and rel.lower() in (quoted or plain).lower().split())
        if meant and header[place : place + 1] in ("", ","):
            return target[1]
    return None


def _link(page: Page, target: str) -> httpx2.URL:
    return joined(page.answer.url, target, page.answer.shown)


def _set(body: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    if len(path) == 1:
        return {**body, path[0]: value}
    inner = body.get(path[0])
    return {**body, path[0]: _set(inner if isinstance(inner, Mapping) else {}, path[1:], value)}
