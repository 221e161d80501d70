"""What an operation's parameters and answer tell of its rows: where they are, their key, how they page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lakecat_connectors._openapi_document import Document, Operation, plain
from lakecat_connectors._rest_paths import path_to

_WRAPPERS: Final = ("data", "items", "results", "records", "value", "values", "rows", "entries", "elements", "list")
_OUTER: Final = ("_embedded", "data", "result", "results", "response", "payload", "body")
_CONTAINERS: Final = (
    "links", "_links", "meta", "metadata", "paging", "pagination", "page_info", "pageInfo", "cursors",
    "response_metadata", "page", *_OUTER,
)  # fmt: skip
_LINKS: Final = ("next", "nexturl", "nextpageurl", "nextlink", "odatanextlink")
_TOKENS: Final = (
    "nextcursor", "nextpagetoken", "nexttoken", "continuationtoken", "endcursor", "after", "cursor", "next",
    "nextpage",
)  # fmt: skip
_TOKEN_PARAMS: Final = (
    "cursor", "page_token", "next_token", "continuation_token", "after", "starting_after", "page[cursor]",
    "page[after]", "start_cursor", "next",
)  # fmt: skip
_FLAGS: Final = ("hasmore", "hasnext", "hasnextpage")
_TOTALS: Final = ("total", "totalcount", "totalresults", "totalitems")
_SIZES: Final = ("per_page", "page_size", "size", "limit", "page[size]", "count", "max_results")
_SINCE: Final[Mapping[str, tuple[str, ...]]] = {
    "updated": (
        "updated_after", "updated_since", "modified_since", "modified_after", "since", "updated_from", "changed_since",
    ),
    "created": ("created_after", "created_since", "created_from", "start_date", "from", "start_time"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A guess, and why it may be wrong (None: the document says it)."""

    value: Any
    check: str | None = None


def rows_of(document: Document, operation: Operation) -> tuple[str | None, Mapping[str, Any]] | None:
    """The path of the rows (None: the answer is the list itself), and one row's schema; None for no list of objects."""
    schema = operation.schema
    if document.kind(schema) == "array":
        item = document.items(schema)
        return (None, item) if document.kind(item) == "object" else None
    properties = document.properties(schema)
    if operation.path.endswith("}") or {"id", "uuid"} & properties.keys():
        return None  # one thing, whose lists are parts of it
    last = operation.path.rstrip("/").rsplit("/", 1)[-1]
    if (chosen := _list_in(document, properties, last)) is not None:
        return path_to(chosen[0]), chosen[1]
    for outer in _OUTER:
        inner = document.properties(properties[outer]) if outer in properties else {}
        if not {"id", "uuid"} & inner.keys() and (chosen := _list_in(document, inner, last)) is not None:
            return f"{path_to(outer)}.{path_to(chosen[0])}", chosen[1]
    return None


def _list_in(document: Document, properties: Mapping[str, Any], last: str) -> tuple[str, Mapping[str, Any]] | None:
    """The property that is the list of rows: the path's last word, a well-known one, or the only one."""
    lists = {
        name: document.items(part)
        for name, part in properties.items()
        if document.kind(part) == "array" and document.kind(document.items(part)) == "object"
    }
    lists.pop("errors", None)
    chosen = next((name for name in (last, *_WRAPPERS) if name in lists), None)
    if chosen is None and len(lists) == 1:
        chosen = next(iter(lists))
    return None if chosen is None else (chosen, lists[chosen])


def key_of(document: Document, row: Mapping[str, Any], name: str) -> str | None:
    """The column that identifies a row."""
    properties = document.properties(row)
    singular = name.removesuffix("s")
    wanted = ("id", "uuid", "guid", "_id", f"{singular}_id", f"{singular}Id", f"{singular}_uuid", "key", "sid", "gid")
    scalar = {known: part for known, part in properties.items() if document.kind(part) in ("string", "integer")}
    return next((one for one in wanted if one in scalar), None)


def paginator_of(document: Document, operation: Operation, key: str | None) -> Found | None:
    """How the operation pages, as far as the document shows it."""
    return (
        _by_link(document, operation)
        or _by_token(document, operation, key)
        or _by_offset(document, operation)
        or _by_number(document, operation)
    )


def _envelope(document: Document, operation: Operation) -> Iterator[tuple[str, str, Any]]:
    """Plain name, path and schema of what stands beside the rows."""
    if document.kind(operation.schema) == "array":
        return
    for name, part in document.properties(operation.schema).items():
        yield plain(name), path_to(name), part
        if name in _CONTAINERS:
            for inner, below in document.properties(part).items():
                yield plain(inner), f"{path_to(name)}.{path_to(inner)}", below


def _by_link(document: Document, operation: Operation) -> Found | None:
    headers = {str(name).lower() for name in document.mapping(operation.answer.get("headers"))}
    if "link" in headers:
        return Found({"type": "link_header"})
    for name, path, schema in _envelope(document, operation):
        one = document.mapping(schema)
        told = str(one.get("description", "")).lower()
        is_url = (
            one.get("format") in ("uri", "url", "uri-reference") or "url" in told or "link" in told or "url" in name
        )
        if name in _LINKS and document.kind(one) == "object" and "href" in document.properties(one):
            return Found({"type": "next_url", "path": f"{path}.href"})
        if name in _LINKS and document.kind(one) == "string" and (is_url or name.endswith("link")):
            return Found({"type": "next_url", "path": path})
    return None


def _by_token(document: Document, operation: Operation, key: str | None) -> Found | None:
    parameter = operation.parameter("query", *_TOKEN_PARAMS)
    if parameter is None:
        return None
    beside = list(_envelope(document, operation))
    flag = next((path for name, path, _ in beside if name in _FLAGS), None)
    more = {} if flag is None else {"has_more_path": flag}
    name = str(parameter.get("name"))
    if plain(name) == "startingafter" and key is not None and flag is not None:
        return Found({"type": "cursor", "last_row": path_to(key), "param": name, **more})
    for wanted in _TOKENS:
        for found, path, schema in beside:
            if found == wanted and document.kind(schema) in ("string", "integer", ""):
                return Found({"type": "cursor", "path": path, "param": name, **more}, "a guess by names")
    return None


def _by_offset(document: Document, operation: Operation) -> Found | None:
    offset = operation.parameter("query", "offset", "skip", "start", "page[offset]", "$skip", "start_at")
    if offset is None:
        return None
    size = operation.parameter("query", "$top", "top", "take", *_SIZES, "page[limit]")
    found: dict[str, Any] = {"type": "offset", "offset_param": offset.get("name")}
    if size is None:
        found["limit_param"] = None
    else:
        found |= {"limit_param": size.get("name"), "limit": _most(document, size)}
    return Found({**found, **_end(document, operation)}, "pages end at the first empty one unless total_path says more")


def _by_number(document: Document, operation: Operation) -> Found | None:
    page = operation.parameter("query", "page", "page_number", "page[number]", "page_no", "pageindex")
    if page is None:
        return None
    found: dict[str, Any] = {"type": "page", "page_param": page.get("name")}
    schema = document.mapping(page.get("schema"))
    if 0 in (schema.get("default"), schema.get("minimum")):
        found["start"] = 0
    size = operation.parameter("query", *_SIZES)
    if size is not None:
        found |= {"size_param": size.get("name"), "size": _most(document, size)}
    pages = next((p for name, p, _ in _envelope(document, operation) if name in ("totalpages", "pagecount")), None)
    end = {"total_pages_path": pages} if pages is not None else _end(document, operation)
    return Found({**found, **end}, "does the first page have this number?")


def _end(document: Document, operation: Operation) -> dict[str, str]:
    """The flag or total that tells the end."""
    beside = list(_envelope(document, operation))
    for names, option in ((_FLAGS, "has_more_path"), (_TOTALS, "total_path")):
        for name, path, schema in beside:
            if name in names and document.kind(schema) in ("boolean", "integer", ""):
                return {option: path}
    return {}


def _most(document: Document, parameter: Mapping[str, Any]) -> int:
    """The largest page that a parameter allows, at most 1000; 100 where nothing is said."""
    schema = document.mapping(parameter.get("schema"))
    for key in ("maximum", "default"):
        value = schema.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return min(value, 1000)
    return 100


def since_of(document: Document, operation: Operation, row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The parameter that asks for what is new, and the column that it seems to compare."""
    times = {plain(name): name for name, part in document.properties(row).items() if _is_time(document, part)}
    for word, names in _SINCE.items():
        parameter = operation.parameter("query", *names)
        column = next((name for folded, name in times.items() if word in folded or folded.startswith("modif")), None)
        if parameter is not None and column is not None:
            return str(parameter.get("name")), column
    return None


def _is_time(document: Document, schema: Any) -> bool:
    return document.mapping(schema).get("format") in ("date-time", "date", "timestamp")
