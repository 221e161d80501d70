"""One module for each command; none of them imports anything heavy before it runs."""

from typing import Final

import click

from lakecat.cli.commands.diff import diff
from lakecat.cli.commands.doctor import doctor
from lakecat.cli.commands.gc import gc
from lakecat.cli.commands.ingest import ingest
from lakecat.cli.commands.init import init
from lakecat.cli.commands.lineage import lineage
from lakecat.cli.commands.ls import ls
from lakecat.cli.commands.plan import plan
from lakecat.cli.commands.query import query
from lakecat.cli.commands.run import run
from lakecat.cli.commands.show import show
from lakecat.cli.commands.status import status

COMMANDS: Final[list[click.Command]] = [
    init,
    ingest,
    run,
    plan,
    ls,
    show,
    diff,
    lineage,
    query,
    status,
    doctor,
    gc,
]
