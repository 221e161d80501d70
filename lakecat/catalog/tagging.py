"""Moving a tag: a row of the catalog and an Iceberg tag in the table's metadata, in one transaction.

It is an execution of its own without outputs, so that its one file lies under a recorded intent, and that who did what
when is known. Under the lock of the table's pointer the metadata that it shows is written anew with the tag, and the
pointer swapped by compare-and-set: a commit that waits for the same lock builds on it, and one that came first is
built on. An error of COMMIT is settled as ``commit`` does it.
"""

from __future__ import annotations

import contextlib
import time
import uuid as uuids
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from lakecat import tables
from lakecat.catalog import queries, registry, search_index
from lakecat.catalog import schema as s
from lakecat.catalog.catalog import Catalog
from lakecat.catalog.commit import UNKNOWN_WAIT_SECONDS, complete, lock, lock_pointers, swap_pointer, transact
from lakecat.catalog.database import now_ms
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.executions import set_state
from lakecat.catalog.reading import dataset_id
from lakecat.catalog.tags import Tag
from lakecat.catalog.values import CompletedExecution, ExecutionStart, Holder, Lease, RunningExecution
from lakecat.config import Retention
from lakecat.errors import (
    CatalogError,
    CommitConflictError,
    CommitUnknownError,
    LeaseHeldError,
    NotFoundError,
    TableError,
    UsageError,
)
from lakecat.failpoints import failpoint
from lakecat.store import LakeStore
from lakecat.types import DatasetName, ExecutionType, Version, VersionRef, is_tag_name

JOB: Final = "tag"
_LEASE: Final = timedelta(seconds=20)
_PATIENCE_SECONDS: Final = 60.0
"""How long another move of a tag of the same dataset is waited for: longer than a dead one's lease."""
_PAUSE_SECONDS: Final = 0.05
_RESERVED: Final = frozenset({"main", "current", "latest"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagging:
    """What moving a tag needs. ``now`` becomes the time of the table's metadata."""

    catalog: Catalog
    store: LakeStore
    holder: Holder
    retention: Retention
    now: datetime
    properties: dict[str, Any] = field(default_factory=dict)

    def tag(self, target: VersionRef, name: str) -> Tag:
        """Let ``name`` mean a version, whatever it meant before.

        Raises UsageError (no name for a tag), NotFoundError, TableError (the version has expired), LeaseHeldError,
        CommitConflictError, CommitUnknownError, CatalogError, StoreError.
        """
        check_name(name)
        version = self.catalog.resolve(target)
        if version.expired:
            raise _expired(version)
        known = self._known(version.dataset, name)
        if known is not None and known.version == version.version == self._theirs(version.dataset, name, known):
            return known
        self._move(version.dataset, name, version, known)
        moved = self._known(version.dataset, name)
        if moved is None:
            raise CommitConflictError(f"{version.dataset}@{name} was removed again meanwhile")
        return moved

    def untag(self, dataset: DatasetName, name: str) -> Tag | None:
        """Take a tag away; what it meant, None where only the table's metadata had it.

        Raises NotFoundError, and as ``tag`` does.
        """
        known = self.find(dataset, name)
        self._move(dataset, name, None, known)
        return known

    def find(self, dataset: DatasetName, name: str) -> Tag | None:
        """What a tag means, None where only the table's metadata has it. Raises NotFoundError."""
        known = self._known(dataset, name)
        if known is None and name not in tables.table_tags(self._state(dataset)):
            self.catalog.resolve(VersionRef(dataset, tag=name))
        return known

    def _state(self, dataset: DatasetName) -> tables.TableState:
        return tables.load_state(self.store, self.catalog.metadata_location(dataset))

    def _theirs(self, dataset: DatasetName, name: str, known: Tag) -> int | None:
        """The version that the table's metadata has under a tag of ours, if it is the same."""
        there = tables.table_tags(self._state(dataset)).get(name)
        return known.version if there == known.snapshot_id else None

    def _known(self, dataset: DatasetName, name: str) -> Tag | None:
        return next((tag for tag in self.catalog.tags(dataset) if tag.name == name), None)

    def _move(self, dataset: DatasetName, name: str, to: Version | None, known: Tag | None) -> None:
        lease = self._acquire(f"tag/{dataset}")
        try:
            execution = self._begin(lease, dataset, name, to, known)
            try:
                failpoint("tag.begun")
                self._run(_Move(self, execution, dataset, name, to))
            except CommitUnknownError:
                raise
            except BaseException as err:  # whatever it was, the execution ends with it
                # Where the catalog is what failed, the next holder of the lease cancels the execution.
                with contextlib.suppress(CatalogError):
                    self.catalog.fail(execution, f"{type(err).__name__}: {err}")
                raise
        finally:
            # It runs out by itself; the error that may be on its way is the one to show.
            with contextlib.suppress(CatalogError):
                self.catalog.release(lease)

    def _run(self, move: _Move) -> None:
        with self.catalog.database.translating():
            for attempt in self.catalog.database.retrying():
                with attempt:
                    move.attempt()
                    failpoint("tag.after")

    def _acquire(self, resource: str) -> Lease:
        """The lease, once whoever moves another tag of the dataset is done. Raises LeaseHeldError."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self.catalog.acquire(resource, self.holder, _LEASE)
            except LeaseHeldError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def _begin(
        self, lease: Lease, dataset: DatasetName, name: str, to: Version | None, known: Tag | None
    ) -> RunningExecution:
        uuid = str(uuids.uuid4())
        start = ExecutionStart(
            type=ExecutionType.MAINTENANCE,
            job=JOB,
            run_key=None,
            targets=(),  # its state must not hide how the dataset's own runs ended
            prefixes=(tables.metadata_prefix(tables.table_location(self.store.url, dataset), uuid),),
            properties={
                **self.properties,
                "dataset": str(dataset),
                "tag": name,
                "from_version": None if known is None else known.version,
                "to_version": None if to is None else to.version,
            },
        )
        begun = self.catalog.begin(lease, start, uuid=uuid)
        if isinstance(begun, CompletedExecution):  # only a run key can be complete
            raise AssertionError
        return begun


@dataclass(frozen=True, slots=True)
class _Move:
    """One move, attempt by attempt: each is one transaction."""

    work: Tagging
    execution: RunningExecution
    dataset: DatasetName
    name: str
    to: Version | None

    def attempt(self) -> None:
        """One transaction. Raises CommitUnknownError where it was interrupted, and applied all the same."""
        _, error = transact(
            self.work.catalog.database,
            self.work.store,
            self.execution,
            self._fill,
            before_commit="tag.before",
            unknown_wait=UNKNOWN_WAIT_SECONDS,
        )
        if error is not None and not isinstance(error, sa.exc.SQLAlchemyError):
            raise CommitUnknownError("interrupted; the tag was moved") from error

    def _fill(self, connection: sa.Connection, written: list[str]) -> tuple[int, None]:
        number = lock(connection, self.execution)
        pointer = self._lock_pointer(connection)
        failpoint("tag.locked")
        owner = connection.execute(sa.select(dataset_id(str(self.dataset)))).scalar_one()
        newest = queries.resolve(connection, VersionRef(self.dataset))
        self._check(connection)
        staged = self._stage(pointer)
        written.append(staged.metadata_location)
        failpoint("tag.written")
        self._swap(connection, staged)
        failpoint("tag.swapped")
        now = connection.execute(sa.select(now_ms())).scalar_one()
        self._record(connection, owner, now, newest.version, staged.metadata_location)
        columns = queries.columns(connection, newest.schema_fingerprint)
        search_index.keep_dataset(connection, owner, str(self.dataset), columns)
        set_state(connection, self.execution.execution_id, MlmdState.COMPLETE, now)
        complete(connection, self.execution, number, now)
        return number, None

    def _lock_pointer(self, connection: sa.Connection) -> str:
        location = lock_pointers(connection, [self.dataset]).get(str(self.dataset))
        if location is None:
            raise NotFoundError(f"there is no table {self.dataset}", next_command="lakecat ls")
        return location

    def _check(self, connection: sa.Connection) -> None:
        """The version may have expired since it was looked up."""
        if self.to is not None:
            found = queries.resolve(connection, VersionRef(self.dataset, version=self.to.version))
            if found.expired:
                raise _expired(found)

    def _stage(self, pointer: str) -> tables.StagedMetadata:
        state = tables.load_state(self.work.store, pointer)
        expected = tables.table_location(self.work.store.url, self.dataset)
        if state.location != expected:
            raise TableError(f"{self.dataset} lies at {state.location}, where lakecat writes no metadata")
        return tables.stage_tag(
            self.work.store,
            state,
            self.name,
            None if self.to is None else self.to.snapshot_id,
            prefix=tables.metadata_prefix(state.location, self.execution.uuid),
            now_ms=queries.milliseconds(self.work.now),
            uuid=str(uuids.uuid4()),
            keep=self.work.retention.metadata_versions,
        )

    def _swap(self, connection: sa.Connection, staged: tables.StagedMetadata) -> None:
        if not swap_pointer(connection, self.dataset, staged.base_location, staged.metadata_location):
            raise CommitConflictError(f"{self.dataset} was changed by another program meanwhile", hint="do it again")

    def _record(self, connection: sa.Connection, owner: int, now: int, newest: int, location: str) -> None:
        table, by = s.tag, self.work.holder.who
        mine = sa.and_(table.c.dataset_id == owner, table.c.name == self.name)
        before = connection.execute(sa.select(table.c.version).where(mine)).scalar_one_or_none()
        if self.to is None:
            connection.execute(sa.delete(table).where(mine))
        else:
            row = {
                "dataset_id": owner, "name": self.name, "version": self.to.version, "changed_ms": now,
                "changed_by": by,
            }  # fmt: skip
            registry.upsert(connection, table, [row])
        connection.execute(
            sa.insert(s.tag_change)
            .inline()
            .values(
                dataset_id=owner,
                name=self.name,
                old_version=before,
                new_version=None if self.to is None else self.to.version,
                changed_ms=now,
                changed_by=by,
                execution_id=self.execution.execution_id,
                newest_version=newest,
                metadata_location=location,
            )
        )


def check_name(name: str) -> None:
    """Refuse what no version can be called. Raises UsageError."""
    if not is_tag_name(name) or name in _RESERVED:
        raise UsageError(
            f"{name!r} cannot be a tag",
            hint="small letters and digits, in parts joined by _ . or -, beginning with a letter, at most 128;"
            f" not v7, which is a version's number, and not {', '.join(sorted(_RESERVED))}",
        )


def _expired(version: Version) -> TableError:
    return TableError(
        f"{version} has expired: its rows are gone or about to go, so it cannot be tagged",
        hint="tag a younger version; a tagged one never expires",
        next_command=f"lakecat show {version.dataset}",
    )


def differences(catalog: Catalog, store: LakeStore, dataset: DatasetName) -> list[str]:
    """How a dataset's tags differ from those in its table's metadata, which other engines may have changed."""
    state = tables.load_state(store, catalog.metadata_location(dataset))
    theirs = tables.table_tags(state)
    ours = {tag.name: tag for tag in catalog.tags(dataset)}
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        tag, snapshot = ours.get(name), theirs.get(name)
        if tag is None:
            found.append(f"the tag {name} is only in the table's metadata, on snapshot {snapshot}")
        elif snapshot != tag.snapshot_id:
            there = "not there" if snapshot is None else f"on snapshot {snapshot}"
            found.append(f"the tag {name} is on v{tag.version} here, and {there} in the table's metadata")
    return found
