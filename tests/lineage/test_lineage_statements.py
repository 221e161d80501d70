"""Statements that write: INSERT, CREATE … AS, MERGE, UPDATE, DELETE and their relatives."""

# ruff: noqa: E501 - a case reads best as one line

import pytest

from lakecat.errors import LineageError
from lakecat.lineage import trace
from lakecat.types import EdgeKind

SCHEMAS = {"t": ["a", "b", "c"], "u": ["b", "d"], "raw.src": ["id", "val", "extra"], "mart.dim": ["id", "val", "n"]}

# name, dialect, SQL, tables in, tables out, output columns with "dataset" taken from tables out
CASES = [
    ("insert by position", "duckdb", "INSERT INTO mart.dim SELECT id, extra, 1 FROM raw.src",
     ["raw.src"], ["mart.dim"], "id <- raw.src.id\nval <- raw.src.extra\nn <-"),
    ("insert with list", "duckdb", "INSERT INTO mart.dim (n, id) SELECT val, id FROM raw.src",
     ["raw.src"], ["mart.dim"], "n <- raw.src.val\nid <- raw.src.id"),
    ("insert by name", "duckdb", "INSERT INTO mart.dim BY NAME SELECT extra AS n, id FROM raw.src",
     ["raw.src"], ["mart.dim"], "n <- raw.src.extra\nid <- raw.src.id"),
    ("insert unknown target", "duckdb", "INSERT INTO mart.new SELECT id AS k FROM raw.src",
     ["raw.src"], ["mart.new"], "k <- raw.src.id"),
    ("insert union", "duckdb", "INSERT INTO u SELECT a, b FROM t UNION ALL SELECT c, a FROM t",
     ["t"], ["u"], "b <- t.a, t.c\nd <- t.b, t.a"),
    ("insert with cte", "postgres", "WITH q AS (SELECT id FROM raw.src) INSERT INTO u SELECT id, 1 FROM q",
     ["raw.src"], ["u"], "b <- raw.src.id\nd <-"),
    ("insert cte inside", "duckdb", "INSERT INTO u WITH q AS (SELECT id FROM raw.src) SELECT id, 1 FROM q",
     ["raw.src"], ["u"], "b <- raw.src.id\nd <-"),
    ("insert values", "duckdb", "INSERT INTO u VALUES (1, 2)", [], ["u"], "b <-\nd <-"),
    ("insert scalar in values", "duckdb", "INSERT INTO u VALUES (1, (SELECT max(a) FROM t))", ["t"], ["u"], "b <-\nd <- t.a A"),
    ("insert overwrite", "spark", "INSERT OVERWRITE TABLE u SELECT a, b FROM t", ["t"], ["u"], "b <- t.a\nd <- t.b"),
    ("insert static partition", "hive", "INSERT OVERWRITE TABLE mart.dim PARTITION (n = 1) SELECT id, val FROM raw.src",
     ["raw.src"], ["mart.dim"], "id <- raw.src.id\nval <- raw.src.val"),
    ("insert dynamic partition", "hive", "INSERT INTO mart.dim PARTITION (n) SELECT id, val, extra FROM raw.src",
     ["raw.src"], ["mart.dim"], "id <- raw.src.id\nval <- raw.src.val\nn <- raw.src.extra"),
    ("insert self", "duckdb", "INSERT INTO t SELECT b, a, c FROM t WHERE c > 0", ["t"], ["t"],
     "a <- t.b\nb <- t.a\nc <- t.c\n* <- t.c FILTER"),
    ("on conflict", "postgres", "INSERT INTO u (b, d) SELECT a, c FROM t ON CONFLICT (b) DO UPDATE SET d = excluded.d + u.d",
     ["t"], ["u"], "b <- t.a\nd <- t.c, t.c T, u.d T"),
    ("hive multi-insert", "hive", "FROM raw.src INSERT INTO t SELECT id, val, extra INSERT INTO u SELECT val, id",
     ["raw.src"], ["t", "u"], "a <- raw.src.id\nb <- raw.src.val\nc <- raw.src.extra\nb <- raw.src.val\nd <- raw.src.id"),
    ("on duplicate key", "mysql", "INSERT INTO u (b, d) SELECT a, c FROM t ON DUPLICATE KEY UPDATE d = VALUES(d) + u.b",
     ["t"], ["u"], "b <- t.a\nd <- t.c, t.c T, u.b T"),
    ("delete mysql join", "mysql", "DELETE t FROM t JOIN u ON t.b = u.b WHERE u.d > 1", ["u"], ["t"],
     "* <- t.b JOIN, u.b JOIN, u.d FILTER"),
    ("update two tables mysql", "mysql", "UPDATE t, u SET t.a = u.d WHERE t.b = u.b", ["u"], ["t"], "a <- u.d\n* <- t.b FILTER, u.b FILTER"),
    ("dynamic table", "snowflake", "CREATE OR REPLACE DYNAMIC TABLE mart.x TARGET_LAG = '1 minute' WAREHOUSE = w AS SELECT a FROM t",
     ["t"], ["mart.x"], "a <- t.a"),
    ("unload reads", "duckdb", "COPY (SELECT a FROM t) TO 'x.csv'", ["t"], [], ""),
    ("ctas", "duckdb", "CREATE TABLE mart.x AS SELECT a + 1 AS k FROM t", ["t"], ["mart.x"], "k <- t.a T"),
    ("ctas snowflake", "snowflake", "CREATE OR REPLACE TABLE db.mart.x AS SELECT A AS K, COUNT(*) AS N FROM T GROUP BY A",
     ["t"], ["mart.x"], "K <- t.a\nN <-\n* <- t.a GROUP"),
    ("ctas column list", "postgres", "CREATE TABLE x (k, l) AS SELECT a, b FROM t", ["t"], ["x"], "k <- t.a\nl <- t.b"),
    ("ctas bigquery options", "bigquery", "CREATE OR REPLACE TABLE mart.x PARTITION BY k CLUSTER BY l AS SELECT a AS k, b AS l FROM t",
     ["t"], ["mart.x"], "k <- t.a\nl <- t.b"),
    ("ctas spark", "spark", "CREATE TABLE mart.x USING iceberg PARTITIONED BY (k) AS SELECT a AS k FROM t", ["t"], ["mart.x"], "k <- t.a"),
    ("ctas with cte", "redshift", "CREATE TABLE x DISTKEY(k) AS WITH q AS (SELECT a AS k FROM t) SELECT k FROM q",
     ["t"], ["x"], "k <- t.a"),
    ("view", "duckdb", "CREATE VIEW mart.v AS SELECT a FROM t WHERE b = 1", ["t"], ["mart.v"], "a <- t.a\n* <- t.b FILTER"),
    ("view column list", "postgres", "CREATE VIEW v (x) AS SELECT a FROM t", ["t"], ["v"], "x <- t.a"),
    ("materialized view", "postgres", "CREATE MATERIALIZED VIEW v AS SELECT a FROM t", ["t"], ["v"], "a <- t.a"),
    ("select into", "tsql", "SELECT a, b AS k INTO mart.x FROM t", ["t"], ["mart.x"], "a <- t.a\nk <- t.b"),
    ("clone", "snowflake", "CREATE TABLE x CLONE u", ["u"], ["x"], "b <- u.b\nd <- u.d"),
    ("like copies no data", "postgres", "CREATE TABLE x (LIKE u)", [], ["x"], ""),
    ("create table", "duckdb", "CREATE TABLE x (k INTEGER, l VARCHAR)", [], ["x"], "k <-\nl <-"),
    ("merge update and insert", "duckdb",
     "MERGE INTO mart.dim AS d USING raw.src AS s ON d.id = s.id WHEN MATCHED THEN UPDATE SET val = s.val WHEN NOT MATCHED THEN INSERT (id, val, n) VALUES (s.id, s.val, 0)",
     ["raw.src"], ["mart.dim"], "val <- raw.src.val\nid <- raw.src.id\nn <-\n* <- mart.dim.id JOIN, raw.src.id JOIN"),
    ("merge branches differ", "snowflake",
     "MERGE INTO mart.dim d USING raw.src s ON d.id = s.id WHEN MATCHED AND s.extra > 1 THEN UPDATE SET d.val = d.val + s.val, d.n = 1 WHEN NOT MATCHED THEN INSERT (id, val) VALUES (s.id, s.extra)",
     ["raw.src"], ["mart.dim"],
     "val <- mart.dim.val T, raw.src.val T, raw.src.extra\nn <-\nid <- raw.src.id\n* <- mart.dim.id JOIN, raw.src.id JOIN, raw.src.extra FILTER"),
    ("merge using subquery", "bigquery",
     "MERGE mart.dim d USING (SELECT id, max(val) AS m FROM raw.src GROUP BY id) s ON d.id = s.id WHEN MATCHED THEN UPDATE SET n = m",
     ["raw.src"], ["mart.dim"], "n <- raw.src.val A\n* <- mart.dim.id JOIN, raw.src.id JOIN, raw.src.id GROUP"),
    ("merge delete", "databricks", "MERGE INTO mart.dim d USING raw.src s ON d.id = s.id WHEN MATCHED AND s.extra = 'x' THEN DELETE",
     ["raw.src"], ["mart.dim"], "* <- mart.dim.id JOIN, raw.src.id JOIN, raw.src.extra FILTER"),
    ("merge star by name", "databricks",
     "MERGE INTO mart.dim d USING raw.src s ON d.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
     ["raw.src"], ["mart.dim"], "id <- raw.src.id\nval <- raw.src.val\n* <- mart.dim.id JOIN, raw.src.id JOIN"),
    ("merge star by position", "duckdb", "MERGE INTO u USING (SELECT d, b FROM u) s ON u.b = s.b WHEN NOT MATCHED THEN INSERT *",
     ["u"], ["u"], "b <- u.d\nd <- u.b\n* <- u.b JOIN"),
    ("merge insert without list", "duckdb", "MERGE INTO u USING t ON u.b = t.b WHEN NOT MATCHED THEN INSERT VALUES (t.b, t.a + 1)",
     ["t"], ["u"], "b <- t.b\nd <- t.a T\n* <- u.b JOIN, t.b JOIN"),
    ("merge insert row", "bigquery", "MERGE u USING (SELECT a AS b, c AS d FROM t) s ON u.b = s.b WHEN NOT MATCHED THEN INSERT ROW",
     ["t"], ["u"], "b <- t.a\nd <- t.c\n* <- u.b JOIN, t.a JOIN"),
    ("merge not matched by source", "tsql",
     "MERGE INTO u USING t ON u.b = t.b WHEN NOT MATCHED BY SOURCE AND u.d > 3 THEN DELETE WHEN MATCHED THEN UPDATE SET u.d = t.a;",
     ["t"], ["u"], "d <- t.a\n* <- u.b JOIN, t.b JOIN, u.d FILTER"),
    ("update", "duckdb", "UPDATE t SET a = b + 1 WHERE c > 2", [], ["t"], "a <- t.b T\n* <- t.c FILTER"),
    ("update from", "postgres", "UPDATE t SET a = u.d FROM u WHERE u.b = t.b", ["u"], ["t"], "a <- u.d\n* <- u.b FILTER, t.b FILTER"),
    ("update alias", "postgres", "UPDATE t AS x SET a = x.b, c = u.d FROM u WHERE u.b = x.b", ["u"], ["t"],
     "a <- t.b\nc <- u.d\n* <- u.b FILTER, t.b FILTER"),
    ("update scalar subquery", "duckdb", "UPDATE t SET a = (SELECT max(d) FROM u WHERE u.b = t.b)", ["u"], ["t"],
     "a <- u.d A\n* <- u.b FILTER, t.b FILTER"),
    ("update row", "postgres", "UPDATE t SET (a, c) = (SELECT b, d FROM u WHERE u.b = t.b)", ["u"], ["t"],
     "a <- u.b\nc <- u.d\n* <- u.b FILTER, t.b FILTER"),
    ("update tsql from alias", "tsql", "UPDATE x SET x.a = u.d FROM t AS x JOIN u ON u.b = x.b", ["u"], ["t"],
     "a <- u.d\n* <- u.b JOIN, t.b JOIN"),
    ("update mysql join", "mysql", "UPDATE t JOIN u ON t.b = u.b SET t.a = u.d", ["u"], ["t"], "a <- u.d\n* <- t.b JOIN, u.b JOIN"),
    ("update with cte", "postgres", "WITH q AS (SELECT max(d) AS m FROM u) UPDATE t SET a = q.m FROM q", ["u"], ["t"], "a <- u.d A"),
    ("delete", "duckdb", "DELETE FROM t WHERE a = 1", [], ["t"], "* <- t.a FILTER"),
    ("delete using", "postgres", "DELETE FROM t USING u WHERE u.b = t.b AND u.d > 1", ["u"], ["t"],
     "* <- u.b FILTER, t.b FILTER, u.d FILTER"),
    ("delete in subquery", "snowflake", "DELETE FROM t WHERE b IN (SELECT b FROM u)", ["u"], ["t"], "* <- t.b FILTER, u.b FILTER"),
    ("delete through a cte", "tsql",
     "WITH q AS (SELECT a, ROW_NUMBER() OVER (PARTITION BY b ORDER BY c) AS rn FROM t) DELETE FROM q WHERE rn > 1",
     ["t"], ["t"], "* <- t.b FILTER, t.c FILTER"),
    ("update a derived table", "tsql", "UPDATE q SET a = 0 FROM (SELECT * FROM t WHERE c > 5) AS q", ["t"], ["t"], "* <- t.c FILTER"),
    ("truncate", "duckdb", "TRUNCATE TABLE t", [], ["t"], ""),
    ("drop", "duckdb", "DROP TABLE IF EXISTS mart.x", [], ["mart.x"], ""),
    ("alter", "duckdb", "ALTER TABLE mart.x ADD COLUMN k INTEGER", [], ["mart.x"], ""),
    ("copy into", "snowflake", "COPY INTO mart.x FROM @stage/files", [], ["mart.x"], ""),
    ("set", "duckdb", "SET memory_limit = '1GB'", [], [], ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "sql", "tables_in", "tables_out", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_statement(expected_edges, dialect, sql, tables_in, tables_out, expected):
    result = trace(sql, dialect=dialect, schemas=SCHEMAS)
    edges, _ = expected_edges.parse(expected)
    assert expected_edges.found(result.edges) == edges
    assert list(result.tables_in) == tables_in
    assert list(result.tables_out) == tables_out
    assert {edge.output_dataset for edge in result.edges} <= set(tables_out)


def test_hive_multi_insert_keeps_its_targets_apart():
    sql = "FROM raw.src INSERT INTO t SELECT id, val, extra INSERT INTO u SELECT val, id WHERE extra > 1"
    result = trace(sql, dialect="hive", schemas=SCHEMAS)
    filters = [edge for edge in result.edges if edge.kind is EdgeKind.FILTER]
    assert [(edge.output_dataset, edge.input_column) for edge in filters] == [("u", "extra")]
    assert {(e.output_column, e.input_column) for e in result.edges if e.output_dataset == "t"} == {
        ("a", "id"), ("b", "val"), ("c", "extra"),
    }  # fmt: skip


def test_conditional_multi_insert_filters_each_branch():
    sql = "INSERT ALL WHEN val > 1 THEN INTO u (b) VALUES (id) ELSE INTO t (a, c) SELECT id, val FROM raw.src"
    result = trace(sql, dialect="snowflake", schemas=SCHEMAS)
    into_u = {(e.output_column, e.input_column, e.kind) for e in result.edges if e.output_dataset == "u"}
    assert into_u == {("b", "id", EdgeKind.IDENTITY), (None, "val", EdgeKind.FILTER)}
    into_t = {(e.output_column, e.input_column) for e in result.edges if e.output_dataset == "t"}
    assert into_t == {("a", "id"), ("c", "val")}


def test_bare_select_fills_its_target():
    result = trace("SELECT a AS x FROM t", dialect="duckdb", schemas=SCHEMAS, target="Staging.X")
    assert result.tables_out == ("staging.x",)
    assert {edge.output_dataset for edge in result.edges} == {"staging.x"}
    assert result.columns == ("x",)


def test_target_columns_name_the_output_by_position():
    result = trace(
        "SELECT a + 1, b FROM t", dialect="duckdb", schemas=SCHEMAS, target="s.x", target_columns=["(a + 1)", "b"]
    )
    assert result.columns == ("(a + 1)", "b")
    assert [(edge.output_column, edge.input_column) for edge in result.edges] == [("(a + 1)", "a"), ("b", "b")]


def test_star_of_an_unknown_table_stays_a_star():
    result = trace("SELECT * FROM nowhere", dialect="duckdb", schemas={})
    assert result.columns == ("*",)
    assert [(e.output_column, e.input_dataset, e.input_column) for e in result.edges] == [("*", "nowhere", "*")]


def test_unresolved_names_its_candidates():
    edge = trace("SELECT x FROM n1, n2", dialect="duckdb", schemas={}).unresolved[0]
    assert edge.input_dataset is None
    assert edge.expression == "x is ambiguous without schemas; candidates: n1, n2"
    assert edge.line == 1


def test_expression_and_line_are_those_of_the_deciding_expression():
    sql = (
        "WITH q AS (\n  SELECT a,\n    sum(b) AS s\n  FROM t\n  WHERE c > 1\n  GROUP BY a)\nSELECT a AS k,\n  s\nFROM q"
    )
    edges = trace(sql, dialect="duckdb", schemas=SCHEMAS, target="m.x").edges
    found = {(e.output_column, e.kind): (e.expression, e.line) for e in edges}
    assert found == {
        ("k", EdgeKind.IDENTITY): ("a", 7),
        ("s", EdgeKind.AGGREGATION): ("SUM(b)", 3),
        (None, EdgeKind.FILTER): ("c > 1", 5),
        (None, EdgeKind.GROUP_BY): ("a", 6),
    }


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT a FROM", "SELECT (1", "SELECT 'x", "", "SELECT 1; SELECT 2"])
def test_what_is_not_one_statement_is_an_error(sql):
    with pytest.raises(LineageError):
        trace(sql, dialect="duckdb", schemas={})


def test_parse_error_has_its_place():
    with pytest.raises(LineageError) as caught:
        trace("SELECT a,\n  b FROM t WHERE WHERE", dialect="duckdb", schemas={})
    assert caught.value.where is not None
    assert caught.value.where.line == 2


def test_a_with_clause_that_writes_is_said():
    with pytest.raises(LineageError, match="WITH clause that changes data"):
        trace(
            "WITH x AS (INSERT INTO u VALUES (1, 2) RETURNING b) SELECT b FROM x", dialect="postgres", schemas=SCHEMAS
        )


def test_a_statement_that_is_not_understood_is_an_error_not_an_empty_lineage():
    with pytest.raises(LineageError, match="CALL"):
        trace("CALL load_everything()", dialect="snowflake", schemas={})


def test_unknown_dialect():
    with pytest.raises(LineageError, match="nosuch"):
        trace("SELECT 1", dialect="nosuch", schemas={})
