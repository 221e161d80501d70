"""Standard streams that nobody reads: the work goes on, and its exit code is its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO


def ensure_streams() -> None:
    """Give a stdout and a stderr to a process whose shell closed them (``>&-``), where Python has None."""
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def forget(stream: TextIO) -> None:
    """Send to nowhere what is still written to a stream whose reader (head, less) has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def put(stream: TextIO, text: str = "", *, end: str = "\n") -> None:
    """Write a line, and all that was written before it, at once; to nowhere when the reader has gone."""
    try:
        print(text, end=end, file=stream, flush=True)
    except BrokenPipeError:
        forget(stream)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
