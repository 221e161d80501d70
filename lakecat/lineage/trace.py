"""The way in: trace a statement or a script to column edges."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from lakecat.errors import LineageError, Where
from lakecat.lineage.outputs import NotUnderstoodError, Outcome, Output
from lakecat.lineage.query import run_query
from lakecat.lineage.relation import Column, Flow, Key, Relation
from lakecat.lineage.rules import Rules
from lakecat.lineage.scope import Context
from lakecat.lineage.statements import Request, trace_statement
from lakecat.types import ColumnEdge, EdgeKind

MAX_EXPRESSION: Final = 1_000
"""Longer expression texts are cut, with an ellipsis."""
UNEXPECTED: Final = "parsed into a form that is not understood"

# sqlglot warns about statements it keeps as plain commands; we report them ourselves.
logging.getLogger("sqlglot").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class StatementError:
    """Why a statement has no lineage: message, and the 1-based line and column of its text in the script."""

    message: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLineage:
    """What one statement reads and writes.

    ``tables_in`` in order of first use; ``columns`` are the output columns of the (first) output, in order.
    ``kind`` is the SQL verb, ``line`` the statement's first line. With ``error`` everything else is empty.
    """

    tables_in: tuple[str, ...] = ()
    tables_out: tuple[str, ...] = ()
    edges: tuple[ColumnEdge, ...] = ()
    columns: tuple[str, ...] = ()
    kind: str = "OTHER"
    line: int = 1
    error: StatementError | None = None

    @property
    def unresolved(self) -> tuple[ColumnEdge, ...]:
        """The columns that could not be resolved, each with its reason."""
        return tuple(edge for edge in self.edges if edge.kind is EdgeKind.UNRESOLVED)


def trace(
    statement: str | exp.Expr,
    *,
    dialect: str,
    schemas: Mapping[str, Sequence[str]],
    target: str | None = None,
    target_columns: Sequence[str] | None = None,
) -> StatementLineage:
    """Column lineage of one statement, as text or as a tree that sqlglot parsed.

    ``schemas`` maps dataset names (``raw.flights``) to their columns in order; tables that are not in it are traced
    as far as it is certain. ``target`` names what a bare SELECT fills. ``target_columns`` are the columns of the
    written table in order, where they are known better than from ``schemas``. Work is linear in the statement and
    in the columns it handles.

    Raises LineageError: the text does not parse, is not one statement, or is of a form that is not understood.
    """
    rules = Rules.of(dialect)
    if isinstance(statement, str):
        found = [piece for piece in _statements(statement, dialect) if piece.tree is not None or piece.error]
        if len(found) != 1 and not any(piece.error for piece in found):
            raise LineageError(f"expected one SQL statement, found {len(found)}", hint="use trace_script for several")
        piece = next((piece for piece in found if piece.error), found[0])
    else:
        piece = _Piece(statement, _first_line(statement), None)
    session = _Session(rules, schemas)
    result = session.trace(piece, Request(target, target_columns))
    if result.error is not None:
        where = Where("<sql>", result.error.line, result.error.column)
        raise LineageError(result.error.message, where=where)
    return result


def trace_script(sql: str, *, dialect: str, schemas: Mapping[str, Sequence[str]]) -> tuple[StatementLineage, ...]:
    """Column lineage of every statement of a script, in order.

    Tables that the script creates are known to the statements after; temporary ones are looked through, so that
    edges lead to the tables they were made of. A statement that does not parse, or is not understood, carries an
    ``error`` with its place; the others are traced all the same.

    Raises LineageError for an unknown dialect.
    """
    session = _Session(Rules.of(dialect), schemas)
    return tuple(session.trace(piece, Request()) for piece in _statements(sql, dialect) if piece.tree or piece.error)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One statement of a script: its tree, or why there is none."""

    tree: exp.Expr | None
    line: int
    error: StatementError | None


def _statements(sql: str, dialect: str) -> Iterator[_Piece]:
    engine = Dialect.get_or_raise(dialect)
    try:
        chunks = list(_chunks(engine.tokenize(sql)))
    except TokenError as err:
        yield from _around_unreadable(engine, sql, err)
        return
    for chunk in chunks:
        yield _parsed(engine, chunk, sql)


def _around_unreadable(engine: Dialect, sql: str, err: TokenError) -> Iterator[_Piece]:
    """A quote or comment that never ends swallows the rest of the text; what stands before it is still traced."""
    cause = str(err.__cause__ or err)
    # sqlglot says "Missing ' from LINE:OFFSET", and nothing useful about comments.
    missing = re.search(r"^Missing (.+) from \d+:(\d+)", cause, re.DOTALL)
    offset = int(missing[2]) if missing else max(sql.rfind("/*"), 0)
    reason = f"{missing[1]} is never closed" if missing else "a comment is never closed"
    try:
        chunks = list(_chunks(engine.tokenize(sql[:offset])))
    except TokenError:
        chunks = []
    broken = chunks.pop() if chunks and not sql[:offset].rstrip().endswith(";") else None
    for chunk in chunks:
        yield _parsed(engine, chunk, sql)
    line = sql.count("\n", 0, offset) + 1
    error = StatementError(f"the text cannot be read: {reason}", line, offset - sql.rfind("\n", 0, offset))
    yield _Piece(None, broken[0].line if broken else line, error)


def _chunks(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    chunk: list[Token] = []
    for token in tokens:
        if token.token_type != TokenType.SEMICOLON:
            chunk.append(token)
        elif chunk:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _parsed(engine: Dialect, chunk: list[Token], sql: str) -> _Piece:
    line = chunk[0].line
    try:
        trees = engine.parser(error_level=ErrorLevel.IMMEDIATE).parse(chunk, sql)
    except ParseError as err:
        detail = err.errors[0] if err.errors else {}
        message = detail.get("description") or _plain(err)
        return _Piece(None, line, StatementError(f"does not parse: {message}", detail.get("line"), detail.get("col")))
    except RecursionError:
        return _Piece(None, line, StatementError("nested too deeply to be parsed", line, chunk[0].col))
    except (SqlglotError, AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
        # Broken text makes some dialect parsers fail in their own ways; one bad statement must not end the trace.
        return _Piece(None, line, StatementError(f"the parser failed: {_plain(err)}", line, chunk[0].col))
    return _Piece(trees[0] if trees else None, line, None)


def _plain(err: Exception) -> str:
    return str(err).partition("\n")[0].strip() or type(err).__name__


@dataclass(slots=True)
class _Session:
    """Statements of one script, in order, and the tables they leave for those after."""

    rules: Rules
    schemas: Mapping[str, Sequence[str]]
    temporary: dict[str, Relation] = field(default_factory=dict)
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.schemas = {self.rules.dataset(name.split(".")): tuple(cols) for name, cols in self.schemas.items()}

    def trace(self, piece: _Piece, request: Request) -> StatementLineage:
        if piece.tree is None or piece.error is not None:
            return StatementLineage(line=piece.line, error=piece.error)
        ctx = Context(self.rules, self.schemas, run_query, self.temporary, self.reads)
        try:
            outcome = trace_statement(ctx, piece.tree, request)
            edges = tuple(_Edges(self.rules.dialect).of(outcome))
        except NotUnderstoodError as err:
            return StatementLineage(line=piece.line, error=StatementError(str(err), piece.line))
        except RecursionError:
            return StatementLineage(line=piece.line, error=StatementError("nested too deeply to be traced", piece.line))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
            # sqlglot parses some broken text into trees of no known shape; one statement must not end the script.
            message = f"{UNEXPECTED} ({type(err).__name__}: {_plain(err)})"
            return StatementLineage(line=piece.line, error=StatementError(message, piece.line))
        self._remember(ctx, outcome)
        outputs = outcome.outputs
        return StatementLineage(
            tables_in=tuple(ctx.reads),
            tables_out=tuple(dict.fromkeys(output.dataset for output in outputs if output.dataset)),
            edges=edges,
            columns=tuple(dict.fromkeys(column.name for column in outputs[0].columns)) if outputs else (),
            kind=outcome.kind,
            line=piece.line,
        )

    def _remember(self, ctx: Context, outcome: Outcome) -> None:
        if outcome.created is not None:
            name, relation, temporary = outcome.created
            if temporary:
                self.temporary[name] = relation
                self.reads[name] = tuple(ctx.reads)
            elif relation.open is None and all(column.name != "*" for column in relation.columns):
                self.schemas = {**self.schemas, name: tuple(column.name for column in relation.columns)}
                self.temporary.pop(name, None)
            return
        for output in outcome.outputs:
            self._filled(ctx, output, outcome.kind)

    def _filled(self, ctx: Context, output: Output, kind: str) -> None:
        """A temporary table that is written to again holds what both statements put there."""
        known = self.temporary.get(output.dataset)
        if known is None:
            return
        if kind == "DROP":
            del self.temporary[output.dataset]
            return
        relation = Relation(list(known.columns), known.open)
        relation.influence.include(known.influence)
        relation.influence.include(output.influence)
        for column in output.columns:
            mine = relation.find(column.name)
            if mine is not None:
                relation.columns[relation.columns.index(mine)] = Column(
                    mine.name, {**column.deps, **mine.deps}, mine.node or column.node
                )
                relation = Relation(relation.columns, relation.open, relation.influence)
        self.temporary[output.dataset] = relation
        self.reads[output.dataset] = tuple(dict.fromkeys((*self.reads.get(output.dataset, ()), *ctx.reads)))


@dataclass(slots=True)
class _Edges:
    """Turns outputs into edges; texts and lines of shared nodes are made once."""

    dialect: str
    texts: dict[int, str | None] = field(default_factory=dict)
    lines: dict[int, int | None] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> Iterator[ColumnEdge]:
        for output in outcome.outputs:
            given: set[tuple[str, Key]] = set()
            for column in output.columns:
                for key, flow in column.deps.items():
                    if (column.name, key) not in given:
                        given.add((column.name, key))
                        yield self._edge(output.dataset, column.name, key, flow, column.node)
            for key, flow in output.influence.flatten():
                yield self._edge(output.dataset, None, key, flow, None)

    def _edge(self, dataset: str, name: str | None, key: Key, flow: Flow, node: exp.Expr | None) -> ColumnEdge:
        shown = node if key.kind is EdgeKind.IDENTITY and node is not None else flow.node or node
        return ColumnEdge(
            output_dataset=dataset,
            output_column=name,
            input_dataset=key.dataset,
            input_column=key.column,
            kind=key.kind,
            expression=flow.reason or self._text(shown),
            line=self._line(shown),
            masked=flow.masked,
        )

    def _text(self, node: exp.Expr | None) -> str | None:
        if node is None:
            return None
        if id(node) not in self.texts:
            try:
                text = node.sql(dialect=self.dialect, comments=False)
            except (SqlglotError, RecursionError, AttributeError, TypeError, ValueError):
                text = type(node).__name__  # a tree its own generator cannot write; the edge still holds
            self.texts[id(node)] = text if len(text) <= MAX_EXPRESSION else f"{text[: MAX_EXPRESSION - 1]}…"
        return self.texts[id(node)]

    def _line(self, node: exp.Expr | None) -> int | None:
        if node is None:
            return None
        if id(node) not in self.lines:
            self.lines[id(node)] = _first_line(node) or None
        return self.lines[id(node)]


def _first_line(node: exp.Expr) -> int:
    """The first line of a node's text, from the nearest names; 0 where nothing tells."""
    current: exp.Expr | None = node
    while current is not None:
        # Depth first is near enough to the order of the text that the first few names hold the first line.
        lines = islice((line for part in current.dfs() if (line := part.meta_get("line"))), 4)
        first = min(lines, default=0)
        if first:
            return int(first)
        current = current.parent
    return 0
