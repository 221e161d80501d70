"""What the readers of the formats have in common: files that are read to their end and proved unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from lakecat.errors import SourceChangedError, Where
from lakecat_connectors._bytes import RawFile
from lakecat_connectors._job import FileResult, JobFile


@dataclass(slots=True)
class SliceFile:
    """One of the slice's files, and what it became the last time that it was read to its end."""

    index: int
    file: JobFile
    result: FileResult | None = field(default=None, kw_only=True)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RawFile]:
        """The file, whose rest is read at the end. Raises SourceChangedError when it is not what it was."""
        raw = RawFile(self.file.path, self.file.shown, self.file.size)
        try:
            yield raw
            result = FileResult(0, raw.finish())
        finally:
            raw.close()
        if self.result is not None and self.result.sha256 != result.sha256:
            raise SourceChangedError("the file changed while it was read", where=Where(self.file.shown))
        self.result = result
