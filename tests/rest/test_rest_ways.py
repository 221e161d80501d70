"""How a company's APIs are reached: by a proxy, with a client's certificate, through servers that only drip."""

from __future__ import annotations

import base64
import datetime as dt
import json
import select
import socket
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lakecat.errors import ConfigError, SourceAccessError, SourceError, SourceUnavailableError
from lakecat_connectors._rest_address import is_private_name

ROWS = [{"id": 1}]
PEM = serialization.Encoding.PEM


class _Forwarding(socketserver.BaseRequestHandler):
    """An HTTP proxy for one connection: CONNECT tunnels, and requests with a whole URL are handed on."""

    server: Any

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := self.request.recv(65536)):
                return
            head += piece
        lines = head.split(b"\r\n")
        self.server.seen.append([line.decode("latin-1") for line in lines])
        method, target, _ = lines[0].decode().split(" ")
        wanted = self.server.wanted
        if wanted is not None and f"proxy-authorization: {wanted}".lower().encode() not in head.lower():
            self.request.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 2\r\n\r\nno")
            return
        if self.server.status is not None:
            self.request.sendall(f"HTTP/1.1 {self.server.status}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        host, _, port = (target if method == "CONNECT" else target.split("/")[2]).rpartition(":")
        with socket.create_connection((self.server.hosts.get(host, host), int(port))) as there:
            if method == "CONNECT":
                self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                there.sendall(head)
            self._pump(there)

    def _pump(self, there: socket.socket) -> None:
        ways = {self.request: there, there: self.request}
        while True:
            for one in select.select(list(ways), [], [], 10)[0]:
                if not (piece := one.recv(65536)):
                    return
                ways[one].sendall(piece)


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is no news."""
        del args


@pytest.fixture
def proxy() -> Any:
    with _Proxy(("127.0.0.1", 0), _Forwarding) as server:
        server.seen, server.wanted, server.status, server.hosts = [], None, None, {}
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_plain_requests_go_by_the_proxy(lab, api, proxy):
    api.on("/items", ROWS)
    assert lab.load({"proxy": proxy.url}).rows == ROWS
    assert proxy.seen[0][0] == f"GET {api.url}/items HTTP/1.1"


def test_tls_goes_through_the_proxy_to_the_server_itself(lab, certified, proxy):
    proxy.hosts = {"api.example": "127.0.0.1"}
    options = {"base_url": f"https://api.example:{certified.open}", "ca_certificate": str(certified.authority)}
    # The name is known to the proxy alone, and the address that it has there is the proxy's own affair.
    loaded = lab.load({**options, "proxy": proxy.url, "allow_private": False})
    assert loaded.rows == [{"client": None}]
    assert proxy.seen[0][0] == f"CONNECT api.example:{certified.open} HTTP/1.1"


def test_the_proxy_learns_who_asks_and_nothing_else_does(lab, api, certified, proxy):
    lab.secrets = {"env:P": "pr0xy/pass"}
    proxy.wanted = "Basic " + base64.b64encode(b"ann:pr0xy/pass").decode()
    given = {"url": proxy.url, "username": "ann", "password": "env:P"}
    api.on("/items", ROWS)
    assert lab.load({"proxy": given}).rows == ROWS
    proxy.hosts = {"api.example": "127.0.0.1"}
    tls = {"base_url": f"https://api.example:{certified.open}", "ca_certificate": str(certified.authority)}
    assert lab.load({**tls, "proxy": given}).rows == [{"client": None}]
    assert not any("proxy-authorization" in str(request.headers).lower() for request in certified.requests)
    for options in ({}, tls):
        with pytest.raises(SourceAccessError, match="407") as caught:
            lab.load({**options, "proxy": proxy.url})
        assert "under proxy:" in caught.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_proxy_may_speak_tls_itself(lab, api, certified, proxy, scheme):
    """Both handshakes are checked: the proxy's, and through it the API's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified.folder / "server.pem")
    proxy.socket = context.wrap_socket(proxy.socket, server_side=True, do_handshake_on_connect=False)
    given = proxy.url.replace("http://127.0.0.1", "https://localhost")
    api.on("/items", [{"client": None}])
    bases = {"http": api.url, "https": f"https://localhost:{certified.open}"}
    options = {"base_url": bases[scheme], "proxy": given, "retries": 1}
    assert lab.load({**options, "ca_certificate": str(certified.authority)}).rows == [{"client": None}]
    with pytest.raises(SourceAccessError, match="certificate"):
        lab.load(options)


def test_what_a_proxy_repeats_is_hidden_before_it_is_cut(lab, proxy):
    lab.secrets = {"env:P": "pr0xy-password-9"}
    proxy.status = f"502 {'x' * 88}pr0xy-password-9"
    options = {"base_url": "https://api.example", "proxy": {"url": proxy.url, "username": "ann", "password": "env:P"}}
    with pytest.raises(SourceUnavailableError, match="by the proxy") as caught:
        lab.load({**options, "retries": 1})
    assert "pr0xy" not in str(caught.value)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout"])
def test_a_proxy_that_does_not_get_through_is_tried_again(lab, proxy, clock, status):
    proxy.status = status
    with pytest.raises(SourceUnavailableError, match="no connection by the proxy"):
        lab.load({"base_url": "https://api.example", "proxy": proxy.url, "retries": 3})
    assert clock.waits == [1, 2]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "0x7f.1", "2130706433", "[::1]", "169.254.169.254"]
)
def test_a_proxy_is_not_asked_for_private_addresses(lab, proxy, host):
    with pytest.raises(SourceAccessError, match="private network"):
        lab.load({"base_url": f"https://{host}", "proxy": proxy.url, "allow_private": False})
    assert proxy.seen == []


def test_names_and_public_addresses_are_not_private():
    assert not any(map(is_private_name, ["api.example", "8.8.8.8", "[2606:4700:4700::1111]", "localhost.example"]))


def test_the_environments_proxy_is_used_by_consent(lab, api, other_api, proxy, monkeypatch):
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//bo%40x:s%2Fcret9@").removeprefix("http://"))
    proxy.wanted = "Basic " + base64.b64encode(b"bo@x:s/cret9").decode()
    api.on("/items", ROWS)
    assert lab.load({"proxy": "environment"}).rows == ROWS
    assert len(proxy.seen) == 1
    monkeypatch.setenv("no_proxy", "example.com,127.0.0.1")
    assert lab.load({"proxy": "environment"}).rows == ROWS
    assert len(proxy.seen) == 1
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name)
    assert lab.load({"proxy": "environment"}).rows == ROWS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("socks5://127.0.0.1:1", "must be an http:// or https:// URL"),
        ("http://ann:pw@127.0.0.1:1", "say username: and password:"),
        ({"url": "http://127.0.0.1:1", "password": "env:P"}, "password needs username"),
        ({"url": "http://127.0.0.1:1", "username": "a", "password": "plain"}, "must be given by reference"),
    ],
)
def test_proxies_that_cannot_be_meant(lab, given, message):
    with pytest.raises(ConfigError, match=message) as caught:
        lab.open({"proxy": given})
    assert "pw" not in caught.value.what


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def certificate(name: str, issuer: Any, *, authority: bool = False) -> SimpleNamespace:
    """A key, and a certificate for it signed by ``issuer`` (None: by itself)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer = SimpleNamespace(key=key, name=subject) if issuer is None else issuer
    alternatives = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("api.example")])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternatives, critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        .add_extension(_usage(authority=authority), critical=True)
        .sign(signer.key, hashes.SHA256())
    )
    return SimpleNamespace(key=key, name=subject, pem=built.public_bytes(PEM))


def key_pem(one: SimpleNamespace, password: bytes | None = None) -> bytes:
    how = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    return one.key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, how)


class _Asking(BaseHTTPRequestHandler):
    """Says which client's certificate it was shown."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        del args

    def do_GET(self) -> None:
        self.server.requests.append(SimpleNamespace(headers=self.headers))  # type: ignore[attr-defined]
        shown = self.connection.getpeercert()  # type: ignore[attr-defined]
        name = None if not shown else shown["subject"][0][0][1]
        body = json.dumps([{"client": name}]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that wants a client's certificate, one that takes it or not, and what is needed to satisfy them."""
    folder = tmp_path_factory.mktemp("certified")
    authority = certificate("lakecat test authority", None, authority=True)
    server, client = certificate("server", authority), certificate("client-7", authority)
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "server.pem").write_bytes(server.pem + key_pem(server))
    (folder / "client.pem").write_bytes(client.pem)
    (folder / "client.key").write_bytes(key_pem(client))
    (folder / "locked.key").write_bytes(key_pem(client, b"key-pass-1"))
    (folder / "both.pem").write_bytes(client.pem + key_pem(client))
    ports, servers, requests = {}, [], []
    for name, mode in (("strict", ssl.CERT_REQUIRED), ("open", ssl.CERT_OPTIONAL)):
        one = ThreadingHTTPServer(("127.0.0.1", 0), _Asking)
        one.requests = requests  # type: ignore[attr-defined]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        context.load_verify_locations(folder / "ca.pem")
        context.verify_mode = mode
        one.socket = context.wrap_socket(one.socket, server_side=True, do_handshake_on_connect=False)
        one.handle_error = lambda *_args: None  # type: ignore[method-assign]
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        ports[name] = one.server_address[1]
        servers.append(one)
    yield SimpleNamespace(folder=folder, authority=folder / "ca.pem", requests=requests, **ports)
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    "given",
    [
        "both.pem",
        {"certificate": "client.pem", "key": "client.key"},
        {"certificate": "client.pem", "key": "locked.key", "password": "env:K"},
    ],
)
def test_a_client_shows_its_certificate(lab, certified, given):
    lab.root = certified.folder
    lab.secrets = {"env:K": "key-pass-1"}
    options = {"base_url": f"https://localhost:{certified.strict}", "ca_certificate": "ca.pem"}
    assert lab.load({**options, "client_certificate": given}).rows == [{"client": "client-7"}]


def test_a_server_that_wants_a_certificate_says_so(lab, certified):
    options = {"base_url": f"https://localhost:{certified.strict}", "ca_certificate": str(certified.authority)}
    with pytest.raises(SourceAccessError, match="refuses the TLS handshake") as caught:
        lab.load(options)
    assert "client_certificate:" in caught.value.hint


def test_the_certificate_is_shown_to_the_api_alone(lab, api, certified):
    """The link leads to another origin, which is allowed, and which would take a certificate."""
    lab.root = certified.folder
    api.on("/items", {"data": [{"client": "api"}], "next": f"https://localhost:{certified.open}/"})
    options = {"allowed_hosts": ["localhost"], "client_certificate": "both.pem", "ca_certificate": "ca.pem"}
    page = {"type": "next_url", "path": "next"}
    tls = {**options, "base_url": f"https://localhost:{certified.open}"}
    assert lab.load(tls).rows == [{"client": "client-7"}]
    assert lab.load({**options, "base_url": api.url}, paginator=page, data_path="data || @").rows == [
        {"client": "api"},
        {"client": None},
    ]


@pytest.mark.parametrize(
    "given",
    [
        "absent.pem",
        "ca.pem",
        {"certificate": "client.pem", "key": "locked.key"},
        {"certificate": "client.pem", "key": "locked.key", "password": "env:W"},
        {"certificate": "client.pem", "key": "server.pem"},
    ],
)
def test_a_clients_certificate_that_cannot_be_loaded_is_a_config_error(lab, certified, given):
    lab.root = certified.folder
    lab.secrets = {"env:W": "wrong-pass"}
    with pytest.raises(ConfigError, match="option 'client_certificate'"):
        lab.open({"client_certificate": given})


def test_a_server_that_hangs_up_in_the_handshake_is_tried_again(lab, clock):
    """As one does that is being restarted; it is not for want of trust in its certificate."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(SourceUnavailableError, match="after 3 attempts: no connection"):
            lab.load({"base_url": f"https://localhost:{listener.getsockname()[1]}", "retries": 3})
    assert clock.waits == [1, 2]


def drip(clock: Any, first: bytes, then: bytes) -> Any:
    """A server that sends some bytes, and others again and again, each time 20 s later."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(first)
            try:
                while True:
                    clock.now += dt.timedelta(seconds=20)
                    connection.sendall(then)
                    time.sleep(0.001)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"aaaa"),
    ],
    ids=["headers", "interim", "chunks"],
)
def test_an_answer_that_never_gets_to_its_body_is_given_up(lab, clock, first, then):
    """No byte is late by itself, and no piece of a body ever comes that could be looked at."""
    listener = drip(clock, first, then)
    with pytest.raises(SourceUnavailableError, match="takes longer than 300 s"):
        lab.load({"base_url": f"http://127.0.0.1:{listener.getsockname()[1]}", "retries": 1})


def test_a_resources_own_headers_and_bodies_stay_at_home(lab, api, other_api):
    lab.secrets = {"env:S": "own-key-1"}
    api.on("/items", {"data": ROWS, "next": f"{other_api.url}/more"})
    other_api.on("/more", {"data": [{"id": 2}], "next": None})
    options = {"allowed_hosts": ["127.0.0.1"]}
    loaded = lab.load(options, headers={"X-Key": "env:S"})
    assert len(loaded.rows) == 2
    assert api.requests[0].headers["x-key"] == "own-key-1"
    assert "x-key" not in other_api.requests[0].headers
    with pytest.raises(SourceError, match="a POST with a body would leave"):
        lab.load(options, method="POST", form={"key": "env:S"}, idempotent=True)
    assert len(other_api.requests) == 1
