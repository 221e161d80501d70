"""The renderer for programs: one JSON document on stdout, errors as one JSON object a line on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from lakecat.cli.jsonable import error_document, to_json
from lakecat.cli.output import Progress, Style, View
from lakecat.cli.streams import put
from lakecat.errors import LakecatError


class JsonOutput:
    """Prints documents. Everything outside ASCII is escaped, so that no name can steer a terminal."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._stdout = stdout
        self._stderr = stderr

    def emit(self, document: object, view: View) -> None:
        """Print the document; the view is not asked."""
        del view
        put(self._stdout, json.dumps(to_json(document), indent=2, allow_nan=False))

    def talk(self, text: str, style: Style = "plain") -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def error(self, error: LakecatError) -> None:
        """Print the error as one JSON object on one line of stderr."""
        put(self._stderr, json.dumps(error_document(error)))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show nothing."""
        yield NoProgress()


class NoProgress:
    """Progress that nobody sees."""

    def update(self, label: str, done: int, total: int | None) -> None:
        """Nothing."""

    def finish(self, label: str) -> None:
        """Nothing."""
