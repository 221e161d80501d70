"""The types under which lineage of other programs is kept: theirs, so that nothing passes for lakecat's own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.enums import PropertyType, TypeKind
from lakecat.catalog.reading import properties_of
from lakecat.types import Json

RUN: Final = (registry.OPENLINEAGE_RUN, TypeKind.EXECUTION)
STATIC_JOB: Final = ("openlineage.Job", TypeKind.EXECUTION)
"""What a JobEvent tells without a run: an execution that stands for the job at rest."""
JOB: Final = ("openlineage.Job", TypeKind.CONTEXT)
PARENT: Final = ("openlineage.ParentRun", TypeKind.CONTEXT)
"""A run that started others; they, and it where it is known, are associated with it."""
DATASET: Final = ("openlineage.Dataset", TypeKind.CONTEXT)
STATE: Final = ("openlineage.DatasetVersion", TypeKind.ARTIFACT)
"""A state of a dataset: a version that was named, what one run wrote, or the dataset as it was found."""

MAX_NAME: Final = 512
"""Characters of a node's name."""
TOLD_AT: Final = "told_at"
"""Custom property: the time of the newest event that told of the node."""

_S, _I = PropertyType.STRING, PropertyType.INT
_NAMED: Final = {"namespace": _S, "name": _S}
_RUN: Final = {
    "job": _S, "job_namespace": _S, "job_name": _S, "started_at": _I, "ended_at": _I, "error": _S, "stack_trace": _S,
    "engine": _S, "nominal_start": _S, "nominal_end": _S, "parent_run": _S, "producer": _S,
}  # fmt: skip
TYPES: Final[Mapping[tuple[str, TypeKind], Mapping[str, PropertyType]]] = {
    RUN: _RUN,
    STATIC_JOB: _RUN,
    JOB: {**_NAMED, "documentation": _S, "owners": _S, "source_url": _S, "source_version": _S, "processing_type": _S,
          "integration": _S, "job_type": _S},
    PARENT: {"job": _S},
    DATASET: {**_NAMED, "documentation": _S, "owners": _S, "source_name": _S, "source_uri": _S},
    STATE: {"dataset": _S, "version": _S, "run": _S, "schema": _S, "rows": _I, "bytes": _I, "files": _I},
}  # fmt: skip


def find_types(connection: sa.Connection) -> dict[tuple[str, TypeKind], int]:
    """The ids of those of these types that the catalog has."""
    names = sorted({name for name, _ in TYPES})
    rows = connection.execute(
        sa.select(s.type_.c.name, s.type_.c.type_kind, s.type_.c.id)
        .where(s.type_.c.name.in_(names), s.type_.c.version.is_(None))
        .order_by(s.type_.c.id.desc())
    )
    return {(row.name, TypeKind(row.type_kind)): row.id for row in rows}


def ensure_types(connection: sa.Connection) -> dict[tuple[str, TypeKind], int]:
    """The ids of all these types, made where they are missing; until the transaction ends nobody else records."""
    found = find_types(connection)
    missing = [key for key in TYPES if key not in found]
    if missing:
        registry.insert_absent(
            connection,
            s.type_,
            # The unique external id keeps two that make it at the same time from making it twice.
            [
                {"name": name, "type_kind": int(kind), "external_id": f"{name} {kind.name.lower()}"}
                for name, kind in missing
            ],
        )
        found = find_types(connection)
        declared = [
            {"type_id": found[key], "name": name, "data_type": int(kind)}
            for key in missing
            for name, kind in TYPES[key].items()
        ]
        registry.insert_absent(connection, s.type_property, declared)
    connection.execute(sa.select(s.type_.c.id).where(s.type_.c.id == found[RUN]).with_for_update()).one()
    return found


def fit(name: str) -> str:
    """A name that a node can have: one that is too long keeps its beginning, and its SHA-256 tells it apart."""
    if len(name) <= MAX_NAME:
        return name
    return f"{name[: MAX_NAME - 66]}…{hashlib.sha256(name.encode()).hexdigest()}"


def tell(
    connection: sa.Connection,
    table: sa.Table,
    key: tuple[str, TypeKind],
    told: Mapping[int, tuple[int, Mapping[str, Json]]],
) -> None:
    """Write what is told of nodes, by id: a time and properties. What is newer wins; what is not told again stays."""
    known = properties_of(connection, table, told)
    owner = next(iter(table.primary_key.columns)).name
    rows: list[dict[str, Any]] = []
    for node, (time, facts) in sorted(told.items()):
        before = known[node]
        newest = before.get(TOLD_AT)
        newer = not isinstance(newest, int) or time >= newest
        change = {n: v for n, v in facts.items() if v is not None and (n not in before or (newer and before[n] != v))}
        if newer and newest != time:
            change[TOLD_AT] = time
        rows += registry.property_rows(owner, node, change, TYPES[key].keys())
    registry.upsert(connection, table, rows)


def make_contexts(
    connection: sa.Connection, type_id: int, names: Iterable[str], now: int
) -> tuple[dict[str, int], int]:
    """The ids of one type's contexts with these names, made where they are missing; and how many were."""
    wanted = set(names)
    found = registry.find_named(connection, s.context, type_id, wanted)
    missing = sorted(wanted - found.keys())
    rows = [
        {"type_id": type_id, "name": name, "create_time_since_epoch": now, "last_update_time_since_epoch": now}
        for name in missing
    ]
    registry.insert_absent(connection, s.context, rows)
    found |= registry.find_named(connection, s.context, type_id, missing)
    return found, len(missing)
