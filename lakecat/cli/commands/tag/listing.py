"""``lakecat tag list``: the tags, and how they moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import moment

if TYPE_CHECKING:
    from lakecat.catalog.tags import Tag, TagChange


@click.command("list", short_help="List the tags.")
@click.argument("dataset", required=False)
@click.option("--history", is_flag=True, help="Also show every move: who moved which tag when.")
@common_options
@click.pass_obj
def list_(common: Common, dataset: str | None, *, history: bool) -> None:
    """List the tags of a dataset, or all of them."""
    with common.connect() as lake:
        found = lake.tags(dataset)
        changes = lake.tag_history(dataset) if history else ()
    document = {"tags": found, "changes": changes if history else None}
    common.output().emit(document, lambda: _blocks(found, changes))


def _blocks(found: Sequence[Tag], changes: Sequence[TagChange]) -> Iterator[Block]:
    if found:
        rows = [(str(tag), f"v{tag.version}", moment(tag.changed_at), tag.changed_by) for tag in found]
        yield Grid(("tag", "version", "since", "by"), rows, frozenset({"version"}))
    else:
        yield Line("no version is tagged; next: lakecat tag set prod raw.orders", "dim")
    if changes:
        yield Grid(
            ("when", "who", "tag", "from", "to", "execution"),
            [
                (
                    moment(change.changed_at),
                    change.changed_by,
                    f"{change.dataset}@{change.name}",
                    "-" if change.before is None else f"v{change.before}",
                    "-" if change.after is None else f"v{change.after}",
                    str(change.execution_id),
                )
                for change in changes
            ],
            frozenset({"from", "to", "execution"}),
        )
