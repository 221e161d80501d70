"""``lakecat tag …``: movable names of versions. One module for each sub-command."""

from typing import Final

import click

from lakecat.cli.commands.tag.delete import delete
from lakecat.cli.commands.tag.listing import list_
from lakecat.cli.commands.tag.setting import set_
from lakecat.cli.options import common_options

COMMANDS: Final[list[click.Command]] = [set_, delete, list_]


@click.group(commands=COMMANDS, short_help="Give versions names, such as prod.")
@common_options
def tag() -> None:
    """Give versions movable names, such as prod: raw.orders@prod then works wherever a version does."""
