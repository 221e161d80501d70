"""Time travel in queries: which dataset at which version each table of a SELECT means.

Three spellings, in any dialect: ``raw.flights@v7`` (also ``@2026-11-01``, ``@2026-11-01T12:00:00Z``,
``@<snapshot id>``, ``@<tag>``; no space around the ``@``), ``raw.flights FOR VERSION AS OF 7`` and
``raw.flights FOR TIMESTAMP AS OF '2026-11-01'``; DuckDB's ``AT (VERSION => 7)`` means the second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from lakecat.errors import SelectorError, UsageError
from lakecat.transform.names import table_nodes
from lakecat.types import DatasetName, VersionRef, is_tag_name

_AT: Final = re.compile(
    r"@(?:v[1-9][0-9]{0,17}|\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d)?)?|[0-9]{9,19}"
    r"|(?!v[0-9])[a-z][a-z0-9_]*(?:[.-][a-z0-9_]+)*)"
    r"(?![A-Za-z0-9_])"
)
_SNAPSHOT_ID: Final = 10**8
_MARK: Final = "lakecat_version_mark_"


@dataclass(frozen=True, slots=True)
class TravelQuery:
    """A SELECT in the engine's dialect, and what each of the dataset names in it stands for."""

    sql: str
    relations: Mapping[DatasetName, VersionRef]


def read_query(sql: str, *, dialect: str, engine_dialect: str) -> TravelQuery:
    """Parse one SELECT and find the datasets and versions that it reads.

    Raises UsageError when the text is not one SELECT, SelectorError when a version or table name cannot be read.
    """
    text, marked = _without_versions(sql, dialect)
    statement = parse_query(text, dialect, hint="changes belong into scripts under transforms/")
    relations: dict[DatasetName, VersionRef] = {}
    for table in table_nodes(statement):
        if not isinstance(table.this, exp.Identifier):
            continue
        version = marked.get(table.name.lower())
        reference = _reference(table, version)
        name = _relation_name(reference, relations)
        relations[name] = reference
        _rename(table, name, reference.dataset.name if version else table.name)
    return TravelQuery(statement.sql(dialect=engine_dialect), relations)


def parse_query(text: str, dialect: str, *, hint: str) -> exp.Query:
    """The one SELECT that a text is. Raises UsageError; ``hint`` is for other statements."""
    try:
        statements = [item for item in sqlglot.parse(text, read=dialect) if item is not None]
    except (SqlglotError, ValueError, RecursionError) as err:
        raise UsageError(f"is not {dialect} SQL: {_first_line(err)}") from err
    # DuckDB runs INSERT, UPDATE and DELETE within a WITH.
    if len(statements) != 1 or not isinstance(statements[0], exp.Query) or statements[0].find(exp.DML):
        raise UsageError("a query is one SELECT", hint=hint)
    return statements[0]


def _first_line(err: Exception) -> str:
    return next(iter(str(err).splitlines()), "nested too deeply") or "nested too deeply"


def _without_versions(sql: str, dialect: str) -> tuple[str, dict[str, str]]:
    """The text with each ``name@version`` under a name of its own, and what each such name stands for.

    A name, and no FOR … AS OF clause: not every dialect takes that before an alias.
    """
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
    except (SqlglotError, ValueError) as err:
        raise UsageError(f"is not {dialect} SQL: {_first_line(err)}") from err
    pieces: list[str] = []
    marked: dict[str, str] = {}
    end = 0
    for index, token in enumerate(tokens):
        if token.token_type is not TokenType.PARAMETER or token.start < end or not _follows_name(tokens, index):
            continue
        match = _AT.match(sql, token.start)
        if match is None:
            raise SelectorError(
                f"{sql[token.start : token.start + 30]!r} is not a version",
                hint="write @v7, @2026-11-01, @2026-11-01T12:00:00Z, @<snapshot id> or @<tag>, such as @prod",
            )
        name = f"{_MARK}{len(marked)}"
        marked[name] = f"{tokens[index - 1].text}{match[0]}"
        pieces += [sql[end : tokens[index - 1].start], name]
        end = match.end()
    return "".join([*pieces, sql[end:]]), marked


def _follows_name(tokens: list[Token], index: int) -> bool:
    """Whether ``a.b`` stands right before the token, without a space."""
    if index < 3:
        return False
    _, dot, name, at = tokens[index - 3 : index + 1]
    return dot.token_type is TokenType.DOT and name.end + 1 == at.start and dot.end + 1 == name.start


def _reference(table: exp.Table, marked: str | None) -> VersionRef:
    if not table.db or table.catalog:
        shown = f"{table.catalog}.{table.db}.{table.name}".strip(".")
        raise SelectorError(f"{shown} is not a dataset name", hint="write namespace.name, e.g. raw.orders")
    if marked is not None:
        return VersionRef.parse(f"{table.db}.{marked}")
    dataset = DatasetName(table.db, table.name)
    clause = table.args.get("version") or table.args.get("when")
    if clause is None:
        return VersionRef(dataset)
    kind = str(clause.args.get("kind" if isinstance(clause, exp.HistoricalData) else "this") or "").upper()
    text = _literal(clause.expression)
    if kind == "VERSION" and text.isdigit():
        return VersionRef.parse(f"{dataset}@{text if int(text) >= _SNAPSHOT_ID else f'v{text}'}")
    if kind == "VERSION" and is_tag_name(text):
        return VersionRef(dataset, tag=text)
    if kind == "TIMESTAMP":
        return VersionRef.parse(f"{dataset}@{text.replace(' ', 'T', 1)}")
    raise SelectorError(
        f"{clause.sql()} is not a version", hint="write FOR VERSION AS OF 7 or FOR TIMESTAMP AS OF '2026-11-01'"
    )


def _literal(node: exp.Expression) -> str:
    while isinstance(node, exp.Cast):
        node = node.this
    if not isinstance(node, exp.Literal):
        raise SelectorError(f"{node.sql()} is not a version", hint="write a number, or a date or time in quotes")
    return node.name.strip()


def _relation_name(reference: VersionRef, taken: Mapping[DatasetName, VersionRef]) -> DatasetName:
    """The dataset's own name for its current version; another, free one for each other version."""
    wanted = reference.dataset
    number = 0
    while taken.get(wanted, reference) != reference or (number == 0 and reference != VersionRef(reference.dataset)):
        number += 1
        wanted = DatasetName(reference.dataset.namespace, f"{reference.dataset.name[:110]}__at_{number}")
    return wanted


def _rename(table: exp.Table, name: DatasetName, written: str) -> None:
    """Let the table stand for a relation; columns may still be qualified with the name that was written."""
    if not table.alias and name.name != written.lower():
        table.set("alias", exp.TableAlias(this=exp.to_identifier(written, quoted=True)))
    table.set("version", None)
    table.set("when", None)
    table.set("this", exp.to_identifier(name.name, quoted=True))
    table.set("db", exp.to_identifier(name.namespace, quoted=True))
