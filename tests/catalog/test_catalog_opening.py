"""Opening: what is made, what is upgraded, what is refused, and that no password is ever told."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, migrate, registry, sqlite
from lakecat.catalog import schema as s
from lakecat.catalog.database import parse_url
from lakecat.catalog.migrations import tables_0004, tables_0007
from lakecat.errors import CatalogError, CatalogUnavailableError, CatalogVersionError, ConfigError
from lakecat.types import DatasetName, Position

# Name and columns of every table of ml-metadata 1.17.1's schema 10, as its own SQLite database shows them.
PROPERTY = "name is_custom_property int_value double_value string_value byte_value proto_value bool_value"
STAMPS = "create_time_since_epoch last_update_time_since_epoch"
MLMD = {
    "MLMDEnv": "schema_version",
    "Type": "id name version type_kind description input_type output_type external_id",
    "TypeProperty": "type_id name data_type",
    "ParentType": "type_id parent_type_id",
    "Artifact": f"id type_id uri state name external_id {STAMPS}",
    "ArtifactProperty": f"artifact_id {PROPERTY}",
    "Execution": f"id type_id last_known_state name external_id {STAMPS}",
    "ExecutionProperty": f"execution_id {PROPERTY}",
    "Context": f"id type_id name external_id {STAMPS}",
    "ContextProperty": f"context_id {PROPERTY}",
    "ParentContext": "context_id parent_context_id",
    "Event": "id artifact_id execution_id type milliseconds_since_epoch",
    "EventPath": "event_id is_index_step step_index step_key",
    "Association": "id context_id execution_id",
    "Attribution": "id context_id artifact_id",
}


def test_the_migrations_make_the_schema_that_the_code_uses(catalog_url: URL):
    Catalog.open(catalog_url, create=True).close()
    engine = sa.create_engine(catalog_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        fold = str.lower if catalog_url.get_backend_name() == "postgresql" else str
        inspector = sa.inspect(connection)
        for name, columns in MLMD.items():
            assert [c["name"] for c in inspector.get_columns(fold(name))] == columns.split(), name
        if catalog_url.get_backend_name() == "sqlite":
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            # Alembic knows no ddl_if (the string indexes differ by engine), and no virtual tables.
            differ = ("alembic", "_property_string", "lakecat_search_words")
            changes = [c for c in compare_metadata(context, s.metadata) if not any(d in str(c) for d in differ)]
            assert changes == []
        assert connection.execute(sa.select(s.mlmd_env)).all() == [(10,)]
        types = {(r.name, r.type_kind) for r in connection.execute(sa.select(s.type_))}
        assert types == {(n, int(k)) for n, k in (*registry.TYPES, *registry.MLMD_SIMPLE_TYPES)}
        declared = connection.execute(
            sa.select(s.type_.c.name, s.type_property.c.name.label("property"), s.type_property.c.data_type).join(
                s.type_property, s.type_property.c.type_id == s.type_.c.id
            )
        )
        expected = {(t, n, int(p)) for (t, _), names in registry.TYPES.items() for n, p in names.items()}
        assert {tuple(row) for row in declared} == expected
    assert migrate.heads() == (s.HEAD,)


def test_opened_by_several_at_once_it_is_made_once(catalog_url: URL):
    def open_it(_number: int) -> dict[str, str]:
        with Catalog.open(catalog_url, create=True) as catalog:
            return catalog.settings()

    with ThreadPoolExecutor(4) as pool:
        settings = list(pool.map(open_it, range(4)))
    assert all(one == settings[0] for one in settings)


def test_a_first_migration_interrupted_on_mysql_is_begun_again(mariadb_url: URL):
    Catalog.open(mariadb_url, create=True).close()
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        # Rows are committed together with the revision, tables at once.
        connection.exec_driver_sql(f"DELETE FROM {s.VERSION_TABLE}")
        connection.execute(sa.delete(s.mlmd_env))
        connection.exec_driver_sql("DROP TABLE lakecat_column_edge")
        # Of revisions that had not begun.
        tables_0007.dataset_edge.drop(connection)
        tables_0004.metadata.drop_all(connection, tables=list(tables_0004.NEW))
    with Catalog.open(mariadb_url, create=True) as catalog:
        assert catalog.integrity() == ()
    with engine.begin() as connection:
        assert connection.execute(sa.select(s.mlmd_env)).all() == [(10,)]
        assert sa.inspect(connection).has_table("lakecat_column_edge")


def test_what_is_not_there_is_not_made_by_opening(catalog_url: URL):
    with pytest.raises(CatalogUnavailableError, match="no catalog") as caught:
        Catalog.open(catalog_url)
    assert caught.value.next_command == "lakecat init"
    if catalog_url.get_backend_name() == "sqlite":
        assert not Path(catalog_url.database).exists()


def test_a_newer_and_a_foreign_database_are_refused(catalog_url: URL):
    engine = sa.create_engine(catalog_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id INT PRIMARY KEY)")
    with pytest.raises(CatalogVersionError, match="another program"):
        Catalog.open(catalog_url, create=True)
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == ["customers"]
        connection.exec_driver_sql("DROP TABLE customers")
    Catalog.open(catalog_url, create=True).close()
    with engine.begin() as connection:
        connection.execute(sa.update(s.setting).where(s.setting.c.name == "min_writer_version").values(value="2"))
    with pytest.raises(CatalogVersionError, match="writer version 2"):
        Catalog.open(catalog_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {s.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(CatalogVersionError, match="newer lakecat"):
        Catalog.open(catalog_url, create=True)


@pytest.mark.parametrize(
    "url",
    [
        "oracle://u:hunter2@h/d",
        "postgresql+psycopg://u:hunter2@h/d?options=-csearch_path%3Dx",
        "mysql+pymysql://u:hunter2@h/d?local_infile=1",
        "mysql+pymysql://u:hunter2@h/d?read_default_file=/etc/my.cnf",
        "postgresql+psycopg://u:hunter2@h/",
        "sqlite:///x.db?mode=ro",
        "sqlite://",
        "sqlite:///:memory:",
        "hunter2",
    ],
)
def test_strange_urls_are_refused_without_telling_the_password(url: str):
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_server_that_is_not_there_is_told_without_the_password():
    with pytest.raises(CatalogUnavailableError) as caught:
        Catalog.open("postgresql+psycopg://user:hunter2@127.0.0.1:1/db", create=True)
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_wrong_password_is_told_without_it(mariadb_url: URL):
    with pytest.raises(CatalogUnavailableError) as caught:
        Catalog.open(mariadb_url.set(password="hunter2"), create=True)
    assert "hunter2" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_names_that_differ_in_case_or_accent_or_a_space_at_the_end_are_different(bench):
    jobs = ("job", "Job", "jöb", "job ", "job  ")
    for number, job in enumerate(jobs):
        lease, execution = bench.begin("raw.t", job=job, run_key=f"key {job}")
        bench.commit(execution, positions={f"stream {job}": Position({"n": number})})
        bench.catalog.release(lease)
    assert [len(bench.catalog.executions(job=job)) for job in jobs] == [1] * len(jobs)
    assert [bench.catalog.position(f"stream {job}") for job in jobs] == [Position({"n": n}) for n in range(len(jobs))]
    assert bench.catalog.position("stream job   ") is None


def test_plain_pyiceberg_reads_and_writes_beside_it(bench):
    version = bench.load("raw.orders")
    others = SqlCatalog("lakecat", uri=bench.url.render_as_string(hide_password=False))
    assert others.list_namespaces() == [("raw",)]
    assert others.list_tables("raw") == [("raw", "orders")]
    table = others.load_table("raw.orders")
    assert table.metadata_location == version.metadata_location
    assert table.scan().to_arrow()["x"].to_pylist() == [1, 2, 3]
    others.engine.dispose()


def test_an_unexplained_pointer_is_found(bench):
    bench.load("raw.orders")
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.update(s.iceberg_tables).values(metadata_location="file:///elsewhere"))
        connection.commit()
    assert [p.code for p in bench.catalog.integrity()] == ["pointer.unexplained"]


# SQLite alone


def test_the_file_is_private_and_its_journal_safe(tmp_path: Path):
    path = tmp_path / "catalog.db"
    with Catalog.open(f"sqlite:///{path}", create=True) as catalog, catalog.database.reading() as connection:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
        wanted = "wal" if sqlite.wal_is_safe(sqlite3.sqlite_version) else "truncate"
        assert pragma == {"journal_mode": wanted, "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.40.1", False), ("3.44.5", False), ("3.44.6", True), ("3.45.0", False), ("3.50.6", False),
        ("3.50.7", True), ("3.51.0", False), ("3.51.2", False), ("3.51.3", True), ("3.52.0", True), ("4.0.0", True),
    ],
)  # fmt: skip
def test_wal_only_where_its_bug_is_mended(version: str, safe: bool):
    assert sqlite.wal_is_safe(version) is safe


def test_a_wal_database_in_use_is_refused_where_wal_is_unsafe(tmp_path: Path):
    if sqlite.wal_is_safe(sqlite3.sqlite_version):
        pytest.skip(f"SQLite {sqlite3.sqlite_version} may use WAL")
    path = tmp_path / "catalog.db"
    Catalog.open(f"sqlite:///{path}", create=True).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = wal")
    other.execute("SELECT * FROM Type").fetchone()
    with pytest.raises(CatalogUnavailableError, match="WAL mode"):
        Catalog.open(f"sqlite:///{path}")
    other.close()
    Catalog.open(f"sqlite:///{path}").close()


def test_network_mounts_are_known_from_mountinfo():
    mountinfo = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /mnt/team\\040share rw,relatime shared:1 - nfs4 server:/x rw\n"
        "31 30 0:41 / /mnt/team\\040share/local rw - xfs /dev/sdb rw\n"
        "garbage\n"
    )
    assert sqlite.filesystem_of(Path("/home/a/catalog.db"), mountinfo) == "ext4"
    assert sqlite.filesystem_of(Path("/mnt/team share/catalog.db"), mountinfo) == "nfs4"
    assert sqlite.filesystem_of(Path("/mnt/team share/local/catalog.db"), mountinfo) == "xfs"
    assert sqlite.filesystem_of(Path("/mnt/team shared/catalog.db"), mountinfo) == "ext4"


def test_a_network_mount_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "filesystem_of", lambda *_: "nfs4")
    with pytest.raises(CatalogUnavailableError, match="nfs4"):
        Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True)


def test_no_sqlite_file_at_all_is_refused_as_such(tmp_path: Path):
    path = tmp_path / "catalog.db"
    path.write_bytes(b"<html>not a database</html>" * 200)
    with pytest.raises(CatalogError):
        Catalog.open(f"sqlite:///{path}", create=True)
    with pytest.raises(CatalogUnavailableError, match="no folder"):
        Catalog.open(f"sqlite:///{tmp_path}/no/catalog.db", create=True)


def test_a_forked_child_uses_connections_of_its_own(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        catalog.datasets()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if catalog.datasets() == () and catalog.database.engine.pool.checkedin() == 1 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_questions_do_not_import_pyiceberg():
    code = "import sys, lakecat.catalog; assert 'pyiceberg' not in sys.modules and 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_relative_path_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    with Catalog.open("sqlite:///catalog.db", create=True) as catalog:
        monkeypatch.chdir(tmp_path / "other")
        catalog.database.engine.dispose()
        assert catalog.datasets() == ()
    assert not (tmp_path / "other" / "catalog.db").exists()


def test_commits_during_the_check_are_no_problems(bench):
    """Pointers and versions are read one after the other: both must be of the same moment."""
    if bench.catalog.database.backend == "sqlite":
        pytest.skip("SQLite's readers keep writers waiting")
    bench.load("raw.orders")
    left = [1]

    def meanwhile(*_args: object) -> None:
        if left:
            left.pop()
            bench.load("raw.orders")

    sa.event.listen(bench.catalog.database.engine, "after_cursor_execute", meanwhile)
    assert bench.catalog.integrity() == ()
    assert left == []
    assert bench.catalog.dataset(DatasetName("raw", "orders")).versions == 2
