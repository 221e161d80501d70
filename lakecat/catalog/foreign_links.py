"""Events that join runs of other programs with states of datasets, and with lakecat's own versions.

What a run wrote is a state of its own, or the version that it named. What it read is the version that it named, or
what the last run that completed before had written; that is looked up again whenever a writer becomes known, so that
the order of import makes no difference.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import EventType
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.foreign_types import STATE

V = TypeVar("V")
DONE: Final = (int(MlmdState.COMPLETE), int(MlmdState.CACHED))


@dataclass(frozen=True, slots=True)
class Link:
    """A run read (INPUT) or wrote (OUTPUT) a state of a dataset. ``exact``: the run named the version itself.

    ``role`` becomes the event's path; of what is not exact it is the dataset's name, by which it is known again.
    """

    execution_id: int
    type: EventType
    context_id: int
    artifact_id: int
    time: int
    role: str
    exact: bool


@dataclass(frozen=True, slots=True)
class _Known:
    event_id: int
    artifact_id: int
    time: int
    role: str | None
    exact: bool


@dataclass(slots=True)
class Links:
    """Writes the links of a batch. ``names``: of the datasets' contexts, by id."""

    connection: sa.Connection
    names: Mapping[int, str]
    added: int = 0
    changed: set[int] = field(default_factory=set)
    """Executions whose links are not what they were."""
    left: set[int] = field(default_factory=set)
    """Artifacts that an event led to before its version became known."""

    def write(self, wanted: Sequence[Link]) -> dict[Link, int]:
        """Make the links that are missing; the artifact that each leads to."""
        known = self._load(sorted({link.execution_id for link in wanted}))
        placed: dict[Link, int] = {}
        fresh: dict[tuple[int, int, EventType], Link] = {}
        for link in sorted(wanted, key=lambda one: not one.exact):  # what is exact first: the others give way
            found = known.setdefault((link.execution_id, link.type, link.context_id), [])
            same = next((one for one in found if one.artifact_id == link.artifact_id), None)
            if same is None and not link.exact and found:
                same = found[0]
            if same is None and link.exact and (vague := next((one for one in found if not one.exact), None)):
                found.remove(vague)
                same = self._sharpen(vague, link)
                found.append(same)
            if same is None:
                fresh[link.artifact_id, link.execution_id, link.type] = link
                same = _Known(0, link.artifact_id, link.time, link.role, link.exact)
                found.append(same)
            placed[link] = same.artifact_id
            self._retime(same, link)
        self._insert(list(fresh.values()))
        return placed

    def _load(self, executions: Sequence[int]) -> dict[tuple[int, EventType, int], list[_Known]]:
        found: dict[tuple[int, EventType, int], list[_Known]] = {}
        event, mine, path = s.event, s.attribution, s.event_path
        for ids in chunks(executions):
            rows = self.connection.execute(
                sa.select(
                    event.c.id, event.c.execution_id, event.c.artifact_id, event.c.type,
                    event.c.milliseconds_since_epoch.label("time"), mine.c.context_id, path.c.step_key,
                )
                .join(mine, mine.c.artifact_id == event.c.artifact_id)
                .outerjoin(path, sa.and_(path.c.event_id == event.c.id, sa.not_(path.c.is_index_step)))
                .where(event.c.execution_id.in_(ids))
                .order_by(event.c.id)
            )  # fmt: skip
            for row in rows:
                if row.context_id not in self.names or row.type not in (EventType.INPUT, EventType.OUTPUT):
                    continue
                exact = row.step_key != self.names[row.context_id]
                key = (row.execution_id, EventType(row.type), row.context_id)
                found.setdefault(key, []).append(_Known(row.id, row.artifact_id, row.time, row.step_key, exact))
        return found

    def _sharpen(self, known: _Known, link: Link) -> _Known:
        """The version of what was linked vaguely has become known: the event leads to it, and edges follow."""
        event, path, edge = s.event, s.event_path, s.column_edge
        self.changed.add(link.execution_id)
        self.connection.execute(
            sa.update(event).where(event.c.id == known.event_id).values(artifact_id=link.artifact_id)
        )
        self.connection.execute(
            sa.update(path).where(path.c.event_id == known.event_id).values(step_key=link.role, is_index_step=False)
        )
        if link.type is EventType.OUTPUT:
            self.left.add(known.artifact_id)
            self.connection.execute(
                sa.update(edge)
                .where(edge.c.execution_id == link.execution_id, edge.c.output_artifact_id == known.artifact_id)
                .values(output_artifact_id=link.artifact_id)
            )
        return _Known(known.event_id, link.artifact_id, known.time, link.role, exact=True)

    def _retime(self, known: _Known, link: Link) -> None:
        """A read counts from the run's beginning, a write at its end."""
        wanted = min(known.time, link.time) if link.type is EventType.INPUT else max(known.time, link.time)
        if known.event_id and wanted != known.time:
            self.changed.add(link.execution_id)
            self.connection.execute(
                sa.update(s.event).where(s.event.c.id == known.event_id).values(milliseconds_since_epoch=wanted)
            )

    def _insert(self, links: Sequence[Link]) -> None:
        if not links:
            return
        table = s.event
        self.changed.update(one.execution_id for one in links)
        self.connection.execute(
            sa.insert(table),
            [
                {"artifact_id": one.artifact_id, "execution_id": one.execution_id, "type": int(one.type),
                 "milliseconds_since_epoch": one.time}
                for one in links
            ],
        )  # fmt: skip
        roles = {(one.artifact_id, one.execution_id, int(one.type)): one.role for one in links}
        paths = []
        for ids in chunks(sorted({one.execution_id for one in links})):
            rows = self.connection.execute(
                sa.select(table.c.id, table.c.artifact_id, table.c.execution_id, table.c.type).where(
                    table.c.execution_id.in_(ids)
                )
            )
            paths += [
                {"event_id": row.id, "is_index_step": False, "step_key": roles.pop(key)}
                for row in rows
                if (key := (row.artifact_id, row.execution_id, row.type)) in roles
            ]
        self.connection.execute(sa.insert(s.event_path), paths)
        self.added += len(paths)


def set_ends(connection: sa.Connection, ends: Mapping[int, int]) -> None:
    """Let what these executions wrote count from their ends on, by execution id."""
    if ends:
        connection.execute(
            sa.update(s.event)
            .where(
                s.event.c.execution_id == sa.bindparam("of"),
                s.event.c.type == int(EventType.OUTPUT),
                s.event.c.milliseconds_since_epoch != sa.bindparam("at"),
            )
            .values(milliseconds_since_epoch=sa.bindparam("at")),
            [{"of": execution, "at": end} for execution, end in sorted(ends.items())],
        )


def remove_unused(connection: sa.Connection, artifacts: Iterable[int]) -> None:
    """Remove those of these artifacts that no event leads to any more."""
    ids = sorted(artifacts)
    for part in chunks(ids):
        used = set(
            connection.execute(sa.select(s.event.c.artifact_id).where(s.event.c.artifact_id.in_(part))).scalars()
        )
        unused = [key for key in part if key not in used]
        for table in (s.artifact_property, s.attribution):
            connection.execute(sa.delete(table).where(table.c.artifact_id.in_(unused)))
        connection.execute(sa.delete(s.artifact).where(s.artifact.c.id.in_(unused)))


def written_by(connection: sa.Connection, executions: Sequence[int], dataset_type: int) -> set[int]:
    """The contexts of the datasets (of this type) that executions wrote."""
    near: set[int] = set()
    for ids in chunks(executions):
        rows = connection.execute(
            sa.select(s.attribution.c.context_id)
            # An expression, so that SQLite begins with the executions' events.
            .join(s.event, s.event.c.artifact_id + 0 == s.attribution.c.artifact_id)
            .where(s.event.c.execution_id.in_(ids), s.event.c.type == int(EventType.OUTPUT))
            .distinct()
        )
        near.update(rows.scalars())
    found: set[int] = set()
    for ids in chunks(sorted(near)):
        found.update(
            connection.execute(
                sa.select(s.context.c.id).where(s.context.c.id.in_(ids), s.context.c.type_id == dataset_type)
            ).scalars()
        )
    return found


def relink(
    connection: sa.Connection, datasets: Iterable[int], since: int, types: Mapping[tuple[str, Any], int]
) -> None:
    """Let each vague read since a moment lead to what had been written last before it."""
    for ids in chunks(sorted(set(datasets))):
        writes = load_writes(connection, ids, since)
        found = _as_found(connection, ids, types[STATE])
        moves = []
        for read in _reads(connection, ids, since):
            wanted = _before(writes.get(read.context_id, []), read) or found.get(read.context_id)
            if wanted is not None and wanted != read.artifact_id:
                moves.append({"of": read.id, "to": wanted})
        if moves:
            connection.execute(
                sa.update(s.event)
                .where(s.event.c.id == sa.bindparam("of"))
                .values(artifact_id=sa.bindparam("to")),
                moves,
            )  # fmt: skip


def _before(writes: list[tuple[int, int, int]], read: Any) -> int | None:
    """The artifact of the last write up to a read, the reader's own left out; writes are in the order of time."""
    index = bisect.bisect_right(writes, (read.time, 2**63, 2**63))
    for _, execution, artifact in reversed(writes[:index]):
        if execution != read.execution_id:
            return artifact
    return None


def _reads(connection: sa.Connection, datasets: Sequence[int], since: int) -> Iterator[Any]:
    event, mine, path, context = s.event, s.attribution, s.event_path, s.context
    yield from connection.execute(
        sa.select(
            event.c.id, event.c.execution_id, event.c.artifact_id, mine.c.context_id,
            event.c.milliseconds_since_epoch.label("time"),
        )
        .join(mine, mine.c.artifact_id == event.c.artifact_id)
        .join(context, context.c.id == mine.c.context_id)
        .join(path, sa.and_(path.c.event_id == event.c.id, path.c.step_key == context.c.name))
        .where(
            mine.c.context_id.in_(datasets),
            event.c.type == int(EventType.INPUT),
            event.c.milliseconds_since_epoch >= since,
        )
    ).all()  # fmt: skip


def load_writes(
    connection: sa.Connection, datasets: Sequence[int], since: int
) -> dict[int, list[tuple[int, int, int]]]:
    """By dataset, in order, (time, execution, artifact) of what was written since a moment; and the last two before.

    Two, because the last one may be the reader's own.
    """
    event, mine, execution = s.event, s.attribution, s.execution
    time = event.c.milliseconds_since_epoch
    wrote = (
        sa.select(
            mine.c.context_id,
            time.label("time"),
            event.c.execution_id,
            event.c.artifact_id,
            sa.func.row_number()
            .over(partition_by=(mine.c.context_id, time < since), order_by=(time.desc(), event.c.id.desc()))
            .label("newest"),
        )
        .join(event, event.c.artifact_id == mine.c.artifact_id)
        .join(execution, execution.c.id == event.c.execution_id)
        .where(
            mine.c.context_id.in_(datasets),
            event.c.type == int(EventType.OUTPUT),
            execution.c.last_known_state.in_(DONE),
        )
        .subquery()
    )
    rows = connection.execute(
        sa.select(wrote).where(sa.or_(wrote.c.time >= since, wrote.c.newest <= 2))
    )  # fmt: skip
    found: dict[int, list[tuple[int, int, int]]] = {}
    for row in rows:
        found.setdefault(row.context_id, []).append((row.time, row.execution_id, row.artifact_id))
    for writes in found.values():
        writes.sort()
    return found


def _as_found(connection: sa.Connection, datasets: Sequence[int], state_type: int) -> dict[int, int]:
    """The artifacts that stand for a dataset as it was found; they have its name."""
    rows = connection.execute(
        sa.select(s.context.c.id.label("context_id"), s.artifact.c.id.label("artifact_id"))
        .join(s.artifact, sa.and_(s.artifact.c.type_id == state_type, s.artifact.c.name == s.context.c.name))
        .where(s.context.c.id.in_(datasets))
    )
    return {row.context_id: row.artifact_id for row in rows}


def chunks(values: Sequence[V]) -> Iterator[Sequence[V]]:
    """The values in their order, in lists that fit an IN."""
    for start in range(0, len(values), registry.CHUNK):
        yield values[start : start + registry.CHUNK]
