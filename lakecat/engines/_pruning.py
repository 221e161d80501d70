"""Which rows of a table a query can surely do without, so that files holding only such rows are not opened.

Works on the text alone and errs to the safe side. A conjunct of a WHERE, or of the ON of a join that does not keep the
table's unmatched rows, counts when it compares a column of one base table with a constant, so that it is not true for
NULL: then rows that fail it cannot change the result, whatever the joins, as outer joins would only hand on NULLs that
the conjunct rejects too. It is followed into a CTE or derived table only when that is referenced once and hands the
column through a plain SELECT. What is not understood prunes nothing; a table that occurs several times is pruned by
the OR of its occurrences.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    GreaterThanOrEqual,
    In,
    IsNaN,
    IsNull,
    LessThan,
    LessThanOrEqual,
    NotNull,
    Or,
)
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, IcebergType, NestedField
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakecat.engines._constants import Constants
from lakecat.types import DatasetName

_FLIPPED: Final[Mapping[type[exp.Expr], type[exp.Expr]]] = {
    exp.EQ: exp.EQ,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
}
# pyiceberg's constructors take names and plain values, which its annotations do not say.
_PREDICATES: Final[Mapping[type[exp.Expr], Any]] = {
    exp.EQ: EqualTo,
    exp.LT: LessThan,
    exp.LTE: LessThanOrEqual,
    exp.GT: GreaterThan,
    exp.GTE: GreaterThanOrEqual,
}
_IN: Final[Any] = In
_IS_NULL: Final[Any] = IsNull
_NOT_NULL: Final[Any] = NotNull
_IS_NAN: Final[Any] = IsNaN

# A SELECT with any of these does not hand its rows through one by one.
_NOT_PLAIN: Final = (
    "distinct",
    "group",
    "having",
    "qualify",
    "limit",
    "offset",
    "sample",
    "laterals",
    "pivots",
    "windows",
    "connect",
    "match",
)
_TABLE_EXTRAS: Final = ("joins", "pivots", "sample", "when", "version", "laterals", "ordinality", "hints")


def pruning_predicates(
    con: Any, tree: exp.Expr, schemas: Mapping[DatasetName, Schema], parameters: Mapping[str, object]
) -> dict[DatasetName, BooleanExpression]:
    """For each table that surely needs only some of its rows, what these rows satisfy.

    Args:
        con: a DuckDB in UTC that evaluates constants.
        tree: the statement, as sqlglot reads it.
        schemas: the session's tables.
        parameters: values of named parameters.
    """
    try:
        return Pruning(tree, schemas, Constants(con, parameters)).run()
    except (SqlglotError, RecursionError):
        return {}


@dataclass(frozen=True, slots=True)
class _Source:
    """A name in a FROM clause: a base table, a query that hands its rows through, or something unknown."""

    node: exp.Expr
    schema: Schema | None = None
    query: exp.Select | None = None


class Pruning:
    """The analysis of one statement."""

    def __init__(self, tree: exp.Expr, schemas: Mapping[DatasetName, Schema], constants: Constants) -> None:
        self._tree = tree
        self._schemas = schemas
        self._constants = constants
        self._found: dict[int, list[BooleanExpression]] = defaultdict(list)
        self._once = _read_once(tree)

    def run(self) -> dict[DatasetName, BooleanExpression]:
        """The predicates by table."""
        for select in self._tree.find_all(exp.Select):
            self._select(select)
        occurrences: dict[DatasetName, list[BooleanExpression | None]] = defaultdict(list)
        for table in self._tree.find_all(exp.Table):
            name = self.dataset(table)
            if name is not None:
                conjuncts = self._found.get(id(table))
                occurrences[name].append(_all(conjuncts) if conjuncts else None)
        known = {name: [one for one in each if one is not None] for name, each in occurrences.items()}
        return {name: _any(each) for name, each in known.items() if len(each) == len(occurrences[name])}

    def dataset(self, table: exp.Expr) -> DatasetName | None:
        """The table of the session that this node names."""
        if not isinstance(table, exp.Table):
            return None
        for name in self._schemas:
            if not table.catalog and (table.db.lower(), table.name.lower()) == (name.namespace, name.name):
                return name
        return None

    def _select(self, select: exp.Select) -> None:
        """Take up the conjuncts of a SELECT's own WHERE and ONs."""
        sources = self.sources(select)
        if sources is None:
            return
        self._where(select, sources, conjuncts_of(select.args.get("where")))
        joins = select.args.get("joins") or []
        conditions = Conditions(sources, self._constants, nulls=not _has_outer(select))
        seen = {_alias(select.args["from_"].this)}
        for join in joins:
            allowed = _filtered_by_on(join, seen)
            seen.add(_alias(join.this))
            for conjunct in conjuncts_of(join.args.get("on")):
                self._keep(conditions, conjunct, allowed)

    def _where(self, select: exp.Select, sources: Mapping[str, _Source], conjuncts: Iterable[exp.Expr]) -> None:
        conditions = Conditions(sources, self._constants, nulls=not _has_outer(select))
        for conjunct in conjuncts:
            self._keep(conditions, conjunct, set(sources))

    def _keep(self, conditions: Conditions, conjunct: exp.Expr, allowed: set[str]) -> None:
        alias = conditions.only_source(conjunct)
        if alias is None or alias not in allowed:
            return
        source = conditions.sources[alias]
        if source.schema is not None:
            predicate = conditions.predicate(conjunct, source.schema)
            if predicate is not None:
                self._found[id(source.node)].append(predicate)
            return
        inner = source.query
        if inner is None or not (conditions.nulls or conjunct.find(exp.Is) is None):
            return
        inner_sources = self.sources(inner)
        handed = _handed_through(conjunct, inner, inner_sources) if inner_sources else None
        if inner_sources and handed is not None:
            self._where(inner, inner_sources, [handed])

    def sources(self, select: exp.Select) -> dict[str, _Source] | None:
        """The names in this FROM clause; None when the SELECT holds what the analysis does not know."""
        joins = select.args.get("joins") or []
        unknown = any(select.args.get(key) for key in ("sample", "laterals", "pivots", "match", "connect"))
        if unknown or not select.args.get("from_") or not all(_plain_join(join) for join in joins):
            return None
        sources: dict[str, _Source] = {}
        for item in [select.args["from_"].this, *(join.this for join in joins)]:
            alias = _alias(item)
            if not alias or alias in sources:
                return None
            sources[alias] = self._source(item)
        return sources

    def _source(self, item: exp.Expr) -> _Source:
        alias = item.args.get("alias")
        renamed = isinstance(alias, exp.TableAlias) and alias.args.get("columns")
        if renamed or any(item.args.get(extra) for extra in _TABLE_EXTRAS):
            return _Source(item)
        if isinstance(item, exp.Subquery):
            return _Source(item, query=_plain_select(item.this))
        if not isinstance(item, exp.Table):
            return _Source(item)
        name = self.dataset(item)
        if name is not None:
            return _Source(item, schema=self._schemas[name])
        return _Source(item, query=None if item.db else self._once.get(item.name.lower()))


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions over the names of one FROM clause. ``nulls``: IS NULL counts too, as no join makes NULLs."""

    sources: Mapping[str, _Source]
    constants: Constants
    nulls: bool

    def only_source(self, condition: exp.Expr) -> str | None:
        """The one source that all columns of the condition surely belong to."""
        owners = {self._owner(column) for column in condition.find_all(exp.Column)}
        if len(owners) != 1 or any(condition.find_all(exp.Query)):
            return None
        return owners.pop()

    def _owner(self, column: exp.Column) -> str | None:
        if column.args.get("catalog"):
            return None
        if column.table:
            alias = column.table.lower()
            source = self.sources.get(alias)
            if source is None or (column.args.get("db") and not _is_named(source.node, column)):
                return None
            return alias
        if len(self.sources) == 1:
            return next(iter(self.sources))
        # Without a qualifier every other source must be known, and be without that name.
        if any(source.schema is None for source in self.sources.values()):
            return None
        having = [a for a, s in self.sources.items() if s.schema is not None and field_named(s.schema, column.name)]
        return having[0] if len(having) == 1 else None

    def predicate(self, condition: exp.Expr, schema: Schema) -> BooleanExpression | None:
        """What rows satisfying the condition satisfy; None when nothing is known."""
        condition = condition.unnest()
        if isinstance(condition, exp.And):
            parts = [p for p in (self.predicate(c, schema) for c in conjuncts_of(condition)) if p is not None]
            return _all(parts) if parts else None
        if isinstance(condition, exp.Or):
            left, right = self.predicate(condition.left, schema), self.predicate(condition.right, schema)
            return None if left is None or right is None else Or(left, right)
        if type(condition) in _FLIPPED:
            return self._comparison(condition, schema)
        if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
            return self._between(condition, schema)
        if isinstance(condition, exp.In):
            return self._in(condition, schema)
        return self._null(condition, schema)

    def _comparison(self, condition: exp.Expr, schema: Schema) -> BooleanExpression | None:
        left, right, kind = condition.this.unnest(), condition.expression.unnest(), type(condition)
        if isinstance(right, exp.Column):
            left, right, kind = right, left, _FLIPPED[kind]
        return self._compare(left, kind, right, schema)

    def _compare(
        self, column: exp.Expr, kind: type[exp.Expr], constant: exp.Expr, schema: Schema
    ) -> BooleanExpression | None:
        found = typed_column(column, schema)
        if found is None:
            return None
        name, field_type = found
        value = self.constants.value(constant, field_type)
        if value is None:
            return None
        predicate: BooleanExpression = _PREDICATES[kind](name, value)
        if isinstance(field_type, DoubleType) and kind in (exp.GT, exp.GTE):
            # SQL orders NaN above all numbers; Iceberg's bounds leave it out.
            return Or(predicate, _IS_NAN(name))
        return predicate

    def _between(self, condition: exp.Between, schema: Schema) -> BooleanExpression | None:
        column = condition.this.unnest()
        low = self._compare(column, exp.GTE, condition.args["low"], schema)
        high = self._compare(column, exp.LTE, condition.args["high"], schema)
        parts = [part for part in (low, high) if part is not None]
        return _all(parts) if parts else None

    def _in(self, condition: exp.In, schema: Schema) -> BooleanExpression | None:
        found = typed_column(condition.this.unnest(), schema)
        others = any(condition.args.get(key) for key in ("query", "unnest", "field", "is_global"))
        if found is None or others or not condition.expressions:
            return None
        values = [self.constants.value(item, found[1]) for item in condition.expressions]
        if any(value is None for value in values):
            return None
        predicate: BooleanExpression = _IN(found[0], values)
        return predicate

    def _null(self, condition: exp.Expr, schema: Schema) -> BooleanExpression | None:
        negated = isinstance(condition, exp.Not)
        test = condition.this.unnest() if negated else condition
        if not isinstance(test, exp.Is) or not isinstance(test.expression, exp.Null):
            return None
        found = typed_column(test.this.unnest(), schema)
        if found is None:
            return None
        if not negated and not self.nulls:
            return None
        predicate: BooleanExpression = _NOT_NULL(found[0]) if negated else _IS_NULL(found[0])
        return predicate


def _read_once(tree: exp.Expr) -> dict[str, exp.Select]:
    """The CTEs that are surely read by one reference only, by name."""
    if any(with_.args.get("recursive") for with_ in tree.find_all(exp.With)):
        return {}
    defined = Counter(cte.alias.lower() for cte in tree.find_all(exp.CTE))
    read = Counter(table.name.lower() for table in tree.find_all(exp.Table) if not table.db)
    found: dict[str, exp.Select] = {}
    for cte in tree.find_all(exp.CTE):
        name, alias = cte.alias.lower(), cte.args.get("alias")
        query = _plain_select(cte.this)
        renamed = isinstance(alias, exp.TableAlias) and alias.args.get("columns")
        if query is not None and not renamed and defined[name] == 1 and read[name] == 1:
            found[name] = query
    return found


def _plain_select(query: exp.Expr) -> exp.Select | None:
    """The query when it hands its source rows through one by one: a condition on a column it passes may go inside."""
    if not isinstance(query, exp.Select) or any(query.args.get(key) for key in _NOT_PLAIN):
        return None
    if any(item.find(exp.AggFunc, exp.Window) for item in query.expressions):
        return None
    return query


def _handed_through(conjunct: exp.Expr, inner: exp.Select, sources: Mapping[str, _Source]) -> exp.Expr | None:
    """The condition on a query's result as one on its sources; None unless every column is passed through as it is."""
    handed = conjunct.copy()
    for column in list(handed.find_all(exp.Column)):
        passed = _passed(column.name, inner, sources)
        if passed is None:
            return None
        if column is handed:
            return None
        column.replace(passed)
    return handed


def _passed(name: str, inner: exp.Select, sources: Mapping[str, _Source]) -> exp.Column | None:
    """The source column that the query gives out under this name."""
    stars = [item for item in inner.expressions if item.is_star]
    named = [item for item in inner.expressions if not item.is_star and item.alias_or_name.lower() == name.lower()]
    if len(named) == 1 and not stars:
        column = named[0].unalias()
        return column.copy() if isinstance(column, exp.Column) else None
    if named or len(stars) != 1 or len(sources) != 1 or not _plain_star(stars[0], sources):
        return None
    return exp.column(exp.to_identifier(name, quoted=True), table=exp.to_identifier(next(iter(sources)), quoted=True))


def _plain_star(item: exp.Expr, sources: Mapping[str, _Source]) -> bool:
    """Whether a star gives these sources' columns unchanged; ``a.*`` may be of a table outside, by a lateral join."""
    star = item.this if isinstance(item, exp.Column) else item
    if isinstance(item, exp.Column) and item.table and item.table.lower() not in sources:
        return False
    return isinstance(star, exp.Star) and not any(star.args.values())


def _plain_join(join: exp.Join) -> bool:
    return (
        join.method in ("", "NATURAL")
        and join.kind in ("", "INNER", "OUTER", "CROSS")
        and join.side in ("", "LEFT", "RIGHT", "FULL")
        and not join.args.get("match_condition")
    )


def _has_outer(select: exp.Select) -> bool:
    return any(join.side for join in select.args.get("joins") or [])


def _filtered_by_on(join: exp.Join, left: set[str]) -> set[str]:
    """The sources whose rows are gone from the join's result when its ON rejects them."""
    right = {_alias(join.this)}
    return {"": left | right, "LEFT": right, "RIGHT": set(left), "FULL": set()}[join.side]


def conjuncts_of(condition: exp.Expr | None) -> list[exp.Expr]:
    """What must all be true for the condition to be."""
    if condition is None:
        return []
    if isinstance(condition, exp.Where | exp.Paren):
        return conjuncts_of(condition.this)
    if isinstance(condition, exp.And):
        return [*conjuncts_of(condition.left), *conjuncts_of(condition.right)]
    return [condition]


def typed_column(column: exp.Expr, schema: Schema) -> tuple[str, IcebergType] | None:
    """A column's name in the schema and its type."""
    if not isinstance(column, exp.Column) or not isinstance(column.this, exp.Identifier):
        return None
    field = field_named(schema, column.name)
    return None if field is None else (field.name, field.field_type)


def field_named(schema: Schema, name: str) -> NestedField | None:
    """The one top-level field of this name, in any case; a dot would be read as a path."""
    found = [field for field in schema.fields if field.name.lower() == name.lower()]
    return found[0] if len(found) == 1 and "." not in name else None


def _alias(item: exp.Expr) -> str:
    return item.alias_or_name.lower()


def _is_named(node: exp.Expr, column: exp.Column) -> bool:
    """Whether ``namespace.table.column`` means this table, which then has no alias."""
    return isinstance(node, exp.Table) and not node.alias and node.db.lower() == column.db.lower()


def _all(parts: Sequence[BooleanExpression]) -> BooleanExpression:
    return parts[0] if len(parts) == 1 else And(*parts)


def _any(parts: Sequence[BooleanExpression]) -> BooleanExpression:
    return parts[0] if len(parts) == 1 else Or(*parts)
