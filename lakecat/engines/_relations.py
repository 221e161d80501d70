"""From a pinned scan to what one statement's instance holds under its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lakecat.engines._instance import Relation
from lakecat.store import LakeStore
from lakecat.tables import PlannedFile, Scan, read
from lakecat.tables.relation import by_field_id, empty_sql, relation_sql, total_rows
from lakecat.tables.snapshot_files import engine_path
from lakecat.types import DatasetName


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
