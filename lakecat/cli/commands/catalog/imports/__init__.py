"""``lakecat catalog import …``: take in what other programs recorded. One module for each sub-command."""

from typing import Final

import click

from lakecat.cli.commands.catalog.imports.mlmd import mlmd
from lakecat.cli.commands.catalog.imports.openlineage import openlineage
from lakecat.cli.options import common_options

COMMANDS: Final[list[click.Command]] = [mlmd, openlineage]


@click.group(name="import", commands=COMMANDS, short_help="Take in what other programs recorded.")
@common_options
def imports() -> None:
    """Import into the catalog what other programs recorded."""
