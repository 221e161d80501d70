"""The catalog: ML Metadata's model in an SQL database, table pointers, leases, positions, lineage.

Importing this package never imports PyIceberg; ``lakecat.catalog.commit`` does. ``MetadataStore`` is imported when it
is asked for.
"""

from typing import TYPE_CHECKING

from lakecat.catalog.catalog import DEFAULT_TTL, Catalog
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

if TYPE_CHECKING:
    from lakecat.catalog.metadata_store import MetadataStore

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


def __getattr__(name: str) -> object:
    if name == "MetadataStore":
        from lakecat.catalog.metadata_store import MetadataStore

        return MetadataStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
