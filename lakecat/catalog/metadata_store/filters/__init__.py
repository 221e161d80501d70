"""Filters: SQL-like conditions on artifacts, executions and contexts, as SQLAlchemy conditions with bound values.

The grammar and meaning are told in ``docs/filters.md``; they are those of ML Metadata's ``filter_query``, made right
where a property is missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog.metadata_store.filters.grammar import parse
from lakecat.catalog.metadata_store.filters.lexer import Tokens, tokenize
from lakecat.catalog.metadata_store.filters.names import NODES
from lakecat.catalog.metadata_store.filters.statement import Getter, Statement
from lakecat.catalog.metadata_store.filters.tree import check_depth, push_negations, quantify
from lakecat.catalog.metadata_store.kinds import Kind

_CACHED: Final = 512
_CACHED_LENGTH: Final = 4_000
"""Longer filters are not kept."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready for use. ``condition`` is TRUE where a node fits, else FALSE or NULL.

    It is the same object for all filters that differ in their literals only, so that what is built around it can be
    kept with it. Give ``parameters`` to ``execute`` beside it.
    """

    condition: sa.ColumnElement[bool]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Template:
    condition: sa.ColumnElement[bool]
    binds: Mapping[str, Getter]

    def fill(self, tokens: Tokens) -> Filter:
        return Filter(self.condition, {name: value(tokens.values) for name, value in self.binds.items()})


_templates: OrderedDict[tuple[str, ...], _Template] = OrderedDict()
_lock = Lock()


def prepare(kind: Kind, text: str, dialect: str, *, prefix: str = "filter") -> Filter:
    """The filter for nodes of a kind, in a dialect of SQLAlchemy (``sqlite``, ``postgresql``, ``mysql``).

    ``prefix`` begins the names of its parameters: give two filters of one statement two prefixes. Raises FilterError,
    which says where the text is wrong and which names exist.
    """
    tokens = tokenize(text)
    key = (kind.name, dialect, prefix, tokens.shape)
    template = _templates.get(key)
    if template is not None:
        return template.fill(tokens)
    statement = Statement(tokens, NODES[kind.name], dialect, prefix)
    found, fixed = _built(statement, tokens, kind)
    template = _Template(found, statement.binds)
    filled = template.fill(tokens)
    if not fixed and len(text) <= _CACHED_LENGTH:
        with _lock:
            _templates[key] = template
            while len(_templates) > _CACHED:
                _templates.popitem(last=False)
    return filled


def condition(kind: Kind, text: str, dialect: str) -> sa.ColumnElement[bool]:
    """The filter as one condition that holds its values; made anew each time. Raises FilterError."""
    tokens = tokenize(text)
    return _built(Statement(tokens, NODES[kind.name], dialect, None), tokens, kind)[0]


def _built(statement: Statement, tokens: Tokens, kind: Kind) -> tuple[sa.ColumnElement[bool], bool]:
    """The condition, and whether it holds for these values of the literals only."""
    tree, fixed = parse(tokens, NODES[kind.name])
    tree = quantify(push_negations(tree), tokens.text)
    check_depth(tree, tokens.text)
    found = statement.condition(tree)
    return found, fixed or statement.frozen


__all__ = ["Filter", "condition", "prepare"]
