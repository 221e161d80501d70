"""Query blocks: WITH, SELECT, set operations. Each is traced once and becomes a Relation."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from lakecat.lineage.expressions import flows, influence, is_aggregate
from lakecat.lineage.outputs import NotUnderstoodError
from lakecat.lineage.patterns import match_recognize
from lakecat.lineage.pivot import pivot_statement
from lakecat.lineage.projection import projection
from lakecat.lineage.recursion import recursive_cte
from lakecat.lineage.relation import (
    STAR,
    Column,
    Influence,
    MutableDeps,
    Relation,
    merge,
    open_union,
    unresolved,
)
from lakecat.lineage.scope import Context, Env, Scope
from lakecat.lineage.sources import bring, joins, star_relation, values
from lakecat.types import EdgeKind


def run_query(ctx: Context, node: exp.Expr, env: Env, parent: Scope | None) -> Relation:
    """Trace any query node. Called through ``Context.query``, which bounds the depth."""
    while isinstance(node, exp.Paren):
        node = node.this
    if node.args.get("with_") is not None:
        env = with_ctes(ctx, node.args["with_"], env, parent)
    if isinstance(node, exp.Select):
        return select_block(Scope(ctx, env, parent), node)
    if isinstance(node, exp.SetOperation):
        return _set_operation(ctx, node, env, parent)
    if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query):
        relation = ctx.query(node.this, env, parent)
        return _ordered(ctx, node, relation, env, parent)
    scope = Scope(ctx, env, parent)
    if isinstance(node, exp.Values):
        return values(scope, node)
    if isinstance(node, exp.Pivot):
        bring(scope, node.this)
        return pivot_statement(scope, node, star_relation(scope, node))
    if isinstance(node, (exp.Table, exp.Subquery)):
        bring(scope, node)
        return star_relation(scope, node)
    reason = f"a query of this form ({type(node).__name__}) is not understood"
    return Relation([Column(STAR, unresolved(STAR, reason, node), node)])


def with_ctes(ctx: Context, clause: exp.Expr, env: Env, parent: Scope | None) -> Env:
    """The names in sight below a WITH: each CTE is traced once, in order, and sees those before it."""
    env = dict(env)
    for cte in clause.expressions:
        name = cte.alias.lower()
        alias = cte.args.get("alias")
        names = [column.name for column in (alias.args.get("columns") if alias is not None else None) or ()]
        body = cte.this
        if isinstance(body, exp.DML):
            raise NotUnderstoodError("a WITH clause that changes data is not understood, so its lineage is not known")
        if not isinstance(body, exp.Query) and not isinstance(body, (exp.Values, exp.Table, exp.Pivot)):
            # ClickHouse's WITH expression AS name
            scope = Scope(ctx, env, parent)
            env[name] = Relation([Column(cte.alias, flows(scope, body), body)], None, scope.influence)
            continue
        if _may_recurse(ctx, clause, body, name):
            env[name] = recursive_cte(ctx, body, name, names, env, parent)
        else:
            env[name] = ctx.query(body, env, parent).renamed(names)
    return env


def _may_recurse(ctx: Context, clause: exp.Expr, body: exp.Expr, name: str) -> bool:
    if not clause.args.get("recursive") and ctx.rules.recursive_keyword:
        return False
    if not isinstance(body.unnest() if isinstance(body, exp.Subquery) else body, exp.SetOperation):
        return False
    return any(table.name.lower() == name and not table.db for table in body.find_all(exp.Table))


def _set_operation(ctx: Context, node: exp.SetOperation, env: Env, parent: Scope | None) -> Relation:
    """A left-deep chain of UNION, INTERSECT, EXCEPT, folded from the left without recursion."""
    chain = [node]
    first: exp.Expr = node.this
    while isinstance(first, exp.SetOperation) and first.args.get("with_") is None:
        chain.append(first)
        first = first.this
    left = ctx.query(first, env, parent)
    total = Relation(
        [Column(column.name, dict(column.deps), column.node) for column in left.columns], left.open, Influence()
    )
    total.influence.include(left.influence)
    for operation in reversed(chain):
        right = ctx.query(operation.expression, env, parent)
        total = combine(operation, total, right)
        total = _ordered(ctx, operation, total, env, parent)
    return total


def combine(node: exp.SetOperation, left: Relation, right: Relation) -> Relation:
    """Two branches of a set operation. The columns of ``left`` are updated in place.

    EXCEPT only takes rows away: the right branch's columns decide rows, no value comes from them.
    """
    left.influence.include(right.influence)
    distinct = node.args.get("distinct") is not False
    if isinstance(node, exp.Except):
        for relation in (left, right):
            _all_columns(left.influence, relation.columns, EdgeKind.FILTER, node)
        return left
    if isinstance(node, exp.Intersect) or distinct:
        kind = EdgeKind.FILTER if isinstance(node, exp.Intersect) else EdgeKind.GROUP_BY
        for relation in (left, right):
            _all_columns(left.influence, relation.columns, kind, node)
    opens = [relation.open for relation in (left, right) if relation.open is not None]
    names = [[column.name for column in relation.columns] for relation in (left, right)]
    by_position = not node.args.get("by_name") and (not opens or _aligned(*names))
    columns = _by_position(left.columns, right.columns) if by_position else _by_name(left.columns, right.columns)
    return Relation(columns, open_union(opens), left.influence)


def _aligned(left: list[str], right: list[str]) -> bool:
    stars = [[i for i, name in enumerate(names) if name == STAR] for names in (left, right)]
    return len(left) == len(right) and stars[0] == stars[1]


def _all_columns(into: Influence, columns: Sequence[Column], kind: EdgeKind, node: exp.Expr) -> None:
    for column in columns:
        into.add(column.deps, kind, node)


def _mutable(column: Column) -> MutableDeps:
    if not isinstance(column.deps, dict):
        column.deps = dict(column.deps)
    return column.deps


def _by_position(left: list[Column], right: Sequence[Column]) -> list[Column]:
    for mine, other in zip(left, right, strict=False):
        merge(_mutable(mine), other.deps)
    return left


def _by_name(left: list[Column], right: Sequence[Column]) -> list[Column]:
    index = {column.name.lower(): column for column in left}
    for other in right:
        mine = index.get(other.name.lower())
        if mine is not None:
            merge(_mutable(mine), other.deps)
        else:
            left.append(Column(other.name, dict(other.deps), other.node))
    return left


def _ordered(ctx: Context, node: exp.Expr, relation: Relation, env: Env, parent: Scope | None) -> Relation:
    """ORDER BY and LIMIT after a set operation or a query in parentheses."""
    if node.args.get("order") is None and node.args.get("limit") is None:
        return relation
    scope = Scope(ctx, env, parent)
    scope.add("", relation)
    _order_keys(scope, node, relation.columns)
    _limit(scope, node)
    return Relation(relation.columns, relation.open, scope.influence, relation.dataset)


def select_block(scope: Scope, node: exp.Select) -> Relation:
    """One SELECT over a scope, which may hold sources already (Hive's ``FROM src INSERT … SELECT``)."""
    source = node.args.get("from_")
    if source is not None:
        bring(scope, source.this)
    joins(scope, node)
    if isinstance(node.args.get("match"), exp.MatchRecognize):
        match_recognize(scope, node.args["match"])
    for window in node.args.get("windows") or ():
        scope.windows[window.this.name.lower() if isinstance(window.this, exp.Expr) else str(window.this)] = window
    scope.aliases_in_sight = scope.ctx.rules.lateral_alias
    columns, rest = projection(scope, node)
    scope.aliases_in_sight = True
    for clause in ("prewhere", "where", "having", "qualify"):
        predicate = node.args.get(clause)
        if predicate is not None:
            influence(scope, predicate.this, EdgeKind.FILTER)
    _connect(scope, node)
    _group(scope, node, columns)
    _distinct(scope, node, columns)
    _order_keys(scope, node, columns)
    _limit(scope, node)
    return Relation(columns, rest, scope.influence)


def _connect(scope: Scope, node: exp.Select) -> None:
    connect = node.args.get("connect")
    if connect is not None:
        influence(scope, connect.args.get("start"), EdgeKind.FILTER)
        influence(scope, connect.args.get("connect"), EdgeKind.JOIN)


def _key(scope: Scope, node: exp.Expr, columns: Sequence[Column], kind: EdgeKind, *, alias_first: bool) -> None:
    """One GROUP BY, DISTINCT ON or ORDER BY key: a position, an output alias, or an expression."""
    value = node.this if isinstance(node, exp.Ordered) else node
    if isinstance(value, exp.Literal) and value.is_int:
        position = int(value.this)
        if 0 < position <= len(columns):
            scope.influence.add(columns[position - 1].deps, kind, columns[position - 1].node or value)
        return
    influence(scope, value, kind, alias_first=alias_first)


def _group(scope: Scope, node: exp.Select, columns: Sequence[Column]) -> None:
    group = node.args.get("group")
    if group is None:
        return
    if group.args.get("all"):
        for column in columns:
            if column.node is None or not any(is_aggregate(part) for part in column.node.walk()):
                scope.influence.add(column.deps, EdgeKind.GROUP_BY, column.node)
    for key in group.expressions:
        _grouping(scope, key, columns)
    for name in ("grouping_sets", "cube", "rollup"):
        for key in group.args.get(name) or ():
            if isinstance(key, exp.Expr):
                _grouping(scope, key, columns)


def _grouping(scope: Scope, node: exp.Expr, columns: Sequence[Column]) -> None:
    if isinstance(node, (exp.GroupingSets, exp.Cube, exp.Rollup, exp.Tuple)):
        for part in node.expressions:
            _grouping(scope, part, columns)
    elif isinstance(node, exp.Paren):
        _grouping(scope, node.this, columns)
    else:
        _key(scope, node, columns, EdgeKind.GROUP_BY, alias_first=False)


def _distinct(scope: Scope, node: exp.Select, columns: Sequence[Column]) -> None:
    distinct = node.args.get("distinct")
    if distinct is None:
        return
    on = distinct.args.get("on")
    if on is None:
        for column in columns:
            scope.influence.add(column.deps, EdgeKind.GROUP_BY, column.node)
        return
    for key in on.expressions if isinstance(on, exp.Tuple) else [on]:
        _key(scope, key.this if isinstance(key, exp.Paren) else key, columns, EdgeKind.GROUP_BY, alias_first=True)


def _order_keys(scope: Scope, node: exp.Expr, columns: Sequence[Column]) -> None:
    for clause in ("order", "sort", "cluster"):
        keys = node.args.get(clause)
        for key in keys.expressions if keys is not None else ():
            value = key.this if isinstance(key, exp.Ordered) else key
            if isinstance(value, exp.Var) and value.name.upper() == "ALL":
                for column in columns:
                    scope.influence.add(column.deps, EdgeKind.SORT, column.node)
            else:
                _key(scope, key, columns, EdgeKind.SORT, alias_first=True)


def _limit(scope: Scope, node: exp.Expr) -> None:
    for clause in ("limit", "offset"):
        limit = node.args.get(clause)
        if isinstance(limit, exp.Expr):
            influence(scope, limit.args.get("expression") or limit.args.get("count"), EdgeKind.FILTER)
            for key in limit.expressions:
                influence(scope, key, EdgeKind.FILTER)
