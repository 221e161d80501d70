"""Where the rows of a source went: the versions that hold them, directly and through every transform since.

A version that only added rows still holds those of the versions before it, so that rows stay in a dataset from the
version that brought them up to the next one that was written whole. A script that read any of these may hold them too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import dataset_edges, registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import INPUT_EVENTS
from lakecat.catalog.leases import moment
from lakecat.catalog.queries import uri_hash
from lakecat.catalog.reading import id_chunks, properties_of

_INPUTS: Final = sorted(int(kind) for kind in INPUT_EVENTS)
_LIMIT: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLoad:
    """One state of a source that an execution read: ``rows`` and ``bytes`` as the connector counted them."""

    uri: str
    rows: int | None
    bytes: int | None
    sha256: str | None
    execution_id: int
    read_at: datetime | None
    artifact_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Versions ``first`` to ``last`` of a dataset may hold the rows; ``current``: the newest one may, too.

    ``distance`` is 1 where they were loaded and counts transforms from there; ``execution_id`` made ``first``.
    """

    dataset: str
    first: int
    last: int
    current: bool
    distance: int
    execution_id: int


def source_uris_like(connection: sa.Connection, text: str, exact: Sequence[str]) -> tuple[str, ...]:
    """The URIs of sources that a person may mean: one of ``exact``, else all that end in ``/text`` (20 at most)."""
    source = sa.select(s.artifact.c.uri).where(s.artifact.c.type_id == _source_type())
    found = connection.execute(source.where(s.artifact.c.uri.in_(exact)).distinct()).scalars().all()
    if not found:
        hashes = [uri_hash(uri) for uri in exact]
        ledger = sa.select(s.loaded_file.c.uri).where(s.loaded_file.c.uri_hash.in_(hashes)).distinct()
        found = connection.execute(ledger).scalars().all()
    if not found:
        ending = s.artifact.c.uri.endswith(f"/{text.lstrip('/')}", autoescape=True)
        found = connection.execute(source.where(ending).distinct().limit(_LIMIT)).scalars().all()
    # LIKE does not know case in SQLite and MySQL.
    kept = [uri for uri in found if uri in exact or uri.endswith(f"/{text.lstrip('/')}")]
    return tuple(sorted(str(uri) for uri in kept))


def loads(connection: sa.Connection, uri: str) -> tuple[SourceLoad, ...]:
    """Every time that a state of this source was read by an execution that completed, in order."""
    rows = connection.execute(
        sa.select(s.artifact.c.id, s.artifact.c.uri, s.event.c.execution_id, s.event.c.milliseconds_since_epoch)
        .join(s.event, s.event.c.artifact_id == s.artifact.c.id)
        .where(s.artifact.c.type_id == _source_type(), s.artifact.c.uri == uri, s.event.c.type.in_(_INPUTS))
        .order_by(s.event.c.execution_id, s.artifact.c.id)
    ).all()
    told = properties_of(connection, s.artifact_property, {row.id for row in rows})
    return tuple(
        SourceLoad(
            uri=row.uri,
            rows=_whole(told[row.id].get("rows")),
            bytes=_whole(told[row.id].get("bytes")),
            sha256=_text(told[row.id].get("sha256")),
            execution_id=row.execution_id,
            read_at=None if row.milliseconds_since_epoch is None else moment(row.milliseconds_since_epoch),
            artifact_id=row.id,
        )
        for row in rows
    )


def holdings(connection: sa.Connection, artifacts: Iterable[int]) -> tuple[Holding, ...]:
    """The versions that may hold what was read from sources in these states, nearest first."""
    return tuple(_Spread(connection).run(sorted(set(artifacts))))


def _source_type() -> sa.ScalarSelect[Any]:
    return (
        sa.select(sa.func.min(s.type_.c.id))
        .where(s.type_.c.name == registry.SOURCE, s.type_.c.version.is_(None))
        .scalar_subquery()
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class _Made:
    dataset_id: int
    version: int
    execution_id: int


@dataclass(slots=True)
class _Spread:
    connection: sa.Connection
    done: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    whole: dict[int, list[int]] = field(default_factory=dict)
    newest: dict[int, tuple[str, int]] = field(default_factory=dict)

    def run(self, artifacts: Sequence[int]) -> Iterator[Holding]:
        queue = deque((1, made) for made in self._made(artifacts))
        while queue:
            distance, made = queue.popleft()
            ranges = self.done.setdefault(made.dataset_id, [])
            if any(first <= made.version <= last for first, last in ranges):
                continue
            name, newest = self._newest(made.dataset_id)
            last = self._last(made.dataset_id, made.version, newest)
            ranges.append((made.version, last))
            yield Holding(
                dataset=name,
                first=made.version,
                last=last,
                current=last == newest,
                distance=distance,
                execution_id=made.execution_id,
            )
            queue.extend((distance + 1, onwards) for onwards in self._readers(made.dataset_id, made.version, last))

    def _made(self, artifacts: Sequence[int]) -> list[_Made]:
        found: set[_Made] = set()
        made = s.version
        query = (
            sa.select(made.c.dataset_id, made.c.version, made.c.execution_id)
            .select_from(s.event)
            .join(made, made.c.execution_id == s.event.c.execution_id)
            .where(s.event.c.type.in_(_INPUTS))
        )
        flows = dataset_edges.only_flows(query, s.event, made.c.artifact_id)
        for part in id_chunks(artifacts):
            found.update(self._rows(flows.where(s.event.c.artifact_id.in_(part))))
        return sorted(found, key=lambda made: (made.dataset_id, made.version))

    def _readers(self, dataset: int, first: int, last: int) -> list[_Made]:
        """What was made by executions that read one of these versions."""
        read, made = s.version.alias("read"), s.version
        query = (
            sa.select(made.c.dataset_id, made.c.version, made.c.execution_id)
            .select_from(read)
            .join(s.event, sa.and_(s.event.c.artifact_id == read.c.artifact_id, s.event.c.type.in_(_INPUTS)))
            .join(made, made.c.execution_id == s.event.c.execution_id)
            .where(read.c.dataset_id == dataset, read.c.version.between(first, last))
            .distinct()
            .order_by(made.c.dataset_id, made.c.version)
        )
        return self._rows(dataset_edges.only_flows(query, s.event, made.c.artifact_id))

    def _rows(self, query: sa.Select[Any]) -> list[_Made]:
        return [_Made(row.dataset_id, row.version, row.execution_id) for row in self.connection.execute(query)]

    def _last(self, dataset: int, version: int, newest: int) -> int:
        """The last version before the next one that was written whole."""
        if dataset not in self.whole:
            numbers = self.connection.execute(
                sa.select(s.version.c.version)
                .where(s.version.c.dataset_id == dataset, s.version.c.whole)
                .order_by(s.version.c.version)
            ).scalars()
            self.whole[dataset] = list(numbers)
        return next((number - 1 for number in self.whole[dataset] if number > version), newest)

    def _newest(self, dataset: int) -> tuple[str, int]:
        if dataset not in self.newest:
            top = sa.select(sa.func.max(s.version.c.version)).where(s.version.c.dataset_id == dataset)
            number = self.connection.execute(top).scalar_one()
            name = self.connection.execute(sa.select(s.context.c.name).where(s.context.c.id == dataset)).scalar_one()
            self.newest[dataset] = (str(name), int(number))
        return self.newest[dataset]
