"""The catalog: ML Metadata's model in an SQL database, table pointers, leases, positions, lineage.

Importing this package never imports PyIceberg; ``lakecat.catalog.commit`` does.
"""

from lakecat.catalog.catalog import DEFAULT_TTL, Catalog
from lakecat.catalog.metadata_store import MetadataStore
from lakecat.catalog.values import (
    ColumnInfo,
    ColumnPath,
    ColumnRef,
    CommitResult,
    CompletedExecution,
    DatasetInfo,
    ExecutionDetail,
    ExecutionInfo,
    ExecutionStart,
    Holder,
    Lease,
    LineageEdge,
    LineageGraph,
    LineageNode,
    Problem,
    RunningExecution,
    Script,
)

__all__ = [
    "DEFAULT_TTL",
    "Catalog",
    "ColumnInfo",
    "ColumnPath",
    "ColumnRef",
    "CommitResult",
    "CompletedExecution",
    "DatasetInfo",
    "ExecutionDetail",
    "ExecutionInfo",
    "ExecutionStart",
    "Holder",
    "Lease",
    "LineageEdge",
    "LineageGraph",
    "LineageNode",
    "MetadataStore",
    "Problem",
    "RunningExecution",
    "Script",
]
