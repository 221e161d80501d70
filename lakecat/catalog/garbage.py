"""What garbage collection goes by: who wrote a file and may that execution still commit, and which versions expired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.enums import EventType
from lakecat.catalog.reading import dataset_id
from lakecat.types import DatasetName, ExecutionState

_DEAD: Final = (ExecutionState.FAILED, ExecutionState.CANCELED)


@dataclass(frozen=True, slots=True)
class Writer:
    """An execution that said it would write below a prefix; ``abandoned``: it runs, but its lease has run out."""

    execution_id: int
    state: ExecutionState
    abandoned: bool = False

    @property
    def dead(self) -> bool:
        """It has not committed, and never will."""
        return self.state in _DEAD


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version whose files may still be there. ``due``: expired for longer than the grace, and nobody reads it."""

    version: int
    snapshot_id: int
    metadata_location: str
    due: bool


def writers(database: Database, uuids: Iterable[str]) -> Mapping[str, Writer]:
    """The recorded write intents of these executions: who writes below each prefix."""
    ours = s.lake_execution
    alive = sa.exists().where(
        s.lease.c.resource == ours.c.lease_resource,
        s.lease.c.fence == ours.c.fence,
        s.lease.c.held,
        s.lease.c.expires_ms > now_ms(),
    )
    query = sa.select(s.intent.c.prefix, ours.c.execution_id, ours.c.state, alive.label("alive")).join(
        ours, ours.c.execution_id == s.intent.c.execution_id
    )
    found: dict[str, Writer] = {}
    with database.reading() as connection:
        for part in registry.chunks(uuids):
            for row in connection.execute(query.where(ours.c.uuid.in_(part))):
                state = ExecutionState(row.state)
                found[row.prefix] = Writer(row.execution_id, state, state is ExecutionState.RUNNING and not row.alive)
    return found


def datasets(database: Database) -> frozenset[DatasetName]:
    """Every dataset that was ever written to, or was going to be."""
    with database.reading() as connection:
        names = connection.execute(
            sa.select(s.context.c.name)
            .join(s.type_, s.type_.c.id == s.context.c.type_id)
            .where(s.type_.c.name == registry.DATASET)
        ).scalars()
        return frozenset(DatasetName.parse(name) for name in names)


def versions(database: Database, dataset: DatasetName, grace: timedelta) -> tuple[KnownVersion, ...]:
    """The dataset's versions whose files were not removed yet, oldest first.

    By the database's clock. A version that a running execution has pinned as its input is not due.
    """
    table = s.version
    read = sa.exists().where(
        s.event.c.artifact_id == table.c.artifact_id,
        s.event.c.type == int(EventType.INPUT),
        s.lake_execution.c.execution_id == s.event.c.execution_id,
        s.lake_execution.c.state == ExecutionState.RUNNING.value,
    )
    long_ago = table.c.expired_ms <= now_ms() - round(grace.total_seconds() * 1000)
    due = sa.and_(table.c.expired, table.c.expired_ms.is_not(None), long_ago, sa.not_(read))
    query = (
        sa.select(table.c.version, table.c.snapshot_id, table.c.metadata_location, due.label("due"))
        .join(s.context, s.context.c.id == table.c.dataset_id)
        .join(s.type_, s.type_.c.id == s.context.c.type_id)
        .where(s.type_.c.name == registry.DATASET, s.context.c.name == str(dataset), table.c.collected_ms.is_(None))
        .order_by(table.c.version)
    )
    with database.reading() as connection:
        return tuple(
            KnownVersion(row.version, row.snapshot_id, row.metadata_location, bool(row.due))
            for row in connection.execute(query)
        )


def published(database: Database, dataset: DatasetName) -> frozenset[str]:
    """The location of all metadata that the dataset's pointer ever showed: of versions, and of moves of tags."""
    owner = dataset_id(str(dataset))
    query = sa.union_all(
        *(
            sa.select(table.c.metadata_location).where(table.c.dataset_id == owner)
            for table in (s.version, s.tag_change)
        )
    )
    with database.reading() as connection:
        return frozenset(connection.execute(query).scalars())


def tag_metadata(database: Database, dataset: DatasetName, grace: timedelta) -> tuple[str, ...]:
    """The metadata that moves of tags have published longer ago than ``grace``."""
    table = s.tag_change
    long_ago = table.c.changed_ms <= now_ms() - round(grace.total_seconds() * 1000)
    query = (
        sa.select(table.c.metadata_location)
        .join(s.context, s.context.c.id == table.c.dataset_id)
        .join(s.type_, s.type_.c.id == s.context.c.type_id)
        .where(s.type_.c.name == registry.DATASET, s.context.c.name == str(dataset), long_ago)
    )
    with database.reading() as connection:
        return tuple(connection.execute(query).scalars())


def mark_collected(database: Database, dataset: DatasetName, numbers: Sequence[int]) -> None:
    """Note that nothing is left of these expired versions but their record."""
    table = s.version
    owner = (
        sa.select(s.context.c.id)
        .join(s.type_, s.type_.c.id == s.context.c.type_id)
        .where(s.type_.c.name == registry.DATASET, s.context.c.name == str(dataset))
        .scalar_subquery()
    )

    def work(connection: sa.Connection) -> None:
        for start in range(0, len(numbers), registry.CHUNK):
            connection.execute(
                sa.update(table)
                .where(
                    table.c.dataset_id == owner,
                    table.c.version.in_(numbers[start : start + registry.CHUNK]),
                    table.c.expired,
                )
                .values(collected_ms=now_ms())
            )

    database.write(work)
