"""Work grows linearly with columns and CTEs, counted in executed lines; deep nesting ends in an error value."""

import sys

import pytest

from lakecat.errors import LineageError
from lakecat.lineage import trace, trace_script


def lines_run(sql: str, schemas: dict[str, list[str]]) -> int:
    """How many lines of lakecat.lineage a trace executes: a clock that no busy machine can disturb."""
    count = 0

    def local(_frame, event, _arg):
        nonlocal count
        count += event == "line"
        return local

    def tracer(frame, _event, _arg):
        return local if "lakecat" in frame.f_code.co_filename and "lineage" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        trace(sql, dialect="duckdb", schemas=schemas)
    finally:
        sys.settrace(before)
    return count


def wide(columns: int, ctes: int, star: bool) -> tuple[str, dict[str, list[str]]]:
    names = [f"c{i}" for i in range(columns)]
    listed = "*" if star else ", ".join(f"{name} + 1 AS {name}" for name in names)
    parts = [f"q{i} AS (SELECT {listed} FROM {'t' if i == 0 else f'q{i - 1}'} WHERE c0 > {i})" for i in range(ctes)]
    return f"WITH {', '.join(parts)} SELECT * FROM q{ctes - 1}", {"t": names}


@pytest.mark.parametrize("star", [True, False], ids=["star", "expressions"])
def test_linear_in_columns(star):
    small, large = (lines_run(*wide(columns, 3, star)) for columns in (200, 800))
    assert large < small * 4 * 1.1


@pytest.mark.parametrize("star", [True, False], ids=["star", "expressions"])
def test_linear_in_ctes(star):
    small, large = (lines_run(*wide(20, ctes, star)) for ctes in (20, 80))
    assert large < small * 4 * 1.1


def test_linear_in_union_branches():
    schemas = {f"t{i}": ["a", "b"] for i in range(400)}
    small, large = (
        lines_run(" UNION ALL ".join(f"SELECT a, b FROM t{i}" for i in range(n)), schemas) for n in (100, 400)
    )
    assert large < small * 4 * 1.1


def test_linear_in_a_chain_of_self_joins():
    def chain(n):
        joins = " ".join(f"JOIN t AS t{i} ON t{i}.a = t{i - 1}.b" for i in range(1, n))
        return f"SELECT t0.a, t{n - 1}.b FROM t AS t0 {joins}"

    small, large = (lines_run(chain(n), {"t": ["a", "b"]}) for n in (20, 80))
    assert large < small * 4 * 1.1


def test_ten_thousand_columns_through_three_ctes():
    sql, schemas = wide(10_000, 3, star=True)
    assert len(trace(sql, dialect="duckdb", schemas=schemas).columns) == 10_000


@pytest.mark.parametrize("operator", ["AND", "OR", "+", "||"])
def test_long_chains_are_no_recursion(operator):
    sql = "SELECT a FROM t WHERE " + f" {operator} ".join(["b > 1" if operator in ("AND", "OR") else "b"] * 5_000)
    assert {e.input_column for e in trace(sql, dialect="postgres", schemas={"t": ["a", "b"]}).edges} == {"a", "b"}


@pytest.mark.parametrize("depth", [20, 60])
def test_nested_queries(depth):
    sql = "SELECT a FROM t"
    for _ in range(depth):
        sql = f"SELECT a FROM ({sql}) q"
    assert [e.input_dataset for e in trace(sql, dialect="duckdb", schemas={}).edges] == ["t"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 2_000 + "a" + ")" * 2_000 + " FROM t",
        "SELECT a FROM (" * 2_000 + "t" + ")" * 2_000,
        "SELECT " + "f(" * 2_000 + "a" + ")" * 2_000 + " FROM t",
        "WITH q AS (" * 2_000 + "SELECT 1 AS a" + ") SELECT a FROM q" * 2_000,
    ],
    ids=["parentheses", "subqueries", "calls", "ctes"],
)
def test_nesting_beyond_the_bound_is_an_error_value(sql):
    with pytest.raises(LineageError):
        trace(sql, dialect="duckdb", schemas={})
    broken, fine = trace_script(f"{sql}; SELECT a FROM t", dialect="duckdb", schemas={})
    assert broken.error is not None
    assert fine.error is None


def test_long_expressions_are_cut():
    sql = "SELECT a IN (" + ", ".join(map(str, range(10_000))) + ") AS x FROM t"
    (edge,) = trace(sql, dialect="duckdb", schemas={"t": ["a"]}).edges
    assert edge.expression is not None
    assert len(edge.expression) == 1_000
