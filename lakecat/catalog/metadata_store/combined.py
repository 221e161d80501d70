"""Putting executions with all around them in one transaction: what they read and wrote, and where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypedDict

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import relations, rows, writing
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.batch import Batch, check_etags
from lakecat.catalog.metadata_store.drafts import draft_of
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, Kind
from lakecat.catalog.metadata_store.nodes import BY_EXTERNAL_IDS, BY_NAMES, conflict, settle
from lakecat.catalog.metadata_store.relations import EventKey, check_event
from lakecat.catalog.metadata_store.session import IDS, Parameters, Query, Session
from lakecat.catalog.metadata_store.types import TypeCache
from lakecat.catalog.metadata_store.values import Artifact, Context, Event, Execution
from lakecat.errors import CatalogError, InvalidValueError

_EVENT: Final = str(s.event.name)
_KINDS: Final = (EXECUTION, ARTIFACT, CONTEXT)
_EventDraft: Final = draft_of(Event)


@dataclass(frozen=True, slots=True)
class Edge:
    """An event to be put; the places of its execution and artifact in the lists, None where the event has the id."""

    execution: int | None
    artifact: int | None
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be put. The flags are those of ``put_execution``."""

    executions: Sequence[Execution]
    artifacts: Sequence[Artifact]
    contexts: Sequence[Context]
    edges: Sequence[Edge]
    reuse_contexts: bool = False
    reuse_artifacts: bool = False
    keep_contexts: bool = False
    touch: bool = False
    if_match: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Etags by id, of nodes of each kind by its name."""

    def of(self, kind: Kind) -> Sequence[Any]:
        """The nodes of a kind."""
        if kind is ARTIFACT:
            return self.artifacts
        return self.executions if kind is EXECUTION else self.contexts


@dataclass(slots=True)
class _Seen:
    """What was looked up before anything is changed."""

    reserved: Mapping[str, list[int]] = field(default_factory=dict)
    contexts: dict[tuple[int, str], int] = field(default_factory=dict)
    artifacts: dict[str, int] = field(default_factory=dict)
    events: set[EventKey] = field(default_factory=set)
    artifact_types: dict[int, int] = field(default_factory=dict)
    execution_types: dict[int, int] = field(default_factory=dict)


class Etags(TypedDict, total=False):
    """Etags of stored nodes by their ids, for ``put_lineage_subgraph``."""

    executions: Mapping[int, str]
    artifacts: Mapping[int, str]
    contexts: Mapping[int, str]


class CombinedMethods(StoreBase):
    """Put executions with their artifacts, events and contexts."""

    def put_execution(
        self,
        execution: Execution,
        artifact_and_events: Sequence[tuple[Artifact, Event | None]],
        contexts: Sequence[Context] | None = None,
        *,
        reuse_context_if_already_exist: bool = False,
        reuse_artifact_if_already_exist_by_external_id: bool = False,
        force_reuse_context: bool = False,
        force_update_time: bool = False,
        if_match: str | None = None,
    ) -> tuple[int, list[int], list[int]]:
        """Put an execution with what it read and wrote, all or nothing; its id, the artifacts' and the contexts'.

        Nodes with an id are changed, as ``put_artifacts`` does, others are inserted. The execution is associated with
        all contexts, the artifacts are attributed to them. An event that is there already stays as it is.

        Args:
            execution: what ran
            artifact_and_events: each artifact with its event; without one it is put, and attributed
            contexts: what it belongs to
            reuse_context_if_already_exist: a new context whose name is taken means the one that has it, as it is
            reuse_artifact_if_already_exist_by_external_id: a new artifact whose external id is taken changes that one
            force_reuse_context: contexts with an id are not changed
            force_update_time: the execution's ``last_update_time_since_epoch`` changes also where nothing else does
            if_match: the etag of the execution as it was read: nothing is put where it is another by now

        Raises what ``put_artifacts`` raises.
        """
        if if_match is not None and execution.id is None:
            raise InvalidValueError("a new execution has no etag", field="if_match", value=if_match)
        artifacts, edges = [], []
        for place, (artifact, event) in enumerate(artifact_and_events):
            artifacts.append(artifact)
            if event is not None:
                edges.append(Edge(0, place, event))
        executions, artifact_ids, context_ids = self._put_all(
            Wanted(
                executions=[execution],
                artifacts=artifacts,
                contexts=list(contexts or ()),
                edges=edges,
                reuse_contexts=reuse_context_if_already_exist,
                reuse_artifacts=reuse_artifact_if_already_exist_by_external_id,
                keep_contexts=force_reuse_context,
                touch=force_update_time,
                if_match={} if if_match is None or execution.id is None else {"execution": {execution.id: if_match}},
            )
        )
        return executions[0], artifact_ids, context_ids

    def put_lineage_subgraph(
        self,
        executions: Sequence[Execution],
        artifacts: Sequence[Artifact],
        contexts: Sequence[Context],
        event_edges: Sequence[tuple[int | None, int | None, Event]],
        *,
        reuse_context_if_already_exist: bool = False,
        reuse_artifact_if_already_exist_by_external_id: bool = False,
        if_match: Etags | None = None,
    ) -> tuple[list[int], list[int], list[int]]:
        """Put a piece of lineage, all or nothing; the ids of the executions, artifacts and contexts, in order.

        ``event_edges`` have the places of their execution and artifact in the lists, or None where the event has the
        id of a stored one. All executions are associated with all contexts, all artifacts are attributed to them.
        ``if_match`` has etags of stored nodes as they were read: nothing is put where one of them is another by now.
        The rest is as in ``put_execution``.
        """
        wanted = Wanted(
            executions=list(executions),
            artifacts=list(artifacts),
            contexts=list(contexts),
            edges=[Edge(*edge) for edge in event_edges],
            reuse_contexts=reuse_context_if_already_exist,
            reuse_artifacts=reuse_artifact_if_already_exist_by_external_id,
            if_match=_by_kind(if_match or {}),
        )
        return self._put_all(wanted)

    def _put_all(self, wanted: Wanted) -> tuple[list[int], list[int], list[int]]:
        for edge in wanted.edges:
            _check_edge(wanted, edge)

        def work(session: Session) -> tuple[list[int], list[int], list[int]]:
            seen = _look(session, wanted)

            def build(*, lock: bool) -> list[Batch]:
                return _build(session, self._types, wanted, seen, self._clock(), lock=lock)

            batches = settle(session, build, guarded=bool(wanted.if_match))
            writing.take_ids(session, batches, seen.reserved)
            return self._write_all(session, wanted, seen, batches)

        return self._write(work, lambda session: _conflict(session, self._types, wanted))

    def _write_all(
        self, session: Session, wanted: Wanted, seen: _Seen, batches: Sequence[Batch]
    ) -> tuple[list[int], list[int], list[int]]:
        execution_ids, artifact_ids = ([row.id for row in batch.slots] for batch in batches[:2])
        context_ids = _context_ids(wanted, seen, batches[2])
        events = [_joined(edge, execution_ids, artifact_ids) for edge in wanted.edges]
        for types, batch in ((seen.execution_types, batches[0]), (seen.artifact_types, batches[1])):
            types.update((row.id, row.type_id) for row in batch.slots)
        relations.check_ownership(session, self._types, events, seen.artifact_types, seen.execution_types)
        fresh = relations.new_events(events, seen.events)
        groups = sorted(set(context_ids))
        with session.together():
            for batch in batches:
                touch = batch.current.keys() if wanted.touch and batch.kind is EXECUTION else ()
                writing.write(session, batch, touch=frozenset(touch))
            relations.write_events(session, fresh, seen.reserved.get(_EVENT, []), batches[0].now)
            session.write(relations.INSERT_ATTRIBUTIONS, [(c, a) for c in groups for a in sorted(set(artifact_ids))])
            session.write(relations.INSERT_ASSOCIATIONS, [(c, e) for c in groups for e in sorted(set(execution_ids))])
        return execution_ids, artifact_ids, context_ids


def _by_kind(if_match: Etags) -> dict[str, Mapping[int, str]]:
    names = {f"{kind.name}s": kind.name for kind in _KINDS}
    for name in if_match:
        if name not in names:
            raise InvalidValueError(
                f"if_match has no {name!r}", field="if_match", value=name, hint=f"it has {', '.join(names)}"
            )
    etags: Mapping[str, Any] = if_match
    return {names[name]: found for name, found in etags.items() if found}


def _look(session: Session, wanted: Wanted) -> _Seen:
    """Look up what is reused and which events are there, and reserve ids; in one flight where the driver can."""
    counts = {str(kind.table.name): sum(node.id is None for node in wanted.of(kind)) for kind in _KINDS}
    counts[_EVENT] = len(wanted.edges)
    stored = sorted({e.id for e in wanted.executions if e.id is not None} | _referred(wanted, "execution"))
    beside = {kind: sorted(_referred(wanted, kind.name)) for kind in (ARTIFACT, EXECUTION)}
    names: dict[int, list[str]] = {}
    for context in wanted.contexts if wanted.reuse_contexts else ():
        if context.id is None and context.type_id is not None and context.name:
            names.setdefault(context.type_id, []).append(context.name)
    external = [a.external_id for a in wanted.artifacts if a.id is None and a.external_id] * wanted.reuse_artifacts
    asked: list[tuple[Query, Parameters]] = [
        (BY_NAMES[CONTEXT.name], {IDS: found, "type_id": type_id}) for type_id, found in names.items()
    ]
    asked += [(BY_EXTERNAL_IDS[ARTIFACT.name], {IDS: external})] if external else []
    asked += [(relations.EVENTS_OF["execution"], {IDS: stored})] if stored and wanted.edges else []
    asked += [(relations.THERE[kind.name], {IDS: ids}) for kind, ids in beside.items() if ids]
    answers = iter(session.ask_all([*asked, *writing.reserve(session, counts)]))
    seen = _Seen()
    for type_id in names:
        seen.contexts.update(((type_id, name), key) for key, name in next(answers))
    if external:
        seen.artifacts.update((external_id, key) for key, external_id in next(answers))
    if stored and wanted.edges:
        seen.events.update((row[1], row[2], row[3]) for row in next(answers))
    for kind, ids in beside.items():
        if ids:
            found = next(answers)
            relations.check_there(kind, ids, found)
            (seen.artifact_types if kind is ARTIFACT else seen.execution_types).update(found)
    seen.reserved = writing.reserved(session, counts, list(answers))
    return seen


def _referred(wanted: Wanted, name: str) -> set[int]:
    """The ids of stored nodes that events refer to without their being in the lists."""
    return {getattr(edge.event, f"{name}_id") for edge in wanted.edges if getattr(edge, name) is None}


def _build(session: Session, types: TypeCache, wanted: Wanted, seen: _Seen, now: int, *, lock: bool) -> list[Batch]:
    """The nodes that will be written."""
    artifacts = [_reused(artifact, wanted, seen) for artifact in wanted.artifacts]
    nodes: list[tuple[Kind, list[Any]]]
    nodes = [(EXECUTION, list(wanted.executions)), (ARTIFACT, artifacts), (CONTEXT, list(wanted.contexts))]
    guarded = wanted.if_match
    ids = [(kind, [*rows.ids_of(values), *guarded.get(kind.name, ())]) for kind, values in nodes]
    stored = rows.read(session, ids, lock=lock)
    for (kind, _), found in zip(nodes, stored, strict=True):
        if kind.name in guarded:
            names = types.names(session, [(0, row.type_id) for row in found.values()])
            check_etags(kind, found, guarded[kind.name], names)
    batches = [Batch(kind, session, types, now, stored=found) for (kind, _), found in zip(nodes, stored, strict=True)]
    for execution in wanted.executions:
        batches[0].put(execution)
    for artifact in artifacts:
        known = None
        if wanted.reuse_artifacts and artifact.id is None and artifact.external_id:
            known = batches[1].known(None, artifact.external_id)
        if known is None:
            batches[1].put(artifact)
        else:
            batches[1].put_on(known, artifact)
    for context in wanted.contexts:
        _put_context(batches[2], context, wanted, seen)
    return batches


def _put_context(batch: Batch, context: Context, wanted: Wanted, seen: _Seen) -> None:
    if context.id is not None and wanted.keep_contexts:
        relations.check_there(CONTEXT, [context.id], [(key,) for key in batch.stored])
        return
    if context.id is None and wanted.reuse_contexts and context.type_id is not None:
        key = (context.type_id, context.name)
        if key in seen.contexts:
            return
        known = batch.known(key, None)
        if known is not None:
            batch.slots.append(known)
            return
    batch.put(context)


def _context_ids(wanted: Wanted, seen: _Seen, batch: Batch) -> list[int]:
    """The contexts' ids in order: those that are reused, and those of the batch."""
    slots = iter(batch.slots)
    found = []
    for context in wanted.contexts:
        reused = None
        if context.id is None and wanted.reuse_contexts and context.type_id is not None:
            reused = seen.contexts.get((context.type_id, context.name))
        elif wanted.keep_contexts:
            reused = context.id
        found.append(next(slots).id if reused is None else reused)
    return found


def _reused(artifact: Artifact, wanted: Wanted, seen: _Seen) -> Artifact:
    key = seen.artifacts.get(artifact.external_id or "") if wanted.reuse_artifacts and artifact.id is None else None
    return artifact if key is None else replace(artifact, id=key)


def _joined(edge: Edge, execution_ids: Sequence[int], artifact_ids: Sequence[int]) -> Event:
    event, made = edge.event, _EventDraft()
    made.type = event.type
    made.artifact_id = event.artifact_id if edge.artifact is None else artifact_ids[edge.artifact]
    made.execution_id = event.execution_id if edge.execution is None else execution_ids[edge.execution]
    made.path = event.path
    made.milliseconds_since_epoch = event.milliseconds_since_epoch
    made.__class__ = Event
    joined: Event = made
    return joined


def _check_edge(wanted: Wanted, edge: Edge) -> None:
    """Refuse an event that joins nothing, or other nodes than it says itself. Raises InvalidValueError."""
    check_event(edge.event, ids=False)
    places: Iterable[tuple[str, int | None, Sequence[Any]]] = (
        ("execution", edge.execution, wanted.executions),
        ("artifact", edge.artifact, wanted.artifacts),
    )
    for name, place, nodes in places:
        said = getattr(edge.event, f"{name}_id")
        if place is None:
            if said is None:
                raise InvalidValueError(
                    f"an event has neither the place nor the id of its {name}", field=f"{name}_id", value=None
                )
            continue
        if not 0 <= place < len(nodes):
            raise InvalidValueError(
                f"there is no {name} at place {place}; {len(nodes)} are given", field=f"{name}_index", value=place
            )
        if said is not None and said != nodes[place].id:
            raise InvalidValueError(
                f"an event says {name} {said}, and stands beside {name} {nodes[place].id}",
                field=f"{name}_id",
                value=said,
            )


def _conflict(session: Session, types: TypeCache, wanted: Wanted) -> CatalogError | None:
    """Which name somebody else has; what is reused is found when it is tried again."""
    artifacts = [a for a in wanted.artifacts if not (wanted.reuse_artifacts and a.id is None and a.external_id)]
    contexts = [] if wanted.reuse_contexts else wanted.contexts
    return conflict(session, types, [(EXECUTION, wanted.executions), (ARTIFACT, artifacts), (CONTEXT, contexts)])
