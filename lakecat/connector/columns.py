"""Which columns a slice has: names checked, united over its files, matched to the table's, typed."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa

from lakecat.connector.protocol import type_name
from lakecat.errors import ParseError, Where

MAX_COLUMNS: Final = 10_000
MAX_NAME: Final = 255


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the slice. ``type`` None: to be inferred. ``declared``: the type is a person's word."""

    name: str
    type: pa.DataType | None = None
    declared: bool = False

    @property
    def shown(self) -> str:
        """The type's name in messages."""
        return "of no known type" if self.type is None else type_name(self.type)


@dataclass(frozen=True)
class Wanted:
    """The types that are known before reading: the table's (``expected``) and the job's (``declared``)."""

    expected: pa.Schema | None
    declared: Mapping[str, pa.DataType]

    def names(self) -> tuple[str, ...]:
        """Table columns first, then those that only the job names."""
        table = () if self.expected is None else tuple(self.expected.names)
        known = {fold(name) for name in table}
        return (*table, *(name for name in self.declared if fold(name) not in known))

    def column(self, name: str) -> Column:
        """The column under the name that the table or the job spells it with."""
        return self._known.get(fold(name), Column(name))

    @functools.cached_property
    def _known(self) -> dict[str, Column]:
        fields = () if self.expected is None else tuple(self.expected)
        known = {fold(field.name): Column(field.name, field.type) for field in fields}
        for own, kind in self.declared.items():
            name = known[fold(own)].name if fold(own) in known else own
            known[fold(own)] = Column(name, kind, declared=True)
        return known


def fold(name: str) -> str:
    """What makes two column names the same: SQL engines ignore case, people cannot see Unicode's normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_names(names: Sequence[str], where: Where) -> None:
    """Refuse names that no table can hold apart. Raises ParseError at ``where``."""
    if len(names) > MAX_COLUMNS:
        raise ParseError(f"has {len(names)} columns; at most {MAX_COLUMNS} are read", where=where)
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        here = Where(where.file, where.line, position if where.line else name or position)
        if not name.strip():
            raise ParseError(f"column {position} has no name", where=here, hint="give every column a name")
        if len(name) > MAX_NAME:
            raise ParseError(
                f"the name of column {position} has {len(name)} characters; at most {MAX_NAME}", where=here
            )
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise ParseError(f"the name {name!r} of column {position} holds control characters", where=here)
        if (earlier := seen.setdefault(fold(name), position)) != position:
            first = names[earlier - 1]
            what = f"column name {name!r} appears twice" if first == name else f"columns {first!r} and {name!r} are one"
            raise ParseError(what, where=here, hint="column names must differ in more than case")


def unite(
    files: Iterable[tuple[Where, Sequence[str]]], wanted: Wanted, missing: Literal["error", "null"]
) -> tuple[Column, ...]:
    """The slice's columns in order of first appearance. Raises ParseError for a column that a file lacks."""
    columns: dict[str, Column] = {}
    present: list[tuple[Where, frozenset[str]]] = []
    for where, names in files:
        for name in names:
            columns.setdefault(fold(name), wanted.column(name))
        present.append((where, frozenset(map(fold, names))))
    for name in wanted.names():
        columns.setdefault(fold(name), wanted.column(name))
    if missing == "error":
        for where, has in present:
            _refuse_missing(where, has, columns)
    return tuple(columns.values())


def _refuse_missing(where: Where, has: frozenset[str], columns: Mapping[str, Column]) -> None:
    for key, column in columns.items():
        if key not in has:
            raise ParseError(
                f"column {column.name!r} is missing",
                where=Where(where.file, where.line, column.name),
                hint="mend the file, or say missing_columns: null to fill it with NULL",
            )
