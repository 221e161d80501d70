"""What is left to the catalog database never changes an answer: the same query over everything answers the same."""

from __future__ import annotations

from collections.abc import Iterator
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


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(sql=SHAPES)
def test_the_answer_is_the_same_as_over_everything(filled: Catalog, sql: str) -> None:
    def told(run: Any) -> Any:
        try:
            return run(filled, sql).to_pylist()
        except LakecatError as err:  # the same error is the same answer
            return type(err).__name__

    assert told(answer) == told(everything), sql
