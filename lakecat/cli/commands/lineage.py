"""``lakecat lineage``: where a version or column came from, or what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block

if TYPE_CHECKING:
    from lakecat.lake import Lineage


@click.command()
@click.argument("target", metavar="DATASET[.COLUMN][@VERSION]")
@click.option("--down", is_flag=True, help="What came of it, instead of where it came from.")
@click.option("--depth", type=click.IntRange(1, 1000), default=None, help="How many executions to go. [default: all]")
@click.option("--influences", is_flag=True, help="Also columns that only decide which rows: filters, joins, groups.")
@common_options
@click.pass_obj
def lineage(common: Common, target: str, depth: int | None, *, down: bool, influences: bool) -> None:
    """Show the lineage of a dataset, of one version of it, or of one column."""
    with common.connect() as lake:
        found = lake.lineage(target, up=not down, depth=depth)
    common.output().emit({"lineage": found}, lambda: _blocks(found, down=down, influences=influences))


def _blocks(found: Lineage, *, down: bool, influences: bool) -> Iterator[Block]:
    from lakecat.cli.trees import column_tree, version_tree

    if found.column is None:
        yield from version_tree(found, down=down)
    else:
        yield from column_tree(found, down=down, influences=influences)
