"""``lakecat catalog reindex``: make the search index anew."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line
from lakecat.cli.text import count


@click.command(short_help="Make the search index anew.")
@common_options
@click.pass_obj
def reindex(common: Common) -> None:
    """Make the search index anew out of names, columns, descriptions, labels, owners and tags; nothing else changes."""
    with common.connect() as lake:
        entries = lake.reindex()
    common.output().emit({"entries": entries}, lambda: [Line(f"{count(entries)} entries can be found", "good")])
