"""``lakecat status``: how fresh each dataset is, and how its last run ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options, exit_code_option, selection_options
from lakecat.cli.output import Grid, Line
from lakecat.cli.text import count, moment
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.lake import DatasetStatus

_SHOWN: Final = 5
_MARKS: Final = {"COMPLETE": "✓", "FAILED": "✗", "CANCELED": "✗", "RUNNING": "…"}


@click.command(short_help="Show how fresh each dataset is.")
@exit_code_option
@selection_options
@common_options
@click.pass_obj
def status(common: Common, select: tuple[str, ...], exclude: tuple[str, ...], *, exit_code: bool) -> int:
    """Show each dataset's version, age, last run and next due time."""
    with common.connect() as lake:
        found = lake.status(select, exclude=exclude)
    grid = Grid(
        ("dataset", "version", "rows", "age", "fresh", "filled by", "last run", "next due"),
        [_row(item) for item in found],
        frozenset({"version", "rows"}),
    )
    failed = [item for item in found if item.last_run is not None and item.last_run.state.value != "COMPLETE"]
    errors = [Line(line, "bad") for line in _told(failed)]
    late = [item for item in found if item.late]
    errors += [
        Line(f"{item.dataset}: {_age(item.age)} old, should be within {_age(item.fresh_within)}", "warn")
        for item in late
    ]
    common.output().emit({"status": found}, lambda: [grid, *errors])
    return DIFFERENCES if exit_code and (failed or late) else 0


def _told(failed: Sequence[DatasetStatus]) -> Iterator[str]:
    """What failed, each error once with the datasets that it concerns."""
    by_error: dict[str, list[str]] = {}
    for item in failed:
        if item.last_run is not None and item.last_run.error:
            by_error.setdefault(item.last_run.error, []).append(str(item.dataset))
    for error, names in by_error.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield from f"{', '.join(names[:_SHOWN])}{more}: {error}".splitlines()


def _row(item: DatasetStatus) -> tuple[str, ...]:
    run = item.last_run
    return (
        str(item.dataset),
        f"v{item.version.version}" if item.version else "-",
        count(item.version.rows if item.version else None),
        _age(item.age),
        "-" if item.fresh_within is None else "late" if item.late else "ok",
        item.job or "-",
        f"{_MARKS[run.state.value]} {run.state.value.lower()} {moment(run.finished_at or run.started_at)}"
        if run
        else "-",
        moment(item.next_due),
    )


def _age(passed: timedelta | None) -> str:
    if passed is None:
        return "-"
    if passed < timedelta(hours=1):
        return f"{max(passed, timedelta()) // timedelta(minutes=1)} min"
    return f"{passed // timedelta(hours=1)} h" if passed < timedelta(days=2) else f"{passed.days} d"
