"""Any sequence of arrivals, runs, failures and refreshes against a model that is a plain list."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.transform import Status

if TYPE_CHECKING:
    from conftest import Project

GOOD = {
    "s/log.sql": "INSERT INTO s.log SELECT id FROM table_changes('raw.x')",
    "wh/even.sql": "INSERT INTO wh.even SELECT id FROM table_changes('s.log') WHERE id % 2 = 0",
    "wh/sums.sql": (
        "MERGE INTO wh.sums AS t\n"
        "USING (SELECT id % 3 AS k, count(*) AS n FROM table_changes('s.log') GROUP BY 1) AS s\n"
        "ON t.k = s.k WHEN MATCHED THEN UPDATE SET n = t.n + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (k, n) VALUES (s.k, s.n)"
    ),
    "wh/count.sql": "SELECT count(*) AS n FROM s.log",
}
BROKEN = "INSERT INTO s.log SELECT CAST('x' || id AS BIGINT) FROM table_changes('raw.x')"
STEPS = st.sampled_from(["arrive", "arrive", "run", "run", "some", "fail"])
numbers = count()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=2, max_size=7))
def test_every_row_comes_through_once(make_project: Callable[..., Project], steps: list[str]) -> None:
    project = make_project(folder=f"model{next(numbers)}")
    for path, text in GOOD.items():
        project.script(path, text)
    arrived = [0]
    project.put("raw.x", [{"id": 0}])
    for step in steps:
        if step in ("arrive", "fail"):
            arrived.append(len(arrived))
            project.put("raw.x", [{"id": arrived[-1]}])
        if step == "run":
            project.done()
        elif step == "some":
            project.done("s.log")
        elif step == "fail":
            project.script("s/log.sql", BROKEN)
            assert project.statuses("s.log")["s.log"] is Status.FAILED
            project.script("s/log.sql", GOOD["s/log.sql"])
    project.done()
    assert sorted(row["id"] for row in project.rows("s.log")) == arrived
    assert sorted(row["id"] for row in project.rows("wh.even")) == [number for number in arrived if number % 2 == 0]
    sums = {key: sum(1 for number in arrived if number % 3 == key) for key in (0, 1, 2)}
    assert {row["k"]: row["n"] for row in project.rows("wh.sums")} == {key: n for key, n in sums.items() if n}
    assert project.rows("wh.count") == [{"n": len(arrived)}]
    assert set(project.statuses().values()) == {Status.SKIPPED}
    project.clean()
