"""A filter's words as a tree: parsed by sqlglot, then every name and type checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

from lakecat.catalog.metadata_store.filters.lexer import Path, Tokens, fail
from lakecat.catalog.metadata_store.filters.names import NODES, VALUE_FIELDS, Node
from lakecat.catalog.metadata_store.filters.tree import (
    MAX_ROWS,
    And,
    Argument,
    Constant,
    Exists,
    Literal,
    Not,
    Operand,
    Or,
    Test,
    Tree,
    aliases,
)

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CONDITIONS: Final = 500
"""Tests joined by AND and OR: SQLite's expressions are at most 1,000 deep."""

_ALIAS: Final = re.compile(r"([a-z]+(?:_contexts)?)_(\w+)", re.IGNORECASE)
_COMPARISONS: Final = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_FLIPPED: Final = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_KINDS: Final = {"int": "a number", "double": "a number", "number": "a number", "huge": "a number", "enum": "a state",
                 "string": "text", "bool": "TRUE or FALSE"}  # fmt: skip
_NUMBERS: Final = frozenset({"int", "double", "huge"})


def parse(tokens: Tokens, node: Node) -> tuple[Tree, bool]:
    """The tree, and whether it holds for these values of the literals only. Raises FilterError."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        found = sqlglot.parse_one(tokens.skeleton, dialect="bigquery")
    except SqlglotError as err:
        details = getattr(err, "errors", None) or [{}]
        offset = tokens.origin(max(int(details[0].get("col") or 1) - 1, 0))
        fail(tokens.text, offset, "it does not parse here", "write it like SQL's WHERE: name = 'a' AND id IN (1, 2)")
    except RecursionError:
        fail(tokens.text, 0, "it lies too deep in itself", "use fewer parentheses and NOTs")
    reader = _Reader(tokens, node)
    return reader.tree(found), reader.frozen


class _Reader:
    def __init__(self, tokens: Tokens, node: Node) -> None:
        self._tokens = tokens
        self._node = node
        self._count = 0
        self._places: dict[str, bool] = {}
        """Whether a linked row is spoken of in an EXISTS."""
        self._in_exists = False
        self.frozen = False

    def tree(self, found: exp.Expr) -> Tree:
        from sqlglot import exp

        if isinstance(found, exp.Paren):
            return self.tree(found.this)
        if isinstance(found, exp.And | exp.Or):
            children = tuple(self.tree(child) for child in _operands_of(found))
            return And(children) if isinstance(found, exp.And) else Or(children)
        if isinstance(found, exp.Not):
            return Not(self.tree(found.this))
        if isinstance(found, exp.Exists):
            return self._exists(found)
        self._count += 1
        if self._count > MAX_CONDITIONS:
            self._fail(found, f"it has more than {MAX_CONDITIONS} conditions", "use IN for a list of values")
        return self._test(found)

    def _test(self, found: exp.Expr) -> Tree:
        from sqlglot import exp

        name = type(found).__name__
        if name in _COMPARISONS:
            return self._comparison(found, _COMPARISONS[name])
        if isinstance(found, exp.In):
            if not found.expressions or any(value for key, value in found.args.items() if key not in _LIST):
                self._fail(found, "IN needs a list of values", "name IN ('a', 'b')")
            return self._in(found)
        if isinstance(found, exp.Between):
            return self._between(found)
        if isinstance(found, exp.Like | exp.Escape):
            return self._like(found)
        return self._is(found) if isinstance(found, exp.Is) else self._alone(found)

    def _alone(self, found: exp.Expr) -> Tree:
        """A value as a condition."""
        from sqlglot import exp

        if isinstance(found, exp.Boolean | exp.Null):
            return Constant(None if isinstance(found, exp.Null) else bool(found.this))
        if not isinstance(found, exp.Column):
            self._refuse(found)
        operand = self._operand(found)
        if operand.kind not in ("bool", "any"):
            self._fail(found, f"{self._name(operand)} alone is no condition", "compare it: id = 1")
        return Test(operand, "=", (True,))

    def _in(self, found: exp.In) -> Tree:
        operand = self._operand(found.this)
        values = tuple(self._argument(operand, one) for one in found.expressions)
        self._check_alike(found, operand, values)
        known = tuple(one for one in values if one is not None and not isinstance(one, Operand))
        tests: list[Tree] = [Test(operand, "in", known)] if known else []
        tests += [Test(operand, "=", (one,)) for one in values if isinstance(one, Operand)]
        # x IN (1, NULL) is TRUE or UNKNOWN, and its negation FALSE or UNKNOWN.
        tests += [Constant(None)] if None in values else []
        return Or(tuple(tests))

    def _between(self, found: exp.Between) -> Tree:
        operand = self._operand(found.this)
        low, high = (self._argument(operand, found.args[name]) for name in ("low", "high"))
        if operand.kind == "bool":
            self._fail(found, "TRUE and FALSE have no order", "use = or !=")
        self._check_alike(found, operand, (low, high))
        if low is not None and high is not None and not isinstance(low, Operand) and not isinstance(high, Operand):
            return Test(operand, "between", (low, high))
        ends = ((">=", low), ("<=", high))
        return And(tuple(Constant(None) if end is None else Test(operand, op, (end,)) for op, end in ends))

    def _check_alike(self, found: exp.Expr, operand: Operand, values: Iterable[Argument | None]) -> None:
        """A property of any kind is compared with values of one kind."""
        kinds = {_kind(one) for one in values if one is not None}
        if operand.kind == "any" and len(kinds) > 1:
            self._fail(found, f"the values are {' and '.join(sorted(kinds))}", "compare with values of one kind")

    def _exists(self, found: exp.Exists) -> Tree:
        if self._in_exists:
            self._fail(found, "EXISTS lies within EXISTS", "write them side by side")
        self._in_exists = True
        child = self.tree(found.this)
        self._in_exists = False
        names = tuple(sorted(aliases(child)))
        if not names:
            self._fail(found, "EXISTS speaks of no linked row", "EXISTS (events_0.type = INPUT)")
        if len(names) > MAX_ROWS:
            self._fail(found, f"EXISTS speaks of more than {MAX_ROWS} linked rows", "write several EXISTS")
        return Exists(child, names)

    def _comparison(self, found: exp.Expr, op: str) -> Tree:
        from sqlglot import exp

        left, right = found.this.unnest(), found.expression.unnest()
        if not isinstance(left, exp.Column) or (self._is_word(left) and self._is_name(right)):
            left, right, op = right, left, _FLIPPED[op]
        if not isinstance(left, exp.Column):
            return self._of_literals(found, op, right, left)
        operand = self._operand(left)
        argument = self._argument(operand, right)
        if argument is None:
            return Constant(None)
        if operand.kind == "bool" and op not in ("=", "!="):
            self._fail(found, "TRUE and FALSE have no order", "use = or !=")
        test = Test(operand, op, (argument,))
        if operand.kind != "enum" or op != "!=" or not operand.nullable or isinstance(argument, Operand):
            return test
        # As in ML Metadata, != counts a node without a state as different.
        unset: Tree = Test(operand, "is null")
        if operand.owner:
            unset = And((unset, Test(_id_of(operand), "is not null")))
        return Or((test, unset))

    def _like(self, found: exp.Expr) -> Tree:
        from sqlglot import exp

        escape = found.expression if isinstance(found, exp.Escape) else None
        like = found.this if escape is not None else found
        if not isinstance(like, exp.Like):
            self._refuse(found)
        operand = self._operand(like.this)
        if operand.kind not in ("string", "any"):
            self._fail(like, f"LIKE needs text, and {self._name(operand)} is {_KINDS[operand.kind]}")
        texts = [self._literal(one) for one in (like.expression, escape) if one is not None]
        if any(one is None or one.kind != "string" for one in texts):
            self._fail(like.expression, "LIKE needs a pattern in quotes", "name LIKE 'a%'")
        test = Test(operand, "like", tuple(one for one in texts if one is not None))
        return Not(test) if like.args.get("negate") else test

    def _is(self, found: exp.Is) -> Tree:
        from sqlglot import exp

        operand, value = self._operand(found.this), found.expression.unnest()
        if isinstance(value, exp.Null):
            return Test(operand, "is null")
        if not isinstance(value, exp.Boolean) or operand.kind not in ("bool", "any"):
            self._fail(found, "IS needs NULL, or TRUE or FALSE after a bool_value", "use = for other values")
        # Two-valued, unlike =: the negation of this counts what is missing.
        return And((Test(operand, "=", (bool(value.this),)), Test(operand, "is not null")))

    def _of_literals(self, found: exp.Expr, op: str, left: exp.Expr, right: exp.Expr) -> Tree:
        """``1 = 1``, as programs write it that put filters together."""
        one, other = self._literal(left), self._literal(right)
        if one is None or other is None:
            self._refuse(found)
        if (one.kind == "string") != (other.kind == "string"):
            self._fail(found, "it compares text with a number")
        self.frozen = True
        a, b = (self._tokens.values[literal.index].exact for literal in (one, other))
        answer: bool = {"=": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]  # type: ignore[operator]
        return Constant(answer)

    # operands and arguments

    def _operand(self, found: exp.Expr) -> Operand:
        path = self._path(found)
        if path is None:
            self._fail(found, "a name must stand here", "write the name first: name IN ('a', 'b')")
        return _Names(self._tokens, self._node, path, self).operand()

    def _argument(self, operand: Operand, found: exp.Expr) -> Argument | None:
        """What an operand is compared with; None for NULL. Raises FilterError where the types differ."""
        from sqlglot import exp

        found = found.unnest()
        if isinstance(found, exp.Null):
            return None
        if isinstance(found, exp.Boolean):
            self._check(operand, "bool", found)
            return bool(found.this)
        literal = self._literal(found)
        if literal is not None:
            if operand.names is not None and literal.kind == "string":
                return self._enum(operand, self._tokens.values[literal.index].text, found, frozen=True)
            self._check(operand, literal.kind, found)
            return literal
        if operand.names is not None and self._is_word(found):
            path = self._path(found)
            return self._enum(operand, "" if path is None else path.parts[0], found)
        other = self._operand(found)
        if "any" in (operand.kind, other.kind):
            self._fail(found, "two properties are compared by the kind of their values", "properties.a.int_value")
        self._check(operand, other.kind, found)
        return other

    def _enum(self, operand: Operand, name: str, found: exp.Expr, *, frozen: bool = False) -> int:
        names = operand.names
        if names is None or name not in names.__members__:
            known = ", ".join(names.__members__ if names else ())
            self._fail(found, f"{name!r} is no {operand.name}", f"one of {known}")
        self.frozen |= frozen
        return int(names[name])

    def _check(self, operand: Operand, kind: str, found: exp.Expr) -> None:
        if operand.kind == "any":
            return
        mine, theirs = (_is_number(one) for one in (operand.kind, kind))
        if mine != theirs or (not mine and operand.kind != kind):
            self._fail(found, f"{self._name(operand)} is {_KINDS[operand.kind]}, and this is {_KINDS[kind]}")

    def _literal(self, found: exp.Expr) -> Literal | None:
        from sqlglot import exp

        found = found.unnest()
        if not isinstance(found, exp.Parameter):
            return None
        index = int(str(found.this.name)[1:])
        return Literal(index, self._tokens.values[index].kind)

    def _path(self, found: exp.Expr) -> Path | None:
        from sqlglot import exp

        found = found.unnest()
        if not isinstance(found, exp.Column) or not re.fullmatch(r"_p\d+", found.sql()):
            return None
        return self._tokens.paths[int(found.name[2:])]

    def _is_word(self, found: exp.Expr) -> bool:
        path = self._path(found)
        return path is not None and path.word and path.parts[0].lower() not in self._node.attributes

    def _is_name(self, found: exp.Expr) -> bool:
        return self._path(found) is not None and not self._is_word(found)

    # what went wrong

    def _name(self, operand: Operand) -> str:
        offset = operand.offset
        return next(".".join(path.parts) for path in self._tokens.paths if path.offset == offset)

    def _offset(self, found: exp.Expr) -> int:
        from sqlglot import exp

        if isinstance(found, exp.Alias):  # two words where one should be
            found = found.args["alias"]
            if isinstance(found, exp.Identifier) and re.fullmatch(r"_p\d+", found.name):
                return self._tokens.paths[int(found.name[2:])].offset
        for one in found.find_all(exp.Column, exp.Parameter, bfs=False):
            if isinstance(one, exp.Parameter):
                return self._tokens.values[int(str(one.this.name)[1:])].offset
            if (path := self._path(one)) is not None:
                return path.offset
        return 0

    def _fail(self, found: exp.Expr, what: str, hint: str | None = None) -> NoReturn:
        fail(self._tokens.text, self._offset(found), what, hint)

    def _refuse(self, found: exp.Expr) -> NoReturn:
        self._fail(
            found,
            "this is no condition that filters know",
            "they know comparisons, IN, LIKE, BETWEEN, IS NULL, EXISTS, AND, OR and NOT; no functions",
        )

    def enter(self, alias: str, offset: int) -> None:
        """Note where a linked row is spoken of. Raises FilterError where that is inside and outside of EXISTS."""
        if self._places.setdefault(alias, self._in_exists) != self._in_exists:
            fail(self._tokens.text, offset, f"{alias} is named inside and outside of an EXISTS",
                 "number them differently: an EXISTS has rows of its own")  # fmt: skip


_LIST: Final = frozenset({"this", "expressions"})


class _Names:
    """One dotted name, looked up."""

    def __init__(self, tokens: Tokens, node: Node, path: Path, reader: _Reader) -> None:
        self._text = tokens.text
        self._node = node
        self._path = path
        self._reader = reader

    def operand(self) -> Operand:
        parts, node, owner = self._path.parts, self._node, ""
        match = _ALIAS.fullmatch(parts[0])
        link = node.links.get(match[1].lower()) if match else None
        if link is not None:
            owner, node, parts = parts[0].lower(), NODES[link.target], parts[1:]
            if not parts:
                self._fail(f"{owner} alone is no value", self._known(node))
            self._reader.enter(owner, self._path.offset)
        first = parts[0].lower()
        if first in ("properties", "custom_properties") and node.properties is not None:
            return self._property(owner, first, parts)
        attribute = node.attributes.get(first)
        if attribute is None:
            self._unknown(node, parts[0], owner)
        if len(parts) > 1:
            self._fail(f"{first} has no parts, and {parts[1]!r} is named as one")
        return Operand(
            owner, first, attribute.kind, self._path.offset, None, attribute.names,
            attribute.nullable,
        )  # fmt: skip

    def _property(self, owner: str, first: str, parts: Sequence[str]) -> Operand:
        custom = first == "custom_properties"
        hint = f"{first}.name.int_value, or {first}.`any name`.string_value"
        if len(parts) == 2:
            return Operand(owner, parts[1], "any", self._path.offset, custom)
        if len(parts) != 3:
            self._fail(f"this names no property of {first}", hint)
        kind = VALUE_FIELDS.get(parts[2].lower())
        if kind is None:
            self._fail(f"a property has no {parts[2]}", f"it has {_listed(VALUE_FIELDS)}; names with dots: {hint}")
        return Operand(owner, parts[1], kind, self._path.offset, custom)

    def _unknown(self, node: Node, name: str, owner: str) -> NoReturn:
        close = {link.prefix: link for link in node.links.values()}
        if not owner and name.lower().removesuffix("_") in close:
            prefix = name.lower().removesuffix("_")
            self._fail(f"there is no {name}", f"number the rows that are meant: {prefix}_0.id")
        self._fail(f"there is no {name!r} on {node.name}s", self._known(node, linked=not owner))

    def _known(self, node: Node, *, linked: bool = False) -> str:
        names = [*node.attributes]
        if node.properties is not None:
            names += ["properties.….int_value", "custom_properties.….int_value"]
        if linked:
            names += [f"{prefix}_0.…" for prefix in node.links]
        return f"there are {', '.join(names)}"

    def _fail(self, what: str, hint: str | None = None) -> NoReturn:
        fail(self._text, self._path.offset, what, hint)


def _operands_of(found: exp.Expr) -> Iterable[exp.Expr]:
    """The operands of a chain of the same connector, left to right; chains may be long, and are left-deep."""
    kind, operands = type(found), []
    while type(found) is kind:
        operands.append(found.expression)
        found = found.this
    return [found, *reversed(operands)]


def _id_of(operand: Operand) -> Operand:
    return Operand(operand.owner, "id", "int", operand.offset, nullable=False)


def _kind(argument: Argument) -> str:
    if isinstance(argument, Literal):
        return _KINDS[argument.kind]
    return _KINDS["bool"] if isinstance(argument, bool) else _KINDS["int"]


def _is_number(kind: str) -> bool:
    return kind in _NUMBERS or kind == "enum"


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)
