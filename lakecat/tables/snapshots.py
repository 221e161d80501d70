"""The manifests and the summary of a new snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.types import PrimitiveType

from lakecat.errors import CommitConflictError, TableError
from lakecat.store import LakeStore
from lakecat.tables.changes import Removal, TableChange, Totals
from lakecat.tables.manifests import (
    ManifestBuilder,
    deleted,
    existing,
    live_files,
    live_rows,
    read_all_entries,
    read_entries,
    snapshot_manifests,
)
from lakecat.tables.merging import to_merge
from lakecat.tables.state import TableState


@dataclass(slots=True)
class Outcome:
    """What building the manifests found out."""

    manifests: list[ManifestFile] = field(default_factory=list)
    removed: list[DataFile] = field(default_factory=list)


def check_conflict(base: TableState | None, change: TableChange) -> None:
    """Refuse a rewrite when rows changed since the snapshot that it has read: CommitConflictError."""
    if change.base_snapshot_id is None:
        return
    current = base.current_snapshot_id if base else None
    while base is not None and current is not None and current != change.base_snapshot_id:
        snapshot = base.find_snapshot(current)
        if snapshot is None or _changed_rows(snapshot):
            break
        current = snapshot.get("parent-snapshot-id")
    if current != change.base_snapshot_id:
        raise CommitConflictError(
            f"{change.dataset} changed since snapshot {change.base_snapshot_id}, which this {change.operation} read",
            hint="run it again: it will start from the current rows",
        )


def _changed_rows(snapshot: Any) -> bool:
    summary = snapshot.get("summary") or {}
    if summary.get("operation") == "replace":
        return False
    return summary.get("operation") != "append" or summary.get("added-data-files", "0") != "0"


def build_manifests(
    store: LakeStore, base: TableState | None, state: TableState, change: TableChange, builder: ManifestBuilder
) -> Outcome:
    """The new snapshot's manifests, with their bytes in the builder. ``state`` has the new schema and spec.

    Raises CommitConflictError when a file to remove is not there any more, TableError.
    """
    snapshot = base.find_snapshot(base.current_snapshot_id) if base else None
    manifests = snapshot_manifests(store, snapshot) if snapshot else ()
    manifests = tuple(manifest for manifest in manifests if live_files(manifest))
    outcome = Outcome()
    kept = _remove(store, state, change, manifests, builder, outcome)
    groups: dict[int, list[DataFile]] = defaultdict(list)
    for file in check_added(store, state, change.added):
        groups[_spec_id(file, state)].append(file)
    for spec_id, files in groups.items():
        kept = _add(store, spec_id, files, kept, builder, outcome)
    outcome.manifests.extend(kept)
    return outcome


def check_added(store: LakeStore, state: TableState, added: Sequence[DataFile]) -> Sequence[DataFile]:
    """The files to add, if each lies in the lake, is there once and has a value for each partition field."""
    seen: set[str] = set()
    for file in added:
        store.confine(file.file_path)
        if file.file_path in seen:
            raise TableError(f"the file {file.file_path} is added twice")
        seen.add(file.file_path)
        fields = state.spec_by_id(_spec_id(file, state)).fields
        if len(file.partition) != len(fields):
            raise TableError(f"the file {file.file_path} has {len(file.partition)} partition values, not {len(fields)}")
    return added


def _add(
    store: LakeStore,
    spec_id: int,
    files: list[DataFile],
    manifests: list[ManifestFile],
    builder: ManifestBuilder,
    outcome: Outcome,
) -> list[ManifestFile]:
    """One manifest of the new files and of the older manifests that are merged with it; answers what is left."""
    mine = [manifest for manifest in manifests if manifest.partition_spec_id == spec_id]
    taken = to_merge(len(files), [manifest for manifest in mine if manifest.manifest_path not in builder.files])
    merged = [existing(entry) for entries in read_all_entries(store, taken) for entry in entries]
    fresh = (
        ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=builder.snapshot_id, data_file=file)
        for file in files
    )
    outcome.manifests.append(builder.write(spec_id, (*fresh, *merged)))
    paths = {manifest.manifest_path for manifest in taken}
    return [manifest for manifest in manifests if manifest.manifest_path not in paths]


def _remove(
    store: LakeStore,
    state: TableState,
    change: TableChange,
    manifests: Sequence[ManifestFile],
    builder: ManifestBuilder,
    outcome: Outcome,
) -> list[ManifestFile]:
    """The manifests after removal: untouched ones as they are, others rewritten with their deleted entries."""
    if not change.removed:
        return list(manifests)
    chosen, may_hold, wanted = _removal(state, change)
    kept: list[ManifestFile] = []
    for manifest in manifests:
        if (wanted is not None and len(outcome.removed) == wanted) or not may_hold(manifest):
            kept.append(manifest)
            continue
        entries = read_entries(store, manifest)
        gone = [entry for entry in entries if chosen(entry.data_file)]
        if not gone:
            kept.append(manifest)
            continue
        outcome.removed.extend(entry.data_file for entry in gone)
        stay = [existing(entry) for entry in entries if not chosen(entry.data_file)]
        kept.append(
            builder.write(manifest.partition_spec_id, [*stay, *(deleted(entry, builder.snapshot_id) for entry in gone)])
        )
    if wanted is not None and len(outcome.removed) != wanted:
        _report_gone(change, outcome)
    return kept


def _report_gone(change: TableChange, outcome: Outcome) -> None:
    found = {file.file_path for file in outcome.removed}
    files = () if isinstance(change.removed, Removal) else change.removed
    missing = sorted({file.file_path for file in files} - found)
    raise CommitConflictError(
        f"{change.dataset}: {len(missing)} of the files that this {change.operation} replaces are not in the table "
        f"any more, first {missing[0]}",
        hint="run it again: it will start from the current rows",
    )


def _removal(
    state: TableState, change: TableChange
) -> tuple[Callable[[DataFile], bool], Callable[[ManifestFile], bool], int | None]:
    """Which files go, which manifests may hold any, and how many files must be found (None: as many as there are)."""
    if change.removed is Removal.ALL:
        return (lambda _: True), (lambda _: True), None
    if change.removed is Removal.PARTITIONS:
        return _by_partition(state, change)
    paths = {file.file_path for file in change.removed}
    groups: dict[int, list[DataFile]] = defaultdict(list)
    for file in change.removed:
        groups[_spec_id(file, state)].append(file)
    bounds = {spec_id: _Bounds.of(state, spec_id, files) for spec_id, files in groups.items()}

    def may_hold(manifest: ManifestFile) -> bool:
        found = bounds.get(manifest.partition_spec_id)
        return found is not None and found.meets(manifest)

    return (lambda file: file.file_path in paths), may_hold, len(paths)


def _by_partition(
    state: TableState, change: TableChange
) -> tuple[Callable[[DataFile], bool], Callable[[ManifestFile], bool], int | None]:
    spec_id = state.spec.spec_id
    if any(_spec_id(file, state) != spec_id for file in change.added):
        raise TableError(f"{change.dataset}: new files must be partitioned as the table is now")
    partitions = {partition_key(file) for file in change.added}
    bounds = _Bounds.of(state, spec_id, change.added)

    def chosen(file: DataFile) -> bool:
        return partition_key(file) in partitions

    def may_hold(manifest: ManifestFile) -> bool:
        if manifest.partition_spec_id != spec_id:
            raise TableError(
                f"{change.dataset} holds files of an older partitioning, so single partitions cannot be replaced",
                hint="replace the whole table once",
            )
        return bounds.meets(manifest)

    return chosen, may_hold, None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Least and greatest partition values of some files, to skip manifests that cannot hold them."""

    fields: tuple[tuple[PrimitiveType, Any, Any], ...]

    @classmethod
    def of(cls, state: TableState, spec_id: int, files: Iterable[DataFile]) -> _Bounds:
        types = state.spec_by_id(spec_id).partition_type(state.schema).fields
        columns = []
        for position, column in enumerate(types):
            values = [file.partition[position] for file in files]
            usable = isinstance(column.field_type, PrimitiveType) and all(_ordered(value) for value in values)
            columns.append((column.field_type, min(values), max(values)) if usable and values else (None, None, None))
        return cls(tuple(columns))  # type: ignore[arg-type]

    def meets(self, manifest: ManifestFile) -> bool:
        for (type_, low, high), summary in zip(self.fields, manifest.partitions or (), strict=False):
            if type_ is None:
                continue
            if summary.lower_bound is None or summary.upper_bound is None:
                return False  # it holds nothing but nulls and NaN there
            if from_bytes(type_, summary.lower_bound) > high or from_bytes(type_, summary.upper_bound) < low:
                return False
        return True


def partition_key(file: DataFile) -> tuple[Any, ...]:
    """A file's partition values as a key, in which NaN equals NaN."""
    values = (file.partition[position] for position in range(len(file.partition)))
    return tuple("NaN" if value != value else value for value in values)  # noqa: PLR0124 - NaN differs from itself


def _ordered(value: object) -> bool:
    return value is not None and value == value  # noqa: PLR0124 - NaN differs from itself


def _spec_id(file: DataFile, state: TableState) -> int:
    """The spec that a file was written with; the table's own when the file does not say."""
    return int(getattr(file, "_spec_id", state.spec.spec_id))


def summarize(
    store: LakeStore, base: TableState | None, change: TableChange, outcome: Outcome
) -> tuple[Totals, dict[str, str]]:
    """The snapshot's totals, and its summary (specification, "Optional Snapshot Summary Fields")."""
    before = _totals_before(store, base)
    totals = Totals(
        rows=sum(live_rows(manifest) for manifest in outcome.manifests),
        files=sum(live_files(manifest) for manifest in outcome.manifests),
        bytes=before + _bytes(change.added) - _bytes(outcome.removed),
        added_rows=sum(file.record_count for file in change.added),
        added_files=len(change.added),
        added_bytes=_bytes(change.added),
        removed_rows=sum(file.record_count for file in outcome.removed),
        removed_files=len(outcome.removed),
        removed_bytes=_bytes(outcome.removed),
    )
    changed = {(getattr(file, "_spec_id", 0), partition_key(file)) for file in (*change.added, *outcome.removed)}
    counts = {
        "added-data-files": totals.added_files,
        "added-records": totals.added_rows,
        "added-files-size": totals.added_bytes,
        "deleted-data-files": totals.removed_files,
        "deleted-records": totals.removed_rows,
        "removed-files-size": totals.removed_bytes,
        "changed-partition-count": len(changed),
    }
    summary = {"operation": change.iceberg_operation, **change.properties}
    summary |= {key: str(count) for key, count in counts.items() if count}
    summary |= {
        "total-records": str(totals.rows),
        "total-data-files": str(totals.files),
        "total-files-size": str(totals.bytes),
        "total-delete-files": "0",
        "total-position-deletes": "0",
        "total-equality-deletes": "0",
    }
    return totals, summary


def _bytes(files: Iterable[DataFile]) -> int:
    return sum(file.file_size_in_bytes for file in files)


def _totals_before(store: LakeStore, base: TableState | None) -> int:
    """The bytes of the base's snapshot: from its summary, or counted when another program left them out."""
    snapshot = base.find_snapshot(base.current_snapshot_id) if base else None
    if snapshot is None:
        return 0
    size = (snapshot.get("summary") or {}).get("total-files-size")
    if size is not None:
        return int(size)
    manifests = snapshot_manifests(store, snapshot)
    return sum(_bytes(entry.data_file for entry in entries) for entries in read_all_entries(store, manifests))
