"""Files are skipped by the query's own predicates, and never change its result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import lakecat.engines.duckdb as engine_module
from lakecat.errors import ObjectMissingError
from lakecat.tables import read

NAN = float("nan")


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory, lake_type: Any) -> Iterator[Any]:
    """``raw.t`` and ``raw.u``: nine and five files of two rows, each file with a range, NULLs or NaNs of its own."""
    lake = lake_type(tmp_path_factory.mktemp("pruned"))
    x = [0, 1, 10, 11, 20, 21, 30, 31, None, None, 40, None, 5, 35, -5, -6, 50, 51]
    f = [0.5, 1.5, NAN, NAN, 2.5, NAN, None, None, NAN, None, 7.0, 8.0, 9.0, -1.0, 0.0, -0.0, float("inf"), 3.0]
    lake.create(
        "raw.t",
        pa.table(
            {
                "k": pa.array([i % 7 for i in range(18)], pa.int32()),
                "x": pa.array(x, pa.int64()),
                "f": pa.array(f, pa.float64()),
                "s": pa.array([None if v is None else f"s{v:03d}" if v >= 0 else "" for v in x]),
                "d": pa.array([None if v is None else dt.date(2020, 1, 1) + dt.timedelta(v) for v in x]),
            }
        ),
        file_rows=2,
    )
    lake.create(
        "raw.u",
        pa.table(
            {
                "k": pa.array([0, 1, 2, 3, None, 5, 6, 6, 9, 10], pa.int32()),
                "x": pa.array([0, 10, 20, None, None, 35, 40, 41, 50, 99], pa.int64()),
                "y": pa.array([1, 2, 3, 4, 5, 6, None, 8, 9, 10], pa.int64()),
            }
        ),
        file_rows=2,
    )
    lake.create(
        "raw.days",
        pa.table({"ts": [dt.datetime(2013, 1, d, h) for d in range(1, 6) for h in (0, 12)], "n": list(range(10))}),  # noqa: DTZ001
        ["day(ts)"],
    )
    lake.plain = duckdb.connect()
    lake.plain.execute("CREATE SCHEMA raw")
    for name in ("raw.t", "raw.u", "raw.days"):
        lake.plain.register("rows", read(lake.store, lake.scan(name)).read_all())
        lake.plain.execute(f"CREATE TABLE {name} AS FROM rows")
    yield lake
    lake.plain.close()


def opened(lake: Any, sql: str, **parameters: object) -> dict[str, int]:
    """How many files of each table the query may open."""
    with lake.engine.session(lake.relations()) as session:
        con = session._open()
        return {str(relation.name): len(relation.sizes) for relation in session._inputs(con, sql, parameters)}


@pytest.mark.parametrize(
    ("sql", "files"),
    [
        ("SELECT * FROM raw.t", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x = 10", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE 10 = x", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE X >= 50", {"raw.t": 1}),
        ("SELECT * FROM raw.t a WHERE a.x BETWEEN 20 AND 21 AND a.k > -1", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE raw.t.x IN (0, 51)", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE (x = 0 AND k < 100) OR x = 51", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE x = 0 OR k * 2 = 4", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE NOT x = 10", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x + 0 = 10", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x::VARCHAR = '10'", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x = 10.5", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x = 10.0", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE s = 's050'", {"raw.t": 1}),
        ("SELECT * FROM raw.t WHERE d = '2020-01-11'", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE d >= DATE '2020-03-01' - INTERVAL 10 DAYS", {"raw.t": 1}),
        ("SELECT * FROM raw.t WHERE x IS NULL", {"raw.t": 2}),
        ("SELECT * FROM raw.t WHERE x IS NOT NULL", {"raw.t": 8}),
        ("SELECT * FROM raw.t WHERE x = (SELECT 10)", {"raw.t": 9}),
        ("SELECT * FROM raw.t JOIN raw.u USING (k) WHERE y = 10", {"raw.t": 9, "raw.u": 1}),
        ("SELECT * FROM raw.t JOIN raw.u USING (k) WHERE k = 10", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t LEFT JOIN raw.u u ON t.k = u.k AND u.y = 10", {"raw.t": 9, "raw.u": 1}),
        ("SELECT * FROM raw.t t LEFT JOIN raw.u u ON t.k = u.k AND t.x = 10", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t FULL JOIN raw.u u ON t.k = u.k AND t.x = 10", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t RIGHT JOIN raw.u u ON t.k = u.k AND t.x = 10", {"raw.t": 2, "raw.u": 5}),
        ("SELECT * FROM raw.t t LEFT JOIN raw.u u ON t.k = u.k WHERE u.y IS NULL", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t LEFT JOIN raw.u u ON t.k = u.k WHERE u.y = 10", {"raw.t": 9, "raw.u": 1}),
        ("SELECT * FROM raw.t t ASOF JOIN raw.u u ON t.x >= u.x WHERE u.y = 10", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t POSITIONAL JOIN raw.u u WHERE u.y = 10", {"raw.t": 9, "raw.u": 5}),
        ("SELECT * FROM raw.t t ANTI JOIN raw.u u ON t.k = u.k WHERE t.x = 10", {"raw.t": 9, "raw.u": 5}),
        (
            "SELECT * FROM raw.t WHERE x = 10 AND EXISTS (SELECT 1 FROM raw.u WHERE y = 10 AND u.k = t.k)",
            {"raw.t": 2, "raw.u": 1},
        ),
        (
            "SELECT * FROM raw.t WHERE NOT EXISTS (SELECT 1 FROM raw.u WHERE y = 10 AND u.k = t.k)",
            {"raw.t": 9, "raw.u": 1},
        ),
        ("SELECT * FROM raw.t WHERE EXISTS (SELECT 1 FROM raw.u WHERE s = 's050')", {"raw.t": 9, "raw.u": 5}),
        ("WITH b AS (SELECT * FROM raw.t) SELECT * FROM b WHERE x = 50", {"raw.t": 1}),
        ("WITH b AS (SELECT x AS z FROM raw.t) SELECT * FROM b c WHERE c.z = 50", {"raw.t": 1}),
        ("WITH b AS (SELECT x + 1 AS x FROM raw.t) SELECT * FROM b WHERE x = 50", {"raw.t": 9}),
        ("WITH b AS (SELECT * FROM raw.t) SELECT * FROM b WHERE x = 50 UNION ALL SELECT * FROM b", {"raw.t": 9}),
        ("WITH b AS (SELECT * FROM raw.t), c AS (SELECT * FROM b) SELECT * FROM c WHERE x = 50", {"raw.t": 1}),
        ("WITH b AS (SELECT * FROM raw.t LIMIT 3) SELECT * FROM b WHERE x = 50", {"raw.t": 9}),
        ("WITH b AS (SELECT *, row_number() OVER () AS r FROM raw.t) SELECT * FROM b WHERE x = 50", {"raw.t": 9}),
        ("WITH b(x, k) AS (SELECT k, x FROM raw.t) SELECT * FROM b WHERE x = 50", {"raw.t": 9}),
        ("SELECT * FROM (SELECT k, x FROM raw.t) q(x, k) WHERE x = 50", {"raw.t": 9}),
        ("SELECT * FROM (SELECT * EXCLUDE (x), k AS x FROM raw.t) WHERE x = 50", {"raw.t": 9}),
        ("SELECT * FROM (SELECT * REPLACE (k AS x) FROM raw.t) WHERE x = 50", {"raw.t": 9}),
        ("SELECT * FROM (SELECT *, k AS x FROM raw.t) q WHERE q.k = 50", {"raw.t": 0}),
        ("SELECT * FROM (SELECT i.* FROM raw.t AS i) AS b WHERE b.x = 50", {"raw.t": 1}),
        # A lateral join: the star is of the table outside.
        ("SELECT b.x FROM raw.u AS a JOIN (SELECT a.* FROM raw.t AS i) AS b ON b.x = 0", {"raw.t": 9, "raw.u": 5}),
        ("SELECT b.x FROM raw.u AS a JOIN (SELECT a.x FROM raw.t AS i) AS b ON b.x = 0", {"raw.t": 9, "raw.u": 5}),
        ("SELECT b.y FROM raw.u AS a JOIN (SELECT y FROM raw.t AS i) AS b ON b.y = 0", {"raw.t": 9, "raw.u": 5}),
        ("SELECT max(x) FROM (SELECT max(x) AS x FROM raw.t) WHERE x = 10", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x = 10 UNION SELECT * FROM raw.t WHERE x = 50", {"raw.t": 3}),
        ("SELECT * FROM raw.t WHERE x = 10 UNION SELECT * FROM raw.t", {"raw.t": 9}),
        ("SELECT * FROM raw.t a JOIN raw.t b ON a.k = b.k WHERE a.x = 10 AND b.x = 50", {"raw.t": 3}),
        ("SELECT * FROM raw.t a, raw.t b WHERE a.x = 10", {"raw.t": 9}),
        ("SELECT * FROM raw.t AS q(x, k) WHERE x = 50", {"raw.t": 9}),
        ("SELECT * FROM raw.t WHERE x = 50 USING SAMPLE 2 ROWS", {"raw.t": 9}),
        ("SELECT * FROM raw.t TABLESAMPLE 2 ROWS WHERE x = 50", {"raw.t": 9}),
        ("SELECT count(*) FILTER (WHERE x = 10) FROM raw.t", {"raw.t": 9}),
        ("SELECT k, x FROM raw.t GROUP BY ALL HAVING x = 10", {"raw.t": 9}),
        ("SELECT x, row_number() OVER () AS r FROM raw.t QUALIFY x = 10", {"raw.t": 9}),
        ("SELECT CASE WHEN x = 10 THEN 1 END FROM raw.t", {"raw.t": 9}),
        ("SELECT * FROM raw.days WHERE ts >= '2013-01-03' AND ts < '2013-01-04'", {"raw.days": 1}),
        ("SELECT * FROM raw.days WHERE ts >= DATE '2013-01-05'", {"raw.days": 1}),
        ("FROM raw.t WHERE x = 50", {"raw.t": 1}),
        (
            "SELECT * FROM raw.t WHERE x = 50 UNION ALL FROM query_table('raw.t')",
            {"raw.t": 9, "raw.u": 5, "raw.days": 5},
        ),
    ],
)
def test_number_of_files_that_may_be_opened(pruned: Any, sql: str, files: dict[str, int]) -> None:
    assert opened(pruned, sql) == files
    assert assert_same(pruned, sql)


def test_parameters_prune_as_literals_do(pruned: Any) -> None:
    assert opened(pruned, "SELECT * FROM raw.t WHERE x = $x", x=10) == {"raw.t": 2}
    assert opened(pruned, "SELECT * FROM raw.t WHERE d = $d", d=dt.date(2020, 1, 11)) == {"raw.t": 2}
    assert opened(pruned, "SELECT * FROM raw.t WHERE x = $x", x=None) == {"raw.t": 9}
    assert opened(pruned, "SELECT * FROM raw.t WHERE x = $x", x="10") == {"raw.t": 9}
    assert opened(pruned, "SELECT * FROM raw.t WHERE x = $x", x=10.5) == {"raw.t": 9}


def test_skipped_files_are_really_not_opened(lake: Any) -> None:
    rows = pa.table({"ts": [dt.datetime(2013, 1, d) for d in (1, 2, 3)], "n": [1, 2, 3]})  # noqa: DTZ001
    lake.create("raw.days", rows, ["day(ts)"])
    for file in (lake.root / "lake").rglob("*.parquet"):
        if pq.read_table(file).column("n").to_pylist() != [2]:
            file.unlink()
    assert lake.rows("SELECT n FROM raw.days WHERE ts = '2013-01-02'") == [{"n": 2}]
    with pytest.raises(ObjectMissingError, match=r"raw\.days"):
        lake.rows("SELECT n FROM raw.days")


def assert_same(lake: Any, sql: str) -> bool:
    """The same rows as plain DuckDB gives over plain tables; False when the query fails there."""
    try:
        expected = sorted(map(repr, lake.plain.sql(sql).to_arrow_table().to_pylist()))
    except duckdb.Error:
        return False
    if "SAMPLE" not in sql and "LIMIT" not in sql and "row_number" not in sql:
        with lake.engine.session(lake.relations()) as session:
            answer = session.query(sql, storable=False).read_all()
        assert sorted(map(repr, answer.to_pylist())) == expected
    return True


JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")


@pytest.mark.parametrize("first", JOINS)
@pytest.mark.parametrize("second", JOINS)
def test_every_pair_of_joins_with_a_predicate_at_every_place(pruned: Any, first: str, second: str) -> None:
    skipped = 0
    for table, column in (("raw.t", "a.x"), ("raw.u", "b.x"), ("raw.u", "c.x")):
        for test in ("= 20", "IS NULL"):
            for place in ("on first", "on second", "where"):
                if place == "on first" and column == "c.x":
                    continue
                here = {place: f"{column} {test}"}
                sql = (
                    f"SELECT * FROM raw.t a {first} raw.u b ON a.k = b.k AND {here.get('on first', 'TRUE')}"
                    f" {second} raw.u c ON b.k = c.k AND {here.get('on second', 'TRUE')}"
                    f" WHERE {here.get('where', 'TRUE')}"
                )
                assert assert_same(pruned, sql)
                skipped += opened(pruned, sql)[table] < (9 if table == "raw.t" else 5)
    # raw.u is read twice, and nothing is known of its other reading: only predicates on raw.t can skip files.
    assert skipped == sum(
        [first != "FULL JOIN" and first != "LEFT JOIN", second not in ("FULL JOIN", "LEFT JOIN"), True]
        + [(first, second) == ("JOIN", "JOIN")] * 3
    )


numbers = st.sampled_from(
    ["-6", "-5", "0", "1", "5", "10", "10.5", "11.0", "20", "31", "35", "50", "51", "1e1", "NULL"]
)
operators = st.sampled_from(["=", "<", "<=", ">", ">=", "<>", "IS NOT DISTINCT FROM"])


@st.composite
def condition(draw: st.DrawFn, aliases: tuple[str, ...], depth: int = 2) -> str:
    kind = draw(st.integers(0, 11 if depth else 7))
    alias = draw(st.sampled_from(aliases))
    # Unqualified names are ambiguous, and so an error, where two relations are joined.
    prefix = draw(st.sampled_from([f"{alias}.", ""])) if len(aliases) == 1 else f"{alias}."
    column = prefix + draw(st.sampled_from(["x", "x", "x", "k"]))
    match kind:
        case 0 | 1 | 2:
            return f"{column} {draw(operators)} {draw(numbers)}"
        case 3:
            return f"{draw(numbers)} {draw(operators)} {column}"
        case 4:
            return f"{column} BETWEEN {draw(numbers)} AND {draw(numbers)}"
        case 5:
            return f"{column} IN ({', '.join(draw(st.lists(numbers, min_size=1, max_size=3)))})"
        case 6:
            return f"{column} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        case 7:
            return f"coalesce({column}, 10) {draw(operators)} {draw(numbers)}"
        case 8:
            return f"NOT ({draw(condition(aliases, depth - 1))})"
        case 9:
            return f"({draw(condition(aliases, depth - 1))} OR {draw(condition(aliases, depth - 1))})"
        case 10:
            inner = draw(condition(("i",), depth - 1))
            return (
                f"{draw(st.sampled_from(['', 'NOT ']))}EXISTS (SELECT 1 FROM raw.u i WHERE i.k = {alias}.k AND {inner})"
            )
    return f"({draw(condition(aliases, depth - 1))} AND {draw(condition(aliases, depth - 1))})"


@st.composite
def relation(draw: st.DrawFn, alias: str, depth: int) -> str:
    table = draw(st.sampled_from(["raw.t", "raw.u"]))
    kind = draw(st.integers(0, 5 if depth else 0))
    if kind < 4:
        return f"{table} AS {alias}"
    items = draw(
        st.sampled_from(
            ["*", "k, x", "x AS k, k AS x", "i.*", "k, x + 1 AS x", "DISTINCT k, x", "max(k) AS k, x", "i.x, i.k"]
        )
    )
    where = f" WHERE {draw(condition(('i',), 1))}" if draw(st.booleans()) else ""
    tail = " GROUP BY x" if "max" in items else draw(st.sampled_from(["", "", "", " ORDER BY k, x LIMIT 3"]))
    return f"(SELECT {items} FROM {draw(relation('i', depth - 1))}{where}{tail}) AS {alias}"


@st.composite
def query(draw: st.DrawFn) -> str:
    join = draw(
        st.sampled_from(
            ["", "", "JOIN", *["LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] * 2, "SEMI JOIN", "ANTI JOIN", "CROSS JOIN"]
        )
    )
    source, aliases = draw(relation("a", 2)), ("a",)
    if join:
        aliases = ("a", "b")
        source += f" {join} {draw(relation('b', 1))}"
        if join != "CROSS JOIN":
            extra = f" AND {draw(condition(aliases, 1))}" if draw(st.booleans()) else ""
            source += f" ON a.k = b.k{extra}"
    visible = ("a",) if join in ("SEMI JOIN", "ANTI JOIN") else aliases
    wheres = draw(st.lists(condition(visible), min_size=0, max_size=2))
    where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
    shown = draw(st.sampled_from(["*", "count(*) AS n", "a.x AS x, a.k + 1 AS k"]))
    sql = f"SELECT {shown} FROM {source}{where}"
    if draw(st.integers(0, 3)):
        return sql
    return f"WITH w AS ({sql.replace(' * ', ' a.* ')}) SELECT * FROM w WHERE {draw(condition(('w',), 1))}"


@given(sql=query())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_pruning_never_changes_a_result(pruned: Any, sql: str) -> None:
    event("runs" if assert_same(pruned, sql) else "fails")


def test_floats_follow_sql_order_where_nan_is_the_greatest(pruned: Any) -> None:
    for operator in ("=", "<", "<=", ">", ">="):
        for constant in ("0.0", "-1.0", "2.5", "8", "'NaN'::DOUBLE", "'inf'::DOUBLE", "1e300", "0.1"):
            assert_same(pruned, f"SELECT * FROM raw.t WHERE f {operator} {constant}")
    assert opened(pruned, "SELECT * FROM raw.t WHERE f < -0.5") == {"raw.t": 3}


def test_text_that_sqlglot_cannot_read_still_runs(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.create("raw.t", pa.table({"x": [1, 2]}))
    monkeypatch.setattr(engine_module, "parsed", lambda _: None)
    assert lake.rows("SELECT x FROM raw.t WHERE x = 2") == [{"x": 2}]


@pytest.fixture(autouse=True)
def _no_leftovers(tmp_path: Path) -> Iterator[None]:
    yield
    spill = tmp_path / "spill"
    assert not spill.exists() or not list(spill.iterdir())
