"""Rows of the catalog as the frozen values that the rest of lakecat uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.database import Row
from lakecat.catalog.leases import moment
from lakecat.catalog.registry import CHUNK, DATASET
from lakecat.catalog.values import ExecutionInfo
from lakecat.types import DatasetName, ExecutionState, ExecutionType, Json, Version

VERSION_COLUMNS: Final = (s.context.c.name.label("dataset"), *s.version.c)
VERSIONS: Final = sa.select(*VERSION_COLUMNS).join_from(s.version, s.context, s.context.c.id == s.version.c.dataset_id)
"""Every version with its dataset's name."""


def dataset_type() -> sa.ScalarSelect[int]:
    """The id of the type of dataset contexts."""
    return (
        sa.select(sa.func.min(s.type_.c.id)).where(s.type_.c.name == DATASET, s.type_.c.version.is_(None))
    ).scalar_subquery()


def dataset_id(name: str) -> sa.ScalarSelect[int]:
    """The id of the dataset's context, to compare with. The type is named so that the index on both is used."""
    context = s.context
    return sa.select(context.c.id).where(context.c.type_id == dataset_type(), context.c.name == name).scalar_subquery()


def id_chunks(ids: Iterable[int]) -> Iterator[list[int]]:
    """The distinct ids in order, in lists that fit an IN."""
    ordered = sorted(set(ids))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def version_of(row: Row) -> Version:
    """A row of ``VERSIONS`` as a value."""
    return Version(
        dataset=DatasetName.parse(row.dataset),
        version=row.version,
        snapshot_id=row.snapshot_id,
        metadata_location=row.metadata_location,
        artifact_id=row.artifact_id,
        execution_id=row.execution_id,
        committed_at=moment(row.committed_ms),
        operation=row.operation,
        rows=row.total_rows,
        added_rows=row.added_rows,
        removed_rows=row.removed_rows,
        files=row.total_files,
        bytes=row.total_bytes,
        schema_fingerprint=row.fingerprint,
        expired=row.expired,
    )


def versions_of_execution(connection: sa.Connection, execution_id: int) -> tuple[Version, ...]:
    """The versions that an execution made, in name order."""
    rows = connection.execute(
        VERSIONS.where(s.version.c.execution_id == execution_id).order_by(s.context.c.name, s.version.c.version)
    )
    return tuple(version_of(row) for row in rows)


def versions_of_artifacts(connection: sa.Connection, artifact_ids: Iterable[int]) -> tuple[Version, ...]:
    """The versions among these artifacts, in name order."""
    found: list[Version] = []
    for part in id_chunks(artifact_ids):
        rows = connection.execute(VERSIONS.where(s.version.c.artifact_id.in_(part)))
        found += (version_of(row) for row in rows)
    return tuple(sorted(found, key=lambda version: (version.dataset, version.version)))


def execution_of(row: Row, properties: Mapping[str, Json] | None = None) -> ExecutionInfo:
    """A row of ``lakecat_execution`` as a value."""
    return ExecutionInfo(
        execution_id=row.execution_id,
        uuid=row.uuid,
        type=ExecutionType(row.type),
        job=row.job,
        run_key=row.run_key,
        state=ExecutionState(row.state),
        started_at=moment(row.started_ms),
        finished_at=None if row.finished_ms is None else moment(row.finished_ms),
        error=row.error,
        properties=properties or {},
    )


def properties_of(connection: sa.Connection, table: sa.Table, owners: Iterable[int]) -> dict[int, dict[str, Json]]:
    """The properties of artifacts or executions, by id and name."""
    key = next(iter(table.primary_key.columns))
    found: dict[int, dict[str, Json]] = {owner: {} for owner in owners}
    for part in id_chunks(found):
        rows = connection.execute(
            sa.select(
                key.label("owner"),
                table.c.name,
                table.c.int_value,
                table.c.double_value,
                table.c.string_value,
                table.c.bool_value,
            )
            .where(key.in_(part))
            .order_by(key, table.c.name)
        )
        for row in rows:
            found[row.owner][row.name] = property_value(row)
    return found


def property_value(row: Row) -> Json:
    """The one value that a property row holds."""
    for value in (row.string_value, row.int_value, row.double_value):
        if value is not None:
            return value  # type: ignore[no-any-return] # a driver's str, int or float
    return None if row.bool_value is None else bool(row.bool_value)
