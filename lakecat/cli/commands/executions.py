"""``lakecat executions``: what ran, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Grid, Line
from lakecat.cli.text import moment, seconds

if TYPE_CHECKING:
    from lakecat.catalog import ExecutionInfo

_MARKS: Final = {"COMPLETE": "✓", "FAILED": "✗", "CANCELED": "✗", "RUNNING": "…"}


@click.command(short_help="List what ran, newest first.")
@click.option("--job", metavar="NAME", help="Only those of this ingest job or script.")
@click.option("--dataset", metavar="NAME", help="Only those that were to write this dataset.")
@click.option(
    "--state",
    type=click.Choice(["running", "complete", "failed", "canceled"], case_sensitive=False),
    help="Only those in this state.",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(["ingest", "transform", "maintenance", "external"], case_sensitive=False),
    help="Only those of this type.",
)
@click.option(
    "--since", metavar="WHEN", help="Only those that began then or later: yesterday, today, 2h, 7d, 2026-11-01 (UTC)."
)
@click.option("--limit", type=click.IntRange(1), default=50, help="How many at most. [default: 50]")
@common_options
@click.pass_obj
def executions(
    common: Common,
    job: str | None,
    dataset: str | None,
    state: str | None,
    kind: str | None,
    since: str | None,
    limit: int,
) -> None:
    """List executions, newest first: which failed since yesterday, which ran for this dataset."""
    with common.connect() as lake:
        found = lake.executions(job=job, dataset=dataset, state=state, type=kind, since=since, limit=limit)
    now = datetime.now(UTC)
    grid = Grid(
        ("id", "state", "type", "job", "started", "took", "error"), [_row(one, now) for one in found], frozenset({"id"})
    )
    output = common.output()
    output.emit({"executions": found}, lambda: [grid] if found else [Line("no such executions", "dim")])
    if len(found) == limit:
        output.talk(f"the newest {limit}; --limit shows more", "dim")


def _row(one: ExecutionInfo, now: datetime) -> tuple[str, ...]:
    lines = (one.error or "").splitlines()
    return (
        str(one.execution_id),
        f"{_MARKS[one.state.value]} {one.state.value.lower()}",
        one.type.value.partition(".")[2].lower(),
        one.job,
        moment(one.started_at),
        seconds(((one.finished_at or now) - one.started_at).total_seconds()),
        lines[0] if lines else "",
    )
