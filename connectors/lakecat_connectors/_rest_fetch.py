"""The pages of a resource, one after the other: asked for, checked, their rows found. Parents before their children."""

from __future__ import annotations

import hashlib
import json
import marshal
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2

from lakecat.errors import ParseError, SourceChangedError, SourceError, Where
from lakecat_connectors._faults import excerpt
from lakecat_connectors._rest_detect import detect
from lakecat_connectors._rest_http import Answer, Call, Http
from lakecat_connectors._rest_json import Document, Flaw, count_flaws, parse
from lakecat_connectors._rest_options import PLACEHOLDER, Auto, Paginator, Resource, RestOptions
from lakecat_connectors._rest_pages import Ask, Page, Pager, pager, refuse_end, refuse_shrunk
from lakecat_connectors._rest_paths import path_to, search
from lakecat_connectors._rest_secrets import Secrets
from lakecat_connectors._rest_url import form_of, with_params

_WRAPPERS: Final = (
    "data", "items", "results", "records", "value", "values", "rows", "entries", "elements", "objects", "list",
)  # fmt: skip
_ERRORS: Final = ("error", "errors")
_SUCCESSES: Final = ("ok", "success")
_FAILURES: Final = ("error", "fail", "failed", "failure")
_ID: Final = re.compile(r"-?[0-9]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{24,64}")
_NO_CONTENT: Final = (204, 205)
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Window:
    """What is asked of an incremental resource: parameters, and where each goes."""

    params: Mapping[str, Any] = field(default_factory=dict)
    place: str = "query"


@dataclass(frozen=True, slots=True)
class Rows:
    """One page's rows as the API gave them, those of a parent added. ``shown``: the URL without secrets.

    ``ahead``: seconds by which the API's clock is ahead of ours, or less. ``plain``: as their document
    is, where nothing comes from a parent.
    """

    rows: list[Any]
    shown: str
    bytes: int
    ahead: float
    plain: bool


class Fetcher:
    """Reads resources; memory is bounded by one page of each level of parents."""

    def __init__(self, options: RestOptions, http: Http, secrets: Secrets) -> None:
        self._options = options
        self._http = http
        self._secrets = secrets

    def uri(self, resource: Resource) -> str:
        """What lineage calls the resource: its address with placeholders, without parameters."""
        return self._secrets.shown(str(self._http.base)).rstrip("/") + "/" + resource.path.lstrip("/")

    def pages(self, name: str, resource: Resource, window: Window) -> Iterator[Rows]:
        """Every page. Raises SourceError and its children."""
        if resource.parent is None:
            yield from self._walk(name, resource, window, {}, {})
            return
        above = resource.parent.resource
        seen: set[bytes] = set()
        for page in self.pages(above, self._options.resources[above], Window()):
            where = Where(page.shown)
            for row in page.rows:
                filling = self._filling(resource, row, where)
                added = {column: search(path, row, where) for column, path in resource.from_parent.items()}
                parent = _digest(json.dumps([filling, added], sort_keys=True, default=repr).encode())
                if parent not in seen:  # pages that moved show a parent twice, and orders name a customer twice
                    seen.add(parent)
                    yield from self._walk(name, resource, window, filling, added)

    def _walk(
        self, name: str, resource: Resource, window: Window, filling: Mapping[str, str], added: Mapping[str, Any]
    ) -> Iterator[Rows]:
        """The pages of one address."""
        chosen = resource.paginator or self._options.paginator
        walk = _Walk(resource, name, chosen, self._options.max_pages, self._secrets)
        way: Pager | None = None if isinstance(chosen, Auto) else pager(chosen)
        first = self._ask(resource, window, filling)
        ask: Ask | None = first if way is None else way.first(first)
        page: Page | None = None
        while ask is not None:
            answer = self._send(resource, walk, ask)
            if answer is None:
                if page is not None:
                    refuse_end(chosen, page)
                return
            document = self._document(answer)
            before, page = page, walk.page(ask, answer, document)
            self._refuse_error(resource, page)
            if before is not None:
                refuse_shrunk(chosen, before, page)
            rows = [_joined(row, added, page.where) for row in page.rows] if added else list(page.rows)
            yield Rows(rows, answer.shown, len(answer.body), answer.ahead, document.plain and not added)
            way = detect(page) if way is None else way
            ask = way.following(page)

    def _ask(self, resource: Resource, window: Window, filling: Mapping[str, str]) -> Ask:
        path = PLACEHOLDER.sub(lambda match: quote(filling[match[1]], safe=""), resource.path)
        base = str(self._http.base).rstrip("/")
        url = httpx2.URL(f"{base}/{path.lstrip('/')}" if path else base)
        params = {**self._options.params, **resource.params}
        is_form = resource.form is not None
        body = _filled(resource.form if is_form else resource.body, filling, self._secrets)
        ask = Ask(url=url, params=_filled(params, filling, self._secrets), body=body, is_form=is_form)
        for param, value in window.params.items():
            ask = ask.having(param, value, window.place)
        return ask

    def _send(self, resource: Resource, walk: _Walk, ask: Ask) -> Answer | None:
        """The answer; None where its status is the end of the pages, or of a parent that is gone."""
        try:
            url = with_params(ask.url, ask.params)
            form = form_of(ask.body or {}) if ask.is_form else ""
        except ValueError:
            where = Where(self._secrets.shown(str(ask.url)))
            raise SourceError("what the API gave for the next page cannot be in an address", where=where) from None
        walk.refuse_again(url, ask.body)
        headers = {}
        body = None
        if ask.is_form:
            body = form.encode()
            headers = {"content-type": "application/x-www-form-urlencoded"}
        elif ask.body is not None:
            body = json.dumps(ask.body).encode()
            headers = {"content-type": "application/json"}
        ends = walk.end_statuses()
        gone = {404, 410} if resource.parent is not None and resource.parent.missing == "skip" else set()
        answer = self._http.send(
            Call(
                url=url,
                method=resource.method,
                headers=headers,
                own=self._secrets.headers(resource.headers),
                body=body,
                safe=resource.safe,
                accept=frozenset(ends | gone),
            )
        )
        return None if answer.status >= 400 or answer.status in _NO_CONTENT else answer

    def _document(self, answer: Answer) -> Document:
        return parse(answer.body, Where(answer.shown), answer.headers.get("content-type", ""))

    def _refuse_error(self, resource: Resource, page: Page) -> None:
        """An error inside an answer that says 200. Raises SourceError."""
        path = self._options.error_path if resource.error_path is None else resource.error_path
        if path is False:
            return
        document = page.document
        if path is not None:
            found = search(path, document, page.where)
        elif isinstance(document, dict) and page.rows != [document]:
            found = _error_in(document)
        else:
            found = None
        if found:
            raise SourceError(
                f"the answer is an error: {self._shown(found)}",
                where=page.where,
                hint=None if path else "if that is no error, say error_path: false",
            )

    def _shown(self, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return excerpt(self._secrets.hide(text)[:_SHOWN])

    def _filling(self, resource: Resource, row: Any, where: Where) -> dict[str, str]:
        """The values that a parent's row puts into the child's address. Raises SourceError."""
        filling = {}
        for name, path in resource.parent.params.items() if resource.parent is not None else ():
            value = search(path, row, where)
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise SourceError(f"a parent's row has no text or number at {path!r} for {{{name}}}", where=where)
            text = str(value)
            if not text or text in (".", "..") or any(one < " " or "\ud800" <= one <= "\udfff" for one in text):
                raise SourceError(f"a parent's {path!r} is {excerpt(text)}: that is no part of an address", where=where)
            filling[name] = text
        return filling


class _Walk:
    """What one walk over pages has seen; refuses to go in circles or without end."""

    def __init__(self, resource: Resource, name: str, paginator: Paginator, most: int, secrets: Secrets) -> None:
        self._resource = resource
        self._name = name
        self._end_statuses = set(getattr(paginator, "end_statuses", ()))
        self._most = most
        self._secrets = secrets
        self._asked: set[bytes] = set()
        self._pages: dict[bytes, int] = {}
        self._data_path = resource.data_path
        self._number = 0
        self._seen = 0

    def end_statuses(self) -> set[int]:
        """Error statuses that mean the end, from the second page on."""
        return self._end_statuses if self._number else set()

    def refuse_again(self, url: httpx2.URL, body: Mapping[str, Any] | None) -> None:
        """Refuse a request that was sent already, and one too many. Raises SourceError."""
        where = Where(self._secrets.shown(str(url)))
        digest = _digest(f"{url}\n{json.dumps(body, sort_keys=True, default=str)}".encode())
        if digest in self._asked:
            raise SourceError(
                f"the paging goes in a circle: after page {self._number} this page is asked for again",
                where=where,
                hint="check paginator:; the API gave the same link or token twice",
            )
        if self._number >= self._most:
            raise SourceError(
                f"{self._name} does not end after {self._number} pages",
                where=where,
                hint="raise max_pages: if there are so many, or check paginator:",
            )
        self._asked.add(digest)

    def page(self, ask: Ask, answer: Answer, document: Document) -> Page:
        """The page with its rows. Raises SourceError for one that came already."""
        rows = self._rows(document, answer)
        self._number += 1
        self._seen += len(rows)
        if rows and not self._resource.allow_repeats:
            digest = _digest(_bytes_of(rows))
            if (earlier := self._pages.setdefault(digest, self._number)) != self._number:
                raise SourceError(
                    f"page {self._number} of {self._name} holds the same rows as page {earlier}",
                    where=Where(answer.shown),
                    hint="the API ignores the paging's parameters: check paginator: "
                    "(allow_repeats: true if such rows are meant)",
                )
        return Page(ask=ask, answer=answer, document=document.value, rows=rows, number=self._number, seen=self._seen)

    def _rows(self, document: Document, answer: Answer) -> list[Any]:
        where = Where(answer.shown)
        if self._data_path is None:
            self._data_path = _found_path(document.value, self._name, where, self._secrets)
        found = document.value if self._data_path == "@" else search(self._data_path, document.value, where)
        if document.flaws and document.flaws != count_flaws(found):
            raise ParseError(document.flaw, where=where)
        if isinstance(found, list):
            return found
        if isinstance(found, dict) and found and all(_ID.fullmatch(name) for name in found):
            raise SourceError(
                f"the rows at {self._data_path!r} stand under their ids, each a key of its own",
                where=where,
                hint=f"say data_path: values({self._data_path})",
            )
        if isinstance(found, dict | Flaw):
            return [found]
        raise SourceError(
            f"the answer has no rows at {self._data_path!r}{_told(document.value, self._secrets)}",
            where=where,
            hint="check data_path:; an API that leaves it out where there is nothing needs data_path: '… || `[]`'",
        )


def _found_path(document: Any, name: str, where: Where, secrets: Secrets) -> str:
    """Where the rows are: the list itself, a well-known key, or the only list of objects. Raises SourceError."""
    if isinstance(document, list):
        return "@"
    if isinstance(document, dict):
        for key in (name, *_WRAPPERS):
            if isinstance(document.get(key), list):
                return path_to(key)
        lists = [
            key for key, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        if len(lists) == 1 and lists[0] not in _ERRORS:
            return path_to(lists[0])
    keys = f"; it has the keys {', '.join(map(repr, list(document)[:10]))}" if isinstance(document, dict) else ""
    raise SourceError(
        f"where the rows are in the answer is not clear{_told(document, secrets)}{keys}",
        where=where,
        hint="say data_path: (a JMESPath; '@' when the object itself is the row)",
    )


def _error_in(document: Mapping[str, Any]) -> Any:
    """What an answer beside its rows says of an error, in the words that APIs have for it."""
    for key in _ERRORS:
        if document.get(key):
            return document[key]
    failed = any(document.get(key) is False for key in _SUCCESSES) or document.get("status") in _FAILURES
    told = {key: document[key] for key in (*_SUCCESSES, "status", "code", "message", "detail") if key in document}
    return told if failed else None


def _told(document: Any, secrets: Secrets) -> str:
    """What an answer without rows says of an error, secrets taken out before it is cut."""
    if isinstance(document, dict):
        if error := _error_in(document):
            text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False, default=str)
            return f" (error: {excerpt(secrets.hide(text))})"
        for key in ("message", "detail", "title"):
            if isinstance(document.get(key), str) and document[key]:
                return f" ({key}: {excerpt(secrets.hide(document[key]))})"
    return ""


def _joined(row: Any, added: Mapping[str, Any], where: Where) -> Any:
    if not isinstance(row, dict):
        return row
    for name in added:
        if name in row:
            raise SourceChangedError(
                f"the column {name!r} comes from the parent, and the row has one of its own",
                where=where,
                hint="give it another name: include_from_parent: {name: field}",
            )
    return {**row, **added}


def _filled(value: Any, filling: Mapping[str, str], secrets: Secrets) -> Any:
    """A JSON value with its references resolved and its placeholders filled.

    In this order: what an API gives must not be taken for a reference, which would send it our files.
    """
    if isinstance(value, str):
        known = secrets.maybe(value)
        return PLACEHOLDER.sub(lambda match: filling.get(match[1], match[0]), value) if known == value else known
    if isinstance(value, Mapping):
        return {key: _filled(part, filling, secrets) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, filling, secrets) for part in value]
    return value


def _bytes_of(rows: list[Any]) -> bytes:
    """The same for the same rows; equal ones whose keys come in another order count as others."""
    try:
        return marshal.dumps(
            rows, 2
        )  # the last version that does not tell apart what is one object and what only equals
    except ValueError:  # decimals, flaws
        return json.dumps(rows, default=repr).encode()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


__all__ = ["Fetcher", "Rows", "Window"]
