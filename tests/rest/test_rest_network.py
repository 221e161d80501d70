"""Requests go to allowed addresses only, as fast as is allowed, again where that is safe, and end in time."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lakecat.errors import ConfigError, ParseError, SourceAccessError, SourceError, SourceUnavailableError
from lakecat_connectors._rest_address import is_public
from lakecat_connectors._rest_pace import Pace, quota_wait, retry_after

ROWS = [{"id": 1}]


def failing(times: int, failure: Any, then: Any = ROWS) -> Any:
    left = [times]

    def answer(request):
        del request
        left[0] -= 1
        return failure if left[0] >= 0 else then

    return answer


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_asks_again_with_growing_waits(lab, api, reply, clock, status):
    api.on("/items", failing(3, reply({}, status)))
    assert lab.load().rows == ROWS
    assert clock.waits == [1, 2, 4]


def test_gives_up_after_so_many_attempts(lab, api, reply):
    api.on("/items", reply({"message": "overloaded"}, 503))
    with pytest.raises(SourceUnavailableError, match="HTTP 503 after 4 attempts"):
        lab.load({"retries": 4})
    assert len(api.requests) == 4


@pytest.mark.parametrize("status", [400, 404, 409, 422, 501])
def test_other_errors_are_final(lab, api, reply, status):
    api.on("/items", reply({"message": "no"}, status))
    with pytest.raises(SourceError, match=f"HTTP {status}"):
        lab.load()
    assert len(api.requests) == 1


def test_waits_as_long_as_the_api_asks_in_seconds(lab, api, reply, clock):
    api.on("/items", failing(1, reply({}, 429, {"Retry-After": "17"})))
    lab.load()
    assert clock.waits == [17]


def test_waits_as_long_as_the_api_asks_by_a_date(lab, api, reply, clock):
    until = clock.now + dt.timedelta(seconds=90)
    api.on("/items", failing(1, reply({}, 503, {"Retry-After": format_datetime(until, usegmt=True)})))
    lab.load()
    assert clock.waits == [90]


def test_does_not_wait_longer_than_is_allowed(lab, api, reply, clock):
    api.on("/items", reply({}, 429, {"Retry-After": "86400"}))
    with pytest.raises(SourceUnavailableError, match="asks to wait for 86400 s"):
        lab.load()
    assert clock.waits == []


def test_waits_for_the_next_quota_when_nothing_is_left(lab, api, reply, clock):
    def answer(request):
        page = int(request.query["page"])
        left = {"RateLimit": f'"day";r=900;t=9, "minute";r={2 - page};t=33'}
        return reply([{"id": page}] if page < 4 else [], headers=left if page < 3 else {})

    api.on("/items", answer)
    assert len(lab.load(paginator={"type": "page"}).rows) == 3
    assert clock.waits == [33]


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"ratelimit": '"default";r=0;t=30'}, 30),
        ({"ratelimit": '"daily-reset";r=0;t=30'}, 30),
        ({"ratelimit": "limit=100, remaining=0, reset=50"}, 50),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "5"}, 5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) + 40)}, 40),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((int(NOW.timestamp()) + 40) * 1000)}, 40),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW.timestamp()) - 40)}, 0),
        ({"ratelimit": '"default";r=1;t=30'}, None),
        ({"ratelimit": "limit=100, remaining=7, reset=50"}, None),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"x-ratelimit-remaining": "lots", "x-ratelimit-reset": "soon"}, None),
        ({"ratelimit": "garbage;;;=,"}, None),
        ({}, None),
    ],
)
def test_reads_quota_headers(headers, seconds):
    assert quota_wait(headers, NOW) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1e9", "Wed, 99 Foo 2026 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_none(text):
    assert retry_after({"retry-after": text}, NOW) is None


def test_goes_no_faster_than_the_job_allows(lab, api, clock):
    api.on("/items", lambda r: [{"id": r.query["page"]}] if int(r.query["page"]) < 6 else [])
    lab.load({"rate_limit": {"requests": 2, "seconds": 10}}, paginator={"type": "page"})
    assert len(api.requests) == 6
    assert sum(clock.waits) == 20


def test_the_pace_counts_every_window_of_its_length(clock):
    pace = Pace(3, 1.0, clock.times())
    sent = []
    for pause in (0, 0.4, 0.4, 0.1, 0, 0, 0.9, 0, 0):
        clock.sleep(pause)
        pace.wait()
        sent.append(clock.now)
    for number, start in enumerate(sent):
        within = [moment for moment in sent[number:] if (moment - start).total_seconds() < 0.999_999]
        assert len(within) <= 3


def test_a_connection_that_breaks_off_in_the_midst_is_asked_again(lab, api, reply, clock):
    big = [{"id": number, "text": "x" * 100} for number in range(1000)]
    api.on("/items", failing(2, reply(big, cut=5000), big))
    assert len(lab.load(paginator="single").rows) == 1000
    assert len(clock.waits) == 2


def test_a_server_that_dies_is_an_error_and_nothing_is_loaded(lab, api, reply):
    api.on("/items", lambda r: [{"id": 1}] if r.query["page"] == "1" else reply(ROWS * 100, cut=50))
    with pytest.raises(SourceUnavailableError, match="does not answer after 5 attempts: it broke off"):
        lab.load(paginator={"type": "page"})


def test_a_server_that_is_not_there_is_an_error(lab, clock):
    with pytest.raises(SourceUnavailableError, match="after 3 attempts: no connection"):
        lab.load({"base_url": "http://127.0.0.1:1", "retries": 3})
    assert clock.waits == [1, 2]


@pytest.mark.parametrize(("declared", "requests"), [({}, 1), ({"idempotent": True}, 2)])
@pytest.mark.parametrize("kind", ["status", "break"])
def test_a_post_is_sent_again_only_where_that_is_declared_safe(lab, api, reply, declared, requests, kind):
    api.on("/items", failing(1, reply({}, 503) if kind == "status" else reply(ROWS * 9, cut=4)))
    if declared:
        assert lab.load(method="POST", json={}, **declared).rows == ROWS
    else:
        with pytest.raises(SourceUnavailableError):
            lab.load(method="POST", json={})
    assert len(api.requests) == requests


def test_follows_redirects_within_the_origin(lab, api, reply):
    lab.secrets = {"env:T": "tok-1"}
    api.on("/items", reply({}, 301, {"Location": "/v2/items?x=1"}))
    api.on("/v2/items", lambda r: [{"auth": r.headers["authorization"]}])
    loaded = lab.load({"auth": {"type": "bearer", "token": "env:T"}})
    assert loaded.rows == [{"auth": "Bearer tok-1"}]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_to_another_host(lab, api, other_api, reply, status):
    lab.secrets = {"env:T": "tok-1"}
    api.on("/items", reply({}, status, {"Location": f"{other_api.url}/items"}))
    other_api.on("/items", ROWS)
    with pytest.raises(SourceError, match="away from"):
        lab.load({"auth": {"type": "bearer", "token": "env:T"}})
    assert other_api.requests == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "gopher://127.0.0.1/", "//evil.example/", "http://[::1", "\\\\x"]
)
def test_no_redirect_leads_to_another_scheme(lab, api, reply, target):
    api.on("/items", reply({}, 302, {"Location": target}))
    with pytest.raises(SourceError):
        lab.load()


def test_allowed_hosts_are_followed_without_credentials(lab, api, other_api, reply):
    lab.secrets = {"env:T": "tok-1", "env:C": "own-2"}
    api.on("/items", {"data": ROWS, "next": f"{other_api.url}/more"})
    other_api.on("/more", {"data": [{"id": 2}], "next": None})
    options = {
        "auth": {"type": "bearer", "token": "env:T"},
        "headers": {"X-Own": "env:C"},
        "allowed_hosts": ["127.0.0.1"],
    }
    assert lab.load(options).rows == [{"id": 1}, {"id": 2}]
    (request,) = other_api.requests
    assert not {"authorization", "x-own"} & request.headers.keys()


def test_redirects_in_a_circle_end(lab, api, reply):
    api.on("/items", reply({}, 302, {"Location": "/items"}))
    with pytest.raises(SourceError, match="redirects more than 5 times"):
        lab.load()


def test_a_post_is_not_redirected(lab, api, reply):
    api.on("/items", reply({}, 307, {"Location": "/v2"}))
    with pytest.raises(SourceError, match="a POST is redirected"):
        lab.load(method="POST", json={})


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"],
)
def test_private_addresses_are_refused_however_they_are_spelled(lab, api, host):
    api.on("/items", ROWS)
    with pytest.raises((SourceAccessError, SourceUnavailableError)) as caught:
        lab.load({"base_url": f"http://{host}:{api.port}", "allow_private": False, "retries": 1})
    if isinstance(caught.value, SourceUnavailableError):
        assert "is not known" in str(caught.value)  # a spelling that this system does not take
    assert api.requests == []


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "127.8.8.8",
        "192.0.0.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
        "ff02::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2002:a00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_internet(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet(address):
    assert is_public(address)


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(lab, api, monkeypatch):
    """A name server that answers with a public address first and a private one later (DNS rebinding) gains nothing."""
    api.on("/items", ROWS)
    asked: list[str] = []
    connected: list[str] = []

    def rebinding(host, port):
        del port
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["127.0.0.1"]

    def connect(_backend, host, *_more):
        connected.append(host)
        raise httpcore2.ConnectError("nobody goes there in a test")

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)
    options = {"base_url": f"http://rebind.example:{api.port}", "allow_private": False, "retries": 2}
    with pytest.raises(SourceAccessError, match="is an address of a private network"):
        lab.run_with(options, rebinding)
    assert connected == ["8.8.8.8"], "the first attempt goes to the address that was checked, the second nowhere"
    assert asked == ["rebind.example"] * 2, "once for each attempt"
    assert api.requests == []


def test_one_private_address_among_public_ones_is_refused(lab, api):
    options = {"base_url": f"http://mixed.example:{api.port}", "allow_private": False, "retries": 1}
    with pytest.raises(SourceAccessError, match="private network"):
        lab.run_with(options, lambda _host, _port: ["8.8.8.8", "10.0.0.1"])


def test_the_environments_proxy_is_not_used(lab, api, other_api, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, other_api.url)
    api.on("/items", ROWS)
    assert lab.load().rows == ROWS
    assert other_api.requests == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.com", "must be an http:// or https:// URL"),
        ("example.com", "must be an http:// or https:// URL"),
        ("file:///etc/passwd", "must be an http:// or https:// URL"),
        ("https://", "must be an http:// or https:// URL"),
        ("https://example.com/?key=1", "has a query"),
    ],
)
def test_base_urls_that_cannot_be_meant(lab, url, message):
    with pytest.raises(ConfigError, match=message):
        lab.open({"base_url": url})


def test_packed_answers_are_unpacked(lab, api, reply):
    api.on("/items", reply(ROWS, packed=True))
    assert lab.load().rows == ROWS
    assert api.requests[0].headers["accept-encoding"] == "gzip"


def test_an_answer_may_not_unpack_without_end(lab, api, reply):
    bomb = b"[" + b" " * 20_000_000 + b"]"
    api.on("/items", reply(bomb, packed=True))
    with pytest.raises(ParseError, match="longer than 1000000 bytes"):
        lab.load({"max_response_bytes": 1_000_000})


def test_an_answer_may_not_be_too_long(lab, api):
    api.on("/items", [{"text": "x" * 5000}])
    with pytest.raises(ParseError, match="longer than 4096 bytes"):
        lab.load({"max_response_bytes": 4096})


def test_damaged_packing_is_an_error(lab, api, reply):
    api.on("/items", reply(b"\x1f\x8b\x08nonsense", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ParseError, match="gzip"):
        lab.load()
    api.on("/items", reply(b"x", headers={"Content-Encoding": "br"}))
    with pytest.raises(ParseError, match="packed with 'br'"):
        lab.load()


def test_an_answer_that_drips_is_given_up(lab, api, clock, reply):
    """Each piece comes in time, the whole never does."""

    def answer(request):
        del request
        clock.now += dt.timedelta(seconds=400)
        return ROWS * 1000

    api.on("/items", answer)
    with pytest.raises(SourceUnavailableError, match="takes longer than 300 s"):
        lab.load()


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> Any:
    """A server with a certificate of its own for localhost."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lakecat tests")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Greeting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield SimpleNamespace(port=server.server_address[1], certificate=folder / "cert.pem")
    server.shutdown()
    server.server_close()


class _Greeting(BaseHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        del args

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'[{"id": 1}]')


def test_a_certificate_that_nobody_vouches_for_is_refused(lab, tls):
    with pytest.raises(SourceAccessError, match="certificate"):
        lab.load({"base_url": f"https://localhost:{tls.port}"})


def test_a_certificate_may_be_trusted(lab, tls):
    options = {"base_url": f"https://localhost:{tls.port}", "ca_certificate": str(tls.certificate)}
    assert lab.load(options).rows == ROWS


def test_a_certificate_for_another_name_is_refused(lab, tls):
    with pytest.raises(SourceAccessError, match="certificate"):
        lab.load({"base_url": f"https://127.0.0.1:{tls.port}", "ca_certificate": str(tls.certificate)})


def test_the_certificates_file_must_be_one(lab, tmp_path):
    (tmp_path / "x.pem").write_text("nothing")
    for name in ("x.pem", "not-there.pem"):
        with pytest.raises(ConfigError, match="ca_certificate"):
            lab.open({"ca_certificate": name})
