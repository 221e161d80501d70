"""A draft of an ingest job out of an OpenAPI document (3.x, Swagger 2.0), to be checked and completed by a person.

What the document does not say for sure is marked with ``check``; secrets are references to fill.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

from lakecat.errors import SourceError, Where
from lakecat_connectors._openapi_document import Document, Operation, plain, read_document
from lakecat_connectors._openapi_guess import Found, key_of, paginator_of, rows_of, since_of
from lakecat_connectors._rest_paths import path_to

_PLAIN: Final = re.compile(r"[A-Za-z_/$][A-Za-z0-9_./$@-]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOWHERE: Final = "https://example.com"
_SAID_BY_US: Final = ("accept", "content-type", "authorization")
_RESERVED: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})
_WIDTH: Final = 100


@dataclass(slots=True)
class _Resource:
    """One collection of the API on its way into the draft."""

    operation: Operation
    name: str
    data_path: str | None
    key: str | None
    row: Mapping[str, Any]
    parent: _Resource | None = None
    filled: dict[str, str] = field(default_factory=dict)


def draft(document: str | bytes | Mapping[str, Any], *, name: str = "openapi document", target: str = "raw.*") -> str:
    """The text of a job file for ``ingest/``.

    Every GET that answers with a list of objects becomes a resource and a stream.

    Args:
        document: the text (JSON or YAML) or what was parsed of it.
        name: what errors call the document.
        target: where the streams go.

    Raises:
        ParseError: the text is neither JSON nor YAML.
        ConfigError: it is no OpenAPI document.
        SourceError: no operation of it gives rows.
    """
    found = read_document(document, name)
    resources, left = _collections(found)
    if not resources:
        raise SourceError(
            "no GET of the document answers with a list of JSON objects",
            where=Where(name),
            hint="write the resources yourself; see docs/connectors-rest.md",
        )
    lines = [*_head(found), "connector: rest", f"target: {_scalar(target)}", "streams:"]
    for resource in resources:
        lines += _stream(found, resource)
    auth = _auth(found, resources)
    lines += ["options:", *_base(found, secret="  auth:" in auth), *auth]
    lines.append("  resources:")
    for resource in resources:
        lines += _lines(found, resource)
    lines += [f"# left out: {_said(text)}" for text in (*left, *found.notes)]
    return "\n".join(lines) + "\n"


def _head(document: Document) -> list[str]:
    info = document.mapping(document.root.get("info"))
    version = f" {info['version']}" if info.get("version") else ""
    return [
        f"# Draft from {_said(document.title + version)} (OpenAPI {_said(str(document.root['openapi']))}).",
        "# Read what is marked with check, set the secrets, and try it with a few resources first.",
    ]


def _collections(document: Document) -> tuple[list[_Resource], list[str]]:
    """The resources, parents before their children, and what was left out with the reason."""
    found: list[_Resource] = []
    left: list[str] = []
    by_shape: dict[str, _Resource] = {}
    taken: set[str] = set()
    for operation in sorted(document.operations(), key=lambda one: len(one.placeholders)):
        rows = rows_of(document, operation)
        if rows is None:
            continue
        path, row = rows
        last = _last_word(operation.path)
        resource = _Resource(operation, last, path, key_of(document, row, last), row)
        if "#" in operation.path:
            left.append(f"{operation.path}: no address has a part behind #")
            continue
        if operation.placeholders and not _adopt(resource, by_shape):
            left.append(f"{operation.path}: nothing in the document fills its parameters")
            continue
        resource.name = _free_name(resource, taken)
        taken.add(resource.name)
        by_shape.setdefault(_shape(operation.path), resource)
        found.append(resource)
    return found, left


def _adopt(resource: _Resource, by_shape: Mapping[str, _Resource]) -> bool:
    """Find the parent whose rows fill the path's parameters: the longest collection that the path goes on from."""
    parts = resource.operation.path.split("{")
    if len(parts) < 2:
        return False
    above = resource.operation.path[: resource.operation.path.rindex("{")].rstrip("/")
    last = resource.operation.placeholders[-1]
    parent = by_shape.get(_shape(above))
    if parent is None or parent.key is None:
        return False
    resource.parent = parent
    resource.filled = {last: path_to(parent.key)}
    for own, theirs in zip(resource.operation.placeholders, parent.operation.placeholders, strict=False):
        resource.filled[own] = f"{_placeholder(theirs)}_of_parent"
    return True


def _shape(path: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", path.rstrip("/"))


def _placeholder(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return cleaned if cleaned[:1].isalpha() or cleaned[:1] == "_" else f"p_{cleaned}"


def _last_word(path: str) -> str:
    words = [part for part in path.split("/") if part and "{" not in part]
    return _snake(words[-1]) if words else "items"


def _snake(text: str) -> str:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    word = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_") or "items"
    return (word if word[0].isalpha() else f"r_{word}")[:60]


def _free_name(resource: _Resource, taken: set[str]) -> str:
    words = [_snake(part) for part in resource.operation.path.split("/") if part and "{" not in part]
    for count in range(1, len(words) + 1):
        name = "_".join(words[-count:])
        if name not in taken:
            return name
    number = 2
    while f"{resource.name}_{number}" in taken:
        number += 1
    return f"{resource.name}_{number}"


def _stream(document: Document, resource: _Resource) -> list[str]:
    mode = "merge" if resource.key is not None and resource.parent is None else "replace"
    lines = [f"  {resource.name}:", f"    mode: {mode}"]
    since = since_of(document, resource.operation, resource.row)
    if since is not None:
        lines.append(f"    # cursor: {_scalar(since[1])}  # check: reads only what is new since the last run")
    return lines


def _base(document: Document, *, secret: bool) -> list[str]:
    """``secret``: credentials are sent, which plain http would show."""
    url = document.base_url()
    if url is None:
        return [f"  base_url: {_NOWHERE}  # check: the document names no absolute server"]
    note = ""
    if secret and url.startswith("http://"):
        url = _secure(url)
        note = "  # check: the document says http://, over which no credentials are sent"
    if (left := re.search(r"\{[^{}]*\}", url)) is not None:
        note += f"  # check: nothing says what {_said(left[0])} is"
    return [f"  base_url: {_scalar(url)}{note}"]


def _auth(document: Document, resources: Sequence[_Resource]) -> list[str]:
    """The first security scheme that the document asks for and the connector knows."""
    components = document.mapping(document.root.get("components"))
    schemes = document.mapping(components.get("securitySchemes"))
    asked = document.root.get("security")
    asked = asked or next((one.operation.security for one in resources if one.operation.security), [])
    names = [name for choice in asked if isinstance(choice, Mapping) for name in choice]
    for name in names:
        known = _scheme(document, document.mapping(schemes.get(name)))
        if known is not None:
            pairs = [f"    {key}: {_scalar(value)}" for key, value in known.value.items()]
            pairs[0] += f"  # check: {known.check}" if known.check else ""
            return ["  auth:", *pairs]
    if names or schemes:
        return [
            f"  # check: auth is asked for ({_said(', '.join(map(str, names or schemes)))}), of no kind that is known"
        ]
    return []


def _scheme(document: Document, scheme: Mapping[str, Any]) -> Found | None:
    prefix = re.sub(r"[^A-Z0-9]+", "_", document.title.upper()).strip("_")[:40] or "API"
    prefix = prefix if prefix[0].isalpha() else f"API_{prefix}"
    kind, way = scheme.get("type"), str(scheme.get("scheme", "")).lower()
    if kind == "http" and way == "bearer":
        return Found({"type": "bearer", "token": f"env:{prefix}_TOKEN"})
    if kind == "http" and way == "basic":
        return Found({"type": "basic", "username": f"env:{prefix}_USER", "password": f"env:{prefix}_PASSWORD"})
    named = isinstance(scheme.get("name"), str) and _TOKEN.fullmatch(scheme["name"]) is not None
    if kind == "apiKey" and named and scheme.get("in") in ("header", "query", "cookie"):
        value = f"env:{prefix}_KEY"
        return Found({"type": "api_key", "in": scheme["in"], "name": scheme["name"], "value": value})
    if kind == "oauth2":
        return _oauth(document, document.mapping(scheme.get("flows")), prefix)
    return None


def _oauth(document: Document, flows: Mapping[str, Any], prefix: str) -> Found | None:
    client = {"client_id": f"env:{prefix}_CLIENT_ID", "client_secret": f"env:{prefix}_CLIENT_SECRET"}
    credentials = document.mapping(flows.get("clientCredentials"))
    if credentials.get("tokenUrl"):
        scopes = " ".join(map(str, document.mapping(credentials.get("scopes"))))
        scope = {"scope": scopes} if scopes else {}
        address = _absolute(document, str(credentials["tokenUrl"]))
        found = {"type": "oauth2_client_credentials", "token_url": address, **client, **scope}
        return Found(found, "which scopes are needed?" if scopes else None)
    code = document.mapping(flows.get("authorizationCode"))
    url = code.get("refreshUrl") or code.get("tokenUrl")
    if url:
        token = {"refresh_token": f"env:{prefix}_REFRESH_TOKEN"}
        return Found(
            {"type": "oauth2_refresh", "token_url": _absolute(document, str(url)), **client, **token},
            "log in once for a refresh token",
        )
    return None


def _absolute(document: Document, url: str) -> str:
    """An address of the token server's, which may be relative to that of the API."""
    return urljoin(f"{_secure(document.base_url() or _NOWHERE)}/", url)


def _secure(url: str) -> str:
    return re.sub(r"^http://", "https://", url)


def _lines(document: Document, resource: _Resource) -> list[str]:
    operation = resource.operation
    path = re.sub(r"\{([^{}]*)\}", lambda match: "{" + _placeholder(match[1]) + "}", operation.path)
    lines = [f"    {resource.name}:"]
    if operation.summary:
        lines.append(f"      description: {_scalar(_said(operation.summary))}")
    lines.append(f"      path: {_scalar(path)}")
    if resource.data_path is not None:
        lines.append(f"      data_path: {_scalar(resource.data_path)}")
    lines += _parent(resource)
    lines += _key(resource)
    lines += _required(document, operation, "query", "params")
    lines += _required(document, operation, "header", "headers")
    lines += _paginator(paginator_of(document, operation, resource.key))
    since = since_of(document, operation, resource.row)
    if since is not None:
        lines.append(f"      incremental: {{param: {_scalar(since[0])}}}  # check: does it compare {_said(since[1])}?")
    return lines


def _key(resource: _Resource) -> list[str]:
    if resource.key is None:
        return ["      # primary_key: …  # check: which columns identify a row?"]
    if resource.parent is None:
        return [f"      primary_key: [{_scalar(resource.key)}]"]
    return [f"      # primary_key: [{_scalar(resource.key)}]  # check: does it identify a row among all parents?"]


def _parent(resource: _Resource) -> list[str]:
    parent = resource.parent
    if parent is None:
        return []
    lines = ["      parent:", f"        resource: {parent.name}", "        params:"]
    lines += [f"          {_placeholder(name)}: {_scalar(value)}" for name, value in resource.filled.items()]
    lines.append("      include_from_parent:")
    lines += [f"        {_placeholder(name)}_of_parent: {_scalar(value)}" for name, value in resource.filled.items()]
    return lines


def _required(document: Document, operation: Operation, place: str, option: str) -> list[str]:
    """Required parameters, with an example where the document has one."""
    lines = []
    paging = {plain(one) for one in ("page", "offset", "limit", "per_page", "page_size", "cursor")}
    for one in operation.parameters:
        name = str(one.get("name"))
        if one.get("in") != place or not one.get("required") or plain(name) in paging:
            continue
        if place == "header" and (name.lower() in _SAID_BY_US or not _TOKEN.fullmatch(name)):
            continue
        schema = document.mapping(one.get("schema"))
        choices = schema.get("enum")
        known = [one.get("example"), schema.get("default"), schema.get("example"), *(choices or [])[:1]]
        value = next((part for part in known if isinstance(part, str | int | float | bool)), "")
        if place == "header":
            value = str(value) if str(value).isascii() and str(value).isprintable() else ""
        lines.append(f"        {_scalar(name)}: {_scalar(value)}  # check: the API requires it")
    return [f"      {option}:", *lines] if lines else []


def _paginator(found: Found | None) -> list[str]:
    if found is None:
        return ["      # paginator: …  # check: nothing shows how it pages; it is found out at the first answer"]
    pairs = [f"        {key}: {_scalar(value)}" for key, value in found.value.items()]
    check = f"  # check: {found.check}" if found.check else ""
    return [f"      paginator:{check}", *pairs]


def _scalar(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in quoted)
    return json.dumps(value)


def _said(text: str) -> str:
    """Text of the document in one short line, without what could end a comment."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


__all__ = ["draft"]
