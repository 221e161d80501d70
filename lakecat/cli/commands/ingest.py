"""``lakecat ingest``: run ingest jobs."""

from __future__ import annotations

import re
from typing import TypedDict

import click

from lakecat.cli.options import Common, common_options, dry_run_option, selection_options
from lakecat.cli.work import report_plan, report_run


@click.command(short_help="Land what is new in the sources.")
@click.option("--due", is_flag=True, help="Only jobs whose schedule says that they are due.")
@click.option(
    "--stream", "streams", multiple=True, metavar="NAME", help="Only these streams of the selected job, or a pattern."
)
@click.option(
    "--refresh", is_flag=True, help="Read everything again, and replace all rows. Only said, not done, without --yes."
)
@click.option("--from", "start", metavar="VALUE", help="Read a window of the cursor again: from this value on.")
@click.option("--to", "end", metavar="VALUE", help="The window's end, not included.")
@click.option("--yes", is_flag=True, help="With --refresh: do it.")
@dry_run_option
@selection_options
@common_options
@click.pass_obj
def ingest(
    common: Common,
    select: tuple[str, ...],
    exclude: tuple[str, ...],
    streams: tuple[str, ...],
    *,
    due: bool,
    refresh: bool,
    start: str | None,
    end: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Land what is new in the sources: each ingest job commits new versions of its table.

    A refresh forgets what the streams have read, in the commit that replaces their rows; the version before it stays
    readable. A window is for modes with a key, and moves no position: lakecat ingest -s shop --stream public.orders
    --from 2026-10-01 --to 2026-11-01
    """
    output = common.output()
    window: Window = {"streams": streams, "refresh": refresh, "start": _bound(start), "end": _bound(end)}
    with common.connect() as lake:
        if dry_run or (refresh and not yes):
            code = report_plan(output, lake.plan(select, exclude=exclude, kinds=["ingest"], **window))
            if not dry_run:
                output.talk("nothing was changed: --yes replaces all rows by what the source has", "warn")
            return code
        return report_run(
            output,
            lambda on_progress, on_result: lake.ingest(
                select, exclude=exclude, due=due, on_progress=on_progress, on_result=on_result, **window
            ),
        )


class Window(TypedDict):
    """Which part of a job is meant."""

    streams: tuple[str, ...]
    refresh: bool
    start: str | int | float | None
    end: str | int | float | None


def _bound(text: str | None) -> str | int | float | None:
    """A value of a cursor as a job's YAML would have it."""
    if text is None:
        return None
    if re.fullmatch(r"0|-?[1-9][0-9]*", text):  # what begins with 0 is a text: its zeros count
        return int(text)
    return float(text) if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", text) else text
