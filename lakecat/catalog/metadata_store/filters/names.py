"""What a filter may name: attributes, properties, and what is linked to a node; with the tables behind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import ArtifactState, EventType, ExecutionState, TypeKind

ValueType: TypeAlias = Literal["int", "double", "string", "bool", "enum", "number", "any"]
"""``enum``: an integer with names. ``any``: a property of whichever type; ``number``: its numbers only."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column that a filter may name."""

    kind: ValueType
    names: type[IntEnum] | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Link:
    """How rows named ``prefix_N`` hang on a node: over ``link`` (owner, other), or as rows of ``link`` itself."""

    prefix: str
    link: sa.Table
    owner: str
    other: str | None
    target: str


@dataclass(frozen=True, slots=True)
class Node:
    """What a filter sees of one kind of rows."""

    name: str
    table: sa.Table
    attributes: Mapping[str, Attribute]
    type_kind: TypeKind | None = None
    properties: sa.Table | None = None
    property_key: str = ""
    links: Mapping[str, Link] = field(default_factory=dict)


_INT: Final = Attribute("int")
_ID: Final = Attribute("int", nullable=False)
_TEXT: Final = Attribute("string")
_COMMON: Final = {
    "id": _ID,
    "type_id": _ID,
    "type": Attribute("string", nullable=False),
    "name": _TEXT,
    "external_id": _TEXT,
    "create_time_since_epoch": _ID,
    "last_update_time_since_epoch": _ID,
}
_EVENTS: Final = {
    "type": Attribute("enum", EventType, nullable=False),
    "artifact_id": _ID,
    "execution_id": _ID,
    "milliseconds_since_epoch": _INT,
}
NODES: Final[Mapping[str, Node]] = {
    "artifact": Node(
        "artifact",
        s.artifact,
        {**_COMMON, "uri": _TEXT, "state": Attribute("enum", ArtifactState)},
        TypeKind.ARTIFACT,
        s.artifact_property,
        "artifact_id",
        {
            "contexts": Link("contexts", s.attribution, "artifact_id", "context_id", "context"),
            "events": Link("events", s.event, "artifact_id", None, "event"),
        },
    ),
    "execution": Node(
        "execution",
        s.execution,
        {**_COMMON, "last_known_state": Attribute("enum", ExecutionState)},
        TypeKind.EXECUTION,
        s.execution_property,
        "execution_id",
        {
            "contexts": Link("contexts", s.association, "execution_id", "context_id", "context"),
            "events": Link("events", s.event, "execution_id", None, "event"),
        },
    ),
    "context": Node(
        "context",
        s.context,
        _COMMON,
        TypeKind.CONTEXT,
        s.context_property,
        "context_id",
        {
            "artifacts": Link("artifacts", s.attribution, "context_id", "artifact_id", "artifact"),
            "executions": Link("executions", s.association, "context_id", "execution_id", "execution"),
            "parent_contexts": Link("parent_contexts", s.parent_context, "context_id", "parent_context_id", "context"),
            "child_contexts": Link("child_contexts", s.parent_context, "parent_context_id", "context_id", "context"),
        },
    ),
    "event": Node("event", s.event, _EVENTS),
}
VALUE_FIELDS: Final[Mapping[str, ValueType]] = {
    "int_value": "int",
    "double_value": "double",
    "string_value": "string",
    "bool_value": "bool",
}
