"""``lakecat init``: a new project."""

from __future__ import annotations

from pathlib import Path

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Line


@click.command(short_help="Make a new project.")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@click.option("--example", is_flag=True, help="With a small example: orders as CSV, and a table of revenue by day.")
@common_options
@click.pass_obj
def init(common: Common, folder: Path, *, example: bool) -> None:
    """Make a new project in FOLDER (this one without it). Nothing that exists is overwritten."""
    from lakecat.lake import init_project

    made = init_project(folder, example=example)
    go = [] if folder == Path() else [f"cd {folder}"]
    following = [*go, "lakecat ingest", "lakecat run"] if example else [*go, "lakecat plan"]
    common.output().emit(
        {"folder": folder, "files": made, "next": following},
        lambda: [
            *(Line(f"made {path}", "good") for path in made),
            Line("next: " + " && ".join(following), "strong"),
        ],
    )
