"""``lakecat query``: one SELECT."""

from __future__ import annotations

import sys
from typing import IO

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.work import read_variables


@click.command(short_help="Run one SELECT, over old versions too.")
@click.argument("sql", required=False)
@click.option("--file", "-f", type=click.File(encoding="utf-8"), help="Read the SQL from this file; - is stdin.")
@click.option(
    "--limit", type=click.IntRange(0), default=None, help="Rows to print. [default: 100 as a table, else all]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    help="How to print rows; json prints one object a line. [default: table]",
)
@click.option("--dialect", help="SQL dialect of the query. [default: the project's]")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A parameter $NAME of the query.")
@click.option("--catalog", is_flag=True, help="Query the catalog's views (executions, versions, …), not tables.")
@common_options
@click.pass_obj
def query(
    common: Common,
    sql: str | None,
    file: IO[str] | None,
    limit: int | None,
    form: str,
    dialect: str | None,
    variables: tuple[str, ...],
    *,
    catalog: bool,
) -> None:
    """Run one SELECT over the tables; raw.orders@v7 or FOR TIMESTAMP AS OF reads old versions."""
    if (sql is None) == (file is None):
        raise click.UsageError("give the SQL as an argument, or a file with --file")
    text = sql if sql is not None else file.read() if file else ""
    with (
        common.connect() as lake,
        lake.stream(text, read_variables(variables) or None, dialect=dialect, catalog=catalog) as reader,
    ):
        from lakecat.cli.rows import print_csv, print_document, print_lines, print_table

        if common.as_json:
            print_document(reader, sys.stdout, limit)
        elif form == "csv":
            print_csv(reader, sys.stdout, limit)
        elif form == "json":
            print_lines(reader, sys.stdout, limit)
        else:
            print_table(reader, common.output(), limit)
