"""Garbage collection: removing files that no readable version needs, of executions that can never commit any more.

A file goes only if all of this holds: it lies in a folder that the catalog recorded as the write intent of an
execution that has ended; no snapshot in the table's current metadata, and no version that is kept, reaches it; and
either that execution never committed, or the file belongs to versions that expired longer ago than the grace, or it was
written in an attempt that was not the one that committed: then no metadata that is still there names it, the catalog
never published it, and its name is such as executions give. Age, path comparison or a partial listing never decide:
what is not proven garbage stays, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from lakecat.catalog import RunningExecution, garbage, restored
from lakecat.catalog.garbage import KnownVersion
from lakecat.errors import (
    CatalogBehindError,
    LakecatError,
    LeaseLostError,
    NotFoundError,
    ObjectMissingError,
    SelectorError,
    TableError,
    UsageError,
)
from lakecat.failpoints import failpoint
from lakecat.landing import Held, Services, maintain
from lakecat.store import StoredObject
from lakecat.tables import (
    METADATA_SUFFIX,
    RECEIPT_SUFFIX,
    SIDECAR_SUFFIX,
    Reach,
    TableState,
    is_written_by_execution,
    load_state,
    named,
    reachable,
    table_location,
    unreferenced,
)
from lakecat.types import DatasetName, ExecutionState, Json

MAX_DELETE_FRACTION: Final = 0.5
LEASE: Final = "gc"
UNKNOWN_SHOWN: Final = 20
_THREADS: Final = 8

OnProgress = Callable[[str, int, int], None]
"""Called with a dataset's name, and how many of how many files are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A number of files and their bytes."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(files=self.files + other.files, bytes=self.bytes + other.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetGarbage:
    """What can go in one dataset, or went.

    ``abandoned``: what was never committed, of executions that ended without it, and of attempts before the one that
    committed. ``expired``: of ``versions`` that expired longer ago than the
    grace. ``unknown``: files that no version and no execution explains; they stay, ``unknown_files`` names the first.
    ``total`` is all that lies in the dataset's folder. ``error`` says why nothing, or not all, was removed.
    """

    dataset: DatasetName
    total: Count = Count()
    abandoned: Count = Count()
    expired: Count = Count()
    versions: int = 0
    unknown: Count = Count()
    unknown_files: tuple[str, ...] = ()
    error: LakecatError | None = None

    @property
    def removable(self) -> Count:
        """All that can go."""
        return self.abandoned + self.expired


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What garbage collection found, and with ``applied`` removed; ``outside``: files that lie in no dataset.

    ``canceled`` are executions whose process was gone. ``execution_id`` is the collection's own record.
    """

    datasets: tuple[DatasetGarbage, ...]
    applied: bool
    outside: Count = Count()
    outside_files: tuple[str, ...] = ()
    canceled: tuple[int, ...] = ()
    execution_id: int | None = None

    @property
    def removable(self) -> Count:
        """All that can go, or with ``applied`` went, in datasets without an error."""
        return sum((item.removable for item in self.datasets if item.error is None), start=Count())

    @property
    def failures(self) -> tuple[DatasetGarbage, ...]:
        """The datasets where something is in the way."""
        return tuple(item for item in self.datasets if item.error is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What to remove in one dataset, in this order, and what to note after it. ``foreign`` files are used from here."""

    found: DatasetGarbage
    steps: tuple[tuple[StoredObject, ...], ...] = ()
    folders: frozenset[str] = frozenset()
    collected: tuple[int, ...] = ()
    foreign: frozenset[str] = frozenset()


def collect_garbage(
    services: Services,
    *,
    apply: bool = False,
    max_delete_fraction: float | None = None,
    on_progress: OnProgress | None = None,
) -> GcReport:
    """Find, and with ``apply`` remove, what no readable version needs and no execution will.

    A dataset of which more than ``max_delete_fraction`` (0.5) of its bytes would go is left alone, and so is one with
    anything that cannot be read; see ``DatasetGarbage.error``. With ``apply`` executions whose process is gone are
    canceled first. Raises UsageError, LeaseHeldError (another collection runs), LeaseLostError, CatalogBehindError
    (the lake holds versions that the catalog does not know: nothing is removed), CatalogError, StoreError (the lake
    cannot be listed).
    """
    most = MAX_DELETE_FRACTION if max_delete_fraction is None else max_delete_fraction
    if not 0 <= most <= 1:
        raise UsageError(f"a fraction of {most} cannot be deleted", hint="give a number from 0 to 1")
    progress = on_progress or (lambda _label, _done, _total: None)
    with services.catalog.database.reading() as connection:
        restored.check(connection)
    if not apply:
        return _report(_survey(services, most, pretend=True), applied=False)

    def work(held: Held, execution: RunningExecution) -> tuple[GcReport, dict[str, Json]]:
        canceled = services.catalog.cancel_expired()
        survey = _survey(services, most, pretend=False)
        failpoint("gc.planned")
        plans = [_apply(services, held, plan, progress) for plan in survey.plans]
        done = _report(replace(survey, plans=tuple(plans)), applied=True)
        report = replace(done, canceled=canceled, execution_id=execution.execution_id)
        return report, _properties(report)

    return maintain(services, LEASE, work)


@dataclass(frozen=True, slots=True)
class _Survey:
    plans: tuple[_Plan, ...]
    outside: tuple[StoredObject, ...]
    outside_total: Count


def _survey(services: Services, most: float, *, pretend: bool) -> _Survey:
    """Look at every dataset; nothing is removed yet. ``pretend``: count as ended what only waits to be canceled."""
    known = garbage.datasets(services.catalog.database)
    plans: list[_Plan] = []
    outside: list[StoredObject] = []
    total = Count()
    for name, group in groupby(services.store.list(services.store.url), lambda one: _owner(services, one, known)):
        if name is None:
            for one in group:
                total += _count([one])
                outside += [one] if len(outside) < UNKNOWN_SHOWN else []
            continue
        files = tuple(group)
        try:
            plans.append(_Look(services, name, files, pretend=pretend).plan())
        except CatalogBehindError:
            raise
        except LakecatError as err:
            plans.append(_Plan(found=DatasetGarbage(dataset=name, total=_count(files), error=err)))
    foreign = frozenset[str]().union(*(plan.foreign for plan in plans))
    return _Survey(tuple(_bounded(_without(plan, foreign), most) for plan in plans), tuple(outside), total)


def _owner(services: Services, one: StoredObject, known: frozenset[DatasetName]) -> DatasetName | None:
    """The dataset in whose folder a file lies."""
    parts = one.location[len(services.store.url) + 1 :].split("/", 2)
    try:
        name = DatasetName(*parts[:2]) if len(parts) == 3 else None
    except SelectorError:
        return None
    if name is None or name not in known:
        return None
    # A folder that differs in case only is another folder.
    return name if one.location.startswith(table_location(services.store.url, name) + "/") else None


class _Look:
    """One dataset: what its files are, by the catalog and the metadata that the catalog points to."""

    def __init__(
        self, services: Services, dataset: DatasetName, files: Sequence[StoredObject], *, pretend: bool
    ) -> None:
        self._services = services
        self._store = services.store
        self._dataset = dataset
        self._files = files
        self._pretend = pretend
        self._location = table_location(services.store.url, dataset)

    def plan(self) -> _Plan:
        """What to remove. Raises whatever stands in the way of knowing it for sure."""
        folders = {folder for one in self._files if (folder := self._folder(one.location))}
        uuids = {folder.rpartition("/")[2] for folder in folders}
        # Who has ended is asked before what is reached: whoever commits in between is not among them.
        writers = garbage.writers(self._services.catalog.database, uuids)
        kept, metadata, expired, collected = self._versions()
        records = self._records()
        abandoned: list[StoredObject] = []
        stale: list[StoredObject] = []
        unknown: list[StoredObject] = []
        committed: list[StoredObject] = []
        for one in self._files:
            if one.location in kept or one.location in metadata or one.location in records:
                continue
            writer = writers.get(self._folder(one.location) or "")
            if writer is None or self._is_link(one.location):
                unknown.append(one)
            elif writer.dead or (self._pretend and writer.abandoned):
                abandoned.append(one)
            elif writer.state is ExecutionState.COMPLETE:
                (stale if one.location in expired else committed).append(one)
        in_vain = self._written_in_vain(committed, metadata)
        abandoned += [one for one in committed if one.location in in_vain]
        unknown += [one for one in committed if one.location not in in_vain]
        order = sorted(stale, key=lambda one: expired[one.location])
        steps = (tuple(abandoned), *(tuple(group) for _, group in groupby(order, lambda one: expired[one.location])))
        touched = {folder for one in (*abandoned, *stale) if (folder := self._folder(one.location))}
        return _Plan(
            found=DatasetGarbage(
                dataset=self._dataset,
                total=_count(self._files),
                abandoned=_count(abandoned),
                expired=_count(stale),
                versions=len(collected),
                unknown=_count(unknown),
                unknown_files=tuple(one.location for one in unknown[:UNKNOWN_SHOWN]),
            ),
            steps=steps,
            folders=frozenset(touched),
            collected=collected,
            foreign=frozenset(
                location
                for kind in (kept.files, kept.manifests, kept.lists, metadata)
                for location in kind
                if not location.startswith(self._location + "/")
            ),
        )

    def _folder(self, location: str) -> str | None:
        """The folder of one execution (``data/<uuid>`` or ``metadata/<uuid>``) that a file lies in."""
        parts = location[len(self._location) + 1 :].split("/")
        return "/".join((self._location, *parts[:2])) if len(parts) > 2 else None

    def _records(self) -> frozenset[str]:
        """Sidecars and receipts of all versions: they stay for ever, a lost catalog is made again from them.

        Raises CatalogBehindError for the receipt of a commit that the catalog knows nothing of.
        """
        found = {
            location: location.removesuffix(suffix) + METADATA_SUFFIX
            for location in (one.location for one in self._files)
            for suffix in (SIDECAR_SUFFIX, RECEIPT_SUFFIX)
            if location.endswith(suffix)
        }
        published = garbage.published(self._services.catalog.database, self._dataset) if found else frozenset()
        for location, metadata in found.items():
            if location.endswith(RECEIPT_SUFFIX) and metadata not in published:
                raise CatalogBehindError(
                    f"{self._dataset}: the lake has a version that the catalog does not know: {metadata}",
                    hint="the catalog is older than the lake: let it catch up; nothing was removed",
                    next_command="lakecat catalog rebuild --yes",
                )
        return frozenset(location for location, metadata in found.items() if metadata in published)

    def _written_in_vain(self, committed: Sequence[StoredObject], metadata: frozenset[str]) -> frozenset[str]:
        """Those of the unexplained files of executions that committed which no attempt of them has published.

        Such an execution never writes again, and all that its commit published is in the catalog. Metadata that is
        still there may name files beyond what is needed: expired versions', whose turn has not come.
        """
        ours = [one.location for one in committed if is_written_by_execution(self._location, one.location)]
        if not ours or not metadata:  # without metadata there is no table (any more) to tell by
            return frozenset()
        published = garbage.published(self._services.catalog.database, self._dataset)
        there = (one.location for one in self._files if one.location in published)
        in_use = named(self._store, {*metadata, *there})
        return frozenset(one for one in ours if one not in published and one not in in_use)

    def _is_link(self, location: str) -> bool:
        """Whether the file is a link, or lies behind one; lakecat makes none."""
        try:
            return self._store.canonical(location) != location
        except LakecatError:
            return True

    def _versions(self) -> tuple[Reach, frozenset[str], dict[str, int], tuple[int, ...]]:
        """What is needed, metadata that is needed, what only expired versions need (with its turn), those versions."""
        catalog, grace = self._services.catalog, self._services.settings.retention.grace
        # Versions first: one that expires before the pointer is read counts as kept, and never the other way round.
        known = garbage.versions(catalog.database, self._dataset, grace)
        try:
            pointer = catalog.metadata_location(self._dataset)
        except NotFoundError:
            return Reach(), frozenset(), {}, ()
        state = load_state(self._store, pointer)
        if state.location != self._location:
            raise TableError(f"{self._dataset} lies at {state.location}, where garbage is not collected")
        live = {int(snapshot["snapshot-id"]) for snapshot in state.snapshots}
        due = [version for version in known if version.due and version.snapshot_id not in live]
        rest = [version for version in known if not version.due or version.snapshot_id in live]
        hidden = [version for version in rest if version.snapshot_id not in live]
        lists = [str(snapshot["manifest-list"]) for snapshot in self._snapshots(due).values()]
        kept = reachable(self._store, state, others=self._needed(hidden))
        metadata = self._metadata(state, rest)
        only = unreferenced(self._store, kept, lists)
        gone = [version for version in due if version.metadata_location not in metadata]
        tagged = garbage.tag_metadata(catalog.database, self._dataset, grace)
        stale = [*(version.metadata_location for version in gone), *(one for one in tagged if one not in metadata)]
        ordered = (only.files, only.manifests, only.lists, stale)
        expired = {location: turn for turn, locations in enumerate(ordered) for location in locations}
        return kept, metadata, expired, tuple(version.version for version in gone)

    def _metadata(self, state: TableState, versions: Iterable[KnownVersion]) -> frozenset[str]:
        """The metadata files that stay."""
        log = (str(entry["metadata-file"]) for entry in state.head.get("metadata-log") or ())
        found = {state.metadata_location, *log, *(version.metadata_location for version in versions)}
        return frozenset(self._store.canonical(location) for location in found)

    def _snapshots(self, versions: Sequence[KnownVersion]) -> dict[int, Mapping[str, Any]]:
        """The snapshot of each version as Iceberg's JSON; without those whose metadata was removed already.

        One version's metadata knows the snapshots before it too, so few files are read.
        """
        snapshots: dict[int, Mapping[str, Any]] = {}
        wanted = {version.snapshot_id for version in versions}
        for version in reversed(versions):
            if version.snapshot_id in snapshots:
                continue
            try:
                state = load_state(self._store, version.metadata_location)
            except ObjectMissingError:
                continue
            snapshots |= {int(one["snapshot-id"]): one for one in state.snapshots if int(one["snapshot-id"]) in wanted}
        return snapshots

    def _needed(self, versions: Sequence[KnownVersion]) -> tuple[Mapping[str, Any], ...]:
        """The snapshots of expired versions that must stay. Raises TableError when one is not to be found."""
        snapshots = self._snapshots(versions)
        for version in versions:
            if version.snapshot_id not in snapshots:
                name = f"{self._dataset}@v{version.version}"
                raise TableError(f"the metadata of {name} is missing, so it is unknown what it needs")
        return tuple(snapshots.values())


def _without(plan: _Plan, foreign: frozenset[str]) -> _Plan:
    """The plan, or an error in its place when another table uses one of its files."""
    used = next((one for step in plan.steps for one in step if one.location in foreign), None)
    if used is None:
        return plan
    return _refused(plan, TableError(f"another table uses {used.location}", next_command="lakecat doctor"))


def _bounded(plan: _Plan, most: float) -> _Plan:
    """The plan, or an error in its place when it would remove too much."""
    removed, total = plan.found.removable.bytes, plan.found.total.bytes
    if plan.found.error is not None or removed <= most * total:
        return plan
    share = removed / total
    error = TableError(
        f"{plan.found.dataset}: {share:.0%} of its bytes would be removed, more than {most:.0%}; nothing was",
        hint="if that is right, allow it",
        next_command=f"lakecat gc --yes --max-delete-fraction {-(-removed * 100 // total) / 100:g}",
    )
    return _refused(plan, error)


def _refused(plan: _Plan, error: LakecatError) -> _Plan:
    return _Plan(found=replace(plan.found, error=error))


def _apply(services: Services, held: Held, plan: _Plan, on_progress: OnProgress) -> _Plan:
    """Remove a plan's files step by step, then note that its versions are gone. Its counts become what was done."""
    label, total = str(plan.found.dataset), plan.found.removable.files
    done = 0
    try:
        with ThreadPoolExecutor(1 if services.store.url.startswith("file:") else _THREADS, "lakecat-gc") as pool:
            for step in plan.steps:
                for _ in pool.map(lambda one: _remove(services, held, one), step):
                    done += 1
                    on_progress(label, done, total)
        for folder in sorted(plan.folders):
            services.store.prune(folder)
        if plan.collected:
            garbage.mark_collected(services.catalog.database, plan.found.dataset, plan.collected)
    except LeaseLostError:
        raise
    except LakecatError as err:
        return _refused(plan, err)
    return plan


def _remove(services: Services, held: Held, one: StoredObject) -> None:
    held.check()
    services.store.delete(one.location)
    failpoint("gc.file_deleted")


def _report(survey: _Survey, *, applied: bool) -> GcReport:
    return GcReport(
        datasets=tuple(plan.found for plan in survey.plans),
        applied=applied,
        outside=survey.outside_total,
        outside_files=tuple(one.location for one in survey.outside),
    )


def _properties(report: GcReport) -> dict[str, Json]:
    """What the catalog keeps of a collection."""
    touched: dict[str, Json] = {
        str(item.dataset): {
            "files": item.removable.files,
            "bytes": item.removable.bytes,
            "versions": item.versions,
        }
        for item in report.datasets
        if item.error is None and (item.removable.files or item.versions)
    }
    return {
        "files_removed": report.removable.files,
        "bytes_removed": report.removable.bytes,
        "versions_removed": sum(item.versions for item in report.datasets if item.error is None),
        "datasets": touched,
        "errors": {str(item.dataset): str(item.error) for item in report.failures},
        "canceled": list(report.canceled),
    }


def _count(files: Iterable[StoredObject]) -> Count:
    sizes = [one.size for one in files]
    return Count(files=len(sizes), bytes=sum(sizes))
