"""``lakecat lineage``: where a version or column came from, or what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line
from lakecat.cli.text import SOURCES, count

if TYPE_CHECKING:
    from lakecat.lake import Lineage

Form = Literal["text", "mermaid", "dot"]
Way = Literal["up", "down"]


@click.command(short_help="Show where a dataset or column came from.")
@click.argument("target", metavar="DATASET[.COLUMN][@VERSION]|artifact:ID|execution:ID")
@click.option("--down", is_flag=True, help="What came of it, instead of where it came from.")
@click.option("--both", is_flag=True, help="Where it came from, and what came of it.")
@click.option("--depth", type=click.IntRange(1, 1000), default=None, help="How many executions to go. [default: all]")
@click.option("--columns", is_flag=True, help="Every column of the dataset, instead of versions and executions.")
@click.option("--influences", is_flag=True, help="Also columns that only decide which rows: filters, joins, groups.")
@click.option(
    "--as",
    "form",
    type=click.Choice(["text", "mermaid", "dot"]),
    default="text",
    help="How to draw it; mermaid and dot are for other tools. [default: text]",
)
@common_options
@click.pass_obj
def lineage(
    common: Common,
    target: str,
    depth: int | None,
    form: Form,
    *,
    down: bool,
    both: bool,
    columns: bool,
    influences: bool,
) -> None:
    """Show the lineage of a dataset, of one version of it, of one column, or of a node of the metadata store."""
    with common.connect() as lake:
        found = lake.lineage(target, direction="both" if both else "down" if down else "up", depth=depth)
    common.output().emit(
        {"lineage": found},
        lambda: _blocks(found, form, columns=columns, influences=influences),
    )


def _blocks(found: Lineage, form: Form, *, columns: bool, influences: bool) -> Iterator[Line]:
    ways: tuple[Way, ...] = ("down",) if found.direction == "down" else ("up",)
    if found.direction == "both" and form == "text":
        ways = ("up", "down")
    for way in ways:
        if len(ways) > 1:
            yield Line({"up": "came from", "down": "went to"}[way], "strong")
        for line in _drawn(found, form, way, columns=columns, influences=influences).splitlines():
            yield Line(line)
    if form != "text" or not found.sources:
        return
    yield Line(f"its rows came from {count(len(found.sources), 'source')}:", "strong")
    for uri in found.sources[:SOURCES]:
        yield Line(uri, indent=1)
    if len(found.sources) > SOURCES:
        yield Line(f"… and {len(found.sources) - SOURCES} more (--json lists them all)", "dim", 1)


def _drawn(found: Lineage, form: Form, way: Way, *, columns: bool, influences: bool) -> str:
    from lakecat.catalog import ColumnRef
    from lakecat.lineage.render import render_columns, render_graph

    if found.version is None or (found.column is None and not columns):
        return render_graph(found.graph, form, direction=way)
    return render_columns(
        found.columns,
        ColumnRef(str(found.version.dataset), found.column, found.version.version),
        form,
        direction=way,
        scripts=found.scripts,
        influences=influences,
    )
