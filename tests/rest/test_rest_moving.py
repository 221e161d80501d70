"""Rows that change while pages are read: no change is lost to a run, or to the one after it, and none comes twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.connector import Cursor
from lakecat.errors import ConfigError, SourceError
from lakecat.types import WriteMode

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE = 2
PARAM = {"incremental": {"param": "since"}, "paginator": {"type": "page"}}


class Moving:
    """An API over rows in the order of their ids, whose clock goes on by a second with each request.

    ``plan``: what changes after each request, by its number: ids of rows that get the time of that moment.
    """

    def __init__(self, api: Any, rows: int, ahead: timedelta = timedelta(0)) -> None:
        self.api = api
        self.api.now = NOON + ahead
        self.rows = {number: NOON + ahead - timedelta(days=1) for number in range(rows)}
        self.plan: dict[int, list[int]] = {}
        self.count = 0
        api.on("/items", self.answer)

    def answer(self, request: Any) -> Any:
        since = request.query.get("since")
        due = [
            {"id": number, "at": text(at)}
            for number, at in sorted(self.rows.items())
            if since is None or at >= datetime.fromisoformat(since)
        ]
        start = (int(request.query["page"]) - 1) * PAGE
        self.tick()
        return due[start : start + PAGE]

    def tick(self) -> None:
        self.api.now += timedelta(seconds=1)
        for number in self.plan.pop(self.count, ()):
            self.rows[number] = self.api.now
        self.count += 1


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def run(lab: Any, state: Any, **more: Any) -> list[tuple[int, str]]:
    cursor = Cursor(column="at")
    loaded = lab.load(mode=WriteMode.APPEND, state=state, cursor=cursor, **{**PARAM, **more})
    return [(row["id"], str(row["at"])) for row in loaded.rows]


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=5), timedelta(hours=-5)])
def test_a_change_on_a_page_that_was_read_comes_with_the_next_run(lab, api, clock, state, ahead):
    """Though a later page of the first run showed a change that is newer still; whatever our own clock says."""
    clock.now = NOON
    source = Moving(api, 4, ahead)
    source.plan = {0: [0], 1: []}
    source.rows[3] = NOON + ahead + timedelta(seconds=2)  # newer than the change of row 0 a second from now
    first = run(lab, state)
    assert sorted(number for number, _ in first) == [0, 1, 2, 3]
    assert [number for number, _ in run(lab, state)] == [0]
    assert run(lab, state) == []


CHANGES = st.dictionaries(st.integers(0, 25), st.lists(st.integers(0, 5), max_size=3), max_size=10)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, runs=st.integers(1, 4), hours=st.sampled_from([0, 3, -3]))
def test_the_newest_state_of_every_row_arrives_once(lab, api, clock, new_state, changes, runs, hours):
    clock.now = NOON
    source, state, seen = Moving(api, 6, timedelta(hours=hours)), new_state(), Counter()
    source.plan = dict(changes)
    for _ in range(runs):
        # A page that moved up may hide a row from one run: what is asked for by ``since`` has to stay in its place.
        seen.update(run(lab, state, incremental={}))
        clock.now = NOON + (api.now - NOON - timedelta(hours=hours))
    source.plan.clear()
    seen.update(run(lab, state, incremental={}))
    newest = {(number, text(at)) for number, at in source.rows.items()}
    shown = {(number, at.replace(" ", "T").replace("+00:00", "Z")) for number, at in seen}
    assert newest <= shown
    assert max(seen.values()) == 1


def test_times_to_come_do_not_hide_what_comes_before_them(lab, api, state):
    api.now = NOON
    rows = [{"id": 1, "at": text(NOON - timedelta(hours=1))}, {"id": 2, "at": text(NOON + timedelta(days=30))}]
    api.on("/items", lambda r: rows if r.query["page"] == "1" else [])
    assert [number for number, _ in run(lab, state)] == [1, 2]
    rows.append({"id": 3, "at": text(NOON + timedelta(hours=1))})
    assert [number for number, _ in run(lab, state)] == [3]
    assert run(lab, state) == []


def test_in_a_declared_order_the_position_goes_up_to_the_last_row(lab, api, state):
    """Rows that change move to the end, which is still to be read: so none of the edge has to be remembered."""
    api.now = NOON
    rows = [{"id": number, "at": text(NOON + timedelta(seconds=number))} for number in range(5)]
    api.on("/items", lambda r: rows if r.query["page"] == "1" else [])
    run(lab, state, incremental={"param": "since", "order": "ascending"})
    assert len(state.position.value["edge"]) == 1
    assert len(json.dumps(state.position.value)) < 300


def test_the_hint_for_too_many_new_rows_names_the_order(lab, api, state):
    api.now = NOON
    rows = [{"id": number, "at": text(NOON + timedelta(seconds=number))} for number in range(5000)]
    api.on("/items", lambda r: rows if r.query["page"] == "1" else [])
    with pytest.raises(SourceError, match="too many rows lie at the edge") as caught:
        run(lab, state)
    assert "order: ascending" in caught.value.hint


def children(api: Any, posts: dict[int, list[dict[str, Any]]], after: Any) -> dict[str, Any]:
    api.on("/users", [{"id": number} for number in posts])
    for user, rows_of in posts.items():

        def answer(_request: Any, user: int = user, rows_of: Any = rows_of) -> Any:
            rows = list(rows_of)
            after(user)
            return rows

        api.on(f"/users/{user}/posts", answer)
    parent = {"resource": "users", "params": {"user": "id"}}
    posts_of = {"path": "/users/{user}/posts", "parent": parent, "paginator": "single", "incremental": {}}
    return {"resources": {"users": {"path": "/users"}, "posts": posts_of}}


def test_a_child_that_comes_after_its_parent_was_read_is_not_lost(lab, api, clock, state):
    clock.now = api.now = NOON
    posts = {1: [{"n": 1, "at": text(NOON - timedelta(days=1))}], 2: []}

    def after(user: int) -> None:
        if user == 1 and len(posts[1]) == 1:
            posts[1].append({"n": 2, "at": text(NOON + timedelta(seconds=1))})
            posts[2].append({"n": 3, "at": text(NOON + timedelta(seconds=2))})

    options = children(api, posts, after)
    same = {"stream": "posts", "mode": WriteMode.APPEND, "state": state, "cursor": Cursor(column="at")}
    assert [row["n"] for row in lab.load(options, **same).rows] == [1, 3]
    assert [row["n"] for row in lab.load(options, **same).rows] == [2]


@pytest.mark.parametrize("value", [7, "2026-01-01", "2026-01-01T00:00:00"])
def test_children_by_what_is_no_moment_need_a_lag(lab, api, state, value):
    """A parent that was read may get number 8 while another one's 9 is still to be read."""
    options = children(api, {1: [{"at": value}]}, lambda _user: None)
    same = {"stream": "posts", "mode": WriteMode.APPEND, "state": state}
    with pytest.raises(ConfigError, match="is not known to be a moment") as caught:
        lab.load(options, cursor=Cursor(column="at"), **same)
    assert "say lag:" in caught.value.hint
    assert len(lab.load(options, cursor=Cursor(column="at", lag=86_400), **same).rows) == 1
