"""Finding one's way in an OpenAPI document (or Swagger 2.0): references, merged schemas, servers, operations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

import yaml

from lakecat.errors import ConfigError, ParseError, Where
from lakecat_connectors._openapi_swagger import from_swagger

MAX_BYTES: Final = 32 << 20
_MAX_HOPS: Final = 32
_MAX_PROPERTIES: Final = 2_000
_MAX_PARTS: Final = 100


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]  # one of two classes
    """YAML with what JSON has: keys are texts (``200`` and ``no``, too), and there are no dates (``2026-01-01``)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value, deep=deep) for key, value in node.value}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no text", node.start_mark)
        return str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: str(node.value))


@dataclass(frozen=True, slots=True)
class Operation:
    """One GET of the document. ``parameters`` are those of its path too; ``answer`` is its success response."""

    path: str
    parameters: Sequence[Mapping[str, Any]]
    answer: Mapping[str, Any]
    schema: Mapping[str, Any]
    summary: str
    security: Any

    def parameter(self, place: str, *names: str) -> Mapping[str, Any] | None:
        """The first of its parameters in a place that has one of these names, whatever their case and separators."""
        wanted = {plain(name) for name in names}
        found = (one for one in self.parameters if one.get("in") == place and plain(str(one.get("name"))) in wanted)
        return next(found, None)

    @property
    def placeholders(self) -> list[str]:
        """The names in braces of its path."""
        return re.findall(r"\{([^{}]*)\}", self.path)


@dataclass(slots=True)
class Document:
    """A parsed document. ``notes`` collects what could not be followed."""

    root: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    _parts: dict[int, list[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the API calls itself."""
        info = self.mapping(self.root.get("info"))
        return str(info.get("title") or "the API")

    def mapping(self, value: Any) -> Mapping[str, Any]:
        """A mapping, references followed; an empty one for anything else."""
        for _ in range(_MAX_HOPS):
            if not isinstance(value, Mapping):
                return {}
            reference = value.get("$ref")
            if not isinstance(reference, str):
                return value
            value = self._target(reference)
        return {}

    def _target(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            self.note(f"the reference {reference!r} leads out of the document and was not followed")
            return {}
        value: Any = self.root
        for part in reference[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, list):
                value = value[int(key)] if key.isdecimal() and int(key) < len(value) else None
            else:
                value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            self.note(f"the reference {reference!r} leads nowhere")
        return value

    def note(self, text: str) -> None:
        """Remember once."""
        if text not in self.notes:
            self.notes.append(text)

    def parts(self, schema: Any) -> list[Mapping[str, Any]]:
        """A schema with all that ``allOf`` adds to it, and with the first alternative that is not null; each once."""
        first = self.mapping(schema)
        if id(first) in self._parts:
            return self._parts[id(first)]
        found: dict[int, Mapping[str, Any]] = {}
        waiting = [first]
        while waiting and len(found) < _MAX_PARTS:
            one = waiting.pop()
            if id(one) in found:
                continue
            found[id(one)] = one
            added = [self.mapping(part) for part in _listed(one.get("allOf"))]
            for choice in ("oneOf", "anyOf"):
                choices = map(self.mapping, _listed(one.get(choice)))
                added += [part for part in choices if part.get("type") != "null"][:1]
            waiting += reversed(added)
        parts = list(found.values())
        if first:  # of the document's own, which lives as long as this
            self._parts[id(first)] = parts
        return parts

    def properties(self, schema: Any) -> dict[str, Any]:
        """The properties of an object's schema; its own come before what is added to it."""
        found: dict[str, Any] = {}
        for part in reversed(self.parts(schema)):
            found.update((str(name), one) for name, one in self.mapping(part.get("properties")).items())
        return dict(list(found.items())[:_MAX_PROPERTIES])

    def kind(self, schema: Any) -> str:
        """A schema's type: the first that is not null; "object" for what only has properties."""
        parts = self.parts(schema)
        for part in parts:
            kinds = [kind for kind in _listed(part.get("type")) or [part.get("type")] if kind not in (None, "null")]
            if kinds:
                return str(kinds[0])
        if any("items" in part for part in parts):
            return "array"
        return "object" if any(self.mapping(part.get("properties")) for part in parts) else ""

    def items(self, schema: Any) -> Mapping[str, Any]:
        """The schema of an array's items."""
        return self.mapping(next((part["items"] for part in self.parts(schema) if "items" in part), None))

    def base_url(self) -> str | None:
        """The first server's URL with its variables' defaults; None where it is not absolute."""
        for server in _listed(self.root.get("servers")):
            one = self.mapping(server)
            url = str(one.get("url") or "")
            for name, variable in self.mapping(one.get("variables")).items():
                url = url.replace("{" + str(name) + "}", str(self.mapping(variable).get("default", "")))
            if url.startswith(("https://", "http://")):
                return url.rstrip("/")
        return None

    def operations(self) -> Iterator[Operation]:
        """Every GET that answers with JSON, in the order of the document."""
        for path, raw in self.mapping(self.root.get("paths")).items():
            item = self.mapping(raw)
            get = self.mapping(item.get("get"))
            answer = self._success(get)
            schema = self._json_schema(answer)
            if not isinstance(path, str) or not get or get.get("deprecated") is True or not schema:
                continue
            own = [self.mapping(one) for one in _listed(get.get("parameters"))]
            names = {(one.get("in"), one.get("name")) for one in own}
            shared = [self.mapping(one) for one in _listed(item.get("parameters"))]
            parameters = [*own, *(one for one in shared if (one.get("in"), one.get("name")) not in names)]
            summary = str(get.get("summary") or get.get("description") or "")
            yield Operation(path, parameters, answer, schema, summary, get.get("security"))

    def _success(self, operation: Mapping[str, Any]) -> Mapping[str, Any]:
        responses = {str(status): answer for status, answer in self.mapping(operation.get("responses")).items()}
        for status in ("200", "2XX", "206", "default"):
            if status in responses:
                return self.mapping(responses[status])
        return {}

    def _json_schema(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        for kind, media in self.mapping(answer.get("content")).items():
            if "json" in str(kind).lower() or kind == "*/*":
                return self.mapping(self.mapping(media).get("schema"))
        return {}


def read_document(text: str | bytes | Mapping[str, Any], name: str) -> Document:
    """Parse JSON or YAML. Raises ParseError for what is neither, ConfigError for what is no OpenAPI document."""
    where = Where(name)
    root: Any = text
    if not isinstance(text, Mapping):
        if len(text) > MAX_BYTES:
            raise ParseError(f"is longer than {MAX_BYTES >> 20} MiB", where=where)
        root = _parsed(text, where)
    if isinstance(root, Mapping) and str(root.get("swagger")) in ("2.0", "2"):
        root = from_swagger(root)
    version = root.get("openapi") if isinstance(root, Mapping) else None
    if not re.match(r"3(\.|$)", str(version)):
        raise ConfigError(
            "is no OpenAPI document: it has neither 'openapi' with a version 3.x nor 'swagger' with 2.0", where=where
        )
    return Document(root)


def _parsed(text: str | bytes, where: Where) -> Any:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if decoded.lstrip().startswith("{"):
            return json.loads(decoded)
        return yaml.load(decoded, _Loader)  # noqa: S506 - a safe loader's child
    except (ValueError, yaml.YAMLError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = getattr(err, "lineno", None) or (None if mark is None else mark.line + 1)
        raise ParseError("is neither JSON nor YAML", where=Where(where.file, line)) from err


def plain(name: str) -> str:
    """A name without case and separators: ``pageToken``, ``page_token`` and ``page[token]`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
