"""What the conformance suite needs to know about the shelf connector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import shelf_connector

from lakecat.connector import StreamRequest
from lakecat.testing import ConnectorSuite
from lakecat.types import Json


class ShelfSuite(ConnectorSuite):
    connector: ClassVar[type[Any]] = shelf_connector.Shelf

    def options(self, root: Path) -> Mapping[str, Json]:
        return {"folder": ".", "splits": 3}

    def fill(self, root: Path) -> None:
        for name in "ab":
            self._write(root, name, [[at, None if at % 5 == 0 else f"{name}{at}"] for at in range(13)])

    def grow(self, root: Path) -> None:
        for name in "ab":
            rows = self._rows(root, name)
            self._write(root, name, [*rows, [len(rows), "new"], [len(rows) + 1, "newer"]])

    def spoil(self, root: Path) -> None:
        self._write(root, "a", [*self._rows(root, "a"), [99, "bad"]])

    def destroy(self, root: Path) -> None:
        for file in root.glob("*.json"):
            file.unlink()

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(name="a"), StreamRequest(name="b"))

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        return [{"id": number, "text": text} for number, text in self._rows(root, str(request.name))]

    def _rows(self, root: Path, name: str) -> list[Any]:
        rows: list[Any] = json.loads((root / f"{name}.json").read_text())["rows"]
        return rows

    def _write(self, root: Path, name: str, rows: list[Any]) -> None:
        (root / f"{name}.json").write_text(json.dumps({"rows": rows, "key": ["id"]}))
