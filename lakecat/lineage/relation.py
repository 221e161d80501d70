"""Values that flow through a trace: where a column's value comes from, and what decides a relation's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from sqlglot import exp

from lakecat.types import EdgeKind

STAR: Final = "*"
_RANK: Final = {EdgeKind.IDENTITY: 0, EdgeKind.TRANSFORMATION: 1, EdgeKind.AGGREGATION: 2}


class Key(NamedTuple):
    """One input of an output. ``dataset`` is None for a name that could not be resolved."""

    dataset: str | None
    column: str
    kind: EdgeKind


class Flow(NamedTuple):
    """How the input gets there: the node that decided the kind, and for unresolved names the reason."""

    node: exp.Expr | None = None
    masked: bool = False
    reason: str | None = None


Deps: TypeAlias = Mapping[Key, Flow]
MutableDeps: TypeAlias = dict[Key, Flow]
NOTHING: Final[Deps] = {}


def through(outer: EdgeKind, inner: EdgeKind) -> EdgeKind:
    """Kind of a value that took the step ``inner`` and then the step ``outer``.

    An indirect step makes the whole path indirect; else the stronger of identity, transformation, aggregation.
    """
    if inner is EdgeKind.UNRESOLVED or not outer.direct:
        return inner if inner is EdgeKind.UNRESOLVED else outer
    if not inner.direct:
        return inner
    return outer if _RANK[outer] >= _RANK[inner] else inner


def merge(into: MutableDeps, deps: Deps) -> None:
    """Add ``deps``; an input that arrives both masked and in the clear is not masked."""
    for key, flow in deps.items():
        known = into.get(key)
        if known is None or (known.masked and not flow.masked):
            into[key] = flow


def lift(deps: Deps, kind: EdgeKind, node: exp.Expr | None, *, masked: bool = False) -> Deps:
    """``deps`` seen through one more step. Plain identity shares the mapping: wide pass-through models stay linear."""
    if kind is EdgeKind.IDENTITY and not masked:
        return deps
    lifted: MutableDeps = {}
    for key, flow in deps.items():
        result = through(kind, key.kind)
        hidden = result.direct and (masked or flow.masked)
        decided = node if result is kind and node is not None else flow.node
        entry = {Key(key.dataset, key.column, result): Flow(decided, hidden, flow.reason)}
        merge(lifted, entry)
    return lifted


def unresolved(name: str, reason: str, node: exp.Expr | None) -> Deps:
    """The dependency of a name that is not known, which is kept and shown rather than dropped."""
    return {Key(None, name, EdgeKind.UNRESOLVED): Flow(node, reason=reason)}


@dataclass(slots=True, eq=False)
class Influence:
    """What decides which rows a relation has, and their order. A graph: a shared CTE's is held once, not copied."""

    own: MutableDeps = field(default_factory=dict)
    children: list[Influence] = field(default_factory=list)

    def add(self, deps: Deps, kind: EdgeKind, node: exp.Expr | None) -> None:
        """Record that the columns in ``deps`` matter in the given indirect kind."""
        for key, flow in deps.items():
            known = key.kind is EdgeKind.UNRESOLVED
            target = key if known else Key(key.dataset, key.column, kind)
            self.own.setdefault(target, flow if known else Flow(node))

    def include(self, other: Influence) -> None:
        """Everything that decides ``other``'s rows decides these rows too."""
        if other.own or other.children:
            self.children.append(other)

    def flatten(self) -> Iterator[tuple[Key, Flow]]:
        """Every entry once, in order of first appearance; each node of the graph is visited once."""
        seen: set[int] = set()
        given: set[Key] = set()
        stack = [self]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            for key, flow in node.own.items():
                if key not in given:
                    given.add(key)
                    yield key, flow
            stack.extend(reversed(node.children))


@dataclass(slots=True, eq=False)
class Column:
    """An output column. ``node`` is the select item that made it, where there is one."""

    name: str
    deps: Deps
    node: exp.Expr | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """The columns of a relation that are not known by name: any name may be one of them.

    ``weak`` marks the output of a function or UNNEST: a name is taken to be one of its columns only if nothing
    else can own it. ``label`` names it for people.
    """

    get: Callable[[str], Deps]
    label: str
    weak: bool = False

    def without(self, names: Iterable[str]) -> Open:
        """The same minus some columns, given in lower case."""
        gone = frozenset(names)
        return Open(lambda name: NOTHING if name.lower() in gone else self.get(name), self.label, self.weak)


def open_table(dataset: str) -> Open:
    """A table whose schema is not known."""
    return Open(lambda name: {Key(dataset, name, EdgeKind.IDENTITY): Flow()}, dataset)


def open_deps(deps: Deps, label: str) -> Open:
    """The output of a function: every column of it comes from the function's arguments."""
    return Open(lambda _name: deps, label, weak=True)


def open_union(parts: Sequence[Open]) -> Open | None:
    """Branches of a set operation: a column comes from all of them."""
    if not parts:
        return None

    def get(name: str) -> Deps:
        found: MutableDeps = {}
        for part in parts:
            merge(found, part.get(name))
        return found

    return parts[0] if len(parts) == 1 else Open(get, parts[0].label, all(part.weak for part in parts))


def open_choice(parts: Sequence[Open]) -> Open | None:
    """Several joined relations under one star: a column comes from one of them, and which one is not known."""
    if len(parts) < 2:
        return parts[0] if parts else None
    labels = ", ".join(dict.fromkeys(part.label for part in parts))

    def get(name: str) -> Deps:
        return unresolved(name, f"{name} is ambiguous without schemas; candidates: {labels}", None)

    return Open(get, labels)


@dataclass(slots=True, eq=False)
class Relation:
    """Ordered columns, perhaps an unknown rest, and what decides the rows."""

    columns: list[Column]
    open: Open | None = None
    influence: Influence = field(default_factory=Influence)
    dataset: str | None = None
    _index: dict[str, list[Column]] | None = None

    def find(self, name: str) -> Column | None:
        """The column of that name: the exact spelling first, then any case."""
        if self._index is None:
            self._index = {}
            for column in self.columns:
                if column.name != STAR:
                    self._index.setdefault(column.name.lower(), []).append(column)
        hits = self._index.get(name.lower())
        if not hits:
            return self._at(name)
        return next((column for column in hits if column.name == name), hits[0])

    def _at(self, name: str) -> Column | None:
        """Snowflake's ``$1``: a column by its position, which a star of unknown width would hide."""
        if not name.startswith("$") or not name[1:].isdecimal():
            return None
        before = self.columns[: int(name[1:])]
        if len(before) < int(name[1:]) or any(column.name == STAR for column in before):
            return None
        return before[-1] if before else None

    def get(self, name: str) -> Deps | None:
        """Where the value of a column comes from; None if the relation surely has no such column."""
        column = self.find(name)
        if column is not None:
            return column.deps
        return self.open.get(name) if self.open is not None else None

    def renamed(self, names: Sequence[str]) -> Relation:
        """The same under an alias list, ``AS t(a, b)``; columns beyond the list keep their names."""
        if not names:
            return self
        if any(column.name == STAR for column in self.columns) or (self.open is not None and not self.columns):
            return self._renamed_blindly(names)
        columns = [
            Column(names[i] if i < len(names) else column.name, column.deps, column.node)
            for i, column in enumerate(self.columns)
        ]
        return Relation(columns, self.open, self.influence, self.dataset)

    def _renamed_blindly(self, names: Sequence[str]) -> Relation:
        if self.open is not None and self.open.weak:
            columns = [Column(name, self.open.get(name)) for name in names]
        else:
            label = self.open.label if self.open is not None else "its source"
            reason = "the columns of {} are not known, so the alias list cannot be matched"
            columns = [Column(name, unresolved(name, reason.format(label), None)) for name in names]
        return Relation(columns, None, self.influence, self.dataset)


def distinct_names(relation: Relation) -> Relation:
    """Second and later columns of one name get a suffix, ``id_1``, as DuckDB gives them in a derived table."""
    seen: dict[str, int] = {}
    changed = False
    columns = []
    for column in relation.columns:
        lower = column.name.lower()
        count = seen.get(lower, 0)
        seen[lower] = count + 1
        if count and column.name != STAR:
            changed = True
            columns.append(Column(f"{column.name}_{count}", column.deps, column.node))
        else:
            columns.append(column)
    return Relation(columns, relation.open, relation.influence, relation.dataset) if changed else relation
