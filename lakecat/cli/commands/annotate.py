"""``lakecat annotate``: say what a dataset or column is, whose it is, and how fresh it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import moment, seconds

if TYPE_CHECKING:
    from lakecat.catalog.annotations import Annotation, AnnotationChange


@click.command(short_help="Describe a dataset or column, label it, name its owners.")
@click.argument("target", metavar="DATASET[.COLUMN]")
@click.option("--description", help="What it is; an empty text takes the description away.")
@click.option("--owner", "owners", multiple=True, help="Add an owner. May be given several times.")
@click.option("--disown", multiple=True, metavar="OWNER", help="Take an owner away.")
@click.option("--label", "labels", multiple=True, help="Add a label, such as pii. May be given several times.")
@click.option("--unlabel", multiple=True, metavar="LABEL", help="Take a label away.")
@click.option("--fresh-within", metavar="TIME", help="How old its newest version may be: 24h, 7d; none takes it away.")
@click.option("--history", is_flag=True, help="Also show every change: who said what when.")
@common_options
@click.pass_obj
def annotate(
    common: Common,
    target: str,
    description: str | None,
    owners: tuple[str, ...],
    disown: tuple[str, ...],
    labels: tuple[str, ...],
    unlabel: tuple[str, ...],
    fresh_within: str | None,
    *,
    history: bool,
) -> None:
    """Say something of a dataset or column, and show what is said of it; without options only show it."""
    with common.connect() as lake:
        found = lake.annotate(
            target,
            description=description,
            owners=owners,
            disown=disown,
            labels=labels,
            unlabel=unlabel,
            fresh_within=fresh_within,
        )
        changes = lake.annotation_history(target) if history else ()
    document = {"target": target, "annotation": found, "changes": changes if history else None}
    common.output().emit(document, lambda: _blocks(target, found, changes))


def annotation_lines(found: Annotation) -> Iterator[Line]:
    """What is said, a line each."""
    for line in (found.description or "").splitlines():
        yield Line(f"is          {line}")
    if found.labels:
        yield Line(f"labels      {', '.join(found.labels)}")
    if found.owners:
        yield Line(f"owners      {', '.join(found.owners)}")
    if found.fresh_within is not None:
        yield Line(f"fresh       within {seconds(found.fresh_within.total_seconds())}")


def _blocks(target: str, found: Annotation, changes: Sequence[AnnotationChange]) -> Iterator[Block]:
    yield Line(target, "strong")
    lines = list(annotation_lines(found))
    yield from lines
    if not lines:
        yield Line("nothing is said of it", "dim")
    if changes:
        yield Grid(
            ("when", "who", "of", "what", "before", "after"),
            [
                (
                    moment(change.changed_at),
                    change.changed_by,
                    change.column or change.dataset,
                    change.aspect,
                    change.before or "-",
                    change.after or "-",
                )
                for change in changes
            ],
        )
