"""What questions cost in a large catalog: on SQLite none of the common ones reads a growing table from end to end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.lake import Lake
from lakecat.types import DatasetName, VersionRef

GROWING = {
    table.name.lower()
    for table in (
        s.artifact, s.artifact_property, s.execution, s.execution_property, s.context, s.event, s.event_path,
        s.association, s.attribution, s.lake_execution, s.version, s.column_edge, s.dataset_edge, s.loaded_file,
        s.schema_column, s.lake_schema, s.search, s.tag_change, s.annotation_change,
    )
}  # fmt: skip

pytestmark = pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)


@contextmanager
def asked(lake: Lake) -> Iterator[list[tuple[str, Any]]]:
    """Every SELECT that reaches the database meanwhile, with its values."""
    found: list[tuple[str, Any]] = []

    def listen(_c: Any, _cursor: Any, statement: str, values: Any, *_rest: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")):
            found.append((statement, values))

    engine = lake.catalog.database.engine
    sa.event.listen(engine, "before_cursor_execute", listen)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", listen)


def scans(lake: Lake, statement: str, values: Any) -> list[str]:
    """Lines of SQLite's plan that read a growing table from end to end, but those that stop at a LIMIT."""
    with lake.catalog.database.engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    aliases = {alias.lower(): table.lower() for table, alias in re.findall(r'"?(\w+)"? AS "?(\w+)"?', statement)}
    sorts = any("TEMP B-TREE FOR ORDER BY" in line for line in plan)
    first_rows = "LIMIT" in statement and "WHERE" not in statement and not sorts
    found = []
    for line in plan:
        match = re.match(r"SCAN (?:TABLE )?(\w+)(.*)", line)
        table = match and aliases.get(match[1].lower(), match[1].lower())
        if match and table in GROWING and not (first_rows and "INDEX" in match[2]):
            found.append(line)
    return found


def check(lake: Lake, questions: dict[str, Callable[[], object]]) -> None:
    found = {}
    for name, question in questions.items():
        with asked(lake) as statements:
            question()
        assert statements, name
        for statement, values in statements:
            if lines := scans(lake, statement, values):
                found[name, statement] = lines
    assert found == {}


QUESTIONS: dict[str, Callable[[Lake], object]] = {
    "failed since yesterday": lambda lake: lake.executions(state="failed", since="yesterday"),
    "since yesterday": lambda lake: lake.executions(since="yesterday"),
    "of a type": lambda lake: lake.executions(type="maintenance"),
    "of a job": lambda lake: lake.executions(job="orders"),
    "of a dataset": lambda lake: lake.executions(dataset="raw.orders"),
    "the newest": lambda lake: lake.executions(limit=5),
    "by id": lambda lake: lake.execution(1),
    "by the beginning of a UUID": lambda lake: lake.execution(lake.executions(limit=1)[0].uuid[:12]),
    "by a version": lambda lake: lake.execution("mart.revenue_by_day@v2"),
    "history": lambda lake: lake.history("raw.orders"),
    "history of a column": lambda lake: lake.history("raw.orders.amount"),
    "search": lambda lake: lake.search("orders"),
    "search for several words": lambda lake: lake.search("order amount"),
    "where by URI": lambda lake: lake.where(lake.where("orders-2026-11-03.csv").uri),
    "compare": lambda lake: lake.compare("mart.revenue_by_day@v1", "mart.revenue_by_day@v2"),
    "impact of a column": lambda lake: lake.impact("raw.orders.amount"),
    "impact of a dataset": lambda lake: lake.impact("raw.orders"),
    "lineage": lambda lake: lake.lineage("mart.revenue_by_day", direction="both"),
    "at a time": lambda lake: lake.catalog.resolve(VersionRef(DatasetName("raw", "orders"), as_of=datetime.now(UTC))),
    "at a tag": lambda lake: lake.catalog.resolve(VersionRef(DatasetName("raw", "orders"), tag="prod")),
}


def test_a_question_reads_no_growing_table_whole(lake: Lake) -> None:
    check(lake, {name: partial(question, lake) for name, question in QUESTIONS.items()})


QUERIES = (
    "SELECT job, state FROM executions ORDER BY started_at DESC LIMIT 10",
    "SELECT job FROM executions ORDER BY execution_id DESC LIMIT 10",
    "SELECT job, error FROM executions WHERE state = 'FAILED' AND started_at > now() - INTERVAL 1 DAY",
    "SELECT state, count(*) FROM executions WHERE started_at >= '2026-01-01' GROUP BY 1",
    "SELECT * FROM executions WHERE state = 'FAILED' ORDER BY started_at DESC LIMIT 5",
    "SELECT * FROM executions WHERE type = 'lakecat.Ingest' ORDER BY execution_id DESC LIMIT 5",
    "SELECT * FROM executions WHERE job = 'orders'",
    "SELECT * FROM executions WHERE uuid = 'x'",
    "SELECT dataset, version FROM versions ORDER BY committed_at DESC LIMIT 10",
    "SELECT * FROM versions WHERE committed_at BETWEEN '2026-01-01' AND '2026-01-02'",
    "SELECT * FROM versions WHERE dataset = 'raw.orders'",
    "SELECT * FROM versions WHERE dataset = 'raw.orders' AND version = 1",
    "SELECT * FROM columns WHERE dataset = 'raw.orders'",
    "SELECT * FROM datasets WHERE dataset = 'raw.orders'",
    "SELECT * FROM execution_inputs WHERE execution_id = 2",
    "SELECT * FROM execution_inputs WHERE dataset = 'raw.orders'",
    "SELECT * FROM execution_outputs WHERE dataset IN ('raw.orders', 'mart.revenue_by_day')",
    "SELECT * FROM events WHERE artifact_id = 7",
    "SELECT * FROM events WHERE execution_id IN (7, 8)",
    "SELECT * FROM artifacts ORDER BY created_at DESC LIMIT 10",
    "SELECT * FROM artifacts WHERE uri = 's3://lake/x'",
    "SELECT * FROM artifact_properties WHERE artifact_id = 7",
    "SELECT * FROM executions WHERE run_key = 'x'",
    "SELECT * FROM dataset_lineage WHERE output_dataset = 'raw.orders'",
    "SELECT output_dataset FROM dataset_lineage WHERE input_dataset = 'raw.orders' AND current",
    "SELECT * FROM dataset_lineage WHERE input_uri = 's3://lake/x'",
    "SELECT * FROM dataset_lineage WHERE execution_id = 2",
    "SELECT * FROM column_lineage WHERE output_dataset = 'raw.orders'",
    "SELECT * FROM column_lineage WHERE input_dataset = 'raw.orders'",
    "SELECT * FROM files WHERE uri = 's3://lake/x'",
    "SELECT * FROM tags WHERE dataset = 'raw.orders'",
    "SELECT * FROM labels WHERE label = 'gold'",
    "SELECT job, version FROM execution_outputs JOIN executions USING (execution_id) WHERE dataset = 'raw.orders'",
    "SELECT job FROM versions v LEFT JOIN executions e USING (execution_id) WHERE v.dataset = 'raw.orders'",
)


def test_a_query_of_the_catalog_reads_no_growing_table_whole(lake: Lake) -> None:
    check(lake, {sql: partial(lake.query, sql, catalog=True) for sql in QUERIES})


def test_a_query_of_everything_is_told_from_these(lake: Lake) -> None:
    """The check sees what it should: without a condition all is read."""
    with asked(lake) as statements:
        lake.query("SELECT job, error FROM executions WHERE error LIKE '%x%'", catalog=True)
    assert [line for statement, values in statements for line in scans(lake, statement, values)]
