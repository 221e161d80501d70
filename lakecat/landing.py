"""The corridor that every write takes: lease, begin, write, audit, commit; or fail and leave nothing behind.

Ingests and transforms differ only in where their rows come from: ``land`` takes that as a function.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import uuid4

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from lakecat.catalog import (
    DEFAULT_TTL,
    Catalog,
    CompletedExecution,
    ExecutionStart,
    Holder,
    Lease,
    RunningExecution,
)
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.config import Settings
from lakecat.errors import (
    CatalogError,
    CommitConflictError,
    CommitUnknownError,
    CorruptFileError,
    LakecatError,
    LeaseLostError,
    NotFoundError,
)
from lakecat.failpoints import failpoint
from lakecat.provenance import provenance
from lakecat.store import LakeStore
from lakecat.tables import (
    TableChange,
    TableState,
    WrittenFiles,
    audit_files,
    data_prefix,
    load_state,
    metadata_prefix,
    table_location,
    write_files,
)
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    ExecutionState,
    ExecutionType,
    Json,
    LoadedFile,
    Position,
    SourceRead,
    Version,
)

T = TypeVar("T")

_ATTEMPTS: Final = 5

OnProgress = Callable[[int, int], None]
"""Called with the rows taken in and the bytes written so far, and once more before the commit; what it raises stops
the work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a use case works with. ``clock`` gives the time, aware and in UTC; ``environ`` resolves secrets."""

    settings: Settings
    store: LakeStore
    catalog: Catalog
    clock: Callable[[], datetime]
    holder: Holder
    environ: Mapping[str, str]


class Held:
    """A lease that a thread of its own keeps renewing, every third of its time, until it is given back or lost."""

    def __init__(self, catalog: Catalog, lease: Lease) -> None:
        self._catalog = catalog
        self._lease = lease
        self._lost: LeaseLostError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lakecat-heartbeat", daemon=True)
        self._thread.start()

    @property
    def lease(self) -> Lease:
        """The lease as it was last renewed."""
        return self._lease

    def check(self) -> None:
        """Raise LeaseLostError once the lease is lost, or nobody could renew it in time."""
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> None:
        ttl = self._lease.ttl.total_seconds()
        renewed = time.monotonic()
        while not self._stop.wait(ttl / 3):
            try:
                self._lease = self._catalog.renew(self._lease)
                renewed = time.monotonic()
            except LeaseLostError as err:
                self._lost = err
                return
            except CatalogError as err:
                # The database may come back; but our lease ends by its clock whether or not we can ask.
                if time.monotonic() - renewed < ttl * 2 / 3:
                    continue
                self._lost = LeaseLostError(
                    f"the lease on {self._lease.resource} could not be renewed in time: {err.what}",
                    hint="see that the catalog database answers, then run the job again",
                )
                self._lost.__cause__ = err
                return

    def close(self) -> None:
        """Stop the heartbeat and give the lease back, as far as the catalog answers."""
        self._stop.set()
        self._thread.join()
        # The lease runs out by itself; the error that may be on its way is the one to show.
        with contextlib.suppress(CatalogError):
            self._catalog.release(self._lease)


@contextlib.contextmanager
def hold(services: Services, resource: str, *, ttl: timedelta = DEFAULT_TTL) -> Iterator[Held]:
    """Hold the lease on ``resource`` for the block. Raises LeaseHeldError saying who has it."""
    held = Held(services.catalog, services.catalog.acquire(resource, services.holder, ttl))
    try:
        yield held
    finally:
        held.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What an execution made, all written and nothing visible yet; ``land`` commits it."""

    changes: tuple[TableChange, ...] = ()
    sources: tuple[SourceRead, ...] = ()
    positions: Mapping[str, Position] = field(default_factory=dict)
    files: Mapping[str, tuple[LoadedFile, ...]] = field(default_factory=dict)
    edges: tuple[ColumnEdge, ...] = ()
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """The versions that an execution made. ``already`` says that an earlier run had done this work."""

    execution_id: int
    uuid: str
    versions: tuple[Version, ...]
    already: bool = False
    harvest: Harvest | None = None


class Work:
    """What ``produce`` works with: the execution's identity, the tables as they are, and the writer."""

    def __init__(self, services: Services, held: Held, execution: RunningExecution, on_progress: OnProgress) -> None:
        self.execution = execution
        self._services = services
        self._held = held
        self._on_progress = on_progress
        self._written: list[tuple[tuple[DataFile, ...], Schema]] = []
        self._states: dict[DatasetName, TableState | None] = {}
        self._reported = (0, 0)

    def location(self, dataset: DatasetName) -> str:
        """The folder of a dataset's table, whether or not it is there already."""
        state = self.state(dataset)
        return state.location if state else table_location(self._services.store.url, dataset)

    def state(self, dataset: DatasetName) -> TableState | None:
        """The table as this attempt saw it first, or None when there is none."""
        if dataset not in self._states:
            self._states[dataset] = current_state(self._services, dataset)
        return self._states[dataset]

    def summary(self, **more: str) -> dict[str, str]:
        """The properties that each snapshot of this execution carries."""
        start = self.execution.start
        run_key = {} if start.run_key is None else {"lakecat.run-key": start.run_key}
        fence = str(self.execution.lease.fence)
        return {"lakecat.execution": self.execution.uuid, "lakecat.fence": fence, **run_key, **more}

    def write(
        self, dataset: DatasetName, batches: pa.RecordBatchReader, *, schema: Schema, spec: PartitionSpec
    ) -> WrittenFiles:
        """Write rows as data files of this execution. Raises LeaseLostError, and as ``tables.write_files``."""
        prefix = data_prefix(self.location(dataset), self.execution.uuid)
        self._check_intent(dataset, prefix)
        written = write_files(
            self._services.store,
            batches,
            schema=schema,
            spec=spec,
            prefix=prefix,
            settings=self._services.settings.write,
            on_progress=self._progress,
        )
        self._written.append((written.files, schema))
        return written

    def check(self) -> None:
        """Raise LeaseLostError when the work is in vain."""
        self._held.check()

    def last_call(self) -> None:
        """Before the commit: raise LeaseLostError when the work is in vain, or what ``on_progress`` raises."""
        self._progress(*self._reported)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Where the block raises, the data files that were written in it are removed: the rest may yet commit."""
        before = len(self._written)
        try:
            yield
        except BaseException:  # an interrupt, too, leaves files that nothing would commit
            self._remove(before)
            raise

    def _remove(self, start: int) -> None:
        for file in [file for files, _ in self._written[start:] for file in files]:
            # Left-over files are harmless: they lie under the execution's own prefix.
            with contextlib.suppress(LakecatError):
                self._services.store.delete(file.file_path)
        del self._written[start:]

    def discard(self) -> None:
        """Forget this attempt and remove its data files; only for work that surely never commits."""
        self._remove(0)
        for prefix in self.execution.start.prefixes:
            with contextlib.suppress(LakecatError):
                self._services.store.prune(prefix)
        self._states.clear()

    def audit(self, changes: Iterable[TableChange]) -> None:
        """Read every new file's footer again, and see that the changes add only such files.

        Raises CorruptFileError; CatalogError for a table that is none of the execution's targets.
        """
        known: set[str] = set()
        for files, schema in self._written:
            audit_files(self._services.store, files, schema)
            known |= {file.file_path for file in files}
        for change in changes:
            self._check_intent(change.dataset, metadata_prefix(change.location, self.execution.uuid))
            strange = [file.file_path for file in change.added if file.file_path not in known]
            if strange:
                raise CorruptFileError(f"{change.dataset} would get a file that nobody audited: {strange[0]}")

    def _check_intent(self, dataset: DatasetName, prefix: str) -> None:
        """Nothing is written where the catalog does not know of it: garbage collection goes by what it knows."""
        if prefix not in self.execution.start.prefixes:
            raise CatalogError(
                f"{prefix} is not among what execution {self.execution.execution_id} said it would write",
                hint=f"{dataset} must be one of the execution's targets",
            )

    def _progress(self, rows: int, size: int) -> None:
        self._held.check()
        self._reported = (rows, size)
        self._on_progress(rows, size)


def current_state(services: Services, dataset: DatasetName) -> TableState | None:
    """The table as the catalog's pointer shows it, or None when there is none."""
    try:
        location = services.catalog.metadata_location(dataset)
    except NotFoundError:
        return None
    return load_state(services.store, location)


def land(
    services: Services,
    held: Held,
    start: ExecutionStart,
    produce: Callable[[Work], Harvest],
    *,
    on_progress: OnProgress | None = None,
) -> Landed:
    """Run one execution: begin, ``produce``, audit, commit.

    ``produce`` is called again, on the table's new state, when somebody changed the table under a rewrite; a few
    times, then CommitConflictError is raised. Whatever else is raised fails the execution and leaves no files. Raises
    LeaseLostError, CatalogError, TableError, StoreError, and what ``produce`` raises. Recorded with the
    execution are the project's git commit, what ran it, and how much it read and wrote.
    """
    held.check()
    uuid = str(uuid4())
    intent = tuple(prefix for dataset in start.targets for prefix in _folders(services, dataset, uuid))
    start = replace(
        start,
        prefixes=(*start.prefixes, *intent),
        properties={**provenance(services.settings.root), **start.properties},
    )
    begun = services.catalog.begin(held.lease, start, uuid=uuid)
    if isinstance(begun, CompletedExecution):
        return Landed(execution_id=begun.execution_id, uuid=begun.uuid, versions=begun.versions, already=True)
    work = Work(services, held, begun, on_progress or (lambda _rows, _bytes: None))
    try:
        return _produce_and_commit(services, work, produce)
    except CommitUnknownError:
        raise
    except BaseException as err:  # whatever it was, the execution ends with it
        interrupted = _is_interrupt(err)
        _give_up(services, work, "interrupted by the user" if interrupted else f"{type(err).__name__}: {err}")
        if interrupted and not isinstance(err, KeyboardInterrupt):
            raise KeyboardInterrupt from err
        raise


def record_failure(services: Services, held: Held, start: ExecutionStart, problem: Exception) -> int | None:
    """Record what could not even begin as a failed execution, for those who ask later what failed; its id.

    Recorded with it are the project's git commit and what ran it. None where the catalog takes no more: ``problem`` is
    the error to show.
    """
    start = replace(start, properties={**provenance(services.settings.root), **start.properties})
    try:
        execution = _begin(services, held, start)
        services.catalog.fail(execution, f"{type(problem).__name__}: {problem}")
    except CatalogError:
        return None
    return execution.execution_id


def maintain(
    services: Services,
    job: str,
    work: Callable[[Held, RunningExecution], tuple[T, Mapping[str, Json]]],
) -> T:
    """Do what cleans up and makes no version, as an execution of its own that says who did it, and when.

    ``work`` returns its result and what is to be told of it as properties of the execution. Raises LeaseHeldError,
    LeaseLostError, CatalogError, and what ``work`` raises.
    """
    start = ExecutionStart(
        type=ExecutionType.MAINTENANCE,
        job=job,
        run_key=None,
        targets=(),
        properties=provenance(services.settings.root),
    )
    with hold(services, job) as held:
        execution = _begin(services, held, start)
        try:
            result, properties = work(held, execution)
            plan = CommitPlan(execution=execution, changes=(), properties=properties)
            commit(services.catalog, services.store, plan, retention=services.settings.retention, now=services.clock())
        except CommitUnknownError:
            raise
        except BaseException as err:  # whatever it was, the execution ends with it
            # Where the catalog is what failed, the next holder of the lease cancels the execution.
            with contextlib.suppress(CatalogError):
                services.catalog.fail(execution, f"{type(err).__name__}: {err}")
            raise
    return result


def _begin(services: Services, held: Held, start: ExecutionStart) -> RunningExecution:
    """Begin an execution without a run key."""
    execution = services.catalog.begin(held.lease, start)
    if isinstance(execution, CompletedExecution):  # only a run key can be complete
        raise AssertionError
    return execution


def _folders(services: Services, dataset: DatasetName, uuid: str) -> tuple[str, str]:
    """Where an execution's files in one table may lie: recorded before the first byte is written."""
    location = table_location(services.store.url, dataset)
    return data_prefix(location, uuid), metadata_prefix(location, uuid)


def _produce_and_commit(services: Services, work: Work, produce: Callable[[Work], Harvest]) -> Landed:
    for attempt in range(1, _ATTEMPTS + 1):
        harvest = produce(work)
        work.audit(harvest.changes)
        failpoint("audited")
        work.last_call()
        plan = CommitPlan(
            execution=work.execution,
            changes=harvest.changes,
            sources=harvest.sources,
            positions=harvest.positions,
            files=harvest.files,
            edges=harvest.edges,
            properties={**_amounts(work.execution.start, harvest), **harvest.properties},
        )
        try:
            result = commit(
                services.catalog, services.store, plan, retention=services.settings.retention, now=services.clock()
            )
        except CommitConflictError:
            if attempt == _ATTEMPTS:
                raise
            work.discard()
            continue
        return Landed(
            execution_id=work.execution.execution_id,
            uuid=work.execution.uuid,
            versions=result.versions,
            harvest=harvest,
        )
    raise AssertionError("unreachable")


def _amounts(start: ExecutionStart, harvest: Harvest) -> dict[str, Json]:
    """How much was read (all of the sources and pinned versions) and written, in rows, bytes and files."""
    added = [file for change in harvest.changes for file in change.added]
    return {
        "rows_read": sum(source.rows for source in harvest.sources) + sum(version.rows for version in start.inputs),
        "bytes_read": sum(x.bytes or 0 for x in harvest.sources) + sum(version.bytes for version in start.inputs),
        "rows_written": sum(file.record_count for file in added),
        "bytes_written": sum(file.file_size_in_bytes for file in added),
        "files_written": len(added),
    }


def _is_interrupt(error: BaseException) -> bool:
    """Whether a signal is behind the error.

    DuckDB takes the KeyboardInterrupt for itself and raises a RuntimeError; and Arrow makes one that is raised in a
    reader of ours into the text of an error of its own.
    """
    seen: set[int] = set()
    err: BaseException | None = error
    while err is not None and id(err) not in seen:
        seen.add(id(err))
        text = str(err)
        if isinstance(err, KeyboardInterrupt) or (isinstance(err, RuntimeError) and text == "Query interrupted"):
            return True
        if "Python exception" in text and "KeyboardInterrupt" in text:
            return True
        err = err.__cause__ or err.__context__
    return False


def _give_up(services: Services, work: Work, text: str) -> None:
    try:
        state = services.catalog.fail(work.execution, text)
    except CatalogError:
        return  # not known to have failed: the next holder of the lease cancels it, and its files stay until then
    if state is not ExecutionState.COMPLETE:
        work.discard()
