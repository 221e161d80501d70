"""``lakecat plan``: what would run, and why."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options, exit_code_option, selection_options
from lakecat.cli.work import DIFFERENCES, read_variables, report_plan


@click.command()
@click.option("--full-refresh", is_flag=True, help="As if `run --full-refresh` were asked for.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A script's parameter $NAME.")
@exit_code_option
@selection_options
@common_options
@click.pass_obj
def plan(
    common: Common,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: tuple[str, ...],
    *,
    full_refresh: bool,
    exit_code: bool,
) -> int:
    """Say what `ingest` and `run` would do, and why. Writes nothing."""
    with common.connect() as lake:
        found = lake.plan(select, exclude=exclude, full_refresh=full_refresh, variables=read_variables(variables))
        code = report_plan(common.output(), found)
        return DIFFERENCES if exit_code and not code and found.pending else code
