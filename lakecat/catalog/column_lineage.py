"""Column lineage: from a column back to the files it came from, or on to all that was made of it.

A version's content comes from the execution that made it and, unless that wrote the whole table, from those of the
versions before it. The walk takes all of these, back to the last version that was written whole, and follows inputs at
the version that was read. What decides one column's value (CASE, windows) is followed like the value itself;
influences on the whole output (joins, filters, …) are told, and not followed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.database import Row
from lakecat.catalog.enums import EventType
from lakecat.catalog.queries import uri_hash
from lakecat.catalog.reading import dataset_id
from lakecat.catalog.values import ColumnPath, ColumnRef
from lakecat.types import EdgeKind, Version

if TYPE_CHECKING:
    from lakecat.catalog.foreign_bridges import ForeignColumns

ColumnDirection: TypeAlias = Literal["up", "down"]

_EDGES: Final = (
    sa.select(s.column_edge, s.version.c.version, s.version.c.dataset_id)
    .join(s.version, s.version.c.artifact_id == s.column_edge.c.output_artifact_id)
    .order_by(s.version.c.version.desc(), s.column_edge.c.id)
)


def walk(
    connection: sa.Connection, version: Version, column: str | None, direction: ColumnDirection, depth: int | None
) -> tuple[ColumnPath, ...]:
    """Every step from the column (all columns where None) of this version, nearest first, each once."""
    # What joins imported lineage is of use to those only who walk.
    from lakecat.catalog.foreign_bridges import ForeignColumns

    foreign = ForeignColumns.of(connection)
    steps = _Up(connection, foreign) if direction == "up" else _Down(connection, foreign)
    return tuple(steps.run(version, column, depth))


@dataclass(slots=True)
class _Task:
    """A column still to be walked from. ``version`` is None for a dataset of another program's, by its URI."""

    dataset: str
    column: str | None
    version: int | None
    depth: int


@dataclass(slots=True)
class _Walker:
    connection: sa.Connection
    foreign: ForeignColumns
    told: set[tuple[Any, ...]] = field(default_factory=set)

    def first_time(self, step: ColumnPath) -> bool:
        """Whether no step has said the same before; the newest execution is told of many that did the same."""
        source = None if step.input is None else (step.input.dataset, step.input.column)
        key = (step.output.dataset, step.output.column, source, step.kind, step.expression)
        if key in self.told:
            return False
        self.told.add(key)
        return True


def _key(task: _Task) -> tuple[str, str | None]:
    return task.dataset, None if task.column is None else task.column.lower()


def _same_name(column: sa.Column[str], name: str) -> sa.ColumnElement[bool]:
    """Equal but for case, as far as the database knows case: SQLite, and PostgreSQL in locale C, know only ASCII's."""
    return sa.func.lower(column) == sa.func.lower(name)


def _step(edge: Row, depth: int, input_version: int | None) -> ColumnPath:
    source = None
    if edge.input_dataset is not None:
        source = ColumnRef(edge.input_dataset, edge.input_column, input_version)
    return ColumnPath(
        depth=depth,
        output=ColumnRef(edge.output_dataset, edge.output_column, edge.version),
        input=source,
        kind=EdgeKind(edge.kind),
        expression=edge.expression,
        line=edge.line,
        execution_id=edge.execution_id,
        masked=bool(edge.masked),
    )


@dataclass(slots=True)
class _Up(_Walker):
    done: dict[tuple[str, str | None], list[tuple[int, int]]] = field(default_factory=dict)
    """By column the ranges of versions whose edges have been told: from one written whole to the one asked for."""
    abroad: set[tuple[str, str | None]] = field(default_factory=set)

    def run(self, version: Version, column: str | None, depth: int | None) -> Iterator[ColumnPath]:
        queue = deque([_Task(str(version.dataset), column, version.version, 1)])
        while queue:
            task = queue.popleft()
            steps = self._next(task)
            further = depth is None or task.depth < depth
            if further and task.version is not None:
                steps += self._files(steps, task.depth + 1)
            for step in steps:
                if self.first_time(step):
                    yield step
            if further:
                queue.extend(self._onwards(steps, task.depth + 1))

    def _files(self, steps: Sequence[ColumnPath], depth: int) -> list[ColumnPath]:
        """From what an ingest was told to read (a pattern) to those of its files that other programs wrote."""
        sources = [step for step in steps if step.input is not None and step.input.version is None]
        files = self.foreign.files(step.execution_id for step in sources)
        return [
            _renamed(step.input, ColumnRef(uri, step.input.column), depth, step.execution_id)
            for step in sources
            for uri in files.get((step.execution_id, step.output.dataset), ())
            if step.input is not None and uri != step.input.dataset
        ]

    def _next(self, task: _Task) -> list[ColumnPath]:
        """The steps next to a column that was not walked from before."""
        if task.version is None:
            if _key(task) in self.abroad:
                return []
            self.abroad.add(_key(task))
            return list(_foreign_steps(self.connection, self.foreign.up(task.dataset, task.column), task.depth))
        ranges = self.done.setdefault(_key(task), [])
        if any(first <= task.version <= last for first, last in ranges):
            return []
        since = self._since(task, task.version)
        ranges.append((since, task.version))
        return list(self._steps(task, since, task.version))

    def _onwards(self, steps: Sequence[ColumnPath], depth: int) -> Iterator[_Task]:
        """The inputs to walk from: versions of lakecat's, and what other programs wrote."""
        inputs = [step.input for step in steps if step.followed and step.input is not None]
        abroad = self.foreign.which(source.dataset for source in inputs if source.version is None)
        for source in inputs:
            if source.version is not None or source.dataset in abroad:
                yield _Task(source.dataset, source.column, source.version, depth)

    def _since(self, task: _Task, version: int) -> int:
        """The last version up to this one that was written whole."""
        found = self.connection.execute(
            sa.select(s.version.c.version)
            .where(s.version.c.dataset_id == dataset_id(task.dataset), s.version.c.version <= version)
            .where(s.version.c.whole)
            .order_by(s.version.c.version.desc())
            .limit(1)
        ).scalar_one_or_none()
        return int(found or 1)

    def _steps(self, task: _Task, since: int, version: int) -> Iterator[ColumnPath]:
        """The edges of all versions that this version's content comes from, newest first."""
        query = _EDGES.where(
            s.version.c.dataset_id == dataset_id(task.dataset), s.version.c.version.between(since, version)
        )
        if task.column is not None:
            output = s.column_edge.c.output_column
            query = query.where(sa.or_(output.is_(None), _same_name(output, task.column)))
        edges = self.connection.execute(query).all()
        read = _versions_read(self.connection, {edge.execution_id for edge in edges})
        for edge in edges:
            yield _step(edge, task.depth, read.get((edge.execution_id, edge.input_dataset)))


@dataclass(slots=True)
class _Down(_Walker):
    done: set[tuple[str, str | None]] = field(default_factory=set)

    def run(self, version: Version, column: str | None, depth: int | None) -> Iterator[ColumnPath]:
        queue = deque([_Task(str(version.dataset), column, version.version, 1)])
        while queue:
            task = queue.popleft()
            if _key(task) in self.done:
                continue
            self.done.add(_key(task))
            for step in self._steps(task):
                if self.first_time(step):
                    yield step
                if step.followed and (depth is None or task.depth < depth):
                    queue.append(_Task(step.output.dataset, step.output.column, step.output.version, task.depth + 1))

    def _steps(self, task: _Task) -> Iterator[ColumnPath]:
        """What executions made of the column; of each output only what its newest content comes from."""
        later = s.version.alias("later")
        # An output that was written whole again since says no more what is in the table now.
        superseded = sa.exists().where(
            later.c.dataset_id == s.version.c.dataset_id, later.c.version > s.version.c.version, later.c.whole
        )
        query = _EDGES.where(s.column_edge.c.input_hash == uri_hash(task.dataset), sa.not_(superseded))
        if task.column is not None:
            query = query.where(_same_name(s.column_edge.c.input_column, task.column))
        edges = self.connection.execute(query).all()
        versions = _versions_read(self.connection, {edge.execution_id for edge in edges})
        for edge in edges:
            yield _step(edge, task.depth, versions.get((edge.execution_id, edge.input_dataset)))
        yield from _foreign_steps(self.connection, self.foreign.down(task.dataset, task.column), task.depth)
        if task.version is None:
            for read in self.foreign.read_as(task.dataset, task.column):
                name = ColumnRef(read.input_dataset, read.input_column)
                yield _renamed(name, ColumnRef(task.dataset, read.input_column), task.depth, read.execution_id)


def _renamed(output: ColumnRef, source: ColumnRef, depth: int, execution_id: int) -> ColumnPath:
    """The same data under two names."""
    return ColumnPath(depth, output, source, EdgeKind.IDENTITY, None, None, execution_id)


def _foreign_steps(connection: sa.Connection, edges: Sequence[Row], depth: int) -> Iterator[ColumnPath]:
    """Steps of other programs; their outputs are named by URI, and have no version of lakecat's."""
    read = _versions_read(connection, {edge.execution_id for edge in edges})
    for edge in edges:
        step = _step(edge, depth, read.get((edge.execution_id, edge.input_dataset)))
        yield replace(step, output=ColumnRef(edge.uri, edge.output_column))


def _versions_read(connection: sa.Connection, execution_ids: Iterable[int]) -> dict[tuple[int, str], int]:
    """Which version of which dataset these executions read."""
    found: dict[tuple[int, str], int] = {}
    ids = sorted(execution_ids)
    for start in range(0, len(ids), registry.CHUNK):
        rows = connection.execute(
            sa.select(s.event.c.execution_id, s.context.c.name, s.version.c.version)
            .join(s.version, s.version.c.artifact_id == s.event.c.artifact_id)
            .join(s.context, s.context.c.id == s.version.c.dataset_id)
            .where(
                s.event.c.execution_id.in_(ids[start : start + registry.CHUNK]),
                s.event.c.type == int(EventType.INPUT),
            )
        )
        found.update(((row.execution_id, row.name), row.version) for row in rows)
    return found
