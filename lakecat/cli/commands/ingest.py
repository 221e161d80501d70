"""``lakecat ingest``: run ingest jobs."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options, dry_run_option, selection_options
from lakecat.cli.work import report_plan, report_run


@click.command(short_help="Land what is new in the sources.")
@click.option("--due", is_flag=True, help="Only jobs whose schedule says that they are due.")
@dry_run_option
@selection_options
@common_options
@click.pass_obj
def ingest(common: Common, select: tuple[str, ...], exclude: tuple[str, ...], *, due: bool, dry_run: bool) -> int:
    """Land what is new in the sources: each ingest job commits new versions of its table."""
    with common.connect() as lake:
        if dry_run:
            return report_plan(common.output(), lake.plan(select, exclude=exclude, kinds=["ingest"]))
        return report_run(
            common.output(),
            lambda on_progress, on_result: lake.ingest(
                select, exclude=exclude, due=due, on_progress=on_progress, on_result=on_result
            ),
        )
