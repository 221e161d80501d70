"""What may be removed from the catalog, and how: the rules for one small batch, checked and done in one transaction.

A node takes with it what says something of it alone: its properties, events with their paths, attributions and
associations, parents, column edges, dataset edges, write intents. Whatever else refers to it keeps it, also in tables
that this module knows nothing of. Beside that the lineage of every version of the lake is kept whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import registry, search_index
from lakecat.catalog import schema as s
from lakecat.catalog.database import now_ms
from lakecat.catalog.driver_errors import sqlalchemy_errors
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.metadata_store import walking
from lakecat.catalog.metadata_store.ids import bound, rows_by_ids
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, RESERVED, Kind
from lakecat.catalog.metadata_store.session import IDS, Session, one_of
from lakecat.types import ExecutionState

IsEmpty = Callable[[str], bool]
"""Whether nothing lies in a folder of the lake."""

SETTLED_MS: Final = 24 * 60 * 60 * 1000
"""So long after its end an execution's folders are looked at: its process may have been alive at the end."""

_OWN: Final[Mapping[str, tuple[tuple[str, sa.Column[int]], ...]]] = {
    "artifact": (
        ("properties", s.artifact_property.c.artifact_id),
        ("events", s.event.c.artifact_id),
        ("attributions", s.attribution.c.artifact_id),
        ("column edges", s.column_edge.c.output_artifact_id),
        ("dataset edges", s.dataset_edge.c.input_artifact_id),
    ),
    "execution": (
        ("properties", s.execution_property.c.execution_id),
        ("events", s.event.c.execution_id),
        ("associations", s.association.c.execution_id),
        ("column edges", s.column_edge.c.execution_id),
        ("dataset edges", s.dataset_edge.c.execution_id),
        ("write intents", s.intent.c.execution_id),
        ("runs", s.lake_execution.c.execution_id),
    ),
    "context": (
        ("properties", s.context_property.c.context_id),
        ("attributions", s.attribution.c.context_id),
        ("associations", s.association.c.context_id),
        ("parent contexts", s.parent_context.c.context_id),
        ("parent contexts", s.parent_context.c.parent_context_id),
        ("search entries", s.search.c.dataset_id),
    ),
}
"""What a node takes with it, in this order."""

_REASONS: Final = {
    "lakecat_version": "explains a version of the lake",
    "lakecat_dataset_edge": "explains a version of the lake",
    "lakecat_schema": "is the schema of a version",
    "lakecat_position": "set the position of a stream",
    "lakecat_file": "loaded files, which would be loaded again",
    "lakecat_tag_change": "moved a tag",
    "lakecat_tag": "has tags",
    "lakecat_annotation": "has annotations",
    "lakecat_mark": "has labels or owners",
    "lakecat_annotation_change": "had annotations",
}
RUNNING: Final = "is running, or belongs to what is"
LINEAGE: Final = "is where a version of the lake came from"
FOLDERS: Final = "may have left files in the lake"
NEWEST: Final = "is the newest of its job, which says when the job is due"
JOB: Final = "is the job of executions that stay"
SCRIPT: Final = "is the newest text of its script"
NEWER: Final = "was used since this purge began"
CHANGED: Final = "was changed since this purge began"
_SLACK: Final = 1_000
"""So many events back are looked at again: their transactions may have ended after those of later ones."""


def _references(kind: Kind) -> tuple[sa.Column[Any], ...]:
    """The columns of tables that keep a node of this kind."""
    own = {column for _, column in _OWN[kind.name]}
    target = kind.table.c.id
    return tuple(
        key.parent
        for table in s.metadata.sorted_tables
        for key in sorted(table.foreign_keys, key=lambda one: one.parent.name)
        if key.column is target and key.parent not in own
    )


REFERENCES: Final = {kind.name: _references(kind) for kind in (ARTIFACT, EXECUTION, CONTEXT)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is known before a batch.

    ``protected``: nodes (an execution is its id negated) that versions of the lake came from; None where nothing can
    come from the nodes that are looked at. ``versions`` and ``events``: how many versions, and which newest event, that
    goes by. ``newest``: the newest execution there was.
    """

    protected: frozenset[int] | None
    versions: int
    events: int
    newest: int
    is_empty: IsEmpty | None


def rules(session: Session, kind: Kind, ids: Sequence[int], is_empty: IsEmpty | None) -> Rules:
    """What must be known before nodes of this kind are removed."""
    connection = session.connection
    newest = connection.execute(sa.select(sa.func.max(s.execution.c.id))).scalar_one_or_none() or 0
    versions, events = _marks(connection)
    protected = None
    if kind is not CONTEXT and ids and _may_lead_on(connection, kind, ids):
        protected = walking.reach(session, _versions(connection), "up")
    return Rules(protected=protected, versions=versions, events=events, newest=newest, is_empty=is_empty)


def renewed(connection: sa.Connection, kind: Kind, ids: Sequence[int], known: Rules) -> Rules:
    """The rules with what was committed since: versions, and events that join these or other nodes to protected ones.

    The nodes are locked, so that nothing can be joined to them until the transaction ends.
    """
    if kind is CONTEXT or not ids or (known.protected is None and not _may_lead_on(connection, kind, ids)):
        return known
    with sqlalchemy_errors(connection):
        session = Session(connection)
        if known.protected is None:
            return replace(rules(session, kind, ids, known.is_empty), newest=known.newest)
        versions, events = _marks(connection)
        starts = _joined(connection, kind, ids, known.protected, known.events)
        if versions != known.versions:
            starts |= _versions(connection) - known.protected
        found = walking.reach(session, starts, "up")
    return replace(known, protected=known.protected.union(found), versions=versions, events=events)


def _marks(connection: sa.Connection) -> tuple[int, int]:
    """How many versions there are, and the newest event."""
    versions = sa.select(sa.func.count()).select_from(s.version).scalar_subquery()
    row = connection.execute(sa.select(versions, sa.select(sa.func.max(s.event.c.id)).scalar_subquery())).one()
    return int(row[0]), int(row[1] or 0)


def _versions(connection: sa.Connection) -> set[int]:
    return set(connection.execute(sa.select(s.version.c.artifact_id)).scalars())


def _joined(
    connection: sa.Connection, kind: Kind, ids: Sequence[int], protected: frozenset[int], events: int
) -> set[int]:
    """Nodes that are not protected, but lead to one that is: of events of these nodes, and of events that are new."""
    query: sa.Select[Any] = sa.select(s.event.c.artifact_id, s.event.c.execution_id, s.event.c.type)
    key = s.event.c.artifact_id if kind is ARTIFACT else s.event.c.execution_id
    found = set()
    for artifact, execution, event in (
        *connection.execute(query.where(s.event.c.id > events - _SLACK)),
        *rows_by_ids(connection, query, key, ids),
    ):
        before, after = (-execution, artifact) if event in walking.OUTPUTS else (artifact, -execution)
        if after in protected and before not in protected:
            found.add(before)
    return found


def _may_lead_on(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> bool:
    """Whether anything can come from these nodes at all: most executions that are removed have failed."""
    if kind is ARTIFACT:
        return True
    query = sa.select(s.event.c.execution_id).where(s.event.c.type.in_(walking.OUTPUTS)).limit(1)
    return any(rows_by_ids(connection, query, s.event.c.execution_id, ids))


def lock(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> dict[int, int]:
    """Lock those of the nodes that are still there, and what executions wrote, until the transaction ends.

    The nodes, each with the time of its last change.
    """
    if kind is EXECUTION and connection.dialect.name != "sqlite":
        query = sa.select(s.event.c.artifact_id).distinct()
        written = sorted(row[0] for row in rows_by_ids(connection, query, s.event.c.execution_id, ids))
        _lock(connection, s.artifact, written)
    return _lock(connection, kind.table, ids)


def _lock(connection: sa.Connection, table: sa.Table, ids: Sequence[int]) -> dict[int, int]:
    # In one order for everybody, so that none waits for another in a circle.
    query = sa.select(table.c.id, table.c.last_update_time_since_epoch).order_by(table.c.id).with_for_update()
    return {int(row[0]): int(row[1]) for row in rows_by_ids(connection, query, table.c.id, ids)}


def kept(connection: sa.Connection, kind: Kind, ids: Sequence[int], known: Rules) -> dict[int, str]:
    """Those of the nodes that stay, and why."""
    sign = -1 if kind is EXECUTION else 1
    protected = known.protected or frozenset()
    found = {key: LINEAGE for key in ids if sign * key in protected} if kind is not CONTEXT else {}
    for column in REFERENCES[kind.name]:
        reason = _REASONS.get(str(column.table.name), f"is needed by {column.table.name}")
        query = sa.select(column).distinct()
        found.update((row[0], reason) for row in rows_by_ids(connection, query, column, ids))
    if kind is EXECUTION:
        found |= _kept_executions(connection, ids, known)
    elif kind is ARTIFACT:
        found |= _kept_artifacts(connection, ids, known)
    else:
        found |= _kept_contexts(connection, ids)
    return found


def _kept_executions(connection: sa.Connection, ids: Sequence[int], known: Rules) -> dict[int, str]:
    ours, mine, written = s.lake_execution, s.event.alias("mine"), s.event.alias("written")
    found = _with_folders(connection, ids, known.is_empty)
    used = (
        sa.select(mine.c.execution_id)
        .distinct()
        .join(written, written.c.artifact_id == mine.c.artifact_id)
        .where(mine.c.type.in_(walking.OUTPUTS), written.c.execution_id > known.newest)
    )
    found.update((row[0], NEWER) for row in rows_by_ids(connection, used, mine.c.execution_id, ids))
    later = ours.alias("later")
    newer = sa.exists().where(later.c.job == ours.c.job, later.c.execution_id > ours.c.execution_id)
    newer_complete = newer.where(later.c.state == ExecutionState.COMPLETE.value)
    complete = ours.c.state == ExecutionState.COMPLETE.value
    newest = sa.select(ours.c.execution_id).where(sa.or_(sa.not_(newer), sa.and_(complete, sa.not_(newer_complete))))
    found.update((row[0], NEWEST) for row in rows_by_ids(connection, newest, ours.c.execution_id, ids))
    table = s.execution
    running = (
        sa.select(table.c.id)
        .outerjoin(ours, ours.c.execution_id == table.c.id)
        .where(
            sa.or_(
                ours.c.state == ExecutionState.RUNNING.value,
                sa.and_(ours.c.state.is_(None), table.c.last_known_state == int(MlmdState.RUNNING)),
            )
        )
    )
    found.update((row[0], RUNNING) for row in rows_by_ids(connection, running, table.c.id, ids))
    return found


def _with_folders(connection: sa.Connection, ids: Sequence[int], is_empty: IsEmpty | None) -> dict[int, str]:
    """Executions whose folders in the lake may hold files: without their intents nobody could remove these any more."""
    ours = s.lake_execution
    query = sa.select(
        s.intent.c.execution_id,
        s.intent.c.prefix,
        sa.func.coalesce(ours.c.finished_ms <= now_ms() - SETTLED_MS, sa.false()).label("settled"),
    ).outerjoin(ours, ours.c.execution_id == s.intent.c.execution_id)
    found: dict[int, str] = {}
    for row in rows_by_ids(connection, query, s.intent.c.execution_id, ids):
        if row.execution_id not in found and (is_empty is None or not row.settled or not is_empty(row.prefix)):
            found[row.execution_id] = FOLDERS
    return found


def _kept_artifacts(connection: sa.Connection, ids: Sequence[int], known: Rules) -> dict[int, str]:
    event, execution = s.event, s.execution
    newer = sa.select(event.c.artifact_id).distinct().where(event.c.execution_id > known.newest)
    found = {row[0]: NEWER for row in rows_by_ids(connection, newer, event.c.artifact_id, ids)}
    running = (
        sa.select(event.c.artifact_id)
        .distinct()
        .join(execution, execution.c.id == event.c.execution_id)
        .where(execution.c.last_known_state == int(MlmdState.RUNNING))
    )
    found.update((row[0], RUNNING) for row in rows_by_ids(connection, running, event.c.artifact_id, ids))
    table, later = s.artifact, s.artifact.alias("later")
    newest = (
        sa.select(table.c.id)
        .join(s.type_, s.type_.c.id == table.c.type_id)
        .where(
            s.type_.c.name == registry.SCRIPT,
            sa.not_(
                sa.exists().where(
                    later.c.type_id == table.c.type_id, later.c.uri == table.c.uri, later.c.id > table.c.id
                )
            ),
        )
    )
    found.update((row[0], SCRIPT) for row in rows_by_ids(connection, newest, table.c.id, ids))
    return found


def _kept_contexts(connection: sa.Connection, ids: Sequence[int]) -> dict[int, str]:
    execution, link = s.execution, s.association
    running = (
        sa.select(link.c.context_id)
        .distinct()
        .join(execution, execution.c.id == link.c.execution_id)
        .where(execution.c.last_known_state == int(MlmdState.RUNNING))
    )
    own = (
        sa.select(s.context.c.id)
        .join(s.type_, s.type_.c.id == s.context.c.type_id)
        .where(s.type_.c.name == registry.JOB, sa.exists().where(s.lake_execution.c.job == s.context.c.name))
    )
    found = {row[0]: JOB for row in rows_by_ids(connection, own, s.context.c.id, ids)}
    found.update((row[0], RUNNING) for row in rows_by_ids(connection, running, link.c.context_id, ids))
    return found


def count(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> Counter[str]:
    """What would go with these nodes."""
    found = Counter({f"{kind.name}s": len(ids)})
    for name, column in _OWN[kind.name]:
        query = sa.select(sa.func.count())
        found[name] += sum(row[0] for row in rows_by_ids(connection, query.select_from(column.table), column, ids))
    if kind is CONTEXT and (entries := _job_entries(connection, ids)):
        query = sa.select(sa.func.count()).select_from(s.search).where(s.search.c.key_hash.in_(entries))
        found["search entries"] += connection.execute(query).scalar_one()
    return found


def _job_entries(connection: sa.Connection, ids: Sequence[int]) -> list[str]:
    """The keys of what search finds jobs by; a dataset's entries refer to it."""
    table = s.context
    query = sa.select(table.c.name).join(s.type_, s.type_.c.id == table.c.type_id).where(s.type_.c.name == registry.JOB)
    names = rows_by_ids(connection, query, table.c.id, ids)
    return [search_index.key_hash(search_index.SearchKind.JOB, row[0]) for row in names]


def counted_twice(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> Counter[str]:
    """What ``count`` finds at two of these nodes: the links between contexts that go both."""
    if kind is not CONTEXT:
        return Counter()
    gone, link = frozenset(ids), s.parent_context.c
    rows = rows_by_ids(connection, sa.select(link.parent_context_id), link.context_id, ids)
    return Counter({"parent contexts": sum(row[0] in gone for row in rows)})


def shared(connection: sa.Connection, artifacts: Sequence[int], executions: Collection[int]) -> Counter[str]:
    """What goes with these artifacts, or with these executions before: it is counted with the executions."""
    found: Counter[str] = Counter()
    for name, key, other in (
        ("events", s.event.c.artifact_id, s.event.c.execution_id),
        ("column edges", s.column_edge.c.output_artifact_id, s.column_edge.c.execution_id),
        ("dataset edges", s.dataset_edge.c.input_artifact_id, s.dataset_edge.c.execution_id),
    ):
        rows = rows_by_ids(connection, sa.select(other), key, artifacts)
        found[name] = sum(row[0] in executions for row in rows)
    return found


def remove(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> Counter[str]:
    """Remove these nodes with all that goes with them; how much that was."""
    backend = connection.dialect.name
    found: Counter[str] = Counter()
    parameters = {IDS: bound(backend, ids)}

    def delete(name: str, column: sa.Column[int]) -> None:
        if column.table is s.event:
            events = sa.select(s.event.c.id).where(one_of(column, backend))
            connection.execute(sa.delete(s.event_path).where(s.event_path.c.event_id.in_(events)), parameters)
        found[name] += connection.execute(sa.delete(column.table).where(one_of(column, backend)), parameters).rowcount

    if ids:
        entries: list[str] = []
        if kind is CONTEXT:
            search_index.ready(connection)
            entries = _job_entries(connection, ids)
        for name, column in _OWN[kind.name]:
            delete(name, column)
        if entries:
            gone = connection.execute(sa.delete(s.search).where(s.search.c.key_hash.in_(entries)))
            found["search entries"] += gone.rowcount
        delete(f"{kind.name}s", kind.table.c.id)
    return found


def unused_types(connection: sa.Connection, ids: Sequence[int] | None = None) -> list[int]:
    """The types without nodes and without types that build on them; lakecat's and ML Metadata's own ones stay."""
    used = [
        sa.exists().where(column == s.type_.c.id)
        for column in (s.artifact.c.type_id, s.execution.c.type_id, s.context.c.type_id, s.parent_type.c.parent_type_id)
    ]
    query = sa.select(s.type_.c.id).where(
        sa.not_(sa.or_(*used)),
        s.type_.c.name.not_like(f"{RESERVED}%"),
        s.type_.c.name.not_like("mlmd.%"),
    )
    rows = connection.execute(query) if ids is None else rows_by_ids(connection, query, s.type_.c.id, ids)
    return sorted(int(row[0]) for row in rows)


def existing_types(connection: sa.Connection, ids: Sequence[int]) -> list[int]:
    """Those of the types that are there."""
    return [int(row[0]) for row in rows_by_ids(connection, sa.select(s.type_.c.id), s.type_.c.id, ids)]


_OF_TYPE: Final = (
    ("type properties", s.type_property.c.type_id),
    ("parent types", s.parent_type.c.type_id),
    ("types", s.type_.c.id),
)


def count_types(connection: sa.Connection, ids: Sequence[int]) -> Counter[str]:
    """What would go with these types."""
    return Counter({name: sum(1 for _ in rows_by_ids(connection, sa.select(key), key, ids)) for name, key in _OF_TYPE})


def remove_types(connection: sa.Connection, ids: Sequence[int]) -> Counter[str]:
    """Remove types with their properties and parents."""
    backend, parameters = connection.dialect.name, {IDS: bound(connection.dialect.name, ids)}
    found: Counter[str] = Counter()
    for name, column in _OF_TYPE:
        if ids:
            statement = sa.delete(column.table).where(one_of(column, backend))
            found[name] += connection.execute(statement, parameters).rowcount
    return found


def without_events(connection: sa.Connection, kind: Kind, removed: Collection[int]) -> list[int]:
    """What these executions (or artifacts) leave behind without any event: artifacts (or executions)."""
    mine, other = s.event.c.execution_id, s.event.c.artifact_id
    if kind is ARTIFACT:
        mine, other = other, mine
    gone = frozenset(removed)
    pairs: sa.Select[Any] = sa.select(other, mine).distinct()
    touched = {row[0] for row in rows_by_ids(connection, pairs, mine, sorted(gone))}
    left = {row[0] for row in rows_by_ids(connection, pairs, other, sorted(touched)) if row[1] not in gone}
    return sorted(touched - left)


def eventless(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> list[int]:
    """Those of the artifacts (executions, where artifacts went) that are there and have no event."""
    table, key = (s.artifact, s.event.c.artifact_id) if kind is EXECUTION else (s.execution, s.event.c.execution_id)
    query = sa.select(table.c.id).where(sa.not_(sa.exists().where(key == table.c.id))).order_by(table.c.id)
    return [int(row[0]) for row in rows_by_ids(connection, query, table.c.id, ids)]
