"""Recursive CTEs: the recursive branches are traced once over symbols, then solved to a fix-point."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from lakecat.lineage.relation import (
    Column,
    Flow,
    Influence,
    Key,
    MutableDeps,
    Relation,
    lift,
    merge,
)
from lakecat.lineage.scope import Context, Env, Scope
from lakecat.types import EdgeKind


def recursive_cte(
    ctx: Context, body: exp.Expr, name: str, names: Sequence[str], env: Env, parent: Scope | None
) -> Relation:
    """A CTE that refers to itself: what its first branch gives, and what flows around the loop any number of times."""
    union = body.unnest()
    anchor = ctx.query(_leftmost(union), env, parent).renamed(names)
    token = f"\0recursive:{ctx.token()}"
    symbols = [
        Column(column.name, {Key(token, str(i), EdgeKind.IDENTITY): Flow()}, column.node)
        for i, column in enumerate(anchor.columns)
    ]
    looped = ctx.query(body, {**env, name: Relation(symbols, anchor.open)}, parent).renamed(names)
    solved = _solve(token, looped.columns)
    columns = [Column(column.name, deps, column.node) for column, deps in zip(looped.columns, solved, strict=True)]
    return Relation(columns, looped.open, _substituted(looped.influence, token, solved))


def _leftmost(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.SetOperation):
        node = node.this
    return node


def _solve(token: str, columns: Sequence[Column]) -> list[MutableDeps]:
    """Replace symbols by what they stand for until nothing new arrives. Finite: inputs × kinds."""
    real: list[MutableDeps] = []
    edges: list[list[tuple[int, Key, Flow]]] = [[] for _ in columns]
    for i, column in enumerate(columns):
        real.append({key: flow for key, flow in column.deps.items() if key.dataset != token})
        for key, flow in column.deps.items():
            if key.dataset == token and int(key.column) < len(columns):
                edges[int(key.column)].append((i, key, flow))
    waiting = dict.fromkeys(range(len(columns)))
    while waiting:
        source = next(iter(waiting))
        del waiting[source]
        for target, key, flow in edges[source]:
            before = len(real[target])
            merge(real[target], dict(lift(real[source], key.kind, flow.node, masked=flow.masked)))
            if len(real[target]) != before:
                waiting[target] = None
    return real


def _substituted(influence: Influence, token: str, solved: Sequence[MutableDeps]) -> Influence:
    result = Influence()
    for key, flow in influence.flatten():
        if key.dataset != token:
            result.own.setdefault(key, flow)
        elif int(key.column) < len(solved):
            result.add(solved[int(key.column)], key.kind, flow.node)
    return result
