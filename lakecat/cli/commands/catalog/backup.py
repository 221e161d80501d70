"""``lakecat catalog backup``: the whole catalog in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Line
from lakecat.cli.text import count

if TYPE_CHECKING:
    from lakecat.catalog.backup import Manifest


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check", is_flag=True, help="Write nothing: read FILE, anywhere, and see that it is whole.")
@click.option("--yes", is_flag=True, help="Replace FILE if it is there.")
@common_options
@click.pass_obj
def backup(common: Common, *, file: Path, check: bool, yes: bool) -> int:
    """Write the whole catalog into one file, as it is at one moment, while others go on writing.

    The file is the same whatever the database is: `lakecat catalog restore` puts it into any other one. It holds no
    passwords; only its owner may read it. The lake's data is not in it.
    """
    output = common.output()
    if check:  # wherever the backup is kept: there may be no project
        from lakecat.catalog.backup import check_backup

        manifest = check_backup(file)
    else:
        with common.connect() as lake:
            manifest = lake.backup(file, replace=yes)
    output.emit({"backup": document(manifest, file)}, lambda: _blocks(manifest, file, checked=check))
    return 0


def document(manifest: Manifest, file: Path) -> object:
    """A backup as JSON."""
    return {
        "file": file,
        "created_at": manifest.created_at,
        "source": manifest.source,
        "lakecat": manifest.lakecat,
        "revision": manifest.revision,
        "catalog_uuid": manifest.catalog_uuid,
        "rows": {name: table.rows for name, table in manifest.tables.items()},
    }


def _blocks(manifest: Manifest, file: Path, *, checked: bool) -> Iterator[Block]:
    when = manifest.created_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    size = f"{count(manifest.rows, 'row')} in {count(len(manifest.tables), 'table')}, schema {manifest.revision}"
    if checked:
        yield Line(f"{file} is whole: {size}, made at {when} of {manifest.source}", "strong")
    else:
        yield Line(f"wrote {file}: {size}", "strong")
