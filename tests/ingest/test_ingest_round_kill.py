"""Rounds of several streams, with quarantine, lists and history, killed (SIGKILL) at every step and run again."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from lakecat.maintenance import collect_garbage
from lakecat.types import DatasetName, ExecutionState

TABLES = ("plain", "plain_quarantine", "spread", "spread__letters", "told")


def shelve(project, name: str, *rows: list[Any]) -> None:
    project.put(f"shelf/{name}.json", json.dumps({"rows": rows}))


def prepare(project):
    """Three streams with a version each, and news for all of them."""
    plain, spread, told = [[1, "a"], [2, "bad"]], [[1, "ab"], [2, "c"]], [[1, "x"], [2, "y"]]
    job = project.job(
        "shop",
        connector="shelf_connector:LetterShelf",
        target="raw.*",
        streams={
            "plain": {"quarantine": True, "execution_column": True},
            "spread": {"mode": "merge", "key": "id", "unnest": "letters"},
            "told": {"mode": "history", "key": "id", "history": {"ignore": "letters"}},
        },
    )
    for name, rows in (("plain", plain), ("spread", spread), ("told", told)):
        shelve(project, name, *rows)
    project.run(job)
    shelve(project, "plain", *plain, [3, "bad"], [4, "d"])
    shelve(project, "spread", *spread, [1, "z"], [3, "de"])
    shelve(project, "told", *told, [1, "X"], [3, "w"])
    return job


BEFORE = {
    "plain": {(1, "a"): 1},
    "plain_quarantine": {(2,): 1},
    "spread": {(1, "ab"): 1, (2, "c"): 1},
    "spread__letters": {(1, 1, "a"): 1, (1, 2, "b"): 1, (2, 1, "c"): 1},
    "told": {(1, "x", True): 1, (2, "y", True): 1},
}
AFTER = {
    "plain": {(1, "a"): 1, (4, "d"): 1},
    "plain_quarantine": {(2,): 1, (3,): 1},
    "spread": {(1, "z"): 1, (2, "c"): 1, (3, "de"): 1},
    "spread__letters": {(1, 1, "z"): 1, (2, 1, "c"): 1, (3, 1, "d"): 1, (3, 2, "e"): 1},
    "told": {(1, "x", False): 1, (1, "X", True): 1, (2, "y", True): 1, (3, "w", True): 1},
}


def found(project) -> dict[str, dict[tuple[Any, ...], int]]:
    """The rows of all tables, as far as they do not depend on the clock."""
    columns = {
        "plain": ("id", "text"),
        "plain_quarantine": ("line",),
        "spread": ("id", "text"),
        "spread__letters": ("_root_id", "_index_1", "_value"),
        "told": ("id", "text", "valid_to"),
    }
    result = {}
    for name, wanted in columns.items():
        rows = Counter(tuple(row[column] for column in wanted) for row in project.table(f"raw.{name}").to_pylist())
        result[name] = {(*row[:2], row[2] is None) if name == "told" else row: n for row, n in rows.items()}
    return result


# The steps that each table of a round passes, at the third one; test_ingest_kill.py visits every step of one table.
STEPS = [
    ("begun", 1),
    ("data.first_file", 3),
    ("data.written", 3),
    ("audited", 1),
    ("commit.metadata_written", 3),
    ("commit.sidecar_written", 3),
    ("commit.lineage_recorded", 1),
    ("commit.after", 1),
]


@pytest.mark.parametrize(("name", "nth"), STEPS)
def test_a_round_is_committed_wholly_or_not_at_all(project, expire_leases, name: str, nth: int) -> None:
    job = prepare(project)
    assert found(project) == BEFORE
    code, said = project.process("job", "shop", failpoint=f"{name}:{nth}:kill")
    assert code == -signal.SIGKILL, f"a round never reaches {name} for the {nth}. time: {said}"

    committed = name in ("commit.after", "released")
    assert found(project) == (AFTER if committed else BEFORE)
    expire_leases(project)
    results = project.run(job)
    assert len(results) == (0 if committed else 3)
    assert found(project) == AFTER
    assert project.run(job) == ()
    assert_whole(project)


@pytest.mark.parametrize("name", ["data.written", "commit.pointer_swapped"])
def test_an_error_in_a_round_leaves_no_files(project, name: str) -> None:
    job = prepare(project)
    files = project.data_files()
    code, said = project.process("job", "shop", failpoint=f"{name}:1:raise")
    assert (code, said[-1]["text"]) == (1, f"failpoint {name}")
    assert project.data_files() == files
    assert found(project) == BEFORE
    project.run(job)
    assert found(project) == AFTER
    assert_whole(project)


def assert_whole(project) -> None:
    """All tables have as many versions, each pair made by one execution; nothing runs, and garbage is found."""
    project.clean()
    made = [project.catalog.versions(DatasetName("raw", name), 9) for name in TABLES]
    assert {tuple(version.execution_id for version in versions) for versions in made} == {
        tuple(version.execution_id for version in made[0])
    }
    assert len(made[0]) == 2
    for version in made[0]:
        assert project.catalog.execution(version.execution_id).info.state is ExecutionState.COMPLETE
    assert not project.catalog.executions(state=ExecutionState.RUNNING)
    collect_garbage(project.services, apply=True, max_delete_fraction=1.0)
    found = collect_garbage(project.services)
    assert (
        found.removable.files,
        found.failures,
        [item.unknown_files for item in found.datasets if item.unknown.files],
    ) == (0, (), [])
    project.clean()
