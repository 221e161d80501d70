"""``lakecat tag delete``: take a tag away."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line


@click.command(short_help="Take a tag away.")
@click.argument("tag", metavar="DATASET@TAG")
@click.option("--yes", is_flag=True, help="Do it; without it, only say what would be done.")
@common_options
@click.pass_obj
def delete(common: Common, tag: str, *, yes: bool) -> None:
    """Take a tag away; the version it meant may expire from then on. Only said, not done, without --yes."""
    with common.connect() as lake:
        found = lake.untag(tag, apply=yes)
    version = None if found is None else found.version
    where = "in the table's metadata" if version is None else f"v{version}"
    text = f"{tag} is gone; it was {where}" if yes else f"would take away {tag}, which is {where}; --yes does it"
    common.output().emit({"tag": tag, "version": version, "deleted": yes}, lambda: [Line(text)])
