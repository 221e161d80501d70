"""``lakecat catalog …``: care of the catalog database. One module for each sub-command."""

from typing import Final

import click

from lakecat.cli.commands.catalog.backup import backup
from lakecat.cli.commands.catalog.imports import imports
from lakecat.cli.commands.catalog.purge import purge
from lakecat.cli.commands.catalog.rebuild import rebuild
from lakecat.cli.commands.catalog.reindex import reindex
from lakecat.cli.commands.catalog.restore import restore
from lakecat.cli.options import common_options

COMMANDS: Final[list[click.Command]] = [backup, restore, rebuild, imports, purge, reindex]


@click.group(commands=COMMANDS, short_help="Back up, restore, import into, or clean the catalog.")
@common_options
def catalog() -> None:
    """Take care of the catalog database."""
