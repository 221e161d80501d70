"""``lakecat catalog import openlineage``: events of others, and lineage that goes through them."""

import json
from pathlib import Path

from openlineage_lab import EVENTS, columns, dataset, edge, event
from shell_lab import Shell

SPARK = EVENTS / "spark.jsonl"


def test_import_says_what_was_added_and_the_second_time_nothing(stocked: Path, shell: Shell) -> None:
    first = shell("catalog", "import", "openlineage", *sorted(EVENTS.iterdir()))
    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines() == [
        "read 19 lines, from 4 files, 19 imported",
        "added 8 runs, 8 jobs, 8 datasets, 12 states, 16 links, 8 column steps",
    ]
    again = shell("catalog", "import", "openlineage", *sorted(EVENTS.iterdir()))
    assert again.out.splitlines()[1] == "added nothing: all of it was known"


def test_bad_lines_are_told_and_make_the_exit_code(stocked: Path, shell: Shell) -> None:
    path = stocked / "events.jsonl"
    path.write_text(SPARK.read_text() + "{\n[]\n")
    result = shell("catalog", "import", "openlineage", path)
    assert result.code == 1
    assert result.err.splitlines()[1] == f"{path}:7: is no JSON object"
    assert "5 imported, 2 refused" in result.out
    strict = shell("catalog", "import", "openlineage", path, "--strict")
    assert strict.code == 1
    assert f"error: {path}:6: is not JSON" in strict.err
    assert "nothing was imported" in strict.err
    missing = shell("--json", "catalog", "import", "openlineage", "no.jsonl")
    assert (missing.code, missing.out) == (2, "")
    assert json.loads(missing.err)["error"] == "NotFoundError"


def test_many_bad_lines_are_counted(stocked: Path, shell: Shell) -> None:
    path = stocked / "events.jsonl"
    path.write_text("{\n" * 1000)
    result = shell("catalog", "import", "openlineage", path)
    lines = result.err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "… and 980 more like these"
    document = shell("--json", "catalog", "import", "openlineage", path).json["import"]
    assert (document["refused"], len(document["problems"])) == (1000, 100)


def test_lineage_goes_through_what_others_wrote(stocked: Path, shell: Shell) -> None:
    """The shop's first file was exported from a database by another program; a report is made of its mart."""
    landing = stocked / "landing" / "orders-2026-11-01.csv"
    source = dataset("postgres://db:5432|shop.public.orders")
    out = dataset(
        f"file|{landing}", columnLineage=columns(amount=[edge("postgres://db:5432|shop.public.orders", "net")])
    )
    report = dataset(
        "s3://reports|revenue.pdf", columnLineage=columns(total=[edge("dwh|prod.mart.revenue_by_day", "revenue")])
    )
    path = stocked / "events.jsonl"
    told = [
        event(1, "COMPLETE", "10:00", [source], [out], job="export"),
        event(2, "COMPLETE", "2999-01-01T00:00:00Z", [dataset("dwh|prod.mart.revenue_by_day")], [report], job="report"),
    ]
    path.write_text("\n".join(map(json.dumps, told)))
    assert shell("catalog", "import", "openlineage", path, "--map", "dwh").code == 0
    up = shell("lineage", "mart.revenue_by_day").out
    assert "execution etl/export" in up
    assert "artifact postgres://db:5432/shop.public.orders" in up
    column = shell("lineage", "mart.revenue_by_day.revenue").out
    assert "postgres://db:5432/shop.public.orders [net]  identity" in column
    down = shell("lineage", "raw.orders", "--down").out
    assert "execution etl/report" in down
    assert "artifact s3://reports/revenue.pdf" in down
    assert "s3://reports/revenue.pdf [total]  identity" in shell("lineage", "raw.orders.amount", "--down").out
    for form in ("mermaid", "dot"):
        assert "s3://reports/revenue.pdf" in shell("lineage", "raw.orders", "--down", "--as", form).out
    document = shell("--json", "lineage", "mart.revenue_by_day").json["lineage"]
    assert {node["kind"] for node in document["graph"]["nodes"]} == {
        "version",
        "source",
        "script",
        "execution",
        "artifact",
    }
    assert shell("doctor").code == 0
    assert shell("status").code == 0


def test_a_rule_that_says_nothing(stocked: Path, shell: Shell) -> None:
    result = shell("catalog", "import", "openlineage", SPARK, "--map", "x=1y")
    assert result.code == 2
    assert "x=1y" in result.err
