"""A source for tests, written with RowsConnector: a folder with tickets, changed by time, and people, read whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakecat.connector import RowsConnector, RowsStream, Secret, stream
from lakecat.errors import SourceAccessError, SourceUnavailableError, Where


@dataclass(frozen=True)
class Options:
    folder: str
    token: Secret | None = None
    page: int = 3


class Desk(RowsConnector):
    """Tickets come page by page, in any order."""

    Options = Options

    def uri(self, name: str) -> str:
        return (self.context.root / self.options.folder / name).as_uri()

    @stream(
        key="id", cursor="changed_at", schema=pa.schema([("id", pa.int64()), ("changed_at", pa.timestamp("us", "UTC"))])
    )
    def tickets(self, since: datetime | None) -> Iterator[dict[str, Any]]:
        """Tickets.

        More of them is not told.
        """
        for row in self._load("tickets"):
            changed = row["changed_at"] and datetime.fromisoformat(row["changed_at"])
            if since is None or changed is None or changed >= since:
                yield {**row, "changed_at": changed}

    @stream("log", cursor="seq", ordered=True)
    def lines(self, since: int | None) -> Iterator[dict[str, Any]]:
        yield from (row for row in self._load("log") if since is None or row["seq"] is None or row["seq"] >= since)

    @stream(key=["name"])
    def people(self) -> list[dict[str, Any]]:
        return self._load("people")

    def _load(self, name: str) -> list[dict[str, Any]]:
        if self.options.token is not None and self.options.token.reveal() != "s3cret-token":
            raise SourceAccessError("the token is wrong", where=Where(self.uri(name)), hint="get another")
        path = self.context.root / self.options.folder / f"{name}.json"
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text())
        except FileNotFoundError as err:
            raise SourceUnavailableError("it is not there", where=Where(self.uri(name))) from err
        return rows


class Versioned(Desk):
    """Its people have a version."""

    def streams(self) -> tuple[RowsStream, ...]:
        return (RowsStream(name="people", rows=self.people, key=("name",), version=self._version),)

    def _version(self) -> str:
        return str(len(self._load("people")))


def moment(second: int) -> str:
    return datetime.fromtimestamp(1_700_000_000 + second, UTC).isoformat()


def put(root: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (root / f"{name}.json").write_text(json.dumps(rows))


def get(root: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((root / f"{name}.json").read_text())
    return rows
