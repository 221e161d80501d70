"""What joins nodes: events with their paths, attributions, associations, parents of contexts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import OUTPUT_EVENTS, EventType
from lakecat.catalog.metadata_store import writing
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.codec import check_text
from lakecat.catalog.metadata_store.drafts import draft_of
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, RESERVED, Kind
from lakecat.catalog.metadata_store.nodes import load_ids
from lakecat.catalog.metadata_store.session import IDS, Insert, Query, Rows, Session, one_of
from lakecat.catalog.metadata_store.types import TypeCache
from lakecat.catalog.metadata_store.values import Association, Attribution, Context, Event, ParentContext
from lakecat.errors import InvalidValueError, NameTakenError, UnknownNodeError

EventKey = tuple[int, int, int]
"""Artifact, execution, type: of these there is one event."""

_LEAST, _MOST = -(2**63), 2**63 - 1
_EVENT_COLUMNS: Final = ("artifact_id", "execution_id", "type", "milliseconds_since_epoch")
INSERT_EVENTS: Final = Insert(s.event, ("id", *_EVENT_COLUMNS))
INSERT_COUNTED_EVENTS: Final = Insert(s.event, _EVENT_COLUMNS)
INSERT_PATHS: Final = Insert(s.event_path, ("event_id", "is_index_step", "step_index", "step_key"))
INSERT_ATTRIBUTIONS: Final = Insert(s.attribution, ("context_id", "artifact_id"), conflict="ignore")
INSERT_ASSOCIATIONS: Final = Insert(s.association, ("context_id", "execution_id"), conflict="ignore")
INSERT_PARENTS: Final = Insert(s.parent_context, ("context_id", "parent_context_id"))


def _there(kind: Kind) -> Query:
    table = kind.table
    return Query(lambda backend: sa.select(table.c.id, table.c.type_id).where(one_of(table.c.id, backend)), by_ids=True)


def _events(key: sa.Column[int]) -> Query:
    c = s.event.c
    columns = (c.id, c.artifact_id, c.execution_id, c.type, c.milliseconds_since_epoch)
    return Query(lambda backend: sa.select(*columns).where(one_of(key, backend)), by_ids=True)


def _pairs(key: sa.Column[int], other: sa.Column[int]) -> Query:
    return Query(lambda backend: sa.select(other).where(one_of(key, backend)), by_ids=True)


THERE: Final = {kind.name: _there(kind) for kind in (ARTIFACT, EXECUTION, CONTEXT)}
EVENTS_OF: Final = {"artifact": _events(s.event.c.artifact_id), "execution": _events(s.event.c.execution_id)}
PATHS: Final = Query(
    lambda backend: sa.select(
        s.event_path.c.event_id, s.event_path.c.is_index_step, s.event_path.c.step_index, s.event_path.c.step_key
    ).where(one_of(s.event_path.c.event_id, backend)),
    by_ids=True,
)
_CONTEXTS_OF_ARTIFACT: Final = _pairs(s.attribution.c.artifact_id, s.attribution.c.context_id)
_CONTEXTS_OF_EXECUTION: Final = _pairs(s.association.c.execution_id, s.association.c.context_id)
_PARENTS: Final = _pairs(s.parent_context.c.context_id, s.parent_context.c.parent_context_id)
_CHILDREN: Final = _pairs(s.parent_context.c.parent_context_id, s.parent_context.c.context_id)
_GATE: Final = Query(lambda _backend: sa.select(s.mlmd_env.c.schema_version).with_for_update())
"""Who adds parents waits here for others that do: two that add half a circle each would not see each other."""


class RelationMethods(StoreBase):
    """Put and get what joins nodes."""

    def put_events(self, events: Sequence[Event]) -> None:
        """Insert events, all or none. One that is there already stays as it is, so that putting is repeatable.

        Raises InvalidValueError (no type, no ids), UnknownNodeError.
        """
        events = list(events)
        for event in events:
            check_event(event, ids=True)
        if not events:
            return

        def work(session: Session) -> None:
            executions = sorted({e.execution_id for e in events if e.execution_id is not None})
            nodes = [
                (ARTIFACT, sorted({e.artifact_id for e in events if e.artifact_id is not None})),
                (EXECUTION, executions),
            ]
            counts = {str(s.event.name): len(events)}
            asked = [(THERE[kind.name], {IDS: ids}) for kind, ids in nodes]
            asked.append((EVENTS_OF["execution"], {IDS: executions}))
            answers = session.ask_all([*asked, *writing.reserve(session, counts)])
            for (kind, ids), rows in zip(nodes, answers, strict=False):
                check_there(kind, ids, rows)
            check_ownership(session, self._types, events, dict(answers[0]), dict(answers[1]))
            reserved = writing.reserved(session, counts, answers[3:])
            fresh = new_events(events, {(row[1], row[2], row[3]) for row in answers[2]})
            write_events(session, fresh, reserved.get(str(s.event.name), []), self._clock())

        self._write(work, lambda _session: None)

    def put_attributions_and_associations(
        self, attributions: Sequence[Attribution], associations: Sequence[Association]
    ) -> None:
        """Put artifacts and executions into contexts; what is in them already stays so. Raises UnknownNodeError."""
        attributions, associations = list(attributions), list(associations)
        wanted: list[tuple[Kind, set[int]]] = [
            (ARTIFACT, {a.artifact_id for a in attributions}),
            (EXECUTION, {a.execution_id for a in associations}),
            (CONTEXT, {a.context_id for a in attributions} | {a.context_id for a in associations}),
        ]
        nodes = [(kind, sorted(ids)) for kind, ids in wanted if ids]
        if not nodes:
            return

        def work(session: Session) -> None:
            answers = session.ask_all([(THERE[kind.name], {IDS: ids}) for kind, ids in nodes])
            for (kind, ids), rows in zip(nodes, answers, strict=True):
                check_there(kind, ids, rows)
            with session.together():
                session.write(INSERT_ATTRIBUTIONS, sorted({(a.context_id, a.artifact_id) for a in attributions}))
                session.write(INSERT_ASSOCIATIONS, sorted({(a.context_id, a.execution_id) for a in associations}))

        self._write(work, lambda _session: None)

    def put_parent_contexts(self, parent_contexts: Sequence[ParentContext]) -> None:
        """Put contexts within others, all or none.

        Raises UnknownNodeError, NameTakenError (it is there already), InvalidValueError (a context would lie within
        itself).
        """
        pairs = [(parent.child_id, parent.parent_id) for parent in parent_contexts]
        if not pairs:
            return

        def work(session: Session) -> None:
            if session.locks:
                session.ask(_GATE)
            ids = sorted({key for pair in pairs for key in pair})
            check_there(CONTEXT, ids, session.ask(THERE["context"], {IDS: ids}))
            for number, (child, parent) in enumerate(pairs):
                known = pairs[:number]
                if child == parent or child in _ancestors(session, parent, known):
                    raise InvalidValueError(f"context {child} would lie within itself", field="parent_id", value=parent)
                if (child, parent) in known or (parent,) in session.ask(_PARENTS, {IDS: [child]}):
                    raise NameTakenError(
                        f"context {child} lies within {parent} already", field="parent_id", value=parent
                    )
            session.write(INSERT_PARENTS, pairs)

        self._write(work, lambda _session: None)

    def get_events_by_execution_ids(self, execution_ids: Iterable[int]) -> list[Event]:
        """The events of these executions, in the order they were put."""
        return self._events(EXECUTION, execution_ids)

    def get_events_by_artifact_ids(self, artifact_ids: Iterable[int]) -> list[Event]:
        """The events of these artifacts, in the order they were put."""
        return self._events(ARTIFACT, artifact_ids)

    def get_contexts_by_artifact(self, artifact_id: int) -> list[Context]:
        """The contexts that an artifact is in, in the order of their ids."""
        return self._contexts(_CONTEXTS_OF_ARTIFACT, artifact_id)

    def get_contexts_by_execution(self, execution_id: int) -> list[Context]:
        """The contexts that an execution is in, in the order of their ids."""
        return self._contexts(_CONTEXTS_OF_EXECUTION, execution_id)

    def get_parent_contexts_by_context(self, context_id: int) -> list[Context]:
        """The contexts that a context lies in, in the order of their ids."""
        return self._contexts(_PARENTS, context_id)

    def get_children_contexts_by_context(self, context_id: int) -> list[Context]:
        """The contexts that lie in a context, in the order of their ids."""
        return self._contexts(_CHILDREN, context_id)

    def _events(self, kind: Kind, ids: Iterable[int]) -> list[Event]:
        wanted = sorted(set(ids))
        if not wanted:
            return []
        with self._reading() as session:
            return events_of(session, sorted(session.ask(EVENTS_OF[kind.name], {IDS: wanted})))

    def _contexts(self, query: Query, key: int) -> list[Context]:
        with self._reading() as session:
            ids = sorted({row[0] for row in session.ask(query, {IDS: [key]})})
            return load_ids(session, self._types, CONTEXT, ids)


_EventDraft: Final = draft_of(Event)
_KINDS: Final[Mapping[int, EventType]] = {int(kind): kind for kind in EventType}


def check_event(event: Event, *, ids: bool) -> None:
    """Refuse an event without a type or, where ``ids``, without what it joins. Raises InvalidValueError."""
    if not isinstance(event, Event):
        raise InvalidValueError(f"this is no Event but a {type(event).__name__}", field="event", value=event)
    try:
        kind = EventType(event.type)
    except ValueError:
        kind = EventType.UNKNOWN
    if kind is EventType.UNKNOWN:
        names = ", ".join(name for name in EventType.__members__ if name != "UNKNOWN")
        raise InvalidValueError("an event needs a type", field="type", value=event.type, hint=f"one of {names}")
    if ids:
        for name in ("artifact_id", "execution_id"):
            if getattr(event, name) is None:
                raise InvalidValueError(f"an event needs an {name}", field=name, value=None)
    for step in event.path:
        if isinstance(step, str):
            check_text("path", step)
        elif isinstance(step, bool) or not isinstance(step, int) or not _LEAST <= step <= _MOST:
            raise InvalidValueError(
                "a step of a path is an index of 64 bits or a key", field="path", value=step, hint="int or str"
            )


def check_there(kind: Kind, ids: Sequence[int], rows: Rows) -> None:
    """Refuse ids that are not there. Raises UnknownNodeError."""
    there = {row[0] for row in rows}
    for key in ids:
        if key not in there:
            raise UnknownNodeError(f"there is no {kind.name} with id {key}", field=kind.key, value=key)


def check_ownership(
    session: Session,
    types: TypeCache,
    events: Iterable[Event],
    artifact_types: Mapping[int, int],
    execution_types: Mapping[int, int],
) -> None:
    """Refuse events that only a commit may write: those of its executions, and outputs that are its versions.

    The mappings have the nodes' types by id; others are not looked at. Raises InvalidValueError.
    """
    ids = {*artifact_types.values(), *execution_types.values()}
    known = types.get(session, ids)
    reserved = {key for key in ids if key in known and known[key].name.startswith(RESERVED)}
    if not reserved:
        return
    for event in events:
        if execution_types.get(event.execution_id or 0) in reserved:
            raise InvalidValueError(
                f"the events of execution {event.execution_id} belong to the commit",
                field="execution_id", value=event.execution_id, hint="put an execution of a type of your own",
            )  # fmt: skip
        if event.type in OUTPUT_EVENTS and artifact_types.get(event.artifact_id or 0) in reserved:
            raise InvalidValueError(
                f"artifact {event.artifact_id} is written by commits only",
                field="artifact_id", value=event.artifact_id, hint="other executions may read it",
            )  # fmt: skip


def new_events(events: Iterable[Event], there: Collection[EventKey]) -> list[Event]:
    """Those of the events that are not there yet, each once; of two the first."""
    found: dict[EventKey, Event] = {}
    for event in events:
        key = (event.artifact_id or 0, event.execution_id or 0, int(event.type))
        if key not in there:
            found.setdefault(key, event)
    return list(found.values())


def write_events(session: Session, events: Sequence[Event], ids: Sequence[int], now: int) -> None:
    """Insert events that are not there; ``ids`` were reserved for them (none on MySQL)."""
    rows = [
        (e.artifact_id, e.execution_id, int(e.type),
         now if e.milliseconds_since_epoch is None else e.milliseconds_since_epoch)
        for e in events
    ]  # fmt: skip
    if session.backend == "mysql":
        ids = session.insert_counted(INSERT_COUNTED_EVENTS, rows) if any(e.path for e in events) else []
        if not ids:
            session.write(INSERT_COUNTED_EVENTS, rows)
    else:
        session.write(INSERT_EVENTS, [(key, *row) for key, row in zip(ids, rows, strict=False)])
    session.write(
        INSERT_PATHS,
        [
            (
                key,
                isinstance(step, int),
                step if isinstance(step, int) else None,
                step if isinstance(step, str) else None,
            )
            for key, event in zip(ids, events, strict=False)
            for step in event.path
        ],
    )


def events_of(session: Session, found: Rows) -> list[Event]:
    """The events of these rows (id, artifact, execution, type, milliseconds), with their paths."""
    paths = paths_of(session, [row[0] for row in found])
    made = []
    for key, artifact_id, execution_id, kind, time in found:
        one = _EventDraft()
        one.type = _KINDS[kind]
        one.artifact_id = artifact_id
        one.execution_id = execution_id
        one.path = paths.get(key, ())
        one.milliseconds_since_epoch = time
        one.__class__ = Event
        made.append(one)
    return made


def paths_of(session: Session, event_ids: Sequence[int]) -> dict[int, tuple[int | str, ...]]:
    """The paths of those events that have one, by id."""
    found: dict[int, tuple[int | str, ...]] = {}
    rows: Rows = session.ask(PATHS, {IDS: list(event_ids)}) if event_ids else []
    for key, is_index, index, name in rows:
        step: int | str = (index or 0) if is_index else (name or "")
        found[key] = (*found[key], step) if key in found else (step,)
    return found


def _ancestors(session: Session, context_id: int, more: Sequence[tuple[int, int]]) -> set[int]:
    """Every context that this one lies within, at any depth; ``more`` are (child, parent) about to be put."""
    found: set[int] = set()
    level = {context_id}
    while level:
        above = {row[0] for row in session.ask(_PARENTS, {IDS: sorted(level)})}
        above |= {parent for child, parent in more if child in level}
        level = above - found
        found |= level
    return found
