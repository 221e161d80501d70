"""The select list: names, stars and their exceptions, COLUMNS(…)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Final

from sqlglot import exp

from lakecat.lineage.expressions import column_parts, flows, is_aggregate
from lakecat.lineage.relation import STAR, Column, Deps, MutableDeps, Open, lift, merge, open_choice
from lakecat.lineage.scope import Scope, resolve
from lakecat.lineage.sources import open_sources, star_columns
from lakecat.types import EdgeKind

_NAME_TESTS: Final = (exp.Like, exp.ILike, exp.Glob, exp.SimilarTo)


def projection(scope: Scope, node: exp.Select) -> tuple[list[Column], Open | None]:
    """The output columns of a select list, and the unknown rest its stars may hide."""
    columns: list[Column] = []
    opens: list[Open] = []
    for position, item in enumerate(node.expressions):
        if isinstance(item, _NAME_TESTS) and isinstance(item.this, exp.Star):
            columns += [column for column in star_columns(scope, item) if _named_like(item, column.name)]
            continue
        star = _star_of(item)
        if star is not None:
            found, rest = _star(scope, item, star)
            columns += found
            if rest is not None:
                opens.append(rest)
        elif isinstance(item, exp.Aliases):
            deps = flows(scope, item.this, kind=EdgeKind.TRANSFORMATION)
            scope.influence.add(deps, EdgeKind.JOIN, item.this)
            columns += [Column(name.name, deps, item.this) for name in item.expressions]
        else:
            columns += _items(scope, item, position)
    excluded = {column.name.lower() for column in node.args.get("exclude") or ()}
    if excluded:
        columns = [column for column in columns if column.name.lower() not in excluded]
        opens = [part.without(excluded) for part in opens]
    return columns, open_choice(opens)


def _items(scope: Scope, item: exp.Expr, position: int) -> list[Column]:
    """One select item; a COLUMNS(…) inside makes several of it."""
    value = item.unalias()
    special = [] if isinstance(value, exp.Column) else list(value.find_all(exp.Columns, exp.Explode, exp.Inline))
    pattern = next((part for part in special if isinstance(part, exp.Columns)), None)
    if pattern is not None:
        return _columns_function(scope, item, pattern)
    column = Column(output_name(scope, item, position), flows(scope, value), value)
    if isinstance(item, exp.Alias):
        scope.aliases.setdefault(item.alias.lower(), column)
    for part in special:
        scope.influence.add(flows(scope, part, kind=EdgeKind.TRANSFORMATION), EdgeKind.JOIN, part)
    return [column]


def output_name(scope: Scope, item: exp.Expr, position: int) -> str:
    """The output name of a select item; ``_col_N`` (0-based) where each engine invents its own."""
    if isinstance(item, exp.Alias):
        return str(item.alias)
    value: exp.Expr = item
    while isinstance(value, exp.Paren) or (isinstance(value, exp.Cast) and scope.ctx.rules.cast_keeps_name):
        value = value.this
    if isinstance(value, exp.Column):
        return str(value.name)
    if isinstance(value, exp.Dot) and isinstance(value.expression, exp.Identifier):
        return str(value.expression.name)
    return f"_col_{position}"


def _star_of(item: exp.Expr) -> exp.Star | None:
    if isinstance(item, exp.Star):
        return item
    if isinstance(item, (exp.Column, exp.Dot)):
        inner = item.this if isinstance(item, exp.Column) else item.expression
        return inner if isinstance(inner, exp.Star) else None
    return None


def _star(scope: Scope, item: exp.Expr, star: exp.Star) -> tuple[list[Column], Open | None]:
    only: str | None = None
    if not isinstance(item, exp.Star):
        parts = column_parts(scope, item)[:-1] if isinstance(item, exp.Column) else _dotted(scope, item)
        only = scope.source_key(parts)
        if only is None:
            deps = resolve(scope, parts, item)
            return [Column(STAR, lift(deps, EdgeKind.TRANSFORMATION, item), item)], None
    removed = {column.name.lower() for column in star.args.get("except_") or ()}
    replaced = {item.alias.lower(): item.this for item in star.args.get("replace") or ()}
    names = {item.this.name.lower(): item.alias for item in star.args.get("rename") or ()}
    found: list[Column] = []
    matches = _ilike(star)
    for column in star_columns(scope, item, only):
        lower = column.name.lower()
        if lower in removed or (column.name != STAR and not matches(lower)):
            continue
        if lower in replaced:
            column = Column(column.name, flows(scope, replaced[lower]), replaced[lower])  # noqa: PLW2901
        found.append(Column(names.get(lower, column.name), column.deps, column.node))
    rest = open_sources(scope, only)
    return found, rest.without(removed) if rest is not None and removed else rest


def _ilike(star: exp.Star) -> Callable[[str], bool]:
    """Snowflake's ``* ILIKE 'pattern'`` as a test of lower-case names."""
    pattern = star.args.get("ilike")
    if not isinstance(pattern, exp.Literal):
        return lambda _name: True
    text = re.escape(str(pattern.this).lower()).replace("%", ".*").replace("_", ".")
    return lambda name: re.fullmatch(text, name) is not None


def _named_like(test: exp.Expr, name: str) -> bool:
    """DuckDB's ``* LIKE 'pattern'`` and its relatives, which choose columns by name."""
    pattern = test.expression
    if not isinstance(pattern, exp.Literal) or name == STAR:
        return True
    text = str(pattern.this)
    if isinstance(test, exp.Glob):
        hit = fnmatch.fnmatchcase(name, text)
    elif isinstance(test, exp.SimilarTo):
        hit = _matches(text, name, re.fullmatch)
    else:
        like = re.escape(text).replace("%", ".*").replace("_", ".")
        flags = re.IGNORECASE if isinstance(test, exp.ILike) else 0
        hit = re.fullmatch(like, name, flags) is not None
    return hit is not bool(test.args.get("negate"))


def _matches(pattern: str, name: str, test: Callable[[str, str], re.Match[str] | None]) -> bool:
    try:
        return test(pattern, name) is not None
    except re.error:
        return True  # not Python's syntax: better one column too many than a lost one


def _dotted(scope: Scope, item: exp.Expr) -> list[str]:
    parts: list[str] = []
    node = item.this
    while isinstance(node, exp.Dot):
        parts.append(scope.ctx.rules.column(node.expression))
        node = node.this
    head = column_parts(scope, node) if isinstance(node, exp.Column) else [scope.ctx.rules.column(node)]
    return head + parts[::-1]


def _columns_function(scope: Scope, item: exp.Expr, pattern: exp.Columns) -> list[Column]:
    """DuckDB's and ClickHouse's ``COLUMNS(…)``: the item once for each matching column."""
    chosen = [column for column in star_columns(scope, item) if _chosen(pattern.this, column.name)]
    value = item.unalias()
    found = []
    for column in chosen:
        deps = column.deps if value is pattern else _around(scope, value, column.deps)
        found.append(Column(column.name, deps, value))
    return found


def _chosen(pattern: exp.Expr, name: str) -> bool:
    if isinstance(pattern, exp.Star):
        removed = {column.name.lower() for column in pattern.args.get("except_") or ()}
        return name.lower() not in removed
    if isinstance(pattern, exp.Literal):
        return name == STAR or _matches(str(pattern.this), name, re.search)
    if isinstance(pattern, (exp.Array, exp.Tuple)):
        return name.lower() in {part.name.lower() for part in pattern.expressions}
    return True  # a lambda over names: which ones it takes is not known without running it


def _around(scope: Scope, value: exp.Expr, deps: Deps) -> Deps:
    """The expression around COLUMNS(…), with one column in its place."""
    aggregate = any(is_aggregate(part) for part in value.walk())
    kind = EdgeKind.AGGREGATION if aggregate else EdgeKind.TRANSFORMATION
    found: MutableDeps = dict(lift(deps, kind, value))
    for other in value.find_all(exp.Column):
        if other.find_ancestor(exp.Columns) is None and not isinstance(other.this, exp.Star):
            merge(found, flows(scope, other, kind=kind))
    return found
