"""``lakecat gc``: remove files that nobody needs any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count, size
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.maintenance import Count, DatasetGarbage, GcReport


@click.command()
@click.option("--yes", is_flag=True, help="Remove the files. Without it nothing is changed.")
@click.option(
    "--max-delete-fraction",
    type=click.FloatRange(0, 1),
    metavar="FRACTION",
    help="Leave a dataset alone when more than this part of its bytes would go. [default: 0.5]",
)
@exit_code_option
@common_options
@click.pass_obj
def gc(common: Common, *, yes: bool, max_delete_fraction: float | None, exit_code: bool) -> int:
    """Remove files that no readable version needs: of executions that never committed, and of versions that expired.

    Without --yes it only says what would go. Files that it cannot explain are listed, and never removed.
    """
    output = common.output()
    with common.connect() as lake, output.progress() as progress:
        report = lake.gc(apply=yes, max_delete_fraction=max_delete_fraction, on_progress=progress.update)
    output.emit(_document(report), lambda: _blocks(report))
    for item in report.failures:
        if item.error is not None:
            output.error(item.error)
    if report.failures:
        return 1
    return DIFFERENCES if exit_code and report.removable.files else 0


def _document(report: GcReport) -> object:
    return {
        "applied": report.applied,
        "removable": report.removable,
        "datasets": report.datasets,
        "outside": report.outside,
        "outside_files": report.outside_files,
        "canceled": report.canceled,
        "execution_id": report.execution_id,
    }


def _blocks(report: GcReport) -> Iterator[Block]:
    rows = [_row(item) for item in report.datasets if item.removable.files or item.unknown.files or item.versions]
    if rows:
        headers = ("dataset", "never committed", "expired", "versions", "unknown", "of")
        yield Grid(headers, rows, right=frozenset(headers[1:]))
    for item in report.datasets:
        yield from _unknown(f"{item.dataset}: no version or execution explains", item.unknown, item.unknown_files)
    yield from _unknown("outside every dataset:", report.outside, report.outside_files)
    if report.canceled:
        yield Line(f"canceled: {count(len(report.canceled), 'execution')} whose process was gone")
    total = report.removable
    what = f"{count(total.files, 'file')}, {size(total.bytes)}"
    if report.applied:
        yield Line(f"removed {what}", "strong")
    elif total.files:
        yield Line(f"would remove {what}; nothing was changed: --yes removes them", "strong")
    else:
        yield Line("nothing to remove", "strong")


def _row(item: DatasetGarbage) -> tuple[str, ...]:
    return (
        str(item.dataset),
        _amount(item.abandoned),
        _amount(item.expired),
        count(item.versions),
        _amount(item.unknown),
        _amount(item.total),
    )


def _amount(found: Count) -> str:
    return f"{count(found.files)} ({size(found.bytes)})" if found.files else "-"


def _unknown(label: str, found: Count, names: tuple[str, ...]) -> Iterator[Block]:
    if not found.files:
        return
    yield Line(f"{label} {count(found.files, 'file')} ({size(found.bytes)}); kept", "warn")
    for name in names:
        yield Line(name, indent=1)
    if found.files > len(names):
        yield Line(f"and {found.files - len(names):,} more", indent=1)
