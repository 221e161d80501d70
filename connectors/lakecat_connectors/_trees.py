"""Trees of texts (XML's values) to Arrow: what repeats, what has parts, and the type of every text, at any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from lakecat.connector import type_name
from lakecat.connector.columns import fold
from lakecat.connector.fit import MisfitError, Rule, first_misfit, fit, is_text_type
from lakecat.connector.shapes import MAX_FIELDS, as_json
from lakecat_connectors._faults import excerpt
from lakecat_connectors._infer import Evidence
from lakecat_connectors._options import FilesOptions

TEXT: Final = "text"
_OBSERVED: Final = 4_096


class Repeated(list[Any]):
    """The values of an element that stands more than once in its parent."""


class TreeError(Exception):
    """A value that its column cannot hold; ``path`` says where in the column."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.path = path


@dataclass(slots=True)
class Tree:
    """What one element's values have been."""

    options: FilesOptions
    budget: list[int] = field(default_factory=lambda: [MAX_FIELDS])
    fields: dict[str, Tree] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    repeats: bool = False
    bare: bool = False
    texts: list[str] = field(default_factory=list)
    evidence: Evidence | None = None

    def observe(self, value: Any, path: str) -> None:
        """Take one value into account. Raises TreeError."""
        if value is None:
            return
        if isinstance(value, Repeated):
            self.repeats = True
            for part in value:
                self.observe(part, path)
        elif isinstance(value, dict):
            for name, part in value.items():
                self.child(name, path).observe(part, f"{path}.{name}")
        else:
            self._observe_text(value)

    def child(self, name: str, path: str) -> Tree:
        """The named part. Raises TreeError for names that collide and for too many."""
        tree = self.fields.get(name)
        if tree is None:
            other = self.folded.setdefault(fold(name), name)
            here = f"{path}.{name}" if path else name
            if other != name:
                raise TreeError(f"the names {other!r} and {name!r} are one column", here)
            self.budget[0] -= 1
            if self.budget[0] < 0:
                raise TreeError(f"more than {MAX_FIELDS} different names: they look like data, not columns", here)
            tree = self.fields[name] = Tree(self.options, self.budget)
        return tree

    def flush(self) -> None:
        """Take the texts gathered so far into account."""
        for tree in self.fields.values():
            tree.flush()
        if self.texts:
            if self.evidence is None:
                options = self.options
                formats = (tuple(options.date_formats), tuple(options.timestamp_formats))
                self.evidence = Evidence(options.decimals, *formats)
            self.evidence.observe(pa.array(self.texts, pa.string()))
            self.texts = []

    def decide(self) -> pa.DataType:
        """The narrowest type that holds every value."""
        if self.fields:
            parts = dict(self.fields)
            if self.bare and TEXT not in parts:
                parts[TEXT] = Tree(self.options, evidence=self.evidence)
            kind: pa.DataType = pa.struct([pa.field(name, tree.decide()) for name, tree in parts.items()])
        else:
            kind = self.evidence.decide() if self.evidence is not None else pa.string()
        return pa.list_(kind) if self.repeats else kind

    def _observe_text(self, value: str) -> None:
        if value in self.options.null:
            return
        self.bare = True
        self.texts.append(value)
        if len(self.texts) >= _OBSERVED:
            self.flush()


@dataclass(frozen=True, slots=True)
class Conversion:
    """How texts are read: the column's rule, and the texts that mean NULL. ``surplus``: structs may have more parts."""

    rule: Rule
    nulls: frozenset[str]
    surplus: bool = False


def build(values: Sequence[Any], kind: pa.DataType, conversion: Conversion) -> pa.Array:
    """The values as an array of the type; an element without parts is the ``text`` of one with. Raises TreeError."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list(values, kind, conversion)
    if pa.types.is_struct(kind):
        return _struct(values, kind, conversion)
    if not is_text_type(kind):
        raise TreeError(f"is {type_name(kind)}, which XML cannot hold")
    return _texts(values, kind, conversion)


def _list(values: Sequence[Any], kind: pa.DataType, conversion: Conversion) -> pa.Array:
    offsets: list[int | None] = []
    flat: list[Any] = []
    for value in values:
        offsets.append(None if value is None else len(flat))
        if value is not None:
            flat.extend(value if isinstance(value, Repeated) else [value])
    items = build(flat, kind.value_type, conversion)
    maker = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    size = pa.int64() if pa.types.is_large_list(kind) else pa.int32()
    return maker.from_arrays(pa.array([*offsets, len(flat)], size), items, kind)


def _struct(values: Sequence[Any], kind: pa.StructType, conversion: Conversion) -> pa.Array:
    own = {fold(part.name): part.name for part in kind}
    rows: list[dict[str, Any] | None] = []
    for value in values:
        row = {TEXT: value} if isinstance(value, str) and value not in conversion.nulls else value
        if isinstance(row, Repeated):
            raise TreeError("stands more than once, and the column is no list")
        if isinstance(row, str):
            row = None
        if row is not None:
            row = {fold(name): part for name, part in row.items()}
            stray = next((name for name in row if name not in own and row[name] not in (None, "")), None)
            if stray is not None and not conversion.surplus:
                raise TreeError(f"has a part {stray!r}, which the column has not", f".{stray}")
        rows.append(row)
    children = []
    for part in kind:
        try:
            inner = [None if row is None else row.get(fold(part.name)) for row in rows]
            children.append(build(inner, part.type, conversion))
        except TreeError as err:
            raise TreeError(err.what, f".{part.name}{err.path}") from err
    mask = pa.array([row is None for row in rows], pa.bool_())
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)


def _texts(values: Sequence[Any], kind: pa.DataType, conversion: Conversion) -> pa.Array:
    if any(isinstance(value, dict | list) for value in values):
        if not (pa.types.is_string(kind) and conversion.rule.declared):
            raise TreeError(f"has parts or repeats, and the column is {type_name(kind)}")
        values = [as_json(value) if isinstance(value, dict | list) else value for value in values]
    texts = pa.array([None if value in conversion.nulls else value for value in values], pa.string())
    rule = replace(conversion.rule, type=kind)
    try:
        return fit(texts, rule)
    except MisfitError as err:
        value = texts[max(first_misfit(texts, rule), 0)].as_py()
        raise TreeError(f"{excerpt(value)} is not {type_name(kind)}") from err
