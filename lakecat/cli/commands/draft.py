"""``lakecat draft``: an ingest job out of a document that describes its source."""

from __future__ import annotations

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line


@click.command(short_help="Draft an ingest job from an OpenAPI document.")
@click.argument("kind", metavar="openapi")
@click.argument("document", metavar="FILE")
@click.option("--target", default="raw.*", show_default=True, help="Where the streams go; * is each stream's name.")
@common_options
@click.pass_obj
def draft(common: Common, kind: str, document: str, target: str) -> None:
    """Print a job for ingest/ that lands what the document describes.

    What the document does not say for sure is marked with "check"; secrets are references to fill in.
    """
    with common.connect() as lake:
        text = lake.draft(kind, document, target=target)
    common.output().emit({"draft": text}, lambda: [Line(line) for line in text.splitlines()])
