"""The process is really killed, at every step of a transform, and the run repeated: every row once, lineage whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from lakecat.catalog import schema
from lakecat.failpoints import NAMES
from lakecat.transform import Status
from lakecat.types import ExecutionState

if TYPE_CHECKING:
    from conftest import Project

PROGRAM = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from lakecat.catalog import Catalog, Holder
from lakecat.config import load_settings
from lakecat.landing import Services
from lakecat.store import LakeStore
from lakecat.transform import load_scripts, plan, run

settings = load_settings(Path(sys.argv[1]), environ={})
services = Services(
    settings=settings, store=LakeStore.open(settings.lake), catalog=Catalog.open(settings.catalog),
    clock=lambda: datetime.now(UTC), holder=Holder("host", os.getpid(), "tester", "killed"), environ={},
)
for result in run(services, plan(services, load_scripts(settings))):
    if result.error is not None:
        raise result.error
"""

STEPS = tuple(name for name in NAMES if not name.startswith("ingest."))
SCRIPTS = {
    "a/copy.sql": "SELECT id, n FROM raw.x",
    "b/log.sql": "INSERT INTO b.log SELECT id FROM table_changes('raw.x')",
    "c/merge.sql": (
        "MERGE INTO c.sums AS t USING (SELECT id % 2 AS k, sum(n) AS n FROM table_changes('raw.x') GROUP BY 1) AS s\n"
        "ON t.k = s.k WHEN MATCHED THEN UPDATE SET n = t.n + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.n)"
    ),
}


def run_until(project: Project, failpoint: str, hit: int) -> int:
    environ = {**os.environ, "LAKECAT_FAILPOINT": f"{failpoint}:{hit}:kill"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(project.root)], env=environ, check=False, timeout=120)
    return done.returncode


def let_leases_run_out(project: Project) -> None:
    """What a minute without the dead process's heartbeat does."""
    with project.services.catalog.database.engine.begin() as connection:
        connection.execute(sa.update(schema.lease).values(expires_ms=0))


def prepare(project: Project) -> None:
    (project.root / "lakecat.yaml").write_text("project: test\ntransforms: {parallel: 1}\n")
    for path, text in SCRIPTS.items():
        project.script(path, text)
    project.put("raw.x", [{"id": 1, "n": 1}, {"id": 2, "n": 10}])
    project.done()
    project.put("raw.x", [{"id": 3, "n": 100}, {"id": 4, "n": 1000}])


def check(project: Project) -> None:
    assert project.rows("a.copy") == [{"id": number, "n": 10 ** (number - 1)} for number in (1, 2, 3, 4)]
    assert sorted(row["id"] for row in project.rows("b.log")) == [1, 2, 3, 4]
    assert project.rows("c.sums") == [{"k": 0, "n": 1010}, {"k": 1, "n": 101}]
    for name in ("a.copy", "b.log", "c.sums"):
        version = project.version(name)
        assert version.version == 2
        detail = project.services.catalog.execution(version.execution_id)
        assert detail.info.state is ExecutionState.COMPLETE
        assert "raw.x@v2" in [str(read) for read in detail.inputs]
        assert project.services.catalog.column_lineage(version.dataset)
    assert set(project.statuses().values()) == {Status.SKIPPED}
    project.clean()


# Each step is visited in another script, so that all three kinds meet kills before and after the commit.
@pytest.mark.parametrize(("step", "hit"), [(step, 1 + index % 3) for index, step in enumerate(STEPS)])
def test_killed_at_any_step_and_run_again(project: Project, step: str, hit: int) -> None:
    prepare(project)
    assert run_until(project, step, hit) == -signal.SIGKILL
    let_leases_run_out(project)
    project.done()
    check(project)


@pytest.mark.parametrize("hit", [1, 2, 3])
@pytest.mark.parametrize("step", ["commit.before", "commit.after"])
def test_killed_around_the_commit_of_each_kind(project: Project, step: str, hit: int) -> None:
    prepare(project)
    assert run_until(project, step, hit) == -signal.SIGKILL
    let_leases_run_out(project)
    project.done()
    check(project)


def test_killed_twice(project: Project) -> None:
    prepare(project)
    for step in ("data.written", "commit.sidecar_written"):
        assert run_until(project, step, 2) == -signal.SIGKILL
        let_leases_run_out(project)
    project.done()
    check(project)


def test_before_its_lease_runs_out_the_dead_process_is_named(project: Project) -> None:
    prepare(project)
    assert run_until(project, "begun", 1) == -signal.SIGKILL
    error = project.run()["a.copy"].error
    assert error is not None
    assert "killed" in str(error)
    assert Path(project.root, "catalog.db").exists()
