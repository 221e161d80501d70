"""``lakecat where``: which versions a file's rows ended up in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count, moment, size

if TYPE_CHECKING:
    from lakecat.lake.asked import FileTrace


@click.command(short_help="Show which versions a source file ended up in.")
@click.argument("file", metavar="FILE|URI")
@common_options
@click.pass_obj
def where(common: Common, file: str) -> None:
    """Show where a source's rows went: when it was read, and the versions that may hold its rows."""
    with common.connect() as lake:
        found = lake.where(file)
    common.output().emit({"trace": found}, lambda: _blocks(found))


def _blocks(found: FileTrace) -> Iterator[Block]:
    yield Line(found.uri, "strong")
    yield Grid(
        ("read", "rows", "size", "execution"),
        [(moment(load.read_at), count(load.rows), size(load.bytes), str(load.execution_id)) for load in found.loads],
        frozenset({"rows", "size", "execution"}),
    )
    rows = [
        (
            str(holding.distance),
            holding.dataset,
            f"v{holding.first}" if holding.first == holding.last else f"v{holding.first} to v{holding.last}",
            "yes" if holding.current else "no, written anew since",
            str(holding.execution_id),
        )
        for holding in found.holdings
    ]
    if rows:
        headers = ("distance", "dataset", "versions", "still there", "execution")
        yield Grid(headers, rows, frozenset({"distance", "execution"}))
    else:
        yield Line("no version holds its rows", "dim")
