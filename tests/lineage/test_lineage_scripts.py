"""Scripts: several statements, temporary tables, errors that leave the rest traced."""

from lakecat.lineage import trace_script
from lakecat.types import EdgeKind

SCHEMAS = {"t": ["a", "b", "c"], "u": ["b", "d"]}


def script(sql, dialect="duckdb"):
    return trace_script(sql, dialect=dialect, schemas=SCHEMAS)


def direct(lineage):
    return {(e.output_column, e.input_dataset, e.input_column, e.kind) for e in lineage.edges if e.kind.direct}


def test_temporary_tables_are_looked_through():
    *_, last = script(
        "CREATE TEMP TABLE x AS SELECT a, sum(b) AS s FROM t GROUP BY a; CREATE TABLE m.y AS SELECT s + 1 AS k FROM x"
    )
    assert last.tables_in == ("t",)
    assert direct(last) == {("k", "t", "b", EdgeKind.AGGREGATION)}
    assert (None, "a", EdgeKind.GROUP_BY) in {(e.output_column, e.input_column, e.kind) for e in last.edges}


def test_a_temporary_table_filled_twice_holds_both():
    fill = "INSERT INTO x SELECT a, b FROM t; INSERT INTO x SELECT d, 1 FROM u"
    *_, last = script(f"CREATE TEMP TABLE x (k INT, v INT); {fill}; SELECT k FROM x")
    assert direct(last) == {("k", "t", "a", EdgeKind.IDENTITY), ("k", "u", "d", EdgeKind.IDENTITY)}
    assert set(last.tables_in) == {"t", "u"}


def test_tsql_hash_tables_are_not_the_tables_of_that_name():
    first, second, third = script(
        "SELECT a, b INTO #t FROM t; UPDATE #t SET a = u.d FROM u WHERE u.b = #t.b; SELECT a FROM #t", "tsql"
    )
    assert first.tables_out == ("#t",)
    assert second.tables_out == ("#t",)
    assert direct(third) == {("a", "t", "a", EdgeKind.IDENTITY), ("a", "u", "d", EdgeKind.IDENTITY)}


def test_created_tables_are_known_to_later_statements():
    first, second = script("CREATE TABLE m.y AS SELECT a AS k, d FROM t JOIN u USING (b); SELECT * FROM m.y")
    assert first.columns == ("k", "d")
    assert second.columns == ("k", "d")
    assert direct(second) == {("k", "m.y", "k", EdgeKind.IDENTITY), ("d", "m.y", "d", EdgeKind.IDENTITY)}


def test_dropped_temporary_tables_are_forgotten():
    *_, last = script("CREATE TEMP TABLE t AS SELECT d AS a FROM u; DROP TABLE t; SELECT a FROM t")
    assert direct(last) == {("a", "t", "a", EdgeKind.IDENTITY)}


def test_a_broken_statement_has_a_place_and_the_rest_is_traced():
    first, broken, last = script("SELECT a FROM t;\nSELECT FROM WHERE x\n;\n\nSELECT b\nFROM u")
    assert first.error is None
    assert broken.error is not None
    assert broken.error.line == 2
    assert broken.edges == ()
    assert last.line == 5
    assert [(e.input_column, e.line) for e in last.edges] == [("b", 5)]


def test_semicolons_in_texts_and_comments_do_not_split():
    results = script("SELECT a, ';' AS x FROM t; -- a; comment\n/* ; */ SELECT b FROM u;;")
    assert [result.columns for result in results] == [("a", "x"), ("b",)]


def test_a_statement_of_unknown_effect_is_said():
    (call,) = script("CALL refresh_all()", "snowflake")
    assert call.error is not None
    assert "CALL" in call.error.message


def test_statements_without_data_are_no_errors():
    results = script("BEGIN; SET x = 1; USE SCHEMA s; COMMIT; GRANT SELECT ON t TO ROLE r", "snowflake")
    assert [result.error for result in results] == [None] * 5
    assert all(result.edges == () for result in results)


def test_an_empty_script_is_empty():
    assert script(" -- nothing\n") == ()


def test_what_stands_before_an_unclosed_quote_is_traced():
    results = script("SELECT a FROM t;\nSELECT b,\n  'never closed FROM u; SELECT d FROM u")
    assert [result.columns for result in results] == [("a",), ()]
    error = results[1].error
    assert error is not None
    assert (results[1].line, error.line, error.column) == (2, 3, 3)
    assert "never closed" in error.message


def test_an_unclosed_comment_is_an_error_with_its_line():
    first, broken = script("SELECT a FROM t;\n/* and so on")
    assert first.columns == ("a",)
    assert broken.error is not None
    assert broken.error.line == 2
