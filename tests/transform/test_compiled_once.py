"""Scripts are parsed and compiled once while nothing about them changes, and anew when anything does."""

from __future__ import annotations

from sqlglot import exp

from lakecat.lineage import trace
from lakecat.transform.compile import compile_script
from lakecat.transform.scripts import Script, parse_script

TEXT = "SELECT id, $n AS n FROM raw.x"


def read(text: str = TEXT) -> Script:
    return parse_script(text, "mart/t.sql", path="transforms/mart/t.sql", dialect="duckdb")


def test_the_same_text_is_the_same_script() -> None:
    assert read() is read()
    assert read() is not read(TEXT + " WHERE id > 1")


def test_equal_values_of_different_kinds_are_compiled_apart() -> None:
    values = [1, True, 1.0, "1", 0.0, -0.0]
    bound = [compile_script(read(), dialect="duckdb", variables={"n": value}).parameters["n"] for value in values]
    assert [repr(value) for value in bound] == [repr(value) for value in values]


def test_values_that_the_script_does_not_use_change_nothing() -> None:
    first = compile_script(read(), dialect="duckdb", variables={"n": 1, "other": 1})
    assert compile_script(read(), dialect="duckdb", variables={"n": 1, "other": 2}) is first


def test_what_is_shared_stays_as_it_is() -> None:
    script = read("SELECT x.id, (SELECT max(y.v) FROM raw.y WHERE y.id = x.id) AS v FROM table_changes('raw.x') AS x")
    before = script.statement.copy()
    compiled = compile_script(script, dialect="duckdb", variables={})
    traced = compiled.traced.copy()
    schemas = {"raw.x": ("id",), "raw.y": ("id", "v")}
    edges = trace(compiled.traced, dialect="duckdb", schemas=schemas, target="mart.t").edges
    assert edges == trace(compiled.traced, dialect="duckdb", schemas=schemas, target="mart.t").edges
    assert (script.statement, compiled.traced) == (before, traced)
    assert isinstance(compiled.traced, exp.Select)
