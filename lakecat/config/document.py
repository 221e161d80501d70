"""YAML read surely: every value knows its line, and nothing is guessed.

Scalars follow the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), so ``no``, ``on`` and
``2013-01-01`` are text. Refused: duplicate keys, tags, several documents, and files that are large, deep or
explode through aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import yaml

from lakecat.errors import ConfigError, Where
from lakecat.types import Json

KeyPath: TypeAlias = "tuple[str | int, ...]"

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 24
MAX_ALIASES: Final = 64
MAX_NODES: Final = 50_000

_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value, and for each key or item its line and column (1-based)."""

    file: str
    value: Json
    marks: Mapping[KeyPath, tuple[int, int]]

    def where(self, path: KeyPath = ()) -> Where:
        """The place of the key at ``path``, or of its nearest ancestor that has one."""
        for end in range(len(path), -1, -1):
            if (mark := self.marks.get(path[:end])) is not None:
                return Where(self.file, mark[0], mark[1])
        return Where(self.file)


def read_document(path: Path) -> Document:
    """Read one YAML file. Raises ConfigError with file and line."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"there is no file {path.name}", where=Where(str(path))) from None
    except OSError as err:
        raise ConfigError(f"cannot be read: {err.strerror}", where=Where(str(path))) from err
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is larger than {MAX_BYTES} bytes, which no configuration needs", where=Where(str(path)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise ConfigError("is not UTF-8 text", where=Where(str(path), line), hint="save the file as UTF-8") from err
    return parse_document(text, str(path))


def parse_document(text: str, file: str) -> Document:
    """Read YAML text; ``file`` is named in errors. Raises ConfigError with file and line."""
    try:
        builder = _Builder(yaml.parse(text, Loader=yaml.SafeLoader), file)
        return Document(file, builder.document(), builder.marks)
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file)
        raise ConfigError(f"is not YAML: {err.problem or err.context}", where=where) from err
    except yaml.reader.ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise ConfigError("holds a control character", where=Where(file, line), hint="remove it") from err


class _Builder:
    """Builds plain values out of YAML events. Depth is capped before recursion can hurt."""

    def __init__(self, events: Iterator[yaml.Event], file: str) -> None:
        self.marks: dict[KeyPath, tuple[int, int]] = {}
        self._events = events
        self._file = file
        self._anchors: dict[str, tuple[Json, int]] = {}
        self._aliases = 0
        self._nodes = 0

    def document(self) -> Json:
        next(self._events)
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        end = next(self._events)
        if not isinstance(end, yaml.StreamEndEvent):
            raise self._error(end, "a second document starts here", "one file holds one document")
        return value

    def _error(self, event: yaml.Event, what: str, hint: str | None = None) -> ConfigError:
        line, column = _place(event)
        return ConfigError(what, where=Where(self._file, line, column), hint=hint)

    def _count(self, event: yaml.Event, nodes: int, depth: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES} values, aliases counted in full")
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} levels deep")

    def _value(self, event: yaml.Event, path: KeyPath) -> Json:
        self.marks.setdefault(path, _place(event))
        self._count(event, 1, len(path))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, len(path))
        before = self._nodes
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in ("!", "tag:yaml.org,2002:str"):
            raise self._error(event, f"tag {tag!r} is refused", "write plain values only")
        value: Json
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event.value) if event.implicit[0] and tag is None else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (value, self._nodes - before + 1)
        return value

    def _alias(self, event: yaml.AliasEvent, depth: int) -> Json:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error(event, f"more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:
            raise self._error(event, f"alias *{event.anchor} has no anchor before it")
        value, nodes = self._anchors[event.anchor]
        self._count(event, nodes, depth)
        return value

    def _sequence(self, path: KeyPath) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Json]:
        entries: dict[str, Json] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or not event.value:
                raise self._error(event, "a key must be plain text")
            key = str(event.value)
            here = (*path, key)
            if key in entries:
                raise self._error(
                    event, f"key {key!r} stands here twice", f"the first is on line {self.marks[here][0]}"
                )
            self.marks[here] = _place(event)
            entries[key] = self._value(next(self._events), here)
        return entries


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _scalar(text: str) -> Json:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
