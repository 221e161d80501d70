"""``lakecat doctor``: is everything where it should be, and does everything answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from lakecat.catalog import garbage, restored, tagging
from lakecat.catalog.sqlite import wal_is_safe
from lakecat.engines import Engine
from lakecat.errors import CatalogBehindError, LakecatError, ObjectMissingError
from lakecat.ingest import open_connector
from lakecat.lake.answers import Check, Verdict
from lakecat.lake.project import Project
from lakecat.lake.querying import scan_of
from lakecat.landing import Services
from lakecat.tables import METADATA_SUFFIX, RECEIPT_SUFFIX, PlannedFile, metadata_prefix, plan, table_location
from lakecat.types import DatasetName, Version

_THREADS: Final = 8
_SHOWN: Final = 5
_INTENTS: Final = 200


def examine(services: Services, engine: Engine, project: Project, *, deep: bool) -> tuple[Check, ...]:
    """Every check, in the order in which a person would mend things. ``deep`` reads every data file whole."""
    parts: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
        ("project", lambda: _project(services, project)),
        ("store", lambda: _store(services)),
        ("catalog", lambda: _catalog(services)),
        ("catalog", lambda: _behind(services)),
        ("tags", lambda: _tags(services)),
        ("engine", lambda: _engine(engine)),
        ("files", lambda: _files(services, deep=deep)),
        ("leftovers", lambda: _leftovers(services)),
    )
    return tuple(check for name, part in parts for check in _guarded(name, part))


def _guarded(name: str, part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The part's checks; what it raises becomes a bad check, so that the other parts are looked at too."""
    try:
        yield from part()
    except LakecatError as err:
        place = f"{err.where}: " if err.where else ""
        yield Check(name, Verdict.BAD, f"{place}{err.what}", err.hint)


def _project(services: Services, project: Project) -> Iterator[Check]:
    jobs, scripts = project.jobs(), project.scripts()
    for job in jobs:
        open_connector(services, job).close()
    yield Check("project", Verdict.GOOD, f"ingest jobs: {len(jobs)}, scripts: {len(scripts)}; all of them can be read")


def _store(services: Services) -> Iterator[Check]:
    probe = services.store.probe()
    slow = max(probe.write_seconds, probe.read_seconds, probe.list_seconds)
    absent = "put-if-absent ok" if probe.put_if_absent else "no put-if-absent, which lakecat does not need"
    yield Check("store", Verdict.GOOD, f"{probe.url} writes, reads and lists ({absent}, {slow * 1000:.0f} ms)")


def _catalog(services: Services) -> Iterator[Check]:
    kind = services.catalog.kind
    if kind == "sqlite" and not wal_is_safe(sqlite3.sqlite_version):
        yield Check(
            "sqlite",
            Verdict.GOOD,
            f"SQLite {sqlite3.sqlite_version} has a known fault in its faster journal (WAL); lakecat uses the safe one",
        )
    problems = services.catalog.integrity()
    for problem in problems:
        verdict = Verdict.WARNING if problem.warning else Verdict.BAD
        yield Check("catalog", verdict, f"{problem.message} ({problem.code})")
    if not problems:
        yield Check("catalog", Verdict.GOOD, f"{kind}: every version is explained by a completed execution")


def _behind(services: Services) -> Iterator[Check]:
    """Whether the lake holds versions that the catalog does not know, as after an old backup was put back."""
    database = services.catalog.database
    mend = "let the catalog catch up: lakecat catalog rebuild --yes"
    with database.reading() as connection:
        try:
            restored.check(connection)
        except CatalogBehindError as err:
            yield Check("catalog", Verdict.BAD, err.what, mend)
    for dataset in sorted(garbage.datasets(database)):
        folder = metadata_prefix(table_location(services.store.url, dataset), None)
        receipts = [one.location for one in services.store.list(folder) if one.location.endswith(RECEIPT_SUFFIX)]
        published = garbage.published(database, dataset) if receipts else frozenset[str]()
        unknown = [one for one in receipts if one.removesuffix(RECEIPT_SUFFIX) + METADATA_SUFFIX not in published]
        if unknown:
            message = f"{dataset}: the lake has versions that the catalog does not know: {len(unknown)}"
            yield Check("catalog", Verdict.BAD, message, mend)


def _tags(services: Services) -> Iterator[Check]:
    """The tags here are those that other engines see in the tables' metadata."""
    catalog, count = services.catalog, len(services.catalog.tags())
    differ = [
        f"{info.name}: {what}"
        for info in catalog.datasets()
        for what in tagging.differences(catalog, services.store, info.name)
    ]
    for what in differ[:_SHOWN]:
        yield Check(
            "tags", Verdict.WARNING, what, "another engine moved it; say where it belongs: lakecat tag set, or delete"
        )
    if len(differ) > _SHOWN:
        yield Check("tags", Verdict.WARNING, f"and {len(differ) - _SHOWN} more")
    if not differ:
        yield Check("tags", Verdict.GOOD, f"tags: {count}; the tables' metadata has the same")


def _engine(engine: Engine) -> Iterator[Check]:
    with engine.session({}) as session:
        session.query("SELECT 1 AS one").read_all()
    yield Check("engine", Verdict.GOOD, f"{engine.name} answers")


@dataclass(frozen=True, slots=True)
class _Fault:
    dataset: DatasetName
    message: str


def _files(services: Services, *, deep: bool) -> Iterator[Check]:
    """Every file of every current version is there with its size; read whole with ``deep``."""
    counted = 0
    faults: list[_Fault] = []
    for info in services.catalog.datasets():
        files = plan(services.store, scan_of(services.catalog, services.store, info.latest))
        counted += len(files)
        faults += _inspect(services, info.latest, files, deep=deep)
        if (rows := sum(file.rows for file in files)) != info.latest.rows:
            faults.append(
                _Fault(info.name, f"{info.latest} has {rows} rows in its files, {info.latest.rows} in the catalog")
            )
    for fault in faults[:_SHOWN]:
        yield Check("files", Verdict.BAD, f"{fault.dataset}: {fault.message}", "restore the file from a backup")
    if len(faults) > _SHOWN:
        yield Check("files", Verdict.BAD, f"and {len(faults) - _SHOWN} more")
    if not faults:
        how = "read whole" if deep else "there, with their sizes"
        yield Check("files", Verdict.GOOD, f"{counted} files of the current versions are {how}")


def _inspect(services: Services, version: Version, files: tuple[PlannedFile, ...], *, deep: bool) -> list[_Fault]:
    look = _read_whole if deep else _measure
    with ThreadPoolExecutor(_THREADS, "lakecat-doctor") as pool:
        found = pool.map(lambda file: look(services, file), files)
        return [_Fault(version.dataset, message) for message in found if message]


def _measure(services: Services, file: PlannedFile) -> str | None:
    try:
        size = services.store.size(file.location)
    except ObjectMissingError:
        return f"{file.location} is missing"
    return None if size == file.size else f"{file.location} has {size} bytes, its manifest says {file.size}"


def _read_whole(services: Services, file: PlannedFile) -> str | None:
    if (fault := _measure(services, file)) is not None:
        return fault
    try:
        with services.store.open_input(file.location) as source:
            parquet = pq.ParquetFile(source, page_checksum_verification=True)
            rows = sum(batch.num_rows for batch in parquet.iter_batches())
    except (pa.ArrowException, OSError) as err:
        return f"{file.location} cannot be read: {err}"
    return None if rows == file.rows else f"{file.location} has {rows} rows, its manifest says {file.rows}"


def _leftovers(services: Services) -> Iterator[Check]:
    """Files that executions left which can never commit any more: garbage, harmless."""
    prefixes = services.catalog.abandoned_prefixes(_INTENTS)
    left = [stored for prefix in prefixes for stored in services.store.list(prefix)]
    if left:
        size = sum(stored.size for stored in left)
        message = f"{len(left)} files ({size:,} bytes) of executions that failed are left; no table knows them"
        yield Check("leftovers", Verdict.WARNING, message, "they are harmless; `lakecat gc` removes them")
    else:
        yield Check("leftovers", Verdict.GOOD, "no files of failed executions are left")
