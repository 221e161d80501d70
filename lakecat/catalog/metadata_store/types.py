"""Types of nodes: put them, get them, and know them without asking each time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.driver_errors import sqlalchemy_errors
from lakecat.catalog.enums import PropertyType, TypeKind
from lakecat.catalog.metadata_store.kinds import BY_TYPE_KIND, Kind, NodeType
from lakecat.catalog.metadata_store.session import IDS, Query, Rows, Session, one_of
from lakecat.catalog.metadata_store.values import ExecutionType
from lakecat.catalog.registry import MLMD_SIMPLE_TYPES
from lakecat.errors import UnknownTypeError

_COLUMNS: Final = (
    s.type_.c.id,
    s.type_.c.type_kind,
    s.type_.c.name,
    s.type_.c.version,
    s.type_.c.description,
    s.type_.c.input_type,
    s.type_.c.output_type,
    s.type_.c.external_id,
)
SIMPLE_TYPES: Final = frozenset(MLMD_SIMPLE_TYPES)
BY_ID: Final = Query(lambda backend: sa.select(*_COLUMNS).where(one_of(s.type_.c.id, backend)), by_ids=True)
OF_KIND: Final = Query(
    lambda _backend: sa.select(*_COLUMNS).where(s.type_.c.type_kind == sa.bindparam("kind")).order_by(s.type_.c.id)
)
BY_EXTERNAL_ID: Final = Query(
    lambda backend: (
        sa.select(*_COLUMNS)
        .where(one_of(s.type_.c.external_id, backend), s.type_.c.type_kind == sa.bindparam("kind"))
        .order_by(s.type_.c.id)
    ),
    by_ids=True,
)


def named() -> tuple[sa.ColumnElement[bool], ...]:
    """Whether a type is that of the parameters of a ``Wanted``."""
    return (
        s.type_.c.name == sa.bindparam("name"),
        s.type_.c.type_kind == sa.bindparam("kind"),
        sa.func.coalesce(s.type_.c.version, sa.literal_column("''")) == sa.bindparam("version"),
    )


BY_NAME: Final = Query(lambda _backend: sa.select(*_COLUMNS).where(*named()).order_by(s.type_.c.id).limit(1))
_PROPERTIES: Final = Query(
    lambda backend: (
        sa.select(s.type_property.c.type_id, s.type_property.c.name, s.type_property.c.data_type)
        .where(one_of(s.type_property.c.type_id, backend))
        .order_by(s.type_property.c.type_id, s.type_property.c.name)
    ),
    by_ids=True,
)
_PARENT: Final = s.type_.alias("parent")
_PARENTS: Final = Query(
    lambda backend: (
        sa.select(s.parent_type.c.type_id, _PARENT.c.name)
        .join(_PARENT, _PARENT.c.id == s.parent_type.c.parent_type_id)
        .where(one_of(s.parent_type.c.type_id, backend))
        .order_by(_PARENT.c.id)
    ),
    by_ids=True,
)


_KEYS: Final = Query(lambda _backend: sa.text("PRAGMA foreign_key_list(Artifact)"))
"""SQLite's foreign keys of artifacts; the fourth column is the one that refers."""


@dataclass(frozen=True, slots=True)
class Known:
    """What putting a node needs to know of its type; of what is here only the properties ever grow."""

    id: int
    kind: TypeKind
    name: str
    version: str | None
    properties: Mapping[str, int]


class TypeCache:
    """Types by id, read when they are first asked for. Types only grow, so that what is known stays true.

    A type may be removed, though. Where the database keeps a type while nodes have it, putting one of a removed type
    fails there; SQLite files of ML Metadata's own have no such keys, and are asked in each transaction.
    """

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}
        self._lock = Lock()
        self._keyed: bool | None = None

    def clear(self) -> None:
        """Forget everything: something that was thought to be there is not."""
        with self._lock:
            self._known.clear()

    def get(self, session: Session, ids: Iterable[int], *, fresh: bool = False) -> Mapping[int, Known]:
        """The types with these ids, as far as there are such; ``fresh`` asks the database again."""
        known = self._known
        missing = [key for key in set(ids) if fresh or key not in known]
        return self._read(session, missing) if missing else known

    def need(self, session: Session, kind: Kind, type_id: int, *, fresh: bool = False) -> Known:
        """The type with this id, of this kind of node. Raises UnknownTypeError."""
        seen = session.types_seen
        if type_id not in seen:
            seen.add(type_id)
            fresh = fresh or not self._is_keyed(session)
        found = None if fresh else self._known.get(type_id)
        if found is None:
            found = self.get(session, (type_id,), fresh=fresh).get(type_id)
        if found is None or found.kind != kind.type_kind:
            raise UnknownTypeError(
                f"there is no {kind.name} type with id {type_id}",
                field="type_id",
                value=type_id,
                hint=f"put_{kind.name}_type gives a type's id",
            )
        return found

    def names(self, session: Session, nodes: Rows) -> Mapping[int, str]:
        """The names of the types of these nodes, by the types' ids."""
        ids = {row[1] for row in nodes}
        known = self.get(session, ids)
        return {key: known[key].name for key in ids if key in known}

    def _read(self, session: Session, ids: Sequence[int]) -> Mapping[int, Known]:
        found = _read_known(session, sorted(ids))
        with self._lock:
            kept = {key: one for key, one in self._known.items() if key not in ids}
            self._known = {**kept, **found}
            return self._known

    def _is_keyed(self, session: Session) -> bool:
        """Whether the database itself keeps a type that nodes have."""
        if self._keyed is None:
            self._keyed = session.backend != "sqlite" or any(row[3] == "type_id" for row in session.ask(_KEYS))
        return self._keyed


def _read_known(session: Session, ids: Sequence[int]) -> dict[int, Known]:
    rows, properties = session.ask_all([(BY_ID, {IDS: ids}), (_PROPERTIES, {IDS: ids})])
    declared: dict[int, dict[str, int]] = {row[0]: {} for row in rows}
    for type_id, name, data_type in properties:
        declared.get(type_id, {})[name] = data_type
    return {row[0]: Known(row[0], TypeKind(row[1]), row[2], row[3] or None, declared[row[0]]) for row in rows}


def load_types(connection: sa.Connection, ids: Sequence[int] | None, type_kind: TypeKind) -> list[Any]:
    """The types of a kind with these ids, or all of them, in the order of their ids."""
    with sqlalchemy_errors(connection):
        session = Session(connection)
        if ids is None:
            return values(session, session.ask(OF_KIND, {"kind": int(type_kind)}))
        rows = session.ask(BY_ID, {IDS: sorted(set(ids))}) if ids else []
        return values(session, sorted(row for row in rows if row[1] == type_kind))


def values(session: Session, rows: Rows) -> list[Any]:
    """Types as values, in the order of their rows."""
    if not rows:
        return []
    ids = [row[0] for row in rows]
    properties, parents = session.ask_all([(_PROPERTIES, {IDS: ids}), (_PARENTS, {IDS: ids})])
    declared: dict[int, dict[str, PropertyType]] = {}
    for type_id, name, data_type in properties:
        declared.setdefault(type_id, {})[name] = PropertyType(data_type)
    bases: dict[int, str] = {}
    for type_id, name in parents:
        bases.setdefault(type_id, name)
    return [_value(row, declared.get(row[0], {}), bases.get(row[0])) for row in rows]


def _value(row: tuple[Any, ...], properties: Mapping[str, PropertyType], base: str | None) -> NodeType:
    key, kind, name, version, description, input_type, output_type, external_id = row
    value = BY_TYPE_KIND[TypeKind(kind)].type_value(
        name=name,
        id=key,
        version=version or None,
        description=description,
        external_id=external_id,
        properties=properties,
        base_type=base,
    )
    if isinstance(value, ExecutionType) and (input_type or output_type):
        return replace(value, input_type=_json(input_type), output_type=_json(output_type))
    return value


def _json(text: str | None) -> Any:
    return json.loads(text) if text else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A type by its name."""

    kind: Kind
    name: str
    version: str | None = None
    parameters: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        parameters = {"name": self.name, "kind": int(self.kind.type_kind), "version": self.version or ""}
        object.__setattr__(self, "parameters", parameters)
