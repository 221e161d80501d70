"""``lakecat compare``: how two executions differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options, exit_code_option
from lakecat.cli.output import Block, Grid, Line, Style
from lakecat.cli.rows import value_text
from lakecat.cli.text import moment
from lakecat.cli.work import DIFFERENCES

if TYPE_CHECKING:
    from lakecat.lake.answers import Change
    from lakecat.lake.asked import ExecutionComparison

_SIGNS: Final[dict[str, Style]] = {"+": "good", "-": "bad", "@": "dim"}


@click.command(short_help="Show how two executions differ.")
@click.argument("before", metavar="ID|UUID|DATASET@VERSION")
@click.argument("after", metavar="ID|UUID|DATASET@VERSION")
@exit_code_option
@common_options
@click.pass_obj
def compare(common: Common, before: str, after: str, *, exit_code: bool) -> int:
    """Show how two executions differ: script, parameters, inputs, outputs, columns, environment, amounts."""
    with common.connect() as lake:
        found = lake.compare(before, after)
    common.output().emit({"comparison": found, "same": found.same}, lambda: _blocks(found))
    return DIFFERENCES if exit_code and not found.same else 0


def _blocks(found: ExecutionComparison) -> Iterator[Block]:
    for sign, one in (("-", found.before), ("+", found.after)):
        info = one.info
        state = f"{info.state.value.lower()}, {moment(info.started_at)}"
        yield Line(f"{sign} execution {info.execution_id}  {info.job}  {state}", "strong")
    for title, changes in (
        ("parameters", found.parameters),
        ("inputs", found.inputs),
        ("sources", found.sources),
        ("outputs", found.outputs),
        ("environment", found.environment),
        ("amounts", found.numbers),
    ):
        if changes:
            yield _grid(title, changes)
    for dataset, columns in found.columns.items():
        yield Line(f"columns of {dataset}", "strong")
        for column in columns:
            text = " → ".join(part for part in (column.before, column.after) if part)
            yield Line(f"{text} ({column.kind.value})", indent=1)
    for line in found.script:
        yield Line(line, _SIGNS.get(line[:1], "plain"))
    if found.same:
        yield Line("the same script, parameters, inputs and environment", "dim")


def _grid(title: str, changes: Sequence[Change]) -> Grid:
    rows = [(change.name, value_text(change.before) or "-", value_text(change.after) or "-") for change in changes]
    return Grid((title, "before", "after"), rows)
