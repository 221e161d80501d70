"""What a command says: a document for programs and blocks for people, printed by one of two renderers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from lakecat.errors import LakecatError

Style: TypeAlias = Literal["plain", "good", "bad", "warn", "dim", "strong"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text."""

    text: str
    style: Style = "plain"
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows under headers. Columns named in ``right`` are aligned right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = frozenset()
    title: str | None = None


Block: TypeAlias = Line | Grid
View: TypeAlias = Callable[[], Iterable[Block]]


class Progress(Protocol):
    """Long work that says how far it is."""

    def update(self, label: str, done: int, total: int | None) -> None:
        """``label`` has done ``done`` of ``total`` (None: unknown) units."""

    def finish(self, label: str) -> None:
        """``label`` is done."""


class Output(Protocol):
    """Where commands speak. Data goes to stdout, talk to stderr."""

    def emit(self, document: object, view: View) -> None:
        """Print a result: the document for programs, or the view's blocks for people."""

    def talk(self, text: str, style: Style = "plain") -> None:
        """Say something that is not data; nothing with ``--quiet``."""

    def detail(self, text: str) -> None:
        """Say something that matters only with ``--verbose``."""

    def error(self, error: LakecatError) -> None:
        """Report what failed, where, how to mend it, and what to do next."""

    def progress(self) -> AbstractContextManager[Progress]:
        """Progress of long work, shown on a terminal only."""
