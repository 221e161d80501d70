"""``lakecat catalog rebuild``: the catalog again from the lake alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.rebuild import RebuildReport


@click.command()
@click.option("--yes", is_flag=True, help="Record what was found. Without it nothing is changed.")
@click.option(
    "--heads",
    type=click.Choice(["certain", "newest"]),
    help="Whether a table's last commit counts (newest) or not (certain) where the lake does not say if it happened.",
)
@exit_code_option
@common_options
@click.pass_obj
def rebuild(common: Common, *, yes: bool, heads: str | None, exit_code: bool) -> int:
    """Make the catalog again from the lake alone, or let one from a backup catch up with the lake.

    What the catalog knows is never changed: versions, executions, lineage, positions and loaded files that it lacks
    are added. Without --yes it only says what it would add.
    """
    output = common.output()
    with common.connect() as lake, output.progress() as progress:
        report = lake.rebuild(apply=yes, heads=heads, on_progress=progress.update)
    output.emit(_document(report), lambda: _blocks(report))
    for problem in report.problems:
        output.talk(problem, "warn")
    if report.problems or (report.applied and not report.settled):
        return 1
    return DIFFERENCES if exit_code and report.missing else 0


def _document(report: RebuildReport) -> object:
    return {
        "applied": report.applied,
        "versions": report.missing,
        "executions": report.executions,
        "datasets": report.datasets,
        "undecided": report.undecided,
        "problems": report.problems,
        "settled": report.settled,
        "lost": report.lost,
    }


def found_blocks(report: RebuildReport) -> Iterator[Block]:
    """What the lake has and the catalog lacks, or lacked."""
    rows = [
        (str(item.dataset), f"v{item.newest}", count(item.versions), count(item.missing))
        for item in report.datasets
        if item.missing
    ]
    if rows:
        yield Grid(
            ("dataset", "newest in the lake", "versions", "missing"), rows, right=frozenset({"versions", "missing"})
        )
    for one in report.undecided:
        when = one.started_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        yield Line(
            f"{one.dataset}@v{one.version} of {one.job}, begun {when}: it may have been committed, or not", "warn"
        )
    if report.undecided:
        yield Line("--heads newest takes such commits, --heads certain leaves them out", indent=1)


def _blocks(report: RebuildReport) -> Iterator[Block]:
    yield from found_blocks(report)
    what = f"{count(report.missing, 'version')} and {count(report.executions, 'execution')}"
    if not report.missing:
        yield Line("the catalog lacks nothing that the lake holds", "strong")
    elif report.applied:
        yield Line(f"recorded {what}", "strong")
    else:
        yield Line(f"would record {what}; nothing was changed: --yes records them", "strong")
    if report.missing:
        yield Line("no lake tells of:")
        for text in report.lost:
            yield Line(text, indent=1)
