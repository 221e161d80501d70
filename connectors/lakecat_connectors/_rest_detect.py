"""Which way of paging an API has, by its first answer, where the job does not say.

In this order:

1. a ``Link`` header with ``rel="next"``;
2. a URL under a well-known key of the body (``next``, ``links.next``, ``_links.next.href``, ``@odata.nextLink``, …);
3. a token under a well-known key whose parameter is known too (``next_page_token``, ``next_cursor``, …);
4. a flag or a total that says that the answer holds everything: one page.

An answer that says that there is more without saying how to get it is an error, and so is a list that says nothing at
all and whose length looks like a page's: what is not known is not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lakecat.errors import SourceError
from lakecat_connectors import _rest_options as options_of
from lakecat_connectors._rest_pages import CursorPager, LinkPager, NextUrlPager, Page, Pager, SinglePager, link
from lakecat_connectors._rest_paths import path_to

_CONTAINERS: Final = (
    "links", "_links", "paging", "pagination", "meta", "metadata", "page", "page_info", "pageInfo",
    "response_metadata", "cursors", "cursor",
)  # fmt: skip
_LINKS: Final = (
    "next", "next_url", "nextUrl", "next_page_url", "nextPageUrl", "next_link", "nextLink", "@odata.nextLink",
    "odata.nextLink", "next_page", "nextPage",
)  # fmt: skip
_TOKENS: Final[Mapping[str, str]] = {
    "next_page_token": "page_token",
    "nextPageToken": "pageToken",
    "next_cursor": "cursor",
    "nextCursor": "cursor",
    "continuation_token": "continuation_token",
    "continuationToken": "continuationToken",
}
_FLAGS: Final = ("has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage", "more")
_TOTALS: Final = ("total", "total_count", "totalCount", "total_results", "totalResults", "count")
_PAGES: Final = ("total_pages", "totalPages", "page_count", "pageCount", "last_page", "lastPage")
_TOTAL_HEADERS: Final = ("x-total-count", "x-total", "x-total-items")
_HINT: Final = "say how under paginator: (or paginator: single when one answer holds everything)"


def detect(page: Page) -> Pager:
    """The way of paging of the API that gave this first page. Raises SourceError where it cannot be known."""
    if link(page.answer.headers.get("link", ""), "next") is not None:
        return LinkPager(options_of.LinkHeader(type="link_header"))
    document = page.document if isinstance(page.document, dict) else {}
    found = _by_link(document) or _by_token(document, page)
    if found is not None:
        return found
    _refuse_more(document, page)
    if not _says_complete(document, page) and _looks_full(len(page.rows)):
        raise SourceError(
            f"the answer holds exactly {len(page.rows)} rows, and nothing says whether there are more",
            where=page.where,
            hint=_HINT,
        )
    return SinglePager()


def _places(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The body and its well-known parts, with the paths of these."""
    yield "", document
    for name in _CONTAINERS:
        part = document.get(name)
        if isinstance(part, dict):
            yield f"{path_to(name)}.", part
            for inner in _CONTAINERS:
                if isinstance(part.get(inner), dict):
                    yield f"{path_to(name)}.{path_to(inner)}.", part[inner]


def _by_link(document: Mapping[str, Any]) -> Pager | None:
    for prefix, part in _places(document):
        for key in _LINKS:
            if key not in part:
                continue
            value, path = part[key], f"{prefix}{path_to(key)}"
            if isinstance(value, dict) and "href" in value:
                value, path = value["href"], f"{path}.href"
            if value is None or (isinstance(value, str) and (not value or _is_link(value))):
                if value or not _has_token(document):
                    return NextUrlPager(options_of.NextUrl(type="next_url", path=path))
            elif isinstance(value, int) and not isinstance(value, bool) and key in ("next_page", "nextPage"):
                return CursorPager(options_of.CursorToken(type="cursor", path=path, param="page"))
    return None


def _by_token(document: Mapping[str, Any], page: Page) -> Pager | None:
    for prefix, part in _places(document):
        for key, param in _TOKENS.items():
            if key in part and (part[key] is None or isinstance(part[key], str | int)):
                path = f"{prefix}{path_to(key)}"
                return CursorPager(options_of.CursorToken(type="cursor", path=path, param=param))
        for key, value in part.items():
            unknown = key in _LINKS or ("next" in key.lower() and "token" in key.lower())
            if not unknown or not value or value is True:
                continue
            path = f"{prefix}{path_to(key)}"
            if isinstance(value, dict | list):
                raise SourceError(
                    f"the answer says at {path} how to get the next page, but not in a way that is known",
                    where=page.where,
                    hint=_HINT,
                )
            raise SourceError(
                f"the answer has a token for the next page at {path}, but not which parameter takes it",
                where=page.where,
                hint=f"say paginator: {{type: cursor, path: '{path}', param: …}}",
            )
    return None


def _has_token(document: Mapping[str, Any]) -> bool:
    return any(part.get(key) for _, part in _places(document) for key in _TOKENS)


def _refuse_more(document: Mapping[str, Any], page: Page) -> None:
    if page.answer.status == 206:
        raise SourceError(
            "the answer is a part of the rows (HTTP 206), and nothing says how to get the others",
            where=page.where,
            hint=_HINT,
        )
    for prefix, part in _places(document):
        for key in _FLAGS:
            if part.get(key) is True:
                raise SourceError(
                    f"the answer says that there is more ({prefix}{key}), but not how to get it",
                    where=page.where,
                    hint=_HINT,
                )
        for keys, least, what in ((_TOTALS, len(page.rows), "rows"), (_PAGES, 1, "pages")):
            for key in keys:
                value = part.get(key)
                if isinstance(value, int) and not isinstance(value, bool) and value > least:
                    raise SourceError(
                        f"the answer holds {len(page.rows)} rows and tells of {value} {what} ({prefix}{key}), but not "
                        "how to get the others",
                        where=page.where,
                        hint=_HINT,
                    )
    for name in _TOTAL_HEADERS:
        text = page.answer.headers.get(name, "")
        if text.isascii() and text.isdigit() and len(text) < 19 and int(text) > len(page.rows):
            raise SourceError(
                f"the answer holds {len(page.rows)} rows, and its header {name} tells of {text}",
                where=page.where,
                hint=_HINT,
            )


def _says_complete(document: Mapping[str, Any], page: Page) -> bool:
    """Whether a flag, a total or a count of pages says that this is all."""
    for _, part in _places(document):
        if any(part.get(key) is False for key in _FLAGS) or any(part.get(key) in (0, 1) for key in _PAGES):
            return True
        if any(part.get(key) == len(page.rows) for key in _TOTALS if key != "count"):
            return True
    return any(page.answer.headers.get(name) == str(len(page.rows)) for name in _TOTAL_HEADERS)


def _looks_full(rows: int) -> bool:
    """Lengths that people choose for pages: tens, 25s and powers of two."""
    return rows >= 10 and (rows % 10 == 0 or rows % 25 == 0 or (rows >= 16 and rows & (rows - 1) == 0))


def _is_link(text: str) -> bool:
    return text.startswith(("http://", "https://", "/", "?"))
