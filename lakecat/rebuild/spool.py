"""What the lake says of commits, spooled into a temporary SQLite database, so that memory stays bounded.

Which sidecars tell of commits that have happened? A receipt says so. So does every other sidecar that was made from
its metadata, or whose execution had pinned its version: both were read from the catalog. And the tables of one commit
have happened together. Of what is left, only the one that was written last on top of a table's newest version may have
happened: whoever staged after it, under the table's lock, would have seen it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Self

from lakecat.catalog.sidecars import Sidecar, decode
from lakecat.errors import CorruptFileError, ObjectMissingError
from lakecat.store import LakeStore
from lakecat.tables import METADATA_SUFFIX, RECEIPT_SUFFIX, SIDECAR_SUFFIX, metadata_prefix, table_location
from lakecat.types import DatasetName

_THREADS: Final = 8
_BATCH: Final = 64
_SHOWN: Final = 20
_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE sidecar (
    location TEXT PRIMARY KEY, dataset TEXT, version INTEGER, snapshot INTEGER, base TEXT, uuid TEXT,
    started TEXT, grouped TEXT, tables INTEGER, committed INTEGER, resource TEXT, fence INTEGER, data BLOB,
    certain INTEGER DEFAULT 0, taken INTEGER DEFAULT 0, turn INTEGER DEFAULT 0
);
CREATE INDEX sidecar_dataset ON sidecar (dataset, version);
CREATE INDEX sidecar_grouped ON sidecar (grouped);
CREATE INDEX sidecar_base ON sidecar (base);
CREATE TABLE receipt (location TEXT PRIMARY KEY);
CREATE TABLE metadata (location TEXT PRIMARY KEY);
CREATE TABLE damaged (location TEXT PRIMARY KEY);
CREATE TABLE misplaced (location TEXT PRIMARY KEY);
CREATE TABLE input (
    dataset TEXT, version INTEGER, snapshot INTEGER, reader TEXT, PRIMARY KEY (dataset, version, snapshot, reader)
);
"""
_EVIDENCE: Final = """
UPDATE sidecar SET certain = 1 WHERE location IN (SELECT location FROM receipt);
UPDATE sidecar SET certain = 1 WHERE location IN (SELECT base FROM sidecar WHERE base IS NOT NULL);
UPDATE sidecar SET certain = 1 WHERE (dataset, version, snapshot) IN (SELECT dataset, version, snapshot FROM input);
UPDATE sidecar SET certain = 1 WHERE grouped IN (SELECT grouped FROM sidecar WHERE certain);
"""

_LATER: Final = """
WITH edge AS (
    SELECT grouped, max(turn - place) OVER (PARTITION BY chain ORDER BY place
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + place AS least
    FROM (
        SELECT grouped, turn, dataset AS chain, row_number() OVER (PARTITION BY dataset ORDER BY version) AS place
        FROM sidecar WHERE taken
        UNION ALL
        SELECT grouped, turn, 'lease ' || resource,
            row_number() OVER (PARTITION BY resource ORDER BY fence, started, grouped)
        FROM (SELECT DISTINCT grouped, turn, resource, fence, started FROM sidecar WHERE taken)
    )
    UNION ALL
    SELECT i.reader, p.turn + 1 FROM input i JOIN sidecar p ON p.taken
        AND (p.dataset, p.version, p.snapshot) = (i.dataset, i.version, i.snapshot)
)
UPDATE sidecar SET turn = least
FROM (SELECT grouped AS name, max(least) AS least FROM edge GROUP BY grouped)
WHERE grouped = name AND taken AND turn < least
"""
_MOST_PASSES: Final = 1000

OnFound = Callable[[int], None]
"""Called with the number of sidecars read so far."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A sidecar without its contents. ``base``: the metadata it was made from; ``grouped``: the commit it is of."""

    location: str
    version: int
    base: str | None
    uuid: str
    grouped: str
    committed: int
    certain: bool


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A sidecar that tells of no commit here: damaged, or with ``misplaced`` a copy of one that lies elsewhere."""

    location: str
    what: str
    misplaced: bool = False


class Spool:
    """Everything that the lake says of its commits."""

    def __init__(self, path: Path, store: LakeStore) -> None:
        """Make the spool at ``path``, which must not exist."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._store = store
        self.damaged: list[str] = []
        self.damaged_count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._db.close()

    def scan(self, on_found: OnFound) -> None:
        """List the lake and read every sidecar. Raises StoreError; damaged sidecars are noted."""
        waiting: list[str] = []
        count = 0
        self._db.execute("BEGIN")
        with ThreadPoolExecutor(_THREADS, "lakecat-rebuild") as pool:
            for one in self._store.list(self._store.url):
                if one.location.endswith(RECEIPT_SUFFIX):
                    self._note("receipt", one.location.removesuffix(RECEIPT_SUFFIX) + METADATA_SUFFIX)
                elif one.location.endswith(METADATA_SUFFIX):
                    self._note("metadata", one.location)
                elif one.location.endswith(SIDECAR_SUFFIX):
                    waiting.append(one.location)
                if len(waiting) == _BATCH:
                    count += self._read(pool, waiting)
                    on_found(count)
                    waiting.clear()
            on_found(count + self._read(pool, waiting))
        self._db.execute("COMMIT")
        self._db.executescript(_EVIDENCE)

    def datasets(self) -> list[str]:
        """Every dataset that has a sidecar, by name."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT dataset FROM sidecar ORDER BY dataset")]

    def entries(self, dataset: str) -> list[Entry]:
        """A dataset's sidecars, oldest version first."""
        query = (
            "SELECT location, version, base, uuid, grouped, committed, certain FROM sidecar WHERE dataset = ?"
            " ORDER BY version, committed, location"
        )
        return [
            Entry(location, version, base, uuid, grouped, committed, bool(certain))
            for location, version, base, uuid, grouped, committed, certain in self._db.execute(query, (dataset,))
        ]

    def believe(self, grouped: str) -> None:
        """Take a commit for one that has happened."""
        self._db.execute("UPDATE sidecar SET certain = 1 WHERE grouped = ?", (grouped,))

    def bases(self, grouped: str) -> dict[str, str | None] | None:
        """What the tables of a commit were made from, by dataset; None when not all its sidecars are there."""
        rows = self._db.execute("SELECT dataset, base, tables FROM sidecar WHERE grouped = ?", (grouped,)).fetchall()
        return {row[0]: row[1] for row in rows} if len(rows) == rows[0][2] else None

    def take(self, locations: Sequence[str]) -> None:
        """Choose sidecars to be recorded."""
        self._db.executemany("UPDATE sidecar SET taken = 1 WHERE location = ?", [(one,) for one in locations])

    def order(self) -> None:
        """Give each chosen commit its turn, by when it was committed.

        Clocks go back, and a catalog may have moved to another server's. So a version comes after the one before it,
        an execution after those that had its lease before, and a commit after all that its execution had read.
        """
        self._db.execute("UPDATE sidecar SET turn = committed")
        for _ in range(_MOST_PASSES):
            if not self._db.execute(_LATER).rowcount:
                return

    def executions(self) -> Iterator[Sidecar]:
        """One chosen sidecar of each execution, in the order in which they began."""
        query = (
            "SELECT s.location, s.data FROM sidecar s WHERE s.taken AND s.location = (SELECT min(o.location) FROM"
            " sidecar o WHERE o.taken AND o.uuid = s.uuid) ORDER BY s.started, s.uuid"
        )
        return self._decoded(query)

    def latest(self) -> Iterator[Sidecar]:
        """The newest chosen sidecar of each lease."""
        return self._decoded(
            "SELECT location, data FROM (SELECT location, data, row_number() OVER (PARTITION BY resource"
            " ORDER BY fence DESC, started DESC, location) AS n FROM sidecar WHERE taken) WHERE n = 1"
        )

    def commits(self) -> Iterator[tuple[Sidecar, ...]]:
        """The chosen sidecars of each commit, in their turn (see ``order``)."""
        query = "SELECT s.location, s.data FROM sidecar s WHERE s.taken ORDER BY s.turn, s.grouped, s.dataset"
        for _, group in groupby(self._decoded(query), lambda one: one.commit):
            yield tuple(group)

    def one(self, location: str) -> Sidecar:
        """The sidecar beside a metadata file."""
        return next(self._decoded("SELECT location, data FROM sidecar WHERE location = ?", location))

    def has_metadata(self, location: str) -> bool:
        """Whether a metadata file is still in the lake."""
        return self._db.execute("SELECT 1 FROM metadata WHERE location = ?", (location,)).fetchone() is not None

    def without_sidecar(self, dataset: DatasetName) -> list[str]:
        """A table's metadata files that have no sidecar: moves of tags, and what other programs wrote."""
        folder = metadata_prefix(table_location(self._store.url, dataset), None) + "/"
        query = (
            "SELECT location FROM metadata WHERE substr(location, 1, ?) = ?"
            " AND location NOT IN (SELECT location FROM sidecar) ORDER BY location"
        )
        return [row[0] for row in self._db.execute(query, (len(folder), folder))]

    def unreadable(self) -> list[tuple[str, bool]]:
        """The metadata of commits whose sidecar is damaged (True) or gone though there is a receipt, by name."""
        query = (
            "SELECT location, 1 FROM damaged UNION ALL SELECT location, 0 FROM receipt WHERE location NOT IN"
            " (SELECT location FROM sidecar UNION ALL SELECT location FROM damaged UNION ALL SELECT location FROM"
            " misplaced) ORDER BY location"
        )
        return [(location, bool(damaged)) for location, damaged in self._db.execute(query)]

    def _decoded(self, query: str, *values: str) -> Iterator[Sidecar]:
        cursor = self._db.execute(query, values)
        while rows := cursor.fetchmany(_BATCH):
            for location, data in rows:
                yield decode(data, location)

    def _note(self, table: str, location: str) -> None:
        self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?)", (location,))

    def _read(self, pool: ThreadPoolExecutor, locations: Sequence[str]) -> int:
        read = 0
        for found in pool.map(self._load, locations):
            if isinstance(found, _Unreadable):
                self.damaged_count += 1
                self.damaged += [found.what] if len(self.damaged) < _SHOWN else []
                self._note("misplaced" if found.misplaced else "damaged", found.location)
            elif found is not None:
                self._add(found[0], found[1])
                read += 1
        return read

    def _load(self, location: str) -> tuple[Sidecar, bytes] | _Unreadable | None:
        metadata = location.removesuffix(SIDECAR_SUFFIX) + METADATA_SUFFIX
        try:
            data = self._store.read(location)
            sidecar = decode(data, location)
        except ObjectMissingError:  # removed since it was listed: an attempt that failed
            return None
        except CorruptFileError as err:
            return _Unreadable(metadata, str(err).splitlines()[0])
        home = metadata_prefix(table_location(self._store.url, sidecar.dataset), sidecar.record.execution.uuid)
        if sidecar.metadata_location != metadata or metadata.rpartition("/")[0] != home:
            what = f"{location}: this is the sidecar of {sidecar.metadata_location}, which lies elsewhere"
            return _Unreadable(metadata, what, misplaced=True)
        return sidecar, data

    def _add(self, one: Sidecar, data: bytes) -> None:
        execution = one.record.execution
        values: tuple[Any, ...] = (
            one.metadata_location, str(one.dataset), one.version, one.snapshot_id, one.base_location, execution.uuid,
            execution.started_at.isoformat(), one.commit, len(one.tables), one.committed_ms,
            execution.lease.resource, execution.lease.fence, data,
        )  # fmt: skip
        self._db.execute(
            "INSERT OR IGNORE INTO sidecar (location, dataset, version, snapshot, base, uuid, started, grouped, tables,"
            " committed, resource, fence, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        pinned = [(str(x.dataset), x.version, x.snapshot_id, one.commit) for x in one.inputs]
        self._db.executemany("INSERT OR IGNORE INTO input VALUES (?, ?, ?, ?)", pinned)


def newest_chain(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """One entry for each version that has happened, oldest first; and those of another history beside them.

    Where a version happened twice (the catalog was once restored, and its lake ran on), the one counts that the next
    version was made from, or of the newest version the one that was committed last.
    """
    by_version: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.certain:
            by_version.setdefault(entry.version, []).append(entry)
    chain: list[Entry] = []
    others: list[Entry] = []
    for version in sorted(by_version, reverse=True):
        found = by_version[version]
        chosen = next((one for one in found if chain and one.location == chain[-1].base), found[-1])
        chain.append(chosen)
        others += [one for one in found if one is not chosen]
    return chain[::-1], others[::-1]


def possible_head(entries: Sequence[Entry], chain: Sequence[Entry]) -> Entry | None:
    """The commit that may have happened on top of the chain.

    It was made from the chain's end, or from metadata that has no sidecar: moving a tag makes such.
    """
    base, version = (chain[-1].location, chain[-1].version) if chain else (None, 0)
    elsewhere = {one.location for one in entries} - {base}
    staged = [
        one
        for one in entries
        if not one.certain and one.version == version + 1 and one.base not in elsewhere and (base or not one.base)
    ]
    return max(staged, key=lambda one: (one.committed, one.location), default=None)
