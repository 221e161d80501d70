"""Each way of authentication proves itself to the API and to nobody else, and no secret is ever shown."""

from __future__ import annotations

import base64
import traceback
from typing import Any

import pytest

from lakecat.errors import ConfigError, LakecatError, SourceAccessError, SourceError, SourceUnavailableError

SECRET = "s3cr3t/+ä?&"


def open_for(header: str, expected: str, reply: Any) -> Any:
    def answer(request):
        right = request.headers.get(header) == expected
        return [{"id": 1}] if right else reply({"message": "who are you?"}, 401)

    return answer


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("auth", "header", "expected"),
    [
        ({"type": "basic", "username": "ann", "password": "env:S"}, "authorization", basic(f"ann:{SECRET}")),
        ({"type": "basic", "username": "env:U", "password": "env:S"}, "authorization", basic(f"user7:{SECRET}")),
        ({"type": "bearer", "token": "env:T"}, "authorization", "Bearer tok.en-1"),
        ({"type": "api_key", "name": "X-Api-Key", "value": "env:T"}, "x-api-key", "tok.en-1"),
        (
            {"type": "api_key", "name": "Authorization", "value": "env:T", "prefix": "Token "},
            "authorization",
            "Token tok.en-1",
        ),
        ({"type": "api_key", "in": "cookie", "name": "session", "value": "env:T"}, "cookie", "session=tok.en-1"),
    ],
)
def test_sends_what_proves_who_asks(lab, api, reply, auth, header, expected):
    lab.secrets = {"env:S": SECRET, "env:T": "tok.en-1", "env:U": "user7"}
    api.on("/items", open_for(header, expected, reply))
    assert lab.load({"auth": auth}).rows == [{"id": 1}]


def test_sends_a_key_in_the_query_on_every_page(lab, api):
    lab.secrets = {"env:S": SECRET}
    api.on("/items", lambda r: {"data": [{"id": r.query.get("p", "1")}], "next": None if "p" in r.query else "?p=2"})
    loaded = lab.load({"auth": {"type": "api_key", "in": "query", "name": "api_key", "value": "env:S"}})
    assert [request.query["api_key"] for request in api.requests] == [SECRET, SECRET]
    assert SECRET not in str(loaded.summaries)


def test_headers_and_parameters_may_be_secrets_too(lab, api):
    lab.secrets = {"env:S": "abc123", "file:x": "tenant9"}
    api.on("/items", [{"id": 1}])
    lab.load({"headers": {"X-Tenant": "file:x"}, "params": {"v": 2, "sig": "env:S", "flag": True}})
    (request,) = api.requests
    assert (request.headers["x-tenant"], request.query) == ("tenant9", {"v": "2", "sig": "abc123", "flag": "true"})


def token_server(api, reply, *, life: int = 3600):
    given = iter(range(1, 100))

    def answer(request):
        if request.headers.get("authorization") != basic("my%20id:p%2Fw"):
            return reply({"error": "invalid_client"}, 401)
        return {"access_token": f"access-{next(given)}", "token_type": "Bearer", "expires_in": life}

    api.on("/token", answer)


CREDENTIALS = {
    "type": "oauth2_client_credentials",
    "client_id": "my id",
    "client_secret": "env:S",
    "scope": "read all",
    "audience": "x",
}


def test_fetches_a_token_by_client_credentials_once(lab, api, other_api, reply):
    lab.secrets = {"env:S": "p/w"}
    token_server(other_api, reply)
    api.on(
        "/items",
        lambda r: [{"id": r.query["page"], "auth": r.headers["authorization"]}] if r.query["page"] < "4" else [],
    )
    auth = {**CREDENTIALS, "token_url": f"{other_api.url}/token"}
    loaded = lab.load({"auth": auth}, paginator={"type": "page"})
    assert {row["auth"] for row in loaded.rows} == {"Bearer access-1"}
    (request,) = other_api.requests
    assert request.form == {"grant_type": "client_credentials", "scope": "read all", "audience": "x"}


def test_renews_a_token_before_it_expires(lab, api, reply, clock):
    lab.secrets = {"env:S": "p/w"}
    token_server(api, reply, life=100)

    def answer(request):
        clock.sleep(25)
        page = int(request.query["page"])
        return [{"page": page, "auth": request.headers["authorization"]}] if page < 5 else []

    api.on("/items", answer)
    loaded = lab.load({"auth": {**CREDENTIALS, "token_url": f"{api.url}/token"}}, paginator={"type": "page"})
    # Half of 100 s is left of the token when it is renewed: after two pages of 25 s.
    assert [row["auth"][-1] for row in loaded.rows] == ["1", "1", "2", "2"]


def test_renews_a_token_that_is_refused_once(lab, api, reply):
    lab.secrets = {"env:S": "p/w"}
    token_server(api, reply)
    api.on("/items", lambda r: [{"id": 1}] if r.headers["authorization"] == "Bearer access-2" else reply({}, 401))
    auth = {**CREDENTIALS, "token_url": f"{api.url}/token"}
    assert lab.load({"auth": auth}).rows == [{"id": 1}]
    api.on("/items", reply({}, 401))
    with pytest.raises(SourceAccessError, match="HTTP 401"):
        lab.load({"auth": auth})
    assert len(api.asked("/items")) == 4


def test_refreshes_tokens_and_takes_the_new_refresh_token(lab, api, reply):
    lab.secrets = {"env:R": "refresh-0"}
    seen: list[dict[str, str]] = []

    def answer(request):
        seen.append(request.form)
        return {"access_token": f"access-{len(seen)}", "refresh_token": f"refresh-{len(seen)}"}

    api.on("/token", answer)
    api.on("/items", lambda r: [{"id": 1}] if r.headers["authorization"] == "Bearer access-2" else reply({}, 401))
    auth = {"type": "oauth2_refresh", "token_url": f"{api.url}/token", "client_id": "me", "refresh_token": "env:R"}
    assert lab.load({"auth": auth}).rows == [{"id": 1}]
    assert seen == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-0", "client_id": "me"},
        {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "me"},
    ]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"error": "invalid_grant"}, 400, SourceAccessError),
        ({"error": "invalid_client"}, 401, SourceAccessError),
        ({}, 200, SourceAccessError),
        ([1], 200, SourceAccessError),
        ({"access_token": "x", "token_type": "mac"}, 200, SourceError),
        (b"<html>", 200, SourceError),
        ({}, 503, SourceUnavailableError),
    ],
)
def test_a_token_server_that_gives_none_is_an_error(lab, api, reply, body, status, kind):
    lab.secrets = {"env:S": "p/w"}
    api.on("/token", reply(body, status))
    with pytest.raises(kind):
        lab.load({"auth": {**CREDENTIALS, "token_url": f"{api.url}/token"}})


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_an_access_error(lab, api, reply, status):
    api.on("/items", reply({"message": "no"}, status))
    with pytest.raises(SourceAccessError, match=f"HTTP {status}: .*no"):
        lab.load()
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "bearer", "token": "plainly"},
        {"type": "basic", "username": "ann", "password": "plainly"},
        {"type": "api_key", "name": "k", "value": "plainly"},
        {"type": "oauth2_client_credentials", "token_url": "https://x", "client_id": "a", "client_secret": "plainly"},
    ],
)
def test_a_secret_in_plain_text_is_refused_without_being_repeated(lab, auth):
    with pytest.raises(ConfigError, match="must be given by reference") as caught:
        lab.open({"auth": auth})
    assert "plainly" not in "".join(traceback.format_exception(caught.value))


def test_credentials_do_not_go_over_plain_http(lab):
    lab.secrets = {"env:T": "tok"}
    with pytest.raises(ConfigError, match="auth over http://"):
        lab.open(
            {"base_url": "http://example.com", "allow_private": False, "auth": {"type": "bearer", "token": "env:T"}}
        )


def test_a_base_url_with_a_password_is_refused_without_being_repeated(lab):
    with pytest.raises(ConfigError, match="user or password") as caught:
        lab.open({"base_url": "https://ann:hidden@example.com"})
    assert "hidden" not in str(caught.value)


AUTHS = [
    {"type": "basic", "username": "ann", "password": "env:S"},
    {"type": "bearer", "token": "env:T"},
    {"type": "api_key", "in": "query", "name": "k", "value": "env:S"},
    {"type": "api_key", "in": "cookie", "name": "k", "value": "env:T"},
    {"type": "oauth2_client_credentials", "token_url": "/token", "client_id": "me", "client_secret": "env:S"},
]


def echoes(reply: Any) -> list[Any]:
    """Answers of an API that repeats all that it was sent."""

    def everything(request) -> dict[str, Any]:
        path = f"{request.path}?{'&'.join(f'{k}={v}' for k, v in request.query.items())}"
        return {"headers": dict(request.headers), "query": dict(request.query), "url": path}

    return [
        lambda r: reply({"message": everything(r)}, 401),
        lambda r: reply({"message": everything(r)}, 400),
        lambda r: reply({"message": everything(r)}, 500),
        lambda r: {"error": everything(r)},
        lambda r: {"message": str(everything(r))},
        lambda r: [everything(r), everything(r)["url"]],
        lambda r: reply(str(everything(r)).encode()),
        lambda r: {
            "data": [],
            "next": "http://elsewhere.example/?" + "&".join(map(str, everything(r)["query"].values())),
        },
        lambda r: reply({}, 302, {"Location": "http://elsewhere.example/" + str(r.headers.get("cookie", ""))}),
        lambda r: reply({"data": [1]}, cut=3),
        lambda r: {"data": [{"id": 1}], "next": r.headers.get("authorization", "?same")},
    ]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: auth["type"])
@pytest.mark.parametrize("number", range(11))
def test_no_error_shows_a_secret(lab, api, reply, auth, number, capfd, caplog):
    """Whatever an API repeats: not the secret in any spelling, in message, cause, log or output."""
    lab.secrets = {"env:S": SECRET, "env:T": "tok.en-1"}
    api.on("/token", {"access_token": "given.token-9", "token_type": "bearer"})
    api.on("/items", echoes(reply)[number])
    given = {**auth, "token_url": f"{api.url}/token"} if "token_url" in auth else auth
    with pytest.raises(LakecatError) as caught:
        lab.load({"auth": given, "retries": {"attempts": 2}})
    err = caught.value
    out, said = capfd.readouterr()
    own = [record.getMessage() for record in caplog.records]
    shown = "\n".join([str(err), repr(err), repr(err.args), "".join(traceback.format_exception(err)), out, said, *own])
    spellings = [SECRET, "tok.en-1", "given.token-9", "s3cr3t%2F", basic(f"ann:{SECRET}")[6:], "s3cr3t"]
    assert [spelling for spelling in spellings if spelling in shown] == []


@pytest.mark.parametrize(
    ("status", "text"),
    [(200, "x" * 70 + SECRET), (403, " " * 2_395 + SECRET), (403, "x" * 290 + SECRET)],
    ids=["message", "blanks", "long"],
)
def test_a_secret_that_an_error_would_cut_short_is_hidden_first(lab, api, reply, status, text):
    """Half of a secret is not known again as one."""
    lab.secrets = {"env:S": SECRET}
    api.on("/items", reply({"message": text} if status == 200 else text.encode(), status))
    with pytest.raises(SourceError) as caught:
        lab.load({"auth": {"type": "basic", "username": "ann", "password": "env:S"}})
    assert "***" in caught.value.what
    assert "s3" not in str(caught.value)


def test_lineage_and_position_hold_no_secret(lab, api, new_state):
    lab.secrets = {"env:S": SECRET}
    api.on("/items", [{"id": 1}])
    state = new_state()
    loaded = lab.load({"auth": {"type": "api_key", "in": "query", "name": "key", "value": "env:S"}}, state=state)
    assert "s3cr3t" not in repr(loaded.summaries) + repr(state.position) + repr(lab.opened[0].discover())
