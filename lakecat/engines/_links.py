"""What else a query's text says of its tables: columns that must be equal, and conditions that say all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from pyiceberg.schema import Schema
from sqlglot import exp

from lakecat.engines._constants import Constants
from lakecat.engines._pruning import Conditions, Pruning, conjuncts_of, field_named, typed_column
from lakecat.types import DatasetName

_EXACT: Final = (exp.EQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Is)

Place: TypeAlias = tuple[DatasetName, str]
"""A column of a base table."""


def exact_predicate(
    con: Any, select: exp.Select, schemas: Mapping[DatasetName, Schema], parameters: Mapping[str, object]
) -> bool:
    """Whether what :func:`pruning_predicates` says of this SELECT over one table is all that its WHERE says.

    Only comparisons of columns with constants, IN and IS NULL, under AND, are.
    """
    pruning = Pruning(select, schemas, Constants(con, parameters))
    sources = pruning.sources(select)
    if sources is None or len(sources) != 1:
        return False
    ((alias, source),) = sources.items()
    conditions = Conditions(sources, Constants(con, parameters), nulls=True)
    for conjunct in conjuncts_of(select.args.get("where")):
        test = conjunct.this.unnest() if isinstance(conjunct, exp.Not) else conjunct.unnest()
        simple = isinstance(test, exp.Is) if isinstance(conjunct, exp.Not) else isinstance(test, _EXACT)
        if not simple or conditions.only_source(conjunct) != alias or source.schema is None:
            return False
        if conditions.predicate(conjunct, source.schema) is None:
            return False
    return True


def equalities(tree: exp.Expr, schemas: Mapping[DatasetName, Schema]) -> Iterator[tuple[Place, Place, bool]]:
    """Columns of two tables that must be equal, else the second one's row does not matter (True: nor the first one's).

    They come from ON and USING of plain inner and left joins, and from WHERE.
    """
    pruning = Pruning(tree, schemas, Constants(None, {}))
    for select in tree.find_all(exp.Select):
        sources = pruning.sources(select)
        if sources is None:
            continue
        conditions = Conditions(sources, Constants(None, {}), nulls=False)
        for conjunct in conjuncts_of(select.args.get("where")):
            if pair := _equal_columns(conjunct, conditions, pruning):
                yield (*pair, True)
        seen = [select.args["from_"].this.alias_or_name.lower()]
        for join in select.args.get("joins") or []:
            if join.side in ("", "LEFT") and join.kind != "CROSS":
                pairs = (_equal_columns(one, conditions, pruning) for one in conjuncts_of(join.args.get("on")))
                found = [pair for pair in pairs if pair is not None]
                found += _using(join, seen, conditions, pruning)
                yield from _bound(join, found, pruning)
            seen.append(join.this.alias_or_name.lower())


def _bound(
    join: exp.Join, pairs: Sequence[tuple[Place, Place]], pruning: Pruning
) -> Iterator[tuple[Place, Place, bool]]:
    """The pairs, of a LEFT JOIN only those with the joined table, which comes second."""
    joined = pruning.dataset(join.this)
    for first, second in pairs:
        if join.side == "":
            yield first, second, True
        elif second[0] == joined:
            yield first, second, False
        elif first[0] == joined:
            yield second, first, False


def _using(join: exp.Join, seen: Sequence[str], conditions: Conditions, pruning: Pruning) -> list[tuple[Place, Place]]:
    """The joined table's columns of USING with those of the first table before that has them."""
    sources = [conditions.sources[alias] for alias in (*seen, join.this.alias_or_name.lower())]
    if any(source.schema is None for source in sources):
        return []
    found = []
    for identifier in join.args.get("using") or []:
        places = []
        for source in sources:
            name = pruning.dataset(source.node)
            column = None if source.schema is None else field_named(source.schema, identifier.name)
            if name is not None and column is not None:
                places.append((name, column.name))
        if len(places) > 1:
            found.append((places[0], places[-1]))
    return found


def _equal_columns(conjunct: exp.Expr, conditions: Conditions, pruning: Pruning) -> tuple[Place, Place] | None:
    if not isinstance(conjunct, exp.EQ):
        return None
    places = []
    for side in (conjunct.left.unnest(), conjunct.right.unnest()):
        alias = conditions.only_source(side) if isinstance(side, exp.Column) else None
        source = None if alias is None else conditions.sources[alias]
        found = None if source is None or source.schema is None else typed_column(side, source.schema)
        name = None if source is None or found is None else pruning.dataset(source.node)
        if name is None or found is None:
            return None
        places.append((name, found[0]))
    return (places[0], places[1]) if places[0][0] != places[1][0] else None
