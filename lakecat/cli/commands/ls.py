"""``lakecat ls``: the datasets."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from lakecat.cli.options import Common, common_options, selection_options
from lakecat.cli.output import Grid, Line
from lakecat.cli.text import age, count, size


@click.command()
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
@selection_options
@common_options
@click.pass_obj
def ls(common: Common, selectors: tuple[str, ...], select: tuple[str, ...], exclude: tuple[str, ...]) -> None:
    """List the datasets with their newest versions."""
    with common.connect() as lake:
        found = lake.datasets((*selectors, *select), exclude=exclude)
    now = datetime.now(UTC)
    rows = [
        (
            str(info.name),
            f"v{info.latest.version}",
            count(info.latest.rows),
            count(info.latest.files),
            size(info.latest.bytes),
            age(info.latest.committed_at, now),
            ", ".join((*(f"{name}=v{version}" for name, version in info.tags.items()), *info.labels)),
        )
        for info in found
    ]
    grid = Grid(
        ("dataset", "version", "rows", "files", "size", "age", "tags"),
        rows,
        frozenset({"version", "rows", "files", "size"}),
    )
    nothing = Line("no datasets yet; next: lakecat ingest", "dim")
    common.output().emit({"datasets": found}, lambda: [grid] if rows else [nothing])
