"""The catalog as one object: open it, hold leases, run executions, ask questions.

The commit itself is ``lakecat.catalog.commit.commit``: it needs Iceberg, which questions do not.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Self

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import column_lineage as column_lineages
from lakecat.catalog import (
    executions,
    impact,
    integrity,
    leases,
    lineage,
    opening,
    origins,
    queries,
    registry,
    whereabouts,
)
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database
from lakecat.catalog.finding import Finding
from lakecat.catalog.lineage import Direction
from lakecat.catalog.progress import StreamProgress, progress, streams_beginning
from lakecat.catalog.values import (
    ColumnInfo,
    ColumnPath,
    CompletedExecution,
    DatasetInfo,
    ExecutionDetail,
    ExecutionInfo,
    ExecutionStart,
    Holder,
    Lease,
    LineageGraph,
    Problem,
    RunningExecution,
)
from lakecat.failpoints import failpoint
from lakecat.types import (
    DatasetName,
    ExecutionState,
    ExecutionType,
    FileVersion,
    Position,
    Version,
    VersionRef,
)

if TYPE_CHECKING:
    from lakecat.catalog.metadata_store import MetadataStore

DEFAULT_TTL: Final = timedelta(seconds=60)


class Catalog(Finding):
    """The catalog database. Safe to use from several threads; in a forked child it opens connections of its own.

    Every method raises CatalogError (CatalogUnavailableError where the database does not answer).
    """

    def __init__(self, database: Database) -> None:
        """Take an opened database; use ``Catalog.open``."""
        self.database = database
        with database.reading() as connection:
            self.type_ids = registry.load_type_ids(connection)
            self._floor = opening.high_water_mark(connection)

    @classmethod
    def open(cls, url: str | URL, *, create: bool = False, adopt: bool = False) -> Self:
        """Open the catalog at ``url``, upgrading an older schema; ``create`` makes it where it is missing.

        With ``adopt`` a database of ML Metadata's (schema 10) becomes a catalog where it lies; ml-metadata can open
        it afterwards, too. Raises ConfigError, CatalogUnavailableError, CatalogVersionError, and ForeignDatabaseError
        where the database is another program's.
        """
        return cls(opening.open_database(url, create=create, adopt=adopt))

    @property
    def kind(self) -> str:
        """Which database it is: ``sqlite``, ``postgresql`` or ``mysql``."""
        return self.database.backend

    @cached_property
    def metadata_store(self) -> MetadataStore:
        """ML Metadata's model over this same database: types, artifacts, executions, contexts of your own."""
        # Half as much to import again as the rest of the catalog, and few questions need it.
        from lakecat.catalog.metadata_store import MetadataStore

        return MetadataStore(self.database)

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # leases and executions

    def acquire(self, resource: str, holder: Holder, ttl: timedelta = DEFAULT_TTL) -> Lease:
        """Take the lease on ``resource``, or take it over where it ran out. Raises LeaseHeldError saying who has it."""
        return leases.acquire(self.database, resource, holder, ttl, floor=self._floor)

    def renew(self, lease: Lease) -> Lease:
        """The heartbeat: the lease runs from now on. Raises LeaseLostError when it was taken over."""
        return leases.renew(self.database, lease)

    def release(self, lease: Lease) -> None:
        """Give the lease back; nothing happens where it was lost."""
        leases.release(self.database, lease)
        failpoint("released")

    def begin(
        self, lease: Lease, start: ExecutionStart, *, uuid: str | None = None
    ) -> RunningExecution | CompletedExecution:
        """Record an execution as RUNNING with its write intent; or answer with the one that did this run key.

        Raises LeaseLostError, UsageError.
        """
        begun = executions.begin(self.database, self.type_ids, lease, start, uuid or str(uuids.uuid4()))
        failpoint("begun")
        return begun

    def fail(self, execution: RunningExecution, error_text: str) -> ExecutionState:
        """Record a RUNNING execution as FAILED; returns the state it is in (CANCELED and COMPLETE stay)."""
        return executions.fail(self.database, execution, error_text)

    def cancel_expired(self) -> tuple[int, ...]:
        """Cancel what dead processes had running; the ids of those executions."""
        return leases.cancel_expired(self.database)

    # questions

    def datasets(self) -> tuple[DatasetInfo, ...]:
        """Every dataset with its newest version, in name order."""
        with self.database.reading() as connection:
            return queries.datasets(connection)

    def dataset(self, name: DatasetName) -> DatasetInfo:
        """One dataset. Raises NotFoundError, naming close ones."""
        with self.database.reading() as connection:
            return queries.dataset(connection, name)

    def resolve(self, ref: VersionRef) -> Version:
        """The version that a reference means (expired ones too: see ``Version.expired``). Raises NotFoundError."""
        with self.database.reading() as connection:
            return queries.resolve(connection, ref)

    def versions(
        self, name: DatasetName, limit: int | None = None, *, before: int | None = None
    ) -> tuple[Version, ...]:
        """A dataset's versions, newest first; only those before version number ``before``. Raises NotFoundError."""
        with self.database.reading() as connection:
            return queries.versions(connection, name, limit, before=before)

    def schema(self, version: Version) -> tuple[ColumnInfo, ...]:
        """The columns of a version, in order."""
        with self.database.reading() as connection:
            return queries.columns(connection, version.schema_fingerprint)

    def metadata_location(self, name: DatasetName) -> str:
        """Where the table's current Iceberg metadata lies; it knows every snapshot that is not expired.

        Raises NotFoundError.
        """
        with self.database.reading() as connection:
            return queries.metadata_location(connection, name)

    def executions(
        self,
        *,
        job: str | None = None,
        state: ExecutionState | None = None,
        type_: ExecutionType | None = None,
        dataset: DatasetName | None = None,
        since: datetime | None = None,
        limit: int | None = 50,
    ) -> tuple[ExecutionInfo, ...]:
        """Executions that fit every filter, newest first."""
        with self.database.reading() as connection:
            return queries.executions(
                connection, job=job, state=state, type_=type_, dataset_name=dataset, since=since, limit=limit
            )

    def execution(self, execution_id: int) -> ExecutionDetail:
        """One execution with what it read and wrote. Raises NotFoundError."""
        with self.database.reading() as connection:
            return queries.execution(connection, execution_id)

    def find_executions(self, text: str) -> tuple[int, ...]:
        """The ids of executions with this id, or whose UUID begins so (8 characters at least); 2 at most."""
        with self.database.reading() as connection:
            return queries.find_executions(connection, text)

    def other_execution(self, text: str) -> tuple[int, str] | None:
        """The id and type of an execution that another program recorded, by its id or its OpenLineage run's id."""
        with self.database.reading() as connection:
            return queries.other_execution(connection, text)

    def last_runs(self) -> dict[DatasetName, ExecutionInfo]:
        """By dataset the newest execution that was to write it."""
        with self.database.reading() as connection:
            return queries.last_runs(connection)

    def executions_of(self, execution_ids: Iterable[int]) -> dict[int, ExecutionInfo]:
        """These executions by id, without their properties."""
        with self.database.reading() as connection:
            return queries.executions_of(connection, execution_ids)

    def scripts_of(self, execution_ids: Iterable[int]) -> dict[int, str]:
        """The paths of the scripts that these executions ran, by execution."""
        with self.database.reading() as connection:
            return queries.scripts_of(connection, execution_ids)

    def jobs_of(self, execution_ids: Iterable[int]) -> dict[int, str]:
        """The jobs of these executions."""
        return {key: info.job for key, info in self.executions_of(execution_ids).items()}

    def latest_execution(self, job: str, state: ExecutionState | None = None) -> ExecutionInfo | None:
        """The newest execution of a job, in this state where one is given."""
        with self.database.reading() as connection:
            return queries.latest_execution(connection, job, state)

    def position(self, stream: str) -> Position | None:
        """How far a stream has been committed."""
        with self.database.reading() as connection:
            return queries.position(connection, stream)

    def progress(self, stream: str) -> StreamProgress:
        """How far a stream has been committed, with its files and when it moved last."""
        with self.database.reading() as connection:
            return progress(connection, stream)

    def streams_beginning(self, prefix: str) -> tuple[str, ...]:
        """The streams whose names begin so and of which a position or a file is known, in order."""
        with self.database.reading() as connection:
            return streams_beginning(connection, prefix)

    def loaded(self, stream: str, files: Iterable[FileVersion], *, newest: bool = False) -> frozenset[FileVersion]:
        """Those of the file versions that a commit of this stream holds already.

        ``newest``: only those that were loaded last of their file, for a file may get an earlier content back.
        """
        with self.database.reading() as connection:
            return queries.loaded(connection, stream, files, newest=newest)

    def ledger(self, stream: str, *, page: int = 10_000) -> Iterator[FileVersion]:
        """The newest loaded version of every file of a stream, in no particular order; files gone are left out.

        Read in pages of so many rows, each in a transaction of its own.
        """
        after: str | None = ""
        while after is not None:
            with self.database.reading() as connection:
                files, after = queries.ledger(connection, stream, after, page)
            yield from files

    def lineage(
        self, of: VersionRef | Version, direction: lineage.Direction = "up", depth: int | None = None
    ) -> LineageGraph:
        """What a version came from (``up``), what came from it (``down``), or both; ``depth`` counts executions.

        Raises NotFoundError.
        """
        with self.database.reading() as connection:
            version = of if isinstance(of, Version) else queries.resolve(connection, of)
            return lineage.graph(connection, version.artifact_id, direction, depth)

    def node_lineage(
        self,
        kind: Literal["artifact", "execution"],
        key: int,
        direction: Direction = "up",
        depth: int | None = None,
    ) -> LineageGraph:
        """The lineage around an artifact or execution of the metadata store, by its id. Raises NotFoundError."""
        around = lineage.graph if kind == "artifact" else lineage.around_execution
        with self.database.reading() as connection:
            return around(connection, key, direction, depth)

    def column_lineage(
        self,
        dataset: DatasetName,
        column: str | None = None,
        version: int | None = None,
        direction: column_lineages.ColumnDirection = "up",
        depth: int | None = None,
    ) -> tuple[ColumnPath, ...]:
        """The steps by which a column (or every column) came to be, nearest first, down to source URIs.

        Direction ``down`` gives what was made from it. Raises NotFoundError.
        """
        with self.database.reading() as connection:
            found = queries.resolve(connection, VersionRef(dataset, version=version))
            return column_lineages.walk(connection, found, column, direction, depth)

    def source_uris(self, version: Version) -> tuple[str, ...]:
        """The URIs of all sources whose rows may be in ``version``, through all transforms, sorted."""
        with self.database.reading() as connection:
            return origins.source_uris(connection, version)

    def impact(self, version: Version, field_id: int | None) -> tuple[impact.Affected, ...]:
        """What is affected by the column of this field id (None: by the dataset), by what holds now, nearest first."""
        with self.database.reading() as connection:
            return impact.impact(connection, version, field_id)

    def source_uris_like(self, text: str, exact: Sequence[str]) -> tuple[str, ...]:
        """The URIs of sources that are one of ``exact``; where none is, those that end in ``/text``."""
        with self.database.reading() as connection:
            return whereabouts.source_uris_like(connection, text, exact)

    def source_loads(self, uri: str) -> tuple[whereabouts.SourceLoad, ...]:
        """Every time that a state of a source was read, in order."""
        with self.database.reading() as connection:
            return whereabouts.loads(connection, uri)

    def holdings(self, source_ids: Iterable[int]) -> tuple[whereabouts.Holding, ...]:
        """The versions that may hold what was read from these source artifacts, nearest first."""
        with self.database.reading() as connection:
            return whereabouts.holdings(connection, source_ids)

    def abandoned_prefixes(self, limit: int) -> tuple[str, ...]:
        """Where the newest executions that failed or were canceled said they would write: ``limit`` at most."""
        with self.database.reading() as connection:
            return executions.abandoned_prefixes(connection, limit)

    def integrity(self) -> tuple[Problem, ...]:
        """What is wrong in the catalog; empty when all is well."""
        with self.database.reading(snapshot=True) as connection:
            return integrity.check(connection)

    def settings(self) -> dict[str, str]:
        """The catalog's own settings."""
        with self.database.reading() as connection:
            return {name: value for name, value in connection.execute(sa.select(s.setting))}  # noqa: C416
