"""Nodes to be put in one transaction: what they become is worked out here, from what is stored and what is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store import codec, rows
from lakecat.catalog.metadata_store.codec import Encoded, check_text
from lakecat.catalog.metadata_store.kinds import RESERVED, Kind
from lakecat.catalog.metadata_store.rows import Row
from lakecat.catalog.metadata_store.session import Session
from lakecat.catalog.metadata_store.types import Known, TypeCache
from lakecat.catalog.metadata_store.values import PropertyValue
from lakecat.errors import (
    InvalidValueError,
    NameTakenError,
    PropertyTypeError,
    StaleEtagError,
    UnknownNodeError,
)

LONGEST_NAME: Final = 512
_LONGEST_PROPERTY: Final = 255
_PROPERTIES: Final = "properties"
_CUSTOM: Final = "custom_properties"


@dataclass(frozen=True, slots=True)
class Mask:
    """Which fields of a node an update changes; paths that name none are passed over, as ML Metadata does."""

    fields: frozenset[str]
    names: frozenset[tuple[str, bool]]
    """Single properties, by name and whether they are custom."""

    @classmethod
    def of(cls, paths: Iterable[str]) -> Mask | None:
        """The mask of ``field_mask_paths``; None, which changes everything, where there are none."""
        paths = list(paths)
        if not paths:
            return None
        names = set()
        for path in paths:
            owner, dot, name = path.partition(".")
            if dot and "." not in name and owner in (_PROPERTIES, _CUSTOM):
                names.add((name, owner == _CUSTOM))
        return cls(frozenset(path for path in paths if "." not in path), frozenset(names))

    def has(self, name: str, *, custom: bool) -> bool:
        """Whether it names this property, alone or with all others."""
        return (_CUSTOM if custom else _PROPERTIES) in self.fields or (name, custom) in self.names


@dataclass(slots=True)
class Batch:
    """Nodes of one kind: ``slots`` has for each value given the row that it became."""

    kind: Kind
    session: Session
    types: TypeCache
    now: int
    mask: Mask | None = None
    stored: Mapping[int, Row] = field(default_factory=dict)
    current: dict[int, Row] = field(default_factory=dict)
    fresh: list[Row] = field(default_factory=list)
    slots: list[Row] = field(default_factory=list)
    _names: dict[tuple[int, str], Row] = field(default_factory=dict)
    _external: dict[str, Row] = field(default_factory=dict)

    def put(self, value: Any) -> Row:
        """Take a value: with an id it changes that node, without it becomes a new one. Raises MetadataError."""
        if not isinstance(value, self.kind.value):
            raise InvalidValueError(
                f"this is no {self.kind.value.__name__} but a {type(value).__name__}", field="type", value=value
            )
        row = self._create(value) if value.id is None else self._update(self._find(value.id), value)
        self.slots.append(row)
        return row

    def put_on(self, row: Row, value: Any) -> Row:
        """Take a value that changes this row, whatever its id is."""
        self.slots.append(self._update(row, value))
        return row

    def known(self, name: tuple[int, str] | None, external_id: str | None) -> Row | None:
        """A node of this batch that is new, by type and name or by external id."""
        if external_id:
            return self._external.get(external_id)
        return None if name is None else self._names.get(name)

    def changed(self) -> list[Row]:
        """The stored nodes that are other than they were."""
        if not self.current:
            return []
        return [row for key, row in self.current.items() if differs(self.stored[key], row)]

    def _find(self, key: int) -> Row:
        row = self.current.get(key)
        if row is None:
            stored = self.stored.get(key)
            if stored is None:
                raise UnknownNodeError(f"there is no {self.kind.name} with id {key}", field="id", value=key)
            row = self.current[key] = stored.copy()
        return row

    def _create(self, value: Any) -> Row:
        if value.type_id is None:
            raise InvalidValueError(
                f"a new {self.kind.name} needs a type_id", field="type_id", value=None, hint="put its type first"
            )
        known = self.types.need(self.session, self.kind, value.type_id)
        if known.name.startswith(RESERVED):
            raise _reserved(self.kind, known, "type_id", value.type_id)
        self._check_attributes(value)
        row = Row(0, value.type_id, value.name, value.external_id, None, None, self.now, self.now)
        self._set_attributes(row, value)
        row.properties = self._encode(known, value)
        self._claim(row)
        self.fresh.append(row)
        return row

    def _claim(self, row: Row) -> None:
        if row.name is not None:
            key = (row.type_id, row.name)
            if key in self._names:
                raise self._twice("name", row.name)
            self._names[key] = row
        if row.external_id is not None:
            if row.external_id in self._external:
                raise self._twice("external_id", row.external_id)
            self._external[row.external_id] = row

    def _twice(self, name: str, value: str) -> NameTakenError:
        return NameTakenError(
            f"two new {self.kind.name}s have the {name.replace('_', ' ')} {value!r}", field=name, value=value
        )

    def _update(self, row: Row, value: Any) -> Row:
        if value.type_id is not None and value.type_id != row.type_id:
            raise InvalidValueError(
                f"{self.kind.name} {row.id} has the type {row.type_id}, which stays",
                field="type_id",
                value=value.type_id,
            )
        self._check_attributes(value)
        known = self.types.need(self.session, self.kind, row.type_id)
        self._set_attributes(row, value)
        given = self._encode(known, value)
        if self.mask is None:
            row.properties = given
        else:
            kept = {key: v for key, v in row.properties.items() if not self.mask.has(key[0], custom=key[1])}
            row.properties = kept | given
        if known.name.startswith(RESERVED):
            self._check_reserved(known, row)
        return row

    def _check_reserved(self, known: Known, row: Row) -> None:
        """Nodes of the commit get custom properties, and nothing else."""
        before = self.stored[row.id]
        if row.attributes != before.attributes:
            raise _reserved(self.kind, known, "id", row.id)
        for key, value in before.properties.items():
            name, custom = key
            new = row.properties.get(key)
            if new is None or (not custom and not codec.same(value, new)):
                raise _reserved(self.kind, known, f"{_CUSTOM if custom else _PROPERTIES}.{name}", codec.decode(value))
        for name, custom in row.properties.keys() - before.properties.keys():
            if not custom:
                raise _reserved(self.kind, known, f"{_PROPERTIES}.{name}", codec.decode(row.properties[name, custom]))

    def _check_attributes(self, value: Any) -> None:
        if self.kind.may_rename and not value.name:
            raise InvalidValueError("a context needs a name", field="name", value=value.name)
        if value.name is not None:
            _check_name("name", value.name)
        if value.external_id is not None:
            _check_name("external_id", value.external_id)
        if self.kind.has_uri:
            check_text("uri", value.uri)

    def _set_attributes(self, row: Row, value: Any) -> None:
        mask, kind = self.mask if row.id else None, self.kind
        if kind.may_rename and (mask is None or "name" in mask.fields):
            row.name = value.name
        if mask is None or "external_id" in mask.fields:
            row.external_id = value.external_id
        if kind.has_uri and (mask is None or "uri" in mask.fields):
            row.uri = value.uri
        if kind.state_column is not None and (mask is None or kind.state_column in mask.fields):
            row.state = self._state(getattr(value, kind.state_column))

    def _state(self, state: Any) -> int | None:
        if state is None or self.kind.state_type is None:
            return None
        try:
            return int(self.kind.state_type(state))
        except ValueError as err:
            names = ", ".join(self.kind.state_type.__members__)
            raise InvalidValueError(
                f"{state!r} is no state of an {self.kind.name}",
                field=str(self.kind.state_column),
                value=state,
                hint=f"one of {names}",
            ) from err

    def _encode(self, known: Known, value: Any) -> dict[tuple[str, bool], Encoded]:
        """The properties given, checked; with a mask only those that it names."""
        found: dict[tuple[str, bool], Encoded] = {}
        if not (value.properties or value.custom_properties):
            return found
        mask = self.mask if value.id is not None else None
        declared = known.properties
        for name, one in value.properties.items():
            if mask is not None and not mask.has(name, custom=False):
                continue
            kind = declared.get(name)
            if kind is None:
                declared = self.types.need(self.session, self.kind, known.id, fresh=True).properties
                kind = declared.get(name)
            if kind is None or codec.kind_of(one) != kind:
                raise _unfit(known, name, one, kind)
            found[name, False] = codec.encode(name, one)
        for name, one in value.custom_properties.items():
            if mask is not None and not mask.has(name, custom=True):
                continue
            _check_property_name(name)
            found[name, True] = codec.encode(name, one)
        return found


def differs(before: Row, after: Row) -> bool:
    """Whether anything is other than it was."""
    if before.attributes != after.attributes or before.properties.keys() != after.properties.keys():
        return True
    old = before.properties
    return any(not codec.same(old[key], value) for key, value in after.properties.items())


def check_etags(
    kind: Kind, stored: Mapping[int, Row], expected: Mapping[int, str] | None, names: Mapping[int, str]
) -> None:
    """Compare the stored nodes with what the caller read. Raises StaleEtagError, UnknownNodeError."""
    for key, etag in (expected or {}).items():
        row = stored.get(key)
        if row is None:
            raise UnknownNodeError(f"there is no {kind.name} with id {key}", field="if_match", value=key)
        if etag_of(rows.from_row(kind, row, names)) != etag:
            raise StaleEtagError(
                f"{kind.name} {key} was changed by somebody else since it was read",
                field="if_match",
                value=etag,
                hint="read it again, and put it with the etag of what was read",
            )


def etag_of(node: Any) -> str:
    """A hash of what a node says of itself: type, name, external id, uri, state and properties; not its times."""
    encoded = []
    for custom, properties in ((False, node.properties), (True, node.custom_properties)):
        encoded += [(name, custom, codec.encode(name, value)) for name, value in sorted(properties.items())]
    state = getattr(node, "state", None) if hasattr(node, "state") else getattr(node, "last_known_state", None)
    return codec.digest(
        type(node).__name__,
        node.type_id,
        node.name,
        node.external_id,
        getattr(node, "uri", None),
        None if state is None else int(state),
        encoded,
    )


def _check_name(field: str, text: str) -> None:
    check_text(field, text)
    if len(text) > LONGEST_NAME:
        raise InvalidValueError(
            f"{field} has {len(text)} characters, and may have {LONGEST_NAME}", field=field, value=text
        )


def _check_property_name(name: str) -> None:
    check_text(_CUSTOM, name)
    if len(name) > _LONGEST_PROPERTY:
        raise InvalidValueError(
            f"a property's name has {len(name)} characters, and may have {_LONGEST_PROPERTY}",
            field=_CUSTOM,
            value=name,
        )


def _unfit(known: Known, name: str, value: PropertyValue, kind: int | None) -> PropertyTypeError:
    if kind is None:
        names: Sequence[str] = sorted(known.properties)
        return PropertyTypeError(
            f"the type {known.name!r} has no property {name!r}",
            field=f"{_PROPERTIES}.{name}",
            value=value,
            hint=f"it has {', '.join(names) or 'none'}; others can be custom properties",
        )
    return PropertyTypeError(
        f"the property {name!r} of the type {known.name!r} is {PropertyType(kind).name},"
        f" and a {type(value).__name__} is not",
        field=f"{_PROPERTIES}.{name}",
        value=value,
        hint="INT int, DOUBLE float, STRING str, BOOLEAN bool, STRUCT a mapping, PROTO ProtoValue",
    )


def _reserved(kind: Kind, known: Known, name: str, value: object) -> InvalidValueError:
    return InvalidValueError(
        f"{kind.name}s of the type {known.name!r} belong to the commit",
        field=name,
        value=value,
        hint="they get custom properties here, and everything else where data is committed",
    )
