"""``lakecat catalog import mlmd``: what ML Metadata recorded, copied into the catalog or taken over where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.catalog.adopt import Adoption
    from lakecat.catalog.mlmd_import import ImportReport


@click.command()
@click.argument("source", required=False, metavar="[URL|FILE]")
@click.option("--adopt", is_flag=True, help="Take over the project's own catalog database, which is ML Metadata's.")
@click.option("--yes", is_flag=True, help="With --adopt: change the database. Without it nothing is changed.")
@click.option("--dry-run", is_flag=True, help="Say what would come in; nothing is written.")
@click.option("--origin", metavar="NAME", help="The database's name in the catalog's memory. [default: where it is]")
@click.option("--prefix", default="", metavar="TEXT", help="Put before its names and external ids.")
@click.option("--password-env", metavar="VARIABLE", help="The environment variable that holds the URL's password.")
@common_options
@click.pass_obj
def mlmd(
    common: Common,
    source: str | None,
    *,
    adopt: bool,
    yes: bool,
    dry_run: bool,
    origin: str | None,
    prefix: str,
    password_env: str | None,
) -> int:
    """Copy a database of ML Metadata's into the catalog: types, artifacts, executions, contexts, events.

    FILE is its SQLite file; URL names one on a server. It is only read. A second import adds what is new there and
    updates what changed there. One that was interrupted goes on when it is run again.

    With --adopt nothing is copied: the database that lakecat.yaml names as the catalog becomes one where it lies, and
    ml-metadata can still open it. Back it up first.
    """
    if adopt == (source is not None):
        raise click.UsageError("give the database to copy (URL or FILE), or --adopt")
    if adopt and (dry_run or origin or prefix or password_env):
        raise click.UsageError("--dry-run, --origin, --prefix and --password-env are for copying")
    output = common.output()
    with common.connect() as lake:
        if source is None:
            adoption = lake.adopt_mlmd(apply=yes)
            output.emit({"adopted": yes, "adoption": adoption}, lambda: _adopted(adoption, done=yes))
            return 0
        with output.progress() as progress:
            report = lake.import_mlmd(
                source,
                origin=origin,
                prefix=prefix,
                password=_password(password_env),
                apply=not dry_run,
                on_progress=progress.update,
            )
    output.emit({"import": report}, lambda: _imported(report))
    return 0


def _password(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise click.UsageError(f"there is no environment variable {variable}")
    return os.environ[variable]


def _imported(report: ImportReport) -> Iterator[Block]:
    nodes = (("artifacts", report.artifacts), ("executions", report.executions), ("contexts", report.contexts))
    links = (
        ("events", report.events),
        ("attributions", report.attributions),
        ("associations", report.associations),
        ("parent contexts", report.parent_contexts),
    )
    rows = [("types", f"{report.types.new:,}", f"{report.types.grown:,}", f"{report.types.same:,}", "")]
    rows += [
        (label, f"{n.new:,}", f"{n.updated + n.joined:,}", f"{n.same:,}", f"{n.kept:,} ours kept" if n.kept else "")
        for label, n in nodes
    ]
    rows += [
        (label, f"{n.new:,}", "", f"{n.same:,}", f"{n.dangling:,} lead nowhere" if n.dangling else "")
        for label, n in links
    ]
    yield Grid(("", "new", "changed", "known", "left out"), rows, right=frozenset({"new", "changed", "known"}))
    verb = "imported from" if report.applied else "would import from"
    more = "" if report.applied else "; nothing was written"
    yield Line(f"{verb} {report.origin}{more}", "strong")


def _adopted(adoption: Adoption, *, done: bool) -> Iterator[Block]:
    nodes = (
        count(adoption.artifacts, "artifact"),
        count(adoption.executions, "execution"),
        count(adoption.contexts, "context"),
        count(adoption.events, "event"),
    )
    yield Line(f"{adoption.database}: {', '.join(nodes)}")
    would = "" if done else "would be "
    if adoption.widened:
        yield Line(f"{would}widened: {count(len(adoption.widened), 'column')}")
    if adoption.foreign_keys:
        yield Line(f"{would}added: {count(adoption.foreign_keys, 'foreign key')}")
    for item in adoption.orphans:
        what = f"{item.column}: {count(item.rows, 'row')} name something that is not there"
        yield Line(f"{what}, so it gets no foreign key", "warn")
    if adoption.reencoded:
        yield Line(f"put right: {count(adoption.reencoded, 'text')} that ML Metadata had encoded twice", "warn")
        yield Line("so that ml-metadata reads them on MySQL: SET GLOBAL init_connect = 'SET NAMES utf8mb4'", indent=1)
    if done:
        yield Line("it is a lakecat catalog now; ml-metadata can open it, too", "strong")
    else:
        yield Line("nothing was changed: back it up, then --yes takes it over", "strong")
