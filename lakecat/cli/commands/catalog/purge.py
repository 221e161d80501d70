"""``lakecat catalog purge``: remove from the catalog what is old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.catalog.metadata_store.purge import PurgeKind, PurgeReport


@click.command()
@click.option(
    "--kind",
    type=click.Choice(["execution", "artifact", "context", "type"]),
    default="execution",
    show_default=True,
    help="What to remove; type means the types that nothing uses.",
)
@click.option("--filter", "filter_query", metavar="FILTER", help='Only what fits: "last_known_state = FAILED".')
@click.option("--older-than", metavar="AGE", help="Only what nobody changed for so long: 90d, 12h.")
@click.option(
    "--keep-last",
    type=click.IntRange(0),
    metavar="N",
    help="Only executions that are not among the newest N of any of their contexts (datasets, jobs, projects).",
)
@click.option("--of", "of_contexts", metavar="FILTER", help="Which contexts count for --keep-last.")
@click.option("--orphans", is_flag=True, help="Also artifacts that are left without any execution.")
@click.option("--yes", is_flag=True, help="Remove it. Without it nothing is changed.")
@exit_code_option
@common_options
@click.pass_obj
def purge(
    common: Common,
    *,
    kind: PurgeKind,
    filter_query: str | None,
    older_than: str | None,
    keep_last: int | None,
    of_contexts: str | None,
    orphans: bool,
    yes: bool,
    exit_code: bool,
) -> int:
    """Remove old executions, artifacts, contexts or unused types from the catalog, with all that hangs on them.

    Without --yes it only says what would go. Versions of datasets, the executions that explain them and everything
    they came from always stay, and so does what runs, what says how far a stream was read, and the newest execution
    of each job.
    """
    output = common.output()
    with common.connect() as lake, output.progress() as progress:
        report = lake.purge(
            kind,
            filter_query=filter_query,
            older_than=older_than,
            keep_last=keep_last,
            of_contexts=of_contexts,
            orphans=orphans,
            apply=yes,
            on_progress=progress.update,
        )
    output.emit({"purge": report}, lambda: _blocks(report))
    return DIFFERENCES if exit_code and report.removed else 0


def _blocks(report: PurgeReport) -> Iterator[Block]:
    verb = "removed" if report.applied else "would go"
    yield from _counts(("what", verb), report.removed)
    yield from _counts(("stays because it", f"{report.kind}s"), report.kept)
    yield from _counts(("left without any event", "count"), report.orphaned)
    if report.applied:
        yield Line(f"removed {_nodes(report)}", "strong")
    elif report.removed:
        yield Line(f"would remove {_nodes(report)}; nothing was changed: --yes removes them", "strong")
    else:
        yield Line("nothing to remove", "strong")


def _counts(headers: tuple[str, str], counts: Mapping[str, int]) -> Iterator[Block]:
    if counts:
        yield Grid(headers, [(name, count(number)) for name, number in counts.items()], right=frozenset(headers[1:]))


def _nodes(report: PurgeReport) -> str:
    found = [f"{report.kind}s", "artifacts"] if report.kind == "execution" else [f"{report.kind}s"]
    parts = [count(report.removed[name], name.removesuffix("s")) for name in found if report.removed.get(name)]
    return " and ".join(parts) or "nothing"
