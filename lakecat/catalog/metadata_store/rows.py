"""Nodes as rows of the database: read in bulk, and made into values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from lakecat.catalog.enums import ArtifactState, ExecutionState
from lakecat.catalog.metadata_store import codec
from lakecat.catalog.metadata_store.codec import Encoded
from lakecat.catalog.metadata_store.drafts import draft_of
from lakecat.catalog.metadata_store.kinds import KINDS, Kind
from lakecat.catalog.metadata_store.session import IDS, Query, Rows, Session, one_of
from lakecat.catalog.metadata_store.values import Artifact, Context, Execution, PropertyValue

_Properties: TypeAlias = Mapping[str, PropertyValue]

PROPERTY_COLUMNS: Final = (
    "name",
    "is_custom_property",
    "int_value",
    "double_value",
    "string_value",
    "byte_value",
    "proto_value",
    "bool_value",
)


@dataclass(slots=True, eq=False)
class Row:
    """A node as it is stored, or is to be stored. ``properties``: the columns by name and whether it is custom."""

    id: int
    type_id: int
    name: str | None
    external_id: str | None
    uri: str | None
    state: int | None
    created: int
    updated: int
    properties: dict[tuple[str, bool], Encoded] = field(default_factory=dict)

    def copy(self) -> Row:
        """Another one with the same values."""
        return Row(
            self.id, self.type_id, self.name, self.external_id, self.uri, self.state, self.created, self.updated,
            dict(self.properties),
        )  # fmt: skip

    @property
    def attributes(self) -> tuple[object, ...]:
        """What an update of the node's own row may change."""
        return (self.name, self.external_id, self.uri, self.state)


def _nodes(kind: Kind) -> Query:
    return Query(lambda backend: sa.select(*kind.columns).where(one_of(kind.table.c.id, backend)), by_ids=True)


def _locked(kind: Kind) -> Query:
    # In one order for everybody, so that none waits for another in a circle.
    return Query(
        lambda backend: (
            sa.select(*kind.columns).where(one_of(kind.table.c.id, backend)).order_by(kind.table.c.id).with_for_update()
        ),
        by_ids=True,
    )


def property_columns(kind: Kind) -> tuple[sa.Column[Any], ...]:
    """The node's id and the property's columns."""
    return (kind.properties.c[kind.key], *(kind.properties.c[name] for name in PROPERTY_COLUMNS))


def _properties(kind: Kind) -> Query:
    return Query(
        lambda backend: sa.select(*property_columns(kind)).where(one_of(kind.properties.c[kind.key], backend)),
        by_ids=True,
    )


NODES: Final = {kind.name: _nodes(kind) for kind in KINDS}
LOCKED: Final = {kind.name: _locked(kind) for kind in KINDS}
PROPERTIES: Final = {kind.name: _properties(kind) for kind in KINDS}


def read(session: Session, wanted: Sequence[tuple[Kind, Sequence[int]]], *, lock: bool = False) -> list[dict[int, Row]]:
    """The stored nodes of these kinds with these ids, by id; in one flight where the driver can.

    Locked, the properties are read after the nodes are, so that they are those of the locked state.
    """
    queries = LOCKED if lock and session.locks else NODES
    asked = [(kind, sorted(set(ids))) for kind, ids in wanted]
    nodes = [(queries[kind.name], {IDS: ids}) for kind, ids in asked if ids]
    properties = [(PROPERTIES[kind.name], {IDS: ids}) for kind, ids in asked if ids]
    answers = iter(session.ask_all(nodes + properties))
    found = [{row[0]: Row(*row) for row in next(answers)} if ids else {} for _, ids in asked]
    for (_, ids), rows in zip(asked, found, strict=True):
        if ids:
            _add_properties(rows, next(answers))
    return found


def _add_properties(rows: Mapping[int, Row], properties: Rows) -> None:
    for key, name, custom, integer, double, text, exact, proto, boolean in properties:
        node = rows.get(key)
        if node is not None:
            node.properties[name, bool(custom)] = (
                integer,
                double,
                text,
                exact,
                codec.encoded_proto(proto),
                None if boolean is None else bool(boolean),
            )


def values(kind: Kind, nodes: Rows, properties: Rows, type_names: Mapping[int, str]) -> list[Any]:
    """The nodes in the order of their rows, as values."""
    declared: dict[int, dict[str, PropertyValue]] = {}
    custom: dict[int, dict[str, PropertyValue]] = {}
    for key, name, is_custom, integer, double, text, exact, proto, boolean in properties:
        value: PropertyValue | None
        if text is not None and exact is None and not text.startswith(codec.STRUCT_PREFIX):
            value = text
        elif integer is not None and exact is None and text is None:
            value = integer
        else:
            value = codec.decode((integer, double, text, exact, proto, boolean))
            if value is None:
                continue
        mine = custom if is_custom else declared
        try:
            mine[key][name] = value
        except KeyError:
            mine[key] = {name: value}
    return _MAKERS[kind.name](nodes, type_names, declared, custom)


_ByNode: TypeAlias = Mapping[int, _Properties]


def _artifacts(nodes: Rows, type_names: Mapping[int, str], declared: _ByNode, custom: _ByNode) -> list[Any]:
    made = []
    for key, type_id, name, external_id, uri, state, created, updated in nodes:
        one = _ArtifactDraft()
        one.type_id = type_id
        one.id = key
        one.type = type_names.get(type_id)
        one.name = name
        one.uri = uri
        one.external_id = external_id
        one.properties = declared.get(key) or {}
        one.custom_properties = custom.get(key) or {}
        one.state = _ARTIFACT_STATES.get(state)
        one.create_time_since_epoch = created
        one.last_update_time_since_epoch = updated
        one.__class__ = Artifact
        made.append(one)
    return made


def _executions(nodes: Rows, type_names: Mapping[int, str], declared: _ByNode, custom: _ByNode) -> list[Any]:
    made = []
    for key, type_id, name, external_id, _uri, state, created, updated in nodes:
        one = _ExecutionDraft()
        one.type_id = type_id
        one.id = key
        one.type = type_names.get(type_id)
        one.name = name
        one.external_id = external_id
        one.last_known_state = _EXECUTION_STATES.get(state)
        one.properties = declared.get(key) or {}
        one.custom_properties = custom.get(key) or {}
        one.create_time_since_epoch = created
        one.last_update_time_since_epoch = updated
        one.__class__ = Execution
        made.append(one)
    return made


def _contexts(nodes: Rows, type_names: Mapping[int, str], declared: _ByNode, custom: _ByNode) -> list[Any]:
    made = []
    for key, type_id, name, external_id, _uri, _state, created, updated in nodes:
        one = _ContextDraft()
        one.name = name
        one.type_id = type_id
        one.id = key
        one.type = type_names.get(type_id)
        one.external_id = external_id
        one.properties = declared.get(key) or {}
        one.custom_properties = custom.get(key) or {}
        one.create_time_since_epoch = created
        one.last_update_time_since_epoch = updated
        one.__class__ = Context
        made.append(one)
    return made


_ArtifactDraft: Final = draft_of(Artifact)
_ExecutionDraft: Final = draft_of(Execution)
_ContextDraft: Final = draft_of(Context)
# A lookup is several times as fast as the enum's own call, and there are thousands.
_ARTIFACT_STATES: Final[Mapping[Any, ArtifactState]] = {int(state): state for state in ArtifactState}
_EXECUTION_STATES: Final[Mapping[Any, ExecutionState]] = {int(state): state for state in ExecutionState}
_MAKERS: Final[Mapping[str, Callable[..., list[Any]]]] = {
    "artifact": _artifacts,
    "execution": _executions,
    "context": _contexts,
}


def from_row(kind: Kind, row: Row, type_names: Mapping[int, str]) -> Any:
    """A stored node as a value."""
    nodes = [(row.id, row.type_id, row.name, row.external_id, row.uri, row.state, row.created, row.updated)]
    properties = [(row.id, name, custom, *encoded) for (name, custom), encoded in row.properties.items()]
    return values(kind, nodes, properties, type_names)[0]


def ids_of(values_: Iterable[Any]) -> list[int]:
    """The ids of those values that have one."""
    return [value.id for value in values_ if value.id is not None]
