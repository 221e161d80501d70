"""Killed for certain (SIGKILL) at every step, and run again: every row once, the lineage whole, the catalog clean."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from lakecat.failpoints import NAMES
from lakecat.types import DatasetName, ExecutionState, VersionRef

T = DatasetName.parse("raw.t")
MODES = {
    "append": {"mode": "append"},
    "merge": {"mode": "merge", "key": "id"},
    "replace": {"mode": "replace"},
}


def prepare(project, mode: str):
    """A table with one version, and news for the job."""
    project.put("in/1.csv", "id,name,day\n1,a,2020-01-01\n2,b,2020-01-02\n")
    path = "in/1.csv" if mode == "replace" else "in/*.csv"
    job = project.job(
        "load", target="raw.t", options={"path": path}, batch="all", partition=["day(day)"], **MODES[mode]
    )
    project.run(job)
    if mode == "replace":
        project.put("in/1.csv", "id,name,day\n7,g,2020-01-07\n8,h,2020-01-08\n9,i,2020-01-09\n")
    else:
        project.put("in/2.csv", "id,name,day\n2,B,2020-01-02\n3,c,2020-01-03\n")
    return job


EXPECTED = {
    "append": {(1, "a"): 1, (2, "b"): 1, (2, "B"): 1, (3, "c"): 1},
    "merge": {(1, "a"): 1, (2, "B"): 1, (3, "c"): 1},
    "replace": {(7, "g"): 1, (8, "h"): 1, (9, "i"): 1},
}


def names(project) -> Counter:
    return Counter({row[:2]: count for row, count in project.rows("raw.t").items()})


STEPS = [(mode, name) for mode in ("append", "merge") for name in NAMES] + [
    ("replace", name) for name in ("data.written", "commit.pointer_swapped", "commit.after")
]


@pytest.mark.parametrize(("mode", "name"), STEPS)
def test_killed_anywhere_and_run_again(project, expire_leases, mode, name):
    job = prepare(project, mode)
    before = names(project)
    code, said = project.process("job", "load", failpoint=f"{name}:1:kill")
    assert code == -signal.SIGKILL, f"{mode} never reaches {name}: {said}"

    committed = name in ("commit.after", "released")
    assert names(project) == (Counter(EXPECTED[mode]) if committed else before)
    expire_leases(project)
    results = project.run(job)
    assert len(results) == (0 if committed else 1)
    assert names(project) == Counter(EXPECTED[mode])
    assert project.run(job) == ()
    assert_whole(project)


@pytest.mark.parametrize("second", ["begun", "data.first_file", "commit.pointer_swapped"])
def test_killed_again_during_the_second_run(project, expire_leases, second):
    job = prepare(project, "append")
    for failpoint in ("commit.metadata_written", second):
        code, _ = project.process("job", "load", failpoint=f"{failpoint}:1:kill")
        assert code == -signal.SIGKILL
        expire_leases(project)
    project.run(job)
    assert names(project) == Counter(EXPECTED["append"])
    assert_whole(project)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("commit.after", "released")])
def test_an_error_anywhere_before_the_commit_leaves_no_data_files(project, name):
    job = prepare(project, "append")
    files = project.data_files()
    code, said = project.process("job", "load", failpoint=f"{name}:1:raise")
    assert code == 1
    assert said[-1] == {"error": "LakecatError", "text": f"failpoint {name}"}
    assert project.data_files() == files
    project.run(job)  # and its lease was given back: nobody waits for anything
    assert names(project) == Counter(EXPECTED["append"])
    assert_whole(project)


def assert_whole(project) -> None:
    """Nothing is wrong, nothing runs, and every version leads back to its source through one completed execution."""
    project.clean()
    for version in project.catalog.versions(T):
        detail = project.catalog.execution(version.execution_id)
        assert detail.info.state is ExecutionState.COMPLETE
        assert detail.outputs == (version,)
        assert detail.sources
    assert not project.catalog.executions(state=ExecutionState.RUNNING)
    paths = project.catalog.column_lineage(T)
    assert {path.output.column for path in paths} == {"id", "name", "day"}
    assert project.catalog.resolve(VersionRef(T)).rows == sum(names(project).values())
