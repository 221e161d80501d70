"""MATCH_RECOGNIZE (SQL:2016 part 7, row pattern recognition in FROM)."""

from __future__ import annotations

import re

from sqlglot import exp

from lakecat.lineage.expressions import flows, influence
from lakecat.lineage.relation import Column, Relation
from lakecat.lineage.scope import Scope
from lakecat.lineage.sources import star_relation
from lakecat.types import EdgeKind


def match_recognize(scope: Scope, node: exp.MatchRecognize) -> None:
    """Replace the scope's sources by the rows that the pattern finds in them.

    ONE ROW PER MATCH gives the partition's columns and the measures, ALL ROWS PER MATCH all columns and the measures.
    """
    source = star_relation(scope, node)
    # A pattern variable, z in z.price, names the same rows. It is a block further out: bare names stay unambiguous.
    variables = Scope(scope.ctx, scope.env, scope.parent)
    for name in _variables(node):
        variables.add(name, Relation(source.columns, source.open))
    block = Scope(scope.ctx, scope.env, variables, influence=scope.influence)
    block.add("", Relation(source.columns, source.open))
    keys = list(node.args.get("partition_by") or ())
    for key in keys:
        influence(block, key, EdgeKind.GROUP_BY)
    order = node.args.get("order")
    for key in order.expressions if isinstance(order, exp.Expr) else ():
        influence(block, key.this if isinstance(key, exp.Ordered) else key, EdgeKind.SORT)
    for condition in node.args.get("define") or ():
        influence(block, condition.this, EdgeKind.FILTER)
    every_row = str(node.args.get("rows") or "").upper().startswith("ALL")
    kept = source.columns if every_row else [Column(key.name, flows(block, key), key) for key in keys]
    measures = [measure.this for measure in node.args.get("measures") or ()]
    made = [Column(item.alias_or_name, flows(block, item), item.unalias()) for item in measures]
    scope.sources.clear()
    scope.qualified.clear()
    scope.merged.clear()
    scope.add(node.alias, Relation([*kept, *made]))


def _variables(node: exp.MatchRecognize) -> list[str]:
    names = [definition.alias for definition in node.args.get("define") or ()]
    pattern = node.args.get("pattern")
    words = re.findall(r"[A-Za-z_]\w*", pattern.name) if isinstance(pattern, exp.Expr) else []
    return list(dict.fromkeys(name.lower() for name in (*names, *words)))
