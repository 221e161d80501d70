"""Questions that the catalog answers: what is there, how fresh it is, where it came from. No data file is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from lakecat.catalog import Catalog, ColumnInfo, ExecutionInfo
from lakecat.config import IngestJob
from lakecat.errors import NotFoundError, SelectorError
from lakecat.lake.answers import DatasetStatus, Description, Difference, Lineage
from lakecat.lake.differ import compare_columns
from lakecat.schedule import next_instant
from lakecat.store import LakeStore
from lakecat.types import DatasetName, ExecutionType, Version, VersionRef

if TYPE_CHECKING:
    from lakecat.transform import Script


_NODE: Final = re.compile(r"(artifact|execution):([0-9]{1,18})")
"""A node of the metadata store, by its id."""


def describe(catalog: Catalog, store: LakeStore, ref: VersionRef, *, history: int) -> Description:
    """A version in full. Raises NotFoundError, StoreError."""
    version = catalog.resolve(ref)
    info = catalog.dataset(version.dataset)
    raw = json.loads(store.read(catalog.metadata_location(version.dataset)))
    columns, said = catalog.schema(version), catalog.annotations(version.dataset)
    return Description(
        version=version,
        current=version.version == info.latest.version,
        columns=columns,
        location=str(raw["location"]),
        partition=partition_texts(raw),
        made_by=catalog.execution(version.execution_id),
        history=catalog.versions(version.dataset, history),
        versions=info.versions,
        annotation=said.dataset,
        column_annotations={c.name: said.columns[c.field_id] for c in columns if c.field_id in said.columns},
        tags={tag.name: tag.version for tag in catalog.tags(version.dataset)},
    )


def partition_texts(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The current partition spec of a table's metadata, in the words of a job file: ``day(time_hour)``."""
    spec = next(item for item in raw["partition-specs"] if item["spec-id"] == raw["default-spec-id"])
    schema = next(item for item in raw["schemas"] if item["schema-id"] == raw["current-schema-id"])
    names = {field["id"]: field["name"] for field in schema["fields"]}
    return tuple(
        _partition_text(field["transform"], names.get(field["source-id"], field["name"])) for field in spec["fields"]
    )


def _partition_text(transform: str, column: str) -> str:
    if transform == "identity":
        return column
    kind, bracket, width = transform.rstrip("]").partition("[")
    return f"{kind}({width}, {column})" if bracket else f"{kind}({column})"


def differ(catalog: Catalog, before: VersionRef, after: VersionRef) -> Difference:
    """What changed between two versions of one dataset, the rows not looked at.

    The dataset alone for both means its last two versions. Raises SelectorError when they are of different datasets,
    NotFoundError.
    """
    if before.dataset != after.dataset:
        raise SelectorError(
            f"{before.dataset} and {after.dataset} are different datasets", hint="compare two versions of one dataset"
        )
    second = catalog.resolve(after)
    first = _before(catalog, second) if before == after == VersionRef(before.dataset) else catalog.resolve(before)
    low, high = sorted((first.version, second.version))
    newest = catalog.versions(first.dataset, high - low or 1, before=high + 1)
    return Difference(
        before=first,
        after=second,
        columns=compare_columns(catalog.schema(first), catalog.schema(second)),
        between=tuple(version for version in reversed(newest) if version.version > low),
    )


def _before(catalog: Catalog, version: Version) -> Version:
    """The version before this one. Raises NotFoundError."""
    found = catalog.versions(version.dataset, 1, before=version.version)
    if found:
        return found[0]
    raise NotFoundError(f"{version} is the first version, so there is none before it", hint="nothing can differ yet")


def parse_target(text: str) -> tuple[VersionRef, str | None]:
    """``namespace.name[.column][@version]``: the dataset at a version, and the column. Raises SelectorError."""
    name, at, version = text.partition("@")
    parts = name.split(".", 2)
    if len(parts) < 2:
        raise SelectorError(f"{name!r} is not a dataset name", hint="write namespace.name or namespace.name.column")
    return VersionRef.parse(".".join(parts[:2]) + at + version), parts[2] if len(parts) == 3 else None


def trace(catalog: Catalog, text: str, *, direction: Literal["up", "down", "both"], depth: int | None) -> Lineage:
    """Where a version or column came from, or what came of it; also of ``artifact:17`` and ``execution:5``.

    Raises NotFoundError, SelectorError.
    """
    if (node := _NODE.fullmatch(text)) is not None:
        kind: Literal["artifact", "execution"] = "artifact" if node[1] == "artifact" else "execution"
        graph = catalog.node_lineage(kind, int(node[2]), direction, depth)
        return Lineage(version=None, column=None, direction=direction, graph=graph, columns=(), scripts={})
    ref, name = parse_target(text)
    version = catalog.resolve(ref)
    column = None if name is None else find_column(catalog, version, name).name
    ways: tuple[Literal["up", "down"], ...] = ("up", "down") if direction == "both" else (direction,)
    paths = tuple(
        path for way in ways for path in catalog.column_lineage(version.dataset, column, version.version, way, depth)
    )
    return Lineage(
        version=version,
        column=column,
        direction=direction,
        graph=catalog.lineage(version, direction, depth),
        columns=paths,
        scripts=catalog.scripts_of({path.execution_id for path in paths}),
        sources=() if direction == "down" else catalog.source_uris(version),
    )


def find_column(catalog: Catalog, version: Version, name: str) -> ColumnInfo:
    """The column of this name, exactly or in any case. Raises NotFoundError."""
    return named_column(version, catalog.schema(version), name)


def named_column(version: Version, columns: Sequence[ColumnInfo], name: str) -> ColumnInfo:
    """That of these columns of a version which has this name, exactly or in any case. Raises NotFoundError."""
    exact = [column for column in columns if column.name == name]
    close = [column for column in columns if column.name.lower() == name.lower()]
    if found := exact or close:
        return found[0]
    raise NotFoundError(
        f"{version} has no column {name!r}",
        hint=f"its columns: {', '.join(column.name for column in columns)}",
        next_command=f"lakecat show {version.dataset}",
    )


def status(
    catalog: Catalog, jobs: Sequence[IngestJob], scripts: Sequence[Script], now: datetime
) -> tuple[DatasetStatus, ...]:
    """How fresh each dataset is, those too that a job or script is to fill for the first time; by name."""
    infos = {info.name: info for info in catalog.datasets()}
    work: dict[DatasetName, list[IngestJob | Script]] = {name: [] for name in infos}
    everything: list[IngestJob | Script] = [*jobs, *scripts]
    for item in everything:
        for target in item.targets if isinstance(item, IngestJob) else (item.target,):
            work.setdefault(target, []).append(item)
    runs, said = catalog.last_runs(), catalog.annotated()
    _found_by_pattern(work, jobs, runs)
    found = []
    for name in sorted(work):
        info = infos.get(name)
        fresh = said[str(name)].fresh_within if str(name) in said else None
        age = now - info.latest.committed_at if info else None
        schedules = [item.schedule for item in work[name] if not (isinstance(item, IngestJob) and item.paused)]
        instants = [instant for one in schedules if one and (instant := next_instant(one, now))]
        found.append(
            DatasetStatus(
                dataset=name,
                version=info.latest if info else None,
                age=age,
                job=", ".join(item.name for item in work[name]) or None,
                last_run=runs.get(name),
                next_due=min(instants, default=None),
                fresh_within=fresh,
                late=age is not None and fresh is not None and age > fresh,
            )
        )
    return tuple(found)


def _found_by_pattern(
    work: dict[DatasetName, list[IngestJob | Script]],
    jobs: Sequence[IngestJob],
    runs: Mapping[DatasetName, ExecutionInfo],
) -> None:
    """Give datasets that no job names (patterns, lists, quarantines) to the job that wrote them last."""
    by_name = {job.name: job for job in jobs}
    for name, fillers in work.items():
        run = runs.get(name)
        if not fillers and run is not None and run.type is ExecutionType.INGEST and run.job in by_name:
            fillers.append(by_name[run.job])
