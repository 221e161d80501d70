"""Getting artifacts, executions and contexts: by id, type, name, uri, external id, context, or by list options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import listing, rows, types
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, KINDS, Kind
from lakecat.catalog.metadata_store.nodes import load_ids, nodes_of
from lakecat.catalog.metadata_store.session import IDS, Parameters, Query, one_of
from lakecat.catalog.metadata_store.type_methods import external_ids_of
from lakecat.catalog.metadata_store.values import Artifact, ArtifactType, Context, Execution, ListOptions

_ALL: Final = ListOptions()
_NEWEST_FIRST: Final = ListOptions(is_asc=False)


def _of_type(kind: Kind) -> Query:
    table = kind.table
    query = sa.select(*kind.columns).where(table.c.type_id == sa.bindparam("type_id", type_=sa.BigInteger()))
    return Query(lambda _backend: query.order_by(table.c.id))


def _named(kind: Kind) -> Query:
    """A node with its properties: its columns, and behind them a property's in each row."""
    table, properties = kind.table, kind.properties
    joined = table.join(s.type_, s.type_.c.id == table.c.type_id)
    joined = joined.outerjoin(properties, properties.c[kind.key] == table.c.id)
    query = sa.select(*kind.columns, *rows.property_columns(kind)).select_from(joined)
    query = query.where(*types.named(), table.c.name == sa.bindparam("node_name", type_=sa.Text()))
    return Query(lambda _backend: query.order_by(table.c.id))


def _by_external_ids(kind: Kind) -> Query:
    return Query(lambda backend: sa.select(*kind.columns).where(one_of(kind.table.c.external_id, backend)), by_ids=True)


_NODE: Final = len(ARTIFACT.columns)
_OF_TYPE: Final = {kind.name: _of_type(kind) for kind in KINDS}
_NAMED: Final = {kind.name: _named(kind) for kind in KINDS}
_BY_EXTERNAL_IDS: Final = {kind.name: _by_external_ids(kind) for kind in KINDS}
_BY_URI: Final = Query(
    lambda _backend: (
        sa.select(*ARTIFACT.columns)
        .where(s.artifact.c.uri == sa.bindparam("uri", type_=sa.Text()))
        .order_by(s.artifact.c.id)
    )
)
_WITHOUT_URI: Final = Query(
    lambda _backend: (
        sa.select(*ARTIFACT.columns)
        .where(sa.or_(s.artifact.c.uri.is_(None), s.artifact.c.uri == sa.literal_column("''")))
        .order_by(s.artifact.c.id)
    )
)


class GetMethods(StoreBase):
    """Get nodes. By id or external id they come in the order of their ids; what is not there is left out."""

    def get_artifacts(self, list_options: ListOptions | None = None) -> list[Artifact]:
        """All artifacts, or those that the options choose. Raises InvalidValueError, FilterError."""
        return self._list(ARTIFACT, list_options or _ALL)

    def get_executions(self, list_options: ListOptions | None = None) -> list[Execution]:
        """All executions, or those that the options choose. Raises InvalidValueError, FilterError."""
        return self._list(EXECUTION, list_options or _ALL)

    def get_contexts(self, list_options: ListOptions | None = None) -> list[Context]:
        """All contexts, or those that the options choose. Raises InvalidValueError, FilterError."""
        return self._list(CONTEXT, list_options or _ALL)

    def get_artifacts_by_id(self, artifact_ids: Iterable[int]) -> list[Artifact]:
        """The artifacts with these ids."""
        return self._by_ids(ARTIFACT, artifact_ids)

    def get_executions_by_id(self, execution_ids: Iterable[int]) -> list[Execution]:
        """The executions with these ids."""
        return self._by_ids(EXECUTION, execution_ids)

    def get_contexts_by_id(self, context_ids: Iterable[int]) -> list[Context]:
        """The contexts with these ids."""
        return self._by_ids(CONTEXT, context_ids)

    def get_artifacts_and_types_by_artifact_ids(
        self, artifact_ids: Iterable[int]
    ) -> tuple[list[Artifact], list[ArtifactType]]:
        """The artifacts with these ids, and their types, at one moment."""
        ids = sorted(set(artifact_ids))
        with self._reading() as session:
            found = load_ids(session, self._types, ARTIFACT, ids)
            type_ids = sorted({artifact.type_id for artifact in found})
            known = types.load_types(session.connection, type_ids, ARTIFACT.type_kind) if type_ids else []
        return found, known

    def get_artifacts_by_type(self, type_name: str, type_version: str | None = None) -> list[Artifact]:
        """All artifacts of a type, in the order of their ids; none where there is no such type."""
        return self._of_type(ARTIFACT, type_name, type_version)

    def get_executions_by_type(self, type_name: str, type_version: str | None = None) -> list[Execution]:
        """All executions of a type, in the order of their ids; none where there is no such type."""
        return self._of_type(EXECUTION, type_name, type_version)

    def get_contexts_by_type(self, type_name: str, type_version: str | None = None) -> list[Context]:
        """All contexts of a type, in the order of their ids; none where there is no such type."""
        return self._of_type(CONTEXT, type_name, type_version)

    def get_artifact_by_type_and_name(
        self, type_name: str, artifact_name: str, type_version: str | None = None
    ) -> Artifact | None:
        """The artifact of this type with this name, None where there is none."""
        found: Artifact | None = self._named(ARTIFACT, type_name, artifact_name, type_version)
        return found

    def get_execution_by_type_and_name(
        self, type_name: str, execution_name: str, type_version: str | None = None
    ) -> Execution | None:
        """The execution of this type with this name, None where there is none."""
        found: Execution | None = self._named(EXECUTION, type_name, execution_name, type_version)
        return found

    def get_context_by_type_and_name(
        self, type_name: str, context_name: str, type_version: str | None = None
    ) -> Context | None:
        """The context of this type with this name, None where there is none."""
        found: Context | None = self._named(CONTEXT, type_name, context_name, type_version)
        return found

    def get_artifacts_by_uri(self, uri: str) -> list[Artifact]:
        """The artifacts with this uri, in the order of their ids; an empty one means those that have none."""
        query, parameters = (_BY_URI, {"uri": uri}) if uri else (_WITHOUT_URI, {})
        return self._ask(ARTIFACT, query, parameters)

    def get_artifacts_by_external_ids(self, external_ids: Iterable[str]) -> list[Artifact]:
        """The artifacts with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._by_external_ids(ARTIFACT, external_ids)

    def get_executions_by_external_ids(self, external_ids: Iterable[str]) -> list[Execution]:
        """The executions with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._by_external_ids(EXECUTION, external_ids)

    def get_contexts_by_external_ids(self, external_ids: Iterable[str]) -> list[Context]:
        """The contexts with these external ids. Raises InvalidValueError where one of them is empty."""
        return self._by_external_ids(CONTEXT, external_ids)

    def get_artifacts_by_context(self, context_id: int, list_options: ListOptions | None = None) -> list[Artifact]:
        """The artifacts in a context. Raises InvalidValueError, FilterError."""
        return self._list(ARTIFACT, list_options or _ALL, context_id)

    def get_executions_by_context(self, context_id: int, list_options: ListOptions | None = None) -> list[Execution]:
        """The executions in a context; without options the newest first. Raises InvalidValueError, FilterError."""
        return self._list(EXECUTION, list_options or _NEWEST_FIRST, context_id)

    def _list(self, kind: Kind, options: ListOptions, context_id: int | None = None) -> list[Any]:
        with self._reading() as session:
            return nodes_of(session, self._types, kind, listing.rows_of(session, kind, options, context_id=context_id))

    def _by_ids(self, kind: Kind, ids: Iterable[int]) -> list[Any]:
        wanted = sorted(set(ids))
        if not wanted:
            return []
        with self._reading() as session:
            return load_ids(session, self._types, kind, wanted)

    def _ask(self, kind: Kind, query: Query, parameters: Parameters) -> list[Any]:
        with self._reading() as session:
            return nodes_of(session, self._types, kind, session.ask(query, parameters))

    def _of_type(self, kind: Kind, name: str, version: str | None) -> list[Any]:
        with self._reading() as session:
            found = session.ask(types.BY_NAME, types.Wanted(kind, name, version).parameters)
            if not found:
                return []
            return nodes_of(session, self._types, kind, session.ask(_OF_TYPE[kind.name], {"type_id": found[0][0]}))

    def _named(self, kind: Kind, type_name: str, name: str, version: str | None) -> Any:
        wanted = {**types.Wanted(kind, type_name, version).parameters, "node_name": name}
        found = self._ask_once(_NAMED[kind.name], wanted)
        if not found:
            return None
        node = found[0][:_NODE]
        properties = [row[_NODE:] for row in found if row[_NODE] == node[0]]
        return rows.values(kind, [node], properties, {node[1]: type_name})[0]

    def _by_external_ids(self, kind: Kind, external_ids: Iterable[str]) -> list[Any]:
        wanted = external_ids_of(external_ids)
        if not wanted:
            return []
        with self._reading() as session:
            found = sorted(session.ask(_BY_EXTERNAL_IDS[kind.name], {IDS: wanted}))
            return nodes_of(session, self._types, kind, found)
