"""The demo's tables say what the source files say, counted another way."""

import re

import pytest
from nyc_truth import all_flights, by_aircraft, by_carrier, by_weather, flights, weather

import lakecat

pytestmark = pytest.mark.xdist_group("demo")


def test_it_lands_every_day_and_then_finds_nothing_to_do(demo) -> None:  # type: ignore[no-untyped-def]
    assert len(re.findall(r"^2013-01-\d\d  .* flights ", demo.first, flags=re.MULTILINE)) == 31
    assert "31 days" in demo.first
    assert "Nothing to do" in demo.again
    assert "2013-01-01 " not in demo.again.split("──")[0]


def test_every_row_landed_once(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        rows = {str(info.name): (info.latest.rows, info.latest.version) for info in lake.datasets()}
    assert rows["raw.flights"] == (27004, 31)
    assert len(all_flights()) == 27004
    assert rows["raw.weather"] == (len(weather()), 31)
    assert (rows["raw.airlines"], rows["raw.airports"], rows["raw.planes"]) == ((16, 1), (1458, 1), (3322, 1))
    assert rows["staging.flights"] == (27004, 31)


def test_time_travel_sees_each_day(demo) -> None:  # type: ignore[no-untyped-def]
    known = 0
    with lakecat.connect(demo.folder) as lake:
        for version, rows in enumerate(flights().values(), 1):
            known += len(rows)
            if version in (1, 10, 31):
                assert lake.query(f"SELECT count(*) AS n FROM raw.flights@v{version}")["n"].to_pylist() == [known]


def test_delay_by_carrier_and_month(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        found = lake.query("SELECT * FROM warehouse.delay_by_carrier_month").to_pylist()
    truth = by_carrier()
    assert {row["carrier"] for row in found} == set(truth)
    for row in found:
        count, cancelled, late_minutes, share = truth[row["carrier"]]
        assert (row["month"].isoformat(), row["flights"], row["cancelled"]) == ("2013-01-01", count, cancelled)
        assert row["avg_arr_delay"] == pytest.approx(late_minutes)
        assert float(row["share_late"]) == pytest.approx(share)
    assert {row["carrier"]: row["carrier_name"] for row in found}["B6"] == "JetBlue Airways"


def test_delay_by_weather(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        found = lake.query("SELECT * FROM warehouse.delay_by_weather").to_pylist()
    counted = {(r["condition"], r["origin"]): (r["flights"], r["cancelled"], r["over_an_hour"]) for r in found}
    assert counted == by_weather()


def test_late_aircraft_are_the_sum_of_all_increments(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        found = lake.query("SELECT tailnum, flights, arr_delay_minutes FROM warehouse.late_aircraft").to_pylist()
    assert {row["tailnum"]: (row["flights"], row["arr_delay_minutes"]) for row in found} == by_aircraft()
    assert len(found) == len({row["tailnum"] for row in found})


def test_a_warehouse_column_leads_back_to_the_files(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        found = lake.lineage("warehouse.delay_by_carrier_month.avg_arr_delay")
        steps = {(path.input.dataset, path.input.column) for path in found.columns if path.input and path.kind.direct}
        assert ("staging.flights", "arr_delay") in steps
        assert ("raw.flights", "arr_delay") in steps
        assert any(dataset.startswith("landing/flights") and column == "arr_delay" for dataset, column in steps)
        assert [source.rpartition("/landing/")[2] for source in found.sources] == [
            "airlines.csv",
            *(f"flights/{day}.csv.gz" for day in flights()),
        ]


def test_the_second_day_knows_two_days_of_files(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        found = lake.lineage("staging.flights@v2").sources
    assert [source[-17:] for source in found] == ["2013-01-01.csv.gz", "2013-01-02.csv.gz"]


def test_no_column_is_unresolved(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        for info in lake.datasets():
            lost = [path for path in lake.lineage(str(info.name)).columns if path.input is None]
            assert lost == [], info.name


def test_the_doctor_finds_it_healthy(demo) -> None:  # type: ignore[no-untyped-def]
    with lakecat.connect(demo.folder) as lake:
        assert {check.verdict.value for check in lake.doctor(deep=True)} == {"good"}
