"""What questions say to a person: errors over several lines, versions left out, executions of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openlineage_lab import EVENTS
from shell_lab import Shell

import lakecat
from lakecat.errors import NotFoundError

NEW = "order_id,ordered_at,customer,amount\n6,2026-11-03T10:00:00Z,ada,7.75\n"


def test_a_script_that_is_refused_is_among_what_failed(stocked: Path, shell: Shell) -> None:
    script = stocked / "transforms/mart/revenue_by_day.sql"
    script.write_text(script.read_text().replace("SUM(amount)", "SUM(amont)"))
    assert shell("run").code == 1
    (failed,) = json.loads(shell("executions", "--state", "failed", "--since", "yesterday", "--json").out)["executions"]
    assert failed["job"] == "transform:mart.revenue_by_day"
    assert "revenue_by_day.sql:5:7" in failed["error"]
    told = shell("status").out
    (error,) = [line for line in told.splitlines() if "amont" in line]
    assert error.startswith("mart.revenue_by_day: TransformError: transforms/mart/revenue_by_day.sql:5:7: ")
    assert "\\n" not in told


def test_a_difference_without_versions_is_that_of_the_last_commit(stocked: Path, shell: Shell) -> None:
    alone = shell("diff", "raw.orders")
    assert alone.code == 2
    assert "raw.orders@v1 is the first version" in alone.err
    (stocked / "landing/orders-2026-11-03.csv").write_text(NEW)
    assert shell("ingest").code == 0
    (stocked / "landing/orders-2026-11-04.csv").write_text(NEW.replace("6,", "7,"))
    assert shell("ingest").code == 0
    assert shell("diff", "raw.orders", "--rows").out.startswith("raw.orders@v2 → raw.orders@v3\nrows   6 → 7 (+1)\n")
    with lakecat.connect(stocked) as lake:
        found = lake.diff("raw.orders")
        assert (found.before.version, found.after.version) == (2, 3)
        assert lake.diff("raw.orders@v3").same


def test_the_parameters_of_an_ingest_say_what_they_are(stocked: Path, shell: Shell) -> None:
    with lakecat.connect(stocked) as lake:
        parameters = lake.execution("raw.orders@v1").parameters
    assert isinstance(parameters, dict)
    assert parameters["target"] == "raw.orders"
    shown = next(line for line in shell("execution", "raw.orders@v1").out.splitlines() if line.startswith("parameters"))
    assert "target" in shown
    assert "raw.orders" in shown


def test_an_execution_of_another_program_is_named_as_such(stocked: Path, shell: Shell) -> None:
    assert shell("catalog", "import", "openlineage", EVENTS / "dbt.jsonl").code == 0
    run = json.loads((EVENTS / "dbt.jsonl").read_text().splitlines()[0])["run"]["runId"]
    with lakecat.connect(stocked) as lake:
        rows = lake.query(
            "SELECT execution_id FROM store_executions WHERE name = $run", {"run": run}, catalog=True
        ).to_pylist()
        key = rows[0]["execution_id"]
        for name in (run, str(key)):
            with pytest.raises(NotFoundError, match=r"recorded by another program, as openlineage\.Run") as caught:
                lake.execution(name)
            assert caught.value.next_command == f"lakecat lineage execution:{key}"
    assert shell("lineage", f"execution:{key}").code == 0
    assert f"there is no execution {key + 1000}" in shell("execution", str(key + 1000)).err
