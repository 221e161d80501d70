"""Every way of paging gives every row once; what goes in circles, has no end or is not clear is an error."""

from __future__ import annotations

from typing import Any

import pytest

from lakecat.errors import ConfigError, SourceChangedError, SourceError

ROWS = [{"id": number, "name": f"n{number}"} for number in range(1, 8)]


def pages(size: int = 3) -> list[list[dict[str, Any]]]:
    return [ROWS[start : start + size] for start in range(0, len(ROWS), size)]


def ids(loaded: Any) -> list[int]:
    return [row["id"] for row in loaded.rows]


ALL = [row["id"] for row in ROWS]


def linked(api, reply):
    def answer(request):
        number = int(request.query.get("page", "1"))
        link = f'<{api.url}/items?page={number + 1}>; rel="next", <{api.url}/items?page=1>; rel="first"'
        return reply(pages()[number - 1], headers={"Link": link} if number < 3 else {})

    api.on("/items", answer)


@pytest.mark.parametrize("paginator", ["link_header", "auto"])
def test_follows_link_headers(lab, api, reply, paginator):
    linked(api, reply)
    assert ids(lab.load(paginator=paginator)) == ALL


@pytest.mark.parametrize(
    "header",
    [
        "</items?page=2>;rel=next",
        '<?page=2>; title="a, b; rel=\\"no\\""; rel="prev next"',
        '</other>; rel="last", </items?page=2>; REL="Next"',
    ],
)
def test_reads_link_headers_as_rfc_8288_writes_them(lab, api, reply, header):
    api.on("/items", lambda r: reply(pages()[1]) if "page" in r.query else reply(pages()[0], headers={"Link": header}))
    assert ids(lab.load(paginator="link_header")) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("style", "paginator"),
    [
        (lambda url: {"next": url}, {"type": "next_url", "path": "next"}),
        (lambda url: {"next": url}, "auto"),
        (lambda url: {"@odata.nextLink": url} if url else {}, "auto"),
        (lambda url: {"_links": {"next": {"href": url}} if url else {}}, "auto"),
        (lambda url: {"meta": {"pagination": {"links": {}}}, "links": {"next": url}}, "auto"),
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_follows_urls_in_the_body(lab, api, style, paginator, relative):
    def answer(request):
        number = int(request.query.get("page", "1"))
        url = None if number == 3 else f"{'' if relative else api.url}/items?page={number + 1}"
        return {"data": pages()[number - 1], **style(url)}

    api.on("/items", answer)
    assert ids(lab.load(paginator=paginator)) == ALL


@pytest.mark.parametrize(
    "more", [{}, {"total_path": "total"}, {"has_more_path": "more"}, {"limit": 100}, {"limit_param": None}]
)
def test_counts_offsets_by_the_rows_that_came(lab, api, more):
    """The server gives at most three rows, whatever is asked for."""

    def answer(request):
        start = int(request.query["offset"])
        rows = ROWS[start : start + 3]
        return {"data": rows, "total": len(ROWS), "more": start + 3 < len(ROWS)}

    api.on("/items", answer)
    assert ids(lab.load(paginator={"type": "offset", "limit": 4, **more})) == ALL


@pytest.mark.parametrize(
    ("more", "requests"),
    [
        ({}, 4),
        ({"total_pages_path": "pages"}, 3),
        ({"total_path": "total"}, 3),
        ({"has_more_path": "more"}, 3),
        ({"end_statuses": [404]}, 4),
        ({"size_param": "per_page", "size": 3}, 4),
    ],
)
def test_counts_pages(lab, api, reply, more, requests):
    def answer(request):
        number = int(request.query["page"])
        if number > 3:
            return reply({"detail": "Invalid page."}, 404) if "end_statuses" in more else {"data": []}
        return {"data": pages()[number - 1], "pages": 3, "total": 7, "more": str(number < 3).lower()}

    api.on("/items", answer)
    assert ids(lab.load(paginator={"type": "page", **more})) == ALL
    assert len(api.requests) == requests


def test_an_error_status_on_the_first_page_is_never_the_end(lab, api, reply):
    api.on("/items", reply({"detail": "Invalid page."}, 404))
    with pytest.raises(SourceError, match="HTTP 404"):
        lab.load(paginator={"type": "page", "end_statuses": [404]})


def test_page_numbers_may_start_at_zero_and_stop_at_a_maximum(lab, api):
    api.on("/items", lambda r: pages()[int(r.query["page"])])
    assert ids(lab.load(paginator={"type": "page", "start": 0, "maximum": 1})) == [1, 2, 3, 4, 5, 6]


def test_offsets_stop_at_a_maximum(lab, api):
    api.on("/items", lambda r: ROWS[int(r.query["offset"]) :][:3])
    assert ids(lab.load(paginator={"type": "offset", "maximum": 4})) == [1, 2, 3, 4, 5, 6]


def tokens(key):
    def answer(request):
        number = {"": 1, "t2": 2, "t3": 3}[request.query.get("token", request.query.get("page_token", ""))]
        return {"items": pages()[number - 1], key: f"t{number + 1}" if number < 3 else None}

    return answer


def test_passes_tokens_on(lab, api):
    api.on("/items", tokens("after"))
    assert ids(lab.load(paginator={"type": "cursor", "path": "after", "param": "token"})) == ALL


def test_knows_well_known_tokens(lab, api):
    api.on("/items", tokens("next_page_token"))
    assert ids(lab.load()) == ALL


def test_passes_the_last_rows_id_on_while_there_is_more(lab, api):
    def answer(request):
        rest = [row for row in ROWS if row["id"] > int(request.query.get("starting_after", 0))]
        return {"data": rest[:3], "has_more": len(rest) > 3}

    api.on("/items", answer)
    paginator = {"type": "cursor", "last_row": "id", "param": "starting_after", "has_more_path": "has_more"}
    assert ids(lab.load(paginator=paginator)) == ALL


def test_pages_through_the_body_of_a_post(lab, api):
    def answer(request):
        start = request.json["page"].get("after", 0)
        assert request.json["query"] == "all"
        return {"hits": [row for row in ROWS if row["id"] > start][:3], "after": start + 3 if start < 6 else None}

    api.on("/items", answer)
    body = {"query": "all", "page": {"size": 3}}
    paginator = {"type": "cursor", "path": "after", "param": "page.after", "in": "body"}
    loaded = lab.load(method="POST", json=body, data_path="hits", paginator=paginator)
    assert ids(loaded) == ALL
    assert [request.json["page"] for request in api.requests] == [
        {"size": 3},
        {"size": 3, "after": 3},
        {"size": 3, "after": 6},
    ]


def test_offsets_go_into_the_body_too(lab, api):
    api.on("/items", lambda r: ROWS[r.json["offset"] :][: r.json["limit"]])
    paginator = {"type": "offset", "limit": 4, "in": "body"}
    assert ids(lab.load(method="POST", json={}, paginator=paginator)) == ALL


def test_one_answer_is_enough_when_that_is_said(lab, api):
    api.on("/items", {"data": ROWS, "next": "/items?page=2"})
    assert ids(lab.load(paginator="single")) == ALL
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"data": ROWS, "has_more": True},
        {"data": ROWS, "meta": {"total": 90}},
        {"data": ROWS, "pagination": {"total_pages": 4}},
        {"data": ROWS, "NextToken": "abc"},
        [{"id": number} for number in range(50)],
        [{"id": number} for number in range(64)],
    ],
)
def test_does_not_guess_how_to_get_the_rest(lab, api, body):
    api.on("/items", body)
    with pytest.raises(SourceError) as caught:
        lab.load()
    assert "paginator" in (caught.value.hint or "")


def test_a_total_in_a_header_counts_too(lab, api, reply):
    api.on("/items", reply(ROWS, headers={"X-Total-Count": "90"}))
    with pytest.raises(SourceError, match="x-total-count tells of 90"):
        lab.load()


@pytest.mark.parametrize(
    "body",
    [ROWS, {"data": ROWS, "next": None}, {"data": ROWS, "total": 7}, {"data": ROWS * 2 + ROWS[:6], "has_more": False}],
)
def test_takes_an_answer_as_everything_where_it_says_so(lab, api, body):
    api.on("/items", body)
    assert len(ids(lab.load())) == len(body if isinstance(body, list) else body["data"])


def test_a_page_that_repeats_is_an_error(lab, api):
    api.on("/items", ROWS)
    with pytest.raises(SourceError, match="page 2 of items holds the same rows as page 1"):
        lab.load(paginator={"type": "page"})


def test_equal_pages_may_be_meant(lab, api):
    api.on("/items", lambda r: [{"on": True}] * 3 if int(r.query["page"]) < 4 else [])
    assert len(lab.load(paginator={"type": "page"}, allow_repeats=True).rows) == 9


@pytest.mark.parametrize("paginator", ["auto", {"type": "cursor", "path": "token", "param": "token"}])
def test_paging_in_a_circle_is_an_error(lab, api, paginator):
    count = iter(range(100))
    api.on("/items", lambda _r: {"data": [{"id": next(count)}], "next": "/items?page=2", "token": "same"})
    with pytest.raises(SourceError, match="circle"):
        lab.load(paginator=paginator)


def test_pages_without_end_are_an_error(lab, api):
    api.on("/items", lambda r: [{"id": int(r.query["page"])}])
    with pytest.raises(SourceError, match="does not end after 25 pages"):
        lab.load({"max_pages": 25}, paginator={"type": "page"})
    assert len(api.requests) == 25


def test_fewer_rows_than_the_total_are_an_error(lab, api):
    """As an API does that never shows more than its first rows."""
    api.on(
        "/items",
        lambda r: {"data": ROWS[int(r.query["offset"]) :][:3] if int(r.query["offset"]) < 6 else [], "total": 10_000},
    )
    with pytest.raises(SourceChangedError, match="the pages end at 6 rows of 10000"):
        lab.load(paginator={"type": "offset", "limit": 3, "total_path": "total"})


def test_a_missing_token_is_an_error_where_there_is_more(lab, api):
    api.on("/items", {"data": ROWS, "has_more": True})
    with pytest.raises(SourceError, match="no token"):
        lab.load(paginator={"type": "cursor", "path": "next", "param": "c", "has_more_path": "has_more"})


def test_a_missing_flag_is_an_error(lab, api):
    api.on("/items", {"data": ROWS})
    with pytest.raises(SourceError, match="no true or false at has_more_path 'has_more'"):
        lab.load(paginator={"type": "offset", "has_more_path": "has_more"})


@pytest.mark.parametrize("kind", ["link_header", "auto", {"type": "next_url", "path": "next"}])
def test_a_next_link_to_another_host_is_an_error(lab, api, other_api, reply, kind):
    target = f"{other_api.url}/items?page=2"
    link = {} if isinstance(kind, dict) else {"Link": f'<{target}>; rel="next"'}
    api.on("/items", reply({"data": ROWS, "next": target}, headers=link))
    with pytest.raises(SourceError, match="away from"):
        lab.load(paginator=kind)
    assert other_api.requests == []


def test_options_name_what_is_wrong_with_a_paginator(lab):
    with pytest.raises(ConfigError, match=r"resources\.items\.paginator.*param"):
        lab.open(paginator={"type": "cursor", "path": "next"})
    with pytest.raises(ConfigError, match="no JMESPath"):
        lab.open(paginator={"type": "next_url", "path": "next["})
