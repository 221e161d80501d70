"""ML Metadata's nouns as frozen values: types, artifacts, executions, contexts, events and what joins them.

Names, enum numbers and meanings are those of ``ml-metadata`` 1.17.1's ``metadata_store.proto``. What is not set is
None (protobuf's zero there). Times are milliseconds since the epoch, UTC, given by the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from lakecat.catalog.enums import ArtifactState, EventType, ExecutionState, PropertyType
from lakecat.types import Json


@dataclass(frozen=True, slots=True)
class ProtoValue:
    """A packed protobuf message (``google.protobuf.Any``): its type URL and serialized bytes."""

    type_url: str
    value: bytes


PropertyValue: TypeAlias = int | float | str | bool | Mapping[str, Json] | ProtoValue
"""A property's value: ``bool`` is BOOLEAN, a mapping is STRUCT (its numbers are doubles, as in protobuf)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactType:
    """What artifacts of this type may hold. ``base_type`` is the name of a simple type, such as ``mlmd.Dataset``."""

    name: str
    id: int | None = None
    version: str | None = None
    description: str | None = None
    external_id: str | None = None
    properties: Mapping[str, PropertyType] = field(default_factory=dict)
    base_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionType:
    """What executions of this type may hold. ``input_type``, ``output_type``: MLMD's ArtifactStructType as JSON."""

    name: str
    id: int | None = None
    version: str | None = None
    description: str | None = None
    external_id: str | None = None
    properties: Mapping[str, PropertyType] = field(default_factory=dict)
    base_type: str | None = None
    input_type: Mapping[str, Json] | None = None
    output_type: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextType:
    """What contexts of this type may hold."""

    name: str
    id: int | None = None
    version: str | None = None
    description: str | None = None
    external_id: str | None = None
    properties: Mapping[str, PropertyType] = field(default_factory=dict)
    base_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A piece of data. ``type`` (the type's name) is filled by the store; ``name`` is unique within the type."""

    type_id: int | None = None
    id: int | None = None
    type: str | None = None
    name: str | None = None
    uri: str | None = None
    external_id: str | None = None
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    custom_properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    state: ArtifactState | None = None
    create_time_since_epoch: int | None = None
    last_update_time_since_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One run of something. ``type`` (the type's name) is filled by the store; ``name`` is unique within the type."""

    type_id: int | None = None
    id: int | None = None
    type: str | None = None
    name: str | None = None
    external_id: str | None = None
    last_known_state: ExecutionState | None = None
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    custom_properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    create_time_since_epoch: int | None = None
    last_update_time_since_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A group of artifacts and executions; ``name`` must be set and is unique within the type."""

    name: str
    type_id: int | None = None
    id: int | None = None
    type: str | None = None
    external_id: str | None = None
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    custom_properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    create_time_since_epoch: int | None = None
    last_update_time_since_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An execution read or wrote an artifact. ``path``: its steps, an index (int) or a key (str) each."""

    type: EventType
    artifact_id: int | None = None
    execution_id: int | None = None
    path: tuple[int | str, ...] = ()
    milliseconds_since_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """An artifact belongs to a context."""

    artifact_id: int
    context_id: int


@dataclass(frozen=True, slots=True)
class Association:
    """An execution belongs to a context."""

    execution_id: int
    context_id: int


@dataclass(frozen=True, slots=True)
class ParentContext:
    """A context lies within another."""

    child_id: int
    parent_id: int


class OrderByField(IntEnum):
    """``ListOperationOptions.OrderByField.Field``."""

    CREATE_TIME = 1
    UPDATE_TIME = 2
    ID = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """Which nodes a listing returns, and in which order. Without ``limit`` all; ties are broken by id."""

    limit: int | None = None
    order_by: OrderByField | None = None
    is_asc: bool = True
    filter_query: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageSubgraph:
    """A part of the lineage, with everything that is in it; MLMD's LineageGraph.

    ``truncated`` says which limits cut it (``max_num_hops``, ``max_nodes``, ``ending_nodes``); empty when it is whole.
    """

    artifacts: tuple[Artifact, ...] = ()
    executions: tuple[Execution, ...] = ()
    contexts: tuple[Context, ...] = ()
    artifact_types: tuple[ArtifactType, ...] = ()
    execution_types: tuple[ExecutionType, ...] = ()
    context_types: tuple[ContextType, ...] = ()
    events: tuple[Event, ...] = ()
    attributions: tuple[Attribution, ...] = ()
    associations: tuple[Association, ...] = ()
    truncated: frozenset[str] = frozenset()


class LineageDirection(IntEnum):
    """``LineageSubgraphQueryOptions.Direction``; what is not specified goes both ways."""

    DIRECTION_UNSPECIFIED = 0
    UPSTREAM = 1
    DOWNSTREAM = 2
    BIDIRECTIONAL = 3


@dataclass(frozen=True, slots=True)
class StartingNodes:
    """Where a lineage subgraph begins: the nodes that fit a filter."""

    filter_query: str


@dataclass(frozen=True, slots=True)
class EndingNodes:
    """Where a lineage subgraph goes no further: the nodes that fit a filter; they are left out unless included."""

    filter_query: str
    include_ending_nodes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageSubgraphQueryOptions:
    """What ``get_lineage_subgraph`` is asked for. A hop goes from an artifact to an execution, or back."""

    starting_artifacts: StartingNodes | None = None
    starting_executions: StartingNodes | None = None
    max_num_hops: int | None = None
    direction: LineageDirection = LineageDirection.BIDIRECTIONAL
    ending_artifacts: EndingNodes | None = None
    ending_executions: EndingNodes | None = None
