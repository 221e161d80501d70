"""Types in files: YAML or JSON text to types and back; each error with its line.

The format is close to the text that people have for ML Metadata: the field names of its messages ``ArtifactType``,
``ExecutionType`` and ``ContextType``, and of the lists ``artifact_types``, ``execution_types`` and ``context_types``
(its ``MLMDStore`` configuration). See docs/types.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store.values import ArtifactType, ContextType, ExecutionType
from lakecat.config.document import Document, KeyPath, parse_document, read_document
from lakecat.errors import ConfigError, InvalidValueError
from lakecat.types import Json

AnyType: TypeAlias = ArtifactType | ExecutionType | ContextType

_LISTS: Final[Mapping[str, type[ArtifactType | ExecutionType | ContextType]]] = {
    "artifact_types": ArtifactType,
    "execution_types": ExecutionType,
    "context_types": ContextType,
}
_TEXTS: Final = ("version", "description", "external_id")
_STRUCTURES: Final = ("input_type", "output_type")
_LONGEST: Final = 255
_CAPITAL: Final = re.compile("[A-Z]")
_BASES: Final[Mapping[type[Any], Mapping[str, str]]] = {
    ArtifactType: {name.upper(): f"mlmd.{name}" for name in ("Dataset", "Model", "Metrics", "Statistics")},
    ExecutionType: {
        name.upper(): f"mlmd.{name}" for name in ("Train", "Transform", "Process", "Evaluate", "Deploy")
    },
    ContextType: {},
}  # fmt: skip
"""ML Metadata's simple types by the names that its ``base_type`` field has."""


@dataclass(frozen=True, slots=True)
class TypeFile:
    """What a file of types says, in its order: artifact types, execution types, context types."""

    types: tuple[AnyType, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """The types of one kind: ``ArtifactType``, ``ExecutionType`` or ``ContextType``."""
        return tuple(one for one in self.types if isinstance(one, kind))


def read_types(path: Path | str) -> TypeFile:
    """Read a file of types, YAML or JSON. Raises ConfigError with file and line."""
    return _types(read_document(Path(path)))


def parse_types(text: str, file: str = "<types>") -> TypeFile:
    """Read types out of a text; ``file`` is named in errors. Raises ConfigError with its line."""
    return _types(parse_document(text, file))


def dump_types(types: Iterable[AnyType]) -> str:
    """The types as YAML that ``read_types`` reads back; ids are not in it, they belong to one store.

    Raises InvalidValueError for a value that is no type.
    """
    document: dict[str, list[dict[str, Json]]] = {}
    for one in types:
        kind = next((name for name, value in _LISTS.items() if isinstance(one, value)), None)
        if kind is None:
            raise InvalidValueError(f"a {type(one).__name__} is no type", field="types", value=one)
        document.setdefault(kind, []).append(_plain(one))
    ordered = {name: document[name] for name in _LISTS if name in document}
    return str(yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class _Dumper(yaml.SafeDumper):
    """Quotes what another reader of YAML could take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out: no anchors."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = text.isascii() and text.replace("_", "").replace(".", "").isalpha() and not _guessed(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _guessed(text: str) -> bool:
    """Whether a reader of YAML would take the text for null or a boolean."""
    return (
        text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n") or "inf" in text or "nan" in text
    )


_Dumper.add_representer(str, _text)


def _plain(one: AnyType) -> dict[str, Json]:
    found: dict[str, Json] = {"name": one.name}
    for name in _TEXTS:
        if (text := getattr(one, name)) is not None:
            found[name] = text
    if one.base_type is not None:
        found["base_type"] = one.base_type
    for name in _STRUCTURES:
        if (value := getattr(one, name, None)) is not None:
            found[name] = value
    if one.properties:
        found["properties"] = {name: PropertyType(kind).name for name, kind in sorted(one.properties.items())}
    return found


def _types(document: Document) -> TypeFile:
    value = document.value
    if not isinstance(value, dict):
        hint = f"write lists under {', '.join(_LISTS)}"
        raise ConfigError("holds no types", where=document.where(), hint=hint)
    found: list[AnyType] = []
    for key, items in value.items():
        if _snake(key) not in _LISTS:
            hint = f"one of {', '.join(_LISTS)}"
            raise ConfigError(f"key {key!r} is not known", where=document.where((key,)), hint=hint)
        if not isinstance(items, list):
            raise ConfigError(f"{key} is no list", where=document.where((key,)), hint="begin each type with '- name:'")
        found += (_Reader(document, (key, number), _LISTS[_snake(key)]).read(item) for number, item in enumerate(items))
    _refuse_twice(document, value)
    order = list(_LISTS.values())
    return TypeFile(tuple(sorted(found, key=lambda one: order.index(type(one)))))


def _refuse_twice(document: Document, value: Mapping[str, Json]) -> None:
    for key, items in value.items():
        seen: dict[tuple[Json, Json], int] = {}
        for number, item in enumerate(items if isinstance(items, list) else ()):
            assert isinstance(item, dict)  # noqa: S101 - it has been read
            name = (item.get("name"), item.get("version"))
            if name in seen:
                line = document.where((key, seen[name])).line
                raise ConfigError(
                    f"type {name[0]!r} stands here twice",
                    where=document.where((key, number)),
                    hint=f"the first is on line {line}",
                )
            seen[name] = number


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one type out of a document."""

    document: Document
    path: KeyPath
    kind: type[Any]
    keys: dict[str, str] = field(default_factory=dict)
    """The fields' names as they are written."""

    def read(self, item: Json) -> AnyType:
        """The type. Raises ConfigError."""
        if not isinstance(item, dict):
            raise self._error("a type is no mapping", (), "begin it with 'name:'")
        fields = self._fields(item)
        found: dict[str, Any] = {"name": self._name(fields.get("name"))}
        for name in _TEXTS:
            found[name] = self._optional_text(fields, name)
        if fields.get("base_type") not in (None, "UNSET"):
            found["base_type"] = self._base(fields["base_type"])
        for name in _STRUCTURES:
            if fields.get(name) is not None:
                found[name] = self._structure(name, fields[name])
        found["properties"] = self._properties(fields.get("properties"))
        made: AnyType = self.kind(**found)
        return made

    def _fields(self, item: Mapping[str, Json]) -> dict[str, Json]:
        """The fields by their names in MLMD's messages. Raises ConfigError for one that there is not."""
        known = ["name", *_TEXTS, "properties", "base_type", *(_STRUCTURES if self.kind is ExecutionType else ())]
        found: dict[str, Json] = {}
        for key, value in item.items():
            name = _snake(key)
            where = self.document.where((*self.path, key))
            if name == "id":
                raise ConfigError("a type in a file has no id", where=where, hint="leave it out: the store gives ids")
            if name not in known:
                raise ConfigError(f"key {key!r} is not known", where=where, hint=f"one of {', '.join(known)}")
            if name in found:
                raise ConfigError(f"key {key!r} is {self.keys[name]!r}, which stands here too", where=where)
            self.keys[name] = key
            found[name] = value
        return found

    def _structure(self, name: str, value: Json) -> Mapping[str, Json]:
        if not isinstance(value, dict):
            raise self._error(f"{name} is no mapping", (name,), "write ML Metadata's ArtifactStructType")
        return value

    def _name(self, value: Json) -> str:
        if not isinstance(value, str) or not value:
            raise self._error("a type needs a name, a text", ("name",), "name: Model")
        if len(value) > _LONGEST:
            raise self._error(f"a type's name has at most {_LONGEST} characters", ("name",))
        return value

    def _optional_text(self, item: Mapping[str, Json], name: str) -> str | None:
        value = item.get(name)
        if value is not None and not isinstance(value, str):
            raise self._error(f"{name} is no text", (name,), f'write it in quotes: {name}: "{value}"')
        if value is not None and name != "description" and len(value) > _LONGEST:
            raise self._error(f"{name} has at most {_LONGEST} characters", (name,))
        return value

    def _base(self, value: Json) -> str:
        bases = _BASES[self.kind]
        if isinstance(value, str) and value in bases:
            return bases[value]
        if value in bases.values():
            return str(value)
        hint = f"one of {', '.join(bases)}" if bases else "context types have none"
        raise self._error(f"base_type {str(value)[:60]!r} is not known", ("base_type",), hint)

    def _properties(self, value: Json) -> dict[str, PropertyType]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._error("properties is no mapping", ("properties",), "write 'accuracy: DOUBLE' below it")
        found: dict[str, PropertyType] = {}
        for name, kind in value.items():
            if len(name) > _LONGEST:
                raise self._error(f"a property's name has at most {_LONGEST} characters", ("properties", name))
            found[name] = self._property_type(name, kind)
        return found

    def _property_type(self, name: str, kind: Json) -> PropertyType:
        """By name in any case, or by ML Metadata's number."""
        if isinstance(kind, str) and kind.upper() in PropertyType.__members__:
            return PropertyType[kind.upper()]
        if isinstance(kind, int) and not isinstance(kind, bool) and kind in PropertyType._value2member_map_:
            return PropertyType(kind)
        raise self._error(
            f"property {name!r} has the type {str(kind)[:60]!r}, which is none",
            ("properties", name),
            f"one of {', '.join(PropertyType.__members__)}",
        )

    def _error(self, what: str, path: KeyPath, hint: str | None = None) -> ConfigError:
        written = tuple(self.keys.get(step, step) if isinstance(step, str) else step for step in path[:1])
        return ConfigError(what, where=self.document.where((*self.path, *written, *path[1:])), hint=hint)


def _snake(key: str) -> str:
    """A field's name in MLMD's messages; protobuf's JSON writes it ``likeThis``."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", key)
