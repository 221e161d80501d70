"""Jobs over a connector that yields dicts: rows arrive once, in append and in merge, bad ones are set aside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import desk_connector as desk
import pytest

from lakecat.errors import ConfigError, ParseError, SourceError

DESK = "desk_connector:Desk"


def ticket(number: int, at: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "changed_at": desk.moment(at), **more}


@pytest.fixture
def folder(project):
    (project.root / "desk").mkdir()
    return project.root / "desk"


def job(project, **keys: Any):
    return project.job("desk", connector=DESK, options={"folder": "desk"}, **{"target": "raw.tickets", **keys})


def test_rows_are_appended_once(project, folder) -> None:
    tickets = job(project, stream="tickets")
    desk.put(folder, "tickets", [ticket(1, 5), ticket(2, 9, note="late", tags=["a", None]), ticket(3, 9)])
    (result,) = project.run(tickets)
    assert (result.rows, result.sources) == (3, ((folder / "tickets").as_uri(),))
    assert project.run(tickets) == ()
    desk.put(folder, "tickets", [*desk.get(folder, "tickets"), ticket(4, 9), ticket(5, 10)])
    assert [one.rows for one in project.run(tickets)] == [2]
    table = project.table("raw.tickets")
    assert sorted(table["id"].to_pylist()) == [1, 2, 3, 4, 5]
    assert str(table.schema.field("changed_at").type) == "timestamp[us, tz=UTC]"
    assert max(table["changed_at"].to_pylist()) == datetime.fromtimestamp(1_700_000_010, UTC)
    assert [tags for tags in table["tags"].to_pylist() if tags] == [["a", None]]
    project.clean()


def test_merging_replaces_what_changed(project, folder) -> None:
    tickets = job(project, stream="tickets", mode="merge")
    desk.put(folder, "tickets", [ticket(1, 5, note="old"), ticket(2, 6)])
    project.run(tickets)
    desk.put(folder, "tickets", [ticket(1, 8, note="new"), ticket(2, 6)])
    project.run(tickets)
    rows = {row["id"]: row["note"] for row in project.table("raw.tickets").to_pylist()}
    assert rows == {1: "new", 2: None}


def test_streams_of_one_job(project, folder) -> None:
    desk.put(folder, "tickets", [ticket(1, 5)])
    desk.put(folder, "people", [{"name": "n", "age": 5}])
    desk.put(folder, "log", [{"seq": at, "line": "x"} for at in range(8)])
    whole = job(
        project,
        target="raw.*",
        streams={"tickets": {}, "people": {"mode": "merge"}, "log": {"checkpoint": 3}},
        execution_column=True,
    )
    results = project.run(whole)
    assert {result.stream: result.rows for result in results}.keys() == {"tickets", "people", "log"}
    assert len(project.table("raw.log")) == 8
    assert len({row["_lakecat_execution"] for row in project.table("raw.log").to_pylist()}) == 3, "three commits"
    project.run(whole)
    assert [len(project.table(f"raw.{name}")) for name in ("tickets", "people", "log")] == [1, 1, 8]


def test_rows_that_are_only_set_aside_do_not_hold_later_ones(project, folder) -> None:
    tickets = job(project, stream="tickets", quarantine=True)
    desk.put(folder, "tickets", [ticket(1, 5)])
    project.run(tickets)
    desk.put(folder, "tickets", [*desk.get(folder, "tickets"), ticket(0, 6) | {"id": "bad"}])
    (result,) = project.run(tickets)
    assert (result.rows, result.rejected) == (0, 1)
    assert project.run(tickets) == ()
    desk.put(folder, "tickets", [*desk.get(folder, "tickets"), ticket(2, 6)])
    (result,) = project.run(tickets)
    assert (result.rows, result.rejected) == (1, 0)
    assert sorted(project.table("raw.tickets")["id"].to_pylist()) == [1, 2]
    assert project.table("raw.tickets_quarantine")["line"].to_pylist() == [1], "the first of what was new"
    without = job(project, stream="tickets")
    desk.put(folder, "tickets", [*desk.get(folder, "tickets"), ticket(0, 7) | {"id": "bad"}])
    with pytest.raises(ParseError) as caught:
        project.run(without)
    assert caught.value.where is not None
    assert caught.value.where.column == "id"


def test_a_whole_stream_is_replaced_and_not_appended(project, folder) -> None:
    desk.put(folder, "people", [{"name": "a"}, {"name": "b"}])
    with pytest.raises(ConfigError, match="has no cursor"):
        project.run(job(project, stream="people"))
    replace = job(project, stream="people", mode="replace")
    project.run(replace)
    desk.put(folder, "people", [{"name": "c"}])
    project.run(replace)
    assert project.table("raw.tickets")["name"].to_pylist() == ["c"]
    desk.put(folder, "people", [])
    with pytest.raises(SourceError, match="would be emptied"):
        project.run(replace)


def test_an_option_that_is_not_there_is_refused_at_its_line(project, folder) -> None:
    wrong = project.job("desk", connector=DESK, target="raw.t", options={"folder": "desk", "pages": 3}, stream="people")
    with pytest.raises(ConfigError, match="did you mean page") as caught:
        project.run(wrong)
    assert caught.value.where is not None
    assert caught.value.where.line is not None
