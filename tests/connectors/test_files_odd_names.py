"""Listing where names, links and folders are odd: every file once, and an error where it cannot be known."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lakecat.connector import ConnectorContext, StreamRequest
from lakecat.errors import ConfigError, SourceError
from lakecat_connectors.files import Files

Open = Callable[..., Files]


def names(connector: Files, root: Path) -> list[str]:
    return [version.uri.removeprefix(f"file://{root}/") for version in connector._listing.scan()]


def put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("a\n1\n")


ODD = [
    "line\nbreak.csv",
    "per%20cent.csv",
    "sha#rp.csv",
    "brack[1]et.csv",
    "st*r.csv",
    "wh?t.csv",
    "{%Y}.csv",
    "~u.csv",
    "b\\s.csv",
    "a::b.csv",
    " .csv",
    unicodedata.normalize("NFC", "é.csv"),
    unicodedata.normalize("NFD", "é.csv"),
]


def test_odd_names_are_listed_read_and_known_again(tmp_path: Path, connectors: Open, load, ledger_type) -> None:
    put(tmp_path, *ODD)
    connector = connectors("*.csv", batch="all")
    assert names(connector, tmp_path) == sorted(ODD)
    loaded = load("*.csv")
    assert len(loaded.rows) == len(ODD)
    ledger = ledger_type()
    ledger.files |= {item.file for item in loaded.summary.files}
    assert list(connector.plan(StreamRequest(), ledger)) == []
    (tmp_path / ODD[0]).unlink()
    (tmp_path / ODD[3]).unlink()
    (slice_,) = connector.plan(StreamRequest(), ledger)
    assert {file.uri for file in slice_.gone} == {f"file://{tmp_path}/{ODD[0]}", f"file://{tmp_path}/{ODD[3]}"}


@pytest.mark.parametrize("name", ["brack[1]et.csv", "st*r.csv", "wh?t.csv"])
def test_a_file_of_just_that_name_is_meant_before_a_pattern(
    tmp_path: Path, connectors: Open, ledger_type, name: str
) -> None:
    put(tmp_path, name, "brack1et.csv", "star.csv", "what.csv")
    connector = connectors(name)
    assert names(connector, tmp_path) == [name]
    assert connector._listing.names(f"file://{tmp_path}/{name}")


def test_links_to_a_folder_above_are_not_gone_round(tmp_path: Path, connectors: Open) -> None:
    put(tmp_path, "a.csv", "in/b.csv", "in/deep/c.csv")
    (tmp_path / "in/up").symlink_to("..")
    (tmp_path / "in/deep/self").symlink_to(".")
    (tmp_path / "in/deep/top").symlink_to(tmp_path)
    assert names(connectors("**/*.csv"), tmp_path) == ["a.csv", "in/b.csv", "in/deep/c.csv"]
    assert names(connectors("**"), tmp_path) == ["a.csv", "in/b.csv", "in/deep/c.csv"]


def test_links_to_other_places_are_followed_and_broken_ones_are_none(tmp_path: Path, connectors: Open) -> None:
    put(tmp_path, "away/x/a.csv", "in/b.csv")
    (tmp_path / "in/away").symlink_to("../away")
    (tmp_path / "in/l.csv").symlink_to("b.csv")
    (tmp_path / "in/nowhere.csv").symlink_to("none.csv")
    (tmp_path / "in/round.csv").symlink_to("round.csv")
    (tmp_path / "in/folder.csv").mkdir()
    os.mkfifo(tmp_path / "in/pipe.csv")
    assert names(connectors("in/**/*.csv"), tmp_path) == ["in/away/x/a.csv", "in/b.csv", "in/l.csv"]


def test_a_folder_that_cannot_be_listed_is_an_error_and_its_files_are_not_gone(
    tmp_path: Path, connectors: Open, ledger_type, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "in/1/a.csv", "in/2/b.csv")
    ledger = ledger_type()
    ledger.files |= set(connectors("in/*/*.csv")._listing.scan())
    scandir = os.scandir

    def closed(folder: Any) -> Any:
        if str(folder).rstrip("/").endswith("in/2"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", closed)
    for pattern in ("in/*/*.csv", "in/**/*.csv", "in/**", "in/2/*.csv"):
        with pytest.raises(SourceError, match="cannot be listed") as info:
            list(connectors(pattern).plan(StreamRequest(), ledger))
        assert info.value.where is not None
        assert info.value.where.file == f"{tmp_path}/in/2/"


def test_the_project_folder_may_be_called_as_it_likes(tmp_path: Path, ledger_type) -> None:
    root = tmp_path / "lake [prod]*"
    put(root, "in/a.csv")
    put(tmp_path, "lake p/in/a.csv")
    for path in ("in/a.csv", "in/*.csv", "**/a.csv"):
        connector = Files.open({"path": path}, ConnectorContext(root=root))
        assert names(connector, root) == ["in/a.csv"], path
        assert connector._listing.names(f"file://{root}/in/a.csv")
        assert not connector._listing.names(f"file://{tmp_path}/lake p/in/a.csv")


def test_paths_that_no_file_can_have_are_refused(tmp_path: Path, connectors: Open) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        connectors("a\0b.csv")
    with pytest.raises(SourceError, match="File name too long"):
        names(connectors(f"{'x' * 300}.csv"), tmp_path)
    with pytest.raises(ConfigError, match="names no user"):
        names(connectors("~nobody-of-that-name/a.csv"), tmp_path)


def test_a_row_of_double_stars_is_one(tmp_path: Path, connectors: Open) -> None:
    put(tmp_path, "1/2/3/a.csv", "a.csv")

    def listed() -> Iterator[str]:
        yield from (version.uri for version in connectors("**/**/**/*.csv")._listing.walk())

    assert len(list(listed())) == 2


def test_hidden_files_are_meant_by_their_name_or_a_dot(tmp_path: Path, connectors: Open, load) -> None:
    put(tmp_path, ".a.csv", "b.csv", ".hidden/c.csv")
    assert names(connectors("*.csv"), tmp_path) == ["b.csv"]
    assert names(connectors("**/*.csv"), tmp_path) == ["b.csv"]
    assert names(connectors(".*.csv"), tmp_path) == [".a.csv"]
    assert names(connectors(".a.csv"), tmp_path) == [".a.csv"]
    assert not connectors("*.csv")._listing.names(f"file://{tmp_path}/.a.csv")
    assert connectors(".*.csv")._listing.names(f"file://{tmp_path}/.a.csv")
