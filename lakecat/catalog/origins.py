"""Which sources the rows of a version came from, through every version that added to it.

A version that only added rows still holds those of the versions before it, back to the last one that replaced them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import EventType
from lakecat.types import Version


def source_uris(connection: sa.Connection, version: Version) -> tuple[str, ...]:
    """The URIs of all sources whose rows may be in ``version``, through all transforms, sorted."""
    found: set[str] = set()
    reached: dict[int, int] = {}
    row = connection.execute(
        sa.select(s.version.c.dataset_id).where(s.version.c.artifact_id == version.artifact_id)
    ).scalar_one()
    waiting = [(int(row), version.version)]
    while waiting:
        dataset, number = waiting.pop()
        if number <= reached.get(dataset, 0):
            continue
        reached[dataset] = number
        first = _first(connection, dataset, number)
        found.update(_sources(connection, dataset, first, number))
        waiting += _inputs(connection, dataset, first, number)
    return tuple(sorted(found))


def _first(connection: sa.Connection, dataset: int, number: int) -> int:
    """The newest version up to ``number`` that replaced all rows; the first one when none did."""
    query = sa.select(sa.func.max(s.version.c.version)).where(
        s.version.c.dataset_id == dataset, s.version.c.version <= number, s.version.c.whole
    )
    return int(connection.execute(query).scalar_one_or_none() or 1)


def _sources(connection: sa.Connection, dataset: int, first: int, last: int) -> Iterator[str]:
    query = (
        _read(sa.select(s.artifact.c.uri).distinct(), dataset, first, last)
        .join(s.artifact, s.artifact.c.id == s.event.c.artifact_id)
        .join(s.type_, s.type_.c.id == s.artifact.c.type_id)
        .where(s.type_.c.name == registry.SOURCE)
    )
    yield from (str(uri) for uri in connection.execute(query).scalars())


def _inputs(connection: sa.Connection, dataset: int, first: int, last: int) -> list[tuple[int, int]]:
    """By dataset, the newest version that went into these versions."""
    theirs = s.version.alias("theirs")
    query = (
        _read(sa.select(theirs.c.dataset_id, sa.func.max(theirs.c.version)), dataset, first, last)
        .join(theirs, theirs.c.artifact_id == s.event.c.artifact_id)
        .group_by(theirs.c.dataset_id)
    )
    return [(int(found), int(number)) for found, number in connection.execute(query)]


def _read(query: sa.Select[Any], dataset: int, first: int, last: int) -> sa.Select[Any]:
    """The query over the events of what went into these versions of a dataset."""
    reads = sa.and_(s.event.c.execution_id == s.version.c.execution_id, s.event.c.type == int(EventType.INPUT))
    # MySQL's optimizer may begin with all sources there are; the only sensible order is this one.
    made = query.prefix_with("STRAIGHT_JOIN", dialect="mysql").select_from(s.version).join(s.event, reads)
    return dataset_edges.only_flows(made, s.event, s.version.c.artifact_id).where(
        s.version.c.dataset_id == dataset, s.version.c.version.between(first, last)
    )
