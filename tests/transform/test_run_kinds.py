from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lakecat.errors import ScriptError, TransformError
from lakecat.transform import Status
from lakecat.types import EdgeKind

if TYPE_CHECKING:
    from conftest import Project

FLIGHTS = [
    {"id": 1, "carrier": "UA", "delay": 10, "day": date(2013, 1, 1)},
    {"id": 2, "carrier": "AA", "delay": -5, "day": date(2013, 1, 1)},
    {"id": 3, "carrier": "UA", "delay": 30, "day": date(2013, 1, 2)},
]


def test_a_bare_select_makes_the_table_that_its_path_names(project: Project) -> None:
    project.put("raw.flights", FLIGHTS)
    project.script("staging/late.sql", "SELECT carrier, delay FROM raw.flights WHERE delay > 0")
    result = project.done()["staging.late"]
    assert (result.status, result.rows) == (Status.DONE, 2)
    assert [str(version) for version in result.versions] == ["staging.late@v1"]
    assert project.rows("staging.late") == [{"carrier": "UA", "delay": 10}, {"carrier": "UA", "delay": 30}]
    project.clean()


def test_a_select_replaces_the_table_and_keeps_field_ids(project: Project) -> None:
    project.put("raw.flights", FLIGHTS)
    project.script("s/t.sql", "SELECT id, carrier, CAST(delay AS INTEGER) AS delay FROM raw.flights")
    project.done()
    assert project.columns("s.t") == [("id", "long", 1), ("carrier", "string", 2), ("delay", "int", 3)]
    project.script("s/t.sql", "SELECT CAST(delay AS BIGINT) AS delay, carrier AS id, 'x' AS new FROM raw.flights")
    project.done()
    # delay is widened and moved; id became text, which is another column to Iceberg; carrier went.
    assert project.columns("s.t") == [("delay", "long", 3), ("id", "string", 4), ("new", "string", 5)]
    assert project.rows("s.t")[0] == {"delay": -5, "id": "AA", "new": "x"}
    assert project.rows("s.t@v1")[0] == {"id": 2, "carrier": "AA", "delay": -5}
    project.clean()


def test_create_table_as_in_snowflakes_dialect(project: Project) -> None:
    project.put("raw.flights", FLIGHTS)
    project.script(
        "wh/carriers.sql",
        "-- lakecat: {dialect: snowflake, partition: [carrier]}\n"
        "CREATE OR REPLACE TRANSIENT TABLE wh.carriers AS\n"
        "SELECT CARRIER, IFF(DELAY > 0, 'late', 'early') AS STATE, DATE_TRUNC('month', day)::DATE AS MONTH,\n"
        "       COUNT(*) OVER (PARTITION BY CARRIER) AS N\n"
        "FROM raw.flights QUALIFY ROW_NUMBER() OVER (PARTITION BY carrier ORDER BY delay DESC) = 1",
    )
    project.done()
    found = [{name.lower(): value for name, value in row.items()} for row in project.rows("wh.carriers")]
    assert found == [
        {"carrier": "AA", "state": "early", "month": date(2013, 1, 1), "n": 1},
        {"carrier": "UA", "state": "late", "month": date(2013, 1, 1), "n": 2},
    ]
    assert project.version("wh.carriers").files == 2
    project.clean()


def test_create_if_not_exists_runs_once(project: Project) -> None:
    project.put("raw.flights", FLIGHTS)
    project.script("wh/x.sql", "CREATE TABLE IF NOT EXISTS wh.x AS SELECT id FROM raw.flights WHERE false")
    assert project.statuses() == {"wh.x": Status.DONE}
    project.put("raw.flights", FLIGHTS)
    result = project.run()["wh.x"]
    assert (result.status, result.reasons) == (Status.SKIPPED, ("wh.x exists already",))
    assert project.version("wh.x").version == 1


class TestInsert:
    def test_into_a_missing_table_creates_it(self, project: Project) -> None:
        project.put("raw.flights", FLIGHTS)
        project.script("wh/log.sql", "INSERT INTO wh.log (flight, late) SELECT id, delay > 0 FROM raw.flights")
        project.done()
        assert project.rows("wh.log") == [
            {"flight": 1, "late": True},
            {"flight": 2, "late": False},
            {"flight": 3, "late": True},
        ]
        project.clean()

    def test_lists_of_columns_positions_and_names(self, project: Project) -> None:
        schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.date32())])
        project.put("wh.t", [{"a": 0, "b": "zero", "c": None}], schema)
        project.script("wh/1.sql", "INSERT INTO wh.t (B, a) SELECT 'one', 1")
        project.script("wh/2.sql", "INSERT INTO wh.t VALUES (2, 'two', DATE '2013-01-02')")
        project.script("wh/3.sql", "INSERT INTO wh.t BY NAME SELECT 'three' AS b, 3 AS a")
        project.done()
        assert project.rows("wh.t") == [
            {"a": 0, "b": "zero", "c": None},
            {"a": 1, "b": "one", "c": None},
            {"a": 2, "b": "two", "c": date(2013, 1, 2)},
            {"a": 3, "b": "three", "c": None},
        ]
        project.clean()

    def test_casts_exactly_or_not_at_all(self, project: Project) -> None:
        project.put("wh.t", [{"a": 1}], pa.schema([("a", pa.int32())]))
        project.script("wh/fits.sql", "INSERT INTO wh.t SELECT 2.0::DOUBLE")
        project.script("wh/too_long.sql", "INSERT INTO wh.t\nSELECT 3000000000")
        project.script("wh/uneven.sql", "INSERT INTO wh.t SELECT 2.5::DOUBLE")
        project.script("wh/words.sql", "INSERT INTO wh.t SELECT 'two'")
        results = project.run()
        assert {name for name, result in results.items() if result.status is Status.FAILED} == {
            "wh.too_long",
            "wh.uneven",
            "wh.words",
        }
        for name in ("wh.too_long", "wh.uneven", "wh.words"):
            error = results[name].error
            assert isinstance(error, TransformError)
            assert "'a'" in error.what
            assert error.where is not None
            assert error.where.file == f"transforms/{name.replace('.', '/')}.sql"
        assert project.rows("wh.t") == [{"a": 1}, {"a": 2}]
        project.clean()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("INSERT INTO wh.t SELECT 1", "gives 1 columns to wh.t, which has 2: a, b"),
            ("INSERT INTO wh.t (a, b) SELECT 1", "lists 2 columns and gives 1"),
            ("INSERT INTO wh.t (a, z) SELECT 1, 2", "wh.t has no column 'z'"),
            ("INSERT INTO wh.t (a, A) SELECT 1, 2", "lists a column twice"),
        ],
    )
    def test_columns_that_do_not_match(self, project: Project, text: str, says: str) -> None:
        project.put("wh.t", [{"a": 1, "b": "x"}])
        project.script("wh/x.sql", text)
        error = project.run()["wh.x"].error
        assert isinstance(error, ScriptError)
        assert error.what == says
        assert project.version("wh.t").version == 1

    def test_overwrite_replaces_the_rows_and_keeps_the_columns(self, project: Project) -> None:
        project.put("wh.t", [{"a": 1, "b": "x"}])
        before = project.columns("wh.t")
        project.script("wh/x.sql", "-- lakecat: {dialect: spark}\nINSERT OVERWRITE TABLE wh.t SELECT 2, 'y'")
        project.done()
        assert project.rows("wh.t") == [{"a": 2, "b": "y"}]
        assert project.columns("wh.t") == before
        project.clean()

    def test_that_reads_its_own_table(self, project: Project) -> None:
        project.put("raw.x", [{"id": 1}, {"id": 2}])
        project.put("wh.t", [{"id": 1}])
        project.script("wh/x.sql", "INSERT INTO wh.t SELECT id FROM raw.x WHERE id NOT IN (SELECT id FROM wh.t)")
        project.done()
        assert project.rows("wh.t") == [{"id": 1}, {"id": 2}]
        assert project.statuses() == {"wh.x": Status.SKIPPED}
        project.put("raw.x", [{"id": 2}, {"id": 3}])
        project.done()
        assert project.rows("wh.t") == [{"id": 1}, {"id": 2}, {"id": 3}]
        project.clean()


class TestModify:
    def test_merge_updates_and_inserts(self, project: Project) -> None:
        project.put("wh.t", [{"id": 1, "n": 10}, {"id": 2, "n": 20}])
        project.put("raw.x", [{"id": 2, "n": 21}, {"id": 3, "n": 30}])
        project.script(
            "wh/m.sql",
            "MERGE INTO wh.t AS t USING raw.x AS s ON t.id = s.id\n"
            "WHEN MATCHED THEN UPDATE SET n = s.n\n"
            "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
        )
        project.done()
        assert project.rows("wh.t") == [{"id": 1, "n": 10}, {"id": 2, "n": 21}, {"id": 3, "n": 30}]
        assert project.statuses() == {"wh.m": Status.SKIPPED}
        project.clean()

    def test_merge_into_a_missing_table_creates_it(self, project: Project) -> None:
        project.put("raw.x", [{"id": 2, "n": 21}, {"id": 3, "n": 30}])
        project.script(
            "wh/m.sql",
            "MERGE INTO wh.t AS t USING (SELECT id, n * 2 AS n FROM raw.x) AS s ON t.id = s.id\n"
            "WHEN MATCHED THEN UPDATE SET n = s.n\n"
            "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
        )
        project.done()
        assert project.rows("wh.t") == [{"id": 2, "n": 42}, {"id": 3, "n": 60}]
        project.put("raw.x", [{"id": 4, "n": 1}])
        project.done()
        assert [row["id"] for row in project.rows("wh.t")] == [2, 3, 4]
        project.clean()

    def test_update_and_delete(self, project: Project) -> None:
        project.put("wh.t", [{"id": 1, "n": 10}, {"id": 2, "n": 20}, {"id": 3, "n": 30}])
        project.script("wh/a_update.sql", "UPDATE wh.t SET n = n + 1 WHERE id = 2")
        project.script("wh/b_delete.sql", "DELETE FROM wh.t WHERE id = 3")
        project.done()
        assert project.rows("wh.t") == [{"id": 1, "n": 10}, {"id": 2, "n": 21}]
        assert set(project.statuses().values()) == {Status.SKIPPED}
        project.clean()

    def test_update_of_a_missing_table_is_refused_with_its_place(self, project: Project) -> None:
        project.script("wh/u.sql", "\nUPDATE wh.nothing SET n = 1")
        error = project.run()["wh.u"].error
        assert error is not None
        assert "there is no table wh.nothing" in error.what
        assert str(error.where) == "transforms/wh/u.sql:2:8"

    def test_nothing_to_change_makes_no_version(self, project: Project) -> None:
        project.put("wh.t", [{"id": 1}])
        project.script("wh/d.sql", "DELETE FROM wh.t WHERE id = 99")
        result = project.done()["wh.d"]
        assert (result.status, result.versions) == (Status.DONE, ())
        assert project.version("wh.t").version == 1
        assert project.statuses() == {"wh.d": Status.SKIPPED}
        project.clean()


class TestVariables:
    def test_given_configured_and_defaulted(self, make_project) -> None:  # type: ignore[no-untyped-def]
        project = make_project("project: test\ntransforms: {variables: {low: 15}}\n")
        project.put("raw.flights", FLIGHTS)
        project.script(
            "s/t.sql",
            "-- lakecat: {variables: {since: date, word: {default: hm}}}\n"
            "SELECT id, $word AS word FROM raw.flights WHERE day >= $since AND delay > :low",
        )
        project.done(variables={"since": "2013-01-02"})
        assert project.rows("s.t") == [{"id": 3, "word": "hm"}]
        assert project.reasons(variables={"since": "2013-01-02"})["s.t"][0] is False
        assert project.reasons(variables={"since": "2013-01-01"})["s.t"] == (True, ("parameters changed: since",))
        error = project.run()["s.t"].error
        assert error is not None
        assert "'since' has no value" in error.what

    def test_text_stays_text(self, project: Project) -> None:
        project.script("s/t.sql", "SELECT $word AS word")
        evil = "x'; DROP TABLE raw.flights; --"
        project.done(variables={"word": evil})
        assert project.rows("s.t") == [{"word": evil}]


def test_types_come_through(project: Project) -> None:
    project.script(
        "s/t.sql",
        "SELECT 1.50::DECIMAL(10, 2) AS amount, TIMESTAMPTZ '2013-01-01 12:00:00+02' AS moment, [1, 2] AS list,\n"
        "       {'a': 1} AS struct, NULL::VARCHAR AS nothing",
    )
    project.done()
    (row,) = project.rows("s.t")
    assert row["amount"] == Decimal("1.50")
    assert row["moment"].isoformat() in ("2013-01-01T10:00:00+00:00", "2013-01-01T10:00:00Z")
    assert (row["list"], row["struct"], row["nothing"]) == ([1, 2], {"a": 1}, None)


def test_each_execution_is_whole_in_the_catalog(project: Project) -> None:
    project.put("raw.flights", FLIGHTS)
    text = "SELECT carrier, SUM(delay) AS total\nFROM raw.flights\nWHERE delay > 0\nGROUP BY carrier"
    project.script("s/t.sql", text)
    result = project.done()["s.t"]
    assert result.execution_id is not None
    detail = project.services.catalog.execution(result.execution_id)
    assert [str(version) for version in detail.inputs] == ["raw.flights@v1"]
    assert [str(version) for version in detail.outputs] == ["s.t@v1"]
    assert detail.script is not None
    assert (detail.script.text, detail.script.path) == (text, "transforms/s/t.sql")
    assert detail.info.job == "transform:s.t"
    steps = project.services.catalog.column_lineage(project.version("s.t").dataset, "total", depth=1)
    direct = {(step.input.dataset, step.input.column, step.kind) for step in steps if step.input and step.kind.direct}
    assert direct == {("raw.flights", "delay", EdgeKind.AGGREGATION)}
