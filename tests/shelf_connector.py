"""A source for tests: a folder with a JSON file for each stream, written as a connector's author would.

A file holds ``{"rows": [[id, text], …]}`` and, where wanted, ``"key"``, ``"fail"`` (``plan``, ``read`` or ``midway``)
and ``"forgetful"`` (it gives no position). A row whose text is ``bad`` cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakecat.connector import (
    REJECTED,
    ConnectorContext,
    ReadOptions,
    ReadSummary,
    Slice,
    Stream,
    StreamRequest,
    StreamState,
)
from lakecat.errors import ConfigError, ParseError, SourceError, UsageError, Where
from lakecat.types import Json, Position, SourceRead

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


class Shelf:
    """Streams are files, their position the number of rows read."""

    def __init__(self, folder: Path, splits: int) -> None:
        self.folder = folder
        self.splits = splits

    @classmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Shelf:
        for name in options:
            if name not in ("folder", "splits", "batch", "missing_columns"):
                raise ConfigError(f"unknown option {name!r}", hint="there are: folder, splits")
        return cls(context.root / str(options.get("folder", "shelf")), int(str(options.get("splits", 0))))

    def discover(self) -> Sequence[Stream]:
        return tuple(
            Stream(
                name=file.stem, uri=file.as_uri(), schema=SCHEMA, key=tuple(json.loads(file.read_text()).get("key", ()))
            )
            for file in sorted(self.folder.glob("*.json"))
        )

    def plan(self, request: StreamRequest, state: StreamState) -> Iterator[Slice]:
        name = request.name or "only"
        content = self._content(name)
        if content.get("fail") == "plan":
            raise SourceError(f"{name} cannot be planned")
        return self._slices(name, content, request, state)

    def _slices(
        self, name: str, content: Mapping[str, Any], request: StreamRequest, state: StreamState
    ) -> Iterator[Slice]:
        end = len(content["rows"])
        while True:
            position = state.position
            start = int(str(position.value["rows"])) if position and request.incremental else 0
            stop = min(end, start + request.checkpoint) if request.checkpoint else end
            if start == stop:
                return
            bounds = [start + (stop - start) * part // max(self.splits, 1) for part in range(max(self.splits, 1) + 1)]
            yield Slice(
                key=f"{name}:{start}-{stop}",
                position=None if content.get("forgetful") else Position({"rows": stop}),
                payload={"stream": name, "start": start, "stop": stop},
                splits=tuple({"start": a, "stop": b} for a, b in pairwise(bounds)) if self.splits else (),
                uri=(self.folder / f"{name}.json").as_uri(),
            )
            if not request.incremental:
                return

    def read(self, slice_: Slice, options: ReadOptions) -> ShelfReader:
        content = self._content(str(slice_.payload["stream"]))
        if content.get("fail") == "read":
            raise SourceError("the shelf fell down")
        parts = slice_.splits or (slice_.payload,)
        return ShelfReader(slice_, content, [(int(str(p["start"])), int(str(p["stop"]))) for p in parts], options)

    def close(self) -> None:
        pass

    def _content(self, name: str) -> dict[str, Any]:
        file = self.folder / f"{name}.json"
        try:
            content: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError as err:
            raise SourceError("there is no such stream", where=Where(file.as_uri())) from err
        return content


class ShelfReader:
    """Rows of some ranges of one file, two a batch."""

    schema = SCHEMA

    def __init__(
        self, slice_: Slice, content: Mapping[str, Any], ranges: Sequence[tuple[int, int]], options: ReadOptions
    ) -> None:
        self.slice = slice_
        self.content = content
        self.ranges = ranges
        self.options = options
        self.rows = 0
        self.finished = False
        self.rejected: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for start, stop in self.ranges:
            for first in range(start, stop, 2):
                rows = [row for line, row in self._lines(first, min(first + 2, stop)) if self._is_good(line, row)]
                self.rows += len(rows)
                yield pa.RecordBatch.from_pylist([{"id": row[0], "text": row[1]} for row in rows], SCHEMA)
                if self.content.get("fail") == "midway":
                    raise SourceError("the shelf fell down midway")
        self.finished = True

    def _lines(self, first: int, stop: int) -> list[tuple[int, Any]]:
        return [(line + 1, self.content["rows"][line]) for line in range(first, stop)]

    def _is_good(self, line: int, row: Sequence[Any]) -> bool:
        if row[1] != "bad":
            return True
        place = Where(str(self.slice.uri), line, "text")
        if self.options.rejects is None or len(self.rejected) >= self.options.rejects:
            raise ParseError("the text is bad", where=place)
        self.rejected.append(
            {"source": place.file, "line": line, "column": "text", "text": json.dumps(row), "reason": "the text is bad"}
        )
        return False

    def summary(self) -> ReadSummary:
        if not self.finished:
            raise UsageError("the slice has not been read to its end")
        rejected = pa.Table.from_pylist(self.rejected, REJECTED) if self.rejected else None
        return ReadSummary(self.rows, (SourceRead(str(self.slice.uri), self.rows),), rejected=rejected)

    def close(self) -> None:
        pass


class LetterShelf(Shelf):
    """A shelf whose rows also have the letters of their text, as a list."""

    def read(self, slice_: Slice, options: ReadOptions) -> LetterReader:
        content = self._content(str(slice_.payload["stream"]))
        whole = (int(str(slice_.payload["start"])), int(str(slice_.payload["stop"])))
        return LetterReader(slice_, content, [whole], options)


class LetterReader(ShelfReader):
    """The same rows with one more column."""

    schema = SCHEMA.append(pa.field("letters", pa.list_(pa.string())))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in super().__iter__():
            letters = pa.array([list(text) for text in batch.column("text").to_pylist()], pa.list_(pa.string()))
            yield pa.RecordBatch.from_arrays([*batch.columns, letters], schema=self.schema)
