"""``lakecat diff``: what changed between two versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line, Style
from lakecat.cli.rows import value_text
from lakecat.cli.text import count, size
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.lake import Difference, RowDifference
    from lakecat.lake.answers import KeyedDifference, StatisticsDifference
    from lakecat.tables.summary import ColumnSummary

_SIGNS: Final[dict[str, tuple[str, Style]]] = {"added": ("+", "good"), "dropped": ("-", "bad")}


@click.command(short_help="Show what changed between two versions.")
@click.argument("before", metavar="DATASET[@VERSION]")
@click.argument("after", metavar="[DATASET@VERSION]", required=False)
@click.option("--rows", is_flag=True, help="Compare the rows too.")
@click.option(
    "--key", multiple=True, metavar="COLUMN", help="Tell rows apart by this column, so that changed ones are found."
)
@click.option("--stats", is_flag=True, help="Compare NULLs, sizes, least and most by column, out of the metadata.")
@click.option(
    "--sample", type=click.IntRange(0, 1000), default=10, help="How many differing rows to show. [default: 10]"
)
@exit_code_option
@common_options
@click.pass_obj
def diff(
    common: Common,
    before: str,
    after: str | None,
    key: tuple[str, ...],
    sample: int,
    *,
    rows: bool,
    stats: bool,
    exit_code: bool,
) -> int:
    """Show what changed from one version to another, or to the current one, and which scripts that breaks.

    A dataset without a version: from the version before the current one to the current one.
    """
    with common.connect() as lake:
        found = lake.diff(before, after, rows=rows, key=key, statistics=stats, sample=sample)
    common.output().emit({"difference": found, "same": found.same}, lambda: _blocks(found))
    return DIFFERENCES if exit_code and not found.same else 0


def _blocks(found: Difference) -> Iterator[Block]:
    from lakecat.lake.answers import KeyedDifference

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
    yield from _verdict(found)
    if found.statistics is not None:
        yield _statistics(found.statistics)
    if isinstance(found.rows, KeyedDifference):
        yield from _keyed_blocks(found.rows)
    elif found.rows is not None:
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


def _verdict(found: Difference) -> Iterator[Line]:
    if found.verdict == "same":
        return
    if found.verdict == "compatible":
        yield Line("compatible: what reads the first version can read the second", "good")
        return
    yield Line(f"breaking: {'; '.join(found.reasons)}", "bad")
    for reader in found.readers:
        lines = f":{','.join(map(str, reader.lines))}" if reader.lines and reader.script else ""
        yield Line(f"{reader.script or reader.job}{lines} → {reader.dataset}", "bad", 1)


def _statistics(statistics: Sequence[StatisticsDifference]) -> Grid:
    headers = ("column", "nulls", "NaN", "size", "least", "most")
    rows = [
        (
            one.name,
            _both(one, lambda side: count(side.nulls)),
            _both(one, lambda side: count(side.nans)),
            _both(one, lambda side: size(side.bytes)),
            _both(one, lambda side: _bound(side, side.least)),
            _both(one, lambda side: _bound(side, side.most)),
        )
        for one in statistics
    ]
    return Grid(headers, rows)


def _both(one: StatisticsDifference, shown: Callable[[ColumnSummary], str]) -> str:
    before, after = ("-" if side is None else shown(side) for side in (one.before, one.after))
    return before if before == after else f"{before} → {after}"


def _bound(side: ColumnSummary, value: object) -> str:
    text = value_text(value)
    return "-" if value is None else f"~{text}" if side.rounded else text


def _keyed_blocks(rows: KeyedDifference) -> Iterator[Block]:
    yield Line(f"+ {count(rows.added, 'row')}", "good")
    yield Line(f"- {count(rows.removed, 'row')}", "bad")
    yield Line(f"~ {count(rows.changed, 'row')}", "warn")
    for name, number in rows.changed_columns.items():
        yield Line(f"~ {name} in {count(number, 'row')}", "warn", 1)
    shown = [("+", *map(value_text, row)) for row in rows.sample_added]
    shown += [("-", *map(value_text, row)) for row in rows.sample_removed]
    if shown:
        yield Grid(("", *rows.columns), shown)
    changed = [
        ("~", *map(value_text, row.key), change.name, value_text(change.before), value_text(change.after))
        for row in rows.sample_changed
        for change in row.changes
    ]
    if changed:
        yield Grid(("", *rows.key, "column", "before", "after"), changed)
