"""Which of a session's relations a text names."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from lakecat.tables.relation import DIALECT
from lakecat.types import DatasetName

# They name tables in strings, which no reading of the text can follow.
_INDIRECT: Final = frozenset({"query", "query_table", "json_execute_serialized_sql", "destroy_external_resource"})


@lru_cache(maxsize=256)
def parsed(sql: str) -> exp.Expr | None:
    """The text as sqlglot reads it, or None when it cannot tell all of it: DuckDB's own parser has the last word.

    The tree is shared by all who run the same text: nothing in it may be changed.
    """
    try:
        # A comment behind the last semicolon is a node of its own.
        trees = [
            tree for tree in parse(sql, dialect=DIALECT) if tree is not None and not isinstance(tree, exp.Semicolon)
        ]
        tree = trees[0] if len(trees) == 1 else None
        if tree is None or any(call.name.lower() in _INDIRECT for call in tree.find_all(exp.Anonymous)):
            return None
    except (SqlglotError, RecursionError):
        return None
    return tree


def referenced(tree: exp.Expr | None, relations: Collection[DatasetName]) -> tuple[DatasetName, ...]:
    """The relations that the text names, with their namespace; all of them when the text could not be read."""
    if tree is None:
        return tuple(relations)
    named = {(table.db.lower(), table.name.lower()) for table in tree.find_all(exp.Table)}
    return tuple(name for name in relations if (name.namespace, name.name) in named)
