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
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypeVar

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
from lakecat.errors import (
    CatalogBehindError,
    CatalogError,
    CommitConflictError,
    CommitUnknownError,
    LakecatError,
    UsageError,
)
from lakecat.failpoints import failpoint
from lakecat.store import LakeStore
from lakecat.tables import StagedTable, TableChange
from lakecat.types import ColumnEdge, DatasetName, ExecutionState, Json, LoadedFile, Position, SourceRead, Version

T = TypeVar("T")
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
    run the execution again), CatalogBehindError (the lake has versions of a table that is new to the catalog),
    CommitUnknownError (the database does not answer; the files are kept), SchemaError, TableError,
    StoreError, CatalogError. The execution stays RUNNING when this raises, unless it was canceled.
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
        """One attempt: one transaction."""
        (staged, versions), error = transact(
            self.catalog.database,
            self.store,
            self.plan.execution,
            self._fill,
            before_commit="commit.before",
            unknown_wait=self.unknown_wait,
        )
        if error is not None and not isinstance(error, SQLAlchemyError):
            self.acknowledge(staged)
            raise CommitUnknownError("interrupted; the commit was applied") from error
        return staged, versions

    def acknowledge(self, staged: list[StagedTable]) -> None:
        """Leave the receipts. What has happened has happened, so nothing that goes wrong here is an error."""
        for table in staged:
            with contextlib.suppress(LakecatError):
                self.store.mark(tables.receipt_location(table.metadata_location))

    def _fill(
        self, connection: sa.Connection, written: list[str]
    ) -> tuple[int, tuple[list[StagedTable], tuple[Version, ...]]]:
        execution = self.plan.execution
        attempt = lock(connection, execution)
        pointers = lock_pointers(connection, [change.dataset for change in self.plan.changes])
        failpoint("commit.locked")
        numbers = recording.contexts(connection, self.catalog.type_ids, self.plan.execution, self._names())
        attempt_uuid = str(uuids.uuid4())
        staged: list[StagedTable] = []
        for change in self.plan.changes:
            pointer = pointers.get(str(change.dataset))
            if pointer is None and str(change.dataset) not in numbers.latest:
                _check_new(self.store, change.dataset)
            one = self._stage(change, pointer, numbers, attempt_uuid)
            written += one.written  # at once: if the next one raises, this one is removed
            staged.append(one)
        _swap(connection, staged)
        failpoint("commit.pointer_swapped")
        versions = recording.record(connection, self.catalog.type_ids, numbers, staged, self._record())
        failpoint("commit.lineage_recorded")
        complete(connection, execution, attempt, numbers.now)
        return attempt, (staged, versions)

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


def transact(
    database: Database,
    store: LakeStore,
    execution: RunningExecution,
    fill: Callable[[sa.Connection, list[str]], tuple[int, T]],
    *,
    before_commit: str,
    unknown_wait: float,
) -> tuple[T, BaseException | None]:
    """One attempt to complete an execution in one transaction: the result of ``fill``, and what interrupted COMMIT.

    ``fill`` returns the execution's attempt number and its result, and notes each file that it has written: they are
    removed where the transaction was not applied. Once COMMIT was sent, only ``settle`` may say that it was not; an
    error of a COMMIT that was applied all the same is returned. ``before_commit`` is a failpoint. Raises what ``fill``
    and COMMIT raise, CommitUnknownError.
    """
    written: list[str] = []
    sent = False
    error: BaseException | None = None
    try:
        with database.writing() as connection:
            attempt, result = fill(connection, written)
            failpoint(before_commit)
            sent = True
            error = try_commit(connection)
    except BaseException as err:  # what interrupts the giving back of the connection comes after COMMIT
        if not sent:
            _remove(store, written)
            raise
        error = err
    if error is not None and not settle(database, execution, attempt, unknown_wait, error):
        _remove(store, written)
        raise error
    return result, error


def _check_new(store: LakeStore, dataset: DatasetName) -> None:
    """Refuse to begin a table of which the lake has versions already: the catalog that knew them was lost."""
    folder = tables.metadata_prefix(tables.table_location(store.url, dataset), None)
    for one in store.list(folder):
        if one.location.endswith(tables.RECEIPT_SUFFIX):
            raise CatalogBehindError(
                f"{dataset} is new to the catalog, but the lake has versions of it: {one.location}",
                hint="the catalog was lost, or is older than the lake: let it catch up; nothing was written",
                next_command="lakecat catalog rebuild --yes",
            )


def _remove(store: LakeStore, written: list[str]) -> None:
    for location in written:
        # What cannot be removed now is garbage under the execution's prefix, which is collected later.
        with contextlib.suppress(LakecatError):
            store.delete(location)


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
    written = {str(change.dataset) for change in changes}
    if len(written) != len(changes):
        raise UsageError("a commit changes each dataset at most once")
    recording.check_positions(plan.positions)
    return replace(plan, changes=changes, sources=tuple(_told(source, written) for source in plan.sources))


def _told(source: SourceRead, written: AbstractSet[str]) -> SourceRead:
    """The source; where it went is told only where that is not everywhere."""
    everywhere = source.datasets is not None and written <= set(source.datasets)
    return replace(source, datasets=None) if everywhere else source


def _summary(execution: RunningExecution) -> dict[str, str]:
    """What a snapshot says of the execution that made it."""
    summary = {"lakecat.execution": execution.uuid, "lakecat.fence": str(execution.lease.fence)}
    if execution.start.run_key is not None:
        summary["lakecat.run-key"] = execution.start.run_key
    return summary


def lock_pointers(connection: sa.Connection, datasets: Sequence[DatasetName]) -> dict[str, str]:
    """Lock the tables' rows in name order; where their metadata lies. A new table has no row to lock."""
    if not datasets:
        return {}
    table = s.iceberg_tables
    mine = sa.or_(
        *(sa.and_(table.c.table_namespace == name.namespace, table.c.table_name == name.name) for name in datasets)
    )
    rows = connection.execute(
        sa.select(table)
        .where(table.c.catalog_name == s.ICEBERG_CATALOG, mine)
        .order_by(table.c.table_namespace, table.c.table_name)
        .with_for_update()
    )
    return {f"{row.table_namespace}.{row.table_name}": row.metadata_location for row in rows}


def _swap(connection: sa.Connection, staged: list[StagedTable]) -> None:
    for one in staged:
        if one.base_location is None:
            recording.ensure_namespace(connection, one.dataset.namespace)
            # Somebody else creating it at the same moment is a unique violation, and the transaction is tried again.
            connection.execute(
                sa.insert(s.iceberg_tables).values(
                    **_pointer_key(one.dataset), metadata_location=one.metadata_location, iceberg_type="TABLE"
                )
            )
        elif not swap_pointer(connection, one.dataset, one.base_location, one.metadata_location):
            raise CommitConflictError(
                f"{one.dataset} was changed by another program during the commit", hint="run the job again"
            )


def _pointer_key(dataset: DatasetName) -> dict[str, str]:
    return {"catalog_name": s.ICEBERG_CATALOG, "table_namespace": dataset.namespace, "table_name": dataset.name}


def swap_pointer(connection: sa.Connection, dataset: DatasetName, before: str, after: str) -> bool:
    """Let the table's pointer show ``after``, if it shows ``before`` still; whether it did."""
    table = s.iceberg_tables
    result = connection.execute(
        sa.update(table)
        .where(*(table.c[name] == value for name, value in _pointer_key(dataset).items()))
        .where(table.c.metadata_location == before)
        .values(metadata_location=after, previous_metadata_location=before)
    )
    return result.rowcount == 1


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
