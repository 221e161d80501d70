"""A filter as a tree, and its logic: negations pushed to the tests, and a place for each linked row.

SQL's logic has three values, and a node fits where the filter is TRUE. Once every NOT is pushed down to the tests
(exact in three-valued logic: NOT x < 1 is x >= 1, also for NULL), nothing above a test can turn UNKNOWN into TRUE, so
that a test may answer FALSE instead of UNKNOWN from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, TypeAlias

from lakecat.catalog.metadata_store.filters.lexer import LiteralKind, fail
from lakecat.catalog.metadata_store.filters.names import ValueType


@dataclass(frozen=True, slots=True)
class Operand:
    """A column of the node itself (``owner`` is empty) or of a linked row, or the value of a property of one."""

    owner: str
    name: str
    kind: ValueType
    offset: int
    custom: bool | None = None
    """None: an attribute; else whether the property is a custom one."""
    names: type[IntEnum] | None = None
    nullable: bool = True

    @property
    def is_property(self) -> bool:
        """Whether the value lies in a property's row."""
        return self.custom is not None


@dataclass(frozen=True, slots=True)
class Literal:
    """The filter's literal of this number; its value is bound when the filter is used."""

    index: int
    kind: LiteralKind


Argument: TypeAlias = "Literal | Operand | bool | int | float"


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison. ``op`` is one of ``NEGATED``'s keys; LIKE's second argument is its escape character."""

    operand: Operand
    op: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE, FALSE, or UNKNOWN (None)."""

    value: bool | None


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    child: Tree


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    children: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of them."""

    children: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """EXISTS (…) as written: there are linked rows of these names for which the condition is TRUE."""

    child: Tree
    aliases: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Some:
    """For some row linked under this name, or for a row of NULLs where there is none, the condition is TRUE."""

    alias: str
    child: Tree


Tree: TypeAlias = "Test | Constant | Not | And | Or | Exists | Some"

TRUE: Final = Constant(True)
FALSE: Final = Constant(False)
NEGATED: Final = {
    "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in", "not in": "in",
    "like": "not like", "not like": "like", "between": "not between", "not between": "between",
    "is null": "is not null", "is not null": "is null",
}  # fmt: skip

MAX_ROWS: Final = 5
"""Linked rows that depend on one another: each is a subquery in that of the one before."""
MAX_NESTED: Final = 24
"""ANDs, ORs and linked rows within one another. SQLite's parser keeps 100 things in mind: three for each AND or OR."""
_ROW: Final = 4
"""What a linked row counts of these."""


def conjunction(children: Iterable[Tree]) -> Tree:
    """All of them, simplified."""
    kept: list[Tree] = []
    for child in children:
        if isinstance(child, Constant):
            if not child.value:
                return FALSE
        elif isinstance(child, And):
            kept += child.children
        else:
            kept.append(child)
    return kept[0] if len(kept) == 1 else And(tuple(kept)) if kept else TRUE


def disjunction(children: Iterable[Tree]) -> Tree:
    """Any of them, simplified."""
    kept: list[Tree] = []
    for child in children:
        if isinstance(child, Constant):
            if child.value:
                return TRUE
        elif isinstance(child, Or):
            kept += child.children
        else:
            kept.append(child)
    return kept[0] if len(kept) == 1 else Or(tuple(kept)) if kept else FALSE


def push_negations(tree: Tree, *, negated: bool = False) -> Tree:
    """The same filter without NOT, except in tests; UNKNOWN becomes FALSE."""
    match tree:
        case Not(child):
            return push_negations(child, negated=not negated)
        case And(children) | Or(children):
            join = conjunction if isinstance(tree, And) != negated else disjunction
            return join(push_negations(child, negated=negated) for child in children)
        case Test() if negated:
            return replace(tree, op=NEGATED[tree.op])
        case Constant(value):
            return FALSE if value is None else Constant(value != negated)
        case Exists(child):
            return replace(tree, child=push_negations(child), negated=tree.negated != negated)
        case _:
            return tree


def operands(tree: Tree) -> Iterator[Operand]:
    """Every operand in the tree, but not those in EXISTS."""
    match tree:
        case Test(operand, _, arguments):
            yield operand
            yield from (one for one in arguments if isinstance(one, Operand))
        case And(children) | Or(children):
            for child in children:
                yield from operands(child)
        case Not(child) | Some(_, child):
            yield from operands(child)
        case _:
            return


def aliases(tree: Tree) -> frozenset[str]:
    """The linked rows that the tree speaks of, but not those of EXISTS."""
    return frozenset(one.owner for one in operands(tree) if one.owner)


def check_depth(tree: Tree, text: str) -> None:
    """Refuse a filter that not every database can read. Raises FilterError."""
    if _depth(tree) > MAX_NESTED:
        what = f"its ANDs, ORs and linked rows lie more than {MAX_NESTED} deep in one another"
        fail(text, 0, what, f"use fewer parentheses; each linked row counts as {_ROW}")


def _depth(tree: Tree) -> int:
    match tree:
        case And(children) | Or(children):
            return 1 + max(map(_depth, children), default=0)
        case Exists(child, names):
            return _ROW * len(names) + _depth(child)
        case Some(_, child):
            return _ROW + _depth(child)
        case _:
            return 0


def quantify(tree: Tree, text: str, bound: frozenset[str] = frozenset()) -> Tree:
    """Say for each linked row where "there is one" stands: as near to its tests as the meaning allows.

    The meaning is: there is a choice of one row for each name so that the whole filter is TRUE. That goes into an OR;
    and into an AND as far as its parts speak of different rows. Raises FilterError where too many hang together.
    """
    free = aliases(tree) - bound
    if not free:
        return tree
    if isinstance(tree, Or):
        return disjunction(quantify(child, text, bound) for child in tree.children)
    if isinstance(tree, And):
        parts = _components(tree.children, bound)
        if len(parts) > 1:
            return conjunction(quantify(part, text, bound) for part in parts)
    # The row that most parts speak of comes first: what is left falls apart sooner.
    children = tree.children if isinstance(tree, And) else (tree,)
    counts = {alias: sum(alias in aliases(child) for child in children) for alias in free}
    alias = max(sorted(free), key=lambda one: counts[one])
    if len(bound) == MAX_ROWS:
        offset = next(one.offset for one in operands(tree) if one.owner == alias)
        fail(text, offset, f"more than {MAX_ROWS} linked rows depend on one another", "compare fewer of them")
    return Some(alias, quantify(tree, text, bound | {alias}))


def _components(children: Iterable[Tree], bound: frozenset[str]) -> list[Tree]:
    """The parts of an AND, joined where they speak of the same rows."""
    groups: list[tuple[frozenset[str], list[Tree]]] = []
    for child in children:
        names, members = aliases(child) - bound, [child]
        apart = []
        for other, theirs in groups:
            if other & names:
                names, members = names | other, theirs + members
            else:
                apart.append((other, theirs))
        groups = [*apart, (names, members)]
    return [conjunction(members) for _, members in groups]


def without_row(tree: Tree, alias: str) -> Tree:
    """The tree for a linked row that is not there: all its columns are NULL."""
    match tree:
        case Test(operand, op, arguments):
            if operand.owner == alias:
                return Constant(op == "is null")
            gone = any(isinstance(one, Operand) and one.owner == alias for one in arguments)
            return FALSE if gone else tree
        case And(children):
            return conjunction(without_row(child, alias) for child in children)
        case Or(children):
            return disjunction(without_row(child, alias) for child in children)
        case Some(other, child):
            child = without_row(child, alias)
            return child if isinstance(child, Constant) else Some(other, child)
        case _:
            return tree
