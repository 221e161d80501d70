"""Rows of two versions compared by a key, in the engine: which were added, removed, changed, and in which columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlglot import exp

from lakecat.catalog import Catalog, ColumnInfo
from lakecat.engines import Engine, Session
from lakecat.errors import UsageError
from lakecat.lake.answers import Change, ChangedRow, Difference, KeyedDifference
from lakecat.lake.differ import shared_columns
from lakecat.lake.querying import scan_of
from lakecat.lake.questions import named_column
from lakecat.store import LakeStore
from lakecat.types import DatasetName

_BEFORE: Final = DatasetName("diff", "before")
_AFTER: Final = DatasetName("diff", "after")
Pairs = Sequence[tuple[ColumnInfo, ColumnInfo]]


def compare_by_key(
    catalog: Catalog, store: LakeStore, engine: Engine, found: Difference, key: Sequence[str], *, sample: int
) -> Difference:
    """``found`` with the rows that differ, told apart by ``key`` (names of the newer version).

    Raises UsageError (a column that both versions do not have, a key that is not unique), EngineError, TableError.
    """
    pairs = shared_columns(catalog.schema(found.before), catalog.schema(found.after))
    keys = [_pair(pairs, name, found) for name in dict.fromkeys(key)]
    others = [pair for pair in pairs if pair not in keys]
    relations = {name: scan_of(catalog, store, version)
                 for name, version in ((_BEFORE, found.before), (_AFTER, found.after))}  # fmt: skip
    with engine.session(relations) as session:
        compared = _Compared(session, engine.dialect, keys, others)
        compared.check_unique(found)
        return replace(found, rows=compared.difference(sample))


def _pair(pairs: Pairs, name: str, found: Difference) -> tuple[ColumnInfo, ColumnInfo]:
    column = named_column(found.after, [new for _, new in pairs], name)
    return next(pair for pair in pairs if pair[1] == column)


class _Compared:
    """Both versions side by side: ``b`` and ``a``, with the key as k0, k1, … and the other columns as c0, c1, …."""

    def __init__(self, session: Session, dialect: str, keys: Pairs, others: Pairs) -> None:
        self._session, self._dialect, self._keys, self._others = session, dialect, keys, others

    def check_unique(self, found: Difference) -> None:
        for side, name, version in ((0, _BEFORE, found.before), (1, _AFTER, found.after)):
            columns = [exp.column(exp.to_identifier(pair[side].name, quoted=True)) for pair in self._keys]
            twice = (
                exp.select(exp.Literal.number(1))
                .from_(exp.table_(name.name, db=name.namespace, quoted=True))
                .group_by(*columns)
                .having(exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(1)))
                .limit(1)
            )
            if self._rows(twice):
                names = ", ".join(pair[side].name for pair in self._keys)
                raise UsageError(f"{names} does not tell the rows of {version} apart", hint="name more key columns")

    def difference(self, sample: int) -> KeyedDifference:
        only_before, only_after = (exp.Is(this=_at(side, "there"), expression=exp.null()) for side in ("a", "b"))
        both = exp.and_(*(exp.not_(exp.Is(this=_at(side, "there"), expression=exp.null())) for side in ("a", "b")))
        differs = [
            exp.and_(both, exp.NullSafeNEQ(this=_at("b", f"c{n}"), expression=_at("a", f"c{n}")))
            for n in range(len(self._others))
        ]
        changed = exp.or_(*differs) if differs else exp.false()
        counted = [_count_if(condition) for condition in (only_after, only_before, changed, *differs)]
        (counts,) = self._rows(self._joined(counted))
        width = len(self._keys)
        columns = (*(new for _, new in self._keys), *(new for _, new in self._others))
        return KeyedDifference(
            key=tuple(new.name for _, new in self._keys),
            columns=tuple(column.name for column in columns),
            added=counts[0],
            removed=counts[1],
            changed=counts[2],
            changed_columns={
                new.name: number for (_, new), number in zip(self._others, counts[3:], strict=True) if number
            },
            sample_added=tuple(self._rows(self._sample("a", only_after, sample))),
            sample_removed=tuple(self._rows(self._sample("b", only_before, sample))),
            sample_changed=tuple(
                ChangedRow(row[:width], self._changes(row[width:])) for row in self._rows(self._pairs(changed, sample))
            ),
        )

    def _changes(self, values: Sequence[object]) -> tuple[Change, ...]:
        """Before and after of each other column, one behind the other, with a flag that says whether they differ."""
        triples = zip(values[::3], values[1::3], values[2::3], strict=True)
        return tuple(
            Change(new.name, before, after)
            for (_, new), (before, after, differs) in zip(self._others, triples, strict=True)
            if differs
        )

    def _sample(self, side: str, condition: exp.Expr, limit: int) -> exp.Select:
        shown = [_at(side, name) for name in (*self._key_names(), *(f"c{n}" for n in range(len(self._others))))]
        return self._joined(shown).where(condition).order_by(*(_at(side, k) for k in self._key_names())).limit(limit)

    def _pairs(self, condition: exp.Expr, limit: int) -> exp.Select:
        shown: list[exp.Expr] = [_at("a", k) for k in self._key_names()]
        for n in range(len(self._others)):
            old, new = _at("b", f"c{n}"), _at("a", f"c{n}")
            shown += [old, new, exp.NullSafeNEQ(this=old.copy(), expression=new.copy())]
        return self._joined(shown).where(condition).order_by(*(_at("a", k) for k in self._key_names())).limit(limit)

    def _key_names(self) -> list[str]:
        return [f"k{n}" for n in range(len(self._keys))]

    def _joined(self, shown: Sequence[exp.Expr]) -> exp.Select:
        same = exp.and_(*(exp.NullSafeEQ(this=_at("b", k), expression=_at("a", k)) for k in self._key_names()))
        # Each item under a name of its own: the result must not have two columns of one name.
        items = [exp.alias_(item.copy(), f"r{n}") for n, item in enumerate(shown)]
        left, right = self._side(0, _BEFORE), self._side(1, _AFTER)
        return exp.select(*items).from_(left.subquery("b")).join(right.subquery("a"), on=same, join_type="full")

    def _side(self, side: int, name: DatasetName) -> exp.Select:
        named = [(f"k{n}", pair[side]) for n, pair in enumerate(self._keys)]
        named += [(f"c{n}", pair[side]) for n, pair in enumerate(self._others)]
        columns = [
            exp.alias_(exp.column(exp.to_identifier(column.name, quoted=True)), alias) for alias, column in named
        ]
        there = exp.alias_(exp.true(), "there")
        return exp.select(*columns, there).from_(exp.table_(name.name, db=name.namespace, quoted=True))

    def _rows(self, query: exp.Query) -> list[tuple[Any, ...]]:
        table = self._session.query(query.sql(dialect=self._dialect), storable=False).read_all()
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _at(side: str, name: str) -> exp.Column:
    return exp.column(name, table=side)


def _count_if(condition: exp.Expr) -> exp.Expr:
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=condition.copy()))
