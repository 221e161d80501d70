"""Refresh tokens that work once: the new one is kept before it is used, by one process at a time, through a crash."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError
from lakecat.types import WriteMode
from lakecat_connectors._rest_token_file import TokenFile

ROWS = [{"id": 1}]


class OneUse:
    """A token server whose refresh tokens work once."""

    def __init__(self, api: Any, reply: Any, first: str) -> None:
        self.good = first
        self.count = 0
        self.reply = reply
        api.on("/token", self.answer)
        api.on(
            "/items", lambda r: ROWS if r.headers.get("authorization") == f"Bearer a-{self.count}" else reply({}, 401)
        )

    def answer(self, request: Any) -> Any:
        if request.form["refresh_token"] != self.good:
            return self.reply({"error": "invalid_grant"}, 400)
        self.count += 1
        self.good = f"refresh-{self.count}"
        return {"access_token": f"a-{self.count}", "refresh_token": self.good, "expires_in": 3600}


def refreshing(api: Any, **more: Any) -> dict[str, Any]:
    return {
        "auth": {
            "type": "oauth2_refresh",
            "token_url": f"{api.url}/token",
            "client_id": "me",
            "refresh_token": "file:token",
            "write_back": True,
            **more,
        }
    }


@pytest.fixture
def token(lab: Any, tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("refresh-0\n")

    class Files(dict[str, str]):
        def __contains__(self, key: object) -> bool:
            return key == "file:token"

        def __getitem__(self, key: str) -> str:
            return path.read_text().removesuffix("\n")

    lab.secrets = Files()
    return path


def test_a_refresh_token_that_works_once_is_written_back(lab, api, reply, token):
    server = OneUse(api, reply, "refresh-0")
    token.chmod(0o644)
    for count in (1, 2, 3):
        assert lab.load(refreshing(api)).rows == ROWS
        assert token.read_text() == server.good == f"refresh-{count}"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert sorted(one.name for one in token.parent.iterdir() if "token" in one.name) == [".token.lock", "token"]


def test_a_refusal_in_the_midst_renews_with_the_token_that_was_kept(lab, api, reply, token):
    server = OneUse(api, reply, "refresh-0")
    connector = lab.open(refreshing(api), paginator={"type": "page"})
    pages = iter([ROWS, "revoke", [{"id": 2}], []])

    def answer(request: Any) -> Any:
        if request.headers["authorization"] != f"Bearer a-{server.count}":
            return reply({}, 401)
        page = next(pages)
        return reply({}, 401) if page == "revoke" else page

    api.on("/items", answer)
    loaded = lab.run(connector, *_whole())
    assert loaded.rows == [{"id": 1}, {"id": 2}]
    assert token.read_text() == server.good == "refresh-2"


def _whole() -> tuple[Any, Any, Any]:
    return StreamRequest(mode=WriteMode.REPLACE), SimpleNamespace(position=None), ReadOptions()


def test_a_token_that_another_process_replaced_meanwhile_is_read_again(lab, api, reply, token):
    OneUse(api, reply, "refresh-0")
    first, second = lab.open(refreshing(api)), lab.open(refreshing(api))
    assert lab.run(first, *_whole()).rows == ROWS
    assert lab.run(second, *_whole()).rows == ROWS
    assert token.read_text() == "refresh-2"


def test_a_file_that_cannot_be_replaced_is_noticed_before_the_token_is_used(lab, api, reply, token, monkeypatch):
    server = OneUse(api, reply, "refresh-0")

    def full(*_args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ConfigError, match="could not be kept: No space left"):
        lab.load(refreshing(api))
    assert (server.count, token.read_text()) == (0, "refresh-0\n")


def test_a_new_token_is_kept_though_the_rest_of_the_answer_is_no_good(lab, api, reply, token):
    api.on("/token", {"refresh_token": "refresh-1"})
    with pytest.raises(SourceAccessError, match="no access_token"):
        lab.load(refreshing(api))
    assert token.read_text() == "refresh-1"
    assert "refresh-1" not in str(api.requests[0].headers)


def test_a_link_to_the_token_stays_one(lab, api, reply, token):
    OneUse(api, reply, "refresh-0")
    real = token.with_name("mounted")
    token.rename(real)
    token.symlink_to(real)
    assert lab.load(refreshing(api)).rows == ROWS
    assert token.is_symlink()
    assert real.read_text() == "refresh-1"


DIES_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from lakecat_connectors._rest_token_file import TokenFile

Path.rename = lambda *_args: os.kill(os.getpid(), signal.SIGKILL)
with TokenFile(Path(sys.argv[1])).turn() as place:
    place.keep("refresh-1")
"""


def test_who_is_killed_between_answer_and_rename_leaves_the_token_to_the_next(token):
    dead = subprocess.run([sys.executable, "-c", DIES_BEFORE_THE_RENAME, str(token)], check=False)
    assert dead.returncode == -signal.SIGKILL
    assert token.read_text() == "refresh-0\n"
    with TokenFile(token).turn():
        assert token.read_text() == "refresh-1"


def test_a_token_of_a_new_login_is_not_replaced_by_what_was_left(token):
    left = token.with_name(".token.new")
    left.write_text("refresh-1")
    os.utime(left, (1, 1))
    with TokenFile(token).turn():
        assert token.read_text() == "refresh-0\n"


def test_one_turn_at_a_time(token):
    order: list[str] = []

    def second() -> None:
        with TokenFile(token).turn():
            order.append("second")

    with TokenFile(token).turn():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_write_back_needs_a_file(lab):
    with pytest.raises(ConfigError, match="write_back needs a file"):
        lab.open({"auth": {**refreshing(lab.api)["auth"], "refresh_token": "env:R"}})
