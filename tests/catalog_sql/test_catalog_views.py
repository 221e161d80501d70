"""SQL over the catalog: every view on every database, what may be asked, and what is fetched for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from lakecat.catalog.view import ViewType
from lakecat.catalog.views import VIEWS
from lakecat.errors import AccessDeniedError, EngineError, LakecatError, NotFoundError, UsageError
from lakecat.lake import Lake

ARROW = {
    ViewType.TEXT: pa.string(),
    ViewType.INTEGER: pa.int64(),
    ViewType.DOUBLE: pa.float64(),
    ViewType.BOOLEAN: pa.bool_(),
    ViewType.TIMESTAMP: pa.timestamp("us", "UTC"),
}


def rows(lake: Lake, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
    table = lake.query(sql, parameters or None, catalog=True)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_every_view_has_its_columns_and_types_on_every_database(lake: Lake) -> None:
    filled = set()
    for view in VIEWS.values():
        table = lake.query(f"SELECT * FROM {view.name}", catalog=True)
        assert table.column_names == [column.name for column in view.columns]
        assert table.schema.types == [ARROW[column.type] for column in view.columns], view.name
        if table.num_rows:
            filled.add(view.name)
        for column in view.columns:  # alone, with only the joins that it needs itself
            alone = lake.query(f'SELECT "{column.name}" FROM {view.name}', catalog=True)
            assert alone.num_rows == table.num_rows, (view.name, column.name)
    assert set(VIEWS) - filled <= {"positions", "context_properties"}


def test_executions_tell_what_ran(lake: Lake) -> None:
    sql = (
        "SELECT job, state, rows_read, rows_written, error IS NULL, seconds >= 0 FROM executions ORDER BY execution_id"
    )
    found = [row for row in rows(lake, sql) if row[0] != "tag"]
    assert found[0][:4] == ("orders", "COMPLETE", 5, 5)
    failed = [row for row in found if row[1] == "FAILED"]
    assert {row[0] for row in failed} == {"transform:mart.broken"}
    assert all(not fine for *_, fine, _ in failed)
    made = [row for row in found if row[:2] == ("transform:mart.revenue_by_day", "COMPLETE")]
    assert [(row[2], row[3]) for row in made] == [(5, 2), (6, 3)]
    assert all(row[5] for row in found)


def test_what_an_execution_read_and_wrote(lake: Lake) -> None:
    sql = (
        "SELECT i.dataset, i.version, o.dataset, o.version FROM execution_inputs i JOIN execution_outputs o "
        "USING (execution_id) WHERE i.type = 'lakecat.TableVersion' ORDER BY o.version"
    )
    expected = [("raw.orders", n, "mart.revenue_by_day", n) for n in (1, 2)]
    assert [row for row in rows(lake, sql) if row[2] == "mart.revenue_by_day"] == expected
    read = rows(lake, "SELECT split_part(uri, '/', -1), rows FROM sources ORDER BY 1")
    assert read == [("orders-2026-11-01.csv", 3), ("orders-2026-11-02.csv", 2), ("orders-2026-11-03.csv", 1)]


def test_what_each_version_was_made_of(lake: Lake) -> None:
    came = "coalesce(input_dataset, split_part(input_uri, '/', -1))"
    sql = f"SELECT output_dataset, output_version, {came}, input_version, current FROM dataset_lineage WHERE "
    assert rows(lake, f"{sql} input_type <> 'lakecat.Script' ORDER BY ALL") == [
        ("mart.revenue_by_day", 1, "raw.orders", 1, False),
        ("mart.revenue_by_day", 2, "raw.orders", 2, True),
        ("raw.orders", 1, "orders-2026-11-01.csv", None, True),
        ("raw.orders", 1, "orders-2026-11-02.csv", None, True),
        ("raw.orders", 2, "orders-2026-11-03.csv", None, True),
    ]
    assert rows(lake, f"{sql} input_dataset = 'raw.orders' AND current") == [
        ("mart.revenue_by_day", 2, "raw.orders", 2, True)
    ]
    assert rows(lake, f"{sql} output_dataset = 'raw.orders' AND output_version = 2") == [
        ("raw.orders", 2, "orders-2026-11-03.csv", None, True)
    ]
    ids = "SELECT output_artifact_id, input_artifact_id, execution_id FROM dataset_lineage WHERE input_version > 0"
    both = (
        "SELECT o.artifact_id, i.artifact_id, execution_id FROM execution_inputs i JOIN execution_outputs o "
        "USING (execution_id) WHERE i.dataset IS NOT NULL"
    )
    assert sorted(rows(lake, ids)) == sorted(rows(lake, both))


def test_what_people_said(lake: Lake) -> None:
    assert rows(lake, "SELECT dataset, tag, version FROM tags") == [("raw.orders", "prod", 1)]
    labels = rows(lake, 'SELECT dataset, "column", label FROM labels ORDER BY label')
    assert labels == [("raw.orders", None, "gold"), ("raw.orders", "amount", "money")]
    assert rows(lake, 'SELECT owner FROM owners WHERE "column" IS NULL') == [("sales@example.org",)]
    assert rows(lake, "SELECT description, field_id FROM descriptions WHERE field_id IS NULL") == [
        ("every order", None)
    ]


def test_column_lineage_says_what_is_current(lake: Lake) -> None:
    sql = (
        "SELECT output_version, current FROM column_lineage WHERE output_dataset = 'mart.revenue_by_day' "
        "AND output_column = 'revenue' AND input_column = 'amount' ORDER BY 1"
    )
    assert rows(lake, sql) == [(1, False), (2, True)]


def test_joins_ctes_stars_aliases_windows_parameters_and_dialects(lake: Lake) -> None:
    sql = (
        "WITH v AS (SELECT * FROM versions) SELECT d.dataset, count(*) AS n, max(v.rows) FROM datasets d "
        "LEFT JOIN v ON v.dataset = d.dataset AND v.version >= 1 GROUP BY ALL ORDER BY d.dataset"
    )
    assert rows(lake, sql) == [("mart.revenue_by_day", 2, 3), ("raw.orders", 2, 6)]
    assert rows(lake, "SELECT a.version FROM versions a JOIN versions b ON a.version = b.version + 1 "
                "AND a.dataset = b.dataset ORDER BY 1") == [(2,), (2,)]  # fmt: skip
    assert rows(lake, "SELECT version FROM versions WHERE dataset = $d ORDER BY 1", d="raw.orders") == [(1,), (2,)]
    assert rows(lake, "SELECT count(e) FROM executions e WHERE e.job = 'orders'") == [(2,)]
    table = lake.query("SELECT TOP 1 [dataset] FROM [versions] ORDER BY version DESC, dataset", catalog=True,
                       dialect="tsql")  # fmt: skip
    assert table.to_pydict() == {"dataset": ["mart.revenue_by_day"]}


def test_times_are_moments(lake: Lake) -> None:
    ((started,),) = rows(lake, "SELECT min(started_at) FROM executions")
    assert abs((datetime.now(UTC) - started).total_seconds()) < 600
    assert rows(lake, "SELECT count(*) FROM executions WHERE started_at > now() - INTERVAL 1 HOUR") == rows(
        lake, "SELECT count(*) FROM executions"
    )
    assert rows(lake, "SELECT count(*) FROM executions WHERE started_at < now() - INTERVAL 1 HOUR") == [(0,)]
    assert rows(lake, "SELECT count(*) FROM executions WHERE started_at > $t", t=started) == [
        (rows(lake, "SELECT count(*) FROM executions")[0][0] - 1,)
    ]


REFUSED: list[tuple[str, type[LakecatError], str]] = [
    ("SELECT * FROM lakecat_execution", NotFoundError, "no view lakecat_execution"),
    ("SELECT * FROM iceberg_tables", NotFoundError, "no view"),
    ("SELECT * FROM sqlite_master", NotFoundError, "no view"),
    ("SELECT * FROM information_schema.tables", NotFoundError, "no view information_schema.tables"),
    ("SELECT * FROM raw.orders", NotFoundError, "no view raw.orders"),
    ("SELECT * FROM '/etc/passwd'", NotFoundError, "no view /etc/passwd"),
    ("SELECT * FROM read_csv('/etc/passwd')", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM read_text('/etc/passwd')", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM query('SELECT 1')", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM query_table('leases')", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM duckdb_settings()", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM leases, LATERAL (SELECT * FROM glob('/*'))", AccessDeniedError, "only the catalog's views"),
    ("DROP TABLE executions", UsageError, "one SELECT"),
    ("DELETE FROM executions", UsageError, "one SELECT"),
    ("SELECT 1; SELECT 2", UsageError, "one SELECT"),
    ("COPY (SELECT 1) TO '/tmp/x'", UsageError, "one SELECT"),
    ("ATTACH '/tmp/x'", UsageError, "one SELECT"),
    ("WITH x AS (DELETE FROM leases RETURNING *) SELECT * FROM x", UsageError, "one SELECT"),
    ("WITH x AS (INSERT INTO leases SELECT * FROM leases RETURNING *) SELECT * FROM x", UsageError, "one SELECT"),
    ("WITH x AS (UPDATE leases SET fence = 0 RETURNING *) SELECT * FROM x", UsageError, "one SELECT"),
    ("SELECT * INTO x FROM executions", NotFoundError, "no view x"),
    ("PRAGMA database_list", UsageError, "one SELECT"),
    ("SET enable_external_access = true", UsageError, "one SELECT"),
    ("INSTALL httpfs", UsageError, "one SELECT"),
    ("EXPLAIN SELECT * FROM leases", UsageError, "one SELECT"),
    ("SELECT * FROM sniff_csv('/etc/passwd')", AccessDeniedError, "only the catalog's views"),
    ("SELECT * FROM duckdb_secrets()", AccessDeniedError, "only the catalog's views"),
    (
        "SELECT * FROM leases WHERE host IN (SELECT content FROM read_text('/etc/passwd'))",
        AccessDeniedError,
        "only the catalog's views",
    ),
    ("SELECT getenv('HOME')", EngineError, "getenv"),
    ("SELECT (", UsageError, "is not duckdb SQL"),
    ("SELECT joob FROM executions", EngineError, 'column "joob" not found'),
    ("SELECT * FROM executions AT (VERSION => 1)", UsageError, "no versions"),
]


def test_nothing_but_a_select_over_the_views(lake: Lake) -> None:
    for sql, error, what in REFUSED:
        with pytest.raises(error) as caught:
            lake.query(sql, catalog=True)
        assert what.lower() in caught.value.what.lower()


def test_only_the_columns_and_rows_that_are_named_are_fetched(lake: Lake) -> None:
    said: list[str] = []

    @sa.event.listens_for(lake.catalog.database.engine, "before_cursor_execute")
    def listen(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(" ".join(statement.split()))

    lake.query("SELECT job FROM executions WHERE state = 'FAILED' AND started_at > '2026-01-01'", catalog=True)
    (asked,) = [text for text in said if "lakecat_execution" in text]
    assert "lakecat_execution.job" in asked
    assert "lakecat_execution.error" not in asked
    assert "lakecat_execution.state IN" in asked
    assert "lakecat_execution.started_ms >" in asked
    assert "FAILED" not in asked, "values are bound"
    said.clear()
    lake.query("SELECT version FROM versions ORDER BY committed_at DESC LIMIT 1", catalog=True)
    assert any("ORDER BY lakecat_version.committed_ms DESC" in text and "LIMIT" in text for text in said)
