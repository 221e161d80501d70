"""Scripts give the values that their own dialect's manual promises, whatever the engine makes of the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lakecat.errors import ScriptError
from lakecat.types import DatasetName

if TYPE_CHECKING:
    from conftest import Project

ROW = {"a": 7, "b": 2, "m": -7, "z": 0, "f": 2.7, "s": "2.7"}
SUNDAY = "CAST('2024-01-07' AS DATE)"
TIMES = "CAST('2024-01-01 23:30:00' AS TIMESTAMP)", "CAST('2024-01-02 00:00:00' AS TIMESTAMP)"


def value(project: Project, dialect: str, expression: str, source: str = "raw.x") -> Any:
    project.put("raw.x", [ROW])
    project.script("wh/t.sql", f"-- lakecat: {{dialect: {dialect}}}\nSELECT {expression} AS v FROM {source}")
    project.done()
    ((row),) = project.rows("wh.t")
    return row["v"]


@pytest.mark.parametrize(
    ("dialect", "expression", "expected"),
    [
        ("redshift", "7 / 2", 3),
        ("redshift", "cast(a AS int) / cast(b AS bigint)", 3),
        ("redshift", "cast(m AS int) / b::int", -3),  # cut towards zero
        ("redshift", "cast(a AS int) / 2 / 2", 1),
        ("redshift", "1.0 * (7 / 2)", 3.0),
        ("redshift", "a * 1.0 / b", 3.5),
        ("redshift", "a / b::float", 3.5),
        ("redshift", "a / b::float / 2", 1.75),
        ("redshift", "count(*) / 2", 0),
        ("trino", "cast(a AS bigint) / 2", 3),
        ("tsql", "7 / 2", 3),
        ("snowflake", "a / b", 3.5),
        ("bigquery", "a / b", 3.5),
        ("spark", "a / b", 3.5),
        ("spark", "a / z", None),
        ("bigquery", "a / b / b", 1.75),
        ("spark", "cast(cast(s AS double) AS int) / 2", 1.0),
        ("spark", "cast(a AS int) + dayofweek(CAST('2024-01-07' AS DATE))", 8),
        ("duckdb", "a / b", 3.5),
        ("redshift", "1.0 * a / nullif(z, 0)", None),
        ("spark", f"dayofweek({SUNDAY})", 1),
        ("databricks", f"extract(DOW FROM {SUNDAY})", 1),
        ("spark", f"weekday({SUNDAY})", 6),
        ("mysql", f"dayofweek({SUNDAY})", 1),
        ("bigquery", f"extract(DAYOFWEEK FROM {SUNDAY})", 1),
        ("trino", f"extract(DOW FROM {SUNDAY})", 7),
        ("snowflake", f"dayofweek({SUNDAY})", 0),
        ("redshift", f"extract(DOW FROM {SUNDAY})", 0),
        ("bigquery", f"timestamp_diff({TIMES[1]}, {TIMES[0]}, HOUR)", 0),
        ("trino", f"date_diff('hour', {TIMES[0]}, {TIMES[1]})", 0),
        ("databricks", f"timestampdiff(HOUR, {TIMES[0]}, {TIMES[1]})", 0),
        ("snowflake", f"datediff(hour, {TIMES[0]}, {TIMES[1]})", 1),
        ("redshift", f"datediff(hour, {TIMES[0]}, {TIMES[1]})", 1),
        ("spark", f"datediff({TIMES[1]}, {TIMES[0]})", 1),
        ("spark", "cast(f AS int)", 2),
        ("spark", "cast(s AS int)", 2),
        ("spark", "cast(-f AS bigint)", -2),
        ("spark", "cast('x' AS int)", None),
        ("tsql", "cast(f AS int)", 2),
        ("snowflake", "cast(f AS int)", 3),
        ("redshift", "cast(f AS int)", 3),
    ],
)
def test_the_value_is_the_dialects_own(project: Project, dialect: str, expression: str, expected: object) -> None:
    found = value(project, dialect, expression)
    assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "redshift", "databricks", "tsql"])
@pytest.mark.parametrize("expression", ["a * 1.0 / z", "cast(f AS float) / z", "a * 1.5 / (z + z)"])
def test_division_by_zero_is_an_error_and_not_infinity(project: Project, dialect: str, expression: str) -> None:
    with pytest.raises(Exception, match="division by zero"):
        value(project, dialect, expression)
    assert not project.exists("wh.t")


@pytest.mark.parametrize("dialect", ["redshift", "postgres", "trino", "tsql"])
@pytest.mark.parametrize("expression", ["a / b", "a / 2", "sum(a) / count(*)", "(a + 1) / b"])
def test_a_division_of_what_may_be_integers_is_refused(project: Project, dialect: str, expression: str) -> None:
    with pytest.raises(ScriptError, match="divides integers by cutting") as caught:
        value(project, dialect, expression)
    assert "cast them" in (caught.value.hint or "")
    assert caught.value.where is not None
    assert caught.value.where.line == 2


@pytest.mark.parametrize(("dialect", "expression"), [("bigquery", "extract(WEEK FROM d)"), ("mysql", "week(d)")])
def test_weeks_of_another_count_are_refused(project: Project, dialect: str, expression: str) -> None:
    with pytest.raises(ScriptError, match="weeks are counted differently") as caught:
        value(project, dialect, expression, f"(SELECT {SUNDAY} AS d) AS q")
    assert caught.value.where is not None
    assert caught.value.where.line == 2


def test_grouping_by_a_quotient(project: Project) -> None:
    project.put("raw.n", [{"a": number} for number in range(10)])
    quotient = "CAST(a AS int) / 4"
    project.script(
        "wh/t.sql",
        f"-- lakecat: {{dialect: redshift}}\nSELECT {quotient} AS q, count(*) AS n FROM raw.n GROUP BY {quotient}",
    )
    project.done()
    assert sorted((row["q"], row["n"]) for row in project.rows("wh.t")) == [(0, 4), (1, 4), (2, 2)]
    assert project.columns("wh.t")[0][1] == "int"


@pytest.mark.parametrize(
    "text",
    [
        "MERGE INTO wh.t AS t USING raw.x AS s ON t.id = s.a WHEN MATCHED THEN UPDATE SET t.q = s.b / 4, t.n = t.n + 1",
        "UPDATE wh.t SET wh.t.q = s.b / 4, n = n + 1 FROM raw.x AS s WHERE wh.t.id = s.a",
    ],
)
def test_qualified_names_in_set(project: Project, text: str) -> None:
    project.put("raw.x", [ROW])
    project.put("wh.t", [{"id": 7, "q": 0.0, "n": 1}, {"id": 8, "q": 0.0, "n": 1}])
    project.script("wh/m.sql", f"-- lakecat: {{dialect: snowflake}}\n{text}")
    project.done()
    assert project.rows("wh.t") == [{"id": 7, "q": 0.5, "n": 2}, {"id": 8, "q": 0.0, "n": 1}]
    paths = project.services.catalog.column_lineage(DatasetName("wh", "t"), "q", direction="up", depth=1)
    read = {path.input.column for path in paths if path.input is not None and path.input.dataset == "raw.x"}
    assert "b" in read
