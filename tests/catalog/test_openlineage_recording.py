"""What other programs tell by OpenLineage: states, order, versions, and where it meets lakecat's own lineage."""

from __future__ import annotations

import itertools
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openlineage_lab as lab
import pytest
import sqlalchemy as sa
from openlineage_lab import columns, dataset, dump, edge, event, record, run_id

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.foreign_lineage import ForeignLineage
from lakecat.catalog.foreign_values import Recorded
from lakecat.errors import CatalogReadOnlyError, UsageError
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, SourceRead, VersionRef


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as opened:
        yield opened


def state_of(catalog: Catalog, number: int) -> MlmdState:
    with catalog.database.reading() as connection:
        found = connection.execute(
            sa.select(s.execution.c.last_known_state).where(s.execution.c.name == run_id(number))
        ).scalar_one()
    return MlmdState(found)


def samples() -> list[dict]:
    return [json.loads(line) for path in sorted(lab.EVENTS.iterdir()) for line in path.read_text().splitlines()]


def test_events_of_spark_airflow_dbt_and_flink(bench):
    """Counted by hand from the files: 8 jobs (one only as a parent), 8 datasets, 7 runs and a job at rest."""
    added = record(bench.catalog, *samples())
    assert added == Recorded(jobs=8, datasets=8, runs=8, states=8, artifacts=12, links=16, columns=8)
    assert record(bench.catalog, *samples()) == Recorded()
    found = dump(bench.catalog)
    by_run = {name[1]: value for name, value in found["executions"].items()}
    failed = by_run["0193a0b0-2222-7000-8000-000000000001"]
    assert failed[0] == MlmdState.FAILED
    assert failed[1]["error"] == "connection to server was lost"
    assert by_run["0193a0b0-2222-7000-8000-000000000002"][0] == MlmdState.COMPLETE
    assert by_run["0193a0d0-4444-7000-8000-000000000001"][0] == MlmdState.RUNNING
    spark = by_run["01939f2e-5f1c-7c1e-9b1e-3d2a5c0b7a11"]
    assert spark[0] == MlmdState.COMPLETE
    assert spark[1]["engine"] == "spark 3.5.4"
    written = found["artifacts"][
        "openlineage.DatasetVersion", "s3://shop-lake/clean/orders#01939f2e-5f1c-7c1e-9b1e-3d2a5c0b7a11"
    ]
    assert (written[1]["rows"], written[1]["bytes"], written[1]["files"]) == (1234, 56789, 2)
    schema = json.loads(written[1]["schema"])
    assert [column["name"] for column in schema] == [
        "order_id", "amount_eur", "email_hash", "address", "address.street", "address.city",
    ]  # fmt: skip
    topic = found["contexts"]["openlineage.Dataset", "kafka://broker.shop.example:9092/clicks-clean"][1]
    assert (topic["documentation"], json.loads(topic["owners"])) == (
        "Clicks without bots", [{"name": "team:web", "type": None}],
    )  # fmt: skip
    job = found["contexts"]["openlineage.Job", "airflow/daily_report.report"][1]
    assert (job["source_version"], job["documentation"]) == ("8f3c2d1", "The report that the board reads")
    dag = "0193a0b0-0000-7000-8000-000000000001"
    grouped = {member for group, member in found["associations"] if group == dag}
    assert grouped == {dag, "0193a0b0-2222-7000-8000-000000000001", "0193a0b0-2222-7000-8000-000000000002"}
    assert bench.catalog.integrity() == ()


def test_what_a_run_read_is_what_was_written_last_before(catalog):
    raw, clean = "s3://b|raw", "s3://b|clean"
    record(
        catalog,
        event(1, "COMPLETE", "10:00", outputs=[dataset(raw)], job="land"),
        event(2, "COMPLETE", "11:00", outputs=[dataset(raw)], job="land"),
        event(3, "FAIL", "11:30", outputs=[dataset(raw)], job="land"),
        event(4, "START", "11:40", [dataset(raw)], job="clean"),
        event(5, "COMPLETE", "11:45", outputs=[dataset(raw)], job="land"),
        event(4, "COMPLETE", "11:50", [dataset(raw)], [dataset(clean)], job="clean"),
        event(6, "COMPLETE", "09:00", [dataset(raw)], job="early"),
    )
    read = {(run, artifact) for run, artifact, type_, _, _ in dump(catalog)["events"] if type_ == 3}
    assert read == {(run_id(4), f"s3://b/raw#{run_id(2)}"), (run_id(6), "s3://b/raw")}


def test_a_version_that_is_named_is_the_same_for_its_writer_and_its_readers(catalog):
    table = "s3://b|table"
    record(
        catalog,
        event(2, "START", "10:30", [dataset(table)]),
        event(2, "COMPLETE", "10:40", [dataset(table, "111")]),
        event(1, "START", "10:00", outputs=[dataset(table)]),
        event(1, "COMPLETE", "10:10", outputs=[dataset(table, "111")]),
        event(3, "COMPLETE", "10:20", outputs=[dataset(table, "222")]),
    )
    events = {(run, artifact, type_) for run, artifact, type_, _, _ in dump(catalog)["events"]}
    assert events == {
        (run_id(1), "s3://b/table@111", 4),
        (run_id(2), "s3://b/table@111", 3),
        (run_id(3), "s3://b/table@222", 4),
    }


STORY = [
    event(1, "START", "10:00", outputs=[dataset("s3://b|raw")], job="land"),
    event(1, "COMPLETE", "10:05", outputs=[dataset("s3://b|raw", "7")], job="land"),
    event(2, "START", "10:10", [dataset("s3://b|raw")], [dataset("s3://b|clean")], job="clean"),
    event(2, "RUNNING", "10:11", job="clean"),
    event(2, "FAIL", "10:12", [dataset("s3://b|raw")], job="clean", errorMessage={"message": "no"}),
    event(2, "START", "10:20", [dataset("s3://b|raw")], job="clean"),
    event(
        2, "COMPLETE", "10:25", [dataset("s3://b|raw")],
        [dataset("s3://b|clean", columnLineage=columns(a=[edge("s3://b|raw", "x")]))], job="clean",
    ),
    event(3, "COMPLETE", "10:40", [dataset("s3://b|clean"), dataset("s3://b|raw", "7")], job="report",
          parent={"run": {"runId": run_id(9)}, "job": {"namespace": "etl", "name": "dag"}}),
    event(9, "START", "10:30", job="dag"),
    event(9, "COMPLETE", "10:50", job="dag"),
]  # fmt: skip


def test_the_order_of_events_makes_no_difference(tmp_path: Path):
    """In any order, in batches of any size, with some of them twice."""
    chance = random.Random(20241124)
    wanted = None
    for number in range(12):
        story = [*STORY, *chance.sample(STORY, number % 4)]
        if number:
            chance.shuffle(story)
        with Catalog.open(f"sqlite:///{tmp_path}/{number}.db", create=True) as catalog:
            while story:
                size = chance.randint(1, len(story)) if number else len(story)
                record(catalog, *story[:size])
                story = story[size:]
            found = dump(catalog)
            assert catalog.integrity() == ()
        wanted = wanted or found
        for part, value in wanted.items():
            assert found[part] == value, (number, part)


@pytest.mark.parametrize(
    ("story", "wanted"),
    [
        (["START"], MlmdState.RUNNING),
        (["RUNNING"], MlmdState.RUNNING),
        ([None], MlmdState.RUNNING),
        (["START", "COMPLETE"], MlmdState.COMPLETE),
        (["START", "FAIL"], MlmdState.FAILED),
        (["START", "ABORT"], MlmdState.CANCELED),
        (["START", "COMPLETE", "RUNNING", "OTHER"], MlmdState.COMPLETE),
        (["START", "FAIL", "START"], MlmdState.RUNNING),
        (["START", "FAIL", "START", "COMPLETE"], MlmdState.COMPLETE),
        (["complete"], MlmdState.COMPLETE),
    ],
)
def test_the_last_event_by_its_time_decides_the_state(catalog, story, wanted):
    events = [event(1, state, f"10:{minute:02d}") for minute, state in enumerate(story)]
    for order in itertools.islice(itertools.permutations(events), 24):
        record(catalog, *order)
        assert state_of(catalog, 1) is wanted
    for one in reversed(events):
        record(catalog, one)
        assert state_of(catalog, 1) is wanted


def test_runs_of_lakecat_itself_are_not_recorded_twice(bench):
    bench.load("raw.orders")
    (info,) = bench.catalog.executions()
    told = event(1, "COMPLETE", "10:00", outputs=[dataset("lakecat|raw.orders")])
    told["run"]["runId"] = info.uuid
    assert record(bench.catalog, told) == Recorded(own=1)


# where it meets lakecat's own


def labels(graph) -> set[str]:
    return {node.label for node in graph.nodes}


def test_up_from_a_dataset_through_its_file_to_what_wrote_the_file(bench):
    """The same whichever is recorded first, and only up to what was written when lakecat read it."""
    file = "s3://shop/landing/orders.csv"
    told = [
        event(1, "COMPLETE", "09:00", outputs=[dataset("postgres://db:5432|shop.public.orders")], job="app"),
        event(
            2, "COMPLETE", "10:00", [dataset("postgres://db:5432|shop.public.orders")],
            [dataset("s3://shop|landing/orders.csv",
                     columnLineage=columns(x=[edge("postgres://db:5432|shop.public.orders", "amount")]))],
            job="export",
        ),
        event(3, "COMPLETE", "2999-01-01T00:00:00Z", outputs=[dataset("s3://shop|landing/orders.csv")], job="later"),
    ]  # fmt: skip
    mine = ColumnEdge("raw.orders", "x", file, "x", EdgeKind.IDENTITY)
    record(bench.catalog, told[0])
    version = bench.load("raw.orders", sources=(SourceRead(file, 3),), edges=(mine,))
    before = bench.catalog.lineage(version)
    assert labels(before) == {"raw.orders@v1", "load raw.orders", file}
    record(bench.catalog, *told[1:])
    found = bench.catalog.lineage(version)
    assert labels(found) == labels(before) | {"etl/export", "postgres://db:5432/shop.public.orders", "etl/app"}
    assert not found.truncated
    one = bench.catalog.lineage(version, depth=1)
    assert labels(one) == labels(before) | {file}
    two = bench.catalog.lineage(version, depth=2)
    assert labels(two) == labels(before) | {"etl/export", "postgres://db:5432/shop.public.orders"}
    steps = bench.catalog.column_lineage(DatasetName("raw", "orders"), "x")
    assert [(p.depth, p.output.dataset, p.input.dataset, p.input.column) for p in steps] == [
        (1, "raw.orders", file, "x"),
        (2, file, "postgres://db:5432/shop.public.orders", "amount"),
    ]


def test_down_from_a_dataset_into_other_programs_and_back(bench):
    version = bench.load("mart.revenue")
    bench.load("mart.revenue")
    asof = version.committed_at.isoformat(timespec="milliseconds")
    file = "s3://shop/export/revenue.csv"
    out = dataset("s3://shop|export/revenue.csv", columnLineage=columns(total=[edge("lakecat|mart.revenue", "x")]))
    record(bench.catalog, event(1, "COMPLETE", asof, [dataset("lakecat|mart.revenue")], [out], job="export"))
    back = ColumnEdge("raw.again", "y", file, "total", EdgeKind.TRANSFORMATION)
    bench.load("raw.again", sources=(SourceRead(file, 3),), edges=(back,))
    found = bench.catalog.lineage(version, "down")
    assert labels(found) == {"mart.revenue@v1", "etl/export", file, "load raw.again", "raw.again@v1"}
    assert labels(bench.catalog.lineage(VersionRef.parse("mart.revenue@v2"), "down")) == {"mart.revenue@v2"}
    steps = bench.catalog.column_lineage(DatasetName("mart", "revenue"), "x", 1, "down")
    assert [(p.depth, p.output.dataset, p.output.column, p.input.dataset) for p in steps] == [
        (1, file, "total", "mart.revenue"),
        (2, "raw.again", "y", file),
    ]
    up = bench.catalog.column_lineage(DatasetName("raw", "again"), "y")
    assert [(p.input.dataset, p.input.version) for p in up] == [(file, None), ("mart.revenue", 1)]


def test_only_the_newest_run_of_a_job_counts_for_columns(bench):
    table = "s3://b|t"

    def told(number: int, time: str, column: str, state: str = "COMPLETE", job: str = "a"):
        lineage = columns(total=[edge("lakecat|mart.revenue", column)])
        return event(
            number, state, time, [dataset("lakecat|mart.revenue")], [dataset(table, columnLineage=lineage)], job
        )

    bench.load("mart.revenue")
    day = "2026-06-01T{}:00Z".format
    record(
        bench.catalog, told(1, day("10:00"), "old"), told(2, day("11:00"), "new"),
        told(3, day("12:00"), "failed", "FAIL"), told(4, day("09:00"), "other", job="b"),
    )  # fmt: skip
    assert {
        column: bool(bench.catalog.column_lineage(DatasetName("mart", "revenue"), column, None, "down"))
        for column in ("old", "new", "failed", "other")
    } == {"old": False, "new": True, "failed": False, "other": True}


def test_which_datasets_are_lakecats_own(bench):
    version = bench.load("mart.revenue")
    location = version.metadata_location.rpartition("/metadata/")[0].removeprefix("file://")
    asof = "2026-06-01T10:00:00Z"
    told = [
        event(1, "COMPLETE", asof, [dataset("lakecat|mart.revenue")]),
        event(2, "COMPLETE", asof, [dataset("hive://metastore:9083|prod.mart.revenue")]),
        event(3, "COMPLETE", asof, [dataset("trino://t:80|memory.default.revenue")]),
        event(4, "COMPLETE", asof, [dataset(f"file|{location}")]),
        event(5, "COMPLETE", asof, [dataset("file|/x", symlinks={"identifiers": [
            {"namespace": "lakecat", "name": "mart.revenue", "type": "TABLE"}]})]),
        event(6, "COMPLETE", asof, [dataset("lakecat|mart.revenue", str(version.snapshot_id))]),
        event(7, "COMPLETE", asof, [dataset("lakecat|mart.revenue", "v1")]),
        event(8, "COMPLETE", asof, [dataset("other|mart.revenue")]),
        event(9, "COMPLETE", asof, [dataset("lakecat|mart.nothing")]),
        event(10, "COMPLETE", "1999-01-01T00:00:00Z", [dataset("lakecat|mart.revenue")]),
        event(11, "COMPLETE", asof, outputs=[dataset("lakecat|mart.revenue")]),
        event(12, "COMPLETE", asof, outputs=[dataset("lakecat|mart.revenue", str(version.snapshot_id))]),
    ]  # fmt: skip
    record(bench.catalog, *told, namespaces=["hive://metastore:9083", "trino://t:80=mart"])
    events = {
        run: artifact for run, artifact, _, _, _ in dump(bench.catalog)["events"] if run.startswith("00000000")
    }  # fmt: skip
    own = {number for number in range(1, 13) if events[run_id(number)] == "mart.revenue@v1"}
    assert own == {1, 2, 3, 4, 5, 6, 7, 12}
    assert bench.catalog.dataset(DatasetName("mart", "revenue")).versions == 1
    assert bench.catalog.integrity() == ()


@pytest.mark.parametrize("rule", ["", "=raw", "x=", "x=a.b", "x=1a"])
def test_a_rule_that_says_nothing_is_refused(catalog, rule):
    with pytest.raises(UsageError, match="lakecat's"):
        ForeignLineage(catalog.database, [rule])


def test_two_imports_at_once_add_everything_once(bench):
    """Also where both make the types; each in batches of its own size."""
    events = []
    for number in range(60):
        source = f"s3://b|{number % 7}"
        written = dataset(f"s3://b|{number % 5}", columnLineage=columns(a=[edge(source, "x")]))
        for state in ("START", "COMPLETE"):
            time, job = f"10:{number:02d}", f"job{number % 3}"
            events.append(event(number, state, time, [dataset(source)], [written], job=job))

    def work(size: int) -> Recorded:
        with Catalog.open(bench.url) as other:
            added = Recorded()
            for start in range(0, len(events), size):
                added += record(other, *events[start : start + size])
            return added

    with ThreadPoolExecutor(3) as pool:
        added = sum(pool.map(work, (120, 17, 40)), Recorded())
    assert (added.runs, added.jobs, added.datasets, added.columns) == (60, 3, 7, 60)
    found = dump(bench.catalog)
    assert len(found["edges"]) == 60
    assert len([1 for _, _, type_, _, _ in found["events"] if type_ == 4]) == 60
    assert record(bench.catalog, *events) == Recorded()
    assert dump(bench.catalog) == found


def test_a_catalog_that_may_only_be_read_says_so(bench):
    """Nothing is written by half when an import cannot write."""
    if bench.catalog.database.backend != "postgresql":
        pytest.skip("PostgreSQL's transactions can be made read-only from outside")
    with bench.catalog.database.writing() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {bench.url.database} SET default_transaction_read_only = on")
        connection.commit()
    with Catalog.open(bench.url) as other, pytest.raises(CatalogReadOnlyError):
        record(other, *samples())
