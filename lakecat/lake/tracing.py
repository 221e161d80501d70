"""Questions that follow data through the catalog: impact of a column, whereabouts of a file, history of a dataset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from lakecat.catalog import Catalog, ColumnInfo
from lakecat.catalog.impact import Affected
from lakecat.errors import NotFoundError, UsageError
from lakecat.lake.answers import ColumnDifference, Reader
from lakecat.lake.asked import FileTrace, History, HistoryEntry, Impact
from lakecat.lake.differ import compare_columns
from lakecat.lake.questions import find_column, parse_target
from lakecat.types import DatasetName, Version

_PAGE: Final = 1_000


def impact(catalog: Catalog, target: str) -> Impact:
    """What is downstream of a column or dataset. Raises NotFoundError, SelectorError."""
    ref, name = parse_target(target)
    version = catalog.resolve(ref)
    column = None if name is None else find_column(catalog, version, name)
    affected = catalog.impact(version, None if column is None else column.field_id)
    datasets: dict[str, int] = {}
    for one in affected:
        datasets.setdefault(one.dataset, one.distance)
    return Impact(
        version=version,
        column=None if column is None else column.name,
        affected=affected,
        datasets=datasets,
        readers=readers_of(catalog, affected),
        owners={name: note.owners for name, note in catalog.annotated().items() if note.owners and name in datasets},
    )


def readers_of(catalog: Catalog, affected: Sequence[Affected]) -> tuple[Reader, ...]:
    """The executions' scripts, each once for each dataset that it makes, with the lines that matter."""
    ids = {one.execution_id for one in affected}
    jobs, scripts = catalog.jobs_of(ids), catalog.scripts_of(ids)
    by_output: dict[tuple[int, str], list[Affected]] = {}
    for one in affected:
        by_output.setdefault((one.execution_id, one.dataset), []).append(one)
    return tuple(
        Reader(
            job=jobs.get(execution_id, ""),
            script=scripts.get(execution_id),
            lines=tuple(sorted({one.line for one in steps if one.line is not None})),
            dataset=dataset,
            distance=min(one.distance for one in steps),
            execution_id=execution_id,
        )
        for (execution_id, dataset), steps in by_output.items()
    )


def where(catalog: Catalog, root: Path, file: str) -> FileTrace:
    """Which versions a source's rows ended up in. Raises NotFoundError, UsageError."""
    if not file.strip():
        raise UsageError("no file is named", hint="write a path or URI, e.g. landing/orders.csv")
    paths = (Path.cwd() / file, root / file)
    exact = [file, *(f"file://{os.path.abspath(path)}" for path in paths)]  # noqa: PTH100 - links stay as written
    found = catalog.source_uris_like(file, exact)
    if not found:
        raise NotFoundError(
            f"nothing was read from {file}",
            hint="write the path as in the job, or a full URI; only what was committed counts",
            next_command="lakecat query --catalog 'SELECT uri FROM sources'",
        )
    if len(found) > 1:
        raise UsageError(f"{file} may mean {len(found)} sources: {', '.join(found[:5])}", hint="write more of the path")
    (uri,) = found
    loads = catalog.source_loads(uri)
    return FileTrace(uri=uri, loads=loads, holdings=catalog.holdings(load.artifact_id for load in loads))


def history(catalog: Catalog, target: str, *, limit: int | None) -> History:
    """The versions of a dataset or column, newest first. Raises NotFoundError, SelectorError."""
    ref, name = parse_target(target)
    start = catalog.resolve(ref)
    if name is None:
        return _dataset_history(catalog, start, limit)
    entries = _column_history(catalog, start, find_column(catalog, start, name).field_id)
    kept = entries if limit is None else entries[:limit]
    return History(dataset=str(start.dataset), column=name, entries=tuple(kept), more=len(kept) < len(entries))


def _dataset_history(catalog: Catalog, start: Version, limit: int | None) -> History:
    before = start.version + 1
    versions = list(catalog.versions(start.dataset, None if limit is None else limit + 1, before=before))
    shown = versions if limit is None else versions[:limit]
    changes = dict(_changes(catalog, versions))
    return History(
        dataset=str(start.dataset),
        column=None,
        entries=_entries(catalog, [(version, changes.get(version.version, ())) for version in shown]),
        more=len(versions) > len(shown),
    )


def _entries(
    catalog: Catalog, versions: Sequence[tuple[Version, tuple[ColumnDifference, ...]]]
) -> tuple[HistoryEntry, ...]:
    runs = catalog.executions_of({version.execution_id for version, _ in versions})
    return tuple(
        HistoryEntry(version=version, execution=runs.get(version.execution_id), columns=columns)
        for version, columns in versions
    )


def _changes(catalog: Catalog, versions: Sequence[Version]) -> Iterable[tuple[int, tuple[ColumnDifference, ...]]]:
    """By version number how its columns differ from the version before it, of versions in a row, newest first."""
    schemas: dict[str, tuple[ColumnInfo, ...]] = {}

    def columns(version: Version) -> tuple[ColumnInfo, ...]:
        if version.schema_fingerprint not in schemas:
            schemas[version.schema_fingerprint] = catalog.schema(version)
        return schemas[version.schema_fingerprint]

    for newer, older in pairwise(versions):
        if newer.schema_fingerprint != older.schema_fingerprint:
            yield newer.version, compare_columns(columns(older), columns(newer))
    if versions and versions[-1].version == 1:
        yield 1, compare_columns((), columns(versions[-1]))


def _column_history(catalog: Catalog, start: Version, field_id: int) -> list[HistoryEntry]:
    """The versions that changed one column, also after ``start``: a name may be asked for that it had once."""
    found: list[tuple[Version, tuple[ColumnDifference, ...]]] = []
    for version, changes in _all_changes(catalog, start.dataset):
        mine = tuple(change for change in changes if change.field_id == field_id)
        if mine:
            found.append((version, mine))
    return list(_entries(catalog, found))


def _all_changes(catalog: Catalog, dataset: DatasetName) -> Iterable[tuple[Version, tuple[ColumnDifference, ...]]]:
    """Every version whose columns differ from those before it, newest first."""
    before: int | None = None
    while True:
        page = catalog.versions(dataset, _PAGE + 1, before=before)
        changes = dict(_changes(catalog, page))
        for version in page[:_PAGE]:
            if version.version in changes:
                yield version, changes[version.version]
        if len(page) <= _PAGE:
            return
        before = page[_PAGE - 1].version
