"""``lakecat streams``: what the source of a job has to offer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.lake.discovering import SourceStream


@click.command(short_help="Show the streams that a job's source has.")
@click.argument("job", metavar="JOB")
@click.option("--columns", is_flag=True, help="Show the columns of each stream, too.")
@common_options
@click.pass_obj
def streams(common: Common, job: str, columns: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Ask the source of an ingest job which streams it has: tables, endpoints, sets of files."""
    with common.connect() as lake:
        found = lake.streams(job)
    common.output().emit({"streams": found}, lambda: _blocks(found, columns=columns))


def _blocks(found: Sequence[SourceStream], *, columns: bool) -> Iterator[Block]:
    rows = [
        (
            stream.name,
            str(stream.target or "-"),
            ", ".join(stream.key) or "-",
            ", ".join(stream.cursors[:3]) or "-",
            "?" if stream.rows is None else count(stream.rows),
        )
        for stream in found
    ]
    yield Grid(("stream", "lands in", "key", "cursors", "rows"), rows, frozenset({"rows"}))
    for stream in found if columns else ():
        yield Line(stream.name, "strong")
        if stream.columns is None:
            yield Line("only reading shows its columns", "dim", 1)
        else:
            yield Grid(("column", "type"), [(column.name, column.type) for column in stream.columns])
