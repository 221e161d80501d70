"""``lakecat tag set``: let a name mean a version."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line


@click.command("set", short_help="Let a name mean a version.")
@click.argument("name")
@click.argument("version", metavar="DATASET[@VERSION]")
@common_options
@click.pass_obj
def set_(common: Common, name: str, version: str) -> None:
    """Let NAME mean a version (the current one without @), whatever it meant before. A tagged version never expires."""
    with common.connect() as lake:
        found = lake.tag(version, name)
    common.output().emit({"tag": found}, lambda: [Line(f"{found} is v{found.version}", "good")])
