"""``lakecat catalog restore``: the catalog as a backup has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakecat.cli.commands.catalog.backup import document
from lakecat.cli.commands.catalog.rebuild import found_blocks
from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.lake.keeping import RestoreReport


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Replace a catalog that is there; it is backed up beside FILE first.")
@common_options
@click.pass_obj
def restore(common: Common, *, file: Path, yes: bool) -> int:
    """Make the catalog what FILE holds, all of it or nothing; FILE is checked first.

    An empty database is filled at once. One that holds a catalog is replaced only with --yes. Afterwards the lake is
    searched for what is newer than the backup: as long as the catalog lacks it, nothing is written or removed.
    """
    output = common.output()
    with common.connect() as lake:
        report = lake.restore(file, replace=yes)
    done = report.restored
    output.emit(
        {
            "applied": done.applied,
            "backup": document(done.manifest, file),
            "saved": done.saved,
            "canceled": done.canceled,
            "ready": report.ready,
            "missing": report.lake.missing if report.lake else None,
        },
        lambda: _blocks(report, file),
    )
    for problem in report.lake.problems if report.lake else ():
        output.talk(problem, "warn")
    if report.error is not None:
        output.error(report.error)
    return 0 if report.ready or not done.applied else 1


def _blocks(report: RestoreReport, file: Path) -> Iterator[Block]:
    done = report.restored
    when = done.manifest.created_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    what = f"the backup of {when} ({count(done.manifest.rows, 'row')})"
    if not done.applied:
        yield Line(f"would replace the catalog with {what}; nothing was changed: --yes replaces it", "strong")
        return
    if done.saved is not None:
        yield Line(f"saved what was there as {done.saved}")
    if done.canceled:
        yield Line(f"canceled: {count(done.canceled, 'execution')} that ran when the backup was made")
    yield Line(f"restored {what} from {file}", "strong")
    if report.ready:
        yield Line("the lake holds nothing newer: work can go on", "good")
        return
    if report.lake is not None:
        yield from found_blocks(report.lake)
    yield Line("until the catalog has caught up nothing is written: lakecat catalog rebuild --yes", "warn")
