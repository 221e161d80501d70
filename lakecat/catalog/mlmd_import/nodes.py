"""MLMD's artifacts, executions and contexts in the catalog: which are new, which changed, which names are taken."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.metadata_store.ids import rows_by_ids
from lakecat.catalog.migrations import tables_0001 as t
from lakecat.catalog.mlmd_import.rows import insert_all, insert_numbered
from lakecat.catalog.mlmd_import.source import Record, Source
from lakecat.catalog.registry import insert_absent

_NAME_ROOM: Final = 512
_ASKED: Final = 20
"""How many nodes are asked under which prefix they came in; one may have another name by now."""
_COMMON: Final = ("type_id", "name", "external_id", "create_time_since_epoch", "last_update_time_since_epoch")


@dataclass(frozen=True, slots=True)
class Kind:
    """The tables of one kind of node."""

    number: TypeKind
    table: sa.Table
    properties: sa.Table
    owner: str
    more: tuple[str, ...]

    @property
    def label(self) -> str:
        """``artifact``, ``execution`` or ``context``."""
        return self.number.name.lower()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a node but its id."""
        return (*_COMMON, *self.more)


def _untyped(table: sa.Table) -> sa.Table:
    """The table as the driver gives it: on SQLite MLMD keeps text in ``proto_value``, a BLOB by its name."""
    columns = [
        sa.Column(
            c.name,
            sa.types.NullType() if isinstance(c.type, sa.LargeBinary) else c.type,
            primary_key=c.primary_key,
            autoincrement=False,
        )
        for c in table.columns
    ]
    return sa.Table(sa.sql.quoted_name(str(table.name), quote=False), sa.MetaData(), *columns)


ARTIFACT: Final = Kind(TypeKind.ARTIFACT, s.artifact, _untyped(t.artifact_property), "artifact_id", ("uri", "state"))
EXECUTION: Final = Kind(
    TypeKind.EXECUTION, s.execution, _untyped(t.execution_property), "execution_id", ("last_known_state",)
)
CONTEXT: Final = Kind(TypeKind.CONTEXT, s.context, _untyped(t.context_property), "context_id", ())
KINDS: Final = (ARTIFACT, EXECUTION, CONTEXT)


@dataclass(frozen=True, slots=True)
class Known:
    """What was imported before: which node it became, and how new it was then."""

    target_id: int
    updated_ms: int


@dataclass(slots=True)
class Sorted:
    """A piece of the source's nodes, by what becomes of them."""

    new: list[Record] = field(default_factory=list)
    joined: list[tuple[Record, int]] = field(default_factory=list)
    """Contexts whose type and name are here already, and the one that is."""
    updated: list[tuple[Record, int]] = field(default_factory=list)
    same: int = 0
    kept: list[int] = field(default_factory=list)
    """Changed there, and changed or removed here: ours stays."""
    conflicts: list[str] = field(default_factory=list)

    def count(self) -> Counter[str]:
        """How many of each."""
        return Counter(
            new=len(self.new),
            joined=len(self.joined),
            updated=len(self.updated),
            same=self.same,
            kept=len(self.kept),
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where nodes come from, as the catalog remembers it; ``id`` is None before the first import."""

    id: int | None
    name: str
    prefix: str
    """Put before names and external ids."""


def known_nodes(connection: sa.Connection, origin: Origin, kind: Kind, ids: Sequence[int]) -> dict[int, Known]:
    """What the source's nodes with these ids became, by the source's id."""
    if origin.id is None:
        return {}
    table = s.import_node
    mine = (table.c.import_id == origin.id, table.c.kind == int(kind.number))
    query = sa.select(table.c.source_id, table.c.target_id, table.c.updated_ms).where(*mine)
    found = rows_by_ids(connection, query, table.c.source_id, ids)
    return {row.source_id: Known(row.target_id, row.updated_ms) for row in found}


def prefix_before(connection: sa.Connection, import_id: int, source: Source) -> str | None:
    """What stands before the names that came in earlier from this source; None where no name tells."""
    known = s.import_node
    for kind in KINDS:
        for name in ("name", "external_id"):
            column = kind.table.c[name]
            query = (
                sa.select(known.c.source_id, column.label("text"))
                .join(kind.table, kind.table.c.id == known.c.target_id)
                .where(known.c.import_id == import_id, known.c.kind == int(kind.number), column.is_not(None))
                .order_by(known.c.source_id)
                .limit(_ASKED)
            )
            here = {row.source_id: row.text for row in connection.execute(query)}
            prefixes = Counter[str](
                here[row["id"]].removesuffix(row[name])
                for row in source.by_ids(kind.table, (name,), list(here))
                if row[name] and here[row["id"]].endswith(row[name])
            )
            if prefixes:
                return prefixes.most_common(1)[0][0]
    return None


def sort_nodes(
    connection: sa.Connection, origin: Origin, kind: Kind, rows: Sequence[Record], types: Mapping[int, int]
) -> Sorted:
    """Say what becomes of a piece of the source's nodes; ``types`` are the catalog's by the source's, where there."""
    result = Sorted()
    known = known_nodes(connection, origin, kind, [row["id"] for row in rows])
    here = _by_id(connection, kind, [item.target_id for item in known.values()])
    fresh = []
    for row in rows:
        before = known.get(row["id"])
        if before is None:
            fresh.append(_renamed(row, origin.prefix))
        else:
            _sort_known(result, kind, row, before, here.get(before.target_id))
    _sort_fresh(connection, result, kind, fresh, types)
    return result


def _sort_known(result: Sorted, kind: Kind, row: Record, before: Known, mine: Any) -> None:
    if mine is not None and kind is not CONTEXT and mine.create_time_since_epoch != row["create_time_since_epoch"]:
        result.conflicts.append(
            f"{kind.label} {row['id']} is not the one that was imported before: this is another database"
        )
    elif row["last_update_time_since_epoch"] == before.updated_ms:
        result.same += 1
    elif mine is not None and mine.last_update_time_since_epoch == before.updated_ms:
        result.updated.append((row, before.target_id))
    else:
        result.kept.append(row["id"])


def _sort_fresh(
    connection: sa.Connection, result: Sorted, kind: Kind, rows: Sequence[Record], types: Mapping[int, int]
) -> None:
    taken = _by_name(connection, kind, [(types[r["type_id"]], r["name"]) for r in rows if r["type_id"] in types])
    external = _by_external_id(connection, kind, [row["external_id"] for row in rows if row["external_id"]])
    roomy = connection.dialect.name == "sqlite"
    for row in rows:
        mine = taken.get((types.get(row["type_id"], -1), row["name"])) if row["name"] else None
        long = [name for name in ("name", "external_id") if not roomy and len(row[name] or "") > _NAME_ROOM]
        if long:
            result.conflicts.append(f"{kind.label} {row['id']}: its {long[0]} is longer than {_NAME_ROOM} characters")
        elif mine is not None and kind is CONTEXT:
            result.joined.append((row, mine))
        elif mine is not None:
            result.conflicts.append(f"{kind.label} {row['name']!r}: its type has one of that name here")
        elif row["external_id"] in external:
            result.conflicts.append(f"{kind.label} {row['id']}: its external id {row['external_id']!r} is taken here")
        else:
            result.new.append(row)


def write_nodes(
    connection: sa.Connection, origin: Origin, kind: Kind, sorted_: Sorted, source: Source, types: Mapping[int, int]
) -> None:
    """Write a sorted piece, with its properties, and remember what became of each node."""
    ids = insert_numbered(connection, kind.table, [_node(kind, row, types) for row in sorted_.new])
    made = {row["id"]: key for row, key in zip(sorted_.new, ids, strict=True)}
    joined = {row["id"]: key for row, key in sorted_.joined}
    updated = {row["id"]: key for row, key in sorted_.updated}
    for row, key in sorted_.updated:
        values = {name: row[name] for name in (*kind.more, "last_update_time_since_epoch")}
        connection.execute(sa.update(kind.table).where(kind.table.c.id == key).values(**values))
    if updated:
        owner = kind.properties.c[kind.owner]
        connection.execute(sa.delete(kind.properties).where(owner.in_(list(updated.values()))))
    backend = connection.dialect.name
    insert_all(connection, kind.properties, _properties(source, kind, made | updated, backend))
    if joined:
        insert_absent(connection, kind.properties, list(_properties(source, kind, joined, backend)))
    fresh = [(row, made[row["id"]]) for row in sorted_.new] + sorted_.joined
    _remember(connection, origin, kind, fresh, sorted_.updated)


def _remember(
    connection: sa.Connection,
    origin: Origin,
    kind: Kind,
    fresh: Iterable[tuple[Record, int]],
    updated: Iterable[tuple[Record, int]],
) -> None:
    table = s.import_node
    insert_all(
        connection,
        table,
        (
            {
                "import_id": origin.id,
                "kind": int(kind.number),
                "source_id": row["id"],
                "target_id": key,
                "updated_ms": row["last_update_time_since_epoch"],
            }
            for row, key in fresh
        ),
    )
    for row, _ in updated:
        mine = (table.c.import_id == origin.id, table.c.kind == int(kind.number), table.c.source_id == row["id"])
        connection.execute(sa.update(table).where(*mine).values(updated_ms=row["last_update_time_since_epoch"]))


def _properties(source: Source, kind: Kind, owners: Mapping[int, int], backend: str) -> Iterable[Record]:
    if not owners:
        return
    for row in source.owned(kind.properties, kind.owner, min(owners), max(owners)):
        owner = owners.get(row[kind.owner])
        if owner is not None:
            yield {**row, kind.owner: owner, "proto_value": _proto(row["proto_value"], source.backend, backend)}


def _proto(value: str | bytes | None, source: str, target: str) -> str | bytes | None:
    """The packed message as MLMD keeps it: its bytes on PostgreSQL, else base64, which is text on SQLite."""
    if value is None:
        return None
    data = value.encode() if isinstance(value, str) else bytes(value)
    message = data if source == "postgresql" else base64.b64decode(data)
    if target == "postgresql":
        return message
    encoded = base64.b64encode(message)
    return encoded.decode() if target == "sqlite" else encoded


def _node(kind: Kind, row: Record, types: Mapping[int, int]) -> Record:
    return {**{name: row[name] for name in kind.columns}, "type_id": types[row["type_id"]]}


def _renamed(row: Record, prefix: str) -> Record:
    if not prefix:
        return row
    return {**row, **{name: prefix + row[name] for name in ("name", "external_id") if row[name]}}


def _by_id(connection: sa.Connection, kind: Kind, ids: Sequence[int]) -> dict[int, Any]:
    table = kind.table
    query = sa.select(table.c.id, table.c.create_time_since_epoch, table.c.last_update_time_since_epoch)
    return {row.id: row for row in rows_by_ids(connection, query, table.c.id, ids)}


def _by_name(
    connection: sa.Connection, kind: Kind, wanted: Sequence[tuple[int, str | None]]
) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    table = kind.table
    for type_id in sorted({type_id for type_id, name in wanted if name}):
        names = sorted({name for key, name in wanted if key == type_id and name})
        query = sa.select(table.c.name, table.c.id).where(table.c.type_id == type_id, table.c.name.in_(names))
        found.update({(type_id, row.name): row.id for row in connection.execute(query)})
    return found


def _by_external_id(connection: sa.Connection, kind: Kind, wanted: Sequence[str]) -> set[str]:
    if not wanted:
        return set()
    column = kind.table.c.external_id
    return set(connection.execute(sa.select(column).where(column.in_(wanted))).scalars())
