"""PIVOT and UNPIVOT, as clauses of FROM and as DuckDB statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from lakecat.lineage.expressions import flows, influence
from lakecat.lineage.relation import (
    STAR,
    Column,
    Deps,
    MutableDeps,
    Open,
    Relation,
    lift,
    merge,
    open_deps,
    unresolved,
)
from lakecat.lineage.scope import Scope
from lakecat.types import EdgeKind


def pivoted(scope: Scope, node: exp.Expr, relation: Relation) -> Relation:
    """The relation after the PIVOT and UNPIVOT clauses that follow it in FROM."""
    for pivot in node.args.get("pivots") or ():
        block = Scope(scope.ctx, scope.env, scope.parent)
        block.add("", relation)
        relation = _unpivot(block, pivot, relation) if pivot.args.get("unpivot") else _pivot(block, pivot, relation)
        alias = pivot.args.get("alias")
        names = [column.name for column in (alias.args.get("columns") if alias is not None else None) or ()]
        relation = relation.renamed(names)
    return relation


def pivot_statement(scope: Scope, node: exp.Pivot, relation: Relation) -> Relation:
    """DuckDB's ``PIVOT t ON key USING sum(value) GROUP BY rest`` and ``UNPIVOT t ON columns INTO NAME n VALUE v``."""
    block = Scope(scope.ctx, scope.env, scope.parent)
    block.add("", relation)
    if node.args.get("unpivot"):
        return _unpivot(block, node, relation)
    return _pivot(block, node, relation)


def _names(nodes: Sequence[exp.Expr]) -> Iterator[str]:
    for node in nodes:
        for column in node.find_all(exp.Column):
            yield column.name.lower()


def _pivot(scope: Scope, pivot: exp.Pivot, relation: Relation) -> Relation:
    aggregates = list(pivot.args.get("using") or ()) or list(pivot.expressions)
    keys = [field.this for field in pivot.args.get("fields") or ()]
    if pivot.args.get("using"):
        keys = [key.this if isinstance(key, exp.In) else key for key in pivot.expressions]
    for key in keys:
        influence(scope, key, EdgeKind.GROUP_BY)
    values = [flows(scope, aggregate) for aggregate in aggregates]
    conditions: MutableDeps = {}
    for key in keys:
        merge(conditions, lift(flows(scope, key), EdgeKind.CONDITIONAL, key))
    used = set(_names(keys)) | {name for aggregate in aggregates for name in _names([aggregate])}
    group = pivot.args.get("group")
    if group is not None:
        kept = [Column(key.name, flows(scope, key), key) for key in group.expressions]
    else:
        kept = [column for column in relation.columns if column.name.lower() not in used]
    for column in kept:
        scope.influence.add(column.deps, EdgeKind.GROUP_BY, column.node or pivot)
    everything: MutableDeps = {}
    for deps in (*values, conditions):
        merge(everything, deps)
    made = [
        Column(name, _joined(values[i % len(values)] if values else {}, conditions), aggregates[i % len(values)])
        for i, name in enumerate(_pivot_names(pivot))
    ]
    # Names that only the data decides (PIVOT without a list) stay open, and come from the aggregates.
    rest: Open | None = relation.open.without(used) if relation.open is not None and group is None else None
    rest = rest or (None if made else open_deps(everything, "the pivoted columns"))
    if not made:
        made = [Column(STAR, everything, pivot)]
    return Relation(kept + made, rest, scope.influence)


def _joined(left: Deps, right: Deps) -> Deps:
    found: MutableDeps = dict(left)
    merge(found, right)
    return found


def _pivot_names(pivot: exp.Pivot) -> list[str]:
    generated = [column.name for column in pivot.args.get("columns") or ()]
    if generated:
        return generated
    names: list[str] = []
    for key in pivot.expressions if pivot.args.get("using") else ():
        if isinstance(key, exp.In):
            names += [value.alias_or_name for value in key.expressions]
    return names


def _unpivot(scope: Scope, pivot: exp.Pivot, relation: Relation) -> Relation:
    groups, name_column, value_names = _unpivot_parts(pivot)
    used = {name.lower() for group in groups for name in group}
    kept = [column for column in relation.columns if column.name.lower() not in used and column.name != STAR]
    made: list[Column] = []
    if name_column:
        made.append(Column(name_column, {}, pivot))  # a constant: the name of the column that was taken
    for i, name in enumerate(value_names):
        found: MutableDeps = {}
        for group in groups:
            if i < len(group):
                deps = relation.get(group[i])
                if deps is None:
                    deps = unresolved(group[i], f"UNPIVOT of a column {group[i]} that is not there", pivot)
                merge(found, deps)
        made.append(Column(name, found, pivot))
    if not pivot.args.get("include_nulls"):
        for group in groups:
            for name in group:  # a NULL makes no row
                scope.influence.add(relation.get(name) or {}, EdgeKind.FILTER, pivot)
    rest = relation.open.without(used | {column.name.lower() for column in made}) if relation.open else None
    star = [column for column in relation.columns if column.name == STAR]
    return Relation([*kept, *star, *made], rest, scope.influence)


def _unpivot_parts(pivot: exp.Pivot) -> tuple[list[list[str]], str, list[str]]:
    """The column groups taken, the name column, and the value columns."""
    groups: list[list[str]] = []
    name_column = ""
    values: list[str] = []
    into = pivot.args.get("into")
    if into is not None:
        name_column = into.this.name
        values = [value.name for value in into.expressions]
        groups = [_group_of(item) for item in pivot.expressions]
        return groups, name_column, values
    for field in pivot.args.get("fields") or ():
        name_column = field.this.name
        groups += [_group_of(item) for item in field.expressions]
    for item in pivot.expressions:
        values += [value.name for value in (item.expressions if isinstance(item, exp.Tuple) else [item])]
    return groups, name_column or ("name" if not pivot.args.get("fields") else ""), values or ["value"]


def _group_of(item: exp.Expr) -> list[str]:
    node = item.this if isinstance(item, (exp.PivotAlias, exp.Alias, exp.Paren)) else item
    return [part.name for part in (node.expressions if isinstance(node, exp.Tuple) else [node])]
