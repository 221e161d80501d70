"""A filter's tree as an SQL condition: every value bound, every table and column from this program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.expression import Grouping

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store.filters.lexer import NUL_STAND_IN, Tokens, Value, fail
from lakecat.catalog.metadata_store.filters.lowering import Lowering
from lakecat.catalog.metadata_store.filters.names import NODES, Link, Node
from lakecat.catalog.metadata_store.filters.tree import (
    And,
    Argument,
    Constant,
    Exists,
    Literal,
    Operand,
    Or,
    Some,
    Test,
    Tree,
    conjunction,
    disjunction,
    operands,
    without_row,
)

Condition: TypeAlias = "sa.ColumnElement[bool]"
Getter: TypeAlias = Callable[[Sequence[Value]], Any]
MAX_PATTERN: Final = 10_000
"""Characters of a LIKE pattern: SQLite takes 50,000 bytes."""

MAX_BOUND: Final = 25_000
"""Values that a statement binds: SQLite takes 32,766."""
_ABREAST: Final = 32
"""Conditions that are joined without parentheses on SQLite, whose expressions are at most 1,000 deep."""

_SQL_TYPES: Final[dict[str, sa.types.TypeEngine[Any]]] = {
    "int": sa.BigInteger(),
    "enum": sa.BigInteger(),
    "double": sa.Double(),
    "string": sa.Text(),
    "bool": sa.Boolean(),
}
_COLUMNS: Final = {"int": "int_value", "double": "double_value", "string": "string_value", "bool": "bool_value"}
_VALUES: Final = ("int_value", "double_value", "string_value", "byte_value", "proto_value", "bool_value")
_ESCAPE: Final = "/"
_JOINED: Final = {"mysql": 8, "postgresql": 24}
"""Tables of subqueries that a server may make part of one join. MySQL and MariaDB try nearly all orders of its tables,
which takes hours for ten subqueries of two tables; PostgreSQL tries more the more there are, minutes for hundreds."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row in scope: the node itself or a linked one."""

    node: Node
    columns: sa.FromClause
    id: sa.ColumnElement[int]


class Statement:
    """Builds the condition. ``binds`` says where the value of each parameter comes from.

    Without a ``prefix`` for the names of the parameters they hold their values themselves.
    """

    def __init__(self, tokens: Tokens, node: Node, dialect: str, prefix: str | None) -> None:
        self._tokens = tokens
        self._dialect = dialect
        self._prefix = prefix
        self._lowering = Lowering(tokens)
        self._rows = {"": _Row(node, node.table, node.table.c.id)}
        self._unique = False
        self._fresh = _JOINED.get(dialect)
        self._room = self._fresh
        """How many tables more may become part of the join; None: any number, or there is no join here."""
        self._bound = 0
        self.binds: dict[str, Getter] = {}

    @property
    def frozen(self) -> bool:
        """Whether the condition holds for these values of the literals only."""
        return self._lowering.frozen

    def condition(self, tree: Tree) -> Condition:
        """The condition for a tree without NOT, whose linked rows all have their place."""
        tree = self._lowered(tree)
        # Where an id says which rows are meant, properties are looked up for these; else they say which.
        parts = tree.children if isinstance(tree, And) else (tree,)
        self._unique = any(_is_unique(part) for part in parts)
        return self._condition(tree)

    def _lowered(self, tree: Tree) -> Tree:
        match tree:
            case Test():
                return self._lowering.lower(tree)
            case And(children):
                return conjunction(self._lowered(child) for child in children)
            case Or(children):
                return disjunction(self._lowered(child) for child in children)
            case Some(alias, child):
                lowered = self._lowered(child)
                return lowered if isinstance(lowered, Constant) else Some(alias, lowered)
            case Exists(child, names, negated):
                return Exists(self._lowered(child), names, negated)
            case _:
                return tree

    def _condition(self, tree: Tree) -> Condition:
        match tree:
            case Constant(value):
                return sa.true() if value else sa.false()
            case And(children):
                return self._joined(self._members(children, sa.and_), sa.and_, "AND")
            case Or(children):
                with self._with_room(None):  # a subquery in an OR is never made part of the join
                    return self._joined(self._members(children, sa.or_), sa.or_, "OR")
            case Some(alias, child):
                return self._some(alias, child)
            case Exists(child, names, negated):
                return self._exists(child, names, negated=negated)
            case Test():
                return self._on_property([tree], sa.and_) if _in_row(tree) else self._on_columns(tree)
            case _:
                raise AssertionError(tree)

    def _joined(self, conditions: Sequence[Condition], join: Callable[..., Condition], word: str) -> Condition:
        if self._dialect != "sqlite" or len(conditions) <= _ABREAST:
            return join(*conditions)
        parts = [join(*conditions[start : start + _ABREAST]) for start in range(0, len(conditions), _ABREAST)]
        # and_() and or_() would take away the parentheses again.
        grouped: list[Condition] = [Grouping(part) for part in parts]
        return reduce(lambda left, right: left.bool_op(word)(right), grouped)

    def _members(self, children: Iterable[Tree], join: Callable[..., Condition]) -> list[Condition]:
        """The conditions to join; those on the same property become one, as there is one row of it."""
        by_property: dict[tuple[str, str, bool | None], list[Test]] = {}
        others: list[Tree] = []
        for child in children:
            if isinstance(child, Test) and _in_row(child):
                operand = child.operand
                by_property.setdefault((operand.owner, operand.name, operand.custom), []).append(child)
            else:
                others.append(child)
        parts: list[list[Test] | Tree] = [*by_property.values(), *others]
        if self._room is not None:  # those that leave few rows become part of the join
            parts.sort(key=lambda part: not _is_narrow(And(tuple(part)) if isinstance(part, list) else part))
        return [self._on_property(part, join) if isinstance(part, list) else self._condition(part) for part in parts]

    def _subquery(self, column: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """A subquery that sees the rows in scope, however deep it lies: SQLAlchemy finds the nearest by itself only."""
        return sa.select(column).correlate(*(row.columns for row in self._rows.values()))

    # joins

    @contextmanager
    def _with_room(self, room: int | None) -> Iterator[None]:
        outer, self._room = self._room, room
        yield
        self._room = outer

    def _takes_part(self, tables: int) -> bool:
        """Whether a subquery of so many tables may be written so that it becomes part of the join around it."""
        if self._room is None:
            return True
        if self._room < tables:
            return False
        self._room -= tables
        return True

    @contextmanager
    def _inside(self, *, part: bool) -> Iterator[None]:
        """Within a subquery: its tables count with those around it, if it becomes part of their join."""
        if part and self._room is not None:
            yield
        else:
            with self._with_room(self._fresh):
                yield

    # linked rows

    def _some(self, alias: str, child: Tree) -> Condition:
        missing = without_row(child, alias)
        if missing == Constant(False):
            return self._linked_row_fits(alias, child)
        with self._with_room(None):
            there = self._linked_row_fits(alias, child)
            return sa.or_(there, sa.and_(sa.not_(self._has_link(self._link(alias))), self._condition(missing)))

    def _linked_row_fits(self, alias: str, child: Tree) -> Condition:
        owner, link = self._rows[""], self._link(alias)
        row, source, key = self._linked(link)
        part = self._takes_part(1 if link.other is None else 2)
        query = self._subquery(key).select_from(source)
        with self._inside(part=part):
            self._rows[alias] = row
            condition = self._condition(child)
            del self._rows[alias]
        if not part:
            return _any_row(query.where(key == owner.id, condition))
        if _speaks_only_of(child, alias) and not self._unique:
            return owner.id.in_(query.where(condition))
        return sa.exists(query.where(key == owner.id, condition))

    def _has_link(self, link: Link) -> Condition:
        other = link.link.alias()
        return sa.exists(self._subquery(other.c[link.owner]).where(other.c[link.owner] == self._rows[""].id))

    def _exists(self, child: Tree, names: Sequence[str], *, negated: bool) -> Condition:
        if not names:
            return self._condition(child)
        if len(names) == 1 and not negated:
            return self._linked_row_fits(names[0], child)
        link = self._link(names[0])
        row, source, key = self._linked(link)
        part = self._takes_part(1 if link.other is None else 2)
        query = self._subquery(key).select_from(source)
        with self._inside(part=part):
            self._rows[names[0]] = row
            query = query.where(key == self._rows[""].id, self._exists(child, names[1:], negated=False))
            del self._rows[names[0]]
        found = sa.exists(query) if part else _any_row(query)
        return sa.not_(found) if negated else found

    def _link(self, alias: str) -> Link:
        return next(link for link in self._rows[""].node.links.values() if alias.startswith(f"{link.prefix}_"))

    def _linked(self, link: Link) -> tuple[_Row, sa.FromClause, sa.ColumnElement[int]]:
        """A linked row, what to select it from, and the column that refers to the node."""
        join, target = link.link.alias(), NODES[link.target]
        if link.other is None:
            return _Row(target, join, join.c.id), join, join.c[link.owner]
        columns = target.table.alias()
        source = join.join(columns, columns.c.id == join.c[link.other])
        return _Row(target, columns, columns.c.id), source, join.c[link.owner]

    # properties

    def _on_property(
        self, tests: Sequence[Test], join: Callable[..., Condition], *, correlated: bool = False
    ) -> Condition:
        """Whether the row has the property, with a value that fits."""
        operand = tests[0].operand
        row = self._rows[operand.owner]
        if row.node.properties is None or operand.custom is None:
            raise AssertionError(operand)
        table = row.node.properties.alias()
        key = table.c[row.node.property_key]
        is_custom = sa.true() if operand.custom else sa.false()
        self._count()
        query = self._subquery(key).where(table.c.name == operand.name, table.c.is_custom_property == is_custom)
        query = query.where(join(*(self._of_property(test, table) for test in tests)))
        if not self._takes_part(1):
            return _any_row(query.where(key == row.id))
        if correlated or (operand.owner == "" and self._unique):
            return sa.exists(query.where(key == row.id))
        return row.id.in_(query)

    def _of_property(self, test: Test, table: sa.FromClause) -> Condition:
        if test.operand.kind == "any":  # only IS NOT NULL is left of these
            return sa.or_(*(table.c[name].is_not(None) for name in _VALUES))
        return self._compare(table.c[_COLUMNS[test.operand.kind]], test)

    def _property_value(self, operand: Operand) -> sa.ColumnElement[Any]:
        """A property's value; NULL where it is missing."""
        row = self._rows[operand.owner]
        if row.node.properties is None:
            raise AssertionError(operand)
        self._count()
        table = row.node.properties.alias()
        query = self._subquery(table.c[_COLUMNS[operand.kind]]).where(
            table.c[row.node.property_key] == row.id,
            table.c.name == operand.name,
            table.c.is_custom_property == (sa.true() if operand.custom else sa.false()),
        )
        return query.scalar_subquery()

    # comparisons

    def _on_columns(self, test: Test) -> Condition:
        operand = test.operand
        if any(isinstance(one, Operand) for one in test.arguments):
            return self._compare(self._value(operand), test)
        row = self._rows[operand.owner]
        if operand.is_property:  # IS NULL: no such row
            return sa.not_(self._on_property([Test(operand, "is not null")], sa.and_, correlated=True))
        if operand.name != "type" or row.node.type_kind is None:
            return self._compare(row.columns.c[operand.name], test)
        types = s.type_.alias()
        fitting = self._subquery(types.c.id).where(types.c.type_kind == int(row.node.type_kind))
        fitting = fitting.where(self._compare(types.c.name, test))
        if self._takes_part(1):
            return row.columns.c.type_id.in_(fitting)
        return _any_row(fitting.where(types.c.id == row.columns.c.type_id))

    def _value(self, operand: Operand) -> sa.ColumnElement[Any]:
        if operand.is_property:
            return self._property_value(operand)
        row = self._rows[operand.owner]
        if operand.name != "type" or row.node.type_kind is None:
            return row.columns.c[operand.name]
        types = s.type_.alias()
        return self._subquery(types.c.name).where(types.c.id == row.columns.c.type_id).scalar_subquery()

    def _compare(self, column: sa.ColumnElement[Any], test: Test) -> Condition:
        kind, op = test.operand.kind, test.op
        if op in ("is null", "is not null"):
            return column.is_(None) if op == "is null" else column.is_not(None)
        if op in ("like", "not like"):
            found = self._like(column, test.arguments)
            return sa.not_(found) if op == "not like" else found
        kinds = {kind, *(one.kind for one in test.arguments if isinstance(one, Operand))}
        if kinds in ({"int", "double"}, {"enum", "double"}):
            # Databases differ in how they compare the two.
            column, kind = sa.cast(column, sa.Double()), "double"
        values = [self._argument(one, kind) for one in test.arguments]
        if op in ("in", "not in"):
            return column.in_(values) if op == "in" else column.not_in(values)
        if kind == "string" and op not in ("=", "!=") and self._dialect == "postgresql":
            column = sa.collate(column, "C")  # by code point, as everywhere else
        if op in ("between", "not between"):
            found = column.between(values[0], values[1])
            return sa.not_(found) if op == "not between" else found
        compare = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}
        result: Condition = getattr(column, compare[op])(values[0])
        return result

    def _argument(self, argument: Argument, kind: str) -> sa.ColumnElement[Any]:
        if isinstance(argument, Operand):
            value = self._value(argument)
            return sa.cast(value, sa.Double()) if kind == "double" and argument.kind != "double" else value
        if isinstance(argument, bool):
            return sa.true() if argument else sa.false()
        if isinstance(argument, Literal):
            index = argument.index
            if kind == "double":
                return self._bind(kind, lambda values: float(values[index].value))
            return self._bind(kind, lambda values: values[index].value)
        return self._bind(kind, lambda _values: argument)

    def _count(self) -> None:
        """Count a value that is bound. Raises FilterError."""
        self._bound += 1
        if self._bound > MAX_BOUND:
            what = f"it needs more than {MAX_BOUND:,} values in SQL, where linked rows that may be missing double it"
            fail(self._tokens.text, 0, what, "use fewer linked rows in one condition")

    def _bind(self, kind: str, getter: Getter) -> sa.BindParameter[Any]:
        self._count()
        if self._prefix is None:
            return sa.bindparam(None, getter(self._tokens.values), type_=_SQL_TYPES[kind])
        name = f"{self._prefix}_{len(self.binds)}"
        self.binds[name] = getter
        return sa.bindparam(name, type_=_SQL_TYPES[kind], required=True)

    def _like(self, column: sa.ColumnElement[Any], arguments: Sequence[Argument]) -> Condition:
        indexes = [one.index for one in arguments if isinstance(one, Literal)]
        text, glob = self._tokens.text, self._dialect == "sqlite"

        def pattern(values: Sequence[Value]) -> str:
            escape = values[indexes[1]] if len(indexes) > 1 else None
            return _pattern(text, values[indexes[0]], escape, glob=glob)

        bound = self._bind("string", pattern)
        # SQLite's LIKE does not tell a from A; its GLOB does.
        return column.op("GLOB", is_comparison=True)(bound) if glob else column.like(bound, escape=_ESCAPE)


def _any_row(query: sa.Select[Any]) -> Condition:
    """EXISTS, for a query of a column that is never NULL, as no database makes it part of the join around it."""
    return query.limit(sa.literal_column("1")).scalar_subquery().is_not(None)


def _pattern(text: str, pattern: Value, escape: Value | None, *, glob: bool) -> str:
    """A LIKE pattern as GLOB's, or as LIKE's with ``_ESCAPE``. Raises FilterError."""
    if escape is not None and len(escape.text) != 1:
        fail(text, escape.offset, "ESCAPE needs one character")
    if len(pattern.text) > MAX_PATTERN:
        fail(text, pattern.offset, f"a pattern has at most {MAX_PATTERN:,} characters")
    wild = {"%": "*", "_": "?"} if glob else {"%": "%", "_": "_"}
    special = "*?[" if glob else f"%_{_ESCAPE}"
    result: list[str] = []
    characters = iter(pattern.text)
    for one in characters:
        if escape is not None and one == escape.text:
            literal = next(characters, None)
            if literal is None:
                fail(text, pattern.offset, "the pattern ends with the escape character")
        elif one in wild:
            result.append(wild[one])
            continue
        else:
            literal = one
        quoted = f"[{literal}]" if glob else f"{_ESCAPE}{literal}"
        result.append(quoted if literal in special else literal)
    return "".join(result).replace("\0", NUL_STAND_IN)


def _in_row(test: Test) -> bool:
    """Whether a test is answered by one property's row."""
    return (
        test.operand.is_property
        and test.op != "is null"
        and not any(isinstance(one, Operand) for one in test.arguments)
    )


def _is_narrow(tree: Tree) -> bool:
    """Whether few rows are likely to fit."""
    match tree:
        case And(children):
            return any(_is_narrow(child) for child in children)
        case Or(children):
            return all(_is_narrow(child) for child in children)
        case Some(_, child):
            return _is_narrow(child)
        case Exists(child, _, negated):
            return not negated and _is_narrow(child)
        case Test(operand, op, arguments):
            compared = any(isinstance(one, Operand) for one in arguments)
            return op in ("=", "in") and operand.kind not in ("bool", "enum") and not compared
        case _:
            return False


def _is_unique(tree: Tree) -> bool:
    """Whether few rows can fit, and the database finds them by an index of the node's own table."""
    return (
        isinstance(tree, Test)
        and tree.operand.owner == ""
        and not tree.operand.is_property
        and tree.operand.name in ("id", "external_id")
        and tree.op in ("=", "in")
        and not any(isinstance(one, Operand) for one in tree.arguments)
    )


def _speaks_only_of(tree: Tree, alias: str) -> bool:
    """Whether a tree is about one linked row alone, so that it can be answered without the node."""
    match tree:
        case And(children) | Or(children):
            return all(_speaks_only_of(child, alias) for child in children)
        case Some() | Exists():
            return False
        case _:
            return all(one.owner == alias for one in operands(tree))
