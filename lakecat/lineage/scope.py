"""Names: what a column reference in a query block means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from lakecat.lineage.relation import (
    NOTHING,
    STAR,
    Column,
    Deps,
    Influence,
    MutableDeps,
    Relation,
    distinct_names,
    lift,
    merge,
    open_table,
    unresolved,
)
from lakecat.lineage.rules import Rules
from lakecat.types import EdgeKind

MAX_DEPTH: Final = 100
"""Queries nested deeper than this are reported as unresolved instead of traced."""

_NILADIC: Final = frozenset(
    [
        "current_date",
        "current_time",
        "current_timestamp",
        "current_user",
        "session_user",
        "user",
        "sysdate",
        "systimestamp",
        "localtime",
        "localtimestamp",
        "current_role",
        "current_catalog",
        "current_schema",
        "rownum",
        "level",
    ]
)

Env = dict[str, Relation]
"""CTEs in sight, by lower-case name."""


@dataclass(slots=True, eq=False)
class Context:
    """What one statement's trace knows and collects."""

    rules: Rules
    schemas: Mapping[str, Sequence[str]]
    run: Callable[[Context, exp.Expr, Env, Scope | None], Relation]
    session: dict[str, Relation] = field(default_factory=dict)
    session_reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    reads: dict[str, None] = field(default_factory=dict)
    bases: dict[str, Relation] = field(default_factory=dict)
    depth: int = 0
    serial: int = 0

    def query(self, node: exp.Expr, env: Env, parent: Scope | None) -> Relation:
        """Trace a nested query, at most MAX_DEPTH deep."""
        if self.depth >= MAX_DEPTH:
            reason = f"queries nested more than {MAX_DEPTH} deep are not traced"
            return Relation([Column(STAR, unresolved(STAR, reason, node), node)])
        self.depth += 1
        try:
            return distinct_names(self.run(self, node, env, parent))
        finally:
            self.depth -= 1

    def base(self, parts: Sequence[str], *, read: bool = True) -> Relation:
        """A table of the lake, or a temporary table of the script."""
        name = self.rules.dataset(parts)
        temporary = self.session.get(name)
        if temporary is not None:
            if read:
                self.reads.update(dict.fromkeys(self.session_reads.get(name, ())))
            return Relation(temporary.columns, temporary.open, temporary.influence, name)
        if read:
            self.reads.setdefault(name)
        if name not in self.bases:
            columns = self.schemas.get(name)
            unknown = open_table(name)
            known = [Column(column, unknown.get(column)) for column in columns or ()]
            self.bases[name] = Relation(known, unknown if columns is None else None, dataset=name)
        return self.bases[name]

    def token(self) -> int:
        """A number no other part of this trace has."""
        self.serial += 1
        return self.serial


@dataclass(slots=True, eq=False)
class Scope:
    """The names one query block can see."""

    ctx: Context
    env: Env
    parent: Scope | None = None
    sources: dict[str, Relation] = field(default_factory=dict)
    qualified: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    merged: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, Column] = field(default_factory=dict)
    windows: dict[str, exp.Window] = field(default_factory=dict)
    influence: Influence = field(default_factory=Influence)
    aliases_in_sight: bool = False

    def add(self, alias: str, relation: Relation, *, by_dataset: bool = False) -> str:
        """Bring a relation into sight; returns the key it is known by here."""
        key = alias.lower() or f"\0{self.ctx.token()}"
        if key in self.sources:
            key = f"{key}\0{self.ctx.token()}"
        self.sources[key] = relation
        if by_dataset and relation.dataset is not None:
            self.qualified.setdefault(relation.dataset, key)
        self.influence.include(relation.influence)
        return key

    def visible(self) -> list[tuple[str, Relation]]:
        """The sources a star sees: all but the right sides of semi and anti joins."""
        return [(key, relation) for key, relation in self.sources.items() if key not in self.hidden]

    def source_key(self, parts: Sequence[str]) -> str | None:
        """The source that a qualifier, ``t`` or ``ns.t``, means in this block."""
        if len(parts) == 1 and parts[0].lower() in self.sources:
            return parts[0].lower()
        return self.qualified.get(self.ctx.rules.dataset(parts))

    def merged_deps(self, name: str) -> Deps:
        """The one column that USING or NATURAL makes out of two."""
        found: MutableDeps = {}
        for key in self.merged[name.lower()]:
            merge(found, self.sources[key].get(name) or NOTHING)
        return found


def resolve(scope: Scope, parts: Sequence[str], node: exp.Expr, *, alias_first: bool = False) -> Deps:
    """Where the value of the reference ``a.b.c`` comes from: qualifier and column, or column and struct fields."""
    if len(parts) > 1:
        block: Scope | None = scope
        while block is not None:
            found = _qualified(block, parts, node)
            if found is not None:
                return found
            block = block.parent
    deps = _unqualified(scope, parts[0], node, alias_first=alias_first)
    return deps if len(parts) == 1 else lift(deps, EdgeKind.TRANSFORMATION, node)


def _qualified(scope: Scope, parts: Sequence[str], node: exp.Expr) -> Deps | None:
    for size in range(len(parts) - 1, 0, -1):
        key = scope.source_key(parts[:size])
        if key is None:
            continue
        deps = scope.sources[key].get(parts[size])
        if deps is None:
            field_of = scope.sources[key].find(parts[0]) if size == 1 else None
            if field_of is not None:
                return lift(field_of.deps, EdgeKind.TRANSFORMATION, node)
            name = ".".join(parts[:size])
            return unresolved(parts[size], f"{name} has no column {parts[size]}", node)
        return deps if size == len(parts) - 1 else lift(deps, EdgeKind.TRANSFORMATION, node)
    return None


def _unqualified(scope: Scope, name: str, node: exp.Expr, *, alias_first: bool) -> Deps:
    block: Scope | None = scope
    while block is not None:
        found = _in_block(block, name, node, alias_first=alias_first and block is scope)
        if found is not None:
            return found
        block = block.parent
    if name.lower() in _NILADIC:
        return NOTHING
    labels = [key for key in scope.sources if "\0" not in key]
    return unresolved(name, f"no column {name} in {', '.join(labels) or 'sight'}", node)


def _in_block(scope: Scope, name: str, node: exp.Expr, *, alias_first: bool) -> Deps | None:
    """What a bare name means in one block; None if the block surely does not know it.

    Order: merged columns, known columns, output aliases, the one source with unknown columns, a whole row,
    the output of a function.
    """
    lower = name.lower()
    alias = scope.aliases.get(lower)
    if alias is not None and alias_first:
        return alias.deps
    if lower in scope.merged:
        return scope.merged_deps(name)
    known = [(key, relation) for key, relation in scope.sources.items() if relation.find(name) is not None]
    if len(known) > 1:
        known = [item for item in known if item[0] not in scope.hidden] or known
    if len(known) == 1:
        return known[0][1].get(name)
    if known:
        labels = ", ".join(_label(key, relation) for key, relation in known)
        return unresolved(name, f"{name} is ambiguous; candidates: {labels}", node)
    unknown = [(key, rel) for key, rel in scope.sources.items() if rel.open is not None and not rel.open.weak]
    if alias is not None and scope.aliases_in_sight and not (unknown and _hides_its_name(alias, lower)):
        return alias.deps
    if unknown:
        return _among_unknown(scope, unknown, name, node)
    if lower in scope.sources:
        return whole_row(scope.sources[lower], node)
    return _from_function(scope, name)


def _hides_its_name(alias: Column, name: str) -> bool:
    """Whether an alias is made of a column of its own name, ``trim(x) AS x``: that column exists, and comes first."""
    parts = alias.node.find_all(exp.Column) if alias.node is not None else ()
    return any(not part.table and part.name.lower() == name for part in parts)


def _label(key: str, relation: Relation) -> str:
    return relation.dataset or key.partition("\0")[0] or "a subquery"


def _among_unknown(scope: Scope, unknown: list[tuple[str, Relation]], name: str, node: exp.Expr) -> Deps | None:
    labels = [_label(key, relation) for key, relation in unknown]
    outer = scope.parent
    while outer is not None:
        owner = next((_label(key, rel) for key, rel in outer.sources.items() if rel.find(name) is not None), None)
        if owner is not None:
            labels.append(owner)
            break
        outer = outer.parent
    if len(labels) == 1:
        relation = unknown[0][1]
        return relation.get(name)
    return unresolved(name, f"{name} is ambiguous without schemas; candidates: {', '.join(labels)}", node)


def whole_row(relation: Relation, node: exp.Expr) -> Deps:
    """A table's name used as a value: all of its columns."""
    found: MutableDeps = {}
    for column in relation.columns:
        merge(found, lift(column.deps, EdgeKind.TRANSFORMATION, node))
    if relation.open is not None and not relation.columns:
        merge(found, lift(relation.open.get(STAR), EdgeKind.TRANSFORMATION, node))
    return found


def _from_function(scope: Scope, name: str) -> Deps | None:
    weak = [rel for rel in scope.sources.values() if rel.open is not None and rel.open.weak]
    if not weak:
        return None
    outer = scope.parent
    while outer is not None:
        if any(rel.get(name) is not None for rel in outer.sources.values()):
            return None
        outer = outer.parent
    return weak[-1].get(name)
