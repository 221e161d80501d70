"""FROM: tables, subqueries, functions, VALUES, UNNEST, and the joins between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlglot import exp

from lakecat.lineage.expressions import flows, influence
from lakecat.lineage.pivot import pivoted
from lakecat.lineage.relation import (
    NOTHING,
    STAR,
    Column,
    Deps,
    MutableDeps,
    Open,
    Relation,
    merge,
    open_choice,
    open_deps,
    unresolved,
)
from lakecat.lineage.rules import table_parts
from lakecat.lineage.scope import Scope, resolve
from lakecat.types import EdgeKind

_FLATTEN: Final = ("SEQ", "KEY", "PATH", "INDEX", "VALUE", "THIS")
_JSON_EACH: Final = ("key", "value", "type", "atom", "id", "parent", "fullkey", "path", "json", "rowid")
_OUTPUTS: Final = {"json_each": _JSON_EACH, "json_tree": _JSON_EACH}
_GENERATORS: Final = frozenset(
    ("range", "generate_series", "repeat_row", "generator", "sequence", "splitter", "numbers")
)
_CHANGES: Final = "table_changes"
_OUTSIDE: Final = frozenset(
    [
        "parquet_scan",
        "csv_scan",
        "iceberg_scan",
        "delta_scan",
        "sniff_csv",
        "glob",
        "openrowset",
        "openquery",
        "opendatasource",
        "infer_schema",
        "query",
        "query_table",
        "external_query",
        "result_scan",
    ]
)


def bring(scope: Scope, node: exp.Expr) -> None:
    """Add one FROM item, with its own joins and laterals, to the scope."""
    while isinstance(node, exp.Final):
        node = node.this
    if isinstance(node, exp.Subquery):
        if _parenthesised(scope, node):
            return
    elif isinstance(node, exp.Table):
        _table(scope, node)
    elif isinstance(node, exp.Lateral):
        _lateral(scope, node)
    elif isinstance(node, exp.Unnest):
        _unnest(scope, node)
    elif isinstance(node, (exp.Values, exp.Query, exp.Pivot)):
        _query(scope, node)
    else:
        _function(scope, node.this if isinstance(node, exp.TableFromRows) else node, node)
    joins(scope, node)


def _query(scope: Scope, node: exp.Expr) -> None:
    if isinstance(node, exp.Values):
        relation = pivoted(scope, node, values(scope, node).renamed(_alias_columns(node)))
    else:
        relation = scope.ctx.query(node, scope.env, scope.parent)
    scope.add(node.alias, relation)


def _alias_columns(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    columns = alias.args.get("columns") if isinstance(alias, exp.TableAlias) else None
    return [column.name for column in columns or ()]


def _alias(node: exp.Expr) -> str:
    """The alias of a FROM item; one written after PIVOT names the pivoted table."""
    for pivot in reversed(node.args.get("pivots") or []):
        if pivot.alias:
            return str(pivot.alias)
    return str(node.alias)


def _table(scope: Scope, node: exp.Table) -> None:
    if isinstance(node.this, exp.Func):
        _function(scope, node.this, node)
        return
    parts = table_parts(node)
    if not parts:
        scope.add(_alias(node), Relation([], open_deps(NOTHING, "an empty table name")))
        return
    if parts[0].startswith("@"):
        scope.add(_alias(node), Relation([], _outside(f"stage {parts[0]}", node)).renamed(_alias_columns(node)))
        return
    if len(parts) > 1 and scope.ctx.rules.correlated_arrays and parts[0].lower() in scope.sources:
        deps = resolve(scope, [scope.ctx.rules.column(part) for part in node.parts], node)
        _exploded(scope, deps, node, [node.alias or parts[-1]])
        return
    relation = scope.env.get(parts[0].lower()) if len(parts) == 1 else None
    by_dataset = relation is None and not _alias(node)
    if relation is None:
        relation = scope.ctx.base(parts)
    relation = pivoted(scope, node, relation.renamed(_alias_columns(node)))
    scope.add(_alias(node) or scope.ctx.rules.dataset(parts).rpartition(".")[2], relation, by_dataset=by_dataset)


def _parenthesised(scope: Scope, node: exp.Subquery) -> bool:
    """A derived table, or a join in parentheses; True if its own joins were handled."""
    inner = node.this
    if isinstance(inner, (exp.Table, exp.Subquery)) and not _is_query(inner):
        if not node.alias:
            bring(scope, inner)
            return False
        block = Scope(scope.ctx, scope.env, scope.parent)
        bring(block, inner)
        joins(block, node)
        scope.add(node.alias, star_relation(block, node).renamed(_alias_columns(node)))
        return True
    parent = scope if scope.ctx.rules.implicit_lateral and scope.sources else scope.parent
    relation = scope.ctx.query(_without_alias_parts(node), scope.env, parent)
    scope.add(_alias(node), pivoted(scope, node, relation.renamed(_alias_columns(node))))
    return False


def _is_query(node: exp.Expr) -> bool:
    while isinstance(node, exp.Subquery):
        node = node.this
    return not isinstance(node, exp.Table)


def _without_alias_parts(node: exp.Subquery) -> exp.Expr:
    """What to trace for a derived table: its query, or the wrapper where that carries a WITH or ORDER BY itself."""
    carries = any(node.args.get(key) is not None for key in ("with_", "order", "limit"))
    return node if carries or not isinstance(node.this, exp.Expr) else node.this


def _lateral(scope: Scope, node: exp.Lateral) -> None:
    inner = node.this
    if isinstance(inner, exp.Query):
        relation = scope.ctx.query(inner, scope.env, scope)
        scope.add(node.alias, relation.renamed(_alias_columns(node)))
    elif isinstance(inner, exp.Unnest):
        _unnest(scope, inner, node)
    elif isinstance(inner, exp.Values):
        scope.add(node.alias, values(scope, inner).renamed(_alias_columns(node)))
    else:
        _function(scope, inner, node)


def _unnest(scope: Scope, node: exp.Unnest, outer: exp.Expr | None = None) -> None:
    wrapper = outer or node
    names = _alias_columns(wrapper)
    offset = node.args.get("offset")
    if isinstance(offset, exp.Identifier):
        names = [name for name in names if name != offset.name]
    arrays = [flows(scope, array, kind=EdgeKind.TRANSFORMATION) for array in node.expressions]
    everything: MutableDeps = {}
    for array, deps in zip(node.expressions, arrays, strict=True):
        merge(everything, deps)
        scope.influence.add(deps, EdgeKind.JOIN, array)
    if not names:
        names = [wrapper.alias] if wrapper.alias and not outer else []
    paired = len(arrays) == len(names)
    columns = [Column(name, arrays[i] if paired else everything, node) for i, name in enumerate(names)]
    if isinstance(offset, exp.Identifier):
        columns.append(Column(offset.name, NOTHING, node))
    relation = Relation(columns, open_deps(everything, "unnest"))
    scope.add(wrapper.alias or (names[0] if names else "unnest"), relation)


def _exploded(scope: Scope, deps: Deps, node: exp.Expr, names: Sequence[str], *, alias: str = "") -> None:
    """Rows made of an array: its values flow on, and its length decides how many rows there are."""
    scope.influence.add(deps, EdgeKind.JOIN, node)
    columns = [Column(name, deps, node) for name in names]
    scope.add(alias or (names[0] if names else ""), Relation(columns, open_deps(deps, "unnest")))


def _function(scope: Scope, node: exp.Expr, wrapper: exp.Expr) -> None:
    """A table function in FROM."""
    name = _function_name(node)
    names = _alias_columns(wrapper)
    if name == _CHANGES:
        relation = _table_changes(scope, node).renamed(names)
        scope.add(_alias(wrapper) or name, pivoted(scope, wrapper, relation), by_dataset=not _alias(wrapper))
        return
    if name in _OUTSIDE or name.startswith("read_"):
        scope.add(_alias(wrapper) or name, Relation([], _outside(f"{name}()", node)).renamed(names))
        return
    if isinstance(node, exp.Explode) and isinstance(wrapper, exp.TableFromRows):
        names = names or list(_FLATTEN)
    deps = flows(scope, node, kind=EdgeKind.TRANSFORMATION)
    if not deps and isinstance(node, exp.Anonymous) and name not in _GENERATORS:
        deps = unresolved(name, f"where {name}() takes its rows from is not known", node)
    scope.influence.add(deps, EdgeKind.JOIN, node)
    names = names or list(_OUTPUTS.get(name, ()))
    position_first = isinstance(node, exp.Posexplode) and len(names) > 1
    columns = [Column(name, NOTHING if position_first and i == 0 else deps, node) for i, name in enumerate(names)]
    relation = Relation(columns, open_deps(deps, name or "a function"))
    scope.add(_alias(wrapper) or name, pivoted(scope, wrapper, relation))


def _function_name(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return str(node.this).lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else ""


def _table_changes(scope: Scope, node: exp.Expr) -> Relation:
    """``table_changes('ns.name')``: the rows of the dataset that are new to the script, with its columns."""
    argument = node.expressions[0] if node.expressions else None
    if not isinstance(argument, exp.Literal) or not argument.is_string:
        reason = f"{_CHANGES} takes the dataset's name as a text literal"
        return Relation([], Open(lambda column: unresolved(column, reason, node), _CHANGES))
    return scope.ctx.base(str(argument.this).split("."))


def _outside(name: str, node: exp.Expr) -> Open:
    reason = f"{name} reads from outside the lake"
    return Open(lambda column: unresolved(column, reason, node), name)


def joins(scope: Scope, node: object) -> None:
    """The joins and lateral views that hang on a FROM item or a query, in the order of the text."""
    if not isinstance(node, exp.Expr):
        return
    items = [*(node.args.get("laterals") or ()), *(node.args.get("joins") or ())]
    if node.args.get("laterals"):
        items.sort(key=_start)
    for item in items:
        if isinstance(item, exp.Join):
            _join(scope, item)
        else:
            bring(scope, item)


def _start(node: exp.Expr) -> int:
    """Where a node's first name begins in the text; 0 for trees that were not parsed from text."""
    starts = (start for part in node.dfs() if (start := part.meta_get("start")) is not None)
    return int(next(starts, 0))


def _join(scope: Scope, join: exp.Join) -> None:
    before = list(scope.sources)
    bring(scope, join.this)
    new = list(scope.sources)[len(before) :]
    kind, side = join.kind.lower(), join.side.lower()
    if {kind, side} & {"semi", "anti"}:
        scope.hidden.update(new)
    using = [identifier.name for identifier in join.args.get("using") or ()]
    if join.method.lower() == "natural":
        using = _shared_columns(scope, before, new, join)
    for name in using:
        _merge_column(scope, name, before, new, side, join)
    influence(scope, join.args.get("on"), EdgeKind.JOIN)
    influence(scope, join.args.get("match_condition"), EdgeKind.JOIN)


def _shared_columns(scope: Scope, before: Sequence[str], new: Sequence[str], join: exp.Join) -> list[str]:
    """The columns NATURAL merges: those of equal names, which only known schemas can tell."""
    sides = [[scope.sources[key] for key in keys if key not in scope.hidden] for keys in (before, new)]
    if any(relation.open is not None for side in sides for relation in side):
        reason = "NATURAL JOIN with a table whose columns are not known"
        scope.influence.add(unresolved(STAR, reason, join), EdgeKind.JOIN, join)
    right = {column.name.lower() for relation in sides[1] for column in relation.columns}
    names = {column.name.lower(): column.name for relation in sides[0] for column in relation.columns}
    return [name for lower, name in names.items() if lower in right and name != STAR]


def _merge_column(
    scope: Scope, name: str, before: Sequence[str], new: Sequence[str], side: str, join: exp.Join
) -> None:
    left = scope.merged.get(name.lower()) or _owners(scope, name, before)
    right = _owners(scope, name, new)
    for key in (*left, *right):
        scope.influence.add(scope.sources[key].get(name) or NOTHING, EdgeKind.JOIN, join)
    if not left or not right:
        missing = unresolved(name, f"no column {name} on one side of the join", join)
        scope.influence.add(missing, EdgeKind.JOIN, join)
    # The merged value is COALESCE(left, right); an outer join's preserved side alone decides it.
    if set(right) <= scope.hidden or side == "left":
        merged = left or right
    elif side == "right":
        merged = right or left
    else:
        merged = [*left, *right]
    if merged:
        scope.merged[name.lower()] = merged


def _owners(scope: Scope, name: str, keys: Sequence[str]) -> list[str]:
    known = [key for key in keys if scope.sources[key].find(name) is not None]
    if known:
        return known[:1]
    unknown = [key for key in keys if scope.sources[key].open is not None]
    return unknown if len(unknown) == 1 else unknown[:1]


def values(scope: Scope, node: exp.Values) -> Relation:
    """A VALUES list: each column from the values at its position in all rows."""
    rows = [row.expressions if isinstance(row, exp.Tuple) else [row] for row in node.expressions]
    found: list[MutableDeps] = [{} for _ in range(max(map(len, rows), default=0))]
    for row in rows:
        for i, value in enumerate(row):
            merge(found[i], flows(scope, value))
    name = scope.ctx.rules.values_column
    start = scope.ctx.rules.values_start
    return Relation([Column(f"{name}{i + start}", deps, node) for i, deps in enumerate(found)])


def star_columns(scope: Scope, node: exp.Expr, only: str | None = None) -> list[Column]:
    """What ``*`` (or ``only.*``) expands to, in the dialect's order."""
    if only is not None:
        return _source_columns(scope.sources[only], node)
    found: list[Column] = []
    done: set[str] = set()
    if scope.ctx.rules.merged_first:
        for name in _merged_names(scope):
            done.add(name.lower())
            found.append(Column(name, scope.merged_deps(name), node))
    for _, relation in scope.visible():
        for column in _source_columns(relation, node):
            lower = column.name.lower()
            if lower in done:
                continue
            if lower in scope.merged:
                done.add(lower)
                found.append(Column(column.name, scope.merged_deps(column.name), node))
            else:
                found.append(column)
    return found


def _merged_names(scope: Scope) -> list[str]:
    names = []
    for lower, keys in scope.merged.items():
        column = scope.sources[keys[0]].find(lower)
        names.append(column.name if column is not None else lower)
    return names


def _source_columns(relation: Relation, node: exp.Expr) -> list[Column]:
    found = [Column(column.name, column.deps, node) for column in relation.columns]
    hidden = relation.open is not None and (not relation.open.weak or not found)
    if hidden and not any(column.name == STAR for column in found) and relation.open is not None:
        found.append(Column(STAR, relation.open.get(STAR), node))
    return found


def star_relation(scope: Scope, node: exp.Expr) -> Relation:
    """All that FROM brings, as one relation."""
    return Relation(star_columns(scope, node), open_sources(scope), scope.influence)


def open_sources(scope: Scope, only: str | None = None) -> Open | None:
    """The unknown rest under a star."""
    chosen = [scope.sources[only]] if only is not None else [relation for _, relation in scope.visible()]
    return open_choice([rel.open for rel in chosen if rel.open is not None and not rel.open.weak])
