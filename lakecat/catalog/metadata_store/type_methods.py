"""The methods of the store for types: put, which lets them only grow, and get."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import PropertyType, TypeKind
from lakecat.catalog.metadata_store import types
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.codec import check_text
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, RESERVED, Kind, NodeType
from lakecat.catalog.metadata_store.session import IDS, Query, Session
from lakecat.catalog.metadata_store.values import ArtifactType, ContextType, ExecutionType
from lakecat.catalog.registry import MLMD_SIMPLE_TYPES
from lakecat.errors import CatalogError, InvalidValueError, NameTakenError, TypeConflictError, UnknownTypeError

_LONGEST: Final = 255
_GATE: Final = Query(lambda _backend: sa.select(s.mlmd_env.c.schema_version).with_for_update())
"""Who makes or extends a type waits here for others that do: no constraint keeps its name from being taken twice."""


class TypeMethods(StoreBase):
    """Put and get types."""

    def put_artifact_type(
        self, artifact_type: ArtifactType, *, can_add_fields: bool = False, can_omit_fields: bool = False
    ) -> int:
        """Insert a type, or find the one with this name and version; its id.

        Where it is there already, the properties must be the same: ``can_add_fields`` lets new ones be added,
        ``can_omit_fields`` lets stored ones be left out (they stay). Raises TypeConflictError, InvalidValueError,
        UnknownTypeError (``base_type``), NameTakenError (``external_id``).
        """
        return self._put_type(ARTIFACT, artifact_type, add=can_add_fields, omit=can_omit_fields)

    def put_execution_type(
        self, execution_type: ExecutionType, *, can_add_fields: bool = False, can_omit_fields: bool = False
    ) -> int:
        """Insert or extend an execution type, as ``put_artifact_type`` does; its id."""
        return self._put_type(EXECUTION, execution_type, add=can_add_fields, omit=can_omit_fields)

    def put_context_type(
        self, context_type: ContextType, *, can_add_fields: bool = False, can_omit_fields: bool = False
    ) -> int:
        """Insert or extend a context type, as ``put_artifact_type`` does; its id."""
        return self._put_type(CONTEXT, context_type, add=can_add_fields, omit=can_omit_fields)

    def get_artifact_type(self, type_name: str, type_version: str | None = None) -> ArtifactType:
        """The type of this name; without a version the one that has none. Raises UnknownTypeError."""
        found: ArtifactType = self._get_type(ARTIFACT, type_name, type_version)
        return found

    def get_execution_type(self, type_name: str, type_version: str | None = None) -> ExecutionType:
        """The type of this name; without a version the one that has none. Raises UnknownTypeError."""
        found: ExecutionType = self._get_type(EXECUTION, type_name, type_version)
        return found

    def get_context_type(self, type_name: str, type_version: str | None = None) -> ContextType:
        """The type of this name; without a version the one that has none. Raises UnknownTypeError."""
        found: ContextType = self._get_type(CONTEXT, type_name, type_version)
        return found

    def get_artifact_types(self) -> list[ArtifactType]:
        """All artifact types but ML Metadata's simple ones, in the order of their ids."""
        return self._get_types(ARTIFACT)

    def get_execution_types(self) -> list[ExecutionType]:
        """All execution types but ML Metadata's simple ones, in the order of their ids."""
        return self._get_types(EXECUTION)

    def get_context_types(self) -> list[ContextType]:
        """All context types, in the order of their ids."""
        return self._get_types(CONTEXT)

    def get_artifact_types_by_id(self, type_ids: Iterable[int]) -> list[ArtifactType]:
        """The artifact types with these ids, in the order of their ids; ids that are not there are left out."""
        return self._get_types_by_id(ARTIFACT, type_ids)

    def get_execution_types_by_id(self, type_ids: Iterable[int]) -> list[ExecutionType]:
        """The execution types with these ids, in the order of their ids; ids that are not there are left out."""
        return self._get_types_by_id(EXECUTION, type_ids)

    def get_context_types_by_id(self, type_ids: Iterable[int]) -> list[ContextType]:
        """The context types with these ids, in the order of their ids; ids that are not there are left out."""
        return self._get_types_by_id(CONTEXT, type_ids)

    def get_artifact_types_by_external_ids(self, external_ids: Iterable[str]) -> list[ArtifactType]:
        """The artifact types with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._get_types_by_external_ids(ARTIFACT, external_ids)

    def get_execution_types_by_external_ids(self, external_ids: Iterable[str]) -> list[ExecutionType]:
        """The execution types with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._get_types_by_external_ids(EXECUTION, external_ids)

    def get_context_types_by_external_ids(self, external_ids: Iterable[str]) -> list[ContextType]:
        """The context types with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._get_types_by_external_ids(CONTEXT, external_ids)

    def _get_type(self, kind: Kind, name: str, version: str | None) -> Any:
        with self._reading() as session:
            found = types.values(session, session.ask(types.BY_NAME, types.Wanted(kind, name, version).parameters))
        if not found:
            raise _unknown(kind, name, version)
        return found[0]

    def _get_types(self, kind: Kind) -> list[Any]:
        with self._reading() as session:
            rows = session.ask(types.OF_KIND, {"kind": int(kind.type_kind)})
            return types.values(session, [row for row in rows if (row[2], kind.type_kind) not in types.SIMPLE_TYPES])

    def _get_types_by_id(self, kind: Kind, type_ids: Iterable[int]) -> list[Any]:
        with self._reading() as session:
            return types.load_types(session.connection, list(type_ids), kind.type_kind)

    def _get_types_by_external_ids(self, kind: Kind, external_ids: Iterable[str]) -> list[Any]:
        wanted = external_ids_of(external_ids)
        if not wanted:
            return []
        with self._reading() as session:
            rows = session.ask(types.BY_EXTERNAL_ID, {IDS: wanted, "kind": int(kind.type_kind)})
            return types.values(session, rows)

    def _put_type(self, kind: Kind, value: NodeType, *, add: bool, omit: bool) -> int:
        check_type(kind, value)
        with self._reading() as session:
            stored = unchanged(session, kind, value, add=add, omit=omit)
        if stored is not None:
            return stored

        def work(session: Session) -> int:
            return write_type(session, kind, value, add=add, omit=omit)

        type_id = self._write(work, lambda _session: taken_external_id(value))
        self._types.clear()
        return type_id


class _Growth:
    """What an update of a type changes."""

    def __init__(self, stored: Any, value: Any) -> None:
        self.properties = {n: p for n, p in value.properties.items() if n not in stored.properties}
        self.base = value.base_type if value.base_type is not None and stored.base_type is None else None
        self.columns: dict[str, Any] = {}
        for name in ("description", "external_id"):
            new = getattr(value, name)
            if new is not None and new != getattr(stored, name):
                self.columns[name] = new
        for name in ("input_type", "output_type"):
            new = getattr(value, name, None)
            if new is not None and new != getattr(stored, name):
                self.columns[name] = json.dumps(new)

    @property
    def any(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.properties or self.base or self.columns)


def _growth(stored: Any, value: Any, *, add: bool, omit: bool) -> _Growth:
    """What changes. Raises TypeConflictError where more than growth is asked."""

    def refuse(what: str, name: str, new: object, hint: str | None = None) -> TypeConflictError:
        return TypeConflictError(f"the type {value.name!r} is there already {what}", field=name, value=new, hint=hint)

    for name, kind in value.properties.items():
        known = stored.properties.get(name)
        if known is not None and known != kind:
            said = f"and its property {name!r} is {known.name}, not {PropertyType(kind).name}"
            raise refuse(said, f"properties.{name}", kind, "a new version of the type may differ")
        if known is None and not add:
            raise refuse(f"without the property {name!r}", f"properties.{name}", kind, "can_add_fields=True adds it")
    for name in stored.properties:
        if name not in value.properties and not omit:
            said = f"with the property {name!r}"
            raise refuse(said, f"properties.{name}", None, "can_omit_fields=True lets it be left out")
    if value.base_type is not None and stored.base_type not in (None, value.base_type):
        raise refuse(f"with the base type {stored.base_type!r}", "base_type", value.base_type, "a base type stays")
    growth = _Growth(stored, value)
    if growth.any and value.name.startswith(RESERVED):
        raise refuse("and belongs to the commit", "name", value.name, "give a type of yours another name")
    return growth


def write_type(session: Session, kind: Kind, value: NodeType, *, add: bool, omit: bool) -> int:
    """Insert or extend a type that was checked, in the session's transaction; its id.

    Raises TypeConflictError, InvalidValueError, UnknownTypeError.
    """
    if session.locks:
        session.ask(_GATE)
    found = _find(session, types.Wanted(kind, value.name, value.version))
    if found is None:
        return _create(session, kind, value)
    _extend(session, kind, found, value, _growth(found, value, add=add, omit=omit))
    return int(found.id)


def unchanged(session: Session, kind: Kind, value: NodeType, *, add: bool, omit: bool) -> int | None:
    """The id of the type where it is there as it is to be put; None where it is to be written.

    Raises TypeConflictError.
    """
    stored = _find(session, types.Wanted(kind, value.name, value.version))
    if stored is None or _growth(stored, value, add=add, omit=omit).any:
        return None
    return int(stored.id)


def taken_external_id(value: NodeType) -> CatalogError:
    """What is wrong where another type stood in the way of this one."""
    return NameTakenError(
        f"another type has the external id {value.external_id!r}", field="external_id", value=value.external_id
    )


def check_type(kind: Kind, value: Any) -> None:
    """Refuse what is no type of this kind, or cannot be kept. Raises InvalidValueError."""
    if not isinstance(value, kind.type_value):
        raise InvalidValueError(
            f"this is no {kind.type_value.__name__} but a {type(value).__name__}", field="type", value=value
        )
    if not value.name:
        raise InvalidValueError("a type needs a name", field="name", value=value.name)
    for name in ("name", "version", "description", "external_id"):
        check_text(name, getattr(value, name))
    for name in ("name", "version", "external_id"):
        check_length(name, getattr(value, name), _LONGEST)
    for name, data_type in value.properties.items():
        check_text("properties", name)
        check_length("properties", name, _LONGEST)
        if data_type not in PropertyType._value2member_map_:
            raise InvalidValueError(
                f"property {name!r} has the type {data_type!r}, which is none",
                field=f"properties.{name}",
                value=data_type,
                hint=f"one of {', '.join(PropertyType.__members__)}",
            )


def check_length(name: str, text: str | None, most: int) -> None:
    """Refuse what is longer than its column. Raises InvalidValueError."""
    if text is not None and len(text) > most:
        raise InvalidValueError(f"{name} has {len(text)} characters, and may have {most}", field=name, value=text)


def external_ids_of(external_ids: Iterable[str]) -> list[str]:
    """The external ids, each once. Raises InvalidValueError for an empty one."""
    wanted = list(dict.fromkeys(external_ids))
    for one in wanted:
        if not one:
            raise InvalidValueError("an external id is empty", field="external_ids", value=one)
        check_text("external_ids", one)
    return wanted


def _find(session: Session, wanted: types.Wanted) -> Any:
    found = types.values(session, session.ask(types.BY_NAME, wanted.parameters))
    return found[0] if found else None


def _create(session: Session, kind: Kind, value: Any) -> int:
    if value.name.startswith(RESERVED):
        raise InvalidValueError(
            f"the type {value.name!r} would belong to the commit",
            field="name",
            value=value.name,
            hint=f"names that begin with {RESERVED!r} are lakecat's own",
        )
    row = {
        "name": value.name, "version": value.version or None, "type_kind": int(kind.type_kind),
        "description": value.description, "external_id": value.external_id,
        "input_type": _text(getattr(value, "input_type", None)),
        "output_type": _text(getattr(value, "output_type", None)),
    }  # fmt: skip
    made: Any = session.connection.execute(sa.insert(s.type_).values(**row)).inserted_primary_key
    type_id = int(made[0])
    _add_properties(session, type_id, value.properties)
    if value.base_type is not None:
        _add_base(session, kind, type_id, value.base_type)
    return type_id


def _extend(session: Session, kind: Kind, stored: Any, value: Any, growth: _Growth) -> None:
    if growth.columns:
        session.connection.execute(sa.update(s.type_).where(s.type_.c.id == stored.id).values(**growth.columns))
    _add_properties(session, stored.id, growth.properties)
    if growth.base is not None:
        _add_base(session, kind, stored.id, value.base_type)


def _add_properties(session: Session, type_id: int, properties: Mapping[str, int]) -> None:
    rows = [{"type_id": type_id, "name": name, "data_type": int(kind)} for name, kind in properties.items()]
    if rows:
        session.connection.execute(sa.insert(s.type_property), rows)


def _add_base(session: Session, kind: Kind, type_id: int, base: str) -> None:
    simple = (base, TypeKind(kind.type_kind)) in types.SIMPLE_TYPES
    found = session.ask(types.BY_NAME, types.Wanted(kind, base).parameters) if simple else []
    if not found:
        names = ", ".join(name for name, of in MLMD_SIMPLE_TYPES if of == kind.type_kind) or "there are none"
        raise UnknownTypeError(
            f"{base!r} is no base type of {kind.name} types", field="base_type", value=base, hint=names
        )
    session.connection.execute(sa.insert(s.parent_type).values(type_id=type_id, parent_type_id=found[0][0]))


def _text(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _unknown(kind: Kind, name: str, version: str | None) -> UnknownTypeError:
    which = f"{name!r}" if not version else f"{name!r}, version {version!r}"
    return UnknownTypeError(f"there is no {kind.name} type {which}", field="type_name", value=name)
