"""What lies in a local lake and is no regular file: neither waited for, nor followed, nor removed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakecat.errors import StoreError
from lakecat.store import LakeStore


@pytest.fixture
def lake(tmp_path: Path) -> LakeStore:
    return LakeStore.open(str(tmp_path / "lake"))


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """A test that waits for a pipe ends after seconds."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def test_a_pipe_is_not_waited_for(lake: LakeStore) -> None:
    lake.write(lake.join("d", "file"), b"x")
    location = lake.join("d", "pipe")
    os.mkfifo(lake.local_path(location))
    for ask in (lake.read, lake.size, lake.open_input):
        with pytest.raises(StoreError, match="no regular file"):
            ask(location)
    assert not lake.exists(location)


def test_a_link_out_of_the_lake_is_neither_read_nor_removed(lake: LakeStore, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("alive")
    lake.write(lake.join("d", "file"), b"x")
    location = lake.join("d", "link")
    lake.local_path(lake.join("d")).joinpath("link").symlink_to(canary)
    for ask in (lake.read, lake.size, lake.open_input, lake.delete, lake.exists, lake.canonical):
        with pytest.raises(StoreError, match="leads out of the lake"):
            ask(location)
    assert canary.read_text() == "alive"


def test_a_link_inside_the_lake_names_the_file_behind_it(lake: LakeStore) -> None:
    lake.write(lake.join("d", "file"), b"x")
    lake.local_path(lake.join("d")).joinpath("link").symlink_to("file")
    assert lake.canonical(lake.join("d", "link")) == lake.join("d", "file")
    assert lake.canonical(lake.join("d", "file")) == lake.join("d", "file")


def test_pruning_removes_empty_folders_only_and_follows_no_link(lake: LakeStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside" / "empty"
    outside.mkdir(parents=True)
    lake.write(lake.join("d", "kept", "file"), b"x")
    root = lake.local_path(lake.join("d"))
    (root / "empty" / "empty").mkdir(parents=True)
    (root / "kept" / "empty").mkdir()
    (root / "link").symlink_to(outside.parent)
    lake.prune(lake.join("d"))
    assert sorted(path.name for path in root.rglob("*")) == ["file", "kept", "link"]
    assert outside.is_dir()
    lake.delete(lake.join("d", "kept", "file"))
    (root / "link").unlink()
    lake.prune(lake.join("d"))
    assert not root.exists()
    lake.prune(lake.join("d"))
    lake.write(lake.join("d", "file"), b"again")
    assert lake.read(lake.join("d", "file")) == b"again"
