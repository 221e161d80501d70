"""Everyday changes of mind: one stream only, from the start, a window again, a job that pauses, a broken neighbour."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from shell_lab import Shell

STREAMS = "[customers, lines]"
JOB = f"""\
connector: sql
target: raw.*
mode: merge
cursor: at
options: {{connection: "sqlite:///shop.db"}}
streams: {STREAMS}
"""


@pytest.fixture
def sold(shop: Path, shell: Shell) -> Path:
    """The example project, and a job with two streams of a database, landed once."""
    change(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, at INTEGER, name TEXT)",
        "CREATE TABLE lines (id INTEGER PRIMARY KEY, at INTEGER, sku TEXT)",
        "INSERT INTO customers VALUES (1, 10, 'a'), (2, 20, 'b')",
        "INSERT INTO lines VALUES (1, 10, 'x')",
    )
    (shop / "ingest" / "sales.yaml").write_text(JOB)
    assert shell("ingest", "-s", "sales").code == 0
    return shop


def change(*statements: str) -> None:
    with closing(sqlite3.connect("shop.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def names(shell: Shell) -> list[str]:
    found = shell("query", "SELECT name FROM raw.customers ORDER BY id", "--json").json["rows"]
    return [row[0] for row in found]


def test_a_refresh_is_only_said_without_yes(sold: Path, shell: Shell) -> None:
    change("UPDATE customers SET name = 'c' WHERE id = 1")
    said = shell("ingest", "-s", "sales", "--stream", "customers", "--refresh")
    assert said.code == 0
    assert "would run: 1 ingest" in said.out
    assert "in place of all rows" in said.out
    assert "--yes" in said.err
    assert names(shell) == ["a", "b"]
    assert shell("ingest", "-s", "sales", "--stream", "customers", "--refresh", "--yes").code == 0
    assert names(shell) == ["c", "b"]
    assert "nothing to do" in shell("ingest", "-s", "sales").out


def test_a_window_is_read_again(sold: Path, shell: Shell) -> None:
    change("UPDATE customers SET name = name || '!'")
    done = shell("ingest", "-s", "sales", "--stream", "cust*", "--from", "15", "--to", "30")
    assert done.code == 0
    assert names(shell) == ["a", "b!"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["ingest", "--refresh", "--yes"], "--select JOB"),
        (["ingest", "--stream", "customers"], "--select JOB"),
        (["ingest", "-s", "sales", "--refresh", "--from", "1", "--yes"], "cannot have a window"),
        (["reset", "absent"], "orders, sales"),
        (["reset", "sales", "--stream", "absent"], "customers, lines"),
    ],
)
def test_what_cannot_be_meant_is_refused(sold: Path, shell: Shell, arguments: list[str], hint: str) -> None:
    result = shell(*arguments)
    assert (result.code, result.out) == (2, "")
    assert hint in result.err


def test_a_slip_in_a_stream_s_name_is_no_failure_of_the_job(sold: Path, shell: Shell) -> None:
    result = shell("ingest", "-s", "sales", "--stream", "absent")
    assert result.code == 1
    assert "it has customers, lines" in result.err
    assert {one["state"] for one in shell("executions", "--json").json["executions"]} == {"COMPLETE"}


def test_what_was_read_is_shown_and_with_yes_forgotten(sold: Path, shell: Shell) -> None:
    shown = shell("reset", "sales", "--json").json
    assert [(one["stream"], one["dataset"], one["forgotten"]) for one in shown["streams"]] == [
        ("customers", "raw.customers", False),
        ("lines", "raw.lines", False),
    ]
    assert "20" in str(shown["streams"][0]["position"])
    change("UPDATE customers SET name = upper(name)", "UPDATE lines SET sku = 'y'")
    assert "nothing to do" in shell("ingest", "-s", "sales").out
    assert "--yes" in shell("reset", "sales", "--stream", "customers").out
    assert "nothing to do" in shell("ingest", "-s", "sales").out
    assert shell("reset", "sales", "--stream", "customers", "--yes").code == 0
    assert "remembered" not in shell("reset", "sales").out  # lines still are
    assert shell("ingest", "-s", "sales").code == 0
    assert names(shell) == ["A", "B"]
    assert shell("query", "SELECT sku FROM raw.lines", "--json").json["rows"] == [["x"]]
    (done,) = [one for one in shell("executions", "--json").json["executions"] if one["job"] == "reset"]
    assert done["state"] == "COMPLETE"


def test_rows_that_are_appended_never_come_twice(stocked: Path, shell: Shell) -> None:
    refused = shell("reset", "orders", "--yes")
    assert refused.code == 2
    assert "lakecat ingest --select orders --refresh" in refused.err
    assert shell("reset", "orders", "--json").json["streams"][0]["files"] == 2
    assert shell("ingest", "-s", "orders", "--refresh", "--yes").code == 0
    assert shell("query", "SELECT count(*) FROM raw.orders", "--json").json["rows"] == [[5]]


def test_a_paused_job_runs_only_when_it_is_named(shop: Path, shell: Shell) -> None:
    file = shop / "ingest" / "orders.yaml"
    file.write_text(file.read_text() + 'paused: true\nschedule: "* * * * *"\n')
    assert "nothing to do" in shell("ingest").out
    shell("run", "--due")
    assert shell("ls", "--json").json["datasets"] == []
    (work, _script) = shell("plan", "--json").json["work"]
    assert (work["runs"], work["reasons"]) == (False, ["paused"])
    assert {one["dataset"]: one["next_due"] for one in shell("status", "--json").json["status"]}["raw.orders"] is None
    for pattern in ("raw.*", "+raw.orders", "*"):
        assert "nothing to do" in shell("ingest", "-s", pattern).out
        assert shell("plan", "-s", pattern, "--json").json["work"][0]["reasons"] == ["paused"]
    assert "nothing to do" in shell("ingest", "--due", "-s", "orders").out
    assert shell("ls", "--json").json["datasets"] == []
    assert shell("plan", "-s", "raw.orders", "--json").json["work"][0]["runs"] is True
    assert shell("ingest", "-s", "orders").code == 0
    assert [one["name"] for one in shell("ls", "--json").json["datasets"]] == ["raw.orders"]


def rebuilt(project: Path, shell: Shell) -> None:
    for file in project.glob("catalog.db*"):
        file.unlink()
    assert shell("catalog", "rebuild", "--yes").code == 0


def test_a_catalog_that_was_rebuilt_knows_what_was_forgotten(sold: Path, shell: Shell) -> None:
    assert shell("reset", "sales", "--yes").code == 0
    change("INSERT INTO customers VALUES (3, 30, 'c')")
    assert shell("ingest", "-s", "sales").code == 0
    rebuilt(sold, shell)
    assert "nothing to do" in shell("ingest", "-s", "sales", "--stream", "customers").out
    change("INSERT INTO customers VALUES (4, 40, 'd')")
    assert shell("ingest", "-s", "sales", "--stream", "customers", "--refresh", "--yes").code == 0
    assert names(shell) == ["a", "b", "c", "d"]


def test_a_refresh_reads_everything_where_the_catalog_lost_count(sold: Path, shell: Shell) -> None:
    assert shell("ingest", "-s", "sales", "--stream", "customers", "--refresh", "--yes").code == 0
    with closing(sqlite3.connect(sold / "catalog.db")) as catalog, catalog:
        lost = catalog.execute("DELETE FROM lakecat_position WHERE stream LIKE 'generation/%'")
        assert lost.rowcount == 1
    change("INSERT INTO customers VALUES (3, 30, 'c')")
    assert shell("ingest", "-s", "sales", "--stream", "customers", "--refresh", "--yes").code == 0
    assert names(shell) == ["a", "b", "c"]


def test_what_removes_files_that_are_gone_is_not_forgotten(shop: Path, shell: Shell) -> None:
    file = shop / "ingest" / "orders.yaml"
    text = "".join(line for line in file.read_text().splitlines(keepends=True) if not line.startswith("mode:"))
    file.write_text(text + "mode: replace_files\ngone: remove\n")
    assert shell("ingest", "-s", "orders").code == 0
    refused = shell("reset", "orders", "--yes")
    assert refused.code == 2
    assert "rows of files that go meanwhile would stay in raw.orders for ever" in refused.err
    assert "lakecat ingest --select orders --refresh" in refused.err


def test_a_bound_keeps_the_zeros_it_begins_with(shop: Path, shell: Shell) -> None:
    change(
        "CREATE TABLE parts (id INTEGER PRIMARY KEY, code TEXT, name TEXT)",
        "INSERT INTO parts VALUES (1, '005', 'a'), (2, '012', 'b'), (3, '020', 'c')",
    )
    (shop / "ingest" / "parts.yaml").write_text(JOB.replace("cursor: at", "cursor: code").replace(STREAMS, "[parts]"))
    assert shell("ingest", "-s", "parts").code == 0
    change("UPDATE parts SET name = name || '!'")
    assert shell("ingest", "-s", "parts", "--from", "010", "--to", "020").code == 0
    rows = shell("query", "SELECT name FROM raw.parts ORDER BY id", "--json").json["rows"]
    assert [row[0] for row in rows] == ["a", "b!", "c"]


def test_a_script_that_is_no_sql_keeps_nothing_from_landing(shop: Path, shell: Shell) -> None:
    (shop / "transforms" / "mart" / "broken.sql").write_text("SELECT FROM WHERE")
    assert shell("ingest").code == 0
    assert shell("ingest", "-s", "raw.orders").code == 0
    assert shell("ingest", "--dry-run").code == 0
    refused = shell("ingest", "-s", "+mart.revenue_by_day")  # what it needs, nobody can know
    assert "broken.sql" in refused.err


def test_what_is_due_lands_beside_a_broken_script_which_is_told(shop: Path, shell: Shell) -> None:
    file = shop / "ingest" / "orders.yaml"
    file.write_text(file.read_text() + 'schedule: "* * * * *"\n')
    (shop / "transforms" / "mart" / "broken.sql").write_text("SELECT FROM WHERE")
    result = shell("run", "--due")
    assert result.code == 1
    assert "broken.sql" in result.err
    assert "1 done, 1 failed" in result.out
    assert [one["name"] for one in shell("ls", "--json").json["datasets"]] == ["raw.orders"]


def test_one_cause_is_told_once_however_many_streams_it_stops(sold: Path, shell: Shell) -> None:
    (sold / "shop.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    result = shell("ingest", "-s", "sales")
    assert result.code == 1
    assert result.err.count("error: ") == 1
    status = shell("status").out
    assert status.count("mend:") <= 1


def test_datasets_that_a_pattern_found_show_their_job_and_its_failure(sold: Path, shell: Shell) -> None:
    (sold / "ingest" / "sales.yaml").write_text(
        JOB.replace("streams: [customers, lines]", 'streams: ["*"]') + 'schedule: "0 0 1 1 *"\n'
    )
    change("INSERT INTO customers VALUES (3, 30, 'c')")
    assert shell("ingest", "-s", "sales").code == 0
    (sold / "shop.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    assert shell("ingest", "-s", "sales").code == 1
    found = {one["dataset"]: one for one in shell("status", "--json").json["status"]}["raw.customers"]
    assert found["job"] == "sales"
    assert found["next_due"] is not None
    assert found["last_run"]["state"] == "FAILED"


def test_a_job_with_patterns_is_selected_by_what_it_fills(sold: Path, shell: Shell) -> None:
    (sold / "ingest" / "sales.yaml").write_text(JOB.replace("streams: [customers, lines]", 'streams: ["*"]'))
    (sold / "transforms" / "mart" / "names.sql").write_text("SELECT name FROM raw.customers")
    for selector in ("raw.customers", "+mart.names"):
        assert [one["name"] for one in shell("plan", "-s", selector, "--json").json["work"]][:2] == ["sales", "sales"]
    change("INSERT INTO customers VALUES (3, 30, 'c')")
    assert shell("ingest", "-s", "raw.lines").code == 0
    assert names(shell) == ["a", "b", "c"]
    assert {one["name"] for one in shell("plan", "-x", "sales", "--json").json["work"]} == {
        "orders", "mart.names", "mart.revenue_by_day",
    }  # fmt: skip


def test_a_job_that_cannot_be_read_keeps_no_other_from_landing(shop: Path, shell: Shell) -> None:
    broken = shop / "ingest" / "broken.yaml"
    broken.write_text("target: raw.broken\nmode: apend\n")
    for command in (["ingest"], ["run", "--due"]):
        result = shell(*command)
        assert result.code == 1
        assert "broken.yaml:2:1: key 'mode'" in result.err
    assert [one["name"] for one in shell("ls", "--json").json["datasets"]] == ["mart.revenue_by_day", "raw.orders"]
    assert shell("ingest", "-s", "orders").code == 0
    for command in (["ingest", "-s", "broken"], ["plan"]):
        refused = shell(*command)
        assert refused.code == 2
        assert "broken.yaml" in refused.err


def test_a_table_that_was_dropped_at_the_source_is_told(sold: Path, shell: Shell) -> None:
    (sold / "ingest" / "sales.yaml").write_text(JOB.replace("streams: [customers, lines]", 'streams: ["*"]'))
    change("DROP TABLE lines", "INSERT INTO customers VALUES (3, 30, 'c')")
    outcomes = shell("ingest", "-s", "sales", "--json").json["outcomes"]
    assert [(one["dataset"], one["state"]) for one in outcomes] == [("raw.lines", "nothing"), ("raw.customers", "done")]
    assert outcomes[0]["reasons"] == ["the source has no stream for it any more"]
    assert shell("query", "SELECT count(*) FROM raw.lines", "--json").json["rows"] == [[1]]
