"""What a query needs of each of its relations: which columns, which rows, or only the first rows by some order.

Like :mod:`lakecat.engines._pruning` it works on the text alone and errs to the safe side: a column counts as needed
when its name occurs anywhere, and first rows only are enough when a single relation is filtered, sorted and cut, and
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyiceberg.expressions import AlwaysFalse, And, BooleanExpression, In
from pyiceberg.schema import Schema
from sqlglot import exp

from lakecat.engines._links import equalities, exact_predicate
from lakecat.engines._pruning import pruning_predicates
from lakecat.types import DatasetName

_OPAQUE: Final = (exp.Pivot, exp.Columns, exp.Summarize)
"""Nodes that may take columns without naming them."""
_IN: Final[Any] = In  # takes names and plain values, which its annotation does not say
_CHANGING: Final = (exp.AggFunc, exp.Window, exp.UDTF, exp.Explode, exp.Anonymous, exp.Lateral)
"""Nodes whose value may hang on other rows, or that make several rows of one."""
_PLAIN_TABLE: Final = frozenset({"this", "db", "catalog", "alias"})
_SIMPLE: Final = frozenset({"kind", "expressions", "from_", "where", "order", "limit", "offset"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is needed of a relation.

    Attributes:
        columns: names, in the relation's order; one at least, so that rows can be counted.
        predicate: what the needed rows satisfy; None: all rows are needed.
        order: columns to sort by, and whether descending.
        limit: so many first rows by ``order`` suffice, among those that satisfy ``predicate`` exactly.
    """

    columns: tuple[str, ...]
    predicate: BooleanExpression | None = None
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None

    def narrowed(self, column: str, values: Sequence[object]) -> Need:
        """The same need of fewer rows: only those whose column has one of these values."""
        within: BooleanExpression = _IN(column, list(values)) if values else AlwaysFalse()
        both = within if self.predicate is None else And(self.predicate, within)
        return Need(columns=self.columns, predicate=both)


@dataclass(frozen=True, slots=True)
class Link:
    """Only rows of ``target`` whose column equals a value of ``source``'s column can matter."""

    source: DatasetName
    source_column: str
    target: DatasetName
    target_column: str


def links(tree: exp.Expr | None, schemas: Mapping[DatasetName, Schema]) -> tuple[Link, ...]:
    """Equalities between columns of two relations that every row of the result must meet, or that a join demands.

    Of the ON of a LEFT JOIN only the joined relation's rows are bound by it, of that of an inner join both.
    """
    if tree is None:
        return ()
    found: list[Link] = []
    for first, second, both in equalities(tree, schemas):
        found.append(Link(*first, *second))
        if both:
            found.append(Link(*second, *first))
    return tuple(found)


def needs(
    con: Any, tree: exp.Expr | None, schemas: Mapping[DatasetName, Schema], parameters: Mapping[str, object]
) -> dict[DatasetName, Need]:
    """What the query needs of each relation, each of which it names once.

    Args:
        con: a DuckDB in UTC that evaluates constants.
        tree: the query, as sqlglot reads it; None when it could not.
        schemas: the relations.
        parameters: values of named parameters.
    """
    if tree is None:
        return {name: Need(columns=tuple(schema.column_names)) for name, schema in schemas.items()}
    predicates = pruning_predicates(con, tree, schemas, parameters)
    tables = {(table.db.lower(), table.name.lower()): table for table in tree.find_all(exp.Table)}
    found: dict[DatasetName, Need] = {}
    names = _names(tree)
    everything = any(tree.find_all(*_OPAQUE)) or any(join.method == "NATURAL" for join in tree.find_all(exp.Join))
    for name, schema in schemas.items():
        table = tables[name.namespace, name.name]
        whole = everything or _has_extras(table) or _is_taken_whole(tree, table.alias_or_name.lower(), names)
        columns = tuple(column for column in schema.column_names if whole or column.lower() in names)
        found[name] = Need(columns=columns or (schema.column_names[0],), predicate=predicates.get(name))
    if len(found) == 1:
        ((name, need),) = found.items()
        return {name: _first_rows(con, tree, need, schemas, parameters)}
    return found


def _has_extras(table: exp.Expr) -> bool:
    """Whether the relation's columns have other names here, or not all its rows are taken."""
    alias = table.args.get("alias")
    renamed = isinstance(alias, exp.TableAlias) and alias.args.get("columns")
    return bool(renamed) or any(value and key not in _PLAIN_TABLE for key, value in table.args.items())


def _names(tree: exp.Expr) -> frozenset[str]:
    """Every name that occurs in the text, whatever it names."""
    return frozenset(identifier.name.lower() for identifier in tree.find_all(exp.Identifier))


def _is_taken_whole(tree: exp.Expr, alias: str, names: frozenset[str]) -> bool:
    """Whether a star covers the relation, or its own name is taken as a value."""
    for star in tree.find_all(exp.Star):
        parent = star.parent
        if isinstance(parent, exp.Count):
            continue
        owner = parent.table.lower() if isinstance(parent, exp.Column) else ""
        if not owner or owner == alias:
            return True
    taken = (column for column in tree.find_all(exp.Column) if not column.table)
    return alias in names and any(column.name.lower() == alias for column in taken)


def _first_rows(
    con: Any,
    tree: exp.Expr,
    need: Need,
    schemas: Mapping[DatasetName, Schema],
    parameters: Mapping[str, object],
) -> Need:
    """``need`` with order and limit, where the first rows of the relation are surely enough."""
    count = _count(tree)
    if count is None or not isinstance(tree, exp.Select):
        return need
    (schema,) = schemas.values()
    order = _order(tree, schema)
    if order is None:
        return need
    if tree.args.get("where") and not exact_predicate(con, tree, schemas, parameters):
        return need
    return Need(columns=need.columns, predicate=need.predicate, order=order, limit=count)


def _count(tree: exp.Expr) -> int | None:
    """How many first rows a simple SELECT looks at; None when it is not that simple, or has no limit."""
    if not isinstance(tree, exp.Select) or any(value and key not in _SIMPLE for key, value in tree.args.items()):
        return None
    table = tree.args["from_"].this
    if sum(1 for _ in tree.find_all(exp.Query)) > 1 or not isinstance(table, exp.Table) or _has_extras(table):
        return None
    if any(item.find(*_CHANGING) for item in tree.expressions):
        return None
    limit, offset = tree.args.get("limit"), tree.args.get("offset")
    counts = [_literal(clause) for clause in (limit, offset) if clause is not None]
    if limit is None or any(count is None for count in counts):
        return None
    return sum(count for count in counts if count is not None)


def _literal(clause: exp.Expr) -> int | None:
    value = clause.expression
    plain = isinstance(clause, exp.Limit | exp.Offset) and isinstance(value, exp.Literal) and not value.is_string
    extras = any(found for key, found in clause.args.items() if key not in ("expression", "this"))
    return int(value.name) if plain and not extras and value.name.isdigit() else None


def _order(tree: exp.Select, schema: Schema) -> tuple[tuple[str, bool], ...] | None:
    """The columns that the SELECT sorts by; None when it sorts by anything else."""
    clause = tree.args.get("order")
    items: Sequence[exp.Expr] = clause.expressions if clause is not None else ()
    renamed = {item.alias.lower() for item in tree.expressions if isinstance(item, exp.Alias)}
    columns = {name.lower(): name for name in schema.column_names}
    found = []
    for item in items:
        column = item.this if isinstance(item, exp.Ordered) else item
        name = column.name.lower() if isinstance(column, exp.Column) and isinstance(column.this, exp.Identifier) else ""
        if name not in columns or name in renamed:
            return None
        found.append((columns[name], bool(item.args.get("desc"))))
    return tuple(found)
