"""Search: what bears a name first, then what begins so, then what has the words, in its name before elsewhere.

Five classes, asked one after the other until enough is found; within a class kinds in the order of ``SearchKind``,
then names in byte order. Query text is only text: words are cut out of it and become tokens of letters and digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import TSQUERY

from lakecat.catalog import schema as s
from lakecat.catalog import search_index
from lakecat.catalog.database import Row
from lakecat.catalog.search_index import SearchKind
from lakecat.catalog.search_marks import SearchMatch, in_name, in_said
from lakecat.catalog.search_words import Place, fold_name, may_go_on, query_words, token

_DOTS: Final = 2
"""In the name of a column."""
HIGHEST: Final = "\U0010ffff"
_INDEXED: Final = (SearchKind.DATASET, SearchKind.JOB, SearchKind.SCRIPT, SearchKind.COLUMN)
_FULLTEXT: Final = sa.table("lakecat_search_words", sa.column("rowid"), sa.column("lakecat_search_words"))
_ROWS: Final = sa.select(s.search.c.id, s.search.c.kind, s.search.c.name, s.search.c.said, s.search.c.dataset_id)
_NODES: Final = (
    (SearchKind.ARTIFACT, s.artifact),
    (SearchKind.EXECUTION, s.execution),
    (SearchKind.CONTEXT, s.context),
)


class SearchClass(StrEnum):
    """How well something fits, best first.

    EXACT: its name, whole or behind the last dot, is the text. PREFIX: it begins with the text. NAME: its name has
    all the words. COLUMN: a column whose own name has a word, and its dataset's name the others. DESCRIPTION: some of
    the words only stand in its description, labels, owners or tags. A column's own name alone makes it COLUMN.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    NAME = "name"
    COLUMN = "column"
    DESCRIPTION = "description"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """Something that was found. ``matches`` says where the text stands.

    ``dataset`` is that of a dataset or column; ``id`` and ``type`` are those of an artifact, execution, context or
    type of the metadata store.
    """

    kind: SearchKind
    name: str
    match: SearchClass
    matches: tuple[SearchMatch, ...]
    dataset: str | None = None
    id: int | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What was found, best first. ``more``: there is more than the limit."""

    text: str
    hits: tuple[SearchHit, ...]
    more: bool


_All = tuple[tuple[str, ...], ...]
"""All of these must be there; of each, one."""


def search(connection: sa.Connection, text: str, kinds: Collection[SearchKind], limit: int) -> SearchResult:
    """Everything of these kinds (of all, where none is named) that fits ``text``; at most ``limit`` of it."""
    wanted = frozenset(kinds) or frozenset(SearchKind)
    search_ = _Search(connection, text, wanted, limit + 1)
    hits = search_.run()
    return SearchResult(text=text, hits=tuple(hits[:limit]), more=len(hits) > limit)


class _Search:
    """One search, class by class."""

    def __init__(self, connection: sa.Connection, text: str, kinds: frozenset[SearchKind], most: int) -> None:
        self._connection = connection
        self._text = text
        self._name = fold_name(text)
        # No name holds a NUL or half a surrogate pair, and PostgreSQL takes neither.
        self._exact = text.encode(errors="ignore").decode().replace("\0", "")
        self._words = query_words(text)
        self._kinds = kinds
        self._most = most
        self._seen: set[tuple[SearchKind, Any]] = set()
        self._found: list[SearchHit] = []

    def run(self) -> list[SearchHit]:
        """The hits, best first."""
        named = [kind for kind in _INDEXED if kind in self._kinds and kind is not SearchKind.COLUMN]
        whole = [SearchKind.COLUMN] if SearchKind.COLUMN in self._kinds else []
        indexed = [*named, *whole]
        for match in SearchClass:
            if len(self._found) >= self._most:
                break
            if match in (SearchClass.EXACT, SearchClass.PREFIX):
                self._by_name(match, named, whole)
            elif self._words and indexed:
                self._by_words(match, indexed)
        return self._found

    def _by_name(self, match: SearchClass, named: Sequence[SearchKind], whole: Sequence[SearchKind]) -> None:
        fits = _is if match is SearchClass.EXACT else _begins
        if self._name:
            table = s.search
            if match is SearchClass.PREFIX and self._name.count(".") < _DOTS:
                whole = ()  # else each dataset would come with all its columns
            # One kind at a time, so that an index has them in order.
            for column, kinds in ((table.c.leaf, named), (table.c.folded, [*named, *whole])):
                for kind in kinds:
                    if len(self._found) < self._most:
                        query = _ROWS.where(table.c.kind == kind.value, fits(column, self._name))
                        # Not in the order of another index, which would then be read whole.
                        self._take(query.order_by(column, sa.func.lower(table.c.folded), table.c.id), match)
        if self._exact:
            self._nodes(match, fits)

    def _by_words(self, match: SearchClass, kinds: Sequence[SearchKind]) -> None:
        table = s.search
        order: list[sa.ColumnElement[Any]] = [_rank(), table.c.folded, table.c.id]
        if match is SearchClass.COLUMN:
            closeness = sa.case((table.c.leaf == self._name, 0), (_begins(table.c.leaf, self._name), 1), else_=2)
            order.insert(0, closeness)
        # Not by an index over kinds: of each there may be a million.
        query = _ROWS.where(sa.func.lower(table.c.kind).in_([kind.value for kind in kinds]))
        self._take(query.where(_has(self._connection, _tokens(match, self._words))).order_by(*order), match)

    def _take(self, query: sa.Select[Any], match: SearchClass) -> None:
        """Add what is new of it. Better classes were found whole, so only as much more can be old."""
        for row in self._connection.execute(query.limit(self._most + len(self._seen))):
            kind = SearchKind(row.kind)
            if (kind, row.id) not in self._seen:
                self._seen.add((kind, row.id))
                self._found.append(self._hit(row, kind, match))

    def _hit(self, row: Row, kind: SearchKind, match: SearchClass) -> SearchHit:
        said = [(field, text) for field, text in json.loads(row.said)]
        return SearchHit(
            kind=kind,
            name=row.name,
            match=match,
            matches=(*in_name(row.name, self._text, self._words), *in_said(said, self._words)),
            dataset=None if row.dataset_id is None else ".".join(row.name.split(".", 2)[:2]),
        )

    def _nodes(self, match: SearchClass, fits: _Fits) -> None:
        """Artifacts, executions and contexts of the metadata store, and types; lakecat's own have entries."""
        # By IN, so that SQLite looks names up in each of the types, and not types up for all the nodes.
        theirs = sa.select(s.type_.c.id).where(sa.not_(_ours()))
        for kind, table in _NODES:
            if kind in self._kinds and len(self._found) < self._most:
                query = (
                    sa.select(table.c.id, table.c.name, s.type_.c.name.label("type"))
                    .select_from(s.type_)
                    .join(table, table.c.type_id == s.type_.c.id)
                    .where(table.c.type_id.in_(theirs), fits(_bytes(table.c.name, self._connection), self._exact))
                )
                self._take_nodes(kind, query, table, match)
        if SearchKind.TYPE in self._kinds:
            query = sa.select(s.type_.c.id, s.type_.c.name, sa.null().label("type")).where(
                fits(_bytes(s.type_.c.name, self._connection), self._exact)
            )
            self._take_nodes(SearchKind.TYPE, query, s.type_, match)

    def _take_nodes(self, kind: SearchKind, query: sa.Select[Any], table: sa.Table, match: SearchClass) -> None:
        ordered = query.order_by(_bytes(table.c.name, self._connection), table.c.id)
        for row in self._connection.execute(ordered.limit(self._most + len(self._seen))):
            if (kind, row.id) not in self._seen:
                self._seen.add((kind, row.id))
                matches = in_name(row.name, self._text, ())
                self._found.append(
                    SearchHit(kind=kind, name=row.name, match=match, matches=matches, id=row.id, type=row.type)
                )


_Fits = Callable[[sa.ColumnElement[Any], str], sa.ColumnElement[bool]]


def _is(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    return column == text


def _begins(column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """A range in byte order, which is what an index can be asked for."""
    return sa.and_(column >= text, column < text + HIGHEST)


def _bytes(column: sa.ColumnElement[Any], connection: sa.Connection) -> sa.ColumnElement[Any]:
    """A name in byte order, as SQLite and MySQL have it anyway."""
    return sa.collate(column, "C") if connection.dialect.name == "postgresql" else column


def _ours() -> sa.ColumnElement[bool]:
    return _begins(s.type_.c.name, "lakecat.")


def _rank() -> sa.ColumnElement[int]:
    return sa.case(*((s.search.c.kind == kind.value, rank) for rank, kind in enumerate(_INDEXED)), else_=len(_INDEXED))


def _tokens(match: SearchClass, words: Sequence[str]) -> _All:
    """The tokens that an entry of this class has; with a ``*`` those that begin so."""
    places = {
        SearchClass.NAME: (Place.NAME,),
        SearchClass.COLUMN: (Place.COLUMN, Place.PATH),
    }.get(match, tuple(Place))
    found = [tuple(_token(place, word) for place in places) for word in words]
    if match is SearchClass.COLUMN:
        found.append(tuple(_token(Place.COLUMN, word) for word in words))
    elif match is SearchClass.DESCRIPTION:
        found.append(tuple(_token(Place.SAID, word) for word in words))
    return tuple(found)


def _token(place: Place, word: str) -> str:
    return token(place, word) + ("*" if may_go_on(word) else "")


def _has(connection: sa.Connection, wanted: _All) -> sa.ColumnElement[bool]:
    """Entries that have all the tokens, asked of the database's full-text index. Tokens need no quoting anywhere."""
    words = s.search.c.words
    backend = connection.dialect.name
    if backend == "postgresql":
        text = " & ".join(f"({' | '.join(one.replace('*', ':*') for one in group)})" for group in wanted)
        vector = sa.func.array_to_tsvector(sa.func.string_to_array(words, sa.literal_column("' '")))
        return vector.op("@@", is_comparison=True)(sa.cast(text, TSQUERY))
    if backend == "mysql":
        text = " ".join(f"+({' '.join(group)})" for group in wanted)
        return mysql.match(words, against=text).in_boolean_mode()
    if search_index.has_fts5(connection) and search_index.follows(connection):
        text = " AND ".join(f"({' OR '.join(group)})" for group in wanted)
        matching = _FULLTEXT.c.lakecat_search_words.op("MATCH", is_comparison=True)(text)
        return s.search.c.id.in_(sa.select(_FULLTEXT.c.rowid).where(matching))
    padded = sa.literal(" ") + words + sa.literal(" ")
    parts = [[f" {one}".removesuffix("*") if one.endswith("*") else f" {one} " for one in group] for group in wanted]
    return sa.and_(*(sa.or_(*(padded.contains(one) for one in group)) for group in parts))
