"""Write docs/cli.md, settings.md, errors.md and catalog-sql.md out of the code, so that they cannot differ from it.

    python scripts/make_reference.py [--check]

With ``--check`` nothing is written; exits with 1 when a page is not what the code says.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lakecat import errors
from lakecat.catalog.views import VIEWS
from lakecat.cli.app import cli
from lakecat.cli.commands import leaves
from lakecat.cli.options import COMMON_OPTIONS
from lakecat.config import JobFile, ProjectFile
from lakecat.transform import Header

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by scripts/make_reference.py; change the code instead. -->\n"


def cli_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Command line",
        "",
        NOTE,
        str(cli.help),
        "",
        str(cli.epilog),
        "",
        "Data goes to stdout and talk to stderr. Progress bars and colours are shown on a terminal only; `NO_COLOR`",
        "turns colours off. Each command has a Python twin on [`lakecat.Lake`](tutorial.md#from-python). Completion:",
        '`eval "$(_LAKECAT_COMPLETE=bash_source lakecat)"` (or `zsh_source`, `fish_source`).',
        "",
        "## Options of every command",
        "",
        "They mean the same everywhere and may stand before or after the command's name.",
        "",
        *options_table([option for option in cli.params if option.name in COMMON_OPTIONS]),
        "",
        "## Selectors",
        "",
        "`--select` and `--exclude` take names of jobs, scripts and datasets:",
        "",
        "| write | means |",
        "| --- | --- |",
        "| `raw.orders`, `raw.*` | a name, or a pattern with `*`, `?`, `[a-z]` |",
        "| `+x`, `x+` | x with all that it needs, or with all that needs it |",
        "| `2+x+1` | x with two steps of what it needs and one step of what needs it |",
        "| `tag:pii` | those with this label, on themselves or on a column, or with this tag on a version |",
        "| `owner:crm`, `col:email` | those with this owner, with this column; patterns and steps as with names |",
        "| `a b` | a or b (so does giving the option twice) |",
        "| `a,b` | what both a and b mean |",
        "",
    ]
    for name, command in leaves():
        lines += command_section(name, command)
    return "\n".join(lines)


def command_section(name: str, command: click.Command) -> list[str]:
    """One command."""
    with click.Context(command, info_name=f"lakecat {name}") as context:
        usage = " ".join(command.collect_usage_pieces(context))
    own = [option for option in command.params if option.name not in COMMON_OPTIONS]
    table = options_table(own)
    text = inspect.cleandoc(command.help or "")
    return [f"## lakecat {name}", "", f"    lakecat {name} {usage}", "", text, "", *table, ""]


def options_table(parameters: Sequence[click.Parameter]) -> list[str]:
    """Options as a Markdown table; none without options."""
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    if not options:
        return []
    lines = ["| option | what it does |", "| --- | --- |"]
    for option in options:
        flags = ", ".join(f"`{flag}`" for flag in sorted(option.opts, key=lambda flag: (-len(flag), flag)))
        value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
        lines.append(
            f"| {flags}{value.replace('|', chr(92) + '|')} | {(option.help or '').replace('|', chr(92) + '|')} |"
        )
    return lines


def settings_page() -> str:
    """Every key of the project's files."""
    lines = [
        "# Settings",
        "",
        NOTE,
        "YAML is read by the rules of YAML 1.2, strictly: `no`, `on` and dates are text; duplicate and unknown keys",
        "are refused, with file and line. Sizes are numbers of bytes or `128 MiB`, `1GB`; durations are seconds or",
        "`30s`, `15 min`, `12h`, `5 days`. A secret is never written down: `env:NAME` names an environment variable",
        "and `file:PATH` a file (relative to the project).",
        "",
        "## lakecat.yaml",
        "",
        "Relative paths are relative to this file. The profile named by `--profile`, else by the environment variable",
        "`LAKECAT_PROFILE`, is laid over the other keys: mappings key by key, everything else whole.",
        "",
        *keys_table(ProjectFile),
        "",
        "## ingest/*.yaml",
        "",
        "One job in each file; the file's name is the job's name. The options of the `files` connector are in",
        "[connectors.md](connectors.md).",
        "",
        *keys_table(JobFile),
        "",
        "## The header of a script",
        "",
        "A script may begin with a comment that holds settings: `-- lakecat: {dialect: snowflake}`, or several lines",
        "of YAML, each behind `--` and indented.",
        "",
        *keys_table(Header),
        "",
    ]
    return "\n".join(lines)


def keys_table(model: type[BaseModel]) -> list[str]:
    """A model's keys, those of nested models with dots."""
    lines = ["| key | default | what it is |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {default} | {text} |" for name, default, text in keys(model)]
    return lines


def keys(model: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None) -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each key; ``defaults`` holds those of a nested model that may be absent."""
    for name, field in model.model_fields.items():
        inner = nested(field.annotation)
        if inner is None or name == "variables":
            default = default_text(field, getattr(defaults, name, None))
            yield f"{prefix}{name}", default, (field.description or "").replace("|", "\\|")
        else:
            default = None if field.is_required() else field.get_default(call_default_factory=True)
            yield from keys(inner, f"{prefix}{name}.", default)


def nested(annotation: Any) -> type[BaseModel] | None:
    """The model that a key holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := nested(arg))), None)


def default_text(field: FieldInfo, outer: object = None) -> str:
    """A default as a person would write it; ``outer`` is the one that the model around it gives."""
    if field.is_required() and outer is None:
        return "required"
    value = outer if outer is not None else field.get_default(call_default_factory=True)
    if isinstance(value, timedelta):
        days, rest = divmod(value.total_seconds(), 86400)
        return f"`{days:.0f} day{'' if days == 1 else 's'}`" if days and not rest else f"`{value.total_seconds():g}s`"
    if value is None or value in ((), {}, []):
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 20:
        return f"`{value >> 20} MiB`"
    shown = value.value if isinstance(value, Enum) else str(value).lower() if isinstance(value, bool) else value
    return f"`{shown}`"


def errors_page() -> str:
    """Every error class."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("::", 1)[1].strip("\n")
    lines = [
        "# Errors",
        "",
        NOTE,
        "Every error that lakecat raises is a `LakecatError`. It says what happened (`what`), where (`where`: file,",
        "line, column), how to mend it (`hint`) and which command comes next (`next_command`).",
        "",
        inspect.cleandoc(tree) if not tree.startswith(" ") else tree,
        "",
        "| class | exit code | when |",
        "| --- | --- | --- |",
    ]
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.LakecatError):
            when = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
            lines.append(f"| `{name}` | {kind.exit_code} | {when} |")
    return "\n".join([*lines, ""])


def catalog_sql_page() -> str:
    """Every view of the catalog with its columns."""
    lines = [
        "# SQL over the catalog",
        "",
        NOTE,
        "`lakecat query --catalog` runs one SELECT over views of the catalog; so does `Lake.query(sql, catalog=True)`:",
        "",
        '    lakecat query --catalog "SELECT job, error FROM executions',
        "                             WHERE state = 'FAILED' AND started_at > now() - INTERVAL 1 DAY\"",
        "",
        "The views can be read, and nothing else: no tables of the database, no files, no changes. Names and types",
        "stay; columns are only added. The query is written in the project's dialect (`--dialect` names another) and",
        "runs in DuckDB, so that it answers alike on SQLite, PostgreSQL and MariaDB; times are in UTC. All views of a",
        "query show one moment.",
        "",
        "Only the columns and rows that the text asks for are fetched: comparisons of columns with constants, `IN`,",
        "`BETWEEN` and `IS NULL` under `AND`, the keys of a joined view where these are few, and the first rows of a",
        "plain `ORDER BY … LIMIT` by numbers and times are left to the database, with bound values, and found by its",
        "indexes. The rest (`LIKE`, `<>`, functions, an order of texts, aggregates) is done by DuckDB, which spills to",
        "disk beyond its memory.",
        "",
        "So the last executions, those since a time, those that failed, the versions or the column lineage of a",
        "dataset, and what an execution or artifact is connected with, cost what they find and not what the catalog",
        "holds: [30 ms among a million executions](benchmarks.md#questions-to-the-catalog), most of them for opening",
        "DuckDB.",
        "",
    ]
    for view in VIEWS.values():
        lines += [f"## {view.name}", "", view.doc, "", "| column | type | what it is |", "| --- | --- | --- |"]
        lines += [f"| `{column.name}` | {column.type.value} | {column.doc} |" for column in view.columns]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Write the pages, or compare them with ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    pages = {
        "cli.md": cli_page(),
        "settings.md": settings_page(),
        "errors.md": errors_page(),
        "catalog-sql.md": catalog_sql_page(),
    }
    for name, text in pages.items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"not what the code says: {', '.join(stale)}; run make docs", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
