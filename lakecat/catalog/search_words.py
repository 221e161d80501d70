"""Words: how names and texts are cut up for the search index, the same way on every database.

Databases cut text differently (PostgreSQL at hyphens, MySQL drops short words and ``the``, SQLite keeps both). So none
of them is shown text: it gets tokens of ``a-z`` and ``0-9`` only, a word each, which all of them keep as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

FOLDED_CHARACTERS: Final = 512
"""So many characters of a name are compared; longer ones are cut, on both sides."""
QUERY_WORDS: Final = 64
_SHORT: Final = 3
_TOKEN_CHARACTERS: Final = 60
"""MySQL's full-text index keeps words of up to 84 characters."""
_TOKENS: Final = 4_000
"""PostgreSQL's tsvector holds less than 1 MB."""
_RUN: Final = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+|_+|\S")
_LONE: Final = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Han, Hiragana and Katakana, which are written without spaces: each letter counts as a word."""


class Place(StrEnum):
    """Where a word stands; the first letters of its token. MySQL ignores words of fewer than three."""

    NAME = "nam"
    COLUMN = "col"
    PATH = "pat"
    """In the name of the dataset that a column belongs to."""
    SAID = "des"
    """In a description, label, owner or tag."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A word of a text, folded, and where it stands in it."""

    word: str
    start: int
    end: int


def fold(text: str) -> str:
    """``text`` without case, accents and compatibility forms."""
    if text.isascii():
        return text.lower()
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in ("Mn", "Cs"))
    return unicodedata.normalize("NFC", plain.casefold())


def fold_name(text: str) -> str:
    """A whole name as it is compared: folded, with control characters and runs of space as one space, cut."""
    plain = "".join(" " if unicodedata.category(c) == "Cc" else c for c in fold(text[: 4 * FOLDED_CHARACTERS]))
    return " ".join(plain.split())[:FOLDED_CHARACTERS]


def pieces(text: str) -> Iterator[Piece]:
    """Every word that can be found in a text.

    ``customerOrders_v2`` has customer, orders, v2, v, 2, and, as it may be written in one, customerorders and
    customerordersv2.
    """
    name: list[Piece] = []
    end = 0
    for match in _RUN.finditer(text):
        run = match[0]
        if name and (match.start() != end or not (run[0] == "_" or run[0].isalnum())):
            yield from _joined(name)
            name = []
        end = match.end()
        if run[0].isalnum():
            found = list(_cut(run, match.start()))
            yield from found
            name.append(Piece("".join(fold(run)), match.start(), end))
        elif unicodedata.category(run[0]) == "So":
            yield Piece(run, match.start(), end)
    yield from _joined(name)


def query_words(text: str) -> tuple[str, ...]:
    """The words that a query asks for, folded, each once, in order; at most ``QUERY_WORDS``."""
    found: dict[str, None] = {}
    for match in _RUN.finditer(text):
        run = match[0]
        if run[0].isalnum():
            found |= dict.fromkeys(fold(part) for part, _ in _parts(run, digits=False))
        elif unicodedata.category(run[0]) == "So":
            found[run] = None
        if len(found) >= QUERY_WORDS:
            break
    return tuple(word for word in found if word)[:QUERY_WORDS]


def may_go_on(word: str) -> bool:
    """Whether a word of a query may be the beginning of a word.

    Short ones and numbers may not: they begin too many.
    """
    return len(word) >= _SHORT and not word.isdecimal()


def tokens(place: Place, *texts: str) -> set[str]:
    """The tokens of all words of the texts."""
    return {token(place, piece.word) for text in texts for piece in pieces(text) if piece.word}


def indexed(found: Iterable[str]) -> str:
    """The text that a database's full-text index is given; of too many tokens those of the name stay."""
    said = Place.SAID.value
    return " ".join(sorted(sorted(found, key=lambda one: (one.startswith(said), one))[:_TOKENS]))


@lru_cache(maxsize=4096)
def token(place: Place, word: str) -> str:
    """The token of a folded word. What begins with a word has a token that begins with the word's."""
    if word.isascii() and word.isalnum() and word.islower() and "z" not in word:
        return place.value + word[:_TOKEN_CHARACTERS]
    out, size = [place.value], 0
    for letter in word:
        code = letter if "a" <= letter < "z" or "0" <= letter <= "9" else _escaped(letter)
        size += len(code)
        if size > _TOKEN_CHARACTERS:
            break
        out.append(code)
    return "".join(out)


def _escaped(letter: str) -> str:
    """``zz`` for z, and for any other letter z, how many hexadecimal digits there are, and those."""
    if letter == "z":
        return "zz"
    digits = f"{ord(letter):x}"
    return f"z{len(digits)}{digits}"


def _joined(name: list[Piece]) -> Iterator[Piece]:
    """What an underscore keeps together, in one word."""
    if len(name) > 1:
        yield Piece("".join(piece.word for piece in name), name[0].start, name[-1].end)


def _cut(run: str, start: int) -> Iterator[Piece]:
    """The words of letters and digits without anything between them."""
    spans = {(0, len(run))}
    for digits in (False, True):
        at = 0
        for part, size in _parts(run, digits=digits):
            del part
            spans.add((at, at + size))
            at += size
    for first, last in sorted(spans):
        yield Piece(fold(run[first:last]), start + first, start + last)


def _parts(run: str, *, digits: bool) -> Iterator[tuple[str, int]]:
    """``run`` cut where a capital begins a word, at letters that stand alone, and with ``digits`` around numbers."""
    at = 0
    for here in range(1, len(run) + 1):
        if here == len(run) or _boundary(run, here, digits=digits):
            yield run[at:here], here - at
            at = here


def _boundary(run: str, here: int, *, digits: bool) -> bool:
    before, after = run[here - 1], run[here]
    if not (before.isascii() and after.isascii()) and (_LONE.match(before) or _LONE.match(after)):
        return True
    if before.isdigit() != after.isdigit():
        return digits
    if not after.isupper():
        return False
    return before.islower() or (before.isupper() and here + 1 < len(run) and run[here + 1].islower())
