"""What a query reads: a table at a snapshot, pruned to the files that can matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import (
    _InclusiveMetricsEvaluator,
    expression_evaluator,
    inclusive_projection,
    manifest_evaluator,
)
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from lakecat.errors import SchemaError, TableError
from lakecat.store import LakeStore
from lakecat.tables.manifests import live_files, read_all_entries, snapshot_manifests
from lakecat.tables.schemas import iceberg_to_arrow
from lakecat.tables.state import TableState


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One data file of a scan. ``sequence_number`` orders the commits that added files."""

    location: str
    size: int
    rows: int
    sequence_number: int
    data_file: DataFile


@dataclass(frozen=True, slots=True)
class Scan:
    """A table at a snapshot; None means the current one, with the current schema.

    ``files`` restricts it to some of the snapshot's files; None means all of them.
    """

    state: TableState
    snapshot_id: int | None = None
    files: tuple[PlannedFile, ...] | None = None

    @property
    def schema(self) -> Schema:
        """The schema that the rows are read with. Raises TableError when the snapshot is not there."""
        return self.state.schema if self.snapshot_id is None else self.state.schema_of(self.snapshot_id)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The same schema in Arrow, as ``read`` gives it."""
        return iceberg_to_arrow(self.schema)


def plan(store: LakeStore, scan: Scan, predicate: BooleanExpression | None = None) -> tuple[PlannedFile, ...]:
    """The files that may hold rows for which the predicate is true, by partition and column statistics.

    Raises TableError, SchemaError (a column that is not there), CorruptFileError, ObjectMissingError.
    """
    pruner = _Pruner(scan, predicate or AlwaysTrue())
    if scan.files is not None:
        return tuple(file for file in scan.files if pruner.keeps(file.data_file))
    manifests = [manifest for manifest in _manifests(store, scan) if pruner.may_hold(manifest)]
    found = read_all_entries(store, manifests, lambda entry: pruner.keeps(entry.data_file))
    return tuple(_planned(entry) for entries in found for entry in entries)


def appended_since(store: LakeStore, state: TableState, from_snapshot_id: int | None, to_snapshot_id: int) -> Scan:
    """The rows appended after one snapshot up to another; all rows of ``to_snapshot_id`` when there is no first one.

    Raises TableError naming the operation when rows were removed or rewritten in between, and when the first snapshot
    has expired or is no ancestor of the second.
    """
    if from_snapshot_id is None:
        state.snapshot(to_snapshot_id)
        return Scan(state, to_snapshot_id)
    start = state.snapshot(from_snapshot_id)
    snapshot = state.snapshot(to_snapshot_id)
    end = snapshot
    while snapshot["snapshot-id"] != from_snapshot_id:
        summary = snapshot.get("summary") or {}
        if (operation := summary.get("operation")) != "append":
            raise TableError(
                f"snapshot {snapshot['snapshot-id']} of {state.location} is no append: its operation is {operation}",
                hint="rows were removed or rewritten, so what was appended cannot be told: run the script in full once",
            )
        parent = state.find_snapshot(snapshot.get("parent-snapshot-id"))
        if parent is None:
            raise TableError(
                f"snapshot {from_snapshot_id} of {state.location} is no ancestor of {to_snapshot_id}",
                hint="run the script in full once",
            )
        snapshot = parent
    after, last = int(start["sequence-number"]), int(end["sequence-number"])
    scan = Scan(state, to_snapshot_id)
    manifests = [manifest for manifest in _manifests(store, scan) if (manifest.sequence_number or 0) > after]
    found = read_all_entries(store, manifests, lambda entry: after < (entry.sequence_number or 0) <= last)
    return Scan(state, to_snapshot_id, tuple(_planned(entry) for entries in found for entry in entries))


def _manifests(store: LakeStore, scan: Scan) -> tuple[ManifestFile, ...]:
    """The manifests of the scan's snapshot that have live files; none for a table without snapshots."""
    snapshot_id = scan.state.current_snapshot_id if scan.snapshot_id is None else scan.snapshot_id
    if snapshot_id is None:
        return ()
    manifests = snapshot_manifests(store, scan.state.snapshot(snapshot_id))
    return tuple(manifest for manifest in manifests if live_files(manifest))


def _planned(entry: ManifestEntry) -> PlannedFile:
    file = entry.data_file
    return PlannedFile(
        location=file.file_path,
        size=file.file_size_in_bytes,
        rows=file.record_count,
        sequence_number=entry.sequence_number or 0,
        data_file=file,
    )


def _covers(schema: Schema, spec: PartitionSpec) -> bool:
    """Whether the schema has every column that the spec is made from."""
    return all(column.source_id in schema.field_ids for column in spec.fields)


class _Pruner:
    """A predicate made ready for each partition spec that the scan meets."""

    def __init__(self, scan: Scan, predicate: BooleanExpression) -> None:
        self._state = scan.state
        self._schema = scan.schema
        self._predicate = predicate
        try:
            self._metrics = _InclusiveMetricsEvaluator(self._schema, predicate).eval
        except (ValueError, TypeError) as err:
            raise SchemaError(f"the predicate does not fit {scan.state.location}: {err}") from err
        self._specs: dict[int, tuple[Callable[[ManifestFile], bool], Callable[[DataFile], bool]]] = {}

    def may_hold(self, manifest: ManifestFile) -> bool:
        return self._for(manifest.partition_spec_id)[0](manifest)

    def keeps(self, file: DataFile) -> bool:
        return self._for(file.spec_id)[1](file) and self._metrics(file)

    def _for(self, spec_id: int) -> tuple[Callable[[ManifestFile], bool], Callable[[DataFile], bool]]:
        if spec_id not in self._specs:
            spec = self._state.spec_by_id(spec_id)
            # Old snapshots may have been written before a column of a later spec was there; types come from the newest.
            schema = self._schema if _covers(self._schema, spec) else self._state.schema
            projected = inclusive_projection(self._schema, spec)(self._predicate)
            partitions = Schema(*spec.partition_type(schema).fields)
            evaluate = expression_evaluator(partitions, projected, case_sensitive=True)
            self._specs[spec_id] = (
                manifest_evaluator(spec, schema, projected),
                lambda file: evaluate(file.partition),
            )
        return self._specs[spec_id]
