"""MLMD's types merged into the catalog's: they only grow, and what contradicts is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import PropertyType, TypeKind
from lakecat.catalog.mlmd_import.source import Record, Source
from lakecat.catalog.registry import insert_one

_COLUMNS: Final = ("id", "name", "version", "type_kind", "description", "input_type", "output_type", "external_id")
_TEXTS: Final = ("description", "input_type", "output_type", "external_id")
Key: TypeAlias = tuple[int, str, str | None]
"""What tells types apart: kind, name, version."""


@dataclass(slots=True)
class TypePlan:
    """What becomes of the source's types."""

    new: list[Record] = field(default_factory=list)
    grown: dict[int, dict[str, int]] = field(default_factory=dict)
    """Properties to add, by the catalog's type."""
    filled: dict[int, Record] = field(default_factory=dict)
    """Descriptions and the like to set, by the catalog's type."""
    ids: dict[int, int] = field(default_factory=dict)
    """The catalog's type by the source's, of those that are there."""
    properties: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    parents: Mapping[int, int] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)

    @property
    def same(self) -> int:
        """How many types stay as they are."""
        changed = set(self.grown) | set(self.filled)
        return sum(1 for target in self.ids.values() if target not in changed)


def plan_types(source: Source, connection: sa.Connection) -> TypePlan:
    """Compare the source's types with the catalog's."""
    plan = TypePlan(
        properties=_by_type(source.rows(s.type_property, ("type_id", "name", "data_type"))),
        parents={row["type_id"]: row["parent_type_id"] for row in source.rows(s.parent_type, _PARENT)},
    )
    there = {_key(row): row for row in _rows(connection, s.type_, _COLUMNS)}
    external = {row["external_id"]: key for key, row in there.items() if row["external_id"]}
    properties = _by_type(_rows(connection, s.type_property, ("type_id", "name", "data_type")))
    found = source.rows(s.type_, _COLUMNS)
    for row in found:
        mine = there.get(_key(row))
        if row["external_id"] and external.get(row["external_id"], _key(row)) != _key(row):
            plan.conflicts.append(f"{_label(row)}: its external id {row['external_id']!r} is another type's")
        if mine is None:
            plan.new.append(row)
            continue
        plan.ids[row["id"]] = mine["id"]
        _compare(plan, row, mine, properties.get(mine["id"], {}))
    _compare_parents(plan, connection, found)
    return plan


_PARENT: Final = ("type_id", "parent_type_id")


def _compare(plan: TypePlan, row: Record, mine: Record, known: Mapping[str, int]) -> None:
    wanted = plan.properties.get(row["id"], {})
    for name in sorted(wanted.keys() & known.keys()):
        if wanted[name] != known[name]:
            plan.conflicts.append(
                f"{_label(row)}: its property {name!r} is {_named(wanted[name])}, and {_named(known[name])} here"
            )
    if fresh := {name: kind for name, kind in wanted.items() if name not in known}:
        plan.grown[mine["id"]] = fresh
    if texts := {name: row[name] for name in _TEXTS if row[name] is not None and mine[name] is None}:
        plan.filled[mine["id"]] = texts


def _compare_parents(plan: TypePlan, connection: sa.Connection, found: Iterable[Record]) -> None:
    here = {row["type_id"]: row["parent_type_id"] for row in _rows(connection, s.parent_type, _PARENT)}
    for row in found:
        mine, parent = plan.ids.get(row["id"]), plan.parents.get(row["id"])
        known = here.get(mine) if mine is not None else None
        if parent is not None and known is not None and known != plan.ids.get(parent):
            plan.conflicts.append(f"{_label(row)}: it has another base type here")


def apply_types(connection: sa.Connection, plan: TypePlan) -> dict[int, int]:
    """Write what ``plan_types`` found, and give the catalog's type by the source's."""
    ids = dict(plan.ids)
    for row in plan.new:
        ids[row["id"]] = insert_one(connection, s.type_, {name: row[name] for name in _COLUMNS[1:]})
        _insert_properties(connection, ids[row["id"]], plan.properties.get(row["id"], {}))
    for target, properties in plan.grown.items():
        _insert_properties(connection, target, properties)
    for target, texts in plan.filled.items():
        connection.execute(sa.update(s.type_).where(s.type_.c.id == target).values(**texts))
    here = {row["type_id"] for row in _rows(connection, s.parent_type, _PARENT)}
    parents = [
        {"type_id": ids[child], "parent_type_id": ids[parent]}
        for child, parent in plan.parents.items()
        if child in ids and parent in ids and ids[child] not in here
    ]
    if parents:
        connection.execute(sa.insert(s.parent_type), parents)
    return ids


def _insert_properties(connection: sa.Connection, type_id: int, properties: Mapping[str, int]) -> None:
    rows = [{"type_id": type_id, "name": name, "data_type": kind} for name, kind in sorted(properties.items())]
    if rows:
        connection.execute(sa.insert(s.type_property), rows)


def _rows(connection: sa.Connection, table: sa.Table, columns: Iterable[str]) -> list[Record]:
    return [dict(row) for row in connection.execute(sa.select(*(table.c[name] for name in columns))).mappings()]


def _by_type(rows: Iterable[Record]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = defaultdict(dict)
    for row in rows:
        found[row["type_id"]][row["name"]] = row["data_type"]
    return found


def _key(row: Mapping[str, Any]) -> Key:
    return int(row["type_kind"]), row["name"], row["version"] or None


def _label(row: Mapping[str, Any]) -> str:
    version = f" version {row['version']}" if row["version"] else ""
    return f"{TypeKind(int(row['type_kind'])).name.lower()} type {row['name']}{version}"


def _named(kind: int) -> str:
    return PropertyType(kind).name if kind in set(PropertyType) else str(kind)
