"""Where lineage that was imported meets lakecat's own: a source that lakecat read is a dataset that others wrote.

They meet by URI. What lakecat read is what the last run of others had written when lakecat's execution began.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry
from lakecat.catalog import foreign_links as links
from lakecat.catalog import foreign_types as types_of
from lakecat.catalog import schema as s
from lakecat.catalog.database import Row
from lakecat.catalog.enums import EventType, TypeKind
from lakecat.catalog.queries import uri_hash
from lakecat.types import ExecutionType


@dataclass(slots=True)
class Bridges:
    """Finds the places where the two meet; asks nothing where nothing was imported."""

    connection: sa.Connection
    types: Mapping[tuple[str, TypeKind], int]
    sources: int | None

    @classmethod
    def of(cls, connection: sa.Connection) -> Bridges:
        """The bridges of this catalog."""
        found = types_of.find_types(connection)
        sources = registry.load_type_ids(connection).get(registry.SOURCE) if types_of.STATE in found else None
        return cls(connection, found, sources)

    def up(self, artifacts: Iterable[int]) -> list[tuple[int, int]]:
        """For each of these that is a source of lakecat's and was written by others: it, and the state they wrote."""
        return self._pairs(s.artifact.c.id, sorted(artifacts))

    def down(self, artifacts: Iterable[int]) -> list[tuple[int, int]]:
        """For each of these that others wrote and lakecat read: it, and lakecat's source."""
        ids = set(artifacts)
        uris: set[str] = set()
        for part in links.chunks(sorted(ids) if self.sources is not None else []):
            rows = self.connection.execute(
                sa.select(s.artifact.c.uri).where(
                    s.artifact.c.id.in_(part), s.artifact.c.type_id == self.types[types_of.STATE]
                )
            )
            uris.update(rows.scalars())
        return [(state, source) for source, state in self._pairs(s.artifact.c.uri, sorted(uris)) if state in ids]

    def _pairs(self, key: sa.Column[Any], values: Sequence[Any]) -> list[tuple[int, int]]:
        """Sources of lakecat's, chosen by a column, each with the state that it was when lakecat read it."""
        if self.sources is None:
            return []
        found: list[tuple[int, int]] = []
        ours, event = s.lake_execution, s.event
        for part in links.chunks(values):
            rows = self.connection.execute(
                sa.select(s.artifact.c.id, s.artifact.c.uri, sa.func.min(ours.c.started_ms).label("time"))
                .join(event, sa.and_(event.c.artifact_id == s.artifact.c.id, event.c.type == int(EventType.INPUT)))
                .join(ours, ours.c.execution_id == event.c.execution_id)
                .where(key.in_(part), s.artifact.c.type_id == self.sources)
                .group_by(s.artifact.c.id, s.artifact.c.uri)
            ).all()  # fmt: skip
            found += self._written(rows)
        return found

    def _written(self, sources: Sequence[Row]) -> Iterable[tuple[int, int]]:
        names = {types_of.fit(row.uri) for row in sources}
        contexts = registry.find_named(self.connection, s.context, self.types[types_of.DATASET], names)
        if not contexts:
            return
        writes = links.load_writes(self.connection, sorted(contexts.values()), min(row.time for row in sources))
        for row in sources:
            before = writes.get(contexts.get(types_of.fit(row.uri), 0), [])
            index = bisect.bisect_right(before, (row.time, 2**63, 2**63))
            if index:
                yield row.id, before[index - 1][2]


_LATEST: Final = "latest"


@dataclass(slots=True)
class ForeignColumns:
    """Column edges of datasets that others wrote: those of the newest completed run of each job that writes them."""

    connection: sa.Connection
    types: Mapping[tuple[str, TypeKind], int]
    known: dict[str, int | None] = field(default_factory=dict)

    @classmethod
    def of(cls, connection: sa.Connection) -> ForeignColumns:
        """Those of this catalog."""
        return cls(connection, types_of.find_types(connection))

    def which(self, uris: Iterable[str]) -> set[str]:
        """Those of the URIs that are datasets of others."""
        if types_of.DATASET not in self.types:
            return set()
        wanted = set(uris)
        fresh = {uri: types_of.fit(uri) for uri in wanted - self.known.keys()}
        found = registry.find_named(self.connection, s.context, self.types[types_of.DATASET], fresh.values())
        self.known.update((uri, found.get(name)) for uri, name in fresh.items())
        return {uri for uri in wanted if self.known[uri] is not None}

    def files(self, executions: Iterable[int]) -> dict[tuple[int, str], list[str]]:
        """By execution and dataset that it wrote: which of the sources it came from are datasets of others, by URI."""
        found: dict[tuple[int, str], list[str]] = {}
        if types_of.DATASET not in self.types:
            return found
        event, file, dataset, version, written = s.event, s.artifact, s.context, s.version, s.context.alias("written")
        query = (
            sa.select(event.c.execution_id, file.c.uri, written.c.name)
            .select_from(event)
            .join(file, file.c.id == event.c.artifact_id)
            .join(dataset, dataset.c.name == file.c.uri)
            .join(version, version.c.execution_id == event.c.execution_id)
            .join(written, written.c.id == version.c.dataset_id)
        )
        flows = dataset_edges.only_flows(query, event, version.c.artifact_id)
        for part in links.chunks(sorted(set(executions))):
            rows = self.connection.execute(
                flows.where(
                    event.c.execution_id.in_(part),
                    event.c.type == int(EventType.INPUT),
                    file.c.type_id == self._sources(),
                    dataset.c.type_id == self.types[types_of.DATASET],
                ).order_by(event.c.id.desc())
            )
            for row in rows:
                found.setdefault((row.execution_id, row.name), []).append(row.uri)
        return found

    def read_as(self, uri: str, column: str | None) -> Sequence[Row]:
        """Under which names lakecat's ingests read a file that is a dataset of others: a pattern, mostly.

        Rows of ``input_dataset``, ``input_column`` and ``execution_id`` (the newest).
        """
        if uri not in self.which([uri]):
            return ()
        event, file, edge, ours = s.event, s.artifact, s.column_edge, s.lake_execution
        query: sa.Select[Any] = (
            sa.select(edge.c.input_dataset, edge.c.input_column, sa.func.max(edge.c.execution_id).label("execution_id"))
            .join(ours, ours.c.execution_id == edge.c.execution_id)
            .join(event, sa.and_(event.c.execution_id == edge.c.execution_id, event.c.type == int(EventType.INPUT)))
            .join(file, file.c.id == event.c.artifact_id)
            .where(
                file.c.uri == uri,
                file.c.type_id == self._sources(),
                ours.c.type == ExecutionType.INGEST.value,
                edge.c.input_hash != uri_hash(uri),
            )
            .group_by(edge.c.input_dataset, edge.c.input_column)
        )
        query = dataset_edges.only_flows(query, event, edge.c.output_artifact_id)
        if column is not None:
            query = query.where(sa.func.lower(edge.c.input_column) == sa.func.lower(column))
        return self.connection.execute(query).all()

    def _sources(self) -> sa.ScalarSelect[Any]:
        mine = sa.and_(s.type_.c.name == registry.SOURCE, s.type_.c.version.is_(None))
        return sa.select(sa.func.min(s.type_.c.id)).where(mine).scalar_subquery()

    def up(self, uri: str, column: str | None) -> Sequence[Row]:
        """The edges into a column of such a dataset (all of them where None), the newest first."""
        if uri not in self.which([uri]):
            return ()
        latest = self._latest(s.attribution.c.context_id == self.known[uri])
        query = self._edges(latest).where(s.column_edge.c.output_artifact_id == latest.c.artifact_id)
        if column is not None:
            output = s.column_edge.c.output_column
            query = query.where(sa.or_(output.is_(None), sa.func.lower(output) == sa.func.lower(column)))
        return self.connection.execute(query).all()

    def down(self, dataset: str, column: str | None) -> Sequence[Row]:
        """The edges from a column of any dataset, by name or URI, into datasets of others."""
        if types_of.DATASET not in self.types:
            return ()
        edge = s.column_edge
        # Which datasets were made of it is asked first, so that only their runs are compared.
        made = (
            sa.select(s.attribution.c.context_id)
            .join(edge, edge.c.output_artifact_id == s.attribution.c.artifact_id)
            .where(edge.c.input_hash == uri_hash(dataset))
            .distinct()
        )
        contexts = sorted(self.connection.execute(made).scalars())
        found: list[Row] = []
        for part in links.chunks(contexts):
            latest = self._latest(s.attribution.c.context_id.in_(part))
            query = self._edges(latest).where(edge.c.input_hash == uri_hash(dataset))
            if column is not None:
                query = query.where(sa.func.lower(edge.c.input_column) == sa.func.lower(column))
            found += self.connection.execute(query).all()
        return found

    def _edges(self, latest: sa.Subquery) -> sa.Select[Any]:
        edge = s.column_edge
        return (
            sa.select(edge, s.artifact.c.uri, sa.null().label("version"))
            .join(
                latest,
                sa.and_(
                    latest.c.execution_id == edge.c.execution_id, latest.c.artifact_id == edge.c.output_artifact_id
                ),
            )
            .join(s.artifact, s.artifact.c.id == edge.c.output_artifact_id)
            .order_by(latest.c.time.desc(), edge.c.id)
        )

    def _latest(self, datasets: sa.ColumnElement[bool]) -> sa.Subquery:
        """Of each job the newest completed run that wrote each dataset: its execution and the state it wrote."""
        mine, event, run, group = s.attribution, s.event, s.execution, s.association
        job = s.context.alias("job")
        dataset = s.context.alias("dataset")
        writes = (
            sa.select(
                event.c.execution_id, event.c.artifact_id, event.c.milliseconds_since_epoch.label("time"),
                sa.func.row_number()
                .over(
                    partition_by=(mine.c.context_id, job.c.id),
                    order_by=(event.c.milliseconds_since_epoch.desc(), event.c.id.desc()),
                )
                .label(_LATEST),
            )
            .select_from(mine)
            .join(dataset, dataset.c.id == mine.c.context_id)
            .join(event, sa.and_(event.c.artifact_id == mine.c.artifact_id, event.c.type == int(EventType.OUTPUT)))
            .join(run, run.c.id == event.c.execution_id)
            .join(group, group.c.execution_id == run.c.id)
            .join(job, job.c.id == group.c.context_id)
            .where(
                datasets,
                dataset.c.type_id == self.types[types_of.DATASET],
                job.c.type_id == self.types[types_of.JOB],
                run.c.last_known_state.in_(links.DONE),
            )
            .subquery()
        )  # fmt: skip
        return sa.select(writes).where(writes.c[_LATEST] == 1).subquery()
