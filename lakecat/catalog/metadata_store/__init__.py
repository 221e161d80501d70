"""ML Metadata's model behind one class, ``MetadataStore``, with its method names and semantics."""

from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS, ArtifactState, EventType, ExecutionState, PropertyType
from lakecat.catalog.metadata_store.combined import Etags
from lakecat.catalog.metadata_store.paging import Page
from lakecat.catalog.metadata_store.purge import PurgeReport
from lakecat.catalog.metadata_store.store import MetadataStore
from lakecat.catalog.metadata_store.values import (
    Artifact,
    ArtifactType,
    Association,
    Attribution,
    Context,
    ContextType,
    EndingNodes,
    Event,
    Execution,
    ExecutionType,
    LineageDirection,
    LineageSubgraph,
    LineageSubgraphQueryOptions,
    ListOptions,
    OrderByField,
    ParentContext,
    PropertyValue,
    ProtoValue,
    StartingNodes,
)

__all__ = [
    "INPUT_EVENTS",
    "OUTPUT_EVENTS",
    "Artifact",
    "ArtifactState",
    "ArtifactType",
    "Association",
    "Attribution",
    "Context",
    "ContextType",
    "EndingNodes",
    "Etags",
    "Event",
    "EventType",
    "Execution",
    "ExecutionState",
    "ExecutionType",
    "LineageDirection",
    "LineageSubgraph",
    "LineageSubgraphQueryOptions",
    "ListOptions",
    "MetadataStore",
    "OrderByField",
    "Page",
    "ParentContext",
    "PropertyType",
    "PropertyValue",
    "ProtoValue",
    "PurgeReport",
    "StartingNodes",
]
