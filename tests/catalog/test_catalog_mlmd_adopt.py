"""A database of ML Metadata's becomes a catalog where it lies: asked for, whole, and ml-metadata still opens it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlmd_lab import Mlmd, find_python, make_database
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, reshape
from lakecat.catalog import schema as s
from lakecat.catalog.adopt import adopt_database, inspect_database
from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0001 as t
from lakecat.errors import CatalogUnavailableError, CatalogVersionError, ForeignDatabaseError

STORE = {
    "artifact_types": [{"name": "Data", "properties": {"rows": 1, "share": 2, "note": 3, "ok": 6}, "base_type": 1}],
    "execution_types": [{"name": "Step", "input_type": {"dict": {"properties": {"x": {"simple": {"name": "Data"}}}}}}],
    "context_types": [{"name": "Run"}],
    "artifacts": [
        {
            "type": 0, "name": "first", "uri": "s3://a", "external_id": "e-1", "state": 2,
            "properties": {"rows": ["int", 5], "share": ["double", (0.5).hex()], "ok": ["bool", False]},
            "custom_properties": {"list": ["struct", {"a": ["list", [["number", (1.0).hex()], ["null"]]]}]},
        },
        {"type": 0, "uri": "u" * 2000},
    ],
    "executions": [{"type": 0, "last_known_state": 3}],
    "contexts": [{"type": 0, "name": "r1"}, {"type": 0, "name": "r2"}],
    "events": [
        {"artifact": 0, "execution": 0, "type": 3, "path": ["in", 2]},
        {"artifact": 1, "execution": 0, "type": 4},
    ],
    "attributions": [[0, 0], [1, 0]],
    "associations": [[0, 0]],
    "parent_contexts": [[0, 1]],
}  # fmt: skip


def rows_of(path: Path) -> dict[str, list[Any]]:
    """The rows of MLMD's tables as SQLite has them, of types only those that are not lakecat's."""
    connection = sqlite3.connect(path)
    found = {}
    for table in reshape.MLMD_TABLES:
        where = " WHERE name NOT LIKE 'lakecat.%'" if table.name == "Type" else ""
        if table.name == "TypeProperty":
            where = " WHERE type_id IN (SELECT id FROM Type WHERE name NOT LIKE 'lakecat.%')"
        found[str(table.name)] = sorted(connection.execute(f"SELECT * FROM {table.name}{where}").fetchall(), key=repr)
    connection.close()
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("create", [False, True])
def test_it_is_refused_without_asking_for_it_and_stays_as_it_is(tmp_path: Path, create: bool):
    url = make_database(tmp_path / "mlmd.db")
    before = rows_of(tmp_path / "mlmd.db")
    with pytest.raises(ForeignDatabaseError, match="ML Metadata's database") as caught:
        Catalog.open(url, create=create)
    assert caught.value.next_command == "lakecat catalog import mlmd --adopt"
    assert rows_of(tmp_path / "mlmd.db") == before
    with closing(sqlite3.connect(tmp_path / "mlmd.db")) as connection, connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'lakecat%'").fetchall()


def test_adopting_keeps_every_row_and_id(tmp_path: Path):
    url = make_database(tmp_path / "mlmd.db")
    before = rows_of(tmp_path / "mlmd.db")
    with Catalog.open(url, adopt=True) as catalog:
        assert catalog.integrity() == ()
        assert catalog.datasets() == ()
    assert rows_of(tmp_path / "mlmd.db") == before
    with Catalog.open(url) as catalog:  # from now on like any other
        assert set(catalog.type_ids) >= {"lakecat.Ingest", "lakecat.TableVersion", "lakecat.Dataset"}


def test_a_dry_run_says_what_is_there_and_changes_nothing(tmp_path: Path):
    url = make_database(tmp_path / "mlmd.db")
    before = digest(tmp_path / "mlmd.db")
    found = inspect_database(url)
    assert (found.artifacts, found.executions, found.contexts, found.events) == (3, 3, 2, 4)
    assert (found.orphans, found.widened, found.foreign_keys) == ((), (), 0)
    assert digest(tmp_path / "mlmd.db") == before


@pytest.mark.parametrize(
    "statement",
    ["UPDATE MLMDEnv SET schema_version = 9", "UPDATE MLMDEnv SET schema_version = 11", "DROP TABLE MLMDEnv"],
)
def test_another_schema_is_refused_and_left_alone(tmp_path: Path, statement: str):
    url = make_database(tmp_path / "mlmd.db")
    with closing(sqlite3.connect(tmp_path / "mlmd.db")) as connection, connection:
        connection.execute(statement)
    for opening in (lambda: adopt_database(url), lambda: Catalog.open(url, adopt=True), lambda: inspect_database(url)):
        with pytest.raises(CatalogVersionError, match=r"ML Metadata's schema (9|11|0); lakecat takes over schema 10"):
            opening()
    with closing(sqlite3.connect(tmp_path / "mlmd.db")) as connection, connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE 'lakecat%'").fetchall()


def test_what_is_not_ml_metadatas_is_named(tmp_path: Path):
    ours = URL.create("sqlite", database=str(tmp_path / "ours.db"))
    Catalog.open(ours, create=True).close()
    with pytest.raises(CatalogVersionError, match="a lakecat catalog already"):
        adopt_database(ours)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection, connection:
        connection.execute("CREATE TABLE customers (id INTEGER)")
    with pytest.raises(ForeignDatabaseError, match="other tables"):
        adopt_database(URL.create("sqlite", database=str(tmp_path / "other.db")))
    with pytest.raises(CatalogUnavailableError):
        adopt_database(URL.create("sqlite", database=str(tmp_path / "folder" / "none.db")))


def test_orphans_are_counted_and_kept(tmp_path: Path):
    url = make_database(tmp_path / "mlmd.db")
    with closing(sqlite3.connect(tmp_path / "mlmd.db")) as connection, connection:
        connection.execute("DELETE FROM Artifact WHERE id = 3")
    found = adopt_database(url)
    assert {(o.column, o.rows) for o in found.orphans} == {
        ("Event.artifact_id", 1),
        ("ArtifactProperty.artifact_id", 1),
    }
    with closing(sqlite3.connect(tmp_path / "mlmd.db")) as connection, connection:
        assert connection.execute("SELECT count(*) FROM Event WHERE artifact_id = 3").fetchone() == (1,)


# with the real ml-metadata


@pytest.fixture
def mlmd(missing) -> Mlmd:
    return Mlmd(find_python(missing))


def own(found: dict[str, Any]) -> dict[str, Any]:
    """What ml-metadata reads, without lakecat's types."""
    kinds = ("artifact_types", "execution_types", "context_types")
    return {**found, **{k: [x for x in found[k] if not x["name"].startswith("lakecat.")] for k in kinds}}


def test_ml_metadata_reads_the_same_before_and_after_and_writes_more(catalog_url: URL, mlmd: Mlmd):
    mlmd.write(catalog_url, STORE)
    before = mlmd.read(catalog_url)
    planned = inspect_database(catalog_url)
    done = adopt_database(catalog_url)
    assert (done.artifacts, done.executions, done.contexts, done.events) == (2, 1, 2, 2)
    assert own(mlmd.read(catalog_url)) == before
    server = catalog_url.get_backend_name() != "sqlite"
    assert (planned.widened, planned.foreign_keys) == (done.widened, done.foreign_keys)
    assert ("Artifact.id" in done.widened, done.foreign_keys > 0, done.orphans) == (server, server, ())

    long = "s3://" + "u" * 3000
    ids = mlmd.write(catalog_url, {"artifact_types": [{"name": "More"}], "artifacts": [{"type": 0, "uri": long}]})
    with Catalog.open(catalog_url) as catalog:
        assert catalog.integrity() == ()
        with catalog.database.reading() as connection:
            uri = sa.select(s.artifact.c.uri).where(s.artifact.c.id == ids["artifact"][0])
            assert connection.execute(uri).scalar_one() == long


@pytest.fixture(params=["postgres", "mariadb"])
def server_url(request: pytest.FixtureRequest) -> URL:
    url: URL = request.getfixturevalue(f"{request.param}_url")
    return url


def test_ids_and_numbers_beyond_32_bits_fit_afterwards(server_url: URL, mlmd: Mlmd):
    mlmd.write(server_url, STORE)
    adopt_database(server_url)
    engine = sa.create_engine(server_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        values = {"id": 2**40, "type_id": 10, "create_time_since_epoch": 1, "last_update_time_since_epoch": 1}
        connection.execute(sa.insert(s.artifact).values(**values))
        number = {"artifact_id": 2**40, "name": "n", "is_custom_property": True, "int_value": -(2**62)}
        connection.execute(sa.insert(s.artifact_property).values(**number))
    read = {a["id"]: a for a in mlmd.read(server_url)["artifacts"]}
    assert read[2**40]["custom_properties"] == {"n": ["int", -(2**62)]}


def test_a_row_in_the_way_costs_one_foreign_key_only(server_url: URL, mlmd: Mlmd):
    mlmd.write(server_url, STORE)
    engine = sa.create_engine(server_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.insert(t.attribution).values(context_id=1, artifact_id=999))
    done = adopt_database(server_url)
    assert [(o.column, o.rows) for o in done.orphans] == [("Attribution.artifact_id", 1)]
    with engine.begin() as connection:
        name = "attribution" if server_url.get_backend_name() == "postgresql" else "Attribution"
        keys = sa.inspect(connection).get_foreign_keys(name)
        assert [key["constrained_columns"] for key in keys] == [["context_id"]]
        assert connection.execute(sa.select(sa.func.count()).select_from(s.attribution)).scalar_one() == 3


@pytest.mark.parametrize("place", ["add_tables", "add_foreign_keys", "add_indexes", "insert_rows", "stamp"])
def test_an_interrupted_adoption_goes_on_and_never_loses_what_is_there(
    server_url: URL, mlmd: Mlmd, monkeypatch: pytest.MonkeyPatch, place: str
):
    mlmd.write(server_url, STORE)
    before = mlmd.read(server_url)
    home: Any = {"insert_rows": start, "stamp": Catalog}.get(place, reshape)
    if place == "stamp":
        from lakecat.catalog import migrate as home

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home, place, killed)
        with pytest.raises(KeyboardInterrupt):
            adopt_database(server_url)
    with pytest.raises(ForeignDatabaseError):
        Catalog.open(server_url, create=True)
    assert own(mlmd.read(server_url)) == before
    assert adopt_database(server_url).artifacts == 2
    assert own(mlmd.read(server_url)) == before
    with Catalog.open(server_url) as catalog:
        assert catalog.integrity() == ()


TEXT = "müller 日本 😀"


@pytest.fixture
def plain_user(mariadb_server, mariadb_url: URL) -> Iterator[URL]:
    """The database as a user without special rights sees it, on a server that makes all clients speak utf8mb4."""
    engine = sa.create_engine(mariadb_server.admin, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = str(mariadb_url.database)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE USER '{name[-20:]}'@'%%' IDENTIFIED BY 'x'")
        connection.exec_driver_sql(f"GRANT ALL ON {name}.* TO '{name[-20:]}'@'%%'")
        connection.exec_driver_sql("SET GLOBAL init_connect = 'SET NAMES utf8mb4'")
    yield mariadb_url.set(username=name[-20:], password="x")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET GLOBAL init_connect = ''")
        connection.exec_driver_sql(f"DROP USER '{name[-20:]}'@'%%'")


@pytest.mark.parametrize("charset", ["latin1", "utf8mb4"])
def test_text_that_mysql_encoded_twice_is_put_right(mariadb_url: URL, mlmd: Mlmd, request, charset: str):
    engine = sa.create_engine(mariadb_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {mariadb_url.database} CHARACTER SET {charset}")
    ids = mlmd.write(
        mariadb_url,
        {
            "artifact_types": [{"name": f"T {TEXT}", "properties": {"p": 3}}],
            "artifacts": [
                {"type": 0, "name": TEXT, "uri": TEXT, "properties": {"p": ["string", TEXT]}},
                {"type": 0, "uri": "plain"},
            ],
            "context_types": [{"name": "C"}], "contexts": [{"type": 0, "name": TEXT}],
        },
    )  # fmt: skip
    assert adopt_database(mariadb_url).reencoded == 5
    with Catalog.open(mariadb_url) as catalog, catalog.database.reading() as connection:
        row = connection.execute(sa.select(s.artifact).where(s.artifact.c.id == ids["artifact"][0])).one()
        assert (row.name, row.uri) == (TEXT, TEXT)
        assert connection.execute(sa.select(s.artifact_property.c.string_value)).scalar_one() == TEXT
        assert connection.execute(sa.select(s.context.c.name)).scalar_one() == TEXT
    # ml-metadata's client asks for latin1; a server that answers in utf8mb4 all the same lets it read what is there.
    read = mlmd.read(request.getfixturevalue("plain_user"))
    assert [a["uri"] for a in read["artifacts"]] == [TEXT, "plain"]
