"""Text for people: control characters made visible, numbers and ages made readable."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta
from typing import Final

SOURCES: Final = 5
"""How many source files are listed for people; the others are counted."""

_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def escape(text: str) -> str:
    """``text`` with characters that could steer a terminal (or hide text in it) written as escapes.

    Tabs and line ends become escapes too: what is escaped is a name or a value, which has no layout of its own.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(letter) if unicodedata.category(letter) in _UNSAFE else letter for letter in text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if code < 0x100:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(letter, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape_lines(text: str) -> str:
    """Like ``escape``, with line ends kept: for texts of several lines."""
    return "\n".join(escape(line) for line in text.split("\n"))


def count(number: int | None, word: str = "") -> str:
    """``12,408``, or ``1 row`` / ``12,408 rows`` with a word; ``-`` for None."""
    if number is None:
        return "-"
    return f"{number:,} {word}{'' if abs(number) == 1 else 's'}" if word else f"{number:,}"


def size(number: int | None) -> str:
    """``4.1 MB`` (decimal units); ``-`` for None."""
    if number is None:
        return "-"
    amount = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(amount) < 1000 or unit == "TB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def seconds(value: float) -> str:
    """``0.3 s``, ``2 min 5 s``, ``3 h 12 min``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def age(since: datetime, now: datetime) -> str:
    """How long ago: ``now``, ``5 min``, ``3 h``, ``12 d``."""
    passed = now - since
    if passed < timedelta(minutes=1):
        return "now"
    if passed < timedelta(hours=1):
        return f"{passed // timedelta(minutes=1)} min"
    if passed < timedelta(days=2):
        return f"{passed // timedelta(hours=1)} h"
    return f"{passed // timedelta(days=1)} d"


def moment(when: datetime | None) -> str:
    """A point in time in the reader's own zone, to the second; ``-`` for None."""
    return "-" if when is None else when.astimezone().strftime("%Y-%m-%d %H:%M:%S")
