"""Where the text of a search stands in what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lakecat.catalog.search_words import fold, may_go_on, pieces

_SNIPPET: Final = 160
_LEAD: Final = 40


@dataclass(frozen=True, slots=True)
class SearchMatch:
    """A text in which something was found, and where: ``ranges`` are [start, end) in its characters.

    ``field``: name, description, doc (the column's own), label, owner or tag. A long text is cut to the part around
    the first find, with … where something is left out.
    """

    field: str
    text: str
    ranges: tuple[tuple[int, int], ...]


def in_name(name: str, text: str, words: Sequence[str]) -> tuple[SearchMatch, ...]:
    """Where a name has the text, or else the words."""
    wanted, folded = fold(text).strip(), fold(name)
    if wanted and len(folded) == len(name) and wanted in folded:
        # A name behind the last dot is what was meant, if it fits.
        at = folded.rfind(wanted)
        if not folded[at + len(wanted) :].strip():
            return (SearchMatch("name", name, ((at, len(name)),)),)
        at = folded.find(wanted)
        return (SearchMatch("name", name, ((at, at + len(wanted)),)),)
    found = _ranges(name, words)
    return (SearchMatch("name", name, found),) if found else ()


def in_said(said: Sequence[tuple[str, str]], words: Sequence[str]) -> Iterator[SearchMatch]:
    """Where descriptions, labels, owners and tags have the words."""
    for field, text in said:
        if found := _ranges(text, words):
            yield _cut(field, text, found)


def _ranges(text: str, words: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The parts of a text that begin with one of the words, in order, the shortest where they lie in each other."""
    found: list[tuple[int, int]] = []
    for piece in pieces(text):
        fitting = [word for word in words if piece.word == word or (may_go_on(word) and piece.word.startswith(word))]
        if fitting:
            same = len(piece.word) == piece.end - piece.start
            end = piece.start + len(max(fitting, key=len)) if same else piece.end
            found.append((piece.start, end))
    kept: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda one: one[1] - one[0]):
        if not any(start <= first and last <= end for first, last in kept):
            kept.append((start, end))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(kept):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _cut(field: str, text: str, ranges: tuple[tuple[int, int], ...]) -> SearchMatch:
    if len(text) <= _SNIPPET:
        return SearchMatch(field, text, ranges)
    start = max(0, ranges[0][0] - _LEAD)
    end = min(len(text), start + _SNIPPET)
    before, after = "…" if start else "", "…" if end < len(text) else ""
    shift = len(before) - start
    kept = tuple((first + shift, min(last, end) + shift) for first, last in ranges if first < end)
    return SearchMatch(field, f"{before}{text[start:end]}{after}", kept)
