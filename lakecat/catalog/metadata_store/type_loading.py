"""The methods of the store for many types at once: put all or none, from a file too, and write them to one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, RESERVED, Kind, NodeType
from lakecat.catalog.metadata_store.session import Session
from lakecat.catalog.metadata_store.type_methods import (
    TypeMethods,
    check_type,
    taken_external_id,
    unchanged,
    write_type,
)
from lakecat.errors import CatalogError, InvalidValueError

if TYPE_CHECKING:
    from lakecat.catalog.metadata_store.type_files import TypeFile

_KINDS: Final[tuple[Kind, ...]] = (ARTIFACT, EXECUTION, CONTEXT)


class TypeFileMethods(TypeMethods):
    """Put types together, load them from files, dump them."""

    def put_types(
        self, types: Iterable[NodeType], *, can_add_fields: bool = False, can_omit_fields: bool = False
    ) -> list[int]:
        """Insert or extend types of all kinds, all or none of them, as ``put_artifact_type`` does one; their ids.

        Raises TypeConflictError, InvalidValueError, UnknownTypeError, NameTakenError.
        """
        wanted = [(_kind_of(one), one) for one in types]
        for kind, value in wanted:
            check_type(kind, value)
        with self._reading() as session:
            found = [
                unchanged(session, kind, value, add=can_add_fields, omit=can_omit_fields) for kind, value in wanted
            ]
        if None not in found:
            return [key for key in found if key is not None]

        def work(session: Session) -> list[int]:
            return [
                write_type(session, kind, value, add=can_add_fields, omit=can_omit_fields) for kind, value in wanted
            ]

        def taken(_session: Session) -> CatalogError | None:
            return next((taken_external_id(value) for _, value in wanted if value.external_id is not None), None)

        ids = self._write(work, taken)
        self._types.clear()
        return ids

    def load_types(self, path: str | Path, *, can_add_fields: bool = False, can_omit_fields: bool = False) -> TypeFile:
        """Put all types of a YAML or JSON file, or none of them; the types with their ids.

        The format is that of docs/types.md. Raises ConfigError with file and line, and what ``put_types`` raises.
        """
        # It reads with the configuration's own reader, which is of no use to other questions.
        from lakecat.catalog.metadata_store.type_files import TypeFile, read_types

        found = read_types(path)
        ids = self.put_types(found.types, can_add_fields=can_add_fields, can_omit_fields=can_omit_fields)
        return TypeFile(tuple(replace(one, id=key) for one, key in zip(found.types, ids, strict=True)))

    def dump_types(self) -> str:
        """All types but lakecat's own and ML Metadata's simple ones, as a YAML text that ``load_types`` reads."""
        from lakecat.catalog.metadata_store.type_files import dump_types

        types: list[NodeType] = [*self.get_artifact_types(), *self.get_execution_types(), *self.get_context_types()]
        return dump_types(one for one in types if not one.name.startswith(RESERVED))


def _kind_of(value: NodeType) -> Kind:
    for kind in _KINDS:
        if isinstance(value, kind.type_value):
            return kind
    raise InvalidValueError(f"a {type(value).__name__} is no type", field="types", value=value)
