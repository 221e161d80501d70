"""The three kinds of node, with their tables: what differs between artifacts, executions and contexts is told here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import ArtifactState, ExecutionState, TypeKind
from lakecat.catalog.metadata_store.values import Artifact, ArtifactType, Context, ContextType, Execution, ExecutionType

Node: TypeAlias = Artifact | Execution | Context
NodeType: TypeAlias = ArtifactType | ExecutionType | ContextType


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Artifacts, executions or contexts: their tables, values and names.

    ``key`` is the column of the property table that refers to the node; ``state_column`` is None for contexts.
    """

    name: Literal["artifact", "execution", "context"]
    type_kind: TypeKind
    table: sa.Table
    properties: sa.Table
    key: str
    value: type[Node]
    type_value: type[NodeType]
    state_column: str | None = None
    state_type: type[ArtifactState | ExecutionState] | None = None
    may_rename: bool = False

    @property
    def has_uri(self) -> bool:
        """Whether its nodes lie somewhere."""
        return self.name == "artifact"

    @property
    def columns(self) -> tuple[sa.Column[Any], ...]:
        """The node table's columns in the order that ``rows.Row`` has them."""
        c = self.table.c
        state = sa.null() if self.state_column is None else c[self.state_column]
        uri = c.uri if self.has_uri else sa.null()
        return (  # type: ignore[return-value]
            c.id, c.type_id, c.name, c.external_id, uri, state, c.create_time_since_epoch,
            c.last_update_time_since_epoch,
        )  # fmt: skip


ARTIFACT: Final = Kind(
    name="artifact",
    type_kind=TypeKind.ARTIFACT,
    table=s.artifact,
    properties=s.artifact_property,
    key="artifact_id",
    value=Artifact,
    type_value=ArtifactType,
    state_column="state",
    state_type=ArtifactState,
)
EXECUTION: Final = Kind(
    name="execution",
    type_kind=TypeKind.EXECUTION,
    table=s.execution,
    properties=s.execution_property,
    key="execution_id",
    value=Execution,
    type_value=ExecutionType,
    state_column="last_known_state",
    state_type=ExecutionState,
)
CONTEXT: Final = Kind(
    name="context",
    type_kind=TypeKind.CONTEXT,
    table=s.context,
    properties=s.context_property,
    key="context_id",
    value=Context,
    type_value=ContextType,
    may_rename=True,
)
KINDS: Final = (ARTIFACT, EXECUTION, CONTEXT)
BY_TYPE_KIND: Final = {kind.type_kind: kind for kind in KINDS}
RESERVED: Final = "lakecat."
"""Types whose names begin so belong to the commit: their nodes are made and changed by nobody else."""
