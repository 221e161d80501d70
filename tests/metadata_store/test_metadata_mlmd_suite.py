"""MLMD's own 108 tests, from the installed wheel, pass against lakecat's adapter; on every database."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from mlmd_lab import ROOT, connection_config, find_python
from sqlalchemy.engine import URL

SUITE = Path(__file__).parent / "mlmd_suite.py"


def run_suite(python: str, url: URL | None) -> dict[str, Any]:
    command = [python, str(SUITE)] + ([] if url is None else [json.dumps(connection_config(url))])
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=500,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("backend", ["memory", "sqlite", "postgres", "mariadb"])
def test_ml_metadatas_own_tests_pass(request: pytest.FixtureRequest, missing, tmp_path: Path, backend: str):
    url = None
    if backend == "sqlite":
        url = URL.create("sqlite", database=str(tmp_path / "catalog.db"))
    elif backend != "memory":
        url = request.getfixturevalue(f"{backend}_url")
    found = run_suite(find_python(missing), url)
    assert found["failed"] == []
    # Two more are marked by MLMD as not to be run: they downgrade a database to schema 0.
    assert found["outcomes"] == {"passed": 108, "xfailed": 2}
    assert found["classes"] == ["lakecat.catalog.mlmd.store"]
    assert found["calls"]["__init__"] >= 90
    # MLMD's own client calls these two where it makes a lineage graph; lakecat asks for all of it at once.
    unasked = {"get_artifact_types_by_id", "get_execution_types_by_id"}
    assert set(found["methods"]) - set(found["calls"]) == unasked
    assert (found["missing"], found["different"]) == ([], [])
