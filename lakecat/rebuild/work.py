"""The rebuild: read the lake, decide what has happened, record what the catalog lacks, in one transaction."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from lakecat.catalog import ColumnInfo, copying, queries, replay, restored, search_index
from lakecat.catalog.replay import Newest, Replay, ReplayTable
from lakecat.catalog.sidecars import Sidecar
from lakecat.errors import LakecatError, ObjectMissingError, SelectorError, TableError
from lakecat.failpoints import failpoint
from lakecat.landing import Services
from lakecat.rebuild.report import LOST, Heads, RebuildReport, RebuiltDataset, UndecidedCommit
from lakecat.rebuild.spool import Entry, Spool, newest_chain, possible_head
from lakecat.tables import TableState, Totals, load_state
from lakecat.tables.layout import metadata_version
from lakecat.types import DatasetName, ExecutionState

_SHOWN: Final = 5
_FAULTS: Final = (ObjectMissingError, TableError)
"""What is wrong with a metadata file itself; a store that does not answer ends the rebuild."""

OnProgress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many are done, and of how many (None: not known)."""


def rebuild(
    services: Services, *, apply: bool = False, heads: Heads | None = None, on_progress: OnProgress | None = None
) -> RebuildReport:
    """Find in the lake what the catalog lacks, and with ``apply`` record it; what the catalog knows is never changed.

    ``heads`` says what becomes of commits of which the lake does not say whether they have happened: with ``newest``
    they count, without it they do not (see ``RebuildReport.undecided``; their files stay). Raises StoreError (the
    lake cannot be listed or read), CatalogError.
    """
    progress = on_progress or (lambda _label, _done, _total: None)
    with (
        tempfile.TemporaryDirectory(prefix="lakecat-rebuild-") as folder,
        Spool(Path(folder) / "spool.db", services.store) as spool,
    ):
        spool.scan(lambda count: progress("reading the lake", count, None))
        database = services.catalog.database
        if not apply:
            with database.reading(snapshot=True) as connection:
                return _Rebuild(services, spool, connection, heads, progress).plan()
        with database.translating(), copying.alone(database) as connection:
            report = _Rebuild(services, spool, connection, heads, progress).run()
            failpoint("rebuild.before")
            connection.commit()
        failpoint("rebuild.after")
        return report


@dataclass(slots=True)
class _Found:
    """One dataset as the lake has it, compared with the catalog."""

    dataset: DatasetName
    chain: list[Entry]
    known: Newest | None
    missing: list[Entry]
    problems: list[str] = field(default_factory=list)
    tags: int = 0

    def report(self) -> RebuiltDataset:
        return RebuiltDataset(
            dataset=self.dataset,
            versions=len(self.chain),
            newest=self.chain[-1].version if self.chain else 0,
            missing=len(self.missing),
            tags=self.tags,
            problems=tuple(self.problems),
        )


class _Rebuild:
    """One transaction's work."""

    def __init__(
        self, services: Services, spool: Spool, connection: sa.Connection, heads: Heads | None, on_progress: OnProgress
    ) -> None:
        self._store = services.store
        self._spool = spool
        self._connection = connection
        self._heads = heads
        self._progress = on_progress
        self._newest = replay.newest(connection)
        self._restored = restored.is_from_backup(connection)
        self._columns: dict[DatasetName, tuple[ColumnInfo, ...]] = {}
        self._undecided: list[UndecidedCommit] = []
        self._unreadable: list[str] = []
        self._told: list[str] = []

    def plan(self) -> RebuildReport:
        """What there is to do."""
        found = self._compare()
        taken = {entry.uuid for one in found for entry in one.missing}
        fresh = len(taken - replay.states(self._connection, taken).keys())
        return self._report(found, fresh, applied=False)

    def run(self) -> RebuildReport:
        """Do it; the caller commits."""
        found = self._compare()
        for one in found:
            self._spool.take([entry.location for entry in one.missing])
        self._spool.order()
        writer = Replay(self._connection)
        fresh = sum(writer.start(one.record.execution) for one in self._spool.executions())
        self._replay(writer, found)
        for one in found:
            self._finish(one)
        if any(one.missing for one in found):
            replay.raise_fences(self._connection, (one.record.execution for one in self._spool.latest()))
            search_index.rebuild(self._connection)
        report = self._report(found, fresh, applied=True)
        if report.settled:
            restored.settle(self._connection)
        elif not self._restored:
            restored.wait(self._connection)
        return report

    def _compare(self) -> list[_Found]:
        names = self._spool.datasets()
        self._decide(names)
        found = [self._dataset(name) for name in names]
        self._look_for_unreadable(found)
        self._look_for_lost_metadata()
        return found

    def _look_for_lost_metadata(self) -> None:
        """Tell of tables whose newest metadata the lake has not: then it is older than the catalog."""
        for dataset, location in replay.pointers(self._connection).items():
            if location.startswith(f"{self._store.url}/") and not self._spool.has_metadata(location):
                try:
                    self._store.size(location)  # it may have been committed since the lake was listed
                except ObjectMissingError:
                    self._told.append(f"{dataset}: its newest metadata is not in the lake: {location}")

    def _look_for_unreadable(self, found: Sequence[_Found]) -> None:
        """Tell of commits whose sidecar is gone, and note those that are newer than anything that can be had."""
        newest = {one.dataset: metadata_version(one.chain[-1].location) for one in found if one.chain}
        for dataset, location in replay.pointers(self._connection).items():
            newest[dataset] = max(newest.get(dataset, -1), metadata_version(location))
        unreadable = self._spool.unreadable()
        states = replay.states(self._connection, {location.split("/")[-2] for location, _ in unreadable})
        gone = 0
        for location, damaged in unreadable:
            if not damaged:
                gone += 1
                if gone <= _SHOWN and self._spool.has_metadata(location):
                    self._told.append(f"{location}: it was committed, but its sidecar is gone")
            owner = self._owner(location)
            alive = not self._dead(states.get(location.split("/")[-2]))
            if alive and (owner is None or metadata_version(location) > newest.get(owner, -1)):
                self._unreadable.append(location)

    def _owner(self, location: str) -> DatasetName | None:
        """The dataset in whose folder a file lies."""
        parts = location.removeprefix(f"{self._store.url}/").split("/")
        try:
            return DatasetName(*parts[:2])
        except (SelectorError, TypeError):
            return None

    def _decide(self, names: Sequence[str]) -> None:
        """Settle the commits that the lake leaves open: by what the catalog knows, else by ``heads``."""
        open_: dict[str, list[tuple[str, Entry]]] = {}
        for name in names:
            entries = self._spool.entries(name)
            head = possible_head(entries, newest_chain(entries)[0])
            if head is not None:
                open_.setdefault(head.grouped, []).append((name, head))
        uuids = {head.uuid for heads in open_.values() for _, head in heads}
        states = replay.states(self._connection, uuids)
        for grouped, heads in open_.items():
            whole = self._spool.bases(grouped)
            if whole is None or len(whole) != len(heads) or self._dead(states.get(heads[0][1].uuid)):
                continue
            if self._heads is Heads.NEWEST:
                self._spool.believe(grouped)
            else:
                self._undecided += [self._undecided_of(name, head) for name, head in heads]

    def _dead(self, state: tuple[ExecutionState, bool] | None) -> bool:
        """Whether the catalog knows that the execution's commit did not happen, or knows all about it."""
        if state is None:
            return False
        return state[0] is not ExecutionState.CANCELED or not self._restored

    def _undecided_of(self, name: str, head: Entry) -> UndecidedCommit:
        execution = self._spool.one(head.location).record.execution
        return UndecidedCommit(
            dataset=DatasetName.parse(name), version=head.version, execution=head.uuid, job=execution.start.job,
            started_at=execution.started_at, metadata_location=head.location,
        )  # fmt: skip

    def _dataset(self, name: str) -> _Found:
        chain, others = newest_chain(self._spool.entries(name))
        dataset = DatasetName.parse(name)
        known = self._newest.get(dataset)
        found = _Found(dataset, chain, known, [])
        if others:
            found.problems.append(
                f"{len(others)} versions of another history lie beside it, from before a catalog was restored:"
                f" {', '.join(f'v{one.version} in {one.location}' for one in others[:_SHOWN])}; they are not taken"
            )
        if known is None:
            found.missing = chain
        else:
            here = next((one for one in chain if one.version == known.version), None)
            found.missing = [one for one in chain if one.version > known.version]
            if found.missing and here is not None and here.location != known.metadata_location:
                found.missing = []
                found.problems.append(f"the catalog's v{known.version} is not the one that the lake goes on from")
        numbers = [one.version for one in found.missing]
        first = 1 if known is None else known.version + 1
        if numbers and (gaps := sorted(set(range(first, numbers[-1])) - set(numbers))):
            names = ", ".join(f"v{number}" for number in gaps[:_SHOWN]) + (", …" if len(gaps) > _SHOWN else "")
            found.problems.append(
                f"versions without a readable sidecar: {len(gaps)} ({names}); their rows are in the later ones, their"
                " history is lost, and so is what they say of positions and loaded files: it may be loaded again"
            )
        return found

    def _replay(self, writer: Replay, found: Sequence[_Found]) -> None:
        total = len({entry.grouped for one in found for entry in one.missing})
        by_name = {one.dataset: one for one in found}
        for count, sidecars in enumerate(self._spool.commits(), start=1):
            missing = writer.commit([self._table(one, by_name[one.dataset]) for one in sidecars])
            if missing:
                names = ", ".join(f"{one.dataset}@v{one.version}" for one in missing[:_SHOWN])
                by_name[sidecars[0].dataset].problems.append(f"v{sidecars[0].version} read what is lost: {names}")
            failpoint("rebuild.commit")
            self._progress("recording commits", count, total)

    def _table(self, one: Sidecar, found: _Found) -> ReplayTable:
        before = self._columns.get(one.dataset)
        if before is None and found.known is not None:
            before = queries.columns(self._connection, found.known.fingerprint)
        columns, totals = one.columns, one.totals
        if columns is None and (before is None or not one.receipts or one.base_location is None):
            columns = self._columns_in_lake(one)
        if totals is None:
            totals = self._totals_in_lake(one)
        columns = columns or before or self._columns_of_head(found)
        self._columns[one.dataset] = columns
        return ReplayTable(sidecar=one, columns=columns, columns_before=before, totals=totals)

    def _columns_in_lake(self, one: Sidecar) -> tuple[ColumnInfo, ...] | None:
        state = self._state(one.metadata_location)
        return None if state is None else _columns(state)

    def _columns_of_head(self, found: _Found) -> tuple[ColumnInfo, ...]:
        """The best that is known of a version whose metadata is gone and whose sidecar does not say."""
        found.problems.append("the columns of its oldest versions are not known; those of the newest are shown")
        state = self._state(found.chain[-1].location)
        return () if state is None else _columns(state)

    def _totals_in_lake(self, one: Sidecar) -> Totals:
        state = self._state(one.metadata_location)
        snapshot = None if state is None else state.find_snapshot(one.snapshot_id)
        summary: Mapping[str, str] = {} if snapshot is None else snapshot.get("summary") or {}
        return Totals(
            rows=int(summary.get("total-records", 0)),
            files=int(summary.get("total-data-files", 0)),
            bytes=int(summary.get("total-files-size", 0)),
            added_rows=int(summary.get("added-records", 0)),
            removed_rows=int(summary.get("deleted-records", 0)),
        )

    def _state(self, location: str) -> TableState | None:
        try:
            return load_state(self._store, location)
        except _FAULTS:
            return None

    def _finish(self, found: _Found) -> None:
        """Note what was collected, and take over the tags of the newest metadata."""
        if not found.chain or not (found.missing or self._restored):
            return
        gone = [one.version for one in found.missing if not self._spool.has_metadata(one.location)]
        replay.mark_collected(self._connection, found.dataset, gone)
        try:
            state = load_state(self._store, queries.metadata_location(self._connection, found.dataset))
        except _FAULTS as err:
            found.problems.append(f"its newest metadata cannot be read: {err.what}")
            return
        if found.missing:
            found.tags = replay.set_tags(self._connection, found.dataset, _tags(state))
        self._tell_moved_tags(found, state)

    def _tell_moved_tags(self, found: _Found, state: TableState) -> None:
        """Tags that were moved after the newest version: nothing in the lake says whether that was committed."""
        for location in self._spool.without_sidecar(found.dataset):
            if metadata_version(location) <= metadata_version(state.metadata_location):
                continue
            with suppress(LakecatError):
                later = load_state(self._store, location)
                if later.current_snapshot_id == state.current_snapshot_id and _tags(later) != _tags(state):
                    named = ", ".join(f"{name} on snapshot {key}" for name, key in sorted(_tags(later).items()))
                    found.problems.append(
                        f"tags may have been moved after its newest version ({named}): set them again"
                    )

    def _report(self, found: Sequence[_Found], executions: int, *, applied: bool) -> RebuildReport:
        damaged = tuple(self._spool.damaged)
        if (more := self._spool.damaged_count - len(damaged)) > 0:
            damaged = (*damaged, f"and {more} more damaged sidecars")
        return RebuildReport(
            applied=applied,
            datasets=tuple(one.report() for one in found),
            executions=executions,
            undecided=tuple(self._undecided),
            damaged=(*damaged, *self._told),
            unreadable=tuple(self._unreadable),
            settled=self._heads is not None or not (self._undecided or self._unreadable),
            lost=LOST,
        )


def _tags(state: TableState) -> dict[str, int]:
    refs: Mapping[str, Mapping[str, object]] = state.head.get("refs") or {}
    return {name: int(str(ref["snapshot-id"])) for name, ref in refs.items() if ref.get("type") == "tag"}


def _columns(state: TableState) -> tuple[ColumnInfo, ...]:
    return tuple(
        ColumnInfo(one.name, str(one.field_type), one.field_id, one.required, one.doc) for one in state.schema.fields
    )
