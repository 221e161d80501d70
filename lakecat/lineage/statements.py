"""Statements: what each writes, and from where. Every kind gives one or more outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from lakecat.lineage.expressions import influence
from lakecat.lineage.merge import delete, merge_into, on_conflict, update
from lakecat.lineage.outputs import NotUnderstoodError, Outcome, Output, positioned
from lakecat.lineage.query import select_block, with_ctes
from lakecat.lineage.relation import NOTHING, STAR, Column, Relation
from lakecat.lineage.rules import table_parts
from lakecat.lineage.scope import Context, Env, Scope
from lakecat.lineage.sources import bring
from lakecat.types import EdgeKind

_HARMLESS: Final = frozenset(
    [
        "SET",
        "SHOW",
        "EXPLAIN",
        "USE",
        "GRANT",
        "REVOKE",
        "DESCRIBE",
        "DESC",
        "PRAGMA",
        "BEGIN",
        "START",
        "COMMIT",
        "ROLLBACK",
        "ANALYZE",
        "VACUUM",
        "OPTIMIZE",
        "RESET",
        "CHECKPOINT",
        "LOAD",
        "INSTALL",
        "ATTACH",
        "DETACH",
        "COMMENT",
        "UNSET",
        "PRINT",
        "DECLARE",
        "REFRESH",
        "MSCK",
        "LIST",
        "REMOVE",
    ]
)
_QUERIES: Final = (exp.Query, exp.Values, exp.Pivot, exp.Table)


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller wants of a bare SELECT, and what it knows of the target's columns."""

    target: str | None = None
    target_columns: Sequence[str] | None = None


def trace_statement(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    """Trace one parsed statement. Raises NotUnderstoodError, never guesses that there is no lineage."""
    for kind, handler in _STATEMENTS:
        if isinstance(node, kind):
            return handler(ctx, node, request)
    if isinstance(node, _NO_DATA) or (isinstance(node, exp.Command) and str(node.this).upper() in _HARMLESS):
        return Outcome("OTHER")
    word = str(node.this).upper() if isinstance(node, exp.Command) else type(node).__name__
    raise NotUnderstoodError(f"a statement of this form ({word}) is not understood, so its lineage is not known")


def _env(ctx: Context, node: exp.Expr) -> Env:
    clause = node.args.get("with_")
    return with_ctes(ctx, clause, {}, None) if isinstance(clause, exp.With) else {}


def _query(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    relation = ctx.query(node, {}, None)
    into = node.args.get("into")
    if isinstance(into, exp.Into) and isinstance(into.this, exp.Table):
        name = ctx.rules.dataset(table_parts(into.this))
        temporary = bool(into.args.get("temporary")) or name.startswith("#")
        outcome = Outcome("SELECT INTO", [Output(name, relation.columns, relation.influence)])
        return outcome.creating(name, relation, temporary=temporary)
    target = ctx.rules.dataset(request.target.split(".")) if request.target else ""
    columns = positioned(relation.columns, request.target_columns)
    return Outcome("SELECT", [Output(target, columns, relation.influence)])


def _target(ctx: Context, node: exp.Expr) -> tuple[str, list[str]]:
    """Dataset and column list of INSERT and CREATE."""
    names: list[str] = []
    table = node.this
    if isinstance(table, exp.Schema):
        kinds = (exp.Identifier, exp.ColumnDef, exp.Column)
        names = [part.name for part in table.expressions if isinstance(part, kinds)]
        table = table.this
    if not isinstance(table, exp.Table):
        return "", names
    return ctx.rules.dataset(table_parts(table)), names


def _insert(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    outcome = Outcome("INSERT OVERWRITE" if node.args.get("overwrite") else "INSERT")
    source = node.expression
    if not isinstance(source, exp.Expr):
        name, _ = _target(ctx, node)
        outcome.outputs.append(Output(name, []))  # INSERT … DEFAULT VALUES
        return outcome
    relation = ctx.query(source, _env(ctx, node), None)
    output = _inserted(ctx, node, relation, request)
    outcome.outputs.append(output)
    conflict = node.args.get("conflict")
    if isinstance(conflict, exp.OnConflict):
        on_conflict(ctx, conflict, output)
    return outcome


def _inserted(ctx: Context, node: exp.Expr, relation: Relation, request: Request) -> Output:
    name, names = _target(ctx, node)
    if node.args.get("by_name"):
        return Output(name, relation.columns, relation.influence)
    if not names:
        names = insert_columns(ctx, node, name, request)
    return Output(name, positioned(relation.columns, names), relation.influence)


def insert_columns(ctx: Context, node: exp.Expr, name: str, request: Request) -> list[str]:
    """The target's columns that an INSERT without a column list fills, in order."""
    temporary = ctx.session.get(name)
    known = [column.name for column in temporary.columns] if temporary is not None else ctx.schemas.get(name)
    if request.target_columns is not None:
        known = request.target_columns
    table = node.this.this if isinstance(node.this, exp.Schema) else node.this
    partition = node.args.get("partition") or (table.args.get("partition") if isinstance(table, exp.Expr) else None)
    fixed: set[str] = set()
    if isinstance(partition, exp.Expr):
        fixed = {equals.this.name.lower() for equals in partition.find_all(exp.EQ)}
    return [column for column in known or () if column.lower() not in fixed]


def _create(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    kind = str(node.args.get("kind") or "").upper()
    if kind not in ("TABLE", "VIEW"):
        return Outcome(f"CREATE {kind}")
    name, names = _target(ctx, node)
    properties = node.args.get("properties")
    temporary = name.startswith("#")
    if isinstance(properties, exp.Properties):
        temporary = temporary or properties.find(exp.TemporaryProperty) is not None
        to = properties.find(exp.ToTableProperty)
        if to is not None and isinstance(to.this, exp.Table):
            name = ctx.rules.dataset(table_parts(to.this))
    outcome = Outcome(f"CREATE {kind}")
    query = node.expression
    if isinstance(query, _QUERIES):
        relation = ctx.query(query, _env(ctx, node), None)
        columns = positioned(relation.columns, names or (request.target_columns or ()))
        outcome.outputs.append(Output(name, columns, relation.influence))
        return outcome.creating(name, Relation(columns, relation.open, relation.influence), temporary=temporary)
    return _created_without_query(ctx, node, name, names, temporary=temporary)


def _created_without_query(ctx: Context, node: exp.Expr, name: str, names: list[str], *, temporary: bool) -> Outcome:
    outcome = Outcome(f"CREATE {str(node.args.get('kind')).upper()}")
    properties = node.args.get("properties")
    like = properties.find(exp.LikeProperty) if isinstance(properties, exp.Properties) else None
    clone = node.args.get("clone")
    model = clone if isinstance(clone, exp.Expr) else like
    if model is not None and isinstance(model.this, exp.Table):
        relation = ctx.base(table_parts(model.this))
        known = relation.columns or [Column(STAR, relation.get(STAR) or NOTHING, model)]
        columns = known if model is clone else [Column(column.name, NOTHING) for column in relation.columns]
        outcome.outputs.append(Output(name, columns))
        return outcome.creating(name, Relation(columns), temporary=temporary) if relation.columns else outcome
    columns = [Column(column, NOTHING) for column in names]
    outcome.outputs.append(Output(name, columns))
    return outcome.creating(name, Relation(columns), temporary=temporary) if columns else outcome


def _multi_insert(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    """Hive's ``FROM src INSERT … INSERT …`` and the conditional INSERT ALL / FIRST of Snowflake and Oracle."""
    outcome = Outcome("INSERT")
    env = _env(ctx, node)
    source = node.args["source"]
    for item in node.expressions:
        insert = item.this if isinstance(item, exp.ConditionalInsert) else item
        scope = Scope(ctx, env, None)
        bring(scope, source)
        relation = _branch(scope, insert)
        if isinstance(item, exp.ConditionalInsert):
            condition = Scope(ctx, env, None)
            condition.add("", next(iter(scope.sources.values())))
            influence(condition, item.expression, EdgeKind.FILTER)
            condition.influence.include(relation.influence)
            relation = Relation(relation.columns, relation.open, condition.influence)
        outcome.outputs.append(_inserted(ctx, insert, relation, request))
    return outcome


def _branch(scope: Scope, insert: exp.Expr) -> Relation:
    query = insert.expression
    if isinstance(query, exp.Select):
        return select_block(scope, query)
    source = next(iter(scope.sources.values()))
    if isinstance(query, exp.Values) and query.expressions:
        row = query.expressions[0]
        items = row.expressions if isinstance(row, exp.Tuple) else [row]
        return select_block(scope, exp.Select(expressions=items))
    return source


def _table_only(name: str) -> Callable[[Context, exp.Expr, Request], Outcome]:
    def handler(ctx: Context, node: exp.Expr, _request: Request) -> Outcome:
        table = node.this if isinstance(node.this, exp.Table) else node.find(exp.Table)
        if table is None:
            return Outcome(name)
        return Outcome(name, [Output(ctx.rules.dataset(table_parts(table)), [])])

    return handler


def _copy(ctx: Context, node: exp.Expr, _request: Request) -> Outcome:
    into = node.args.get("kind") is not False
    target, names = _target(ctx, node)
    if into:
        return Outcome("COPY", [Output(target, [Column(name, NOTHING) for name in names])])
    if isinstance(node.this, exp.Query):
        ctx.query(node.this, {}, None)
    elif target:
        ctx.base(target.split("."))
    return Outcome("COPY")


def _cache(ctx: Context, node: exp.Expr, _request: Request) -> Outcome:
    if not isinstance(node.expression, exp.Query) or not isinstance(node.this, exp.Table):
        return Outcome("CACHE")
    relation = ctx.query(node.expression, {}, None)
    name = ctx.rules.dataset(table_parts(node.this))
    outcome = Outcome("CACHE", [Output(name, relation.columns, relation.influence)])
    return outcome.creating(name, relation, temporary=True)


def _merge(ctx: Context, node: exp.Expr, request: Request) -> Outcome:
    return merge_into(ctx, node, _env(ctx, node), request.target_columns)


def _update(ctx: Context, node: exp.Expr, _request: Request) -> Outcome:
    return update(ctx, node, _env(ctx, node))


def _delete(ctx: Context, node: exp.Expr, _request: Request) -> Outcome:
    return delete(ctx, node, _env(ctx, node))


_NO_DATA: Final = (
    exp.Set,
    exp.Use,
    exp.Transaction,
    exp.Commit,
    exp.Rollback,
    exp.Pragma,
    exp.Describe,
    exp.Show,
    exp.Grant,
    exp.Revoke,
    exp.Comment,
    exp.Kill,
    exp.Attach,
    exp.Detach,
    exp.Analyze,
    exp.Semicolon,
    exp.Uncache,
    exp.Refresh,
    exp.Declare,
)
_STATEMENTS: Final[tuple[tuple[type[exp.Expr], Callable[[Context, exp.Expr, Request], Outcome]], ...]] = (
    (exp.Insert, _insert),
    (exp.MultitableInserts, _multi_insert),
    (exp.Create, _create),
    (exp.Merge, _merge),
    (exp.Update, _update),
    (exp.Delete, _delete),
    (exp.Copy, _copy),
    (exp.LoadData, _table_only("LOAD DATA")),
    (exp.Drop, _table_only("DROP")),
    (exp.Alter, _table_only("ALTER")),
    (exp.TruncateTable, _table_only("TRUNCATE")),
    (exp.Cache, _cache),
    (exp.Query, _query),
    (exp.Values, _query),
    (exp.Pivot, _query),
    (exp.Table, _query),
)
