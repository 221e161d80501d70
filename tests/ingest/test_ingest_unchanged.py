"""A merge whose rows stand in the table as they come makes no version: scripts that read it have nothing to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from project_lab import Project

from lakecat.types import DatasetName

ROWS = [
    {"id": 1, "x": 1.5, "at": "2026-01-01T00:00:00Z", "tags": ["a", None], "who": {"n": None, "m": {"k": 1}}},
    {"id": 2, "x": None, "at": None, "tags": [], "who": None},
    {"id": 3, "x": 0.0, "at": "2026-01-02T00:00:00Z", "tags": None, "who": {"n": "ü", "m": None}},
]


def versions(project: Project) -> int:
    return len(project.catalog.versions(DatasetName.parse("raw.a"))) if project.exists("raw.a") else 0


def deliver(project: Project, job: Any, rows: list[dict[str, Any]]) -> int:
    """Another file with these rows; the number of versions afterwards."""
    known, number = versions(project), len(list(project.root.glob("in/*")))
    project.put(f"in/{number:03}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (result,) = project.run(job)
    assert (result.version is None) == (versions(project) == known)
    return versions(project)


def job_of(project: Project, **keys: Any) -> Any:
    said = {"target": "raw.a", "mode": "merge", "key": "id", "columns": {"at": "timestamptz", "x": "double"}}
    return project.job("a", **said, **keys, options={"path": "in/*.jsonl"})


def test_the_same_rows_make_no_version_and_a_changed_one_does(project: Project) -> None:
    job = job_of(project)
    assert deliver(project, job, ROWS) == 1
    assert deliver(project, job, ROWS) == 1
    assert deliver(project, job, list(reversed(ROWS[:2]))) == 1
    assert deliver(project, job, [ROWS[1], {**ROWS[0], "x": 1.25}]) == 2
    assert deliver(project, job, [{**ROWS[0], "x": 1.25}, ROWS[2]]) == 2
    assert project.table("raw.a").num_rows == 3
    project.clean()


@pytest.mark.parametrize(
    "change",
    [{"x": -0.0}, {"x": None}, {"at": "2026-01-02T00:00:00.000001Z"}, {"tags": []}, {"tags": [None]},
     {"who": None}, {"who": {"n": "ü", "m": {"k": 2}}}, {"who": {"n": "u", "m": None}}],
)  # fmt: skip
def test_the_least_difference_is_one(project: Project, change: dict[str, Any]) -> None:
    job = job_of(project)
    deliver(project, job, ROWS)
    assert deliver(project, job, [ROWS[0], {**ROWS[2], **change}]) == 2
    assert deliver(project, job, [ROWS[0], {**ROWS[2], **change}]) == 2
    assert project.table("raw.a").num_rows == 3


def test_a_new_row_among_known_ones_and_a_new_column_are_changes(project: Project) -> None:
    job = job_of(project)
    deliver(project, job, ROWS)
    assert deliver(project, job, [*ROWS, {**ROWS[0], "id": 4}]) == 2
    assert deliver(project, job, [{**ROWS[0], "extra": 7}]) == 3
    assert deliver(project, job, [{**ROWS[0], "extra": 7}]) == 3
    assert sorted(row["id"] for row in project.table("raw.a").to_pylist()) == [1, 2, 3, 4]


def test_deletions_are_changes_once(project: Project) -> None:
    job = job_of(project, deletes={"flag": "gone"})
    known = [{**row, "gone": False} for row in ROWS]
    deliver(project, job, known)
    assert deliver(project, job, [known[0], {**ROWS[1], "gone": True}]) == 2
    assert deliver(project, job, [known[0], {**ROWS[1], "gone": True}]) == 2
    assert sorted(row["id"] for row in project.table("raw.a").to_pylist()) == [1, 3]


def test_a_row_that_is_absent_is_a_change_and_the_whole_is_none(project: Project) -> None:
    job = job_of(project, deletes="absent")
    deliver(project, job, ROWS)
    assert deliver(project, job, ROWS) == 1
    assert deliver(project, job, ROWS[:2]) == 2
    assert deliver(project, job, ROWS[:2]) == 2
    assert sorted(row["id"] for row in project.table("raw.a").to_pylist()) == [1, 2]


def test_who_wrote_a_row_is_no_difference(project: Project) -> None:
    job = job_of(project, execution_column=True)
    deliver(project, job, ROWS)
    assert deliver(project, job, ROWS) == 1


def test_a_table_that_holds_a_key_twice_is_made_right(project: Project) -> None:
    project.put("in/000.jsonl", json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[0]) + "\n")
    project.run(project.job("b", target="raw.a", columns={"x": "double", "at": "timestamptz"},
                            options={"path": "in/000.jsonl"}))  # fmt: skip
    assert deliver(project, job_of(project), [ROWS[0]]) == 2
    assert project.table("raw.a").num_rows == 1
