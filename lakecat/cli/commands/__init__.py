"""One module for each command; none of them imports anything heavy before it runs."""

from collections.abc import Iterable, Iterator
from typing import Final

import click

from lakecat.cli.commands.annotate import annotate
from lakecat.cli.commands.catalog import catalog
from lakecat.cli.commands.compare import compare
from lakecat.cli.commands.diff import diff
from lakecat.cli.commands.doctor import doctor
from lakecat.cli.commands.draft import draft
from lakecat.cli.commands.execution import execution
from lakecat.cli.commands.executions import executions
from lakecat.cli.commands.gc import gc
from lakecat.cli.commands.history import history
from lakecat.cli.commands.impact import impact
from lakecat.cli.commands.ingest import ingest
from lakecat.cli.commands.init import init
from lakecat.cli.commands.lineage import lineage
from lakecat.cli.commands.ls import ls
from lakecat.cli.commands.plan import plan
from lakecat.cli.commands.query import query
from lakecat.cli.commands.reset import reset
from lakecat.cli.commands.run import run
from lakecat.cli.commands.search import search
from lakecat.cli.commands.show import show
from lakecat.cli.commands.status import status
from lakecat.cli.commands.streams import streams
from lakecat.cli.commands.tag import tag
from lakecat.cli.commands.where import where

COMMANDS: Final[list[click.Command]] = [
    init,
    ingest,
    run,
    plan,
    streams,
    reset,
    draft,
    ls,
    search,
    show,
    diff,
    history,
    tag,
    annotate,
    lineage,
    impact,
    where,
    executions,
    execution,
    compare,
    query,
    status,
    doctor,
    gc,
    catalog,
]


def leaves(commands: Iterable[click.Command] = COMMANDS, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with its whole name: ``catalog backup``."""
    for command in commands:
        name = f"{above} {command.name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command.commands.values(), name)
        else:
            yield name, command
