"""Tags: movable names of versions, and how they moved. Moving one needs the lake: see ``tagging``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.leases import moment
from lakecat.catalog.reading import dataset_id
from lakecat.types import DatasetName


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A name of a version. ``snapshot_id`` is what it is called in the table's own metadata."""

    name: str
    dataset: DatasetName
    version: int
    snapshot_id: int
    changed_at: datetime
    changed_by: str

    def __str__(self) -> str:
        return f"{self.dataset}@{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChange:
    """One move of a tag: a new tag has no ``before``, one that was removed no ``after``."""

    name: str
    dataset: DatasetName
    before: int | None
    after: int | None
    changed_at: datetime
    changed_by: str
    execution_id: int


def tags(connection: sa.Connection, dataset: DatasetName | None = None) -> tuple[Tag, ...]:
    """The tags of a dataset, or of all, by dataset and name."""
    table = s.tag
    query = (
        sa.select(s.context.c.name.label("dataset"), s.version.c.snapshot_id, *table.c)
        .select_from(table)
        .join(s.context, s.context.c.id == table.c.dataset_id)
        .join(s.version, sa.and_(s.version.c.dataset_id == table.c.dataset_id, s.version.c.version == table.c.version))
        .order_by(s.context.c.name, table.c.name)
    )
    if dataset is not None:
        query = query.where(table.c.dataset_id == dataset_id(str(dataset)))
    return tuple(
        Tag(
            name=row.name,
            dataset=DatasetName.parse(row.dataset),
            version=row.version,
            snapshot_id=row.snapshot_id,
            changed_at=moment(row.changed_ms),
            changed_by=row.changed_by,
        )
        for row in connection.execute(query)
    )


def changes(
    connection: sa.Connection, dataset: DatasetName | None, name: str | None, limit: int | None
) -> tuple[TagChange, ...]:
    """Every move of tags, newest first."""
    table = s.tag_change
    query = (
        sa.select(s.context.c.name.label("dataset"), *table.c)
        .select_from(table)
        .join(s.context, s.context.c.id == table.c.dataset_id)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    if dataset is not None:
        query = query.where(table.c.dataset_id == dataset_id(str(dataset)))
    if name is not None:
        query = query.where(table.c.name == name)
    return tuple(
        TagChange(
            name=row.name,
            dataset=DatasetName.parse(row.dataset),
            before=row.old_version,
            after=row.new_version,
            changed_at=moment(row.changed_ms),
            changed_by=row.changed_by,
            execution_id=row.execution_id,
        )
        for row in connection.execute(query)
    )
