"""The search index: one row for each dataset, column, job and script, kept by whoever changes what it says.

A dataset's rows are written in the transaction that makes it, changes its columns, annotates or tags it; a job's and a
script's in that which first runs it. The database keeps a full-text index of its own over the rows' tokens: FTS5
(SQLite, by triggers), GIN over a tsvector (PostgreSQL), FULLTEXT (MySQL, MariaDB).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.reading import dataset_type, id_chunks
from lakecat.catalog.search_words import Place, fold_name, indexed, tokens
from lakecat.catalog.values import ColumnInfo

FORMAT: Final = "2"
"""Grows when the same names give other rows: an index of another format is made anew."""
SETTING: Final = "search_format"
TEXT_CHARACTERS: Final = 10_000
_BATCH: Final = 500
_FULLTEXT_TABLE: Final = "lakecat_search_words"
_seen: Final[WeakKeyDictionary[sa.Engine, set[str]]] = WeakKeyDictionary()
"""By database the jobs and scripts that others were able to see in the index: these stay there."""
_TRIGGERS: Final = ("lakecat_search_insert", "lakecat_search_delete", "lakecat_search_update")

_FULLTEXT_DDL: Final = (
    (
        "CREATE VIRTUAL TABLE lakecat_search_words USING fts5"
        "(words, content='lakecat_search', content_rowid='id', tokenize='ascii', detail='none', columnsize=0)"
    ),
    (
        "CREATE TRIGGER lakecat_search_insert AFTER INSERT ON lakecat_search BEGIN"
        " INSERT INTO lakecat_search_words (rowid, words) VALUES (new.id, new.words); END"
    ),
    (
        "CREATE TRIGGER lakecat_search_delete AFTER DELETE ON lakecat_search BEGIN"
        " INSERT INTO lakecat_search_words (lakecat_search_words, rowid, words)"
        " VALUES ('delete', old.id, old.words); END"
    ),
    (
        "CREATE TRIGGER lakecat_search_update AFTER UPDATE ON lakecat_search BEGIN"
        " INSERT INTO lakecat_search_words (lakecat_search_words, rowid, words) VALUES ('delete', old.id, old.words);"
        " INSERT INTO lakecat_search_words (rowid, words) VALUES (new.id, new.words); END"
    ),
)


class SearchKind(StrEnum):
    """What can be found, in the order in which equally good finds are listed."""

    DATASET = "dataset"
    JOB = "job"
    SCRIPT = "script"
    COLUMN = "column"
    ARTIFACT = "artifact"
    EXECUTION = "execution"
    CONTEXT = "context"
    TYPE = "type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that can be found. ``said``: what is said of it, as (field, text)."""

    kind: SearchKind
    key: str
    name: str
    leaf: str
    path: str = ""
    said: tuple[tuple[str, str], ...] = ()
    dataset_id: int | None = None
    field_id: int | None = None

    def row(self) -> dict[str, Any]:
        """Its row of the index."""
        found = tokens(Place.SAID, *(text[:TEXT_CHARACTERS] for _, text in self.said))
        if self.kind is SearchKind.COLUMN:
            found |= tokens(Place.COLUMN, self.leaf) | tokens(Place.PATH, self.path)
        else:
            found |= tokens(Place.NAME, self.name)
        return {
            "kind": self.kind.value,
            "key_hash": key_hash(self.kind, self.key),
            "name": self.name,
            "folded": fold_name(self.name),
            "leaf": fold_name(self.leaf),
            "words": indexed(found),
            "said": json.dumps(self.said, ensure_ascii=False, separators=(",", ":")),
            "dataset_id": self.dataset_id,
            "field_id": self.field_id,
        }


def key_hash(kind: SearchKind, key: str) -> str:
    """What tells entries apart."""
    return hashlib.sha256(f"{kind.value}\0{key}".encode(errors="surrogatepass")).hexdigest()


def job_entry(name: str) -> Entry:
    """The entry of a job. ``append raw.orders`` bears no dataset's name."""
    leaf = name if " " in name else name.rpartition(".")[2]
    return Entry(kind=SearchKind.JOB, key=name, name=name, leaf=leaf or name)


def script_entry(path: str) -> Entry:
    """The entry of a script; its last name is that of its file, without what stands behind the dot."""
    return Entry(kind=SearchKind.SCRIPT, key=path, name=path, leaf=PurePosixPath(path).stem or path)


def dataset_entries(dataset_id: int, name: str, columns: Sequence[ColumnInfo], said: Said) -> Iterator[Entry]:
    """The entries of a dataset and of its columns."""
    yield Entry(
        kind=SearchKind.DATASET,
        key=name,
        name=name,
        leaf=name.rpartition(".")[2],
        said=said.get((dataset_id, 0), ()),
        dataset_id=dataset_id,
        field_id=0,
    )
    for column in columns:
        doc = (("doc", column.doc),) if column.doc else ()
        yield Entry(
            kind=SearchKind.COLUMN,
            key=f"{dataset_id}.{column.field_id}",
            name=f"{name}.{column.name}",
            leaf=column.name,
            path=name,
            said=(*said.get((dataset_id, column.field_id), ()), *doc),
            dataset_id=dataset_id,
            field_id=column.field_id,
        )


Said = Mapping[tuple[int, int], tuple[tuple[str, str], ...]]
"""By dataset and field id (0: the dataset itself) what is said of it."""


def add(connection: sa.Connection, entries: Iterable[Entry]) -> None:
    """Add entries that are not there yet."""
    ready(connection)
    table = s.search
    rows = sorted((entry.row() for entry in entries), key=lambda row: row["key_hash"])
    if not rows:
        return
    if connection.dialect.name == "mysql":
        insert = sa.dialects.mysql.insert(table)
        connection.execute(insert.on_duplicate_key_update({"key_hash": table.c.key_hash}), rows)
    else:
        registry.insert_absent(connection, table, rows)


def add_work(connection: sa.Connection, job: str, script: str | None) -> None:
    """Let a job that begins, and its script, be found. Once they were seen there, this process asks no more."""
    wanted = [job_entry(job)] if script is None else [job_entry(job), script_entry(script)]
    seen = _seen.setdefault(connection.engine, set())
    unseen = {key_hash(entry.kind, entry.key): entry for entry in wanted}
    for key in unseen.keys() & seen:
        del unseen[key]
    if not unseen:
        return
    query = sa.select(s.search.c.key_hash).where(s.search.c.key_hash.in_(unseen))
    there = set(connection.execute(query).scalars())
    seen |= there
    add(connection, [entry for key, entry in unseen.items() if key not in there])


def add_dataset(connection: sa.Connection, dataset_id: int, name: str, columns: Sequence[ColumnInfo]) -> None:
    """Add a new dataset, of which nothing has been said yet."""
    add(connection, dataset_entries(dataset_id, name, columns, {}))


def keep_dataset(connection: sa.Connection, dataset_id: int, name: str, columns: Sequence[ColumnInfo]) -> None:
    """Make a dataset's rows what it is now. The caller holds the lock on the table's pointer."""
    said = read_said(connection, [dataset_id])
    ready(connection)
    connection.execute(sa.delete(s.search).where(s.search.c.dataset_id == dataset_id))
    add(connection, dataset_entries(dataset_id, name, columns, said))


def read_said(connection: sa.Connection, dataset_ids: Sequence[int]) -> dict[tuple[int, int], Any]:
    """What is said of these datasets and of all the columns that they have had."""
    found: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for part in id_chunks(dataset_ids):
        table: sa.Table = s.annotation
        described = sa.select(table).where(table.c.dataset_id.in_(part), table.c.description.is_not(None))
        for row in connection.execute(described):
            found.setdefault((row.dataset_id, row.field_id), []).append(("description", row.description))
        table = s.mark
        for row in connection.execute(sa.select(table).where(table.c.dataset_id.in_(part))):
            found.setdefault((row.dataset_id, row.field_id), []).append((row.kind, row.value))
        table = s.tag
        for row in connection.execute(sa.select(table).where(table.c.dataset_id.in_(part))):
            found.setdefault((row.dataset_id, 0), []).append(("tag", row.name))
    return {key: tuple(sorted(said)) for key, said in found.items()}


def entries(connection: sa.Connection) -> Iterator[Entry]:
    """Everything that the index should hold, out of what it is made from."""
    yield from _all_datasets(connection)
    for name in connection.execute(_names(s.context, registry.JOB, s.context.c.name)).scalars():
        yield job_entry(name)
    for path in connection.execute(_names(s.artifact, registry.SCRIPT, s.artifact.c.uri).distinct()).scalars():
        yield script_entry(path)


def _names(table: sa.Table, type_name: str, column: sa.Column[Any]) -> sa.Select[Any]:
    return (
        sa.select(column)
        .select_from(table)
        .join(s.type_, s.type_.c.id == table.c.type_id)
        .where(s.type_.c.name == type_name, s.type_.c.version.is_(None), column.is_not(None))
    )


def _all_datasets(connection: sa.Connection) -> Iterator[Entry]:
    newest = s.version.alias("newest")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == s.context.c.id).scalar_subquery()
    rows = connection.execute(
        sa.select(s.context.c.id, s.context.c.name, s.version.c.fingerprint)
        .select_from(s.context)
        .join(s.version, sa.and_(s.version.c.dataset_id == s.context.c.id, s.version.c.version == top))
        .where(s.context.c.type_id == dataset_type())
        .order_by(s.context.c.id)
    ).all()
    for start in range(0, len(rows), registry.CHUNK):
        part = rows[start : start + registry.CHUNK]
        said = read_said(connection, [row.id for row in part])
        columns = _columns(connection, {row.fingerprint for row in part})
        for row in part:
            yield from dataset_entries(row.id, row.name, columns.get(row.fingerprint, ()), said)


def _columns(connection: sa.Connection, fingerprints: set[str]) -> dict[str, list[ColumnInfo]]:
    table = s.schema_column
    found: dict[str, list[ColumnInfo]] = {}
    for part in registry.chunks(fingerprints):
        query = sa.select(table).where(table.c.fingerprint.in_(part)).order_by(table.c.fingerprint, table.c.ordinal)
        for r in connection.execute(query):
            found.setdefault(r.fingerprint, []).append(ColumnInfo(r.name, r.type, r.field_id, bool(r.required), r.doc))
    return found


def rebuild(connection: sa.Connection) -> int:
    """Make the whole index anew; how many entries it has."""
    full_text = connection.dialect.name == "sqlite" and has_fts5(connection)
    if connection.dialect.name == "sqlite":
        _drop_triggers(connection)
    # As whoever changes a dataset's rows does; else what is said meanwhile could be lost from the index.
    pointer = s.iceberg_tables.c
    names = (pointer.table_namespace, pointer.table_name)
    connection.execute(sa.select(*names).order_by(*names).with_for_update()).all()
    connection.execute(sa.delete(s.search))
    count, rows = 0, (entry.row() for entry in entries(connection))
    while batch := list(islice(rows, _BATCH)):
        connection.execute(sa.insert(s.search).inline(), batch)
        count += len(batch)
    if full_text:
        _make_full_text(connection)
    registry.upsert(connection, s.setting, [{"name": SETTING, "value": FORMAT}])
    return count


def is_current(connection: sa.Connection) -> bool:
    """Whether the index was made by the same rules as this program's."""
    query = sa.select(s.setting.c.value).where(s.setting.c.name == SETTING)
    return connection.execute(query).scalar_one_or_none() == FORMAT


def differences(connection: sa.Connection) -> tuple[str, ...]:
    """The names of entries that are missing, left over, or say something else than they should."""
    table = s.search
    columns = ("kind", "name", "folded", "leaf", "words", "said", "dataset_id", "field_id")
    there = {
        row.key_hash: (row.name, hash(tuple(row[1:])))
        for row in connection.execute(sa.select(table.c.key_hash, *(table.c[name] for name in columns)))
    }
    found = []
    for entry in entries(connection):
        row = entry.row()
        known = there.pop(row["key_hash"], None)
        if known is None or known[1] != hash(tuple(row[name] for name in columns)):
            found.append(entry.name)
    return (*found, *(name for name, _ in there.values()))


def ready(connection: sa.Connection) -> None:
    """Before writing: let SQLite's full-text index follow, or, where this SQLite has no FTS5, not be in the way."""
    if connection.dialect.name != "sqlite":
        return
    there, able = follows(connection), has_fts5(connection)
    if able and not there:
        _make_full_text(connection)
    elif there and not able:
        _drop_triggers(connection)


def has_fts5(connection: sa.Connection) -> bool:
    """Whether this SQLite has FTS5 (https://sqlite.org/fts5.html)."""
    query = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
    return connection.exec_driver_sql(query).first() is not None


def follows(connection: sa.Connection) -> bool:
    """Whether SQLite's full-text index follows what is written; where it does not, it may be behind."""
    master = sa.table("sqlite_master", sa.column("type"), sa.column("name"))
    count = sa.select(sa.func.count()).where(master.c.type == "trigger", master.c.name.in_(_TRIGGERS))
    return connection.execute(count).scalar_one() == len(_TRIGGERS)


def _drop_triggers(connection: sa.Connection) -> None:
    for name in _TRIGGERS:
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")


def _make_full_text(connection: sa.Connection) -> None:
    """Make SQLite's full-text index anew, out of what the rows say."""
    _drop_triggers(connection)
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {_FULLTEXT_TABLE}")
    for statement in _FULLTEXT_DDL:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"INSERT INTO {_FULLTEXT_TABLE} ({_FULLTEXT_TABLE}) VALUES ('rebuild')")
