"""The catalog's tables: ML Metadata's schema version 10, PyIceberg's SqlCatalog tables, and lakecat's own beside them.

Format of the first: ``ml-metadata`` 1.17.1's metadata source queries (schema 10). Names and columns are the same;
added are foreign keys and BIGINT for every id and integer. MLMD creates its tables unquoted, so PostgreSQL folds
their names to lower case while SQLite and MySQL keep them: the unquoted names here do the same.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.sql import quoted_name

HEAD: Final = "0007"
"""Newest Alembic revision; a test compares it with ``migrations/versions``."""

VERSION_TABLE: Final = "lakecat_alembic_version"
MLMD_SCHEMA_VERSION: Final = 10
ICEBERG_CATALOG: Final = "lakecat"
"""``catalog_name`` of lakecat's rows in ``iceberg_tables``."""

metadata: Final = sa.MetaData()

_BIG: Final = sa.BigInteger()
_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT: Final = sa.Text().with_variant(mysql.LONGTEXT(), "mysql")
_BLOB: Final = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
_HASH: Final = sa.String(64)
_NAME: Final = sa.String(512)
"""Room for every name lakecat makes (a dataset name has up to 255 characters); MySQL indexes at most 3,072 bytes."""
_FOLDED: Final = sa.String(512).with_variant(sa.String(512, collation="C"), "postgresql")
"""Compared byte by byte on every database."""

_OPTIONS: Final[dict[str, Any]] = {
    "sqlite_autoincrement": True,
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
}


def _table(name: str, *items: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(quoted_name(name, quote=False), metadata, *items, **_OPTIONS)


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, nullable: bool = False, **kwargs: Any) -> sa.Column[int]:
    # A key string of the referred table is looked up with its unquoted name.
    return sa.Column(name, _BIG, sa.ForeignKey(f"{target}.id"), nullable=nullable, **kwargs)


def _times() -> tuple[sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("create_time_since_epoch", _BIG, nullable=False, server_default=sa.text("0")),
        sa.Column("last_update_time_since_epoch", _BIG, nullable=False, server_default=sa.text("0")),
    )


def _properties(owner: str) -> sa.Table:
    key = f"{owner.lower()}_id"
    return _table(
        f"{owner}Property",
        sa.Column(key, _BIG, sa.ForeignKey(f"{owner}.id"), primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("is_custom_property", sa.Boolean(create_constraint=False), primary_key=True),
        sa.Column("int_value", _BIG),
        sa.Column("double_value", sa.Double()),
        sa.Column("string_value", _TEXT),
        sa.Column("byte_value", _BLOB),
        sa.Column("proto_value", _BLOB),
        sa.Column("bool_value", sa.Boolean(create_constraint=False)),
    )


mlmd_env: Final = _table("MLMDEnv", sa.Column("schema_version", sa.Integer, primary_key=True, autoincrement=False))
type_: Final = _table(
    "Type",
    _id(),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("version", sa.String(255)),
    sa.Column("type_kind", sa.SmallInteger, nullable=False),
    sa.Column("description", _TEXT),
    sa.Column("input_type", _TEXT),
    sa.Column("output_type", _TEXT),
    sa.Column("external_id", sa.String(255), unique=True),
)
type_property: Final = _table(
    "TypeProperty",
    sa.Column("type_id", _BIG, sa.ForeignKey("Type.id"), primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("data_type", sa.Integer),
)
parent_type: Final = _table(
    "ParentType",
    sa.Column("type_id", _BIG, sa.ForeignKey("Type.id"), primary_key=True, autoincrement=False),
    sa.Column("parent_type_id", _BIG, sa.ForeignKey("Type.id"), primary_key=True, autoincrement=False),
)
artifact: Final = _table(
    "Artifact",
    _id(),
    _ref("type_id", "Type"),
    sa.Column("uri", _TEXT),
    sa.Column("state", sa.Integer),
    sa.Column("name", _NAME),
    sa.Column("external_id", _NAME, unique=True),
    *_times(),
    sa.UniqueConstraint("type_id", "name", name="UniqueArtifactTypeName"),
)
artifact_property: Final = _properties("Artifact")
execution: Final = _table(
    "Execution",
    _id(),
    _ref("type_id", "Type"),
    sa.Column("last_known_state", sa.Integer),
    sa.Column("name", _NAME),
    sa.Column("external_id", _NAME, unique=True),
    *_times(),
    sa.UniqueConstraint("type_id", "name", name="UniqueExecutionTypeName"),
)
execution_property: Final = _properties("Execution")
context: Final = _table(
    "Context",
    _id(),
    _ref("type_id", "Type"),
    sa.Column("name", _NAME, nullable=False),
    sa.Column("external_id", _NAME, unique=True),
    *_times(),
    sa.UniqueConstraint("type_id", "name", name="UniqueContextTypeName"),
)
context_property: Final = _properties("Context")
parent_context: Final = _table(
    "ParentContext",
    sa.Column("context_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
    sa.Column("parent_context_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
)
event: Final = _table(
    "Event",
    _id(),
    _ref("artifact_id", "Artifact"),
    _ref("execution_id", "Execution"),
    sa.Column("type", sa.Integer, nullable=False),
    sa.Column("milliseconds_since_epoch", _BIG),
    sa.UniqueConstraint("artifact_id", "execution_id", "type", name="UniqueEvent"),
)
event_path: Final = _table(
    "EventPath",
    _ref("event_id", "Event"),
    sa.Column("is_index_step", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("step_index", _BIG),
    sa.Column("step_key", _TEXT),
)
association: Final = _table(
    "Association",
    _id(),
    _ref("context_id", "Context"),
    _ref("execution_id", "Execution"),
    sa.UniqueConstraint("context_id", "execution_id", name="UniqueAssociation"),
)
attribution: Final = _table(
    "Attribution",
    _id(),
    _ref("context_id", "Context"),
    _ref("artifact_id", "Artifact"),
    sa.UniqueConstraint("context_id", "artifact_id", name="UniqueAttribution"),
)


def _mlmd_indexes() -> None:
    for table in (artifact, execution, context):
        for column in ("create_time_since_epoch", "last_update_time_since_epoch"):
            sa.Index(f"idx_{table.name.lower()}_{column}", table.c[column])
    # With the artifact, so that lineage walks the index alone.
    sa.Index("idx_event_execution", event.c.execution_id, event.c.type, event.c.artifact_id)
    sa.Index("idx_eventpath_event_id", event_path.c.event_id)
    sa.Index("idx_parentcontext_parent_context_id", parent_context.c.parent_context_id)
    sa.Index("idx_type_name", type_.c.name)
    # A plain index over long strings refuses them on PostgreSQL (2.7 kB) and MySQL (3 kB): hash and prefix do not.
    sa.Index("idx_artifact_uri", artifact.c.uri, postgresql_using="hash", mysql_length=255)
    for table in (artifact_property, execution_property, context_property):
        name = f"idx_{table.name.lower().removesuffix('property')}_property"
        for kind in ("int", "double"):
            value = table.c[f"{kind}_value"]
            sa.Index(f"{name}_{kind}", table.c.name, table.c.is_custom_property, value, sqlite_where=value.is_not(None))
        text = table.c.string_value
        sa.Index(f"{name}_string", text, postgresql_using="hash").ddl_if(dialect="postgresql")
        sa.Index(
            f"{name}_string",
            table.c.name,
            table.c.is_custom_property,
            text,
            sqlite_where=text.is_not(None),
            mysql_length={"string_value": 255},
        ).ddl_if(callable_=_not_postgresql)
    # MySQL makes an index of its own for the other foreign keys; the servers and SQLite do not.
    sa.Index("idx_association_execution_id", association.c.execution_id)
    sa.Index("idx_attribution_artifact_id", attribution.c.artifact_id)


def _not_postgresql(*_args: Any, dialect: sa.Dialect, **_kwargs: Any) -> bool:
    return dialect.name != "postgresql"


_mlmd_indexes()

# PyIceberg 0.12's SqlCatalog (v1 schema); locations are TEXT here so that no length cuts or refuses them.
iceberg_tables: Final = _table(
    "iceberg_tables",
    sa.Column("catalog_name", sa.String(255), primary_key=True),
    sa.Column("table_namespace", sa.String(255), primary_key=True),
    sa.Column("table_name", sa.String(255), primary_key=True),
    sa.Column("metadata_location", _TEXT),
    sa.Column("previous_metadata_location", _TEXT),
    sa.Column("iceberg_type", sa.String(5)),
)
iceberg_namespace_properties: Final = _table(
    "iceberg_namespace_properties",
    sa.Column("catalog_name", sa.String(255), primary_key=True),
    sa.Column("namespace", sa.String(255), primary_key=True),
    sa.Column("property_key", sa.String(255), primary_key=True),
    sa.Column("property_value", _TEXT, nullable=False),
)

setting: Final = _table(
    "lakecat_setting", sa.Column("name", sa.String(64), primary_key=True), sa.Column("value", _TEXT, nullable=False)
)
lease: Final = _table(
    "lakecat_lease",
    sa.Column("resource", _NAME, primary_key=True),
    sa.Column("fence", _BIG, nullable=False),
    sa.Column("held", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("host", _TEXT, nullable=False),
    sa.Column("pid", _BIG, nullable=False),
    sa.Column("user_name", _TEXT, nullable=False),
    sa.Column("command", _TEXT, nullable=False),
    sa.Column("acquired_ms", _BIG, nullable=False),
    sa.Column("heartbeat_ms", _BIG, nullable=False),
    sa.Column("expires_ms", _BIG, nullable=False),
)
lake_execution: Final = _table(
    "lakecat_execution",
    sa.Column("execution_id", _BIG, sa.ForeignKey("Execution.id"), primary_key=True, autoincrement=False),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("job", _NAME, nullable=False),
    sa.Column("run_key", sa.String(255)),
    sa.Column("complete_run_key", sa.String(255), unique=True),
    sa.Column("lease_resource", _NAME, nullable=False),
    sa.Column("fence", _BIG, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("started_ms", _BIG, nullable=False),
    sa.Column("finished_ms", _BIG),
    sa.Column("error", _TEXT),
    sa.Index("idx_lakecat_execution_job", "job", "execution_id"),
    sa.Index("idx_lakecat_execution_lease", "lease_resource", "state"),
    sa.Index("idx_lakecat_execution_run_key", "run_key"),
    sa.Index("idx_lakecat_execution_state", "state", "execution_id"),
    sa.Index("idx_lakecat_execution_state_started", "state", "started_ms", "execution_id"),
    sa.Index("idx_lakecat_execution_started", "started_ms", "execution_id"),
    sa.Index("idx_lakecat_execution_type", "type", "execution_id"),
)
intent: Final = _table(
    "lakecat_intent",
    _id(),
    _ref("execution_id", "Execution", index=True),
    sa.Column("prefix", _TEXT, nullable=False),
)
position: Final = _table(
    "lakecat_position",
    sa.Column("stream", _NAME, primary_key=True),
    sa.Column("value", _TEXT, nullable=False),
    _ref("execution_id", "Execution"),
    sa.Column("updated_ms", _BIG, nullable=False),
)
loaded_file: Final = _table(
    "lakecat_file",
    sa.Column("stream", _NAME, primary_key=True),
    sa.Column("uri_hash", _HASH, primary_key=True),
    sa.Column("identity_hash", _HASH, primary_key=True),
    sa.Column("uri", _TEXT, nullable=False),
    sa.Column("size", _BIG, nullable=False),
    sa.Column("etag", _TEXT),
    sa.Column("mtime_us", _BIG),
    sa.Column("loaded_rows", _BIG, nullable=False),
    sa.Column("sha256", sa.String(64)),
    _ref("execution_id", "Execution", index=True),
    sa.Index("idx_lakecat_file_uri", "uri_hash"),
)
lake_schema: Final = _table(
    "lakecat_schema", sa.Column("fingerprint", _HASH, primary_key=True), _ref("artifact_id", "Artifact")
)
schema_column: Final = _table(
    "lakecat_schema_column",
    sa.Column("fingerprint", _HASH, sa.ForeignKey("lakecat_schema.fingerprint"), primary_key=True),
    sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", _TEXT, nullable=False),
    sa.Column("type", _TEXT, nullable=False),
    sa.Column("field_id", sa.Integer, nullable=False),
    sa.Column("required", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("doc", _TEXT),
)
version: Final = _table(
    "lakecat_version",
    sa.Column("dataset_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
    sa.Column("version", _BIG, primary_key=True, autoincrement=False),
    sa.Column("snapshot_id", _BIG, nullable=False),
    _ref("artifact_id", "Artifact", unique=True),
    _ref("execution_id", "Execution", index=True),
    sa.Column("metadata_location", _TEXT, nullable=False),
    sa.Column("committed_ms", _BIG, nullable=False),
    sa.Column("operation", sa.String(32), nullable=False),
    sa.Column("whole", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("total_rows", _BIG, nullable=False),
    sa.Column("added_rows", _BIG, nullable=False),
    sa.Column("removed_rows", _BIG, nullable=False),
    sa.Column("total_files", _BIG, nullable=False),
    sa.Column("total_bytes", _BIG, nullable=False),
    sa.Column("fingerprint", _HASH, sa.ForeignKey("lakecat_schema.fingerprint"), nullable=False),
    sa.Column("expired", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("expired_ms", _BIG),
    sa.Column("collected_ms", _BIG),
    sa.Index("idx_lakecat_version_snapshot", "dataset_id", "snapshot_id"),
    sa.Index("idx_lakecat_version_committed", "committed_ms"),
)
column_edge: Final = _table(
    "lakecat_column_edge",
    _id(),
    _ref("execution_id", "Execution", index=True),
    _ref("output_artifact_id", "Artifact", nullable=True, index=True),
    sa.Column("output_dataset", _NAME, nullable=False),
    sa.Column("output_column", _TEXT),
    sa.Column("input_dataset", _TEXT),
    sa.Column("input_hash", _HASH, index=True),
    sa.Column("input_column", _TEXT),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("expression", _TEXT),
    sa.Column("line", sa.Integer),
    sa.Column("masked", sa.Boolean(create_constraint=False), nullable=False),
    sa.Index("idx_lakecat_column_edge_output", "output_dataset"),
)
dataset_edge: Final = _table(
    "lakecat_dataset_edge",
    _id(),
    _ref("execution_id", "Execution"),
    _ref("input_artifact_id", "Artifact", index=True),
    _ref("output_artifact_id", "Artifact", nullable=True, index=True),
    sa.Index("idx_lakecat_dataset_edge", "execution_id", "input_artifact_id", "output_artifact_id"),
)
"""Of an input that did not go to every output of its execution: those it went to; NULL where it went to none."""

annotation: Final = _table(
    "lakecat_annotation",
    sa.Column("dataset_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
    sa.Column("field_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("description", _TEXT),
    sa.Column("fresh_within_ms", _BIG),
    sa.Column("changed_ms", _BIG, nullable=False),
    sa.Column("changed_by", _TEXT, nullable=False),
)
"""What is said of a dataset (field id 0) or of one of its columns."""

mark: Final = _table(
    "lakecat_mark",
    sa.Column("dataset_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
    sa.Column("field_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Index("idx_lakecat_mark_value", "kind", "value"),
)
"""Labels and owners, as ``kind`` says."""

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
    sa.Column("dataset_id", _BIG, sa.ForeignKey("Context.id"), primary_key=True, autoincrement=False),
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
"""Every move of a tag, and the table metadata that it was published with."""

search: Final = _table(
    "lakecat_search",
    _id(),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key_hash", _HASH, nullable=False, unique=True),
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
"""The search index. Each database keeps a full-text index of its own over ``words``, which migration 0004 makes."""

import_: Final = _table(
    "lakecat_import",
    _id(),
    sa.Column("origin", _NAME, nullable=False, unique=True),
    sa.Column("first_ms", _BIG, nullable=False),
    sa.Column("last_ms", _BIG, nullable=False),
)
"""The databases that were imported by copying, by the name they have here."""
import_node: Final = _table(
    "lakecat_import_node",
    sa.Column("import_id", _BIG, sa.ForeignKey("lakecat_import.id"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("source_id", _BIG, primary_key=True, autoincrement=False),
    sa.Column("target_id", _BIG, nullable=False),
    sa.Column("updated_ms", _BIG, nullable=False),
)
"""What became of each imported node; ``kind`` is a TypeKind. A target that was purged since is not brought back."""
