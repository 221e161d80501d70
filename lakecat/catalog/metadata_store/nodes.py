"""Putting and getting artifacts, executions and contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog.driver_errors import sqlalchemy_errors
from lakecat.catalog.metadata_store import rows, writing
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.batch import Batch, Mask, check_etags, etag_of
from lakecat.catalog.metadata_store.drafts import making
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, KINDS, Kind, Node
from lakecat.catalog.metadata_store.session import IDS, Query, Rows, Session, one_of
from lakecat.catalog.metadata_store.types import TypeCache
from lakecat.catalog.metadata_store.values import Artifact, Context, Execution
from lakecat.errors import CatalogError, NameTakenError, StaleEtagError, UnknownTypeError


def _by_names(kind: Kind) -> Query:
    return Query(
        lambda backend: sa.select(kind.table.c.id, kind.table.c.name).where(
            kind.table.c.type_id == sa.bindparam("type_id"), one_of(kind.table.c.name, backend)
        ),
        by_ids=True,
    )


def _by_external_ids(kind: Kind) -> Query:
    return Query(
        lambda backend: sa.select(kind.table.c.id, kind.table.c.external_id).where(
            one_of(kind.table.c.external_id, backend)
        ),
        by_ids=True,
    )


BY_NAMES: Final = {kind.name: _by_names(kind) for kind in KINDS}
BY_EXTERNAL_IDS: Final = {kind.name: _by_external_ids(kind) for kind in KINDS}


class NodeMethods(StoreBase):
    """Put nodes, and tell whether they were changed."""

    def put_artifacts(
        self,
        artifacts: Sequence[Artifact],
        field_mask_paths: Sequence[str] | None = None,
        *,
        if_match: Mapping[int, str] | None = None,
        abort_if_latest_updated_time_changed: bool = False,
    ) -> list[int]:
        """Insert artifacts that have no id, and change those that have one, all or none; their ids.

        A change is of the whole artifact: what is not given is taken away; its type and name stay. With
        ``field_mask_paths`` (``uri``, ``state``, ``external_id``, ``properties``, ``properties.x``,
        ``custom_properties``, ``custom_properties.x``) only those fields change. ``last_update_time_since_epoch``
        changes where anything else does.

        ``if_match`` has etags (see ``etag``) by id: nothing is put where one of these artifacts is another by now.
        ``abort_if_latest_updated_time_changed`` does the same by the artifacts' ``last_update_time_since_epoch``.

        Raises InvalidValueError, PropertyTypeError, UnknownTypeError, UnknownNodeError, NameTakenError (name, external
        id), StaleEtagError.
        """
        times = abort_if_latest_updated_time_changed
        return self._put_nodes(ARTIFACT, artifacts, field_mask_paths, if_match, check_times=times)

    def put_executions(
        self,
        executions: Sequence[Execution],
        field_mask_paths: Sequence[str] | None = None,
        *,
        if_match: Mapping[int, str] | None = None,
    ) -> list[int]:
        """Insert or change executions, as ``put_artifacts`` does; their ids."""
        return self._put_nodes(EXECUTION, executions, field_mask_paths, if_match)

    def put_contexts(
        self,
        contexts: Sequence[Context],
        field_mask_paths: Sequence[str] | None = None,
        *,
        if_match: Mapping[int, str] | None = None,
    ) -> list[int]:
        """Insert or change contexts, as ``put_artifacts`` does; their ids. A context has a name, and may change it."""
        return self._put_nodes(CONTEXT, contexts, field_mask_paths, if_match)

    @staticmethod
    def etag(node: Node) -> str:
        """What a node says of itself as a hash: two are the same where type, name, uri, state and properties are."""
        return etag_of(node)

    def _put_nodes(
        self,
        kind: Kind,
        nodes: Sequence[Any],
        paths: Sequence[str] | None,
        if_match: Mapping[int, str] | None,
        *,
        check_times: bool = False,
    ) -> list[int]:
        nodes, mask = list(nodes), Mask.of(paths or ())
        if not nodes:
            return []
        ids = [*rows.ids_of(nodes), *(if_match or {})]
        expected_times = (
            {n.id: n.last_update_time_since_epoch for n in nodes if n.id is not None} if check_times else {}
        )

        def work(session: Session) -> list[int]:
            counts = {str(kind.table.name): sum(node.id is None for node in nodes)}

            def build(*, lock: bool) -> Batch:
                (stored,) = rows.read(session, [(kind, ids)], lock=lock)
                names = self._types.names(session, [(0, row.type_id) for row in stored.values()])
                check_etags(kind, stored, if_match, names)
                check_updated(kind, stored, expected_times)
                batch = Batch(kind, session, self._types, self._clock(), mask, stored)
                for node in nodes:
                    batch.put(node)
                return batch

            batch = settle(session, build, guarded=bool(if_match) or check_times)
            reserved = writing.reserved(session, counts, session.ask_all(writing.reserve(session, counts)))
            writing.take_ids(session, [batch], reserved)
            with session.together():
                writing.write(session, batch)
            return [row.id for row in batch.slots]

        return self._write(work, lambda session: conflict(session, self._types, [(kind, nodes)]))


def settle(session: Session, build: Callable[..., Any], *, guarded: bool = False) -> Any:
    """Work out what changes; where something stored does, again on the locked rows, so that no change is lost.

    ``guarded``: the rows are locked at once, for something depends on their staying as they are.
    """
    if guarded:
        return build(lock=True)
    made = build(lock=False)
    batches = made if isinstance(made, list) else [made]
    if session.locks and any(batch.changed() for batch in batches):
        return build(lock=True)
    return made


def check_updated(kind: Kind, stored: Mapping[int, rows.Row], expected: Mapping[int, int | None]) -> None:
    """Compare the times of the last update with those that the caller read. Raises StaleEtagError."""
    for key, time in expected.items():
        row = stored.get(key)
        if row is not None and row.updated != (time or 0):
            raise StaleEtagError(
                f"{kind.name} {key} was changed by somebody else since it was read",
                field="last_update_time_since_epoch",
                value=time,
                hint="read it again",
            )


def conflict(session: Session, types: TypeCache, nodes: Sequence[tuple[Kind, Sequence[Any]]]) -> CatalogError | None:
    """Which name or external id of new nodes somebody else has; None where none is found."""
    for kind, values in nodes:
        error = _external_conflict(session, kind, values) or _name_conflict(session, kind, values)
        if error is not None:
            return error
        for type_id in {v.type_id for v in values if v.type_id is not None}:
            try:
                types.need(session, kind, type_id, fresh=True)
            except UnknownTypeError as err:
                return err
    return None


def _external_conflict(session: Session, kind: Kind, values: Sequence[Any]) -> CatalogError | None:
    mine = {v.external_id: v.id for v in values if v.external_id is not None}
    for key, external_id in session.ask(BY_EXTERNAL_IDS[kind.name], {IDS: list(mine)}) if mine else ():
        if mine[external_id] != key:
            return taken(kind, "external_id", external_id, key)
    return None


def _name_conflict(session: Session, kind: Kind, values: Sequence[Any]) -> CatalogError | None:
    by_type: dict[int, dict[str, int | None]] = {}
    for value in values:
        if value.name is not None and value.type_id is not None and (value.id is None or kind.may_rename):
            by_type.setdefault(value.type_id, {})[value.name] = value.id
    for type_id, names in by_type.items():
        for key, name in session.ask(BY_NAMES[kind.name], {IDS: list(names), "type_id": type_id}):
            if names[name] != key:
                return taken(kind, "name", name, key)
    return None


def taken(kind: Kind, name: str, value: str, key: int) -> NameTakenError:
    """Somebody else has this name or external id."""
    return NameTakenError(
        f"{kind.name} {key} has the {name.replace('_', ' ')} {value!r} already", field=name, value=value
    )


def load(connection: sa.Connection, kind: Kind, ids: Sequence[int] | sa.Select[Any]) -> list[Any]:
    """The nodes with these ids (a list, or a statement that gives them), in the order of their ids.

    Ids that are not there are left out.
    """
    with sqlalchemy_errors(connection):
        session = Session(connection)
        found = [int(row[0]) for row in connection.execute(ids)] if isinstance(ids, sa.Select) else list(ids)
        return load_ids(session, TypeCache(), kind, sorted(set(found)))


def load_ids(session: Session, types: TypeCache, kind: Kind, ids: Sequence[int]) -> list[Any]:
    """The nodes with these ids, in the order of their ids."""
    if not ids:
        return []
    ids = list(ids)
    asked = [(rows.NODES[kind.name], {IDS: ids}), (rows.PROPERTIES[kind.name], {IDS: ids})]
    with making(len(ids)):
        found, properties = session.ask_all(asked)
        found.sort()
        return rows.values(kind, found, properties, types.names(session, found))


def nodes_of(session: Session, types: TypeCache, kind: Kind, found: Rows) -> list[Any]:
    """The nodes of these rows, in their order."""
    if not found:
        return []
    with making(len(found)):
        properties = session.ask(rows.PROPERTIES[kind.name], {IDS: [row[0] for row in found]})
        return rows.values(kind, found, properties, types.names(session, found))
