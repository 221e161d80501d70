"""Which of a session's relations a text names."""

from __future__ import annotations

from collections.abc import Collection

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from lakecat.tables.relation import DIALECT
from lakecat.types import DatasetName


def parsed(sql: str) -> exp.Expression | None:
    """The text as sqlglot reads it, or None when it does not: DuckDB's own parser has the last word."""
    try:
        tree = parse_one(sql, dialect=DIALECT)
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Expression) else None


def referenced(tree: exp.Expression | None, relations: Collection[DatasetName]) -> tuple[DatasetName, ...]:
    """The relations that the text names, with their namespace; all of them when the text could not be read."""
    if tree is None:
        return tuple(relations)
    named = {(table.db.lower(), table.name.lower()) for table in tree.find_all(exp.Table)}
    return tuple(name for name in relations if (name.namespace, name.name) in named)
