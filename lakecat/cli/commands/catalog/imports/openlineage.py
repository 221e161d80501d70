"""``lakecat catalog import openlineage``: events of other programs, from files of JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.lake.openlineage_import import OpenLineageReport

SHOWN = 20
"""Problems that are told one by one; the JSON document names more."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--strict", is_flag=True, help="All in one transaction, and nothing if any line is wrong.")
@click.option(
    "--map",
    "namespaces",
    multiple=True,
    metavar="NAMESPACE[=OURS]",
    help="Datasets of this OpenLineage namespace are lakecat's: by the last two parts of their names, or by the last "
    "one in lakecat's namespace OURS. May be given several times.",
)
@common_options
@click.pass_obj
def openlineage(common: Common, files: tuple[str, ...], namespaces: tuple[str, ...], *, strict: bool) -> int:
    """Import OpenLineage events: runs, jobs, datasets and column lineage of Spark, Airflow, dbt, Flink and others.

    FILE holds one event on each line (JSON), and may be gzipped; - is the standard input. What was imported before
    is not added again, so that a growing file may be imported as often as you like. A line that is wrong is left out
    and reported, and the exit code is then 1.
    """
    output = common.output()
    with common.connect() as lake, output.progress() as progress:
        report = lake.import_openlineage(files, strict=strict, namespaces=namespaces, on_progress=progress.update)
    for problem in report.problems[:SHOWN]:
        output.talk(str(problem), "bad" if problem.refused else "warn")
    more = report.refused + report.left_out - SHOWN
    if more > 0:
        output.talk(f"… and {more:,} more like these", "warn")
    output.emit({"import": report}, lambda: _blocks(report))
    return 1 if report.refused else 0


def _blocks(report: OpenLineageReport) -> Iterator[Line]:
    read = [count(report.lines, "line"), f"from {count(report.files, 'file')}", f"{report.events:,} imported"]
    if report.refused:
        read.append(f"{report.refused:,} refused")
    if report.left_out:
        read.append(f"{report.left_out:,} with parts left out")
    yield Line(f"read {', '.join(read)}")
    added = report.added
    parts = [
        count(number, word)
        for number, word in (
            (added.runs, "run"),
            (added.jobs, "job"),
            (added.datasets, "dataset"),
            (added.artifacts, "state"),
            (added.links, "link"),
            (added.columns, "column step"),
        )
        if number
    ]
    yield Line(f"added {', '.join(parts)}" if parts else "added nothing: all of it was known", "strong")
    if added.own:
        yield Line(f"{count(added.own, 'run')} are lakecat's own, and recorded already", "dim")
