"""A catalog of an older schema is brought up to date by opening it, with what it holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, garbage, migrate
from lakecat.catalog import schema as s
from lakecat.catalog.migrations import tables_0001 as old
from lakecat.types import DatasetName


def make_first_schema(url: URL) -> None:
    """What the first release made."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrate._FOLDER).replace("%", "%%"))
        config.attributes.update(connection=connection, catalog_uuid="11111111-1111-1111-1111-111111111111")
        command.upgrade(config, "0001")


def insert_versions(url: URL) -> None:
    """Two versions of raw.t, of which the first has expired."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        types = {row.name: row.id for row in connection.execute(sa.select(old.type_))}
        dataset = _insert(connection, old.context, type_id=types["lakecat.Dataset"], name="raw.t")
        execution = _insert(connection, old.execution, type_id=types["lakecat.Ingest"])
        schema = _insert(connection, old.artifact, type_id=types["lakecat.Schema"])
        connection.execute(sa.insert(old.lake_schema).values(fingerprint="f" * 64, artifact_id=schema))
        for number, expired in ((1, True), (2, False)):
            artifact = _insert(connection, old.artifact, type_id=types["lakecat.TableVersion"])
            connection.execute(
                sa.insert(old.version).values(
                    dataset_id=dataset, version=number, snapshot_id=number, artifact_id=artifact,
                    execution_id=execution, metadata_location=f"file:///{number}", committed_ms=0,
                    operation="append", whole=True, total_rows=0, added_rows=0, removed_rows=0, total_files=0,
                    total_bytes=0, fingerprint="f" * 64, expired=expired,
                )
            )  # fmt: skip


def _insert(connection: sa.Connection, table: sa.Table, **values: object) -> int:
    return int(connection.execute(sa.insert(table).values(**values)).inserted_primary_key[0])


def test_what_had_expired_before_counts_as_expired_at_the_upgrade(catalog_url: URL) -> None:
    make_first_schema(catalog_url)
    insert_versions(catalog_url)
    with Catalog.open(catalog_url) as catalog:
        now = catalog.database.write(lambda connection: connection.execute(sa.select(garbage.now_ms())).scalar_one())
        with catalog.database.reading() as connection:
            rows = connection.execute(
                sa.select(s.version.c.expired_ms, s.version.c.collected_ms).order_by(s.version.c.version)
            ).all()
        assert now - 60_000 < rows[0].expired_ms <= now
        assert (rows[0].collected_ms, *rows[1]) == (None, None, None)
        name = DatasetName.parse("raw.t")
        assert [one.due for one in garbage.versions(catalog.database, name, garbage.timedelta(hours=1))] == [False] * 2
        garbage.mark_collected(catalog.database, name, [1, 2])
        assert [one.version for one in garbage.versions(catalog.database, name, garbage.timedelta(0))] == [2]
    with Catalog.open(catalog_url) as catalog:
        assert catalog.settings()["catalog_uuid"] == "11111111-1111-1111-1111-111111111111"


def test_an_upgrade_that_was_interrupted_is_finished(mariadb_url: URL) -> None:
    """MariaDB and MySQL commit each DDL statement: the first column may be there, and the second not."""
    make_first_schema(mariadb_url)
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE lakecat_version ADD COLUMN expired_ms BIGINT")
    Catalog.open(mariadb_url).close()
    with engine.connect() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("lakecat_version")}
    assert {"expired_ms", "collected_ms"} <= columns
