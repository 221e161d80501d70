"""Finding one's way in an OpenAPI document (3.0 and 3.1): references, merged schemas, servers, operations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from lakecat.errors import ConfigError, ParseError, Where

MAX_BYTES: Final = 32 << 20
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_HOPS: Final = 32
_MAX_PROPERTIES: Final = 2_000


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
            key = part.replace("~1", "/").replace("~0", "~")
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            self.note(f"the reference {reference!r} leads nowhere")
        return value

    def note(self, text: str) -> None:
        """Remember once."""
        if text not in self.notes:
            self.notes.append(text)

    def properties(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """The properties of an object's schema, those of ``allOf`` and of the first alternative with it."""
        found: dict[str, Any] = {}
        if depth > 8:
            return found
        one = self.mapping(schema)
        for part in _listed(one.get("allOf")):
            found.update(self.properties(part, depth + 1))
        for choice in ("oneOf", "anyOf"):
            alternatives = [part for part in _listed(one.get(choice)) if self.mapping(part).get("type") != "null"]
            if alternatives:
                found.update(self.properties(alternatives[0], depth + 1))
        found.update(self.mapping(one.get("properties")))
        return dict(list(found.items())[:_MAX_PROPERTIES])

    def kind(self, schema: Any) -> str:
        """A schema's type: the first that is not null; "object" for what only has properties."""
        one = self.mapping(schema)
        kinds = [kind for kind in _listed(one.get("type")) or [one.get("type")] if kind not in (None, "null")]
        if kinds:
            return str(kinds[0])
        if "items" in one:
            return "array"
        return "object" if self.properties(one) else ""

    def items(self, schema: Any) -> Mapping[str, Any]:
        """The schema of an array's items."""
        return self.mapping(self.mapping(schema).get("items"))

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
    """Parse JSON or YAML. Raises ParseError for what is neither, ConfigError for what is no OpenAPI 3 document."""
    where = Where(name)
    root: Any = text
    if not isinstance(text, Mapping):
        if len(text) > MAX_BYTES:
            raise ParseError(f"is longer than {MAX_BYTES >> 20} MiB", where=where)
        root = _parsed(text, where)
    if isinstance(root, Mapping) and "swagger" in root:
        raise ConfigError(
            f"is a Swagger {root['swagger']} document",
            where=where,
            hint="convert it to OpenAPI 3 first; many tools do that",
        )
    version = root.get("openapi") if isinstance(root, Mapping) else None
    if not isinstance(version, str) or not version.startswith("3."):
        raise ConfigError("is no OpenAPI 3 document: it has no key 'openapi' with a version 3.x", where=where)
    return Document(root)


def _parsed(text: str | bytes, where: Where) -> Any:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        if decoded.lstrip().startswith("{"):
            return json.loads(decoded)
        return yaml.load(decoded, _LOADER)  # noqa: S506 - a safe loader
    except (ValueError, yaml.YAMLError, RecursionError) as err:
        mark = getattr(err, "problem_mark", None)
        line = getattr(err, "lineno", None) or (None if mark is None else mark.line + 1)
        raise ParseError("is neither JSON nor YAML", where=Where(where.file, line)) from err


def plain(name: str) -> str:
    """A name without case and separators: ``pageToken``, ``page_token`` and ``page[token]`` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
