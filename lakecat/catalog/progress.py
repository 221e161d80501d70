"""How far streams were read: positions, and the ledger of files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.types import Position


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamProgress:
    """How far a stream has been committed: its position, when that moved last (in UTC), and how many files it holds."""

    position: Position | None
    moved_at: datetime | None
    files: int

    @property
    def known(self) -> bool:
        """Whether anything of the stream was ever committed."""
        return self.position is not None or self.files > 0


def streams_beginning(connection: sa.Connection, prefix: str) -> tuple[str, ...]:
    """The streams whose names begin so and of which a position or a file is known, in order. Reads the whole ledger."""
    names: set[str] = set()
    for table in (s.position, s.loaded_file):
        found = sa.select(table.c.stream).where(table.c.stream.startswith(prefix, autoescape=True)).distinct()
        names |= set(connection.execute(found).scalars())
    return tuple(sorted(names))


def progress(connection: sa.Connection, stream: str) -> StreamProgress:
    """How far a stream has been committed."""
    file, position = s.loaded_file, s.position
    files = connection.execute(
        sa.select(sa.func.count(file.c.uri_hash.distinct())).where(file.c.stream == stream)
    ).scalar_one()
    known = connection.execute(
        sa.select(position.c.value, position.c.updated_ms).where(position.c.stream == stream)
    ).one_or_none()
    return StreamProgress(
        position=None if known is None else Position(json.loads(known.value)),
        moved_at=None if known is None else datetime.fromtimestamp(known.updated_ms / 1000, UTC),
        files=files,
    )
