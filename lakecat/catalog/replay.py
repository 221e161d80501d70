"""Commits of long ago, written into a catalog again from their sidecars by the code that recorded them first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from lakecat.catalog import executions, opening, queries, recording, registry, restore
from lakecat.catalog import schema as s
from lakecat.catalog.database import now_ms
from lakecat.catalog.enums import EventType
from lakecat.catalog.reading import dataset_id
from lakecat.catalog.recording import Record, ReplayedTable
from lakecat.catalog.registry import NewEvent
from lakecat.catalog.sidecars import InputRef, Sidecar
from lakecat.catalog.values import ColumnInfo, RunningExecution
from lakecat.tables import Totals
from lakecat.types import DatasetName, ExecutionState


@dataclass(frozen=True, slots=True)
class Newest:
    """A dataset's newest version in the catalog."""

    version: int
    metadata_location: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTable:
    """One table of a commit: its sidecar, and what the sidecar may not say itself."""

    sidecar: Sidecar
    columns: tuple[ColumnInfo, ...]
    columns_before: tuple[ColumnInfo, ...] | None
    totals: Totals


class Replay:
    """Writes into one transaction. Executions come first, in the order of their start; then commits, in theirs."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._types = registry.load_type_ids(connection)
        self._ids: dict[str, int] = {}
        self._fresh: set[str] = set()

    def start(self, execution: RunningExecution) -> bool:
        """Record an execution, unless the catalog knows it; whether it did not."""
        found = self._connection.execute(
            sa.select(s.lake_execution.c.execution_id).where(s.lake_execution.c.uuid == execution.uuid)
        ).scalar_one_or_none()
        if found is None:
            started = queries.milliseconds(execution.started_at)
            found = executions.record_start(
                self._connection, self._types, execution.lease, execution.start, execution.uuid, started
            )
            self._fresh.add(execution.uuid)
        self._ids[execution.uuid] = found
        return execution.uuid in self._fresh

    def commit(self, tables: Sequence[ReplayTable]) -> tuple[InputRef, ...]:
        """Record a commit whole; the inputs of its execution that the catalog has no version of."""
        first = tables[0].sidecar
        uuid = first.record.execution.uuid
        execution = replace(first.record.execution, execution_id=self._ids[uuid])
        missing = self._inputs(execution, first.inputs) if uuid in self._fresh else ()
        names = [str(one.sidecar.dataset) for one in tables]
        numbers = replace(
            recording.contexts(self._connection, self._types, execution, names),
            latest={str(one.sidecar.dataset): one.sidecar.version - 1 for one in tables},
            schemas={
                str(one.sidecar.dataset): recording.fingerprint(one.columns_before)
                for one in tables
                if one.columns_before is not None
            },
            now=first.committed_ms,
        )
        written = [_replayed(one) for one in tables]
        for table in written:
            self._publish(table)
        recording.record(self._connection, self._types, numbers, written, _whole_record(execution, tables))
        self._complete(execution, first.committed_ms)
        return missing

    def _inputs(self, execution: RunningExecution, inputs: Sequence[InputRef]) -> tuple[InputRef, ...]:
        """Record what the execution had pinned; those inputs that are not to be found."""
        found = {one: self._artifact(one) for one in inputs}
        events = [NewEvent(key, EventType.INPUT, str(one.dataset)) for one, key in found.items() if key is not None]
        started = queries.milliseconds(execution.started_at)
        registry.insert_events(self._connection, execution.execution_id, events, started)
        return tuple(one for one, key in found.items() if key is None)

    def _artifact(self, one: InputRef) -> int | None:
        query = (
            sa.select(s.version.c.artifact_id)
            .join(s.context, s.context.c.id == s.version.c.dataset_id)
            .where(
                s.context.c.type_id == self._types[registry.DATASET],
                s.context.c.name == str(one.dataset),
                s.version.c.version == one.version,
                s.version.c.snapshot_id == one.snapshot_id,
            )
        )
        return self._connection.execute(query).scalar_one_or_none()

    def _publish(self, table: ReplayedTable) -> None:
        """Point Iceberg's catalog to the table's metadata."""
        recording.ensure_namespace(self._connection, table.dataset.namespace)
        row = {
            "catalog_name": s.ICEBERG_CATALOG, "table_namespace": table.dataset.namespace,
            "table_name": table.dataset.name, "metadata_location": table.metadata_location,
            "previous_metadata_location": table.base_location, "iceberg_type": "TABLE",
        }  # fmt: skip
        registry.upsert(self._connection, s.iceberg_tables, [row])

    def _complete(self, execution: RunningExecution, now: int) -> None:
        table, run_key = s.lake_execution, execution.start.run_key
        rival = sa.select(table.c.execution_id).where(table.c.complete_run_key == run_key)
        taken = run_key is not None and self._connection.execute(rival).first() is not None
        self._connection.execute(
            sa.update(table)
            .where(table.c.execution_id == execution.execution_id)
            .values(
                state=ExecutionState.COMPLETE.value, finished_ms=now, error=None,
                complete_run_key=None if taken else run_key,
            )
        )  # fmt: skip


def newest(connection: sa.Connection) -> dict[DatasetName, Newest]:
    """The newest version of every dataset that has one."""
    return {
        info.name: Newest(info.latest.version, info.latest.metadata_location, info.latest.schema_fingerprint)
        for info in queries.datasets(connection)
    }


def states(connection: sa.Connection, uuids: Iterable[str]) -> dict[str, tuple[ExecutionState, bool]]:
    """Of the executions that the catalog knows: their state, and whether their lease is held."""
    ours, lease = s.lake_execution, s.lease
    alive = sa.exists().where(
        lease.c.resource == ours.c.lease_resource, lease.c.fence == ours.c.fence, lease.c.held,
        lease.c.expires_ms > now_ms(),
    )  # fmt: skip
    found: dict[str, tuple[ExecutionState, bool]] = {}
    for part in registry.chunks(uuids):
        query = sa.select(ours.c.uuid, ours.c.state, alive.label("alive")).where(ours.c.uuid.in_(part))
        found.update((row.uuid, (ExecutionState(row.state), bool(row.alive))) for row in connection.execute(query))
    return found


def mark_collected(connection: sa.Connection, dataset: DatasetName, numbers: Sequence[int]) -> None:
    """Note of expired versions that their files were removed, though nobody knows when."""
    owner = dataset_id(str(dataset))
    for start in range(0, len(numbers), registry.CHUNK):
        connection.execute(
            sa.update(s.version)
            .where(
                s.version.c.dataset_id == owner,
                s.version.c.version.in_(numbers[start : start + registry.CHUNK]),
                s.version.c.expired,
                s.version.c.collected_ms.is_(None),
            )
            .values(collected_ms=now_ms())
        )


def set_tags(connection: sa.Connection, dataset: DatasetName, snapshots: Mapping[str, int]) -> int:
    """Let a dataset's tags be those of its table's own metadata: name and snapshot; how many were not so before."""
    owner = connection.execute(sa.select(dataset_id(str(dataset)))).scalar_one()
    mine = s.tag.c.dataset_id == owner
    known = {row.name: row.version for row in connection.execute(sa.select(s.tag).where(mine))}
    wanted: dict[str, int] = {}
    for name, snapshot in sorted(snapshots.items()):
        number = connection.execute(
            sa.select(sa.func.max(s.version.c.version)).where(
                s.version.c.dataset_id == owner, s.version.c.snapshot_id == snapshot
            )
        ).scalar_one()
        if number is not None:
            wanted[name] = number
    changed = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
    for name in changed:
        connection.execute(sa.delete(s.tag).where(mine, s.tag.c.name == name))
        if name in wanted:
            row = {
                "dataset_id": owner, "name": name, "version": wanted[name], "changed_ms": now_ms(), "changed_by": ""
            }  # fmt: skip
            connection.execute(sa.insert(s.tag).values(**row))
    return len(changed)


def pointers(connection: sa.Connection) -> dict[DatasetName, str]:
    """Where the newest metadata of every table lies, by the catalog."""
    table = s.iceberg_tables
    rows = connection.execute(sa.select(table).where(table.c.catalog_name == s.ICEBERG_CATALOG))
    return {DatasetName(row.table_namespace, row.table_name): row.metadata_location for row in rows}


def raise_fences(connection: sa.Connection, leases: Iterable[RunningExecution]) -> None:
    """Let fences go on above all that were given out, and remember when each resource was last worked on."""
    now = connection.execute(sa.select(now_ms())).scalar_one()
    told = list(leases)
    highest = max((one.lease.fence for one in told), default=0)
    mark = max(opening.high_water_mark(connection), restore.highest_fence(connection), highest, now)
    registry.upsert(connection, s.setting, [{"name": "high_water_mark", "value": str(mark)}])
    rows = [
        {
            "resource": one.lease.resource, "fence": mark, "held": False, "host": one.lease.holder.host,
            "pid": one.lease.holder.pid, "user_name": one.lease.holder.user, "command": one.lease.holder.command,
            "acquired_ms": queries.milliseconds(one.started_at), "heartbeat_ms": queries.milliseconds(one.started_at),
            "expires_ms": queries.milliseconds(one.started_at),
        }
        for one in told
    ]  # fmt: skip
    registry.insert_absent(connection, s.lease, rows)


def _replayed(one: ReplayTable) -> ReplayedTable:
    sidecar = one.sidecar
    return ReplayedTable(
        dataset=sidecar.dataset,
        metadata_location=sidecar.metadata_location,
        base_location=sidecar.base_location,
        snapshot_id=sidecar.snapshot_id,
        timestamp_ms=sidecar.timestamp_ms,
        operation=sidecar.operation,
        totals=one.totals,
        expired_snapshot_ids=sidecar.expired_snapshot_ids,
        columns=one.columns,
    )


def _whole_record(execution: RunningExecution, tables: Sequence[ReplayTable]) -> Record:
    """The record of the whole commit: each sidecar has the edges of its own table, and all have the rest."""
    records = [one.sidecar.record for one in tables]
    return replace(
        records[0],
        execution=execution,
        edges=tuple(edge for record in records for edge in record.edges),
        whole=frozenset[str]().union(*(record.whole for record in records)),
    )
