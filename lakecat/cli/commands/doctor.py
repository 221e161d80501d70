"""``lakecat doctor``: look for anything wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Line, Style

if TYPE_CHECKING:
    from lakecat.lake import Check

_MARKS: Final[dict[str, tuple[str, Style]]] = {"good": ("✓", "good"), "warning": ("!", "warn"), "bad": ("✗", "bad")}


@click.command(short_help="Look for anything wrong.")
@click.option("--deep", is_flag=True, help="Read every data file of the current versions whole.")
@common_options
@click.pass_obj
def doctor(common: Common, *, deep: bool) -> int:
    """Check project, store, catalog, engine and every file of the current versions. Exits with 1 on problems."""
    with common.connect() as lake:
        checks = lake.doctor(deep=deep)
    bad = any(check.verdict.value == "bad" for check in checks)
    common.output().emit({"checks": checks, "healthy": not bad}, lambda: _blocks(checks))
    return 1 if bad else 0


def _blocks(checks: Sequence[Check]) -> Iterator[Block]:
    for check in checks:
        mark, style = _MARKS[check.verdict.value]
        yield Line(f"{mark} {check.name}: {check.message}", style)
        if check.mend:
            yield Line(f"mend: {check.mend}", indent=1)
