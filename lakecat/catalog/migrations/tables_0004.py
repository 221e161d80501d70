"""The tables that revision 0004 adds, frozen: annotations, tags with their history, the search index."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.sql import quoted_name

metadata: Final = sa.MetaData()

_BIG: Final = sa.BigInteger()
_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT: Final = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
_FOLDED: Final = sa.String(512).with_variant(sa.String(512, collation="C"), "postgresql")
_OPTIONS: Final[dict[str, Any]] = {
    "sqlite_autoincrement": True,
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
}


def _table(name: str, *items: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(quoted_name(name, quote=False), metadata, *items, **_OPTIONS)


def _known(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """A table of an earlier revision, as far as foreign keys need it."""
    return sa.Table(quoted_name(name, quote=False), metadata, *columns)


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, nullable: bool = False, **kwargs: Any) -> sa.Column[int]:
    return sa.Column(name, _BIG, sa.ForeignKey(f"{target}.id"), nullable=nullable, **kwargs)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False)


artifact: Final = _known("Artifact", sa.Column("id", _ID, primary_key=True), sa.Column("name", sa.String(512)))
execution: Final = _known("Execution", sa.Column("id", _ID, primary_key=True), sa.Column("name", sa.String(512)))
context: Final = _known("Context", sa.Column("id", _ID, primary_key=True), sa.Column("name", sa.String(512)))
version: Final = _known(
    "lakecat_version",
    sa.Column("dataset_id", _BIG, primary_key=True),
    sa.Column("version", _BIG, primary_key=True),
)

annotation: Final = _table(
    "lakecat_annotation",
    _key("dataset_id"),
    sa.Column("field_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("description", _TEXT),
    sa.Column("fresh_within_ms", _BIG),
    sa.Column("changed_ms", _BIG, nullable=False),
    sa.Column("changed_by", _TEXT, nullable=False),
)
mark: Final = _table(
    "lakecat_mark",
    _key("dataset_id"),
    sa.Column("field_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Index("idx_lakecat_mark_value", "kind", "value"),
)
annotation_change: Final = _table(
    "lakecat_annotation_change",
    _id(),
    _ref("dataset_id", "Context", index=True),
    sa.Column("field_id", sa.Integer, nullable=False),
    sa.Column("column_name", _TEXT),
    sa.Column("aspect", sa.String(16), nullable=False),
    sa.Column("old_value", _TEXT),
    sa.Column("new_value", _TEXT),
    sa.Column("changed_ms", _BIG, nullable=False),
    sa.Column("changed_by", _TEXT, nullable=False),
)
tag: Final = _table(
    "lakecat_tag",
    _key("dataset_id"),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("version", _BIG, nullable=False),
    sa.Column("changed_ms", _BIG, nullable=False),
    sa.Column("changed_by", _TEXT, nullable=False),
    sa.ForeignKeyConstraint(["dataset_id", "version"], ["lakecat_version.dataset_id", "lakecat_version.version"]),
    sa.Index("idx_lakecat_tag_name", "name"),
)
tag_change: Final = _table(
    "lakecat_tag_change",
    _id(),
    _ref("dataset_id", "Context", index=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("old_version", _BIG),
    sa.Column("new_version", _BIG),
    sa.Column("changed_ms", _BIG, nullable=False),
    sa.Column("changed_by", _TEXT, nullable=False),
    _ref("execution_id", "Execution", index=True),
    sa.Column("newest_version", _BIG, nullable=False),
    sa.Column("metadata_location", _TEXT, nullable=False),
)
search: Final = _table(
    "lakecat_search",
    _id(),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("name", _TEXT, nullable=False),
    sa.Column("folded", _FOLDED, nullable=False),
    sa.Column("leaf", _FOLDED, nullable=False),
    sa.Column("words", _TEXT, nullable=False),
    sa.Column("said", _TEXT, nullable=False),
    _ref("dataset_id", "Context", nullable=True, index=True),
    sa.Column("field_id", sa.Integer),
    sa.Index("idx_lakecat_search_folded", "kind", "folded"),
    sa.Index("idx_lakecat_search_leaf", "kind", "leaf"),
)
NEW: Final = (annotation, mark, annotation_change, tag, tag_change, search)

_listed = sa.func.array_to_tsvector(sa.func.string_to_array(search.c.words, sa.literal_column("' '")))
POSTGRESQL_INDEXES: Final = (
    sa.Index("idx_lakecat_search_words", _listed, postgresql_using="gin", _table=search),
    *(
        sa.Index(f"idx_{table.name.lower()}_name_bytes", sa.collate(table.c.name, "C"), _table=table)
        for table in (artifact, execution, context)
    ),
)
MYSQL_INDEX: Final = sa.Index("idx_lakecat_search_fulltext", search.c.words, mysql_prefix="FULLTEXT")
for _index in POSTGRESQL_INDEXES:
    _index.ddl_if(dialect="postgresql")
MYSQL_INDEX.ddl_if(dialect="mysql")
SQLITE_FULLTEXT: Final = (
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
