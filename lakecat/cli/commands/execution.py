"""``lakecat execution``: what one execution read and wrote, with what, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakecat.cli.jsonable import to_json
from lakecat.cli.options import Common, common_options
from lakecat.cli.output import Block, Line
from lakecat.cli.text import SOURCES, count, moment, seconds, size

if TYPE_CHECKING:
    from lakecat.lake.asked import ExecutionReport


@click.command(short_help="Show what one execution read and wrote.")
@click.argument("execution", metavar="ID|UUID|DATASET@VERSION")
@click.option("--script", is_flag=True, help="Also show the text of its script.")
@common_options
@click.pass_obj
def execution(common: Common, execution: str, *, script: bool) -> None:
    """Show one execution: inputs, outputs, script, parameters, git commit, user, host, duration, amounts, error."""
    with common.connect() as lake:
        found = lake.execution(execution)
    common.output().emit({"execution": found}, lambda: blocks(found, script=script))


def blocks(found: ExecutionReport, *, script: bool) -> Iterator[Block]:
    """An execution for people."""
    info = found.info
    style = "good" if info.state.value == "COMPLETE" else "warn" if info.state.value == "RUNNING" else "bad"
    yield Line(f"execution {info.execution_id}  {info.state.value.lower()}", style)  # type: ignore[arg-type]
    yield Line(f"uuid        {info.uuid}")
    yield Line(f"job         {info.job} ({info.type.value.partition('.')[2].lower()})")
    took = "" if found.seconds is None else f", took {seconds(found.seconds)}"
    yield Line(f"started     {moment(info.started_at)}{took}")
    who = f"{found.user or '?'}@{found.host or '?'}"
    yield Line(f"by          {who}{f' ({found.command})' if found.command else ''}")
    yield Line(f"git commit  {found.git_commit or '-'}")
    if found.environment:
        yield Line(f"with        {', '.join(f'{name} {value}' for name, value in found.environment.items())}")
    if isinstance(found.parameters, str):  # an ingest's that are too long to be kept
        yield Line(f"parameters  the job as configured, sha256 {found.parameters[:12]}")
    elif found.parameters:
        yield Line(f"parameters  {_one_line(found.parameters)}")
    if found.script is not None:
        yield Line(f"script      {found.script.path} ({found.script.dialect}, sha256 {found.script.sha256[:12]})")
    yield from _read(found)
    yield from _written(found)
    for dataset, text in found.failed_streams.items():
        yield Line(f"failed      {dataset}: {text.splitlines()[0]}", "bad")
    for number, line in enumerate((info.error or "").splitlines()):
        yield Line(f"error       {line}" if number == 0 else f"            {line}", "bad")
    if script and found.script is not None:
        yield Line("")
        for line in found.script.text.splitlines():
            yield Line(line)


def _read(found: ExecutionReport) -> Iterator[Line]:
    yield Line(f"read        {count(found.rows_read, 'row')}, {size(found.bytes_read)}")
    for version in found.inputs:
        yield Line(f"            {version}  {count(version.rows, 'row')}")
    for source in found.sources[:SOURCES]:
        yield Line(f"            {source.uri}  {count(source.rows, 'row')}")
    if len(found.sources) > SOURCES:
        yield Line(f"            … and {len(found.sources) - SOURCES} more (--json lists them all)", "dim")


def _written(found: ExecutionReport) -> Iterator[Line]:
    files = "" if found.files_written is None else f" in {count(found.files_written, 'file')}"
    yield Line(f"wrote       {count(found.rows_written, 'row')}{files}, {size(found.bytes_written)}")
    for version in found.outputs:
        removed = f", -{version.removed_rows:,}" if version.removed_rows else ""
        yield Line(f"            {version}  +{version.added_rows:,}{removed} rows, now {count(version.rows, 'row')}")


def _one_line(value: object) -> str:
    plain = to_json(value)
    if isinstance(plain, dict):
        return ", ".join(f"{name}={item}" for name, item in plain.items())
    return str(plain)
