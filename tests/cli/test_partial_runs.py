"""A run that fails half way tells what it committed before."""

from pathlib import Path

from shell_lab import Shell


def test_what_was_committed_before_a_failure_is_told(shop: Path, shell: Shell) -> None:
    (shop / "ingest" / "orders.yaml").write_text("target: raw.orders\nbatch: file\noptions: {path: landing/orders-*}\n")
    (shop / "landing" / "orders-2026-11-09.csv").write_text("order_id,ordered_at,customer,amount\nx,y,z,w\n")
    result = shell("--json", "ingest")
    assert result.code == 1
    outcomes = result.json["outcomes"]
    assert [(one["state"], one["version"] and one["version"]["version"]) for one in outcomes] == [
        ("done", 1),
        ("done", 2),
        ("failed", None),
    ]
    assert shell("--json", "query", "SELECT count(*) AS n FROM raw.orders").json["rows"] == [[5]]
