"""Statements that change rows in place: MERGE, UPDATE, DELETE, and INSERT's conflict clause."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from lakecat.lineage.expressions import flows, influence
from lakecat.lineage.outputs import Outcome, Output, positioned
from lakecat.lineage.relation import NOTHING, STAR, Column, Relation
from lakecat.lineage.rules import table_parts
from lakecat.lineage.scope import Context, Env, Scope
from lakecat.lineage.sources import bring, joins, star_columns
from lakecat.types import EdgeKind


def _bring_target(scope: Scope, table: exp.Expr) -> str:
    """The changed table, which can be named in the statement but does not count as read. Returns its dataset."""
    if not isinstance(table, exp.Table):
        return ""
    parts = table_parts(table)
    through = scope.env.get(parts[0].lower()) if len(parts) == 1 else None
    if through is not None:
        scope.add(table.alias or parts[0], through)
        return _beneath(through) or parts[0].lower()
    name = scope.ctx.rules.dataset(parts)
    relation = scope.ctx.base(parts, read=False)
    scope.add(table.alias or parts[-1], relation, by_dataset=not table.alias)
    return name


def _beneath(relation: Relation) -> str | None:
    """The table that a change through a CTE or derived table (T-SQL) reaches: the only one its columns come from."""
    datasets = {key.dataset for column in relation.columns for key in column.deps if key.kind is EdgeKind.IDENTITY}
    return next(iter(datasets)) if len(datasets) == 1 else None


def _target_names(ctx: Context, dataset: str, given: Sequence[str] | None) -> Sequence[str] | None:
    if given is not None:
        return given
    temporary = ctx.session.get(dataset)
    if temporary is not None:
        return [column.name for column in temporary.columns]
    return ctx.schemas.get(dataset)


def merge_into(ctx: Context, node: exp.Expr, env: Env, target_columns: Sequence[str] | None) -> Outcome:
    """MERGE: every branch writes its columns; ON joins, branch conditions filter."""
    source = Scope(ctx, env, None)
    bring(source, node.args["using"])
    both = Scope(ctx, env, None, sources=dict(source.sources), qualified=dict(source.qualified))
    dataset = _bring_target(both, node.this)
    both.influence.include(source.influence)
    output = Output(dataset, [], both.influence)
    influence(both, node.args.get("on"), EdgeKind.JOIN)
    for name in node.args.get("using_cond") or ():
        for relation in both.sources.values():
            both.influence.add(relation.get(name.name) or NOTHING, EdgeKind.JOIN, node.this)
    names = _target_names(ctx, dataset, target_columns)
    whens = node.args.get("whens")
    for when in whens.expressions if whens is not None else ():
        influence(both, when.args.get("condition"), EdgeKind.FILTER)
        action = when.args.get("then")
        if isinstance(action, exp.Update):
            output.columns += _merge_update(both, source, action, names)
        elif isinstance(action, exp.Insert):
            output.columns += _merge_insert(source, action, names)
    return Outcome("MERGE", [output])


def _whole_source(source: Scope, names: Sequence[str] | None, node: exp.Expr) -> list[Column]:
    """``UPDATE SET *`` and ``INSERT *``: by position in DuckDB, by name elsewhere."""
    columns = star_columns(source, node)
    if source.ctx.rules.star_by_position:
        return positioned(columns, names)
    if names is None:
        return columns
    wanted = {name.lower(): name for name in names}
    return [
        Column(wanted.get(column.name.lower(), column.name), column.deps, column.node)
        for column in columns
        if column.name == STAR or column.name.lower() in wanted
    ]


def _merge_update(both: Scope, source: Scope, action: exp.Update, names: Sequence[str] | None) -> list[Column]:
    assignments = action.args.get("expressions") or ()
    if not isinstance(assignments, list) or any(isinstance(item, exp.Star) for item in assignments):
        return _whole_source(source, names, action)
    return [column for _, column in _assigned(both, assignments)]


def _merge_insert(source: Scope, action: exp.Insert, names: Sequence[str] | None) -> list[Column]:
    listed = action.this
    values = action.expression
    if isinstance(listed, (exp.Tuple, exp.Schema)):
        names = [part.name for part in listed.expressions]
    if isinstance(values, exp.Values):
        values = values.expressions[0]
    if isinstance(values, exp.Tuple):
        columns = [Column(f"_col_{i}", flows(source, value), value) for i, value in enumerate(values.expressions)]
        return positioned(columns, names)
    if isinstance(values, (exp.Column, exp.Var)) and values.name.lower() == "row":
        return positioned(star_columns(source, action), names)  # BigQuery's INSERT ROW
    if isinstance(values, exp.Expr):
        return positioned([Column("_col_0", flows(source, values), values)], names)
    return _whole_source(source, names, action)


def _assigned(scope: Scope, assignments: Sequence[exp.Expr]) -> list[tuple[exp.Expr, Column]]:
    """``SET a = x, (b, c) = (SELECT …)``: the assigned references and their columns."""
    found: list[tuple[exp.Expr, Column]] = []
    for assignment in assignments:
        if not isinstance(assignment, exp.EQ):
            continue
        left, right = assignment.this, assignment.expression
        if not isinstance(left, exp.Tuple):
            found.append((left, Column(_last_name(left), flows(scope, right), right)))
            continue
        for part, column in zip(left.expressions, _row(scope, right), strict=False):
            found.append((part, Column(_last_name(part), column.deps, column.node)))
    return found


def _row(scope: Scope, node: exp.Expr) -> list[Column]:
    if isinstance(node, exp.Query):
        relation = scope.ctx.query(node, scope.env, scope)
        scope.influence.include(relation.influence)
        return relation.columns
    parts = node.expressions if isinstance(node, exp.Tuple) else [node]
    return [Column("", flows(scope, part), part) for part in parts]


def _last_name(node: exp.Expr) -> str:
    while isinstance(node, (exp.Paren, exp.Bracket)):
        node = node.this
    if isinstance(node, exp.Dot):
        # SET column.field = … changes the column
        parts = list(node.find_all(exp.Column))
        return parts[0].name if parts else node.expression.name
    return str(node.name)


def on_conflict(ctx: Context, conflict: exp.OnConflict, output: Output) -> None:
    """INSERT … ON CONFLICT DO UPDATE SET …: ``excluded`` is the row that was to be inserted."""
    scope = Scope(ctx, {}, None)
    scope.add("excluded", Relation(list(output.columns), None))
    table = output.dataset.split(".")
    scope.add(table[-1], ctx.base(table, read=False), by_dataset=True)
    output.columns += [column for _, column in _assigned(scope, conflict.expressions)]
    where = conflict.args.get("where")
    if isinstance(where, exp.Expr):
        influence(scope, where.this, EdgeKind.FILTER)
        output.influence.include(scope.influence)


def update(ctx: Context, node: exp.Expr, env: Env) -> Outcome:
    """UPDATE, with FROM (standard dialects), a FROM that names the target (T-SQL), or joins (MySQL)."""
    scope = Scope(ctx, env, None)
    before = set(ctx.reads)
    source = node.args.get("from_")
    if isinstance(source, exp.Expr):
        bring(scope, source.this)
    table = node.this
    named = scope.source_key(table_parts(table)) if isinstance(table, exp.Table) and not table.alias else None
    if named is not None and isinstance(source, exp.Expr):
        relation = scope.sources[named]
        dataset = relation.dataset or _beneath(relation) or named
        _forget_read(scope, dataset, before)
    else:
        dataset = _bring_target(scope, table)
    joins(scope, table)
    joins(scope, node)
    outputs = {dataset: Output(dataset, [], scope.influence)}
    for reference, column in _assigned(scope, node.expressions):
        owner = _owner(scope, reference) or dataset
        if owner != dataset:
            _forget_read(scope, owner, before)
        outputs.setdefault(owner, Output(owner, [], scope.influence)).columns.append(column)
    where = node.args.get("where")
    if isinstance(where, exp.Expr):
        influence(scope, where.this, EdgeKind.FILTER)
    written = [output for output in outputs.values() if output.columns] or list(outputs.values())
    return Outcome("UPDATE", written)


def _owner(scope: Scope, reference: exp.Expr) -> str | None:
    if not isinstance(reference, exp.Column) or not reference.table:
        return None
    key = scope.source_key([part.name for part in reference.parts[:-1]])
    return scope.sources[key].dataset if key is not None else None


def _forget_read(scope: Scope, dataset: str, before: set[str]) -> None:
    """The changed table was only named in FROM, not read for another table's sake."""
    uses = sum(relation.dataset == dataset for relation in scope.sources.values())
    if uses == 1 and dataset not in before:
        scope.ctx.reads.pop(dataset, None)


def delete(ctx: Context, node: exp.Expr, env: Env) -> Outcome:
    """DELETE: no value flows, the columns of its predicate decide which rows stay."""
    scope = Scope(ctx, env, None)
    for source in node.args.get("using") or ():
        bring(scope, source)
    dataset = _bring_target(scope, node.this)
    joins(scope, node.this)
    where = node.args.get("where")
    if isinstance(where, exp.Expr):
        influence(scope, where.this, EdgeKind.FILTER)
    return Outcome("DELETE", [Output(dataset, [], scope.influence)])
