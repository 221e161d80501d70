"""From an API into tables, by a job: rows, versions and positions, and no secret anywhere."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing

import pytest

from lakecat.errors import LakecatError, SourceError, StreamsFailedError

CONNECTOR = "lakecat_connectors.rest:Rest"
SECRET = "k3y/of+the=house"


def options(api, **more):
    return {"base_url": api.url, "allow_private": True, **more}


def test_appends_what_is_new(project, api):
    rows = [{"id": 1, "at": "2026-01-01T00:00:00Z", "tags": [{"k": "a"}]}]
    api.on("/events", lambda _r: {"data": rows, "next": None})
    job = project.job(
        "events",
        connector=CONNECTOR,
        target="raw.events",
        cursor="at",
        columns={"at": "timestamptz"},
        options=options(api, resources={"events": {"path": "/events", "incremental": {"param": "since"}}}),
    )
    assert sum(result.rows for result in project.run(job)) == 1
    assert project.run(job) == ()
    rows += [{"id": 2, "at": "2026-01-01T00:00:00Z", "tags": []}, {"id": 3, "at": "2026-01-02T00:00:00Z"}]
    assert sum(result.rows for result in project.run(job)) == 2
    table = project.table("raw.events")
    assert sorted(table["id"].to_pylist()) == [1, 2, 3]
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"
    project.clean()


def test_a_run_that_fails_after_reading_changes_nothing_and_the_next_reads_it_all(project, api):
    api.on("/events", [{"id": 1, "at": 1}])
    job = project.job(
        "events",
        connector=CONNECTOR,
        target="raw.events",
        cursor="at",
        options=options(api, resources={"events": {"path": "/events", "paginator": "single"}}),
    )
    project.run(job)
    api.on("/events", [{"id": 1, "at": 1}, {"id": 2, "at": 2}, {"id": "three", "at": 3}])
    with pytest.raises(LakecatError, match="'three' is not long"):
        project.run(job)
    assert project.table("raw.events").num_rows == 1
    api.on("/events", [{"id": 1, "at": 1}, {"id": 2, "at": 2}, {"id": 3, "at": 3}])
    project.run(job)
    assert sorted(project.table("raw.events")["id"].to_pylist()) == [1, 2, 3]
    project.clean()


def test_several_resources_in_one_commit_each_in_its_mode(project, api):
    users = [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bo"}]
    api.on("/users", lambda _r: users)
    api.on("/users/1/posts", [{"n": 1}])
    api.on("/users/2/posts", [])
    resources = {
        "users": {"path": "/users", "primary_key": "id"},
        "posts": {
            "path": "/users/{user}/posts",
            "parent": {"resource": "users", "params": {"user": "id"}},
            "include_from_parent": {"user_id": "id"},
        },
    }
    job = project.job(
        "site",
        connector=CONNECTOR,
        target="raw.*",
        streams={"users": {"mode": "merge"}, "posts": {"mode": "replace"}},
        options=options(api, resources=resources),
    )
    assert {str(result.dataset) for result in project.run(job)} == {"raw.users", "raw.posts"}
    assert project.rows("raw.posts") == Counter({(1, 1): 1})
    assert project.run(job) == ()
    users[0]["name"] = "Anna"
    project.run(job)
    assert project.rows("raw.users") == Counter({(1, "Anna"): 1, (2, "Bo"): 1})
    project.clean()


def test_a_resource_that_fails_does_not_hold_the_others(project, api, reply):
    api.on("/a", [{"id": 1}])
    api.on("/b", reply({"message": "gone"}, 410))
    job = project.job(
        "site",
        connector=CONNECTOR,
        target="raw.*",
        streams=["a", "b"],
        mode="replace",
        options=options(api, resources={"a": {"path": "/a"}, "b": {"path": "/b"}}),
    )
    with pytest.raises(StreamsFailedError, match="HTTP 410"):
        project.run(job)
    assert project.table("raw.a").num_rows == 1
    assert not project.exists("raw.b")


def test_bad_rows_go_to_the_quarantine(project, api, reply):
    api.on("/items", reply(b'[{"id": 1, "at": 1}, {"id": 2, "at": 2, "at": 3}, {"id": NaN, "at": 3}]'))
    job = project.job(
        "items",
        connector=CONNECTOR,
        target="raw.items",
        cursor="at",
        quarantine=True,
        options=options(api, resources={"items": {"path": "/items"}}),
    )
    project.run(job)
    assert project.table("raw.items")["id"].to_pylist() == [1]
    quarantine = project.table("raw.items_quarantine")
    assert quarantine["line"].to_pylist() == [2, 3]
    assert quarantine["text"].to_pylist() == ['{"id":2,"at":2,"at":3}', '{"id":NaN,"at":3}']
    assert project.run(job) == ()
    project.clean()


def test_rows_that_are_gone_are_deleted_when_the_job_says_so(project, api):
    rows = [{"id": 1}, {"id": 2}]
    api.on("/items", lambda _r: rows)
    job = project.job(
        "items",
        connector=CONNECTOR,
        target="raw.items",
        mode="merge",
        key="id",
        deletes="absent",
        options=options(api, resources={"items": {"path": "/items"}}),
    )
    project.run(job)
    del rows[0]
    project.run(job)
    assert project.table("raw.items")["id"].to_pylist() == [2]


def test_absent_rows_and_a_cursor_do_not_go_together(project, api):
    api.on("/items", [{"id": 1, "at": 1}])
    job = project.job(
        "items",
        connector=CONNECTOR,
        target="raw.items",
        mode="merge",
        key="id",
        deletes="absent",
        cursor="at",
        options=options(api, resources={"items": {"path": "/items"}}),
    )
    with pytest.raises(LakecatError, match="deletes: absent needs all keys"):
        project.run(job)


def test_an_empty_answer_leaves_the_table(project, api):
    rows = [{"id": 1}]
    api.on("/items", lambda _r: rows)
    job = project.job(
        "items",
        connector=CONNECTOR,
        target="raw.items",
        mode="replace",
        options=options(api, resources={"items": {"path": "/items"}}),
    )
    project.run(job)
    rows.clear()
    assert project.run(job) == ()
    assert project.table("raw.items").num_rows == 1


def test_the_secret_is_nowhere_after_success_and_failure(project, api, reply, capfd, caplog):
    project.put("key.txt", SECRET + "\n")
    asked = iter([[{"id": 1, "at": 1}], reply({"message": f"your key {SECRET} is too old"}, 403)])
    api.on("/items", lambda _r: next(asked))
    job = project.job(
        "items",
        connector=CONNECTOR,
        target="raw.items",
        cursor="at",
        options=options(
            api,
            auth={"type": "api_key", "in": "query", "name": "key", "value": "file:key.txt"},
            resources={"items": {"path": "/items", "paginator": "single"}},
        ),
    )
    project.run(job)
    with pytest.raises(SourceError, match="HTTP 403"):
        project.run(job)
    assert [request.query["key"] for request in api.requests] == [SECRET, SECRET]
    with closing(sqlite3.connect(project.root / "catalog.db")) as connection, connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    files = b"".join(path.read_bytes() for path in (project.root / "lake").rglob("*") if path.is_file())
    shown = dump + "".join(capfd.readouterr()) + caplog.text
    for spelling in (SECRET, "k3y%2Fof", "k3y/of"):
        assert spelling not in shown
        assert spelling.encode() not in files


def test_killed_between_two_pages_it_goes_on_from_the_last_commit(project, api, tmp_path, monkeypatch):
    """Nothing is lost, nothing comes twice, and no rows are left in the temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    rows = [{"id": number, "at": f"2026-01-01T00:00:{number:02}Z"} for number in range(12)]
    arrived, go_on = threading.Event(), threading.Event()

    def answer(request):
        due = [row for row in rows if row["at"] >= request.query.get("since", "")]
        page = int(request.query["page"])
        if page == 4 and not arrived.is_set():
            arrived.set()
            go_on.wait(60)
        return due[2 * (page - 1) : 2 * page]

    api.on("/events", answer)
    incremental = {"param": "since", "boundary": "inclusive", "order": "ascending"}
    resource = {"path": "/events", "paginator": {"type": "page"}, "incremental": incremental}
    job = project.job(
        "events",
        connector=CONNECTOR,
        target="raw.events",
        cursor="at",
        checkpoint=3,
        options=options(api, resources={"events": resource}),
    )
    running = project.start("job", "events", "1")
    assert arrived.wait(60)
    running.kill()
    running.communicate()
    time.sleep(1.1)  # its lease runs out
    go_on.set()
    assert sorted(project.table("raw.events")["id"].to_pylist()) == [0, 1, 2, 3]  # page 3 was read, not committed
    assert list(folder.iterdir()) == []
    asked = len(api.requests)
    assert sum(result.rows for result in project.run(job)) == 8
    assert sorted(project.table("raw.events")["id"].to_pylist()) == list(range(12))
    assert api.requests[asked].query["since"] == "2026-01-01T00:00:03Z"
    project.clean()
