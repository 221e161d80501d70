"""Apache Iceberg tables, version 2: schemas, partitions, scans, and commits staged for the catalog to publish."""

from lakecat.tables.audit import audit_files
from lakecat.tables.changes import ALL, PARTITIONS, Operation, Removal, StagedTable, TableChange, Totals
from lakecat.tables.evolution import (
    AddColumn,
    ColumnChange,
    DropColumn,
    MoveColumn,
    RenameColumn,
    SchemaChange,
    WidenColumn,
    alter,
    evolve,
    new_table,
)
from lakecat.tables.garbage import Reach, named, reachable, unreferenced
from lakecat.tables.layout import (
    METADATA_SUFFIX,
    RECEIPT_SUFFIX,
    SIDECAR_SUFFIX,
    data_prefix,
    is_written_by_execution,
    metadata_prefix,
    receipt_location,
    sidecar_location,
    table_location,
)
from lakecat.tables.partitions import parse_partition
from lakecat.tables.reading import read
from lakecat.tables.refs import StagedMetadata, stage_tag, table_tags
from lakecat.tables.rewrite import Rewrite, delete_keys, merge_upsert
from lakecat.tables.scan import PlannedFile, Scan, appended_since, plan
from lakecat.tables.schemas import arrow_to_iceberg, iceberg_to_arrow
from lakecat.tables.staging import stage
from lakecat.tables.state import TableState, load_state
from lakecat.tables.write import WrittenFiles, write_files

__all__ = [
    "ALL",
    "METADATA_SUFFIX",
    "PARTITIONS",
    "RECEIPT_SUFFIX",
    "SIDECAR_SUFFIX",
    "AddColumn",
    "ColumnChange",
    "DropColumn",
    "MoveColumn",
    "Operation",
    "PlannedFile",
    "Reach",
    "Removal",
    "RenameColumn",
    "Rewrite",
    "Scan",
    "SchemaChange",
    "StagedMetadata",
    "StagedTable",
    "TableChange",
    "TableState",
    "Totals",
    "WidenColumn",
    "WrittenFiles",
    "alter",
    "appended_since",
    "arrow_to_iceberg",
    "audit_files",
    "data_prefix",
    "delete_keys",
    "evolve",
    "iceberg_to_arrow",
    "is_written_by_execution",
    "load_state",
    "merge_upsert",
    "metadata_prefix",
    "named",
    "new_table",
    "parse_partition",
    "plan",
    "reachable",
    "read",
    "receipt_location",
    "sidecar_location",
    "stage",
    "stage_tag",
    "table_location",
    "table_tags",
    "unreferenced",
    "write_files",
]
