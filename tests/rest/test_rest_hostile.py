"""What an API may answer to do harm, or by mistake: nothing of it is taken for rows, and nothing of ours goes out."""

from __future__ import annotations

import time

import httpx2
import pytest

from lakecat.connector import Cursor
from lakecat.errors import ConfigError, SourceAccessError, SourceChangedError, SourceError, SourceUnavailableError
from lakecat.types import WriteMode
from lakecat_connectors._rest_pace import retry_after
from lakecat_connectors._rest_pages import link
from lakecat_connectors._rest_url import with_params

ROWS = [{"id": 1}]
CREDENTIALS = {"type": "oauth2_client_credentials", "client_id": "me", "client_secret": "env:S"}


def child(**posts):
    parent = {"resource": "users", "params": {"user": "id"}}
    return {"users": {"path": "/users", "primary_key": "id"}, "posts": {"path": "/posts", "parent": parent, **posts}}


@pytest.mark.parametrize("place", ["params", "form", "json"])
@pytest.mark.parametrize("reference", ["file:secret.txt", "env:S"])
def test_a_value_that_looks_like_a_reference_stays_a_value(lab, api, place, reference):
    """Else an API could have any file of ours, by giving its path as an id."""
    lab.secrets = {"file:secret.txt": "our-own-file", "env:S": "our-own-file"}
    api.on("/users", [{"id": reference}])
    api.on("/posts", ROWS)
    more = {} if place == "params" else {"method": "POST"}
    lab.load({"resources": child(**{place: {"user": "{user}"}}, **more)}, stream="posts")
    (request,) = api.asked("/posts")
    assert {"params": lambda r: r.query, "form": lambda r: r.form, "json": lambda r: r.json}[place](request) == {
        "user": reference
    }


def test_a_header_made_to_be_hard_to_read_costs_no_time():
    started = time.process_time()
    assert link("<a>" + ";x  " * 25_000 + '"', "next") is None
    assert link("<a>;" + "<b>; " * 20_000, "next") is None
    assert time.process_time() - started < 2


def test_a_retry_after_with_a_zone_beyond_all_bounds_says_nothing(clock):
    assert retry_after({"retry-after": "Wed, 01 Jan 2026 00:00:00 +99999999999999"}, clock.now) is None


@pytest.mark.parametrize("query", ["token=%E4b%2Bc", "a=1;b=2&flag", "x=%20+%7E~&x=2", "sig=a/b%2Fc=="])
def test_a_links_own_query_stays_as_it_is(query):
    url = httpx2.URL(f"https://api.example/items?{query}&key=old")
    assert with_params(url, {}).raw_path == url.raw_path
    assert with_params(url, {"key": "a b"}).query.decode() == f"{query}&key=a+b"


@pytest.mark.parametrize(
    ("resource", "row"),
    [
        ({"data_path": "values(data)"}, {"other": 1}),
        ({"data_path": "sort_by(data, &id)"}, {"data": [{"id": 1}, {"id": "x"}]}),
        ({"paginator": {"type": "cursor", "path": "length(next)", "param": "p"}}, {"data": ROWS}),
        ({"error_path": "length(problem)"}, {"data": ROWS}),
    ],
)
def test_a_path_that_does_not_go_with_the_answer_is_a_source_error(lab, api, resource, row):
    api.on("/items", row)
    with pytest.raises(SourceError, match="cannot be applied to the answer"):
        lab.load(**resource)


@pytest.mark.parametrize("status", [204, 205])
@pytest.mark.parametrize("paginator", ["single", {"type": "offset"}, {"type": "next_url", "path": "next"}])
def test_no_content_is_no_rows_whatever_is_declared(lab, api, reply, status, paginator):
    api.on("/items", reply(b"", status))
    assert lab.load(data_path="data", paginator=paginator, empty="load").rows == []


@pytest.mark.parametrize("end", [204, 404])
def test_pages_that_end_before_the_total_are_an_error_however_they_end(lab, api, reply, end):
    api.on("/items", lambda r: {"data": ROWS, "total": 3} if r.query["page"] == "1" else reply(b"", end))
    with pytest.raises(SourceChangedError, match="the pages end at 1 rows of 3"):
        lab.load(paginator={"type": "page", "total_path": "total", "end_statuses": [404]})


def test_a_part_of_the_rows_is_not_everything(lab, api, reply):
    api.on("/items", reply([{"id": 1}, {"id": 2}, {"id": 3}], 206, {"Content-Range": "0-2/9"}))
    with pytest.raises(SourceError, match="a part of the rows"):
        lab.load()
    assert len(lab.load(paginator="single").rows) == 3


@pytest.mark.parametrize("status", [300, 302, 304])
def test_a_redirect_to_nowhere_gives_no_rows(lab, api, reply, status):
    api.on("/items", reply(b"" if status == 304 else [], status))
    with pytest.raises(SourceError, match=f"answers HTTP {status}"):
        lab.load()


def test_an_answer_that_is_not_ready_yet_is_waited_for(lab, api, reply, clock):
    left = [reply([], 202, {"Retry-After": "7"}), reply([], 202)]
    api.on("/items", lambda _r: left.pop(0) if left else ROWS)
    assert lab.load().rows == ROWS
    assert clock.waits == [7, 2]
    api.on("/items", reply([], 202))
    with pytest.raises(SourceUnavailableError, match="HTTP 202 after 5 attempts"):
        lab.load()


@pytest.mark.parametrize(
    "body",
    [
        {"ok": False, "data": []},
        {"success": False, "message": "quota", "items": []},
        {"status": "error", "data": []},
        {"status": "fail", "results": []},
    ],
)
def test_a_failure_beside_no_rows_is_an_error(lab, api, body):
    api.on("/items", body)
    with pytest.raises(SourceError, match="the answer is an error"):
        lab.load()
    assert lab.load(error_path=False, empty="load").rows == []


def test_success_is_no_error(lab, api):
    api.on("/items", {"ok": True, "success": True, "status": "ok", "error": None, "errors": [], "data": ROWS})
    assert lab.load().rows == ROWS


@pytest.mark.parametrize("keys", [["1", "22"], ["3f2504e0-4f89-11d3-9a0c-0305e82c3301"], ["5f43a1c2d9e8b7a601020304"]])
def test_rows_under_their_ids_are_not_one_wide_row(lab, api, keys):
    api.on("/items", {"data": {key: {"n": int(key[:1])} for key in keys}})
    with pytest.raises(SourceError, match="stand under their ids") as caught:
        lab.load(data_path="data", paginator="single")
    assert caught.value.hint == "say data_path: values(data)"
    assert len(lab.load(data_path="values(data)", paginator="single").rows) == len(keys)


def test_a_total_that_shrinks_is_an_error(lab, api):
    """The second page's first row moved to the first page, which was read."""
    api.on("/items", lambda r: {"data": [{"id": int(r.query["page"])}], "total": 4 if r.query["page"] == "1" else 3})
    with pytest.raises(SourceChangedError, match="the total went from 4 to 3"):
        lab.load(paginator={"type": "page", "total_path": "total"})


@pytest.mark.parametrize("number", [0, 1, 2])
def test_lone_surrogates_go_nowhere(lab, api, reply, number):
    text = b'"\\ud800x"'
    body = [
        b'[{"id": ' + text + b"}]",
        b'{"data": [{"id": 1}], "next": ' + text + b"}",
        b'{"data": [{"id": 1}], "next": "/users?p=\\ud800"}',
    ][number]
    api.on("/users", reply(body))
    tree = child(params={"user": "{user}"})
    if number:
        kind = {"type": "cursor", "param": "p"} if number == 1 else {"type": "next_url"}
        tree["users"]["paginator"] = {**kind, "path": "next"}
    with pytest.raises(SourceError, match=r"address|no URL"):
        lab.load({"resources": tree}, stream="posts" if not number else "users")


def test_a_parent_that_comes_twice_is_asked_once(lab, api):
    pages = {None: {"data": [{"id": 1}, {"id": 2}], "next": "?p=2"}, "2": {"data": [{"id": 2, "n": 1}], "next": None}}
    api.on("/users", lambda r: pages[r.query.get("p")])
    api.on("/posts", lambda r: [{"of": r.query["user"]}])
    loaded = lab.load({"resources": child(params={"user": "{user}"})}, stream="posts")
    assert [row["of"] for row in loaded.rows] == ["1", "2"]
    assert len(api.asked("/posts")) == 2


def test_no_parents_are_no_children(lab, api):
    api.on("/users", {"data": [], "next": None})
    loaded = lab.load({"resources": child(params={"user": "{user}"}, empty="load")}, stream="posts")
    assert loaded.rows == []
    assert api.asked("/posts") == []


@pytest.mark.parametrize("life", ["NaN", "Infinity", '"²"', "-5", "0", "1e400", "true", '"soon"', "9" * 400])
def test_a_tokens_life_that_makes_no_sense_is_no_crash(lab, api, reply, life):
    lab.secrets = {"env:S": "p/w-1"}
    api.on("/token", reply(f'{{"access_token": "tok-99", "expires_in": {life}}}'.encode()))
    api.on("/items", lambda r: [{"id": r.query["page"]}] if r.query["page"] < "3" else [])
    loaded = lab.load({"auth": {**CREDENTIALS, "token_url": f"{api.url}/token"}}, paginator={"type": "page"})
    assert len(loaded.rows) == 2
    assert len(api.asked("/token")) == 1


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"access_token": "a\\r\\nX-Evil: 1"}', b'{"access_token": "\\u00e4b"}']
)
def test_a_token_answer_that_cannot_be_meant_is_a_source_error(lab, api, reply, body):
    lab.secrets = {"env:S": "p/w-1"}
    api.on("/token", reply(body))
    with pytest.raises(SourceError, match="the token server"):
        lab.load({"auth": {**CREDENTIALS, "token_url": f"{api.url}/token"}})
    assert api.asked("/items") == []


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Key": "env:S"}},
        {"params": {"key": "env:S"}},
        {"resources": {"items": {"path": "/items", "headers": {"X-Key": "env:S"}}}},
        {"resources": {"items": {"path": "/items", "params": {"key": "env:S"}}}},
        {"resources": {"items": {"path": "/items", "method": "POST", "form": {"keys": ["env:S"]}}}},
        {"resources": {"items": {"path": "/items", "method": "POST", "json": {"auth": {"key": "env:S"}}}}},
    ],
)
def test_secrets_outside_of_auth_do_not_go_over_plain_http_either(lab, options):
    lab.secrets = {"env:S": "key-1"}
    with pytest.raises(ConfigError, match="over http://"):
        lab.open({"base_url": "http://example.com", "allow_private": False, **options})


@pytest.mark.parametrize("secret", ["two\nlines", "größe", "nul\0"])
@pytest.mark.parametrize("place", ["auth", "headers", "resource"])
def test_a_secret_that_no_header_can_hold_is_a_config_error(lab, api, secret, place):
    lab.secrets = {"env:S": secret}
    api.on("/items", ROWS)
    given = {
        "auth": {"auth": {"type": "bearer", "token": "env:S"}},
        "headers": {"headers": {"X-Key": "env:S"}},
        "resource": {"resources": {"items": {"path": "/items", "headers": {"X-Key": "env:S"}}}},
    }[place]
    with pytest.raises(ConfigError, match="holds a line break") as caught:
        lab.load(given)
    assert secret not in str(caught.value)
    assert api.requests == []


@pytest.mark.parametrize("headers", [{"X-Größe": "1"}, {"X-A": "ä"}, {"X-A": "a\r\nX-B: b"}, {"a b": "1"}])
def test_a_resources_headers_are_checked_like_the_jobs(lab, headers):
    for options in ({"headers": headers}, {"resources": {"items": {"path": "/items", "headers": headers}}}):
        with pytest.raises(ConfigError, match="is no sound HTTP header"):
            lab.open(options)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_headers_that_frame_the_request_cannot_be_set(lab, name):
    auth = {"type": "api_key", "name": name, "value": "env:S"}
    for options in ({"headers": {name: "5"}}, {"auth": auth}):
        with pytest.raises(ConfigError, match="follows from the request"):
            lab.open(options)


@pytest.mark.parametrize(("place", "name"), [("header", "bad name"), ("header", "a\r\nb"), ("cookie", "a;b")])
def test_names_of_keys_are_those_of_headers_and_cookies(lab, place, name):
    with pytest.raises(ConfigError, match=r"is no (sound HTTP header|name of a cookie)"):
        lab.open({"auth": {"type": "api_key", "in": place, "name": name, "value": "env:S"}})


def test_a_secret_that_would_be_two_cookies_is_refused_without_being_repeated(lab):
    lab.secrets = {"env:S": "half-one;half-two"}
    with pytest.raises(ConfigError, match="which ends a cookie") as caught:
        lab.open({"auth": {"type": "api_key", "in": "cookie", "name": "session", "value": "env:S"}})
    assert "half" not in str(caught.value)


def test_parameters_are_scalars_or_lists_of_them(lab, api):
    api.on("/items", ROWS)
    with pytest.raises(ConfigError, match="'filter' must be a text, a number"):
        lab.open(params={"filter": {"a": 1}})
    lab.load(params={"n": 1.5, "none": None, "no": False})
    assert api.requests[0].query == {"n": "1.5", "none": "", "no": "false"}


@pytest.mark.parametrize("kind", ["form", "json"])
def test_bodies_may_hold_secrets_that_no_error_shows(lab, api, reply, kind):
    lab.secrets = {"env:S": "body-key-1"}
    api.on("/items", lambda r: reply({"message": r.body.decode()}, 403))
    with pytest.raises(SourceAccessError) as caught:
        lab.load(method="POST", **{kind: {"key": "env:S", "n": 1}})
    assert b"body-key-1" in api.requests[0].body
    assert "body-key-1" not in str(caught.value)


def test_pages_through_a_form(lab, api):
    pages = {None: {"data": [{"id": 1}], "next": "a b"}, "a b": {"data": [{"id": 2}], "next": None}}
    api.on("/items", lambda r: pages[r.form.get("page.token")])
    loaded = lab.load(
        method="POST",
        form={"kind": ["x", "y"], "limit": 5},
        paginator={"type": "cursor", "path": "next", "param": "page.token", "in": "body"},
    )
    assert [row["id"] for row in loaded.rows] == [1, 2]
    assert api.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    assert api.requests[0].body == b"kind=x&kind=y&limit=5"
    with pytest.raises(ConfigError, match="json and form"):
        lab.open(method="POST", form={}, json={})
    with pytest.raises(ConfigError, match="form needs method: POST"):
        lab.open(form={})


def test_site_local_addresses_are_private(lab, api):
    with pytest.raises(SourceAccessError, match="private network"):
        lab.run_with({"base_url": f"http://old.example:{api.port}", "allow_private": False}, lambda *_: ["fec0::1"])


@pytest.mark.parametrize(
    ("following", "message"),
    [
        (7, r"a token for the next page at (meta\.)?next"),
        ("b64==", r"a token for the next page at (meta\.)?next"),
        ({"url": "/items?p=2"}, r"says at (meta\.)?next how to get the next page"),
        (["/items?p=2"], r"says at (meta\.)?next how to get the next page"),
        (0.5, r"a token for the next page at (meta\.)?next"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_next_page_that_is_not_understood_is_not_taken_for_the_end(lab, api, following, message, inside):
    body = {"data": ROWS, **({"meta": {"next": following}} if inside else {"next": following})}
    api.on("/items", body)
    with pytest.raises(SourceError, match=message):
        lab.load()


@pytest.mark.parametrize("following", [None, False, "", 0, [], {}])
def test_no_next_page_is_the_end(lab, api, following):
    api.on("/items", {"data": ROWS, "next": following})
    assert lab.load().rows == ROWS


def test_errors_beside_no_data_are_told(lab, api):
    api.on("/items", {"data": None, "errors": [{"message": "no such field"}]})
    with pytest.raises(SourceError, match="no such field"):
        lab.load(data_path="data.items")


def test_rows_without_any_key_are_an_error_and_not_nothing(lab, api):
    api.on("/items", [{}, {}])
    with pytest.raises(SourceError, match="none of its rows has a key"):
        lab.load()


@pytest.mark.parametrize(
    ("total", "fits"), [("2.0", True), ('"2"', True), ("2.5", False), ("-1", False), ("1e2", None)]
)
def test_totals_are_whole_numbers_however_they_are_written(lab, api, reply, total, fits):
    api.on("/items", lambda r: reply(f'{{"data": [{{"id": {r.query["page"]}}}], "total": {total}}}'.encode()))
    paginator = {"type": "page", "total_path": "total"}
    if fits:
        assert len(lab.load(paginator=paginator).rows) == 2
    elif fits is None:
        assert len(lab.load(paginator=paginator).rows) == 100
    else:
        with pytest.raises(SourceError, match="no number at total_path"):
            lab.load(paginator=paginator)


def test_a_zone_that_is_none_is_no_moment(lab, api, state):
    api.on("/items", [{"id": 1, "at": "2026-01-01T00:00:00+99:00"}])
    with pytest.raises(SourceError, match="the cursor 'at' holds"):
        lab.load(state=state, cursor=Cursor(column="at"), mode=WriteMode.MERGE)
