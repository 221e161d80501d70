"""SQL text reaches the session's tables and nothing else, whatever it tries (security checklist, 10 to 16)."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakecat.errors import AccessDeniedError, EngineError, StoreError
from lakecat.tables import plan
from lakecat.types import DatasetName

CANARY = "canary-4f1d"

# {canary}: a file outside the lake; {file}: a data file of the session's table; {other}: one of a table that the
# session was not given; {lake}: the lake's folder.
READS = (
    "SELECT * FROM read_csv('{canary}')",
    "SELECT * FROM read_csv(['{file}', '{canary}'])",
    "SELECT * FROM '{canary}'",
    "FROM '{canary}'",
    "SELECT * FROM read_text('{canary}')",
    "SELECT * FROM read_blob('{canary}')",
    "SELECT * FROM read_json('{canary}')",
    "SELECT * FROM read_ndjson_objects('{canary}')",
    "SELECT * FROM read_parquet('{other}')",
    "SELECT * FROM '{other}'",
    "SELECT * FROM parquet_metadata('{other}')",
    "SELECT * FROM parquet_schema('{other}')",
    "SELECT * FROM parquet_kv_metadata('{other}')",
    "SELECT * FROM read_parquet('{lake}/**/*.parquet')",
    "SELECT * FROM read_parquet('{lake}')",
    "SELECT * FROM glob('{lake}/**')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('{canary}')",
    "SELECT * FROM read_duckdb('{canary}')",
    "SELECT (SELECT content FROM read_text('{canary}')) AS c",
    "WITH c AS (SELECT * FROM read_text('{canary}')) SELECT * FROM c",
    "SELECT * FROM raw.t WHERE n = (SELECT count(*) FROM read_text('{canary}'))",
    "SELECT * FROM raw.t, LATERAL (SELECT * FROM read_text('{canary}'))",
    "SELECT * FROM query('SELECT * FROM read_text(''{canary}'')')",
    "SELECT * FROM query_table('{canary}')",
    "SELECT * FROM destroy_external_resource('read_text', '{canary}')",
    "SELECT * FROM read_text('{folder}/../{base}')",
    "SELECT * FROM read_text('{file}/../../../../../../{base}')",
    "SELECT * FROM read_text('{link}')",
    "SELECT * FROM read_text('file://{canary}')",
    "SELECT * FROM read_text('lake://file://{canary}')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_csv('/dev/stdin')",
    "SELECT * FROM read_text('http://127.0.0.1:1/x')",
    "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "SELECT * FROM python_rows",
    "SELECT * FROM sqlite_scan('{canary}', 't')",
    "SELECT * FROM iceberg_scan('{lake}')",
    "SELECT * FROM enable_logging(storage := 'file', storage_path := '{folder}')",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM add_grammar_extension('x')",
    "SELECT getenv('HOME') AS home",
    "SELECT * FROM raw.other",
)
STATEMENTS = (
    "COPY raw.t TO '{folder}/out.csv'",
    "COPY raw.t TO '{file}' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{lake}/x.parquet'",
    "COPY raw.t FROM '{canary}'",
    "EXPORT DATABASE '{folder}/export'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/new.db' AS new_db",
    "ATTACH '{file}' AS data",
    "DETACH memory",
    "USE system",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL json FROM community",
    "SET enable_external_access = true",
    "SET allowed_paths = ['/etc/passwd']",
    "SET GLOBAL lock_configuration = false",
    "RESET enable_external_access",
    "PRAGMA enable_external_access = true",
    "PRAGMA database_list",
    "CALL enable_logging()",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE TABLE raw.x AS SELECT 1",
    "CREATE MACRO m() AS TABLE SELECT * FROM read_text('{canary}')",
    "INSERT INTO raw.t VALUES (1)",
    "DROP VIEW raw.t",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN TRANSACTION",
    "EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY raw.t TO '{folder}/out.csv'",
    "",
    ";",
    "-- nothing",
)
WRITES_IN_QUERIES = (
    "WITH c AS (INSERT INTO raw.t VALUES (1) RETURNING *) SELECT * FROM c",
    "WITH c AS (DELETE FROM raw.t RETURNING *) SELECT * FROM c",
)


def lake_hash(root: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        digest.update(str(file).encode())
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, lake_type: Any) -> Any:
    """One lake for all probes: none of them changes it, which each of them checks."""
    return lake_type(tmp_path_factory.mktemp("probed"))


@pytest.fixture(scope="module")
def names(lake: Any) -> dict[str, str]:
    tmp_path = lake.root
    canary = tmp_path / "canary.csv"
    canary.write_text(f"{CANARY}\n1\n")
    lake.create("raw.t", pa.table({"n": [1, 2]}))
    lake.create("raw.other", pa.table({"secret": [CANARY]}))
    files = {name: next((tmp_path / "lake" / "raw" / name).rglob("*.parquet")) for name in ("t", "other")}
    link = files["t"].parent / "link.parquet"
    link.symlink_to(canary)
    return {
        "canary": str(canary),
        "base": canary.name,
        "folder": str(tmp_path),
        "lake": str(tmp_path / "lake"),
        "file": str(files["t"]),
        "other": str(files["other"]),
        "link": str(link),
    }


@pytest.mark.parametrize("sql", [*READS, *STATEMENTS, *WRITES_IN_QUERIES])
def test_nothing_is_read_or_written_outside_the_sessions_tables(lake: Any, names: dict[str, str], sql: str) -> None:
    python_rows = pa.table({"a": [CANARY]})
    before = lake_hash(Path(names["lake"]))
    outside = {path.name for path in Path(names["folder"]).iterdir()} | {"spill"}
    text = sql.format(**names)
    with lake.engine.session(lake.relations("raw.t")) as session:
        with pytest.raises(EngineError) as caught:
            session.query(text).read_all()
        assert CANARY not in str(caught.value)
        # Describing runs nothing, so that it may succeed; then it must have looked at nothing.
        try:
            described = str(session.describe(text))
        except EngineError as err:
            described = str(err)
        assert CANARY not in described
        assert session.query("SELECT sum(n)::INTEGER AS n FROM raw.t").read_all().to_pylist() == [{"n": 3}]
    assert lake_hash(Path(names["lake"])) == before
    assert {path.name for path in Path(names["folder"]).iterdir()} | {"spill"} == outside
    del python_rows


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{canary}')",
        "SELECT * FROM '{other}'",
        "COPY raw.t TO '{file}'",
        "ATTACH '{folder}/x.db'",
        "SET threads = 1",
        "INSTALL httpfs",
        "PRAGMA version",
        "CREATE SECRET s (TYPE s3)",
        "SELECT * FROM enable_profiling()",
        "SELECT * FROM iceberg_scan('x')",
    ],
)
def test_reaching_out_is_called_by_its_name(lake: Any, names: dict[str, str], sql: str) -> None:
    with lake.engine.session(lake.relations("raw.t")) as session, pytest.raises(AccessDeniedError):
        session.query(sql.format(**names))


@pytest.mark.parametrize("sql", ["COPY raw.t TO '{file}'", "ATTACH '{file}' AS d", "DELETE FROM raw.other"])
def test_modify_takes_no_more_than_query(lake: Any, names: dict[str, str], sql: str) -> None:
    before = lake_hash(Path(names["lake"]))
    with lake.engine.session(lake.relations("raw.t")) as session, pytest.raises(EngineError):
        session.modify(sql.format(**names), DatasetName("raw", "t"))
    assert lake_hash(Path(names["lake"])) == before


def test_a_modify_cannot_write_a_file_through_its_subqueries(lake: Any, names: dict[str, str]) -> None:
    with lake.engine.session(lake.relations("raw.t")) as session, pytest.raises(EngineError):
        session.modify(
            f"DELETE FROM raw.t WHERE n IN (SELECT length(content) FROM read_text('{names['canary']}'))",
            DatasetName("raw", "t"),
        )


def test_nothing_of_the_environment_shows(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKECAT_TEST_SECRET", CANARY)
    with lake.engine.session({}) as session:
        shown = session.query("SELECT * FROM duckdb_settings()", storable=False).read_all()
        assert CANARY not in str(shown.to_pydict())
        for nothing in ("duckdb_secrets()", "which_secret('s3://a', 's3')", "duckdb_logs"):
            assert session.query(f"SELECT * FROM {nothing}", storable=False).read_all().num_rows == 0


def test_the_spill_folder_is_private(lake: Any) -> None:
    with lake.engine.session({}) as session:
        session.query("SELECT 1 AS one").read_all()
        folders = list((lake.root / "spill").iterdir())
        assert len(folders) == 1
        assert stat.S_IMODE(folders[0].stat().st_mode) == 0o700


def test_hostile_names_of_files_and_folders(tmp_path: Path, lake_type: Any) -> None:
    root = tmp_path / "a'b [x]* {y} é"
    root.mkdir()
    lake = lake_type(root)
    lake.create("raw.t", pa.table({"n": [1, 2]}))
    assert lake.rows("SELECT n FROM raw.t ORDER BY n") == [{"n": 1}, {"n": 2}]
    with lake.engine.session(lake.relations()) as session:
        modification = session.modify("DELETE FROM raw.t WHERE n = 1", DatasetName("raw", "t"))
        assert modification.rows.read_all().to_pylist() == [{"n": 2}]


@pytest.mark.parametrize(
    "evil", ["' OR 1=1 --", "\\'; DROP VIEW raw.t; --", "$n", "1) UNION SELECT 1 --", "\x00", "🐈'\"", "{canary}"]
)
def test_values_are_bound(tmp_path: Path, lake_type: Any, evil: str) -> None:
    lake = lake_type(tmp_path)
    lake.create("raw.t", pa.table({"s": ["x", evil]}))
    assert lake.rows("SELECT s FROM raw.t WHERE s = $value", value=evil) == [{"s": evil}]


def test_a_metadata_that_names_files_outside_the_lake_is_refused(lake: Any, names: dict[str, str]) -> None:
    """A manifest is data too: its file names are confined before DuckDB may open them."""
    scan = lake.scan("raw.t")
    (file,) = plan(lake.store, scan)
    outside = replace(file, location=f"file://{names['canary']}")
    relations = {DatasetName("raw", "t"): replace(scan, files=(outside,))}
    with lake.engine.session(relations) as session, pytest.raises(StoreError):
        session.query("SELECT * FROM raw.t")
