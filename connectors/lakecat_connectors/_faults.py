"""Errors that cross the pipe between parser process and parent, and the words they use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lakecat.errors import ConfigError, LakecatError, ParseError, SourceChangedError, SourceError, Where

_KINDS: Final[Mapping[str, type[LakecatError]]] = {
    kind.__name__: kind for kind in (ParseError, SourceError, SourceChangedError, ConfigError)
}
_SHOWN_CHARACTERS: Final = 80


def to_message(error: LakecatError) -> dict[str, Any]:
    """The error as JSON."""
    where = error.where
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "where": None if where is None else [where.file, where.line, where.column],
        "hint": error.hint,
    }


def from_message(message: Mapping[str, Any]) -> LakecatError:
    """The error that ``to_message`` described; an unknown kind becomes SourceError."""
    where = message["where"]
    kind = _KINDS.get(message["kind"], SourceError)
    return kind(message["what"], where=None if where is None else Where(*where), hint=message["hint"])


def empty_file(shown: str) -> ParseError:
    """The error for a file without any text, where that is not allowed."""
    return ParseError("the file is empty", where=Where(shown), hint="say empty: skip to allow empty files")


def excerpt(value: object) -> str:
    """A value as shown in an error: quoted, escaped, at most 80 characters."""
    text = value if isinstance(value, str) else str(value)
    return repr(text) if len(text) <= _SHOWN_CHARACTERS else repr(text[: _SHOWN_CHARACTERS - 1]) + "…"
