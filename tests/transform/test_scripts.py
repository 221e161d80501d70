from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lakecat.config import Settings
from lakecat.errors import ConfigError, ScriptError
from lakecat.transform.scripts import Kind, Script, load_scripts, parse_script
from lakecat.types import DatasetName

if TYPE_CHECKING:
    from conftest import Project


def parse(text: str, inner: str = "staging/flights.sql", dialect: str = "duckdb") -> Script:
    return parse_script(text, inner, path=f"transforms/{inner}", dialect=dialect)


def reads(script: Script) -> list[str]:
    return [f"{use.dataset}{'!' if use.changes else ''}" for use in script.reads]


@pytest.mark.parametrize(
    ("text", "dialect", "kind", "target"),
    [
        ("SELECT 1 AS x", "duckdb", Kind.SELECT, "staging.flights"),
        ("SELECT 1 AS x UNION ALL SELECT 2", "duckdb", Kind.SELECT, "staging.flights"),
        ("(SELECT 1 AS x)", "duckdb", Kind.SELECT, "staging.flights"),
        ("VALUES (1)", "duckdb", Kind.SELECT, "staging.flights"),
        ("FROM raw.flights", "duckdb", Kind.SELECT, "staging.flights"),
        ("CREATE TABLE Wh.X AS SELECT 1 AS x", "duckdb", Kind.CREATE, "wh.x"),
        ("CREATE OR REPLACE TRANSIENT TABLE wh.x COPY GRANTS AS SELECT 1 x", "snowflake", Kind.CREATE, "wh.x"),
        ("CREATE TABLE IF NOT EXISTS wh.x AS SELECT 1 AS x", "duckdb", Kind.CREATE_IF_MISSING, "wh.x"),
        ("INSERT INTO wh.x SELECT 1", "duckdb", Kind.INSERT, "wh.x"),
        ("INSERT INTO x VALUES (1)", "duckdb", Kind.INSERT, "staging.x"),
        ("INSERT OVERWRITE TABLE wh.x SELECT 1", "spark", Kind.OVERWRITE, "wh.x"),
        ("INSERT OVERWRITE INTO wh.x SELECT 1", "snowflake", Kind.OVERWRITE, "wh.x"),
        ("UPDATE wh.x SET a = 1", "duckdb", Kind.UPDATE, "wh.x"),
        ("DELETE FROM wh.x WHERE a = 1", "duckdb", Kind.DELETE, "wh.x"),
        (
            "MERGE INTO wh.x AS t USING raw.y AS s ON t.a = s.a WHEN MATCHED THEN DELETE",
            "duckdb",
            Kind.MERGE,
            "wh.x",
        ),
    ],
)
def test_every_kind_of_statement_is_known_with_its_target(text: str, dialect: str, kind: Kind, target: str) -> None:
    script = parse(text, dialect=dialect)
    assert (script.kind, str(script.target)) == (kind, target)


def test_name_and_hash_come_from_path_and_text() -> None:
    script = parse("SELECT 1 AS x", "mart/daily/delays.sql")
    assert script.name == "mart.daily.delays"
    assert script.target == DatasetName("mart", "delays")
    assert script.sha256 != parse("SELECT 2 AS x", "mart/daily/delays.sql").sha256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM raw.a JOIN raw.b USING (x)", ["raw.a", "raw.b"]),
        ("WITH a AS (SELECT * FROM raw.a) SELECT * FROM a", ["raw.a"]),
        # A CTE does not see itself without RECURSIVE, so this reads the table of that name.
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", ["staging.a"]),
        ("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 3) SELECT * FROM a", []),
        # A CTE sees those before it, not those after it.
        ("WITH a AS (SELECT * FROM raw.x), b AS (SELECT * FROM a) SELECT * FROM b", ["raw.x"]),
        ("WITH b AS (SELECT * FROM a), a AS (SELECT 1 AS x) SELECT * FROM b", ["staging.a"]),
        # A CTE of a subquery is unknown outside of it.
        ("SELECT * FROM (WITH a AS (SELECT 1 AS x) SELECT * FROM a) AS q, a", ["staging.a"]),
        # A namespace makes it a table whatever CTEs are called.
        ("WITH a AS (SELECT 1 AS x) SELECT * FROM raw.a", ["raw.a"]),
        ("SELECT * FROM raw.a WHERE x IN (SELECT y FROM raw.b)", ["raw.a", "raw.b"]),
        ("SELECT (SELECT max(y) FROM raw.b) AS m FROM raw.a", ["raw.b", "raw.a"]),
        (
            "SELECT * FROM table_changes('raw.flights') AS f JOIN raw.flights AS g USING (x)",
            ["raw.flights!", "raw.flights"],
        ),
        ("SELECT * FROM range(5)", []),
        ("SELECT * FROM unnest([1, 2]) AS t(x)", []),
        ("INSERT INTO wh.x WITH a AS (SELECT * FROM raw.y) SELECT * FROM a", ["raw.y"]),
        ("WITH a AS (SELECT * FROM raw.y) INSERT INTO wh.x SELECT * FROM a", ["raw.y"]),
        ("INSERT INTO wh.x SELECT * FROM raw.y WHERE id NOT IN (SELECT id FROM wh.x)", ["raw.y", "wh.x"]),
        ("MERGE INTO wh.x AS t USING (SELECT * FROM raw.y) AS s ON t.a = s.a WHEN MATCHED THEN DELETE", ["raw.y"]),
        ("UPDATE wh.x SET a = (SELECT max(b) FROM raw.z)", ["raw.z"]),
        ("DELETE FROM wh.x WHERE a IN (SELECT a FROM raw.gone)", ["raw.gone"]),
    ],
)
def test_tables_read_are_found_and_cte_names_are_not(text: str, expected: list[str]) -> None:
    assert reads(parse(text)) == expected


def test_reads_know_line_and_column() -> None:
    script = parse("SELECT *\nFROM raw.a\n  JOIN table_changes('raw.b') AS b USING (x)")
    assert [(use.line, use.column) for use in script.reads] == [(2, 6), (3, 8)]


@pytest.mark.parametrize(
    ("text", "dialect", "line", "says"),
    [
        ("SELECT a\nFROM b WHERE (", "duckdb", 2, "is not duckdb SQL"),
        ("SELECT a,\n  b c d\nFROM x", "duckdb", 2, "is not duckdb SQL"),
        ("SELECT a,\n'open FROM b", "duckdb", 2, "not closed"),
        ("-- nothing\n", "duckdb", 1, "no statement"),
        ("SELECT 1;\nSELECT 2", "duckdb", 2, "2 statements"),
        ("\nDROP TABLE wh.x", "duckdb", 2, "DROP is not"),
        ("VACUUM wh.x", "snowflake", 1, "VACUUM is not"),
        ("ALTER TABLE wh.x ADD COLUMN y INT", "duckdb", 1, "ALTER is not"),
        ("CREATE VIEW wh.x AS SELECT 1", "duckdb", 1, "CREATE VIEW"),
        ("CREATE TEMP TABLE wh.x AS SELECT 1", "duckdb", 1, "temporary"),
        ("CREATE TABLE wh.x (a INT)", "duckdb", 1, "needs AS"),
        ("CREATE TABLE wh.x (a INT) AS SELECT 1", "duckdb", 1, "column list"),
        ("INSERT OR REPLACE INTO wh.x SELECT 1", "duckdb", 1, "INSERT with OR"),
        ("INSERT INTO wh.x SELECT 1 ON CONFLICT DO NOTHING", "duckdb", 1, "ON CONFLICT"),
        ("INSERT INTO wh.x SELECT 1 RETURNING *", "duckdb", 1, "RETURNING"),
        ("SELECT *\nFROM 'file.parquet'", "duckdb", 2, "file.parquet"),
        ("SELECT *\nFROM db.raw.x", "duckdb", 2, "three parts"),
        ("SELECT * FROM @stage/x", "snowflake", None, "not a table"),
        ("SELECT *\nFROM raw.x VERSION AS OF 3", "spark", 2, "time travel"),
        ("SELECT *\nFROM table_changes('raw.x', 1)", "duckdb", 2, "takes one table"),
        ("SELECT *\nFROM table_changes(x)", "duckdb", 2, "takes one table"),
        ("CREATE OR REPLACE TABLE wh.x AS\nSELECT * FROM wh.x", "duckdb", 2, "reads wh.x, which it replaces"),
        ("SELECT *\nFROM staging.flights", "duckdb", 2, "reads staging.flights, which it replaces"),
    ],
)
def test_what_scripts_may_not_is_refused_with_its_place(text: str, dialect: str, line: int | None, says: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse(text, dialect=dialect)
    assert says in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.file == "transforms/staging/flights.sql"
    assert caught.value.where.line == line


def test_nothing_is_logged_about_statements_that_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ScriptError):
        parse("VACUUM wh.x", dialect="snowflake")
    assert caplog.records == []


def test_bare_select_outside_of_a_namespace_folder_is_refused() -> None:
    with pytest.raises(ScriptError, match="needs a folder"):
        parse("SELECT 1 AS x", "flights.sql")
    with pytest.raises(ScriptError, match="has no namespace"):
        parse("CREATE TABLE wh.x AS SELECT * FROM flights", "flights.sql")
    with pytest.raises(ScriptError, match="names no table"):
        parse("SELECT 1 AS x", "staging/late-aircraft.sql")


class TestHeader:
    def test_one_line(self) -> None:
        script = parse(
            '-- lakecat: {dialect: snowflake, partition: [day(x)], schedule: "0 6 * * *"}\n'
            "CREATE OR REPLACE TABLE wh.x AS SELECT IFF(a > 1, b, c) AS x FROM raw.y"
        )
        assert script.dialect == "snowflake"
        assert script.partition == ("day(x)",)
        assert script.schedule is not None
        assert (script.schedule.cron, script.schedule.timezone) == ("0 6 * * *", "UTC")

    def test_several_lines(self) -> None:
        script = parse(
            "-- Delays of each day.\n"
            "-- lakecat:\n"
            "--   partition: bucket(16, id)\n"
            "--   schedule: {cron: '*/5 * * * *', timezone: Europe/Berlin}\n"
            "--   variables:\n"
            "--     since: {type: date, default: 2013-01-01}\n"
            "--     n: integer\n"
            "-- and this is prose again\n"
            "SELECT 1 AS x"
        )
        assert script.partition == ("bucket(16, id)",)
        assert script.schedule is not None
        assert script.schedule.timezone == "Europe/Berlin"
        assert script.header.variables["since"].type == "date"
        assert script.header.variables["since"].default == "2013-01-01"
        assert script.header.variables["n"].type == "integer"

    @pytest.mark.parametrize(
        ("text", "line", "column", "says"),
        [
            ("-- lakecat: {dialekt: x}\nSELECT 1 AS x", 1, 14, "unknown key 'lakecat.dialekt'"),
            ("-- lakecat: {dialect: snowflak}\nSELECT 1 AS x", 1, 14, "did you mean 'snowflake'?"),
            ("\n-- lakecat:\n--   partition: [foo(x)]\nSELECT 1 AS x", 3, None, "is not a partition"),
            ("-- lakecat: {schedule: '61 * * * *'}\nSELECT 1 AS x", 1, None, "not a cron expression"),
            ("-- lakecat:\n--   variables: {a: notatype}\nSELECT 1 AS x", 2, None, "not a SQL type"),
            ("-- lakecat: {dialect: [}\nSELECT 1 AS x", 1, None, "is not YAML"),
            ("-- lakecat:\n--   dialect: spark\n--   dialect: duckdb\nSELECT 1 AS x", 3, None, "stands here twice"),
        ],
    )
    def test_mistakes_have_their_place(self, text: str, line: int, column: int | None, says: str) -> None:
        with pytest.raises(ScriptError) as caught:
            parse(text)
        assert says in str(caught.value)
        assert caught.value.where is not None
        assert caught.value.where.line == line
        if column is not None:
            assert caught.value.where.column == column

    def test_comments_below_the_statement_are_no_header(self) -> None:
        assert parse("SELECT 1 AS x\n-- lakecat: {dialekt: x}\n").header.dialect is None


def test_partitioned_by_becomes_icebergs_transforms() -> None:
    text = (
        "CREATE TABLE wh.x PARTITIONED BY (days(a), bucket(16, id), truncate(4, name), origin) AS SELECT * FROM raw.y"
    )
    assert parse(text, dialect="spark").partition == ("day(a)", "bucket(16, id)", "truncate(4, name)", "origin")
    with pytest.raises(ScriptError, match="stands twice"):
        parse("-- lakecat: {partition: day(a)}\n" + text, dialect="spark")


def test_insert_keeps_its_column_list() -> None:
    assert parse("INSERT INTO wh.x (b, A) SELECT 1, 2").columns == ("b", "A")
    assert parse("INSERT INTO wh.x SELECT 1, 2").columns is None
    assert parse("INSERT INTO wh.x BY NAME SELECT 1 AS a").by_name


def settings(root: Path, **changes: object) -> Settings:
    return Settings(project="p", root=root, lake=f"file://{root}/lake", catalog="sqlite:///x.db").model_copy(
        update=changes
    )


def test_scripts_of_a_folder_are_loaded_in_path_order_with_the_dialect_of_their_glob(tmp_path: Path) -> None:
    for inner in ("wh/b.sql", "staging/a.sql"):
        file = tmp_path / "transforms" / inner
        file.parent.mkdir(parents=True)
        file.write_text("SELECT 1 AS x")
    base = settings(tmp_path)
    transforms = base.transforms.model_copy(update={"dialects": {"wh": "snowflake"}})
    scripts = load_scripts(base.model_copy(update={"transforms": transforms}))
    assert [(script.name, script.dialect) for script in scripts] == [("staging.a", "duckdb"), ("wh.b", "snowflake")]
    assert load_scripts(settings(tmp_path / "elsewhere")) == ()
    with pytest.raises(ConfigError, match="did you mean 'duckdb'"):
        load_scripts(settings(tmp_path, dialect="duckdv"))


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "transforms" / "s" / "x.sql"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"SELECT 1 AS x,\n'\xff' AS y")
    with pytest.raises(ScriptError, match="UTF-8") as caught:
        load_scripts(settings(tmp_path))
    assert caught.value.where is not None
    assert caught.value.where.line == 2


def test_a_file_that_cannot_be_read_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.script("a/t.sql", "SELECT 1 AS id")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ScriptError, match="cannot be read: Permission denied") as caught:
        load_scripts(project.services.settings)
    assert caught.value.where is not None
    assert caught.value.where.file == "transforms/a/t.sql"


def test_what_the_parser_says_names_words_of_the_script_and_no_classes_of_its_own() -> None:
    with pytest.raises(ScriptError, match="got 'drop'") as caught:
        parse("SELECT kunde\nFROM drop.partners")
    assert "Token" not in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.line == 2
