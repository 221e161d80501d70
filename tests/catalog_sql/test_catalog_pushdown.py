"""What is left to the catalog database never changes an answer: the same query over everything answers the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.config import EngineSettings
from lakecat.engines.batches import BatchSession, Need
from lakecat.errors import LakecatError
from lakecat.lake import catalog_sql

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NAMES = ["a", "b", "B", "ä", "é", "", "b ", "it's", "%", "\\"]
TIMES = [1_767_225_600_000, 1_767_225_600_001, 0, -62_135_596_800_000, -62_135_596_800_001, 253_402_300_799_999,
         253_402_300_800_000, 2**62, -(2**62)]  # fmt: skip
"""Milliseconds; those before the year 1 and after 9999 are shown as NULL."""


def fill(catalog: Catalog) -> None:
    """Executions with odd names, states and times, leases that share their names, and events between them."""
    kind = catalog.type_ids["lakecat.Ingest"]
    rows, ours = [], []
    for number in range(1, 31):
        rows.append({"id": number, "type_id": kind, "name": f"u{number}", "last_known_state": number % 7})
        ours.append({
            "execution_id": number, "uuid": f"{number:036d}", "type": "lakecat.Ingest",
            "job": NAMES[number % len(NAMES)], "run_key": None if number % 3 else f"k{number % 4}",
            "lease_resource": NAMES[number % 7], "fence": number, "attempt": 0,
            "state": ("RUNNING", "COMPLETE", "FAILED")[number % 3],
            "started_ms": 1_767_225_600_000 + (number % 5) * 500,
            "finished_ms": None if number % 3 == 0 else 1_767_225_600_000 + number * 250,
            "error": None if number % 4 else NAMES[number % 5],
        })  # fmt: skip
    for number, row in enumerate(rows):
        row["create_time_since_epoch"] = TIMES[number % len(TIMES)]
    leases = [
        {"resource": name, "fence": n, "held": n % 2 == 0, "host": "h", "pid": n, "user_name": name, "command": "c",
         "acquired_ms": n, "heartbeat_ms": n, "expires_ms": 1_767_225_600_000 + n * 500}
        for n, name in enumerate(NAMES[:7])
    ]  # fmt: skip
    with catalog.database.engine.begin() as connection:
        connection.execute(sa.insert(s.execution), rows)
        connection.execute(sa.insert(s.lake_execution), ours)
        connection.execute(sa.insert(s.lease), leases)


@pytest.fixture
def filled(catalog_url: URL, tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(catalog_url, create=True) as catalog:
        fill(catalog)
        yield catalog


def everything(catalog: Catalog, sql: str) -> pa.Table:
    """The answer over all rows and columns of the views: nothing is left to the database."""
    text, relations = catalog_sql.read_catalog_query(sql, dialect="duckdb", now=NOW)
    schemas = {name: catalog_sql._schema(view) for name, view in relations.items()}
    with BatchSession(EngineSettings(), schemas) as session, catalog.database.reading() as connection:
        for name, view in relations.items():
            need = Need(columns=tuple(column.name for column in view.columns))
            session._fill(name, catalog_sql._fetch(connection, view, need))
        return session.run(text, {}).read_all()


def answer(catalog: Catalog, sql: str) -> pa.Table:
    with catalog_sql.query_catalog(catalog, EngineSettings(), sql, dialect="duckdb", now=NOW) as reader:
        return reader.read_all()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


TEXT = st.sampled_from(NAMES).map(quoted)
TIME = st.sampled_from(
    ["'2026-01-01'", "TIMESTAMP '2026-01-01 00:00:00.5'", "'2026-01-01 00:00:01.000001+00'", "now() - INTERVAL 1 DAY",
     "now()", "current_date - 1", "'2026-01-01 01:00:00+01:00'"]
)  # fmt: skip
NUMBER = st.sampled_from(["0", "1", "7", "29", "-1", "12.0", "7.5", "9223372036854775807"])
OPERATOR = st.sampled_from(["=", "<", "<=", ">", ">=", "<>"])


def comparisons(alias: str) -> st.SearchStrategy[str]:
    text = st.sampled_from([f"{alias}.job", f"{alias}.state", f"{alias}.error", f"{alias}.run_key"])
    time = st.sampled_from([f"{alias}.started_at", f"{alias}.finished_at"])
    number = st.just(f"{alias}.execution_id")
    anything = st.one_of(text, time, number)
    return st.one_of(
        st.tuples(text, OPERATOR, TEXT).map(" ".join),
        st.tuples(time, OPERATOR, TIME).map(" ".join),
        st.tuples(TIME, OPERATOR, time).map(" ".join),
        st.tuples(number, OPERATOR, NUMBER).map(" ".join),
        st.tuples(text, st.lists(TEXT, min_size=1, max_size=3)).map(lambda t: f"{t[0]} IN ({', '.join(t[1])})"),
        st.tuples(time, TIME, TIME).map(lambda t: f"{t[0]} BETWEEN {t[1]} AND {t[2]}"),
        st.tuples(number, NUMBER, NUMBER).map(lambda t: f"{t[0]} BETWEEN {t[1]} AND {t[2]}"),
        anything.map(lambda c: f"{c} IS NULL"),
        anything.map(lambda c: f"{c} IS NOT NULL"),
        anything.map(lambda c: f"NOT ({c} IS NOT NULL)"),
    )


def conditions(alias: str) -> st.SearchStrategy[str]:
    return st.recursive(
        comparisons(alias),
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda t: f"({t[0]} AND {t[1]})"),
            st.tuples(inner, inner).map(lambda t: f"({t[0]} OR {t[1]})"),
            inner.map(lambda c: f"NOT ({c})"),
        ),
        max_leaves=4,
    )


JOIN = st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"])
SHAPES = st.one_of(
    conditions("e").map(lambda c: f"SELECT * FROM executions e WHERE {c} ORDER BY execution_id"),
    conditions("e").map(lambda c: f"SELECT execution_id FROM executions e WHERE {c} ORDER BY execution_id LIMIT 3"),
    conditions("e").map(
        lambda c: f"SELECT job FROM executions e WHERE {c} ORDER BY started_at DESC, execution_id LIMIT 2 OFFSET 1"
    ),
    conditions("e").map(lambda c: f"SELECT state, count(*) FROM executions e WHERE {c} GROUP BY 1 ORDER BY 1"),
    st.tuples(JOIN, conditions("l"), conditions("l")).map(
        lambda t: (
            f"SELECT l.execution_id AS x, l.job FROM executions l {t[0]} leases r ON r.resource = l.lease "
            f"AND r.fence < 5 AND {t[1]} WHERE {t[2]} ORDER BY 1, 2"
        )
    ),
    st.tuples(JOIN, conditions("r")).map(
        lambda t: (
            f"SELECT * FROM leases l {t[0]} executions r ON r.lease = l.resource AND {t[1]} "
            f"WHERE l.fence >= 2 ORDER BY ALL"
        )
    ),
    st.tuples(st.sampled_from(["JOIN", "LEFT JOIN", "FULL JOIN"]), conditions("r")).map(
        lambda t: (
            f"SELECT l.resource, r.execution_id FROM leases l {t[0]} executions r ON r.lease = l.resource "
            f"WHERE {t[1]} ORDER BY ALL"
        )
    ),
    conditions("e").map(
        lambda c: (
            "SELECT resource FROM leases WHERE NOT EXISTS "
            f"(SELECT 1 FROM executions e WHERE e.lease = resource AND {c}) ORDER BY 1"
        )
    ),
    conditions("e").map(
        lambda c: (
            f"WITH x AS (SELECT * FROM executions) SELECT a.job FROM x a JOIN x e USING (execution_id) WHERE {c} "
            "ORDER BY ALL"
        )
    ),
)


NULLS = st.sampled_from(["", "NULLS FIRST", "NULLS LAST"])
DIRECTION = st.sampled_from(["", "DESC"])
SORTED = st.sampled_from(
    ["finished_at", "started_at", "execution_id", "seconds", "error", "started_at DESC, finished_at"]
)
MORE_SHAPES = st.one_of(
    st.tuples(conditions("e"), SORTED, DIRECTION, NULLS, st.integers(0, 12)).map(
        lambda t: (
            f"SELECT execution_id, job FROM executions e WHERE {t[0]} ORDER BY {t[1]} {t[2]} {t[3]}, execution_id "
            f"LIMIT {t[4]} OFFSET 1"
        )
    ),
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "<>", "="]), TIME, DIRECTION, NULLS, st.integers(1, 9)).map(
        lambda t: (
            f"SELECT execution_id, created_at FROM store_executions WHERE created_at {t[0]} {t[1]} "
            f"ORDER BY created_at {t[2]} {t[3]}, execution_id LIMIT {t[4]}"
        )
    ),
    st.tuples(st.sampled_from(["IS NULL", "IS NOT NULL"]), DIRECTION, NULLS).map(
        lambda t: (
            f"SELECT execution_id, created_at FROM store_executions WHERE created_at {t[0]} "
            f"ORDER BY execution_id {t[1]} {t[2]} LIMIT 4"
        )
    ),
    st.tuples(DIRECTION, NULLS, st.integers(1, 25)).map(
        lambda t: f"SELECT created_at FROM store_executions ORDER BY created_at {t[0]} {t[1]} LIMIT {t[2]}"
    ),
    st.tuples(st.sampled_from(["LIKE", "ILIKE", "NOT LIKE", "SIMILAR TO"]), TEXT, conditions("e")).map(
        lambda t: f"SELECT execution_id FROM executions e WHERE job {t[0]} {t[1]} AND {t[2]} ORDER BY 1 LIMIT 5"
    ),
    st.tuples(TEXT, conditions("e")).map(
        lambda t: (
            f"SELECT execution_id FROM executions e WHERE (job = {t[0]} COLLATE NOCASE OR lower(job) = {t[0]} "
            f"OR error IS NOT DISTINCT FROM {t[0]}) AND {t[1]} ORDER BY 1"
        )
    ),
    st.tuples(conditions("e"), conditions("e")).map(
        lambda t: (
            f"SELECT execution_id FROM executions e WHERE {t[0]} UNION ALL "
            f"SELECT execution_id FROM executions e WHERE {t[1]} ORDER BY 1 LIMIT 9"
        )
    ),
    conditions("e").map(
        lambda c: (
            "SELECT execution_id, row_number() OVER (PARTITION BY state ORDER BY execution_id) FROM executions e "
            f"WHERE {c} QUALIFY count(*) OVER (PARTITION BY state) > 2 ORDER BY 1 LIMIT 4"
        )
    ),
    conditions("e").map(
        lambda c: (
            "SELECT resource, (SELECT max(execution_id) FROM executions e WHERE e.lease = resource AND " + c + ") AS n "
            "FROM leases ORDER BY 1"
        )
    ),
    conditions("e").map(
        lambda c: (
            "SELECT l.resource FROM leases l WHERE l.fence > ALL (SELECT execution_id FROM executions e WHERE "
            + c
            + ") OR l.resource IN (SELECT e.lease FROM executions e WHERE "
            + c
            + ") ORDER BY 1"
        )
    ),
    conditions("e").map(
        lambda c: (
            f"SELECT state, max(job) FILTER ({c}) AS m FROM executions e GROUP BY 1 HAVING bool_or({c}) ORDER BY 1"
        )
    ),
    conditions("e").map(
        lambda c: (
            "WITH RECURSIVE r AS (SELECT execution_id AS n FROM executions e WHERE " + c + " UNION "
            "SELECT r.n + 7 FROM r JOIN executions x ON x.execution_id = r.n + 7) SELECT n FROM r ORDER BY n"
        )
    ),
    conditions("e").map(lambda c: f"SELECT DISTINCT ON (state) state, job FROM executions e WHERE {c} ORDER BY 1, 2"),
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(sql=SHAPES)
def test_the_answer_is_the_same_as_over_everything(filled: Catalog, sql: str) -> None:
    check(filled, sql)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(sql=MORE_SHAPES)
def test_the_answer_is_the_same_in_other_shapes(filled: Catalog, sql: str) -> None:
    check(filled, sql)


FIXED = (
    "SELECT b FROM executions AS e(a, b) ORDER BY a LIMIT 2",
    "SELECT count(b) FROM executions AS e(a, b)",
    "SELECT execution_id FROM executions AS e(state, execution_id) ORDER BY execution_id LIMIT 3",
    "SELECT execution_id FROM executions AS e(state, execution_id) WHERE execution_id = '5' OR state = 5",
    "SELECT count(*) FROM (SELECT * FROM executions TABLESAMPLE 100 PERCENT (bernoulli) LIMIT 7)",
    "SELECT unnest([1, 2]) AS u, execution_id FROM executions ORDER BY execution_id LIMIT 3",
    "SELECT execution_id FROM executions ORDER BY started_at DESC, execution_id LIMIT 10%",
    "SELECT #1 AS first FROM executions ORDER BY 1 LIMIT 2",
    "SELECT COLUMNS('.*_id') FROM executions ORDER BY ALL LIMIT 2",
    "SELECT e FROM executions e ORDER BY execution_id LIMIT 1",
    "FROM executions SELECT job ORDER BY execution_id LIMIT 1",
    "SELECT * FROM executions PIVOT (count(*) FOR state IN ('FAILED', 'COMPLETE') GROUP BY job) ORDER BY ALL",
    "SELECT e.execution_id, l.fence FROM executions e ASOF JOIN leases l ON e.started_at >= l.expires_at ORDER BY ALL",
    "SELECT count(*) FROM executions WHERE execution_id IN (" + ", ".join(map(str, range(40_000))) + ")",
    "SELECT count(*) FROM executions WHERE " + " OR ".join(f"execution_id = {n}" for n in range(0, 1200, 5)),
)


def test_the_answer_is_the_same_whatever_a_text_makes_of_a_view(filled: Catalog) -> None:
    for sql in FIXED:
        assert check(filled, sql), sql


def check(filled: Catalog, sql: str) -> object:
    """The rows, or the kind of error, which both ways give."""

    def told(run: Any) -> Any:
        try:
            return run(filled, sql).to_pylist()
        except LakecatError as err:  # the same error is the same answer
            return type(err).__name__

    found = told(answer)
    assert found == told(everything), sql
    return found


@pytest.mark.parametrize("at", [BatchSession._fill, catalog_sql._array])
def test_ctrl_c_while_rows_are_fetched_leaves_nothing_behind(
    filled: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    at: Callable[..., object],
) -> None:
    """Wherever it comes: while rows are taken from the database, or while they are put into the engine."""

    def fill(_session: BatchSession, _name: object, batches: Iterator[pa.RecordBatch]) -> None:
        assert next(batches).num_rows == 3
        raise KeyboardInterrupt

    def array(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog_sql, "_BATCH_ROWS", 3)
    if at is BatchSession._fill:
        monkeypatch.setattr(BatchSession, "_fill", fill)
    else:
        monkeypatch.setattr(catalog_sql, "_array", array)
    engine = EngineSettings(temp_directory=tmp_path / "spill")
    query = catalog_sql.query_catalog(filled, engine, "SELECT * FROM executions", dialect="duckdb", now=NOW)
    with pytest.raises(KeyboardInterrupt), query:
        pytest.fail("it was not interrupted")
    assert caplog.records == []
    assert list((tmp_path / "spill").iterdir()) == []
    assert filled.database.engine.pool.checkedout() == 0
    monkeypatch.undo()
    assert answer(filled, "SELECT count(*) AS n FROM executions").to_pylist() == [{"n": 30}]


def test_only_first_rows_are_fetched_where_the_database_knows_them(filled: Catalog) -> None:
    """Also by columns that may be NULL, and by times that may be out of reach."""
    said = []

    @sa.event.listens_for(filled.database.engine, "before_cursor_execute")
    def listen(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    for sql in (
        "SELECT job FROM executions ORDER BY started_at DESC LIMIT 10",
        "SELECT job FROM executions WHERE state = 'FAILED' ORDER BY finished_at DESC LIMIT 10",
        "SELECT name FROM store_executions ORDER BY created_at LIMIT 10",
        "SELECT rows FROM versions ORDER BY bytes DESC, version LIMIT 10",
        "SELECT job FROM executions WHERE started_at >= '2026-01-01' AND state IN ('FAILED', 'RUNNING') LIMIT 3",
    ):
        said.clear()
        answer(filled, sql)
        fetched = [text for text in said if "FROM lakecat_version" in text or "xecution" in text]
        assert fetched, sql
        assert all("LIMIT" in text for text in fetched), sql
    said.clear()
    answer(filled, "SELECT execution_id FROM executions ORDER BY job, error LIMIT 3")
    assert not any("LIMIT" in text and "lakecat_execution" in text for text in said), "texts sort in ways of their own"
