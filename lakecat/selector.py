"""Selectors: one small language for "which of these", the same in the shell, in Python and in the pages.

::

    selection  = terms separated by spaces          any of them
    term       = atoms separated by commas          all of them
    atom       = [[N]+] NAME [+[N]]                 with N steps (all, without N) of what it needs / what needs it
    NAME       = [KIND:] a name, or a pattern with * ? [a-z]
    KIND       = tag    a label, of the dataset or of a column, or a tag of one of its versions
                 owner  an owner
                 col    a column

``raw.*``, ``+warehouse.delays``, ``2+x+1``, ``staging.*,+warehouse.delays``, ``tag:pii,raw.*``, ``col:email+``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from lakecat.errors import NotFoundError, SelectorError

MAX_LENGTH: Final = 4096

KINDS: Final = ("tag", "owner", "col")
_ATOM: Final = re.compile(
    r"(?P<up>[0-9]{0,4}\+)?"
    r"(?:(?P<kind>[a-z]+):(?P<value>[^\s,+]+?)|(?P<name>[A-Za-z0-9_.*?\[\]/-]+?))"
    r"(?P<down>\+[0-9]{0,4})?"
)
_WORDS: Final = {"tag": "label or tag", "owner": "owner", "col": "column"}
_MEND: Final = "write name, raw.*, +x, x+, 2+x+1, tag:x, owner:x or col:x; a space means or, a comma means and"


@dataclass(frozen=True, slots=True)
class Atom:
    """One pattern, and how many steps of its neighbours come with it; None is none, -1 is all.

    ``kind``: of what it is a pattern, one of ``KINDS``; None: of names.
    """

    pattern: str
    up: int | None = None
    down: int | None = None
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """Something that can be selected: its key, the names it answers to (its key, when empty), the keys it needs.

    ``attributes``: by kind (``KINDS``) what else it can be selected by.
    """

    key: str
    names: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def answers_to(self) -> frozenset[str]:
        """The names that a pattern is matched with."""
        return self.names or frozenset((self.key,))


def parse_selector(text: str) -> tuple[tuple[Atom, ...], ...]:
    """Read a selection: any of the terms, each of which is all of its atoms. Raises SelectorError."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"a selector of {len(text)} characters is too long", hint=_MEND)
    terms = tuple(tuple(_atom(part, text) for part in term.split(",")) for term in text.split())
    if not terms:
        raise SelectorError("the selector is empty", hint=_MEND)
    return terms


def _atom(part: str, text: str) -> Atom:
    match = _ATOM.fullmatch(part)
    if match is None:
        raise SelectorError(f"{part!r} in {text!r} is not a selector", hint=_MEND)
    kind = match["kind"]
    if kind is not None and kind not in KINDS:
        raise SelectorError(f"{part!r}: there is no selecting by {kind!r}", hint=f"by {', '.join(KINDS)}: tag:pii")
    pattern = match["name"] if kind is None else match["value"]
    return Atom(pattern.lower(), _steps(match["up"]), _steps(match["down"]), kind)


def needs_attributes(selectors: Iterable[str]) -> bool:
    """Whether any of the selectors asks for more than names. Raises SelectorError."""
    return any(atom.kind is not None for text in selectors for term in parse_selector(text) for atom in term)


def _steps(part: str | None) -> int | None:
    if part is None:
        return None
    digits = part.strip("+")
    return int(digits) if digits else -1


def choose(nodes: Sequence[Node], select: Iterable[str] = (), exclude: Iterable[str] = ()) -> frozenset[str]:
    """The keys of the nodes that are selected (all without ``select``) and not excluded.

    Raises:
        SelectorError: a selector does not parse.
        NotFoundError: a pattern without ``*``, ``?`` or ``[`` means no node; the hint names close ones.
    """
    graph = _Graph(nodes)
    wanted = [term for text in select for term in parse_selector(text)]
    unwanted = [term for text in exclude for term in parse_selector(text)]
    chosen = graph.union(wanted) if wanted else frozenset(node.key for node in nodes)
    return chosen - graph.union(unwanted)


class _Graph:
    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._needs: dict[str, set[str]] = {node.key: set() for node in nodes}
        self._users: dict[str, set[str]] = {node.key: set() for node in nodes}
        for node in nodes:
            for needed in node.needs & self._needs.keys():
                self._needs[node.key].add(needed)
                self._users[needed].add(node.key)

    def union(self, terms: Iterable[tuple[Atom, ...]]) -> frozenset[str]:
        found: set[str] = set()
        for term in terms:
            found |= frozenset.intersection(*(self._atom(atom) for atom in term))
        return frozenset(found)

    def _atom(self, atom: Atom) -> frozenset[str]:
        start = self._named(atom.pattern) if atom.kind is None else self._having(atom.kind, atom.pattern)
        return start | _reach(start, self._needs, atom.up) | _reach(start, self._users, atom.down)

    def _having(self, kind: str, pattern: str) -> frozenset[str]:
        """Those with such a label, owner or column."""
        values = {node.key: node.attributes.get(kind, frozenset()) for node in self._nodes}
        found = frozenset(
            key for key, those in values.items() if any(fnmatchcase(value.lower(), pattern) for value in those)
        )
        if found or any(letter in pattern for letter in "*?["):
            return found
        known = sorted(frozenset[str]().union(*values.values()))
        close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5) or known[:12]
        raise NotFoundError(
            f"nothing here has {kind}:{pattern}",
            hint=f"known: {', '.join(close)}" if known else f"nothing has any {_WORDS[kind]}",
            next_command="lakecat ls",
        )

    def _named(self, pattern: str) -> frozenset[str]:
        found = frozenset(
            node.key for node in self._nodes if any(fnmatchcase(name.lower(), pattern) for name in node.answers_to)
        )
        if found or any(letter in pattern for letter in "*?["):
            return found
        known = sorted({name for node in self._nodes for name in node.answers_to})
        close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
        raise NotFoundError(
            f"there is no {pattern!r} here",
            hint=f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known[:12]) or 'nothing yet'}",
            next_command="lakecat ls",
        )


def _reach(start: frozenset[str], edges: Mapping[str, set[str]], steps: int | None) -> frozenset[str]:
    if steps is None:
        return frozenset()
    reached: set[str] = set()
    edge = set(start)
    while edge and steps != 0:
        edge = {other for name in edge for other in edges[name]} - reached
        reached |= edge
        steps -= 1
    return frozenset(reached)
