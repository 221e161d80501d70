"""ML Metadata's enumerations; numbers of ``ml-metadata`` 1.17.1's ``metadata_store.proto`` and its schema 10."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class TypeKind(IntEnum):
    """``Type.type_kind``."""

    EXECUTION = 0
    ARTIFACT = 1
    CONTEXT = 2


class PropertyType(IntEnum):
    """``TypeProperty.data_type``."""

    INT = 1
    DOUBLE = 2
    STRING = 3
    STRUCT = 4
    PROTO = 5
    BOOLEAN = 6


class ArtifactState(IntEnum):
    """``Artifact.State``."""

    UNKNOWN = 0
    PENDING = 1
    LIVE = 2
    MARKED_FOR_DELETION = 3
    DELETED = 4
    ABANDONED = 5
    REFERENCE = 6


class ExecutionState(IntEnum):
    """``Execution.State``."""

    UNKNOWN = 0
    NEW = 1
    RUNNING = 2
    COMPLETE = 3
    FAILED = 4
    CACHED = 5
    CANCELED = 6


class EventType(IntEnum):
    """``Event.Type``."""

    UNKNOWN = 0
    DECLARED_OUTPUT = 1
    DECLARED_INPUT = 2
    INPUT = 3
    OUTPUT = 4
    INTERNAL_INPUT = 5
    INTERNAL_OUTPUT = 6
    PENDING_OUTPUT = 7


INPUT_EVENTS: Final = frozenset((EventType.DECLARED_INPUT, EventType.INPUT, EventType.INTERNAL_INPUT))
"""The event types by which an execution reads an artifact; lineage goes up through them."""
OUTPUT_EVENTS: Final = frozenset(
    (EventType.DECLARED_OUTPUT, EventType.OUTPUT, EventType.INTERNAL_OUTPUT, EventType.PENDING_OUTPUT)
)
"""The event types by which an execution writes an artifact."""
