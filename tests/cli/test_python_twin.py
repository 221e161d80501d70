"""The facade from Python: what the commands do, with values instead of text."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

import lakecat
from lakecat.lake import ColumnDifference
from lakecat.lake.answers import ColumnChangeKind, OutcomeState

EVENTS = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})


@pytest.fixture
def lake(shop: Path) -> lakecat.Lake:
    with lakecat.connect(shop) as opened:
        yield opened  # type: ignore[misc]


def test_ingest_run_and_report(lake: lakecat.Lake) -> None:
    report = lake.ingest()
    assert [(item.name, item.state, item.rows) for item in report.outcomes] == [("orders", OutcomeState.DONE, 5)]
    assert [str(version) for version in report.versions] == ["raw.orders@v1"]
    assert lake.ingest().outcomes[0].state is OutcomeState.NOTHING
    assert [str(version) for version in lake.run("+mart.*").versions] == ["mart.revenue_by_day@v1"]
    assert lake.plan().pending == ()


def test_failures_are_kept_in_the_report_and_raised_on_demand(lake: lakecat.Lake, shop: Path) -> None:
    (shop / "landing" / "orders-2026-11-09.csv").write_text("order_id,ordered_at,customer,amount\nx,y,z,w\n")
    report = lake.ingest()
    assert [item.state for item in report.outcomes] == [OutcomeState.FAILED]
    with pytest.raises(lakecat.LakecatError, match="orders-2026-11-09"):
        report.raise_failures()
    assert lake.datasets() == ()


def test_a_failed_script_skips_what_needs_it_only(lake: lakecat.Lake, shop: Path) -> None:
    lake.ingest()
    (shop / "transforms" / "mart" / "bad.sql").write_text("SELECT 1 // 0 AS x, error('no') AS y FROM raw.orders")
    (shop / "transforms" / "mart" / "child.sql").write_text("SELECT * FROM mart.bad")
    states = {item.name: item.state for item in lake.run().outcomes}
    assert states == {
        "mart.bad": OutcomeState.FAILED,
        "mart.child": OutcomeState.SKIPPED,
        "mart.revenue_by_day": OutcomeState.DONE,
    }


def test_arrow_in_and_out(lake: lakecat.Lake) -> None:
    lake.append("raw.events", EVENTS)
    lake.append("raw.events", EVENTS.slice(0, 1))
    assert lake.query("SELECT count(*) AS n FROM raw.events")["n"].to_pylist() == [4]
    lake.replace("raw.events", EVENTS)
    lake.merge("raw.events", pa.table({"id": [3, 4], "name": ["z", "d"]}), key=["id"])
    rows = lake.query("SELECT id, name FROM raw.events ORDER BY id").to_pylist()
    assert rows == [{"id": n, "name": name} for n, name in enumerate("abzd", 1)]
    assert lake.query("SELECT count(*) AS n FROM raw.events@v2")["n"].to_pylist() == [4]


def test_queries_take_parameters_and_stream(lake: lakecat.Lake) -> None:
    lake.append("raw.events", EVENTS)
    assert lake.query("SELECT name FROM raw.events WHERE id = $id", {"id": 2})["name"].to_pylist() == ["b"]
    with lake.stream("SELECT * FROM range(1000000)") as reader:
        assert sum(batch.num_rows for batch in reader) == 1_000_000


def test_diff_by_schema_and_rows(lake: lakecat.Lake) -> None:
    lake.append("raw.events", EVENTS)
    lake.append("raw.events", pa.table({"id": [4], "name": ["d"], "extra": [1.5]}))
    found = lake.diff("raw.events@v1", rows=True)
    assert found.columns == (ColumnDifference(ColumnChangeKind.ADDED, 3, None, "extra double"),)
    assert found.rows is not None
    assert (found.rows.added, found.rows.removed, found.rows.sample_added) == (1, 0, ((4, "d"),))
    assert not found.same
    assert lake.diff("raw.events@v2").same
    back = lake.diff("raw.events@v2", "raw.events@v1", rows=True)
    assert back.rows is not None
    assert (back.rows.added, back.rows.removed) == (0, 1)
    assert back.columns[0].kind is ColumnChangeKind.DROPPED


def test_diff_counts_repeated_rows(lake: lakecat.Lake) -> None:
    lake.append("raw.events", EVENTS)
    lake.append("raw.events", EVENTS)
    found = lake.diff("raw.events@v1", rows=True).rows
    assert found is not None
    assert (found.added, found.removed) == (3, 0)


def test_show_describes_a_version(lake: lakecat.Lake, shop: Path) -> None:
    job = shop / "ingest" / "orders.yaml"
    job.write_text(job.read_text() + "partition: [day(ordered_at), 'bucket(4, customer)', order_id]\n")
    lake.ingest()
    found = lake.show("raw.orders")
    assert found.partition == ("day(ordered_at)", "bucket(4, customer)", "order_id")
    assert [(c.name, c.type) for c in found.columns][:2] == [("order_id", "long"), ("ordered_at", "timestamptz")]
    assert {Path(source.uri).name for source in found.made_by.sources} == {
        "orders-2026-11-01.csv",
        "orders-2026-11-02.csv",
    }
    assert found.location == f"file://{shop}/lake/raw/orders"


def test_lineage_in_both_directions(lake: lakecat.Lake) -> None:
    lake.ingest()
    lake.run()
    up = lake.lineage("mart.revenue_by_day.revenue")
    assert next((p.input.dataset, p.input.column) for p in up.columns if p.input and p.kind.direct) == (
        "raw.orders",
        "amount",
    )
    down = lake.lineage("raw.orders.amount", up=False)
    assert {p.output.column for p in down.columns if p.kind.direct} == {"revenue"}
    with pytest.raises(lakecat.UsageError, match="no column 'revenu'"):
        lake.lineage("mart.revenue_by_day.revenu")


def test_status_tells_age_and_last_run(shop: Path) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    with lakecat.connect(shop) as lake:
        lake.ingest()
    with lakecat.connect(shop) as lake:
        lake._clock = lambda: now
        (mart, raw) = lake.status()
    assert (str(mart.dataset), mart.version, mart.last_run) == ("mart.revenue_by_day", None, None)
    assert raw.age is not None
    assert raw.version is not None
    assert raw.age == now - raw.version.committed_at
    assert raw.last_run is not None
    assert raw.last_run.state is lakecat.ExecutionState.COMPLETE


def test_the_nearest_project_is_opened(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop / "landing")
    with lakecat.connect() as lake:
        assert lake.settings.root == shop
    monkeypatch.chdir(shop.parent)
    with pytest.raises(lakecat.UsageError, match="no project here"):
        lakecat.connect()


def test_closing_twice_is_fine(shop: Path) -> None:
    lake = lakecat.connect(shop)
    lake.datasets()
    lake.close()
    lake.close()
