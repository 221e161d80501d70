"""Impact: everything that would be touched by a change of a column, or of a dataset.

Only what holds now: of each output and job the latest execution that completed, and only while the output has not been
written whole again since. Columns are told apart by Iceberg's field id at the version that was read, so that a renamed
column is the same one and a name that came back is another. ``value``: the column's value flows there; ``influence``:
it decides which rows or values are taken (a filter, a join, CASE); an influence never becomes a value again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import dataset_edges
from lakecat.catalog import schema as s
from lakecat.catalog.database import Row
from lakecat.catalog.enums import INPUT_EVENTS
from lakecat.catalog.queries import uri_hash
from lakecat.catalog.reading import VERSIONS, dataset_id, id_chunks, version_of
from lakecat.types import EdgeKind, Version

Effect: TypeAlias = Literal["value", "influence"]

_INPUTS: Final = sorted(int(kind) for kind in INPUT_EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A column (None: which rows there are, or a whole dataset) that is affected, and the step that leads there.

    ``distance`` counts executions; ``version`` is the output's version that the step made. The step goes from
    ``from_dataset`` and ``from_column``, by ``expression`` at ``line`` of the script of ``execution_id``.
    """

    dataset: str
    column: str | None
    effect: Effect
    distance: int
    version: int
    from_dataset: str
    from_column: str | None
    kind: EdgeKind | None
    expression: str | None
    line: int | None
    execution_id: int
    masked: bool = False


def impact(connection: sa.Connection, version: Version, field_id: int | None) -> tuple[Affected, ...]:
    """What is affected by the column of this field id (None: by the dataset), nearest first."""
    return tuple(_Walk(connection).run(version, field_id))


@dataclass(frozen=True, slots=True, order=True)
class _Node:
    """A column by dataset and field id; ``_ROWS`` in its place stands for which rows the dataset has."""

    dataset: str
    field_id: int


_ROWS: Final = -1
_Queue: TypeAlias = "list[tuple[int, bool, int, _Node, Affected | None]]"


@dataclass(frozen=True, slots=True)
class _Step:
    """A step that holds now, with the columns' field ids; ``source`` None: from whichever column."""

    source: int | None
    target: _Node
    column: str | None
    version: int
    edge: Row | _Reading


@dataclass(slots=True)
class _Walk:
    connection: sa.Connection
    schemas: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)
    newest: dict[str, Version | None] = field(default_factory=dict)
    steps: dict[str, list[_Step]] = field(default_factory=dict)

    def run(self, version: Version, field_id: int | None) -> list[Affected]:
        """A walk by distance; at the same distance values come before influences."""
        root = _Node(str(version.dataset), _ROWS if field_id is None else field_id)
        found: dict[_Node, Affected] = {}
        seen: set[tuple[_Node, bool]] = set()
        queue: _Queue = [(0, False, 0, root, None)]
        pushed = 0
        while queue:
            distance, indirect, _, node, affected = heapq.heappop(queue)
            if (node, False) in seen or (node, indirect) in seen:
                continue
            seen.add((node, indirect))
            if affected is not None and node != root:
                found[node] = affected
            for one, target in self._onwards(node, distance, indirect=indirect):
                pushed += 1
                heapq.heappush(queue, (one.distance, one.effect == "influence", pushed, target, one))
        return sorted(found.values(), key=lambda a: (a.distance, a.effect != "value", a.dataset, a.column or ""))

    def _onwards(self, node: _Node, distance: int, *, indirect: bool) -> Iterator[tuple[Affected, _Node]]:
        if node.dataset not in self.steps:
            self.steps[node.dataset] = list(self._load(node.dataset))
        for step in self.steps[node.dataset]:
            if step.source is not None and _ROWS != node.field_id != step.source:
                continue
            if step.edge.kind is None and node.field_id != _ROWS:
                continue  # that a script reads the table says nothing of a column
            kind = None if step.edge.kind is None else EdgeKind(step.edge.kind)
            value = kind is not None and kind.direct and not indirect and step.target.field_id != _ROWS
            yield _affected(step, kind, distance + 1, "value" if value else "influence"), step.target

    def _load(self, dataset: str) -> Iterator[_Step]:
        """The steps from a dataset that hold now: of each output and job those of the newest execution."""
        outputs = self._outputs(dataset)
        read = self._read(dataset, [output.execution_id for output in outputs])
        by_execution = {(output.execution_id, output.dataset): output for output in outputs}
        for edge in self._edges(dataset, [output.execution_id for output in outputs]):
            made = by_execution.get((edge.execution_id, edge.output_dataset))
            if made is None:
                continue
            target, column = self._target(edge, made)
            if target is not None:
                source = self._source(dataset, edge, read.get(edge.execution_id))
                yield _Step(source, target, column, made.version, edge)
        for output in outputs:
            reading = _Reading(output.execution_id, dataset)
            yield _Step(None, _Node(output.dataset, _ROWS), None, output.version, reading)

    def _outputs(self, dataset: str) -> list[Row]:
        """Of each output and job the newest version whose execution read the dataset, unless written over since."""
        ours, theirs, job = s.version, s.version.alias("theirs"), s.lake_execution
        newest = (
            sa.select(theirs.c.dataset_id, job.c.job, sa.func.max(theirs.c.version).label("version"))
            .select_from(ours)
            .join(s.event, sa.and_(s.event.c.artifact_id == ours.c.artifact_id, s.event.c.type.in_(_INPUTS)))
            .join(theirs, theirs.c.execution_id == s.event.c.execution_id)
            .join(job, job.c.execution_id == theirs.c.execution_id)
            .where(ours.c.dataset_id == dataset_id(dataset))
            .group_by(theirs.c.dataset_id, job.c.job)
        )
        newest = dataset_edges.only_flows(newest, s.event, theirs.c.artifact_id)
        pairs = [(row.dataset_id, row.version) for row in self.connection.execute(newest)]
        whole = self._whole({output for output, _ in pairs})
        kept = [pair for pair in pairs if pair[1] >= whole.get(pair[0], 0)]
        found: list[Row] = []
        for output, number in kept:
            found += self.connection.execute(
                VERSIONS.where(s.version.c.dataset_id == output, s.version.c.version == number)
            ).all()
        return found

    def _whole(self, datasets: Iterable[int]) -> dict[int, int]:
        """The last version of each dataset that was written whole."""
        found: dict[int, int] = {}
        for part in id_chunks(datasets):
            rows = self.connection.execute(
                sa.select(s.version.c.dataset_id, sa.func.max(s.version.c.version))
                .where(s.version.c.dataset_id.in_(part), s.version.c.whole)
                .group_by(s.version.c.dataset_id)
            )
            found.update((int(dataset), int(number)) for dataset, number in rows)
        return found

    def _read(self, dataset: str, executions: Sequence[int]) -> dict[int, str]:
        """The fingerprint of the newest version of the dataset that each of the executions read."""
        found: dict[int, str] = {}
        for part in id_chunks(executions):
            rows = self.connection.execute(
                sa.select(s.event.c.execution_id, s.version.c.fingerprint)
                .join(s.version, s.version.c.artifact_id == s.event.c.artifact_id)
                .where(s.event.c.execution_id.in_(part), s.event.c.type.in_(_INPUTS))
                .where(s.version.c.dataset_id == dataset_id(dataset))
                .order_by(s.version.c.version)
            )
            found.update((row.execution_id, row.fingerprint) for row in rows)
        return found

    def _edges(self, dataset: str, executions: Sequence[int]) -> Iterator[Row]:
        for part in id_chunks(executions):
            yield from self.connection.execute(
                sa.select(s.column_edge)
                .where(s.column_edge.c.execution_id.in_(part), s.column_edge.c.input_hash == uri_hash(dataset))
                .order_by(s.column_edge.c.id)
            )

    def _source(self, dataset: str, edge: Row, fingerprint: str | None) -> int | None:
        if fingerprint is None:
            latest = self._latest(dataset)
            fingerprint = None if latest is None else latest.schema_fingerprint
        columns = {} if fingerprint is None else self._columns(fingerprint)
        known = columns.get((edge.input_column or "*").lower())
        return None if known is None else known[0]

    def _target(self, edge: Row, made: Row) -> tuple[_Node | None, str | None]:
        """Where the step leads, under today's name; nowhere when the column is gone."""
        if edge.output_column is None:
            return _Node(edge.output_dataset, _ROWS), None
        known = self._columns(made.fingerprint).get(edge.output_column.lower())
        latest = self._latest(edge.output_dataset)
        if known is None or latest is None:
            return _Node(edge.output_dataset, _ROWS), None
        now = dict(self._columns(latest.schema_fingerprint).values())
        return (_Node(edge.output_dataset, known[0]), now[known[0]]) if known[0] in now else (None, None)

    def _latest(self, dataset: str) -> Version | None:
        if dataset not in self.newest:
            row = self.connection.execute(
                VERSIONS.where(s.version.c.dataset_id == dataset_id(dataset))
                .order_by(s.version.c.version.desc())
                .limit(1)
            ).one_or_none()
            self.newest[dataset] = None if row is None else version_of(row)
        return self.newest[dataset]

    def _columns(self, fingerprint: str) -> dict[str, tuple[int, str]]:
        """By lower-case name the field id and name of each column of a schema."""
        if fingerprint not in self.schemas:
            column = s.schema_column
            rows = self.connection.execute(
                sa.select(column.c.name, column.c.field_id).where(column.c.fingerprint == fingerprint)
            )
            self.schemas[fingerprint] = {row.name.lower(): (row.field_id, row.name) for row in rows}
        return self.schemas[fingerprint]


@dataclass(frozen=True, slots=True)
class _Reading:
    """That an execution read a dataset, as an edge without columns."""

    execution_id: int
    input_dataset: str
    kind: None = None
    input_column: None = None
    expression: None = None
    line: None = None
    masked: bool = False


def _affected(step: _Step, kind: EdgeKind | None, distance: int, effect: Effect) -> Affected:
    edge = step.edge
    return Affected(
        dataset=step.target.dataset,
        column=step.column,
        effect=effect,
        distance=distance,
        version=step.version,
        from_dataset=edge.input_dataset,
        from_column=edge.input_column,
        kind=kind,
        expression=edge.expression,
        line=edge.line,
        execution_id=edge.execution_id,
        masked=bool(edge.masked),
    )
