"""Odd and broken statements: an error value or a lineage, never a crash; and sqlglot's own lineage as a cross-check."""

# ruff: noqa: E501 - a case reads best as one line

import importlib.util
import random
import re
from pathlib import Path

import pytest
from sqlglot.lineage import lineage as sqlglot_lineage

from lakecat.lineage import trace, trace_script
from lakecat.lineage.trace import UNEXPECTED
from lakecat.types import EdgeKind

DIALECTS = [
    "duckdb", "snowflake", "bigquery", "spark", "postgres", "tsql", "redshift", "mysql", "hive", "databricks", "clickhouse",
    "oracle", "trino",
]  # fmt: skip
SCHEMAS = {"t": ["a", "b", "c"], "u": ["b", "d"], "arr": ["id", "items", "info"], "wide": ["id", "jan", "feb"]}
ODD = [
    "SELECT", ";", "SELECT *", "SELECT * FROM (VALUES)", "VALUES (1), (2)", "TABLE t", "FROM t", "(SELECT 1)", "((SELECT a FROM t))",
    "SELECT * FROM t, t", "SELECT t.* FROM t t2", "SELECT * EXCLUDE (nope) FROM t", "SELECT * REPLACE (1 AS nope) FROM t",
    "SELECT a AS a, a AS a FROM t", "SELECT 1 FROM t GROUP BY 7", "SELECT a FROM t ORDER BY 0", "SELECT a FROM t ORDER BY -1",
    "WITH x AS (SELECT 1), x AS (SELECT 2) SELECT * FROM x", "WITH RECURSIVE x AS (SELECT * FROM x) SELECT * FROM x",
    "WITH RECURSIVE x AS (SELECT a FROM x UNION SELECT a FROM x) SELECT * FROM x",
    "WITH RECURSIVE x(p, q) AS (SELECT a FROM t UNION ALL SELECT a, b, c FROM x JOIN t ON true) SELECT * FROM x",
    "SELECT * FROM t NATURAL JOIN u NATURAL JOIN wide", "SELECT * FROM t JOIN u USING (nope)", "SELECT nope.* FROM t",
    "SELECT (SELECT (SELECT (SELECT a)))", "SELECT * FROM unnest([1, 2]) AS q(a, b, c)", "SELECT * FROM t AS q(x, y, z, w)",
    "SELECT sum(a) OVER nowin FROM t", "SELECT sum(a) OVER (w) FROM t WINDOW w AS (w)", "SELECT a FROM t UNION SELECT a, b FROM t",
    "INSERT INTO t SELECT * FROM u", "INSERT INTO t (a, a) SELECT 1, 2", "INSERT INTO t DEFAULT VALUES", "CREATE TABLE x AS TABLE t",
    "MERGE INTO t USING t ON true WHEN MATCHED THEN DELETE", "MERGE INTO t USING u ON nope WHEN NOT MATCHED THEN INSERT VALUES (1)",
    "UPDATE nope SET x = y", "UPDATE t SET a = a, a = b", "DELETE FROM (SELECT 1)", "EXPLAIN SELECT 1", "CALL f()", "SHOW TABLES",
    "PIVOT t ON a USING sum(b)", "UNPIVOT t ON nope INTO NAME n VALUE v", "SELECT * FROM t PIVOT (sum(a) FOR b IN (1, 2))",
    "SELECT COLUMNS('[') FROM t", "SELECT COLUMNS(*) + COLUMNS(*) FROM t", 'SELECT "" FROM ""', "SELECT '\0' AS \"\0\" FROM t",
    "SELECT a.b.c.d.e.f FROM a.b.c", "SELECT * FROM a.b.c.d.e", "SELECT table_changes FROM table_changes()", "SELECT ? + $1 + :x + @y FROM t",
    "SELECT CASE END", "SELECT a FROM t LIMIT (SELECT max(a) FROM t)", "SELECT a FROM t FETCH FIRST 5 ROWS ONLY", "DROP TABLE t, u",
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY a MEASURES b AS x PATTERN (z) DEFINE z AS c > 1)", "SELECT EXISTS (SELECT 1)",
]  # fmt: skip


def corpus() -> list[str]:
    found = list(ODD)
    for path in sorted(Path(__file__).parent.glob("test_lineage_*.py")):
        if path.stem in ("test_lineage_select", "test_lineage_expressions", "test_lineage_statements"):
            spec = importlib.util.spec_from_file_location(f"corpus_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found += [case[2] for case in module.CASES]
    return found


def traced(sql: str, dialect: str) -> int:
    """How many statements were traced; asserts that the others say why not."""
    results = trace_script(sql, dialect=dialect, schemas=SCHEMAS)
    for result in results:
        if result.error is not None:
            assert result.error.message
            assert UNEXPECTED not in result.error.message, (dialect, sql, result.error)
            assert result.edges == ()
    return sum(result.error is None for result in results)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_odd_statements(dialect):
    assert sum(traced(sql, dialect) for sql in ODD) > 20


@pytest.mark.parametrize("seed", range(4))
def test_mutated_statements(seed):
    rng = random.Random(f"fuzz {seed}")
    statements = [re.findall(r"'[^']*'|\w+|\S", sql) for sql in corpus()]
    good = 0
    for _ in range(500):
        tokens = list(rng.choice(statements))
        for _ in range(rng.randint(0, 3)):
            place, other = rng.randrange(len(tokens) + 1), rng.choice(statements)
            start = rng.randrange(len(other) + 1)
            if rng.random() < 0.5:
                tokens[place:place] = other[start : start + rng.randint(1, 5)]
            else:
                tokens[place : place + rng.randint(1, 2)] = other[start : start + rng.randint(0, 1)]
        good += traced(" ".join(tokens), rng.choice(DIALECTS))
    assert good > 100


SIMPLE = [
    "SELECT a, b + c AS x FROM t",
    "SELECT q.x, u.d FROM (SELECT a AS x, b FROM t) AS q JOIN u ON q.b = u.b",
    "WITH q AS (SELECT a, sum(b) AS s FROM t GROUP BY a) SELECT a, s * 2 AS y FROM q",
    "SELECT a FROM t UNION ALL SELECT d FROM u",
    "SELECT * FROM (SELECT a, c FROM t) AS q",
    "WITH p AS (SELECT * FROM t), q AS (SELECT a + b AS z, c FROM p) SELECT z, c FROM q",
    "SELECT coalesce(t.a, u.d) AS x, upper(t.c) AS y FROM t LEFT JOIN u ON t.b = u.b",
]


@pytest.mark.parametrize("sql", SIMPLE)
def test_sqlglots_own_lineage_finds_the_same_sources(sql):
    types = {table: dict.fromkeys(columns, "int") for table, columns in SCHEMAS.items()}
    ours = trace(sql, dialect="duckdb", schemas=SCHEMAS)
    for column in ours.columns:
        leaves = {
            (node.expression.name, node.name.split(".")[-1])
            for node in sqlglot_lineage(column, sql, schema=types, dialect="duckdb").walk()
            if not node.downstream
        }
        assert {(e.input_dataset, e.input_column) for e in ours.edges if e.output_column == column} == leaves
        assert EdgeKind.UNRESOLVED not in {e.kind for e in ours.edges}
