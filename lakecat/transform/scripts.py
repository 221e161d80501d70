"""Scripts: ``transforms/**/*.sql``, found, read and parsed; what each one does, before anything runs.

One script holds one statement that changes data: a bare SELECT (its path names the table that it replaces),
``CREATE [OR REPLACE] TABLE [IF NOT EXISTS] … AS``, ``INSERT INTO | OVERWRITE``, ``MERGE``, ``UPDATE`` or ``DELETE``.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError

from lakecat.config import Schedule, Settings
from lakecat.errors import ConfigError, ScriptError, SelectorError, Where
from lakecat.transform.header import Header, check_dialect, read_header
from lakecat.transform.names import TableUse, place, tables_read, written_table
from lakecat.types import DatasetName

MAX_BYTES: Final = 4 << 20
MAX_LINES_SEARCHED: Final = 2_000
_TOKEN: Final = re.compile(r"<Token token_type: .*?, text: (.*?), line: [0-9]+, col: .*?>", re.DOTALL)


class Kind(StrEnum):
    """What a script's statement does to its target."""

    SELECT = "select"
    CREATE = "create"
    CREATE_IF_MISSING = "create_if_missing"
    INSERT = "insert"
    OVERWRITE = "overwrite"
    MERGE = "merge"
    UPDATE = "update"
    DELETE = "delete"

    @property
    def creates(self) -> bool:
        """Whether the script decides the whole table, its columns too."""
        return self in (Kind.SELECT, Kind.CREATE, Kind.CREATE_IF_MISSING)

    @property
    def inserts(self) -> bool:
        """Whether the rows of a query go into a table whose columns are given."""
        return self in (Kind.INSERT, Kind.OVERWRITE)

    @property
    def fills(self) -> bool:
        """Whether it brings rows into the table."""
        return self.creates or self.inserts or self is Kind.MERGE

    @property
    def modifies(self) -> bool:
        """Whether rows of the target are looked at to change it."""
        return self in (Kind.MERGE, Kind.UPDATE, Kind.DELETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One parsed script.

    ``name`` is the path in the scripts' folder without ``.sql``, with dots: ``staging.flights``. ``path`` is
    relative to the project, with slashes. ``columns`` are the columns that an INSERT lists, or None.
    """

    name: str
    path: str
    text: str = field(repr=False)
    sha256: str
    dialect: str
    kind: Kind
    target: DatasetName
    reads: tuple[TableUse, ...]
    statement: exp.Expr = field(repr=False, compare=False, hash=False)
    header: Header = field(repr=False, hash=False)
    partition: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    by_name: bool = False

    @property
    def job(self) -> str:
        """The name of its executions' job."""
        return f"transform:{self.name}"

    @property
    def schedule(self) -> Schedule | None:
        """When it is due, if it says so."""
        return self.header.schedule

    @property
    def inputs(self) -> tuple[DatasetName, ...]:
        """The datasets that it reads, each once, in the order of the text; its target too when it reads it."""
        return tuple(dict.fromkeys(use.dataset for use in self.reads))

    @property
    def changes(self) -> tuple[DatasetName, ...]:
        """The datasets of which it reads only what arrived, through ``table_changes``."""
        return tuple(dict.fromkeys(use.dataset for use in self.reads if use.changes))

    def where(self, node: exp.Expr | None = None) -> Where:
        """The place of a node of its statement; of the file without one."""
        line, column = place(node, self.text) if node is not None else (None, None)
        return Where(self.path, line, column)


def load_scripts(settings: Settings) -> tuple[Script, ...]:
    """Read and parse every script of the project, in the order of their paths.

    Raises ScriptError with file and line for the first one that does not parse or does what scripts may not.
    """
    folder = settings.root / settings.transforms.folder
    if not folder.is_dir():
        return ()
    files = sorted(path for path in folder.rglob("*.sql") if path.is_file())
    return tuple(_load(path, folder, settings) for path in files)


def _load(path: Path, folder: Path, settings: Settings) -> Script:
    inner = path.relative_to(folder).as_posix()
    shown = f"{settings.transforms.folder}/{inner}"
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ScriptError(f"cannot be read: {err.strerror}", where=Where(shown)) from err
    if len(data) > MAX_BYTES:
        raise ScriptError(f"is larger than {MAX_BYTES} bytes", where=Where(shown))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data.count(b"\n", 0, err.start) + 1
        raise ScriptError("is not UTF-8 text", where=Where(shown, line), hint="save the file as UTF-8") from err
    return parse_script(text, inner, path=shown, dialect=_dialect(inner, settings))


def _dialect(inner: str, settings: Settings) -> str:
    found = next(
        (
            dialect
            for glob, dialect in settings.transforms.dialects.items()
            if fnmatchcase(inner, glob) or fnmatchcase(inner, f"{glob.rstrip('/')}/*")
        ),
        settings.dialect,
    )
    try:
        return check_dialect(found)
    except ValueError as err:
        raise ConfigError(f"the dialect of {inner}: {err}") from err


# A run reads its files several times, a scheduler's process again and again; their text seldom changes.
@lru_cache(maxsize=1024)
def parse_script(text: str, inner: str, *, path: str, dialect: str) -> Script:
    """Parse one script; the same text is parsed once in a process.

    Args:
        text: the script's text.
        inner: its path in the scripts' folder, which names a bare SELECT's table and the script.
        path: its path as a person would open it, for messages.
        dialect: sqlglot's name of the dialect, unless the header names another.

    Raises:
        ScriptError: with file and line.
    """
    header = read_header(text, path)
    dialect = header.dialect or dialect
    statement = _statement(text, path, dialect)
    namespace = _namespace(inner)
    kind = _kind(statement, text, path)
    target = written_table(statement, text=text, path=path, namespace=namespace) or _path_target(inner, path)
    script = Script(
        name=inner.removesuffix(".sql").replace("/", "."),
        path=path,
        text=text,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        dialect=dialect,
        kind=kind,
        target=target,
        reads=tables_read(statement, text=text, path=path, namespace=namespace),
        statement=statement,
        header=header,
        partition=_partition(statement, header, text, path),
        columns=_columns(statement),
        by_name=bool(statement.args.get("by_name")),
    )
    _refuse_self_read(script)
    return script


def _namespace(inner: str) -> str | None:
    return inner.split("/", maxsplit=1)[0] if "/" in inner else None


def _path_target(inner: str, path: str) -> DatasetName:
    namespace = _namespace(inner)
    if namespace is None:
        raise ScriptError(
            "a bare SELECT needs a folder that names its table's namespace",
            where=Where(path, 1),
            hint=f"move it to <namespace>/{inner}, or write CREATE OR REPLACE TABLE <namespace>.<name> AS before it",
        )
    try:
        return DatasetName(namespace, Path(inner).stem)
    except SelectorError as err:
        raise ScriptError(f"its path names no table: {err.what}", where=Where(path, 1), hint=err.hint) from err


@contextmanager
def _fallbacks_kept() -> Iterator[list[str]]:
    """Keep what sqlglot would log about statements that it only half understands."""
    kept: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        kept.append(record.getMessage())
        return False

    logger = logging.getLogger("sqlglot")
    logger.addFilter(keep)
    try:
        yield kept
    finally:
        logger.removeFilter(keep)


def _statement(text: str, path: str, dialect: str) -> exp.Expr:
    try:
        with _fallbacks_kept():
            parsed = sqlglot.parse(text, read=dialect, error_level=ErrorLevel.IMMEDIATE)
    except ParseError as err:
        first = err.errors[0] if err.errors else {}
        raise ScriptError(
            f"is not {dialect} SQL: {_description(first.get('description') or str(err))}",
            where=Where(path, first.get("line"), first.get("col")),
            hint=f"near {first['highlight']!r}" if first.get("highlight") else None,
        ) from err
    except TokenError as err:
        raise ScriptError(
            f"is not {dialect} SQL: a quote or comment is not closed",
            where=Where(path, _unclosed_line(text, dialect)),
        ) from err
    except RecursionError as err:
        raise ScriptError("is nested too deeply to be parsed", where=Where(path)) from err
    found = [node for node in parsed if node is not None and not isinstance(node, exp.Semicolon)]
    if not found:
        raise ScriptError("holds no statement", where=Where(path, 1), hint="write a SELECT, or remove the file")
    if len(found) > 1:
        line, column = place(found[1], text)
        raise ScriptError(
            f"holds {len(found)} statements; one script holds one",
            where=Where(path, line, column),
            hint="put each statement into a script of its own; lakecat finds the order",
        )
    return found[0]


def _description(text: str) -> str:
    """The parser's words without the names of its classes."""
    if text.startswith("Required keyword"):
        return "something is missing"
    return _TOKEN.sub(lambda token: repr(token[1]), text).rstrip(".")


def _unclosed_line(text: str, dialect: str) -> int | None:
    """The line of the quote or comment that is never closed: the one after the last lines that read well."""
    lines = text.splitlines(keepends=True)
    if len(lines) > MAX_LINES_SEARCHED:
        return None
    for count in range(len(lines) - 1, 0, -1):
        try:
            sqlglot.tokenize("".join(lines[:count]), read=dialect)
        except TokenError:
            continue
        return count + 1
    return 1


_ALLOWED: Final = "a SELECT, CREATE TABLE AS, INSERT, MERGE, UPDATE or DELETE"


def _kind(statement: exp.Expr, text: str, path: str) -> Kind:
    if isinstance(statement, exp.Query | exp.Values):
        if statement.args.get("into") is not None:
            raise _refused(statement, "SELECT … INTO is refused", text, path)
        return Kind.SELECT
    if isinstance(statement, exp.Create):
        return _create_kind(statement, text, path)
    if isinstance(statement, exp.Insert):
        return _insert_kind(statement, text, path)
    for cls, kind in ((exp.Merge, Kind.MERGE), (exp.Update, Kind.UPDATE), (exp.Delete, Kind.DELETE)):
        if isinstance(statement, cls):
            if statement.args.get("returning") is not None:
                raise _refused(statement, "RETURNING has no reader in a script", text, path)
            return kind
    name = str(statement.this).upper() if isinstance(statement, exp.Command) else statement.key.upper()
    raise _refused(statement, f"{name} is not a statement that a script may hold", text, path)


def _refused(node: exp.Expr, what: str, text: str, path: str) -> ScriptError:
    line, column = place(node, text)
    return ScriptError(what, where=Where(path, line, column), hint=f"a script holds {_ALLOWED}")


_QUIET_PROPERTIES: Final = (
    exp.TransientProperty,
    exp.CopyGrantsProperty,
    exp.PartitionedByProperty,
    exp.FileFormatProperty,
    exp.SchemaCommentProperty,
)


def _create_kind(statement: exp.Create, text: str, path: str) -> Kind:
    what = str(statement.args.get("kind") or "").upper()
    if what != "TABLE":
        raise _refused(statement, f"CREATE {what} is not supported", text, path)
    if not isinstance(statement.expression, exp.Query | exp.Values):
        raise _refused(statement, "CREATE TABLE needs AS and a SELECT", text, path)
    if isinstance(statement.this, exp.Schema):
        raise _refused(statement, "a column list before AS is refused; name the columns in the SELECT", text, path)
    for item in statement.args["properties"].expressions if statement.args.get("properties") else ():
        if not isinstance(item, _QUIET_PROPERTIES):
            raise _refused(statement, f"CREATE TABLE with {item.key.removesuffix('property')} is refused", text, path)
        if isinstance(item, exp.FileFormatProperty) and item.name.lower() not in ("iceberg", "parquet"):
            raise _refused(statement, f"tables are Iceberg over Parquet, not {item.name}", text, path)
    return Kind.CREATE_IF_MISSING if statement.args.get("exists") else Kind.CREATE


_INSERT_EXTRAS: Final = ("alternative", "conflict", "returning", "partition", "where", "exists", "default", "ignore")


def _insert_kind(statement: exp.Insert, text: str, path: str) -> Kind:
    for name in _INSERT_EXTRAS:
        if statement.args.get(name):
            hint = {"alternative": "OR", "conflict": "ON CONFLICT", "exists": "IF EXISTS"}.get(name, name.upper())
            raise _refused(statement, f"INSERT with {hint} is refused; write a MERGE", text, path)
    if not isinstance(statement.expression, exp.Query | exp.Values):
        raise _refused(statement, "INSERT needs a SELECT or VALUES", text, path)
    return Kind.OVERWRITE if statement.args.get("overwrite") else Kind.INSERT


def _columns(statement: exp.Expr) -> tuple[str, ...] | None:
    if isinstance(statement, exp.Insert) and isinstance(statement.this, exp.Schema):
        return tuple(column.name for column in statement.this.expressions)
    return None


_PLURALS: Final = {"years": "year", "months": "month", "days": "day", "hours": "hour"}


def _partition(statement: exp.Expr, header: Header, text: str, path: str) -> tuple[str, ...]:
    clause = statement.find(exp.PartitionedByProperty) if isinstance(statement, exp.Create) else None
    if clause is None:
        return header.partition
    if header.partition:
        raise _refused(clause, "the partition stands twice: in the header and in PARTITIONED BY", text, path)
    inner = clause.this
    return tuple(_transform_text(item) for item in (inner.expressions or [inner]))


def _transform_text(node: exp.Expr) -> str:
    if isinstance(node, exp.PartitionedByBucket | exp.PartitionByTruncate):
        kind = "bucket" if isinstance(node, exp.PartitionedByBucket) else "truncate"
        return f"{kind}({node.expression.name}, {node.this.name})"
    if isinstance(node, exp.Func) and (column := node.find(exp.Column, exp.Identifier)) is not None:
        name = node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_name().lower()
        return f"{_PLURALS.get(name, name)}({column.name})"
    return node.name


def _refuse_self_read(script: Script) -> None:
    if not (script.kind.creates or script.kind is Kind.OVERWRITE):
        return
    for use in script.reads:
        if use.dataset == script.target:
            raise ScriptError(
                f"reads {script.target}, which it replaces",
                where=Where(script.path, use.line, use.column),
                hint="read from the tables it was made of, or write INSERT, MERGE or UPDATE",
            )
