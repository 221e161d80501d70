"""``lakecat impact``: what a change of a column or dataset would touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.catalog.impact import Affected
    from lakecat.lake.asked import Impact


@click.command(short_help="Show everything downstream of a column or dataset.")
@click.argument("target", metavar="DATASET[.COLUMN][@VERSION]")
@common_options
@click.pass_obj
def impact(common: Common, target: str) -> None:
    """Show what a change of a column or dataset would touch, nearest first: columns, datasets, scripts."""
    with common.connect() as lake:
        found = lake.impact(target)
    common.output().emit({"impact": found}, lambda: _blocks(found))


def _blocks(found: Impact) -> Iterator[Block]:
    name = f"{found.version.dataset}{f'.{found.column}' if found.column else ''}"
    if not found.affected:
        yield Line(f"nothing is made of {name}", "good")
        return
    yield Line(f"{name} reaches {count(len(found.datasets), 'dataset')}", "strong")
    yield Grid(
        ("distance", "column", "effect", "how", "from"),
        [_row(one) for one in found.affected],
        frozenset({"distance"}),
    )
    yield Grid(
        ("script", "makes", "owners"),
        [
            (
                _places(reader.script, reader.lines) or reader.job,
                reader.dataset,
                ", ".join(found.owners.get(reader.dataset, ())) or "-",
            )
            for reader in found.readers
        ],
    )


def _row(one: Affected) -> tuple[str, ...]:
    how = "reads it" if one.kind is None else one.kind.value.lower().replace("_", " ")
    return (
        str(one.distance),
        f"{one.dataset}.{one.column}" if one.column else f"{one.dataset} (its rows)",
        one.effect,
        how + (", masked" if one.masked else ""),
        f"{one.from_dataset}{f'.{one.from_column}' if one.from_column else ''}",
    )


def _places(script: str | None, lines: tuple[int, ...]) -> str:
    if script is None:
        return ""
    return f"{script}:{','.join(map(str, lines))}" if lines else script
