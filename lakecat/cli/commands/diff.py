"""``lakecat diff``: what changed between two versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line, Style
from lakecat.cli.rows import value_text
from lakecat.cli.text import count, size
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.lake import Difference, RowDifference

_SIGNS: Final[dict[str, tuple[str, Style]]] = {"added": ("+", "good"), "dropped": ("-", "bad")}


@click.command(short_help="Show what changed between two versions.")
@click.argument("before", metavar="DATASET@VERSION")
@click.argument("after", metavar="[DATASET@VERSION]", required=False)
@click.option("--rows", is_flag=True, help="Compare the rows too.")
@click.option(
    "--sample", type=click.IntRange(0, 1000), default=10, help="How many differing rows to show. [default: 10]"
)
@exit_code_option
@common_options
@click.pass_obj
def diff(common: Common, before: str, after: str | None, sample: int, *, rows: bool, exit_code: bool) -> int:
    """Show what changed from one version to another, or to the current one."""
    with common.connect() as lake:
        found = lake.diff(before, after, rows=rows, sample=sample)
    common.output().emit({"difference": found, "same": found.same}, lambda: _blocks(found))
    return DIFFERENCES if exit_code and not found.same else 0


def _blocks(found: Difference) -> Iterator[Block]:
    before, after = found.before, found.after
    yield Line(f"{before} → {after}", "strong")
    yield Line(f"rows   {count(before.rows)} → {count(after.rows)} ({after.rows - before.rows:+,})")
    yield Line(f"files  {count(before.files)} → {count(after.files)}")
    yield Line(f"size   {size(before.bytes)} → {size(after.bytes)}")
    for column in found.columns:
        sign, style = _SIGNS.get(column.kind.value, ("~", "warn"))
        text = " → ".join(part for part in (column.before, column.after) if part)
        yield Line(f"{sign} {text} ({column.kind.value})", style)
    if not found.columns:
        yield Line("the columns are the same", "dim")
    if found.rows is not None:
        yield from _row_blocks(found.rows)
    if len(found.between) > 1:
        yield Grid(
            ("version", "operation", "added", "removed"),
            [(f"v{v.version}", v.operation, count(v.added_rows), count(v.removed_rows)) for v in found.between],
            frozenset({"version", "added", "removed"}),
        )


def _row_blocks(rows: RowDifference) -> Iterator[Block]:
    yield Line(f"+ {count(rows.added, 'row')}", "good")
    yield Line(f"- {count(rows.removed, 'row')}", "bad")
    shown = [("+", *map(value_text, row)) for row in rows.sample_added]
    shown += [("-", *map(value_text, row)) for row in rows.sample_removed]
    if shown:
        yield Grid(("", *rows.columns), shown)
