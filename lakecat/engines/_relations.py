"""From a pinned scan to what one statement's instance holds under its name."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pyiceberg.expressions import BooleanExpression

from lakecat.engines._instance import Relation
from lakecat.store import LakeStore
from lakecat.tables import PlannedFile, Scan, plan, read
from lakecat.tables.relation import by_field_id, empty_sql, relation_sql, total_rows
from lakecat.tables.snapshot_files import engine_path
from lakecat.types import DatasetName

# Beyond, reading all manifests for a query that needs a few of them would cost more than it saves.
_FEW_FILES: Final = 1_000
_LISTS: Final = 64


class FileLists:
    """The files of snapshots, which never change, kept between sessions while they are few.

    A run of many scripts over the same tables then reads each manifest once.
    """

    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._lists: OrderedDict[tuple[str, int], tuple[PlannedFile, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, scan: Scan, predicate: BooleanExpression | None = None) -> tuple[PlannedFile, ...]:
        """As :func:`lakecat.tables.plan`."""
        snapshot_id = scan.state.current_snapshot_id if scan.snapshot_id is None else scan.snapshot_id
        if scan.files is not None or snapshot_id is None:
            return plan(self._store, scan, predicate)
        key = (scan.state.metadata_location, snapshot_id)
        with self._lock:
            files = self._lists.get(key)
        if files is None:
            summary = scan.state.snapshot(snapshot_id).get("summary") or {}
            if not 0 < int(summary.get("total-data-files", 0)) <= _FEW_FILES:
                return plan(self._store, scan, predicate)
            files = plan(self._store, scan)
            with self._lock:
                self._lists[key] = files
                if len(self._lists) > _LISTS:
                    self._lists.popitem(last=False)
        return plan(self._store, replace(scan, files=files), predicate)


def empty_relation(name: DatasetName, scan: Scan) -> Relation:
    """The relation's columns and types, without rows; reads nothing."""
    return Relation(name=name, sql=empty_sql(scan.schema))


def file_relation(
    store: LakeStore,
    name: DatasetName,
    scan: Scan,
    files: Sequence[PlannedFile],
    *,
    as_table: bool = False,
    filename_column: str | None = None,
) -> Relation:
    """The rows of these files of the scan.

    DuckDB reads files by field id itself; those without their identity-partition columns come
    through PyIceberg's reader and are copied into the instance, where they spill like any table.
    """
    direct = [file for file in files if is_direct(scan, file)]
    rest = tuple(file for file in files if not is_direct(scan, file))
    return Relation(
        name=name,
        sql=relation_sql(
            [engine_path(store, file.location) for file in direct],
            scan.schema,
            rows=total_rows(direct),
            filename_column=filename_column,
        ),
        sizes={file.location: file.size for file in direct},
        rest=read(store, replace(scan, files=rest)) if rest else None,
        as_table=as_table,
    )


def is_direct(scan: Scan, file: PlannedFile) -> bool:
    """Whether DuckDB may read the file itself."""
    return by_field_id(file.data_file, scan.state.spec_by_id(file.data_file.spec_id))
