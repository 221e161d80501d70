"""DuckDB's errors in lakecat's tree: what went wrong, where in the SQL text, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import duckdb

from lakecat.errors import AccessDeniedError, EngineError, Where

#: The name of SQL text that has no file; callers that know the script's path put their own.
SQL_TEXT: Final = "<sql>"

_PREFIX: Final = re.compile(r"\A(?:[A-Z][A-Za-z ]*?Error|INTERRUPT Error): ")
_PLACE: Final = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
_DENIED: Final = re.compile(
    r"Cannot access (?:file|directory) \"(?P<path>.*?)\" - file system operations are disabled", re.DOTALL
)
# DuckDB quotes the whole traceback of what a Python filesystem raised; its last line is the reason.
_PYTHON: Final = re.compile(
    r"Traceback \(most recent call last\):.*?(?:\w+\.)*\w+(?:Error|Exception): ([^\n]*)\s*\Z", re.DOTALL
)
_LOCKED: Final = "the configuration has been locked"
_EXTENSION: Final = re.compile(r"(?:exists in|requires) the (\w+) extension")


def translate(err: BaseException, sql: str) -> EngineError:
    """The EngineError for an error of DuckDB, or of an Arrow stream that carries its text."""
    message = str(err)
    denied = _DENIED.search(message)
    if denied:
        return AccessDeniedError(
            f"SQL text may not reach {denied['path']!r}: only the tables it names can be read",
            where=_where(message, sql),
            hint="land the data in a table with an ingest job, then name the table",
        )
    if _LOCKED in message:
        return AccessDeniedError(
            _head(message), where=_where(message, sql), hint="engine settings live in lakecat.yaml"
        )
    python = _PYTHON.search(message)
    if python:
        return EngineError(f"a data file cannot be read: {python[1]}", next_command="lakecat doctor")
    extension = _EXTENSION.search(message)
    if extension:
        return AccessDeniedError(
            _head(message), where=_where(message, sql), hint=f"extensions such as {extension[1]} cannot be loaded"
        )
    return EngineError(_what(err, message), where=_where(message, sql), hint=_hint(err, message))


def locate(con: Any, err: duckdb.Error, sql: str, parameters: Mapping[str, object] | None) -> EngineError:
    """As :func:`translate`, for an error of binding, which lacks its place: EXPLAIN finds it, running nothing."""
    try:
        con.execute(f"EXPLAIN\n{sql}", dict(parameters) if parameters else None)
    except duckdb.Error as placed:
        return translate(type(placed)(_PLACE.sub(_line_before, str(placed))), sql)
    return translate(err, sql)


def _line_before(place: re.Match[str]) -> str:
    """The same place in the text without the line that was put before it; the caret moves with the number's width."""
    number = str(int(place[1]) - 1)
    return f"LINE {number}: {place[2]}\n{place[3][len(place[1]) - len(number) :]}^"


def _what(err: BaseException, message: str) -> str:
    if isinstance(err, duckdb.InterruptException) or message.startswith("INTERRUPT Error"):
        return "the query was interrupted"
    if _out_of_memory(err, message):
        space = "space for spilled data" if "max_temp_directory_size" in message else "memory"
        return f"the query ran out of {space}: {_head(message)}"
    return _head(message)


def _hint(err: BaseException, message: str) -> str | None:
    if _out_of_memory(err, message):
        if "max_temp_directory_size" in message:
            return "raise engine.max_temp_size, or point engine.temp_directory at a bigger disk, in lakecat.yaml"
        return "raise engine.memory_limit or lower engine.threads in lakecat.yaml"
    lines = _PREFIX.sub("", message).split("\n\nLINE ")[0].splitlines()[1:]
    kept = [line.strip() for line in lines if line.strip()]
    return "; ".join(kept[:4]) or None


def _out_of_memory(err: BaseException, message: str) -> bool:
    return isinstance(err, duckdb.OutOfMemoryException) or message.startswith("Out of Memory Error")


def _head(message: str) -> str:
    text = _PREFIX.sub("", message).strip()
    return text.splitlines()[0].strip() if text else "the engine gave no reason"


def _where(message: str, sql: str) -> Where | None:
    """The place in the text: DuckDB quotes the line, shortened by ``...`` when long, and puts a caret under it."""
    found = _PLACE.search(message)
    if not found:
        return None
    number = int(found[1])
    lines = sql.splitlines()
    if number > len(lines):
        return None
    shown, caret = found[2], len(found[3]) - len(f"LINE {number}: ")
    excerpt = shown.removeprefix("...").removesuffix("...")
    start = lines[number - 1].find(excerpt)
    if start < 0 or caret < 0:
        return Where(SQL_TEXT, number)
    return Where(SQL_TEXT, number, start + caret - (3 if shown.startswith("...") else 0) + 1)
