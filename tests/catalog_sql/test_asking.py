"""What people ask of a catalog: executions, comparisons, impact, whereabouts, history, differences, lineage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from lakecat.errors import NotFoundError, UsageError
from lakecat.lake import Lake
from lakecat.lake.answers import KeyedDifference
from lakecat.lake.moments import parse_moment
from lakecat.tables import AddColumn, DropColumn, RenameColumn
from lakecat.types import EdgeKind, ExecutionState

SCRIPT = "transforms/mart/revenue_by_day.sql"


def test_which_executions_failed_since_yesterday(lake: Lake) -> None:
    failed = lake.executions(state="failed", since="yesterday")
    assert {one.job for one in failed} == {"transform:mart.broken"}
    assert all(one.error for one in failed)
    assert lake.executions(state="failed", since=datetime.now(UTC) + timedelta(hours=1)) == ()
    assert {one.job for one in lake.executions(type="ingest")} == {"orders"}
    ids = [one.execution_id for one in lake.executions(dataset="mart.revenue_by_day")]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 2
    assert len(lake.executions(limit=1)) == 1
    with pytest.raises(UsageError, match="no point in time"):
        lake.executions(since="whenever")
    with pytest.raises(UsageError, match="never 'broken'"):
        lake.executions(state="broken")


def test_an_execution_in_full_by_id_uuid_and_version(lake: Lake) -> None:
    made = lake.execution("mart.revenue_by_day@v2")
    assert made == lake.execution(made.info.execution_id) == lake.execution(made.info.uuid[:12].upper())
    assert [str(version) for version in made.inputs] == ["raw.orders@v2"]
    assert [str(version) for version in made.outputs] == ["mart.revenue_by_day@v2"]
    assert made.script is not None
    assert made.script.path == SCRIPT
    assert (made.rows_read, made.rows_written, made.files_written) == (6, 3, 1)
    assert made.bytes_read == made.inputs[0].bytes
    assert made.bytes_written == made.outputs[0].bytes
    assert made.user
    assert made.host
    assert made.seconds is not None
    assert {"lakecat_version", "python_version", "platform", "engine"} <= set(made.environment)
    (failed, *_) = lake.executions(state="failed", limit=1)
    broken = lake.execution(failed.execution_id)
    assert broken.outputs == ()
    assert [str(version) for version in broken.inputs] == ["raw.orders@v2"]
    for absent in ("999999", "00000000-0000", "raw.absent@v1"):
        with pytest.raises(NotFoundError):
            lake.execution(absent)


def test_two_executions_side_by_side(lake: Lake) -> None:
    script = lake.settings.root / SCRIPT
    script.write_text(script.read_text().replace("AS revenue", "AS revenue, MIN(amount) AS least"))
    assert len(lake.run("mart.revenue_by_day").versions) == 1
    found = lake.compare("mart.revenue_by_day@v1", "mart.revenue_by_day@v3")
    changed = [line for line in found.script if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == ["-  SUM(amount) AS revenue", "+  SUM(amount) AS revenue, MIN(amount) AS least"]
    assert [(one.name, one.before, one.after) for one in found.inputs] == [("raw.orders", "v1", "v2")]
    assert [(one.name, one.before, one.after) for one in found.outputs] == [("mart.revenue_by_day", "v1", "v3")]
    assert ("rows_read", 5, 6) in [(one.name, one.before, one.after) for one in found.numbers]
    assert not found.same
    (column,) = found.columns["mart.revenue_by_day"]
    assert (column.kind.value, (column.after or "").split()[0]) == ("added", "least")
    assert lake.compare("raw.orders@v1", "raw.orders@v1").same


def test_impact_tells_values_from_influences_and_stops_at_what_was_written_over(lake: Lake) -> None:
    folder = lake.settings.root / "transforms" / "mart"
    (folder / "top.sql").write_text("SELECT day,\n  revenue\nFROM mart.revenue_by_day\nWHERE revenue > 1\n")
    (folder / "days.sql").write_text("SELECT day FROM mart.top\n")
    lake.run(["mart.top", "mart.days"]).raise_failures()
    found = lake.impact("raw.orders.amount")
    told = {(one.dataset, one.column, one.effect, one.distance, one.kind) for one in found.affected}
    assert ("mart.revenue_by_day", "revenue", "value", 1, EdgeKind.AGGREGATION) in told
    assert ("mart.top", "revenue", "value", 2, EdgeKind.IDENTITY) in told
    assert ("mart.top", None, "influence", 2, EdgeKind.FILTER) in told
    assert ("mart.days", "day", "influence", 3, EdgeKind.IDENTITY) in told, "which days there are depends on it"
    assert not any(one.effect == "value" and one.dataset == "mart.days" for one in found.affected)
    assert dict(found.datasets) == {"mart.revenue_by_day": 1, "mart.top": 2, "mart.days": 3}
    readers = {reader.script: reader.lines for reader in found.readers}
    assert readers["transforms/mart/top.sql"] == (2, 4)
    assert lake.impact("mart.days").affected == ()
    (folder / "top.sql").write_text("SELECT DATE '2026-01-01' AS day, 1 AS revenue\n")
    lake.run("mart.top").raise_failures()
    assert dict(lake.impact("raw.orders.amount").datasets) == {"mart.revenue_by_day": 1}


def test_impact_follows_a_column_through_its_names(lake: Lake) -> None:
    before = {(one.dataset, one.column) for one in lake.impact("raw.orders.amount").affected}
    lake.alter("raw.orders", RenameColumn(("amount",), "total"))
    after = {(one.dataset, one.column) for one in lake.impact("raw.orders.total").affected}
    assert after == before == {("mart.revenue_by_day", "revenue")}
    lake.alter("raw.orders", AddColumn(("amount",), pa.string()))
    assert lake.impact("raw.orders.amount").affected == (), "a new column of an old name is another one"
    assert {(one.dataset, one.column) for one in lake.impact("raw.orders.amount@v1").affected} == before


def test_where_a_file_went(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    root: Path = lake.settings.root
    third = lake.where("orders-2026-11-03.csv")
    for name in ("landing/orders-2026-11-03.csv", third.uri, str(root / "landing/orders-2026-11-03.csv")):
        assert lake.where(name) == third
    monkeypatch.chdir(root / "landing")
    assert lake.where("./orders-2026-11-03.csv") == third
    assert [(load.rows, load.bytes) for load in third.loads] == [
        (1, (root / "landing/orders-2026-11-03.csv").stat().st_size)
    ]
    told = [(one.dataset, one.first, one.last, one.current, one.distance) for one in third.holdings]
    assert told == [("raw.orders", 2, 2, True, 1), ("mart.revenue_by_day", 2, 2, True, 2)]
    first = [(one.dataset, one.first, one.last, one.current) for one in lake.where("orders-2026-11-01.csv").holdings]
    assert first == [
        ("raw.orders", 1, 2, True), ("mart.revenue_by_day", 1, 1, False), ("mart.revenue_by_day", 2, 2, True)
    ]  # fmt: skip
    with pytest.raises(NotFoundError, match="nothing was read from"):
        lake.where("ders-2026-11-01.csv")
    with pytest.raises(NotFoundError):
        lake.where("orders-2026-11-0%.csv")


def test_history_of_a_dataset_and_of_a_column(lake: Lake) -> None:
    lake.alter("raw.orders", RenameColumn(("amount",), "total"), AddColumn(("note",), pa.string()))
    lake.alter("raw.orders", DropColumn(("note",)))
    found = lake.history("raw.orders")
    assert [entry.version.version for entry in found.entries] == [4, 3, 2, 1]
    assert [[change.kind.value for change in entry.columns] for entry in found.entries] == [
        ["dropped"], ["renamed", "added"], [], ["added"] * 4
    ]  # fmt: skip
    assert [entry.execution.job if entry.execution else None for entry in found.entries][2:] == ["orders", "orders"]
    short = lake.history("raw.orders", limit=2)
    assert ([entry.version.version for entry in short.entries], short.more) == ([4, 3], True)
    column = lake.history("raw.orders.total")
    told = [(entry.version.version, entry.columns[0].kind.value) for entry in column.entries]
    assert told == [(3, "renamed"), (1, "added")]
    assert lake.history("raw.orders.amount@v1").entries == column.entries
    gone = lake.history("raw.orders.note@v3")
    assert [(e.version.version, e.columns[0].kind.value) for e in gone.entries] == [(4, "dropped"), (3, "added")]


def test_a_difference_says_whom_it_breaks_and_which_rows_changed(lake: Lake) -> None:
    schema = lake.query("SELECT * FROM raw.orders LIMIT 0").schema
    rows = lake.query("SELECT * FROM raw.orders WHERE order_id <= 2 ORDER BY order_id").to_pylist()
    new = [{**rows[0], "customer": "zed"}, rows[1], {**rows[1], "order_id": 70}]
    lake.merge("raw.orders", pa.Table.from_pylist(new, schema=schema), key=["order_id"])
    plain = lake.diff("raw.orders@v2", statistics=True)
    assert (plain.verdict, plain.reasons, plain.readers) == ("same", (), ())
    assert plain.statistics is not None
    by_name = {one.name: one for one in plain.statistics}
    before, after = by_name["order_id"].before, by_name["order_id"].after
    assert before is not None
    assert after is not None
    assert (before.least, before.most, before.nulls, before.rows) == (1, 6, 0, 6)
    assert (after.least, after.most, after.nulls, after.rows) == (1, 70, 0, 7)
    keyed = lake.diff("raw.orders@v2", rows=True, key="order_id").rows
    assert isinstance(keyed, KeyedDifference)
    assert (keyed.added, keyed.removed, keyed.changed) == (1, 0, 1)
    assert dict(keyed.changed_columns) == {"customer": 1}
    (row,) = keyed.sample_changed
    assert (row.key, [(c.name, c.before, c.after) for c in row.changes]) == ((1,), [("customer", "ada", "zed")])
    assert [added[0] for added in keyed.sample_added] == [70]
    back = lake.diff("raw.orders@v3", "raw.orders@v2", rows=True, key=["order_id"]).rows
    assert isinstance(back, KeyedDifference)
    assert (back.added, back.removed, back.changed) == (0, 1, 1)
    with pytest.raises(UsageError, match="does not tell the rows of"):
        lake.diff("raw.orders@v2", rows=True, key="customer")
    with pytest.raises(UsageError, match="for comparing rows"):
        lake.diff("raw.orders@v2", key="order_id")
    lake.alter("raw.orders", AddColumn(("note",), pa.string()))
    assert lake.diff("raw.orders@v3").verdict == "compatible"
    lake.alter("raw.orders", DropColumn(("amount",)))
    broken = lake.diff("raw.orders@v3")
    assert (broken.verdict, broken.reasons) == ("breaking", ("amount is gone",))
    assert [(reader.script, reader.lines) for reader in broken.readers] == [(SCRIPT, (5,))]


def test_lineage_both_ways_at_old_versions_and_around_nodes(lake: Lake) -> None:
    old = lake.lineage("raw.orders@v1", direction="both")
    labels = {node.label for node in old.graph.nodes if node.kind == "version"}
    assert {"raw.orders@v1", "mart.revenue_by_day@v1"} <= labels
    assert "raw.orders@v2" not in labels
    assert len([node for node in old.graph.nodes if node.kind == "source"]) == 2
    made = lake.execution("mart.revenue_by_day@v1")
    around = lake.lineage(f"execution:{made.info.execution_id}", direction="both", depth=1)
    assert around.graph.root == f"e{made.info.execution_id}"
    labels = {node.label for node in around.graph.nodes if node.kind == "version"}
    assert labels == {"raw.orders@v1", "mart.revenue_by_day@v1"}
    artifact = lake.lineage(f"artifact:{made.inputs[0].artifact_id}", direction="both")
    assert artifact.graph == old.graph
    (failed,) = lake.executions(state="failed", limit=1)
    broken = lake.lineage(f"execution:{failed.execution_id}")
    assert {node.label for node in broken.graph.nodes if node.kind == "version"} >= {"raw.orders@v2"}
    assert failed.state is ExecutionState.FAILED
    for absent in ("artifact:999999", "execution:999999"):
        with pytest.raises(NotFoundError, match="there is no"):
            lake.lineage(absent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", datetime(2026, 11, 25, 6, 30, tzinfo=UTC)),
        ("today", datetime(2026, 11, 25, tzinfo=UTC)),
        ("Yesterday", datetime(2026, 11, 24, tzinfo=UTC)),
        ("2h", datetime(2026, 11, 25, 4, 30, tzinfo=UTC)),
        ("90 min ago", datetime(2026, 11, 25, 5, 0, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 11, 6, 30, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T02:00:00+02:00", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    assert parse_moment(text, datetime(2026, 11, 25, 6, 30, tzinfo=UTC)) == expected


@pytest.mark.parametrize("text", ["", "soon", "2", "h", "2026-13-01", "999999999w", "-1h"])
def test_no_moments(text: str) -> None:
    with pytest.raises(UsageError):
        parse_moment(text, datetime(2026, 11, 25, tzinfo=UTC))
