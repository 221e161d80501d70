"""The renderer for people: rich on a terminal, plain aligned text elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from lakecat.cli.json_output import NoProgress
from lakecat.cli.output import Block, Grid, Line, Progress, Style, View
from lakecat.cli.streams import forget
from lakecat.cli.text import escape, escape_lines
from lakecat.errors import LakecatError

_STYLES: Final[dict[Style, str]] = {
    "plain": "",
    "good": "green",
    "bad": "red",
    "warn": "yellow",
    "dim": "dim",
    "strong": "bold",
}


class ConsoleOutput:
    """Prints blocks on stdout and talk on stderr. Colour and cutting of wide tables on a terminal only."""

    def __init__(self, stdout: TextIO, stderr: TextIO, *, quiet: bool = False, verbose: bool = False) -> None:
        self._out = _console(stdout)
        self._err = _console(stderr)
        self._quiet = quiet
        self._verbose = verbose

    def emit(self, document: object, view: View) -> None:
        """Print the view's blocks; the document is for programs."""
        del document
        for block in view():
            self._block(block)

    def talk(self, text: str, style: Style = "plain") -> None:
        """Print a line on stderr, unless ``--quiet``."""
        if not self._quiet:
            self._err.print(Text(escape(text), style=_STYLES[style]), soft_wrap=True)

    def detail(self, text: str) -> None:
        """Print a line on stderr with ``--verbose``."""
        if self._verbose:
            self._err.print(Text(escape(text), style="dim"), soft_wrap=True)

    def error(self, error: LakecatError) -> None:
        """Print what, where, mend and next; also with ``--quiet``."""
        place = f"{escape(str(error.where))}: " if error.where else ""
        message = Text.assemble(("error: ", "bold red"), place, escape_lines(error.what))
        for label, text in (("mend", error.hint), ("next", error.next_command)):
            if text:
                message.append(f"\n  {label}: ", style="bold").append(escape_lines(text))
        self._err.print(message, soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar for each label on a terminal's stderr; nothing elsewhere."""
        if self._quiet or not self._err.is_terminal:
            yield NoProgress()
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with RichProgress(*columns, console=self._err, transient=True) as bars:
            yield _Bars(bars)

    def _block(self, block: Block) -> None:
        if isinstance(block, Line):
            text = Text("  " * block.indent + escape(block.text), style=_STYLES[block.style])
            self._out.print(text, soft_wrap=True)
            return
        if block.title:
            self._out.print(Text(escape(block.title), style="bold"), soft_wrap=True)
        if self._out.is_terminal:
            self._out.print(_table(block))
        else:
            self._out.print(Text("\n".join(_aligned(block))), soft_wrap=True)


def _console(file: TextIO) -> Console:
    width = None if file.isatty() else max(shutil.get_terminal_size().columns, 80)
    return _Console(file=file, width=width, highlight=False, markup=False, emoji=False)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without a reader: rich would end the process in the midst of its work."""
        forget(cast("TextIO", self.file))


def _table(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in grid.headers:
        table.add_column(header, justify="right" if header in grid.right else "left", no_wrap=True, overflow="ellipsis")
    for row in grid.rows:
        table.add_row(*(Text(escape(cell)) for cell in row))
    return table


def _aligned(grid: Grid) -> list[str]:
    rows: list[Sequence[str]] = [grid.headers, *([escape(cell) for cell in row] for row in grid.rows)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(grid.headers))]
    right = [header in grid.right for header in grid.headers]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


class _Bars:
    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, int] = {}

    def update(self, label: str, done: int, total: int | None) -> None:
        """Move the label's bar, making it when it is new."""
        if label not in self._tasks:
            self._tasks[label] = int(self._bars.add_task(escape(label), total=total))
        self._bars.update(self._tasks[label], completed=done, total=total)  # type: ignore[arg-type]  # TaskID is an int

    def finish(self, label: str) -> None:
        """Take the label's bar away."""
        if (task := self._tasks.pop(label, None)) is not None:
            self._bars.remove_task(task)  # type: ignore[arg-type]  # TaskID is an int
