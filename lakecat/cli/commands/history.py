"""``lakecat history``: a dataset's versions, one line each, as ``git log --oneline`` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line, Style
from lakecat.cli.text import count, moment

if TYPE_CHECKING:
    from lakecat.lake.answers import ColumnDifference
    from lakecat.lake.asked import History, HistoryEntry

_CREATED: Final = 3
"""Of a first version with more columns only their number is shown."""
_SIGNS: Final[dict[str, tuple[str, Style]]] = {"added": ("+", "good"), "dropped": ("-", "bad")}


@click.command(short_help="List a dataset's versions with what changed.")
@click.argument("target", metavar="DATASET[.COLUMN][@VERSION]")
@click.option("--limit", type=click.IntRange(1), default=20, help="How many versions at most. [default: 20]")
@common_options
@click.pass_obj
def history(common: Common, target: str, limit: int) -> None:
    """List versions, newest first: rows added and removed, what made them, and how the columns changed.

    Of a column only the versions that added, changed or dropped it.
    """
    with common.connect() as lake:
        found = lake.history(target, limit=limit)
    common.output().emit({"history": found}, lambda: _lines(found))


def _lines(found: History) -> Iterator[Line]:
    for entry in found.entries:
        yield Line(_version(entry))
        if entry.version.version == 1 and len(entry.columns) > _CREATED:
            yield Line(f"+ {count(len(entry.columns), 'column')}", "good", 1)
            continue
        for column in entry.columns:
            yield column_line(column, indent=1)
    if found.more:
        yield Line("… older versions: --limit", "dim")


def _version(entry: HistoryEntry) -> str:
    version = entry.version
    changed = f"+{version.added_rows:,}" + (f" -{version.removed_rows:,}" if version.removed_rows else "")
    job = "" if entry.execution is None else f"  {entry.execution.job}"
    gone = "  (expired)" if version.expired else ""
    return (
        f"v{version.version}  {moment(version.committed_at)}  {version.operation}  {changed} rows, "
        f"{count(version.rows)} in all{job}  (execution {version.execution_id}){gone}"
    )


def column_line(column: ColumnDifference, *, indent: int = 0) -> Line:
    """How one column changed."""
    sign, style = _SIGNS.get(column.kind.value, ("~", "warn"))
    text = " → ".join(part for part in (column.before, column.after) if part)
    return Line(f"{sign} {text} ({column.kind.value})", style, indent)
