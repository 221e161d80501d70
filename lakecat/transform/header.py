"""The header of a script: YAML inside its leading comment lines.

::

    -- lakecat: {dialect: snowflake, partition: [day(dep_time)], schedule: "0 6 * * *"}

or, over several lines, each further line indented below ``lakecat:``::

    -- lakecat:
    --   dialect: snowflake
    --   variables:
    --     since: {type: date, default: 2013-01-01}
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import sqlglot
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakecat.config import (
    Frozen,
    PartitionSpecText,
    Schedule,
    cron_text,
    listed,
    parse_document,
    suggestion,
    validate,
)
from lakecat.errors import ConfigError, ScriptError, Where

_START: Final = re.compile(r"--(?P<body> {0,3}lakecat:.*)")
_MORE: Final = re.compile(r"--(?P<body>\s{2,}.*)")


def check_dialect(value: str) -> str:
    """A dialect that sqlglot reads. Raises ValueError naming the near ones."""
    known = sorted(str(dialect.value) for dialect in sqlglot.Dialects if dialect.value)
    if value not in known:
        raise ValueError(f"{value!r} is not a SQL dialect; {suggestion(value, known)}")
    return value


def _type_name(value: str, info: ValidationInfo) -> str:
    del info
    try:
        exp.DataType.build(value, dialect="duckdb", udt=False)
    except (SqlglotError, ValueError) as err:
        raise ValueError(f"{value!r} is not a SQL type; write e.g. date, integer, decimal(10, 2), text") from err
    return value


class Variable(Frozen):
    """A named parameter of a script: its type, and the value it has when none is given."""

    type: Annotated[str, AfterValidator(_type_name)] = Field(default="text", description="SQL type, DuckDB's names")
    default: str | int | float | bool | None = Field(default=None, description="value when none is given")


def _typed(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Header(Frozen):
    """The keys of a script's header."""

    dialect: Annotated[str, AfterValidator(check_dialect)] | None = Field(
        default=None, description="SQL dialect of this script"
    )
    partition: Annotated[tuple[PartitionSpecText, ...], BeforeValidator(listed)] = Field(
        default=(), description="how the table is partitioned when this script creates it"
    )
    schedule: Annotated[Schedule | None, BeforeValidator(cron_text)] = Field(
        default=None, description="when the script is due: cron text, or cron and timezone"
    )
    variables: dict[str, Annotated[Variable, BeforeValidator(_typed)]] = Field(
        default_factory=dict, description="types and defaults of the script's named parameters"
    )


class _Holder(Frozen):
    lakecat: Header = Header()


def read_header(text: str, file: str) -> Header:
    """The header of a script's text; an empty one when there is none. Raises ScriptError with file and line."""
    lines = text.splitlines()
    start, body = _header_lines(lines)
    if not body:
        return Header()
    # Blank lines before the header keep the YAML's line numbers the file's own.
    try:
        document = parse_document("\n" * start + "\n".join(body), file)
        return validate(_Holder, document, root=Path(file).parent).lakecat
    except ConfigError as err:
        where = err.where
        if where is not None and isinstance(where.column, int):
            where = Where(where.file, where.line, where.column + 2)
        raise ScriptError(f"the header: {err.what}", where=where, hint=err.hint) from err


def _header_lines(lines: list[str]) -> tuple[int, list[str]]:
    for index, line in enumerate(lines):
        text = line.strip()
        if text and not text.startswith("--"):
            return 0, []
        if match := _START.fullmatch(text):
            body = [match["body"]]
            for further in lines[index + 1 :]:
                if not (more := _MORE.fullmatch(further.rstrip())):
                    break
                body.append(more["body"])
            return index, body
    return 0, []
