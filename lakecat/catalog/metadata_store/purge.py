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
from lakecat.catalog.metadata_store.session import Session
from lakecat.errors import InUseError, InvalidValueError
from lakecat.failpoints import failpoint

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgePlan:
    """What a purge is going to do, as ``report`` says.

    ``free``: the ids with the times of their last changes; ``kept``: how many stay, by reason; ``left``: what is going
    to have no event any more.
    """

    report: PurgeReport
    free: Mapping[int, int]
    kept: Mapping[str, int] = field(default_factory=dict)
    left: Sequence[int] = ()
    orphans: bool = False
    rules: Rules | None = None


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
        plan = self.plan_purge(
            kind, filter_query=filter_query, older_than=older_than, keep_last=keep_last, of_contexts=of_contexts,
            orphans=orphans, is_empty=is_empty,
        )  # fmt: skip
        return self.carry_out(plan, on_progress=on_progress) if apply else plan.report

    def plan_purge(
        self,
        kind: PurgeKind = "execution",
        *,
        filter_query: str | None = None,
        older_than: timedelta | None = None,
        keep_last: int | None = None,
        of_contexts: str | None = None,
        orphans: bool = False,
        is_empty: IsEmpty | None = None,
    ) -> PurgePlan:
        """Find nodes to remove, as ``purge`` does; nothing is changed."""
        if kind == "type":
            _refuse(filter_query=filter_query, older_than=older_than, keep_last=keep_last, of_contexts=of_contexts)
            return self._plan_types()
        node = _kind(kind)
        _check(node, filter_query, older_than, keep_last, of_contexts)
        with self._reading() as session:
            query, parameters = _selection(session.backend, node, filter_query, older_than, keep_last, of_contexts)
            stamps = {int(row[0]): int(row[1]) for row in session.connection.execute(query, parameters)}
        with self._reading() as session:
            known = removal.rules(session, node, list(stamps), is_empty)
            survey = _survey(session.connection, node, list(stamps), known)
            left = [] if node is CONTEXT else removal.without_events(session.connection, node, survey.free)
            free = {key: stamps[key] for key in survey.free}
            report = _report(node, survey, left, selected=len(stamps))
            if orphans and node is EXECUTION and left:
                report = _with_orphans(session, report, left, frozenset(free))
        return PurgePlan(
            report=report, free=free, kept=survey.kept, left=left, orphans=orphans and node is EXECUTION, rules=known
        )

    def carry_out(self, plan: PurgePlan, *, on_progress: OnProgress | None = None) -> PurgeReport:
        """Remove what was planned, batch by batch, but for what was changed or came into use since; what that was."""
        if plan.report.kind == "type":
            return self._purge_types(plan)
        if plan.rules is None:  # only types need none
            raise AssertionError
        kind, progress = _kind(plan.report.kind), on_progress or (lambda _label, _done, _total: None)
        done = self._apply(kind, list(plan.free), plan.free, plan.rules, progress)
        done.kept.update(plan.kept)
        with self._reading() as session:
            left = removal.eventless(session.connection, kind, plan.left)
            if plan.orphans and left:
                known = removal.rules(session, ARTIFACT, left, None)
                survey = _survey(session.connection, ARTIFACT, left, known)
        if plan.orphans and left:
            more = self._apply(ARTIFACT, survey.free, {}, known, progress)
            done.removed.update(more.removed)
            done.kept.update(survey.kept + more.kept)
            left = left[: len(left) - more.removed["artifacts"]]
        return replace(_report(kind, done, left, selected=plan.report.selected), applied=True)

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
        """All of them in one transaction: what is asked for by its id goes whole, or not at all."""
        ids = sorted(set(ids))
        with self._reading() as session:
            known = removal.rules(session, kind, ids, None)
        tried: list[_Gone] = []

        def work(connection: sa.Connection) -> Counter[str]:
            there = list(removal.lock(connection, kind, ids))
            if tried and tried[-1].ids.isdisjoint(there):
                return tried[-1].removed
            now, removed = removal.renewed(connection, kind, there, known), Counter[str]()
            parts = [there[start : start + BATCH] for start in range(0, len(there), BATCH)]
            for part in parts:
                _refuse_kept(kind, removal.kept(connection, kind, part, now))
            for part in parts:
                removed.update(removal.remove(connection, kind, part))
            tried.append(_Gone(frozenset(there), removed, {}, now))
            return removed

        return dict(+self._database.write(work))

    def _apply(
        self, kind: Kind, free: Sequence[int], stamps: Mapping[int, int], known: Rules, progress: OnProgress
    ) -> _Survey:
        """Remove what may go, batch by batch; what that was in the end."""
        done = _Survey([], Counter(), Counter())
        for start in range(0, len(free), BATCH):
            gone = self._remove_batch(kind, free[start : start + BATCH], stamps, known)
            known = gone.rules
            done.removed.update(gone.removed)
            done.kept.update(gone.stays.values())
            failpoint("purge.batch")
            progress(f"{kind.name}s", min(start + BATCH, len(free)), len(free))
        return done

    def _remove_batch(self, kind: Kind, ids: Sequence[int], stamps: Mapping[int, int], known: Rules) -> _Gone:
        """Remove what may go of a batch: what stays, and why; and what went."""
        tried: list[_Gone] = []

        def work(connection: sa.Connection) -> _Gone:
            there = removal.lock(connection, kind, ids)
            if tried and tried[-1].ids and tried[-1].ids.isdisjoint(there):
                return tried[-1]  # an attempt whose COMMIT was not answered had been applied
            now = removal.renewed(connection, kind, list(there), known)
            stays = {key: removal.CHANGED for key, time in there.items() if stamps.get(key, time) != time}
            stays |= removal.kept(connection, kind, list(there), now)
            free = [key for key in there if key not in stays]
            gone = _Gone(frozenset(free), removal.remove(connection, kind, free), stays, now)
            failpoint("purge.removed")
            tried.append(gone)
            return gone

        return self._database.write(work)

    def _plan_types(self) -> PurgePlan:
        with self._reading() as session:
            ids = removal.unused_types(session.connection)
            removed = removal.count_types(session.connection, ids)
        report = PurgeReport(kind="type", applied=False, selected=len(ids), removed=dict(+removed))
        return PurgePlan(report=report, free=dict.fromkeys(ids, 0))

    def _purge_types(self, plan: PurgePlan) -> PurgeReport:
        ids = list(plan.free)
        removed = self._database.write(
            lambda connection: removal.remove_types(connection, removal.unused_types(connection, ids))
        )
        self._types.clear()
        return replace(plan.report, applied=True, removed=dict(+removed))


@dataclass(frozen=True, slots=True)
class _Survey:
    free: list[int]
    removed: Counter[str]
    kept: Counter[str]


@dataclass(frozen=True, slots=True)
class _Gone:
    """What went in one transaction, and what was known in it."""

    ids: frozenset[int]
    removed: Counter[str]
    stays: Mapping[int, str]
    rules: Rules


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
    found.removed.subtract(removal.counted_twice(connection, kind, found.free))
    return found


def _report(kind: Kind, survey: _Survey, left: Sequence[int], *, selected: int) -> PurgeReport:
    return PurgeReport(
        kind=kind.name,
        applied=False,
        selected=selected,
        removed=dict(+survey.removed),
        kept=dict(+survey.kept),
        orphaned={"artifacts" if kind is EXECUTION else "executions": len(left)} if left else {},
    )


def _with_orphans(session: Session, report: PurgeReport, ids: Sequence[int], executions: frozenset[int]) -> PurgeReport:
    """The report, with what of these artifacts would go as well, once the executions are gone."""
    connection = session.connection
    survey = _survey(connection, ARTIFACT, ids, removal.rules(session, ARTIFACT, ids, None))
    survey.removed.subtract(removal.shared(connection, survey.free, executions))
    left = len(ids) - len(survey.free)
    return replace(
        report,
        removed=dict(+(Counter(report.removed) + survey.removed)),
        kept=dict(Counter(report.kept) + survey.kept),
        orphaned={"artifacts": left} if left else {},
    )


def _check(
    kind: Kind,
    filter_query: str | None,
    older_than: timedelta | None,
    keep_last: int | None,
    of_contexts: str | None,
) -> None:
    """Refuse what cannot be meant. Raises InvalidValueError."""
    if kind is not EXECUTION:
        _refuse(keep_last=keep_last, of_contexts=of_contexts)
    if filter_query is None and older_than is None and keep_last is None:
        raise InvalidValueError(
            f"nothing says which {kind.name}s to remove",
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


def _selection(
    backend: str,
    kind: Kind,
    filter_query: str | None,
    older_than: timedelta | None,
    keep_last: int | None,
    of_contexts: str | None,
) -> tuple[sa.Select[Any], dict[str, Any]]:
    """A statement for the nodes that are asked for (id, time of the last change), and its parameters."""
    table = kind.table
    query = sa.select(table.c.id, table.c.last_update_time_since_epoch).order_by(table.c.id)
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
