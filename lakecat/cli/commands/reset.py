"""``lakecat reset``: forget what streams have read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Grid, Line
from lakecat.cli.text import count, moment

if TYPE_CHECKING:
    from lakecat.lake.resetting import StreamReset

_SHOWN: Final = 60


@click.command(short_help="Show or forget what a job has read.")
@click.argument("job", metavar="JOB")
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only these streams, or a pattern of them.")
@click.option("--yes", is_flag=True, help="Forget it. Without it nothing is changed.")
@common_options
@click.pass_obj
def reset(common: Common, job: str, streams: tuple[str, ...], *, yes: bool) -> None:
    """Show what the streams of an ingest job have read: positions, and numbers of files.

    With --yes it is forgotten, so that the next run reads from the start. Tables stay as they are; a stream that is
    appended to is refused, for its rows would come twice: lakecat ingest --refresh replaces them.
    """
    with common.connect() as lake:
        found = lake.reset(job, streams, apply=yes)
    common.output().emit({"streams": found, "applied": yes}, lambda: _blocks(found, applied=yes))


def _blocks(found: Sequence[StreamReset], *, applied: bool) -> Iterator[Block]:
    if not found:
        yield Line("nothing is remembered: the next run reads from the start", "strong")
        return
    rows = [
        (one.stream or "-", one.dataset, _position(one), count(one.files) if one.files else "-", moment(one.moved_at))
        for one in found
    ]
    yield Grid(("stream", "dataset", "position", "files", "moved"), rows, frozenset({"files"}))
    what = count(len(found), "stream")
    yield Line(
        f"forgotten: {what}" if applied else f"would forget {what}; nothing was changed: --yes does it", "strong"
    )


def _position(one: StreamReset) -> str:
    if one.position is None:
        return "-"
    text = json.dumps(one.position, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
