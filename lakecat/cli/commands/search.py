"""``lakecat search``: find anything by its name or what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line

if TYPE_CHECKING:
    from lakecat.catalog.search import SearchHit, SearchResult

KINDS: Final = ("dataset", "job", "script", "column", "artifact", "execution", "context", "type")


@click.command(short_help="Find datasets, columns, jobs and scripts.")
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only this kind. Several may be given.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="How many at most. [default: 20]")
@common_options
@click.pass_obj
def search(common: Common, words: tuple[str, ...], kinds: tuple[str, ...], limit: int) -> None:
    """Find what bears a name, then what begins so, then what has the words: names, columns, descriptions, labels."""
    with common.connect() as lake:
        found = lake.search(" ".join(words), kinds=kinds, limit=limit)
    common.output().emit({"search": found}, lambda: _blocks(found))


def _blocks(found: SearchResult) -> Iterator[Block]:
    if not found.hits:
        yield Line("nothing found", "dim")
        return
    yield Grid(("kind", "name", "match", "where"), [_row(hit) for hit in found.hits])
    if found.more:
        yield Line("there is more (--limit)", "dim")


def _row(hit: SearchHit) -> tuple[str, ...]:
    said = [match for match in hit.matches if match.field != "name"]
    where = "; ".join(f"{match.field}: {match.text}" for match in said)
    return (hit.kind.value, hit.name, hit.match.value, where or hit.type or "")
