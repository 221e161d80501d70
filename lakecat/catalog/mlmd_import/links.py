"""What joins MLMD's nodes: events with their paths, attributions, associations, parent contexts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store.ids import rows_by_ids
from lakecat.catalog.migrations import tables_0001 as t
from lakecat.catalog.mlmd_import.nodes import ARTIFACT, CONTEXT, EXECUTION, Kind, Origin
from lakecat.catalog.mlmd_import.rows import insert_all, insert_numbered
from lakecat.catalog.mlmd_import.source import PIECE, Record, Source


@dataclass(frozen=True, slots=True)
class Link:
    """A table whose rows join two nodes. ``narrow`` is the side that has few of them."""

    label: str
    table: sa.Table
    ends: tuple[tuple[str, Kind], tuple[str, Kind]]
    narrow: str
    more: tuple[str, ...] = ()

    def key(self, row: Any) -> tuple[int, ...]:
        """What is there once."""
        names = (*(name for name, _ in self.ends), *(name for name in self.more if name == "type"))
        return tuple(row[name] for name in names)


EVENT: Final = Link(
    "event",
    s.event,
    (("artifact_id", ARTIFACT), ("execution_id", EXECUTION)),
    "execution_id",
    ("type", "milliseconds_since_epoch"),
)
LINKS: Final = (
    EVENT,
    Link("attribution", s.attribution, (("context_id", CONTEXT), ("artifact_id", ARTIFACT)), "artifact_id"),
    Link("association", s.association, (("context_id", CONTEXT), ("execution_id", EXECUTION)), "execution_id"),
    Link(
        "parent context",
        s.parent_context,
        (("context_id", CONTEXT), ("parent_context_id", CONTEXT)),
        "context_id",
    ),
)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A piece of the source's links: the rows to add, and how many were there or lead nowhere."""

    new: list[tuple[int | None, Record]]
    """The source's id, and the row with the catalog's ids."""
    same: int
    dangling: int


def pieces(source: Source, link: Link) -> Iterator[list[Record]]:
    """The source's rows, in order."""
    names = tuple(name for name, _ in link.ends) + link.more
    if "id" in link.table.c:
        yield from source.pieces(link.table, names)
        return
    rows = source.rows(link.table, names)
    for start in range(0, len(rows), PIECE):
        yield rows[start : start + PIECE]


def sort_links(connection: sa.Connection, origin: Origin, link: Link, rows: Sequence[Record]) -> Fresh:
    """Say which of a piece of the source's links are to be added."""
    targets = {
        name: live_targets(connection, origin, kind, sorted({row[name] for row in rows})) for name, kind in link.ends
    }
    mapped: list[tuple[int | None, Record]] = []
    for row in rows:
        ends = {name: targets[name].get(row[name]) for name, _ in link.ends}
        if None not in ends.values():
            mapped.append((row.get("id"), {**{name: row[name] for name in link.more}, **ends}))
    there = _there(connection, link, sorted({row[link.narrow] for _, row in mapped}))
    new = [(key, row) for key, row in mapped if link.key(row) not in there]
    return Fresh(new, len(mapped) - len(new), len(rows) - len(mapped))


def write_links(connection: sa.Connection, link: Link, fresh: Fresh, source: Source) -> None:
    """Add a sorted piece, events with their paths."""
    rows = [row for _, row in fresh.new]
    if link is not EVENT:
        insert_all(connection, link.table, rows)
        return
    ids = insert_numbered(connection, link.table, rows)
    made = {key: target for (key, _), target in zip(fresh.new, ids, strict=True) if key is not None}
    if not made:
        return
    paths = source.owned(t.event_path, "event_id", min(made), max(made))
    insert_all(
        connection,
        s.event_path,
        ({**row, "event_id": made[row["event_id"]]} for row in paths if row["event_id"] in made),
    )


def live_targets(connection: sa.Connection, origin: Origin, kind: Kind, ids: Sequence[int]) -> dict[int, int]:
    """The catalog's nodes by the source's ids; those that were removed here since are left out."""
    table, nodes = s.import_node, kind.table
    query = (
        sa.select(table.c.source_id, table.c.target_id)
        .join(nodes, nodes.c.id == table.c.target_id)
        .where(table.c.import_id == origin.id, table.c.kind == int(kind.number))
    )
    return {row.source_id: row.target_id for row in rows_by_ids(connection, query, table.c.source_id, ids)}


def _there(connection: sa.Connection, link: Link, narrow: Sequence[int]) -> set[tuple[int, ...]]:
    columns = [link.table.c[name] for name, _ in link.ends]
    if "type" in link.more:
        columns.append(link.table.c.type)
    found = rows_by_ids(connection, sa.select(*columns), link.table.c[link.narrow], narrow)
    return {tuple(row) for row in found}


def count_new(source: Source, connection: sa.Connection, origin: Origin, link: Link) -> dict[str, int]:
    """How many links an import would add; of links to nodes that are yet to come it cannot tell, and counts them."""
    counts: dict[str, int] = defaultdict(int)
    for rows in pieces(source, link):
        fresh = sort_links(connection, origin, link, rows) if origin.id is not None else None
        counts["same"] += fresh.same if fresh else 0
        counts["new"] += len(rows) - (fresh.same if fresh else 0)
    return counts


def labels(links: Iterable[Link] = LINKS) -> tuple[str, ...]:
    """The names of the kinds of links."""
    return tuple(link.label for link in links)
