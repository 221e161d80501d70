"""`run --due`: what the schedules say, once for each instant."""

from pathlib import Path

from shell_lab import Shell

YEARLY = "schedule: 0 0 1 1 *\n"


def test_a_due_job_runs_once_and_then_waits_for_its_next_instant(shop: Path, shell: Shell) -> None:
    job = shop / "ingest" / "orders.yaml"
    job.write_text(job.read_text() + YEARLY)
    first = shell("run", "--due", "--json").json["outcomes"]
    assert [(item["name"], item["state"]) for item in first] == [("orders", "done"), ("mart.revenue_by_day", "done")]
    (shop / "landing" / "orders-2026-11-03.csv").write_text(
        "order_id,ordered_at,customer,amount\n6,2026-11-03T08:00:00Z,ada,1.00\n"
    )
    second = shell("run", "--due", "--json").json["outcomes"]
    assert [(item["name"], item["state"]) for item in second] == [("mart.revenue_by_day", "nothing")]
    assert shell("ingest", "--json").json["outcomes"][0]["state"] == "done"


def test_jobs_without_a_schedule_are_not_due(shop: Path, shell: Shell) -> None:
    assert shell("ingest", "--due").out == "nothing to do\n"


def test_a_script_with_a_schedule_waits_for_it(stocked: Path, shell: Shell) -> None:
    script = stocked / "transforms" / "mart" / "orders.sql"
    script.write_text("-- lakecat: {schedule: 0 0 1 1 *}\nSELECT order_id FROM raw.orders\n")
    first = shell("run", "--due", "-s", "mart.orders", "--json").json["outcomes"]
    assert [item["state"] for item in first] == ["done"]
    script.write_text(script.read_text() + "WHERE order_id > 1\n")
    assert shell("run", "--due", "-s", "mart.orders", "--json").json["outcomes"] == []
    assert [item["state"] for item in shell("run", "-s", "mart.orders", "--json").json["outcomes"]] == ["done"]


def test_the_next_instant_is_shown(shop: Path, shell: Shell) -> None:
    job = shop / "ingest" / "orders.yaml"
    job.write_text(job.read_text() + YEARLY)
    (entry,) = [item for item in shell("status", "--json").json["status"] if item["dataset"] == "raw.orders"]
    assert entry["next_due"].endswith("-01-01T00:00:00Z")
    assert entry["version"] is None
