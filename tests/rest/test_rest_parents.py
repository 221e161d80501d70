"""Resources below others, and several resources of one API."""

from __future__ import annotations

import pytest

from lakecat.connector import Cursor, StreamRequest
from lakecat.errors import ConfigError, SourceChangedError, SourceError
from lakecat.types import WriteMode

USERS = [{"id": 1, "name": "Ann"}, {"id": "x/y é", "name": "Bo"}, {"id": 3, "name": "Cy"}]


def resources(**posts):
    parent = {"resource": "users", "params": {"user": "id"}}
    return {
        "users": {"path": "/users", "primary_key": ["id"]},
        "posts": {"path": "/users/{user}/posts", "parent": parent, **posts},
    }


def serve(api, reply=None):
    api.on(
        "/users",
        lambda r: {"data": USERS[:2], "next": "?p=2"} if "p" not in r.query else {"data": USERS[2:], "next": None},
    )
    api.on(
        "/users/1/posts",
        lambda r: {"data": [{"n": 10}], "next": "?p=2"} if "p" not in r.query else {"data": [{"n": 11}], "next": None},
    )
    api.on("/users/x%2Fy%20%C3%A9/posts", [{"n": 20}])
    api.on("/users/3/posts", [])


def test_reads_the_children_of_every_parent(lab, api):
    serve(api)
    loaded = lab.load({"resources": resources()}, stream="posts")
    assert [row["n"] for row in loaded.rows] == [10, 11, 20]
    (summary,) = loaded.summaries
    assert summary.sources[0].uri == f"{api.url}/users/{{user}}/posts"


def test_columns_of_the_parent_come_along(lab, api):
    serve(api)
    loaded = lab.load({"resources": resources(include_from_parent=["id", "name"])}, stream="posts")
    assert [(row["n"], row["users_id"], row["users_name"]) for row in loaded.rows] == [
        (10, "1", "Ann"),
        (11, "1", "Ann"),
        (20, "x/y é", "Bo"),
    ]
    named = resources(include_from_parent={"author": "name"})
    assert [row["author"] for row in lab.load({"resources": named}, stream="posts").rows] == ["Ann", "Ann", "Bo"]


def test_a_parents_column_hides_no_own_one(lab, api):
    serve(api)
    with pytest.raises(SourceChangedError, match="the column 'n' comes from the parent"):
        lab.load({"resources": resources(include_from_parent={"n": "name"})}, stream="posts")


def test_grandchildren(lab, api):
    api.on("/a", [{"id": 1}, {"id": 2}])
    api.on("/a/1/b", [{"id": 5}])
    api.on("/a/2/b", [{"id": 6}])
    api.on("/a/1/b/5/c", [{"v": "x"}])
    api.on("/a/2/b/6/c", [{"v": "y"}])
    tree = {
        "a": {"path": "/a"},
        "b": {"path": "/a/{a}/b", "parent": {"resource": "a", "params": {"a": "id"}}, "include_from_parent": ["id"]},
        "c": {"path": "/a/{a}/b/{b}/c", "parent": {"resource": "b", "params": {"a": "a_id", "b": "id"}}},
    }
    assert [row["v"] for row in lab.load({"resources": tree}, stream="c").rows] == ["x", "y"]


def test_a_parents_value_may_go_into_parameters(lab, api):
    api.on("/users", [{"id": 1}, {"id": 2}])
    api.on("/posts", lambda r: [{"of": r.query["user"]}])
    parent = {"resource": "users", "params": {"user": "id"}}
    tree = {"users": {"path": "/users"}, "posts": {"path": "/posts", "params": {"user": "{user}"}, "parent": parent}}
    assert [row["of"] for row in lab.load({"resources": tree}, stream="posts").rows] == ["1", "2"]


@pytest.mark.parametrize("value", [None, "", ".", "..", True, 1.5, ["x"], "a\nb"])
def test_a_parents_value_that_is_no_part_of_an_address_is_an_error(lab, api, value):
    api.on("/users", [{"id": value}])
    with pytest.raises(SourceError, match="'id'"):
        lab.load({"resources": resources()}, stream="posts")


def test_a_parent_that_is_gone_is_an_error_unless_it_may_be(lab, api):
    serve(api)
    del api.answers["/users/3/posts"]
    with pytest.raises(SourceError, match="HTTP 404"):
        lab.load({"resources": resources()}, stream="posts")
    tree = resources()
    tree["posts"]["parent"] = {"resource": "users", "params": {"user": "id"}, "missing": "skip"}
    assert [row["n"] for row in lab.load({"resources": tree}, stream="posts").rows] == [10, 11, 20]


def test_children_by_a_cursor(lab, api, state):
    api.on("/users", [{"id": 1}, {"id": 2}])
    posts = {"1": [{"at": 1}, {"at": 4}], "2": [{"at": 2}]}
    for user, rows in posts.items():
        api.on(
            f"/users/{user}/posts",
            lambda r, rows=rows: [row for row in rows if row["at"] > int(r.query.get("since", 0))],
        )
    tree = resources(incremental={"param": "since"}, include_from_parent=["id"])
    everything = {"stream": "posts", "mode": WriteMode.APPEND, "state": state, "cursor": Cursor(column="at", lag=1)}
    assert [row["at"] for row in lab.load({"resources": tree}, **everything).rows] == [1, 4, 2]
    posts["2"].append({"at": 4})
    posts["1"].append({"at": 5})
    assert [(row["users_id"], row["at"]) for row in lab.load({"resources": tree}, **everything).rows] == [
        (1, 5),
        (2, 4),
    ]


def test_discovers_what_is_declared(lab, api):
    found = lab.open({"resources": resources(description="what they wrote")}).discover()
    assert [(stream.name, stream.key, stream.uri) for stream in found] == [
        ("users", ("id",), f"{api.url}/users"),
        ("posts", (), f"{api.url}/users/{{user}}/posts"),
    ]
    assert found[1].description == "what they wrote"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"path": "/a/{x}"}}, "nothing fills {x}"),
        (
            {"a": {"path": "/a", "parent": {"resource": "b", "params": {"x": "id"}}}, "b": {"path": "/b"}},
            "used nowhere",
        ),
        ({"a": {"path": "/{x}", "parent": {"resource": "b", "params": {"x": "id"}}}}, "the parent 'b' is no resource"),
        ({"a": {"path": "/{x}", "parent": {"resource": "a", "params": {"x": "id"}}}}, "in a circle: a > a"),
        ({"a": {"path": "/a", "include_from_parent": ["id"]}}, "include_from_parent needs parent"),
        ({"a": {"path": "/a", "json": {}}}, "json needs method: POST"),
        ({"a": {"path": "/a", "paht": "/b"}}, "unknown option 'resources.a.paht'"),
        ({"a": {}}, "option 'resources.a.path' is missing"),
        ({}, "resources"),
    ],
)
def test_options_that_cannot_be_meant(lab, tree, message):
    with pytest.raises(ConfigError) as caught:
        lab.open({"resources": tree})
    assert message in caught.value.what


def test_the_stream_must_be_one_that_is_declared(lab, api, state):
    connector = lab.open({"resources": resources()})
    with pytest.raises(ConfigError, match="there is no resource 'user'") as caught:
        connector.plan(StreamRequest(name="user", mode=WriteMode.REPLACE), state)
    assert "did you mean users?" in caught.value.hint
    with pytest.raises(ConfigError, match="which resource"):
        connector.plan(StreamRequest(mode=WriteMode.REPLACE), state)


def test_a_streams_own_options_add_to_its_resource(lab, api, state):
    api.on("/users", lambda r: [dict(r.query)])
    connector = lab.open({"resources": resources()})
    request = StreamRequest(name="users", mode=WriteMode.REPLACE, options={"params": {"active": True}})
    (slice_,) = connector.plan(request, state)
    assert slice_.uri == f"{api.url}/users"
    assert api.requests[0].query == {"active": "true"}
    with pytest.raises(ConfigError, match="unknown option 'parms'"):
        connector.plan(StreamRequest(name="users", mode=WriteMode.REPLACE, options={"parms": {}}), state)
