"""``lakecat show``: one dataset, or one version of it, in full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.commands.annotate import annotation_lines
from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import SOURCES, count, moment, size

if TYPE_CHECKING:
    from lakecat.lake import Description


@click.command(short_help="Show one dataset in full.")
@click.argument("dataset", metavar="DATASET[@VERSION]")
@click.option("--history", type=click.IntRange(0, 10_000), default=10, help="How many versions to list. [default: 10]")
@click.option("--sample", type=click.IntRange(0, 1000), default=0, help="Also show this many rows.")
@common_options
@click.pass_obj
def show(common: Common, dataset: str, history: int, sample: int) -> None:
    """Show a dataset's columns, partitions, place, versions, and what made it."""
    with common.connect() as lake:
        found = lake.show(dataset, history=history)
        rows = lake.sample(dataset, sample) if sample else None
    document = {"description": found, "sample": rows.to_pylist() if rows is not None else None}

    def view() -> Iterator[Block]:
        yield from _blocks(found)
        if rows is not None:
            from lakecat.cli.rows import grid_of

            yield Line("")
            yield grid_of(rows, title="sample")

    common.output().emit(document, view)


def _blocks(found: Description) -> Iterator[Block]:
    version = found.version
    yield Line(f"{version}{'' if found.current else ' (not the current one)'}", "strong")
    yield from annotation_lines(found.annotation)
    if found.tags:
        yield Line(f"tags        {', '.join(f'{name} = v{number}' for name, number in found.tags.items())}")
    yield Line(f"rows        {count(version.rows)} in {count(version.files, 'file')}, {size(version.bytes)}")
    yield Line(f"committed   {moment(version.committed_at)} by {version.operation}")
    yield Line(f"made by     {found.made_by.info.job} (execution {version.execution_id})")
    for made_from in found.made_by.inputs:
        yield Line(f"from        {made_from}")
    sources = sorted(source.uri for source in found.made_by.sources if source.went_to(str(version.dataset)))
    for uri in sources[:SOURCES]:
        yield Line(f"from        {uri}")
    if len(sources) > SOURCES:
        yield Line(f"            … and {len(sources) - SOURCES} more (--json lists them all)", "dim")
    yield Line(f"partition   {', '.join(found.partition) or 'none'}")
    yield Line(f"location    {found.location}")
    yield Line("")
    yield _columns(found)
    if found.history:
        yield Line("")
        yield Grid(
            ("version", "committed", "operation", "rows", "added", "removed", "execution"),
            [
                (
                    f"v{item.version}",
                    moment(item.committed_at),
                    item.operation,
                    count(item.rows),
                    count(item.added_rows),
                    count(item.removed_rows),
                    str(item.execution_id),
                )
                for item in found.history
            ],
            frozenset({"version", "rows", "added", "removed", "execution"}),
        )
    if found.versions > len(found.history) > 0:
        yield Line(f"{found.versions - len(found.history)} older versions (--history)", "dim")


def _columns(found: Description) -> Grid:
    rows = []
    for column in found.columns:
        said = found.column_annotations.get(column.name)
        text = (said.description if said else None) or column.doc or ""
        marks = ", ".join((*said.labels, *said.owners)) if said else ""
        rows.append((column.name, column.type, "required" if column.required else "", text, marks))
    return Grid(("column", "type", "", "doc", "labels"), rows)
