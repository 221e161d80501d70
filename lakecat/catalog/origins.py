"""Which sources the rows of a version came from, through every version that added to it.

A version that only added rows still holds those of the versions before it, back to the last one that replaced them all.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from lakecat.catalog import registry
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
        executions = _executions(dataset, _first(connection, dataset, number), number)
        found.update(_sources(connection, executions))
        waiting += _inputs(connection, executions)
    return tuple(sorted(found))


def _first(connection: sa.Connection, dataset: int, number: int) -> int:
    """The newest version up to ``number`` that replaced all rows; the first one when none did."""
    query = sa.select(sa.func.max(s.version.c.version)).where(
        s.version.c.dataset_id == dataset, s.version.c.version <= number, s.version.c.whole
    )
    return int(connection.execute(query).scalar_one_or_none() or 1)


def _executions(dataset: int, first: int, last: int) -> sa.Select[tuple[int]]:
    return sa.select(s.version.c.execution_id).where(
        s.version.c.dataset_id == dataset, s.version.c.version.between(first, last)
    )


def _sources(connection: sa.Connection, executions: sa.Select[tuple[int]]) -> Iterator[str]:
    query = (
        sa.select(s.artifact.c.uri)
        .join(s.type_, s.type_.c.id == s.artifact.c.type_id)
        .join(s.event, s.event.c.artifact_id == s.artifact.c.id)
        .where(
            s.type_.c.name == registry.SOURCE,
            s.event.c.type == int(EventType.INPUT),
            s.event.c.execution_id.in_(executions),
        )
        .distinct()
    )
    yield from (str(uri) for uri in connection.execute(query).scalars())


def _inputs(connection: sa.Connection, executions: sa.Select[tuple[int]]) -> list[tuple[int, int]]:
    """By dataset, the newest version that the executions read."""
    query = (
        sa.select(s.version.c.dataset_id, sa.func.max(s.version.c.version))
        .join(s.event, s.event.c.artifact_id == s.version.c.artifact_id)
        .where(s.event.c.type == int(EventType.INPUT), s.event.c.execution_id.in_(executions))
        .group_by(s.version.c.dataset_id)
    )
    return [(int(dataset), int(number)) for dataset, number in connection.execute(query)]
