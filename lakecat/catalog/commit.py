"""The commit: data, schema, position and lineage in one database transaction.

The protocol, in order: lock the lease and check its fence; lock the execution; lock the tables' rows in name order;
stage each table (manifests, metadata, sidecar) on what the locked pointer shows; swap the pointers by compare-and-set;
record versions, events, edges, positions and files; set the execution COMPLETE by compare-and-set; COMMIT; leave a
receipt beside each table's metadata, by which the lake itself knows what was committed.

An error of COMMIT itself does not say whether it was applied. ``settle`` asks on a new connection: a compare-and-set
on the execution's ``attempt`` either finds it COMPLETE, or makes sure that the attempt can never be applied any more;
only then are its files removed. This is the only module of the catalog that imports ``lakecat.tables``.
"""

from __future__ import annotations

import contextlib
import secrets
import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
import tenacity
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lakecat import tables
from lakecat.catalog import leases, recording, sidecars
from lakecat.catalog import schema as s
from lakecat.catalog.catalog import Catalog
from lakecat.catalog.database import Database
from lakecat.catalog.queries import milliseconds
from lakecat.catalog.values import CommitResult, RunningExecution
from lakecat.config import Retention
from lakecat.errors import CatalogError, CommitConflictError, CommitUnknownError, LakecatError, UsageError
from lakecat.failpoints import failpoint
from lakecat.store import LakeStore
from lakecat.tables import StagedTable, TableChange
from lakecat.types import ColumnEdge, ExecutionState, Json, LoadedFile, Position, SourceRead, Version

UNKNOWN_WAIT_SECONDS: Final = 120.0
"""How long the database is asked what became of a COMMIT before CommitUnknownError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitPlan:
    """Everything that one execution commits.

    ``changes``: at most one for each dataset; none is allowed (a run that had nothing to write). ``positions`` and
    ``files`` are keyed by stream. ``properties`` are added to the execution.
    """

    execution: RunningExecution
    changes: tuple[TableChange, ...]
    sources: tuple[SourceRead, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)
    files: Mapping[str, tuple[LoadedFile, ...]] = field(default_factory=dict)
    edges: tuple[ColumnEdge, ...] = ()
    properties: Mapping[str, Json] = field(default_factory=dict)


def commit(
    catalog: Catalog,
    store: LakeStore,
    plan: CommitPlan,
    *,
    retention: Retention,
    now: datetime,
    unknown_wait: float = UNKNOWN_WAIT_SECONDS,
) -> CommitResult:
    """Commit an execution: all of it, or nothing. ``now`` becomes the snapshots' timestamp.

    Raises LeaseLostError (taken for dead: nothing was committed), CommitConflictError (a rewrite's base has changed:
    run the execution again), CommitUnknownError (the database does not answer; the files are kept), SchemaError,
    TableError, StoreError, CatalogError. The execution stays RUNNING when this raises, unless it was canceled.
    """
    work = _Work(catalog, store, _checked(plan), retention, now, unknown_wait)
    with catalog.database.translating():
        for attempt in catalog.database.retrying():
            with attempt:
                staged, versions = work.run()
                failpoint("commit.after")
                work.acknowledge(staged)
                return CommitResult(versions, attempt.retry_state.attempt_number)
    raise AssertionError  # the retrying loop returns or raises


@dataclass(frozen=True, slots=True)
class _Work:
    catalog: Catalog
    store: LakeStore
    plan: CommitPlan
    retention: Retention
    now: datetime
    unknown_wait: float

    def run(self) -> tuple[list[StagedTable], tuple[Version, ...]]:
        """One attempt: one transaction. Once COMMIT was sent, only ``settle`` may say that it did not happen."""
        staged: list[StagedTable] = []
        sent = False
        error: BaseException | None = None
        try:
            with self.catalog.database.writing() as connection:
                attempt, versions = self._fill(connection, staged)
                failpoint("commit.before")
                sent = True
                error = try_commit(connection)
        except BaseException as err:
            if not sent:
                self._remove(staged)
                raise
            error = err
        if error is not None:
            self._conclude(attempt, staged, error)
        return staged, versions

    def acknowledge(self, staged: list[StagedTable]) -> None:
        """Leave the receipts. What has happened has happened, so nothing that goes wrong here is an error."""
        for table in staged:
            with contextlib.suppress(LakecatError):
                self.store.mark(tables.receipt_location(table.metadata_location))

    def _fill(self, connection: sa.Connection, staged: list[StagedTable]) -> tuple[int, tuple[Version, ...]]:
        execution = self.plan.execution
        attempt = lock(connection, execution)
        pointers = _lock_pointers(connection, self.plan.changes)
        failpoint("commit.locked")
        numbers = recording.contexts(connection, self.catalog.type_ids, self.plan.execution, self._names())
        attempt_uuid = str(uuids.uuid4())
        for change in self.plan.changes:
            one = self._stage(change, pointers.get(str(change.dataset)), numbers, attempt_uuid)
            staged.append(one)  # at once: if the next one raises, this one is removed
        _swap(connection, staged)
        failpoint("commit.pointer_swapped")
        versions = recording.record(connection, self.catalog.type_ids, numbers, staged, self._record())
        failpoint("commit.lineage_recorded")
        complete(connection, execution, attempt, numbers.now)
        return attempt, versions

    def _names(self) -> tuple[str, ...]:
        return tuple(str(change.dataset) for change in self.plan.changes)

    def _record(self) -> recording.Record:
        plan = self.plan
        whole = frozenset(str(c.dataset) for c in plan.changes if c.removed is tables.ALL)
        return recording.Record(
            execution=plan.execution, sources=plan.sources, positions=plan.positions, files=plan.files,
            edges=plan.edges, properties=plan.properties, whole=whole,
        )  # fmt: skip

    def _stage(
        self, change: TableChange, pointer: str | None, numbers: recording.Numbers, attempt_uuid: str
    ) -> StagedTable:
        base = None if pointer is None else tables.load_state(self.store, pointer)
        return tables.stage(
            self.store,
            base,
            replace(change, properties={**change.properties, **_summary(self.plan.execution)}),
            retention=self.retention,
            now_ms=milliseconds(self.now),
            snapshot_id=secrets.randbits(62) + 1,
            uuid=str(uuids.uuid4()),
            sidecar=sidecars.encode(
                self._record(), numbers, str(change.dataset), commit=attempt_uuid, tables=self._names()
            ),
        )

    def _conclude(self, attempt: int, staged: list[StagedTable], error: BaseException) -> None:
        """After an error of COMMIT: return when it was applied all the same, else remove the files and raise it."""
        if not settle(self.catalog.database, self.plan.execution, attempt, self.unknown_wait, error):
            self._remove(staged)
            raise error
        if not isinstance(error, SQLAlchemyError):
            self.acknowledge(staged)
            raise CommitUnknownError("interrupted; the commit was applied") from error

    def _remove(self, staged: list[StagedTable]) -> None:
        for table in staged:
            for location in table.written:
                # What cannot be removed now is garbage under the execution's prefix, which is collected later.
                with contextlib.suppress(LakecatError):
                    self.store.delete(location)


def lock(connection: sa.Connection, execution: RunningExecution) -> int:
    """Lock the lease, then the execution; its attempt number. Raises LeaseLostError.

    One statement: a locking read shows each row as it is once its lock is had, whatever the snapshot it began with.
    """
    lease, ours = s.lease, s.lake_execution
    row = connection.execute(
        sa.select(lease.c.fence.label("lease_fence"), ours.c.state, ours.c.fence, ours.c.attempt)
        .join_from(lease, ours, ours.c.lease_resource == lease.c.resource)
        .where(lease.c.resource == execution.lease.resource, ours.c.execution_id == execution.execution_id)
        # MySQL locks in join order; a takeover locks the lease first, too.
        .prefix_with("STRAIGHT_JOIN", dialect="mysql")
        .with_for_update()
    ).one_or_none()
    fence = execution.lease.fence
    if row is None or row.lease_fence != fence or row.fence != fence or row.state == ExecutionState.CANCELED.value:
        raise leases.lost(execution.lease)
    if row.state != ExecutionState.RUNNING.value:
        raise CatalogError(f"execution {execution.execution_id} is {row.state} already, so it cannot commit")
    return int(row.attempt)


def _checked(plan: CommitPlan) -> CommitPlan:
    changes = tuple(sorted(plan.changes, key=lambda change: change.dataset))
    if len({change.dataset for change in changes}) != len(changes):
        raise UsageError("a commit changes each dataset at most once")
    recording.check_positions(plan.positions)
    return replace(plan, changes=changes)


def _summary(execution: RunningExecution) -> dict[str, str]:
    """What a snapshot says of the execution that made it."""
    summary = {"lakecat.execution": execution.uuid, "lakecat.fence": str(execution.lease.fence)}
    if execution.start.run_key is not None:
        summary["lakecat.run-key"] = execution.start.run_key
    return summary


def _lock_pointers(connection: sa.Connection, changes: tuple[TableChange, ...]) -> dict[str, str]:
    """Lock the tables' rows in name order; where their metadata lies. A new table has no row to lock."""
    if not changes:
        return {}
    table = s.iceberg_tables
    mine = sa.or_(
        *(
            sa.and_(table.c.table_namespace == c.dataset.namespace, table.c.table_name == c.dataset.name)
            for c in changes
        )
    )
    rows = connection.execute(
        sa.select(table)
        .where(table.c.catalog_name == s.ICEBERG_CATALOG, mine)
        .order_by(table.c.table_namespace, table.c.table_name)
        .with_for_update()
    )
    return {f"{row.table_namespace}.{row.table_name}": row.metadata_location for row in rows}


def _swap(connection: sa.Connection, staged: list[StagedTable]) -> None:
    table = s.iceberg_tables
    for one in staged:
        key = {
            "catalog_name": s.ICEBERG_CATALOG,
            "table_namespace": one.dataset.namespace,
            "table_name": one.dataset.name,
        }
        if one.base_location is None:
            recording.ensure_namespace(connection, one.dataset.namespace)
            # Somebody else creating it at the same moment is a unique violation, and the transaction is tried again.
            connection.execute(
                sa.insert(table).values(**key, metadata_location=one.metadata_location, iceberg_type="TABLE")
            )
            continue
        changed = connection.execute(
            sa.update(table)
            .where(*(table.c[name] == value for name, value in key.items()))
            .where(table.c.metadata_location == one.base_location)
            .values(metadata_location=one.metadata_location, previous_metadata_location=one.base_location)
        ).rowcount
        if changed != 1:
            raise CommitConflictError(
                f"{one.dataset} was changed by another program during the commit", hint="run the job again"
            )


def complete(connection: sa.Connection, execution: RunningExecution, attempt: int, now: int) -> None:
    """Set the execution COMPLETE. Raises LeaseLostError, CommitConflictError (its work was done by another)."""
    table = s.lake_execution
    try:
        changed = connection.execute(
            sa.update(table)
            .where(
                table.c.execution_id == execution.execution_id,
                table.c.state == ExecutionState.RUNNING.value,
                table.c.fence == execution.lease.fence,
                table.c.attempt == attempt,
            )
            .values(state=ExecutionState.COMPLETE.value, finished_ms=now, complete_run_key=execution.start.run_key)
        ).rowcount
    except IntegrityError as err:
        raise CommitConflictError(
            f"the work of {execution.start.job} was completed by another execution meanwhile",
            hint="run the job again: it will find nothing to do",
        ) from err
    if changed != 1:
        raise leases.lost(execution.lease)


def try_commit(connection: sa.Connection) -> BaseException | None:
    """COMMIT; the error, after which its outcome is unknown."""
    try:
        connection.commit()
    except BaseException as err:  # noqa: BLE001 - whatever interrupts a COMMIT leaves its outcome unknown
        if connection.dialect.name != "sqlite":
            connection.invalidate()  # a connection in doubt is not used again
        return err
    return None


def settle(database: Database, execution: RunningExecution, attempt: int, wait: float, error: BaseException) -> bool:
    """Whether the attempt was applied; when not, it can never be any more. Raises CommitUnknownError."""
    table = s.lake_execution

    def supersede() -> None:
        with database.writing() as connection:
            # Waits for the row lock of a transaction that is still under way on the server.
            connection.execute(
                sa.update(table)
                .where(
                    table.c.execution_id == execution.execution_id,
                    table.c.state == ExecutionState.RUNNING.value,
                    table.c.attempt == attempt,
                )
                .values(attempt=attempt + 1)
            )
            connection.commit()

    def ask() -> bool:
        # SQLite has no server: what was not applied was taken back with the connection. (And where the disk is full,
        # nothing can be written to ask.)
        if database.backend != "sqlite":
            supersede()
        with database.connect() as connection, connection.begin():
            row: Any = connection.execute(
                sa.select(table.c.state).where(table.c.execution_id == execution.execution_id)
            ).one()
        return bool(row.state == ExecutionState.COMPLETE.value)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SQLAlchemyError),
        stop=tenacity.stop_after_delay(wait),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=5.0),
    )
    try:
        return retrying(ask)
    except tenacity.RetryError:
        raise CommitUnknownError(
            f"the database broke off during the commit of execution {execution.execution_id} and does not answer since",
            hint="nothing was removed; once it answers, run the job again: it goes on from what was committed",
            next_command="lakecat doctor",
        ) from error
