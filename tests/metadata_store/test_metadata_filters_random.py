"""Random filters on random stores: every database answers as a plain evaluator of three-valued logic in Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count, product
from typing import Any, TypeAlias
from unittest import mock

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lakecat.catalog import MetadataStore
from lakecat.catalog import schema as s
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.metadata_store import ListOptions
from lakecat.catalog.metadata_store.filters import _templates as templates
from lakecat.catalog.metadata_store.filters import prepare, statement
from lakecat.catalog.metadata_store.kinds import KINDS

Truth: TypeAlias = bool | None
Row: TypeAlias = dict[str, Any]
"""Attributes by name; properties by (custom, name)."""

INTS = (-(2**63), -1, 0, 1, 2, 3, 2**53 + 1, 2**63 - 1)
DOUBLES = (-1.5, 0.0, 0.1, 1.0, 2.5, 1e300, 1e-300, 9007199254740992.0)
TEXTS = ("", "a", "A", "ab", "a ", "a%", "a_", "[a]", "*", "?", "/", "\\", "it's", 'q"', "é", "𝄞", "￿", "\n")
NAMES = ("p", "q", "0:b", "o'x.`y`")
ARTIFACT_STATES = {"UNKNOWN": 0, "PENDING": 1, "LIVE": 2}
EVENT_TYPES = {"INPUT": 3, "OUTPUT": 4, "DECLARED_INPUT": 2}
BY_NAME = {kind.name: kind for kind in KINDS}


# a store


@dataclass
class Node:
    row: Row
    links: dict[str, list[Node]] = field(default_factory=dict)


@dataclass
class Built:
    artifact: list[Node]
    execution: list[Node]
    context: list[Node]


@st.composite
def properties(draw: st.DrawFn) -> dict[tuple[bool, str], Any]:
    value = st.one_of(st.sampled_from(INTS), st.sampled_from(DOUBLES), st.sampled_from(TEXTS), st.booleans())
    return draw(st.dictionaries(st.tuples(st.booleans(), st.sampled_from(NAMES)), value, max_size=4))


class Store:
    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._bases = count(1000, 100)
        with store.database.reading() as connection:
            rows = connection.execute(sa.select(s.type_.c.id, s.type_.c.name, s.type_.c.type_kind)).all()
        self.types = {kind: [(row.id, row.name) for row in rows if row.type_kind == kind][:2] for kind in TypeKind}

    def build(self, draw: Callable[[Any], Any]) -> tuple[int, Built]:
        base = next(self._bases)

        def nodes(kind: TypeKind, most: int, **more: Any) -> list[Node]:
            return [self._node(draw, base + n, kind, **more) for n in range(draw(st.integers(1, most)))]

        state = st.sampled_from((None, *ARTIFACT_STATES.values()))
        built = Built(
            nodes(TypeKind.ARTIFACT, 4, uri=st.sampled_from((None, *TEXTS)), state=state),
            nodes(TypeKind.EXECUTION, 2, last_known_state=st.sampled_from((None, 2, 3))),
            nodes(TypeKind.CONTEXT, 3),
        )
        rows = self._links(draw, built)
        self._store.database.write(lambda connection: self._insert(connection, built, rows))
        return base, built

    def _node(self, draw: Callable[[Any], Any], key: int, kind: TypeKind, **more: Any) -> Node:
        type_id, type_name = draw(st.sampled_from(self.types[kind]))
        row: Row = {
            "id": key, "type_id": type_id, "type": type_name,
            "name": f"{draw(st.sampled_from(('a', 'A', 'b')))}{key}" if kind is TypeKind.CONTEXT or draw(st.booleans())
            else None,
            "external_id": f"x{key}" if draw(st.booleans()) else None,
            "create_time_since_epoch": draw(st.integers(0, 3)), "last_update_time_since_epoch": 2,
            **{name: draw(strategy) for name, strategy in more.items()},
        }  # fmt: skip
        row.update(draw(properties()))
        return Node(row)

    def _links(self, draw: Callable[[Any], Any], built: Built) -> dict[sa.Table, list[Row]]:
        rows: dict[sa.Table, list[Row]] = {s.event: [], s.attribution: [], s.association: [], s.parent_context: []}
        for node in (*built.artifact, *built.execution):
            node.links.update(contexts=[], events=[])
        for node in built.context:
            node.links.update(artifacts=[], executions=[], parent_contexts=[], child_contexts=[])
        for artifact, execution in product(built.artifact, built.execution):
            for kind in draw(st.sets(st.sampled_from(sorted(EVENT_TYPES.values())), max_size=2)):
                row = {"artifact_id": artifact.row["id"], "execution_id": execution.row["id"], "type": kind,
                       "milliseconds_since_epoch": draw(st.sampled_from((None, 5)))}  # fmt: skip
                rows[s.event].append(row)
                artifact.links["events"].append(Node(row))
                execution.links["events"].append(Node(row))
        for members, table, key, name in (
            (built.artifact, s.attribution, "artifact_id", "artifacts"),
            (built.execution, s.association, "execution_id", "executions"),
        ):
            for node, context in product(members, built.context):
                if draw(st.booleans()):
                    rows[table].append({key: node.row["id"], "context_id": context.row["id"]})
                    node.links["contexts"].append(context)
                    context.links[name].append(node)
        for child, parent in product(built.context, built.context):
            if child is not parent and draw(st.booleans()):
                ids = {"context_id": child.row["id"], "parent_context_id": parent.row["id"]}
                rows[s.parent_context].append(ids)
                child.links["parent_contexts"].append(parent)
                parent.links["child_contexts"].append(child)
        return rows

    def _insert(self, connection: sa.Connection, built: Built, links: Mapping[sa.Table, list[Row]]) -> None:
        for nodes, table, key in (
            (built.artifact, s.artifact, "artifact_id"),
            (built.execution, s.execution, "execution_id"),
            (built.context, s.context, "context_id"),
        ):
            rows = [{c.name: node.row[c.name] for c in table.c if c.name in node.row} for node in nodes]
            connection.execute(sa.insert(table), rows)
            found = [
                self._property(key, node.row["id"], name, value)
                for node in nodes
                for name, value in node.row.items()
                if isinstance(name, tuple)
            ]
            if found:
                connection.execute(sa.insert(s.metadata.tables[f"{table.name}Property"]), found)
        for table, rows in links.items():
            if rows:
                connection.execute(sa.insert(table), rows)

    @staticmethod
    def _property(key: str, owner: int, name: tuple[bool, str], value: Any) -> Row:
        row = {key: owner, "name": name[1], "is_custom_property": name[0], "int_value": None, "double_value": None,
               "string_value": None, "bool_value": None}  # fmt: skip
        column = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}[type(value)]
        return {**row, column: value}

    def matching(self, kind: str, base: int, text: str) -> list[int]:
        """What fits of the nodes from ``base`` on, by the condition and by the store's own list."""
        table = {"artifact": s.artifact, "execution": s.execution, "context": s.context}[kind]
        found = prepare(BY_NAME[kind], text, self._store.database.backend)
        query = sa.select(table.c.id).where(table.c.id.between(base, base + 99), found.condition).order_by(table.c.id)
        with self._store.database.reading() as connection:
            ids = [int(key) for key in connection.execute(query, found.parameters).scalars()]
        options = ListOptions(filter_query=f"id >= {base} AND ({text}) AND id < {base + 100}")
        assert [node.id for node in getattr(self._store, f"get_{kind}s")(options)] == ids
        return ids


@pytest.fixture(scope="module")
def stocked(module_store: MetadataStore) -> Store:
    return Store(module_store)


# filters: each is a text with a function from a choice of rows ("" is the node) to True, False or None


@dataclass(frozen=True)
class Filter:
    text: str
    value: Callable[[Mapping[str, Row | None], Node], Truth]
    aliases: frozenset[str] = frozenset()


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def column(row: Row | None, name: Any) -> Any:
    return None if row is None else row.get(name)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b, "!=": lambda a, b: a != b, "<>": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def like(text: str, pattern: str, escape: str | None) -> bool:
    expression, at = "", 0
    while at < len(pattern):
        one = pattern[at]
        if one == escape:
            at += 1
            expression += re.escape(pattern[at])
        else:
            expression += {"%": ".*", "_": "."}.get(one, re.escape(one))
        at += 1
    return re.fullmatch(expression, text, re.DOTALL) is not None


@dataclass(frozen=True)
class Operand:
    text: str
    owner: str
    get: Callable[[Row | None], Any]
    kind: str


def operands(draw: Callable[[Any], Any], kind: str, base: int) -> Operand:
    links = {
        "artifact": {"contexts": "context", "events": "event"},
        "execution": {"contexts": "context", "events": "event"},
        "context": {"artifacts": "artifact", "executions": "execution", "parent_contexts": "context",
                    "child_contexts": "context"},
    }  # fmt: skip
    owner, prefix = "", ""
    if draw(st.integers(0, 2)) == 0:
        link = draw(st.sampled_from(sorted(links[kind])))
        owner = f"{link}_{draw(st.integers(0, 1))}"
        kind, prefix = links[kind][link], f"{owner}."
    if kind != "event" and draw(st.booleans()):
        custom, name = draw(st.booleans()), draw(st.sampled_from(NAMES))
        value = draw(st.sampled_from(("int", "double", "string", "bool", "any")))
        written = (
            name if re.fullmatch(r"\w+", name) and draw(st.booleans()) else f"`{name.replace('`', chr(92) + '`')}`"
        )
        text = f"{prefix}{'custom_' if custom else ''}properties.{written}"
        types = {"int": int, "double": float, "string": str, "bool": bool}

        def get(row: Row | None) -> Any:
            found = column(row, (custom, name))
            return found if value == "any" or type(found) is types.get(value) else None

        return Operand(text if value == "any" else f"{text}.{value}_value", owner, get, value)
    attributes = {"id": "int", "type_id": "int", "type": "string", "name": "string", "external_id": "string",
                  "create_time_since_epoch": "int"}  # fmt: skip
    if kind == "event":
        attributes = {"type": "event", "artifact_id": "int", "execution_id": "int", "milliseconds_since_epoch": "int"}
    if kind == "artifact":
        attributes |= {"uri": "string", "state": "state"}
    name = draw(st.sampled_from(sorted(attributes)))
    return Operand(f"{prefix}{name}", owner, lambda row: column(row, name), attributes[name])


def literals(draw: Callable[[Any], Any], kind: str, base: int) -> tuple[str, Any]:
    """A literal as text, and as a function of what it is compared with."""
    if kind == "any":
        kind = draw(st.sampled_from(("int", "string", "bool")))
    if kind in ("int", "double"):
        near = [base, base + 1, *(n for n in INTS)]
        text = draw(
            st.sampled_from([str(n) for n in near] + [repr(d) for d in DOUBLES])
            | st.sampled_from(
                ["1.0", "2.5", ".5", "-1e2", "9223372036854775808", "-1e30", "9007199254740993.0", "1e-30"]
            )
        )
        return text, text
    if kind == "bool":
        value = draw(st.booleans())
        return str(value).upper(), value
    text = draw(st.sampled_from((*TEXTS, f"a{base}", f"x{base}", "lakecat.Dataset", "lakecat.Schema")))
    return quoted(text), text


def compare(op: str, left: Any, right: Any) -> Truth:
    """Numbers exact where an integer is meant, as doubles where a double is; other types are not compared."""
    if left is None or right is None:
        return None
    if isinstance(right, bool) or isinstance(left, bool):
        return COMPARE[op](left, right) if type(left) is type(right) else None
    if isinstance(left, str) or not isinstance(right, str):
        return COMPARE[op](left, right) if type(left) is type(right) else None
    if isinstance(left, float):
        return COMPARE[op](left, float(right))
    return COMPARE[op](Fraction(left), Fraction(right))


def is_number(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", text) is not None


def leaf(draw: Callable[[Any], Any], kind: str, base: int) -> Filter:
    one = operands(draw, kind, base)
    names = frozenset({one.owner} - {""})

    def of(rows: Mapping[str, Row | None]) -> Any:
        return one.get(rows[one.owner])

    if draw(st.integers(0, 5)) == 0:
        negated = draw(st.booleans())
        return Filter(
            f"{one.text} IS {'NOT ' if negated else ''}NULL", lambda rows, _: (of(rows) is None) != negated, names
        )
    if one.kind in ("state", "event"):
        return enum_leaf(draw, one, of, names)
    if one.kind == "string" and draw(st.integers(0, 2)) == 0:
        return like_leaf(draw, one, of, names)
    if one.kind == "bool" and draw(st.booleans()):
        word, negated = draw(st.booleans()), draw(st.booleans())
        text = f"{one.text} IS {'NOT ' if negated else ''}{str(word).upper()}"
        return Filter(text, lambda rows, _: (of(rows) is word) != negated, names)
    return value_leaf(draw, one, of, names, base)


def enum_leaf(draw: Callable[[Any], Any], one: Operand, of: Callable[..., Any], names: frozenset[str]) -> Filter:
    known = ARTIFACT_STATES if one.kind == "state" else EVENT_TYPES
    name, op = draw(st.sampled_from(sorted(known))), draw(st.sampled_from(("=", "!=", "IN")))
    number = known[name]
    written = draw(st.sampled_from((name, str(number), f"'{name}'")))
    if op == "IN":
        return Filter(f"{one.text} IN ({written})", lambda rows, _: compare_any([number], of(rows)), names)

    def value(rows: Mapping[str, Row | None], _: Node) -> Truth:
        if op == "!=" and one.kind == "state" and rows[one.owner] is not None and of(rows) is None:
            return True
        return None if of(rows) is None else COMPARE[op](of(rows), number)

    return Filter(f"{one.text} {op} {written}", value, names)


def compare_any(values: list[Any], found: Any) -> Truth:
    return None if found is None else found in values


def like_leaf(draw: Callable[[Any], Any], one: Operand, of: Callable[..., Any], names: frozenset[str]) -> Filter:
    pattern = "".join(draw(st.lists(st.sampled_from((*"aA%_/\\*?[]'", "%", "_", "𝄞")), max_size=4)))
    escape = draw(st.sampled_from((None, "/", "\\", "!", "a")))
    if escape is not None and len(pattern.replace(escape * 2, "")) and pattern.replace(escape * 2, "").endswith(escape):
        pattern += "x"
    negated = draw(st.booleans())
    text = f"{one.text} {'NOT ' if negated else ''}LIKE {quoted(pattern)}"
    if escape is not None:
        text += f" ESCAPE {quoted(escape)}"

    def value(rows: Mapping[str, Row | None], _: Node) -> Truth:
        found = of(rows)
        return None if found is None else like(found, pattern, escape) != negated

    return Filter(text, value, names)


def value_leaf(
    draw: Callable[[Any], Any], one: Operand, of: Callable[..., Any], names: frozenset[str], base: int
) -> Filter:
    text, value = literals(draw, one.kind, base)
    again = [literals(draw, one.kind, base) for _ in range(draw(st.integers(0, 2)))]
    same = [(t, v) for t, v in again if type(v) is type(value) and is_number(t) == is_number(text)]
    numeric = is_number(text)

    def check(rows: Mapping[str, Row | None], op: str, other: Any) -> Truth:
        found = of(rows)
        if numeric and (isinstance(found, str | bool) or found is None):
            return None
        if not numeric and (found is None or type(found) is not type(other)):
            return None
        return compare(op, found, other)

    form = draw(st.sampled_from(("compare", "in", "between") if one.kind != "bool" and not isinstance(value, bool)
                                else ("compare", "in")))  # fmt: skip
    if form == "in":
        items = [(text, value), *same]
        null = draw(st.integers(0, 4)) == 0
        negated = draw(st.booleans())
        listed = ", ".join([t for t, _ in items] + (["NULL"] if null else []))
        return Filter(
            f"{one.text} {'NOT ' if negated else ''}IN ({listed})",
            lambda rows, _: inverted(
                any_of([check(rows, "=", v) for _, v in items] + ([None] if null else [])), negated
            ),
            names,
        )
    if form == "between":
        high = same[0] if same else (text, value)
        negated = draw(st.booleans())
        return Filter(
            f"{one.text} {'NOT ' if negated else ''}BETWEEN {text} AND {high[0]}",
            lambda rows, _: inverted(all_of([check(rows, ">=", value), check(rows, "<=", high[1])]), negated),
            names,
        )
    ops = ("=", "!=") if isinstance(value, bool) else tuple(COMPARE)
    op = draw(st.sampled_from(ops))
    if draw(st.booleans()):
        return Filter(f"{one.text} {op} {text}", lambda rows, _: check(rows, op, value), names)
    flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op)
    return Filter(f"{text} {flipped} {one.text}", lambda rows, _: check(rows, op, value), names)


_GROUPS = {"int": "number", "double": "number", "string": "text", "bool": "truth"}


def pair(draw: Callable[[Any], Any], kind: str, base: int) -> Filter:
    """Two values of the store compared with one another; of an integer and a double, both as doubles."""
    one, other = operands(draw, kind, base), operands(draw, kind, base)
    group = _GROUPS.get(one.kind)
    if group is None or group != _GROUPS.get(other.kind):
        return leaf(draw, kind, base)
    op = draw(st.sampled_from(("=", "!=") if group == "truth" else tuple(COMPARE)))
    as_double = one.kind != other.kind

    def value(rows: Mapping[str, Row | None], _: Node) -> Truth:
        left, right = one.get(rows[one.owner]), other.get(rows[other.owner])
        if left is None or right is None:
            return None
        return COMPARE[op](float(left), float(right)) if as_double else COMPARE[op](left, right)

    return Filter(f"{one.text} {op} {other.text}", value, frozenset({one.owner, other.owner} - {""}))


def inverted(value: Truth, negated: bool) -> Truth:
    return value if value is None or not negated else not value


def all_of(values: list[Truth]) -> Truth:
    return False if False in values else None if None in values else True


def any_of(values: list[Truth]) -> Truth:
    return True if True in values else None if None in values else False


def filters(draw: Callable[[Any], Any], kind: str, base: int, depth: int = 3) -> Filter:
    form = draw(st.sampled_from(("leaf", "leaf", "and", "or", "not", "exists"))) if depth else "leaf"
    if form == "leaf":
        return pair(draw, kind, base) if draw(st.integers(0, 4)) == 0 else leaf(draw, kind, base)
    if form == "not":
        child = filters(draw, kind, base, depth - 1)
        return Filter(f"NOT ({child.text})", lambda rows, node: inverted(child.value(rows, node), True), child.aliases)
    if form == "exists":
        return exists(draw, kind, base)
    children = [filters(draw, kind, base, depth - 1) for _ in range(draw(st.integers(2, 3)))]
    together = all_of if form == "and" else any_of
    return Filter(
        f" {form.upper()} ".join(f"({child.text})" for child in children),
        lambda rows, node: together([child.value(rows, node) for child in children]),
        frozenset().union(*(child.aliases for child in children)),
    )


def exists(draw: Callable[[Any], Any], kind: str, base: int) -> Filter:
    """EXISTS around tests of linked rows, with names of their own (renumbered from 5 on)."""
    parts = [leaf(draw, kind, base) if draw(st.booleans()) else pair(draw, kind, base)
             for _ in range(draw(st.integers(1, 2)))]  # fmt: skip
    word, together = draw(st.sampled_from((("AND", all_of), ("OR", any_of))))
    names = sorted(frozenset().union(*(part.aliases for part in parts)))
    text = f" {word} ".join(f"({part.text})" for part in parts)
    if not names:
        return parts[0]
    for alias in names:
        prefix, _, number = alias.rpartition("_")
        text = text.replace(f"{alias}.", f"{prefix}_{int(number) + 5}.")

    def value(rows: Mapping[str, Row | None], node: Node) -> Truth:
        choices = [[linked.row for linked in node.links[name.rpartition("_")[0]]] for name in names]
        every = (rows | dict(zip(names, chosen, strict=True)) for chosen in product(*choices))
        return any(together([part.value(one, node) for part in parts]) is True for one in every)

    return Filter(f"EXISTS ({text})", value)


def expected(nodes: list[Node], one: Filter) -> list[int]:
    found = []
    for node in nodes:
        names = sorted(one.aliases)
        choices = [[linked.row for linked in node.links[name.rpartition("_")[0]]] or [None] for name in names]
        if any(
            one.value({"": node.row, **dict(zip(names, chosen, strict=True))}, node) is True
            for chosen in product(*choices)
        ):
            found.append(node.row["id"])
    return found


@contextmanager
def joining(tables: int | None) -> Iterator[None]:
    """Have subqueries of so many tables made part of a join, on every database; None: of as many as it is for each."""
    joined = {} if tables is None else dict.fromkeys(("sqlite", "mysql", "postgresql"), tables)
    with mock.patch.dict(statement._JOINED, joined), mock.patch.dict(templates):
        templates.clear()
        yield


# Without shrinking: each try fills a database, and the filter's text says enough.
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[*HealthCheck],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data(), room=st.sampled_from((None, 0, 1, 2, 3, 5)))
def test_every_database_answers_as_three_valued_logic_does(
    stocked: Store, data: st.DataObject, room: int | None
) -> None:
    base, built = stocked.build(data.draw)
    with joining(room):
        for kind in ("artifact", "execution", "context"):
            for _ in range(3):
                one = filters(data.draw, kind, base)
                assert stocked.matching(kind, base, one.text) == expected(getattr(built, kind), one), one.text
