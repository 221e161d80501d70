"""Deleting from the catalog, and retention: what is old or no longer wanted goes; what the lake needs stays.

The rules are those of ``removal``. Everything is done in small batches, each a transaction of its own that checks its
nodes again; so it may be stopped and started again at any time, beside writers, and twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.database import now_ms
from lakecat.catalog.metadata_store import removal
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.filters import prepare
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, KINDS, Kind
from lakecat.catalog.metadata_store.removal import IsEmpty, Rules
from lakecat.errors import InUseError, InvalidValueError

PurgeKind: TypeAlias = Literal["artifact", "execution", "context", "type"]
OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Gets what is removed (``executions``), how many of how many were looked at."""

BATCH: Final = 500
"""Nodes in one transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeReport:
    """What was removed, or would be.

    ``removed`` counts nodes and what went with them, by noun; ``kept`` the nodes that were asked for and stay, by
    reason. ``orphaned`` counts nodes that are left without any event: artifacts of executions that went, or the other
    way.
    """

    kind: PurgeKind
    applied: bool
    selected: int = 0
    removed: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    orphaned: Mapping[str, int] = field(default_factory=dict)


class PurgeMethods(StoreBase):
    """Delete nodes and types."""

    def purge(
        self,
        kind: PurgeKind = "execution",
        *,
        filter_query: str | None = None,
        older_than: timedelta | None = None,
        keep_last: int | None = None,
        of_contexts: str | None = None,
        orphans: bool = False,
        apply: bool = False,
        is_empty: IsEmpty | None = None,
        on_progress: OnProgress | None = None,
    ) -> PurgeReport:
        """Find nodes to remove; with ``apply`` remove them. What the lake needs stays, and is counted in ``kept``.

        Args:
            kind: what to remove; ``type`` means the types without nodes, and takes none of the following
            filter_query: only nodes that fit this filter
            older_than: only nodes that nobody changed for so long, by the database's clock
            keep_last: only executions that belong to a context, and not to the newest so many of any context
            of_contexts: a filter that says which contexts count for ``keep_last``
            orphans: also remove the artifacts that are left without any event (of executions: what they wrote)
            apply: without it nothing is changed
            is_empty: whether nothing lies in a folder of the lake; without it every execution that said where it would
                write is kept, for its files could not be explained without it
            on_progress: told after each batch

        Raises InvalidValueError (nothing says which nodes; numbers below 0), FilterError, CatalogError.
        """
        if kind == "type":
            _refuse(filter_query=filter_query, older_than=older_than, keep_last=keep_last, of_contexts=of_contexts)
            return self._purge_types(apply=apply)
        node = _kind(kind)
        if node is not EXECUTION:
            _refuse(keep_last=keep_last, of_contexts=of_contexts)
        if filter_query is None and older_than is None and keep_last is None:
            raise InvalidValueError(
                f"nothing says which {kind}s to remove",
                field="filter_query",
                hint="give a filter, an age, or how many to keep",
            )
        if of_contexts is not None and keep_last is None:
            raise InvalidValueError(
                "of_contexts says for which contexts keep_last counts", field="of_contexts", value=of_contexts
            )
        if keep_last is not None and keep_last < 0:
            raise InvalidValueError("keep_last cannot be negative", field="keep_last", value=keep_last)
        if older_than is not None and older_than < timedelta(0):
            raise InvalidValueError("older_than cannot be negative", field="older_than", value=older_than)
        with self._reading() as session:
            query, parameters = _selection(session.backend, node, filter_query, older_than, keep_last, of_contexts)
            ids = [int(key) for key in session.connection.execute(query, parameters).scalars()]
        return self._purge(node, ids, orphans=orphans, apply=apply, is_empty=is_empty, on_progress=on_progress)

    def delete_artifacts(self, artifact_ids: Sequence[int]) -> Mapping[str, int]:
        """Delete artifacts with their properties, events and attributions; counts of what went, by noun.

        Ids that are not there are no error. Raises InUseError, and deletes nothing, when one of them is needed.
        """
        return self._delete(ARTIFACT, artifact_ids)

    def delete_executions(self, execution_ids: Sequence[int]) -> Mapping[str, int]:
        """Delete executions with their properties, events and associations; counts of what went, by noun.

        Their artifacts stay. Ids that are not there are no error. Raises InUseError, and deletes nothing, when one of
        them is needed or runs.
        """
        return self._delete(EXECUTION, execution_ids)

    def delete_contexts(self, context_ids: Sequence[int]) -> Mapping[str, int]:
        """Delete contexts with their properties and links; counts of what went, by noun. Their members stay.

        Ids that are not there are no error. Raises InUseError, and deletes nothing, when one of them is needed.
        """
        return self._delete(CONTEXT, context_ids)

    def delete_types(self, type_ids: Sequence[int]) -> Mapping[str, int]:
        """Delete types that nothing uses; counts of what went, by noun. Ids that are not there are no error.

        Raises InUseError, and deletes nothing, when one has nodes or types that build on it, or is lakecat's or MLMD's.
        """
        ids = sorted(set(type_ids))

        def work(connection: sa.Connection) -> Counter[str]:
            there = removal.existing_types(connection, ids)
            free = removal.unused_types(connection, ids)
            for key in there:
                if key not in free:
                    raise InUseError(f"type {key} is used", field="type_id", value=key, hint="delete its nodes first")
            return removal.remove_types(connection, free)

        removed = self._database.write(work)
        self._types.clear()
        return dict(+removed)

    def _delete(self, kind: Kind, ids: Sequence[int]) -> Mapping[str, int]:
        ids = sorted(set(ids))
        with self._reading() as session:
            known = removal.rules(session, kind, ids, None)
            for start in range(0, len(ids), BATCH):
                _refuse_kept(kind, removal.kept(session.connection, kind, ids[start : start + BATCH], known))
        removed: Counter[str] = Counter()
        for start in range(0, len(ids), BATCH):
            stays, gone = self._remove_batch(kind, ids[start : start + BATCH], known)
            removed += gone
            _refuse_kept(kind, stays)
        return dict(removed)

    def _purge(
        self,
        kind: Kind,
        ids: Sequence[int],
        *,
        orphans: bool,
        apply: bool,
        is_empty: IsEmpty | None,
        on_progress: OnProgress | None,
    ) -> PurgeReport:
        progress = on_progress or (lambda _label, _done, _total: None)
        with self._reading() as session:
            known = removal.rules(session, kind, ids, is_empty)
            survey = _survey(session.connection, kind, ids, known)
            left = [] if kind is CONTEXT else removal.without_events(session.connection, kind, survey.free)
        if apply:
            survey = self._apply(kind, survey, known, progress)
        report = PurgeReport(
            kind=kind.name,
            applied=apply,
            selected=len(ids),
            removed=dict(+survey.removed),
            kept=dict(survey.kept),
            orphaned={"artifacts" if kind is EXECUTION else "executions": len(left)} if left else {},
        )
        if not orphans or kind is not EXECUTION or not left:
            return report
        return self._with_orphans(report, left, apply=apply, progress=progress)

    def _apply(self, kind: Kind, survey: _Survey, known: Rules, progress: OnProgress) -> _Survey:
        """Remove what may go, batch by batch; what that was in the end."""
        done = _Survey([], Counter(), Counter(survey.kept))
        for start in range(0, len(survey.free), BATCH):
            stays, gone = self._remove_batch(kind, survey.free[start : start + BATCH], known)
            done.removed.update(gone)
            done.kept.update(stays.values())
            progress(f"{kind.name}s", min(start + BATCH, len(survey.free)), len(survey.free))
        return done

    def _with_orphans(
        self, report: PurgeReport, ids: Sequence[int], *, apply: bool, progress: OnProgress
    ) -> PurgeReport:
        """Remove the artifacts whose executions went, too; or say what would be, once those are gone."""
        with self._reading() as session:
            if apply:
                ids = removal.eventless(session.connection, ids)
            known = removal.rules(session, ARTIFACT, ids, None)
            survey = _survey(session.connection, ARTIFACT, ids, known)
        left = len(ids) - len(survey.free)
        if apply:
            survey = self._apply(ARTIFACT, survey, known, progress)
        else:
            del survey.removed["events"]  # they are counted with the executions
        return replace(
            report,
            removed=dict(+(Counter(report.removed) + survey.removed)),
            kept=dict(Counter(report.kept) + survey.kept),
            orphaned={"artifacts": left} if left else {},
        )

    def _remove_batch(self, kind: Kind, ids: Sequence[int], known: Rules) -> tuple[Mapping[int, str], Counter[str]]:
        """Remove what may go of a batch: what stays, and why; and what went."""

        def work(connection: sa.Connection) -> tuple[Mapping[int, str], Counter[str]]:
            there = removal.lock(connection, kind, ids)
            stays = removal.kept(connection, kind, there, known)
            return stays, removal.remove(connection, kind, [key for key in there if key not in stays])

        return self._database.write(work)

    def _purge_types(self, *, apply: bool) -> PurgeReport:
        with self._reading() as session:
            ids = removal.unused_types(session.connection)
        removed = Counter({"types": len(ids)})
        if apply:
            removed = self._database.write(
                lambda connection: removal.remove_types(connection, removal.unused_types(connection, ids))
            )
            self._types.clear()
        return PurgeReport(kind="type", applied=apply, selected=len(ids), removed=dict(+removed))


@dataclass(frozen=True, slots=True)
class _Survey:
    free: list[int]
    removed: Counter[str]
    kept: Counter[str]


def _survey(connection: sa.Connection, kind: Kind, ids: Sequence[int], known: Rules) -> _Survey:
    """What of these nodes may go, and what would go with them."""
    found = _Survey([], Counter(), Counter())
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        stays = removal.kept(connection, kind, part, known)
        free = [key for key in part if key not in stays]
        found.free.extend(free)
        found.kept.update(stays.values())
        found.removed.update(removal.count(connection, kind, free))
    return found


def _selection(
    backend: str,
    kind: Kind,
    filter_query: str | None,
    older_than: timedelta | None,
    keep_last: int | None,
    of_contexts: str | None,
) -> tuple[sa.Select[Any], dict[str, Any]]:
    """A statement for the ids of the nodes that are asked for, and its parameters."""
    table = kind.table
    query = sa.select(table.c.id).order_by(table.c.id)
    parameters: dict[str, Any] = {}
    if filter_query is not None:
        found = prepare(kind, filter_query, backend)
        query, parameters = query.where(found.condition), dict(found.parameters)
    if older_than is not None:
        age = round(older_than.total_seconds() * 1000)
        query = query.where(table.c.last_update_time_since_epoch <= now_ms() - age)
    if keep_last is not None:
        contexts: sa.Select[Any] = sa.select(s.context.c.id)
        if of_contexts is not None:
            counted = prepare(CONTEXT, of_contexts, backend, prefix="context")
            contexts, parameters = contexts.where(counted.condition), {**parameters, **counted.parameters}
        link, execution = s.association.alias(), s.execution.alias()
        place = sa.func.row_number().over(
            partition_by=link.c.context_id,
            order_by=(execution.c.create_time_since_epoch.desc(), execution.c.id.desc()),
        )
        ranked = (
            sa.select(link.c.execution_id, place.label("place"))
            .join(execution, execution.c.id == link.c.execution_id)
            .where(link.c.context_id.in_(contexts))
            .subquery()
        )
        members = sa.select(ranked.c.execution_id)
        query = query.where(table.c.id.in_(members), table.c.id.not_in(members.where(ranked.c.place <= keep_last)))
    return query, parameters


def _kind(name: str) -> Kind:
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise InvalidValueError(
        f"{name!r} cannot be purged", field="kind", value=name, hint="artifact, execution, context or type"
    )


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise InvalidValueError(f"{name} does not go with this kind", field=name, value=value, hint="leave it out")


def _refuse_kept(kind: Kind, kept: Mapping[int, str]) -> None:
    for key, reason in kept.items():
        raise InUseError(f"{kind.name} {key} {reason}", field=kind.key, value=key, hint="it has to stay")
