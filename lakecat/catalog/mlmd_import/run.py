"""Copying an ML Metadata database into the catalog: everything once, again only what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.mlmd_import.links import LINKS, Link, count_new, pieces, sort_links, write_links
from lakecat.catalog.mlmd_import.nodes import KINDS, Kind, Origin, prefix_before, sort_nodes, write_nodes
from lakecat.catalog.mlmd_import.source import Source, source_url
from lakecat.catalog.mlmd_import.types import apply_types, plan_types
from lakecat.catalog.registry import insert_one
from lakecat.errors import NameTakenError, TypeConflictError, UsageError

_NAMED: Final = 20
"""How many conflicts an error names."""
OnProgress = Callable[[str, int], None]
"""Called with what is copied, and how much of it has been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCount:
    """What became of the source's nodes of one kind."""

    new: int = 0
    joined: int = 0
    """Contexts whose type and name the catalog has already: theirs and ours are one."""
    updated: int = 0
    """Imported before and changed there since."""
    same: int = 0
    kept: int = 0
    """Changed there, but also changed or removed here: ours stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCount:
    """What became of the source's events, attributions, associations or parent contexts."""

    new: int = 0
    same: int = 0
    dangling: int = 0
    """They lead to a node that is not there, or was removed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeCount:
    """What became of the source's types."""

    new: int
    grown: int
    same: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import brought in, or would."""

    origin: str
    applied: bool
    types: TypeCount
    artifacts: NodeCount
    executions: NodeCount
    contexts: NodeCount
    events: LinkCount
    attributions: LinkCount
    associations: LinkCount
    parent_contexts: LinkCount


def import_mlmd(
    database: Database,
    source: str | Path | URL,
    *,
    origin: str | None = None,
    prefix: str = "",
    apply: bool = True,
    on_progress: OnProgress = lambda _what, _count: None,
) -> ImportReport:
    """Copy an MLMD database into the catalog; the source stays as it is.

    Ids are given anew. Types are merged, and only grow. What came in before is remembered by ``origin``, so that
    the next import adds what is new and updates what changed there alone. It is written in pieces: one that was
    interrupted goes on where it stopped when it is run again.

    Args:
        database: the catalog.
        source: the URL of the database, or the path of its SQLite file.
        origin: its name in the catalog's memory; its URL without password when absent.
        prefix: put before every name and external id, where names of theirs are taken here; that of the first import
            from ``origin`` goes on to hold.
        apply: without it nothing is written, and the report says what would be.
        on_progress: called after each piece.

    Raises:
        TypeConflictError: types contradict each other; nothing was written.
        NameTakenError: names or external ids are taken here; nothing was written.
        UsageError: what came in before has another prefix.
        ForeignDatabaseError: the source is not MLMD's; CatalogVersionError: its schema is not 10.
        CatalogUnavailableError: one of the databases does not answer.
    """
    url = source_url(source)
    with Source.opened(url) as opened:
        name = origin or _origin_of(url)
        work = _Import(database, opened, prefix, name, on_progress)
        planned = work.plan()
        return work.write() if apply else planned


class _Import:
    """One import, its plan and its writing."""

    def __init__(self, database: Database, source: Source, prefix: str, origin: str, on_progress: OnProgress) -> None:
        self._database = database
        self._source = source
        self._on_progress = on_progress
        with database.reading() as connection:
            found = connection.execute(sa.select(s.import_.c.id).where(s.import_.c.origin == origin)).scalar()
            before = None if found is None else prefix_before(connection, found, source)
        if before is not None and prefix not in ("", before):
            raise UsageError(
                f"{origin} was imported before with {f'the prefix {before!r}' if before else 'no prefix'}",
                hint="leave the prefix out, and what is new comes in like what came before",
            )
        self._origin = Origin(found, origin, before or prefix)

    def plan(self) -> ImportReport:
        """Count, and refuse what cannot be; nothing is written."""
        with self._database.reading(snapshot=True) as connection:
            types = plan_types(self._source, connection)
            if types.conflicts:
                raise TypeConflictError(
                    _listed("types contradict the catalog's", types.conflicts),
                    field="types",
                    value=len(types.conflicts),
                    hint="types only grow: give one of them another version, or import into another catalog",
                )
            counts: dict[str, Counter[str]] = {}
            conflicts: list[str] = []
            for kind in KINDS:
                counts[kind.label] = Counter()
                for rows in self._source.pieces(kind.table, kind.columns):
                    found = sort_nodes(connection, self._origin, kind, rows, types.ids)
                    counts[kind.label] += found.count()
                    conflicts += found.conflicts
            if conflicts:
                raise NameTakenError(
                    _listed("names are taken in the catalog", conflicts),
                    field="name",
                    value=len(conflicts),
                    hint="put a prefix before all names that come in: --prefix",
                )
            links = {link.label: count_new(self._source, connection, self._origin, link) for link in LINKS}
        kinds = TypeCount(new=len(types.new), grown=len(types.grown), same=types.same)
        return _report(self._origin.name, kinds, counts, links, applied=False)

    def write(self) -> ImportReport:
        """Copy it, in pieces of one transaction each."""
        kinds, types = self._database.write(self._begin)
        nodes = {kind.label: self._write_nodes(kind, types) for kind in KINDS}
        links = {link.label: self._write_links(link) for link in LINKS}
        return _report(self._origin.name, kinds, nodes, links, applied=True)

    def _begin(self, connection: sa.Connection) -> tuple[TypeCount, dict[int, int]]:
        now = connection.execute(sa.select(now_ms())).scalar_one()
        table = s.import_
        found = connection.execute(sa.select(table.c.id).where(table.c.origin == self._origin.name)).scalar()
        if found is None:
            found = insert_one(connection, table, {"origin": self._origin.name, "first_ms": now, "last_ms": now})
        else:
            connection.execute(sa.update(table).where(table.c.id == found).values(last_ms=now))
        self._origin = Origin(found, self._origin.name, self._origin.prefix)
        plan = plan_types(self._source, connection)
        ids = apply_types(connection, plan)
        return TypeCount(new=len(plan.new), grown=len(plan.grown), same=plan.same), ids

    def _write_nodes(self, kind: Kind, types: Mapping[int, int]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for rows in self._source.pieces(kind.table, kind.columns):

            def work(connection: sa.Connection, rows: list[dict[str, object]] = rows) -> Counter[str]:
                found = sort_nodes(connection, self._origin, kind, rows, types)
                if found.conflicts:  # somebody took a name since the plan
                    raise NameTakenError(_listed("names are taken in the catalog", found.conflicts), field="name")
                write_nodes(connection, self._origin, kind, found, self._source, types)
                return found.count()

            counts += self._database.write(work)
            self._on_progress(f"{kind.label}s", counts.total())
        return counts

    def _write_links(self, link: Link) -> Counter[str]:
        counts: Counter[str] = Counter()
        for rows in pieces(self._source, link):

            def work(connection: sa.Connection, rows: list[dict[str, object]] = rows) -> Counter[str]:
                fresh = sort_links(connection, self._origin, link, rows)
                write_links(connection, link, fresh, self._source)
                return Counter(new=len(fresh.new), same=fresh.same, dangling=fresh.dangling)

            counts += self._database.write(work)
            self._on_progress(f"{link.label}s", counts.total())
        return counts


def _report(
    origin: str,
    types: TypeCount,
    nodes: Mapping[str, Mapping[str, int]],
    links: Mapping[str, Mapping[str, int]],
    *,
    applied: bool,
) -> ImportReport:
    return ImportReport(
        origin=origin,
        applied=applied,
        types=types,
        artifacts=NodeCount(**nodes["artifact"]),
        executions=NodeCount(**nodes["execution"]),
        contexts=NodeCount(**nodes["context"]),
        events=LinkCount(**links["event"]),
        attributions=LinkCount(**links["attribution"]),
        associations=LinkCount(**links["association"]),
        parent_contexts=LinkCount(**links["parent context"]),
    )


def _origin_of(url: URL) -> str:
    """The database's name for itself: where it is, without who asks."""
    if url.get_backend_name() == "sqlite":
        return str(Path(str(url.database)).resolve())
    plain = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
    return plain.render_as_string()


def _listed(what: str, conflicts: list[str]) -> str:
    more = f"; and {len(conflicts) - _NAMED:,} more" if len(conflicts) > _NAMED else ""
    return f"{len(conflicts):,} {what}: {'; '.join(conflicts[:_NAMED])}{more}"
