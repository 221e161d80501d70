"""``lakecat run``: run transform scripts."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options, dry_run_option, selection_options
from lakecat.cli.work import read_variables, report_plan, report_run


@click.command(short_help="Run the scripts that have something to do.")
@click.option("--due", is_flag=True, help="What is due by schedule: first ingest jobs, then scripts. For cron.")
@click.option("--full-refresh", is_flag=True, help="Run scripts even if nothing changed; INSERT scripts from nothing.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A script's parameter $NAME.")
@dry_run_option
@selection_options
@common_options
@click.pass_obj
def run(
    common: Common,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    variables: tuple[str, ...],
    *,
    due: bool,
    full_refresh: bool,
    dry_run: bool,
) -> int:
    """Transform: run the scripts whose inputs or text changed, in the order of what they read."""
    values = read_variables(variables)
    with common.connect() as lake:
        if dry_run:
            plan = lake.plan(
                select,
                exclude=exclude,
                full_refresh=full_refresh,
                variables=values,
                kinds=["ingest", "transform"] if due else ["transform"],
            )
            return report_plan(common.output(), plan)
        return report_run(
            common.output(),
            lambda on_progress, on_result: lake.run(
                select,
                exclude=exclude,
                due=due,
                full_refresh=full_refresh,
                variables=values,
                on_progress=on_progress,
                on_result=on_result,
            ),
        )
