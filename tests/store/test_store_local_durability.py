"""A local lake keeps what it acknowledged, shows nothing half, and stays inside its folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from lakecat.errors import ObjectExistsError, StoreError
from lakecat.store import LakeStore


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were flushed, in order."""
    paths: list[str] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        real(descriptor)
        paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    monkeypatch.setattr(os, "fsync", record)
    return paths


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc to see what was flushed")
class TestFlushing:
    def test_the_file_and_every_new_folder_entry(self, tmp_path: Path, synced: list[str]) -> None:
        root = tmp_path / "new" / "lake"
        store = LakeStore.open(str(root))
        store.write(store.join("a", "b", "c"), b"x")
        files = [path for path in synced if path.endswith(".tmp")]
        assert len(files) == 1
        assert Path(files[0]).parent == root / "a" / "b"
        # A folder's entry lies in the folder above it; the file's own entry is flushed last.
        for folder in (tmp_path, tmp_path / "new", root, root / "a"):
            assert str(folder) in synced
        assert synced[-1] == str(root / "a" / "b")

    def test_folders_that_another_process_may_not_have_flushed(self, tmp_path: Path, synced: list[str]) -> None:
        (tmp_path / "lake" / "a" / "b").mkdir(parents=True)
        store = LakeStore.open(str(tmp_path / "lake"))
        store.write(store.join("a", "b", "c"), b"x")
        assert {str(tmp_path / "lake"), str(tmp_path / "lake" / "a")} <= set(synced)

    def test_an_output_at_close(self, tmp_path: Path, synced: list[str]) -> None:
        store = LakeStore.open(str(tmp_path))
        with store.open_output(store.join("d", "file")) as output:
            output.write(b"x")
            synced.clear()
        assert [Path(path).suffix for path in synced] == [".tmp", ""]
        assert synced[-1] == str(tmp_path / "d")

    def test_sealing_what_another_library_wrote(self, tmp_path: Path, synced: list[str]) -> None:
        store = LakeStore.open(str(tmp_path))
        path = store.local_path(store.join("x", "y", "z"))
        assert path is not None
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        store.seal([f"file://{path}"])
        assert {str(path), str(path.parent), str(tmp_path / "x"), str(tmp_path)} <= set(synced)

    def test_put_if_absent(self, tmp_path: Path, synced: list[str]) -> None:
        store = LakeStore.open(str(tmp_path))
        store.write(store.join("lock"), b"x", if_absent=True)
        assert synced[-2:] == [path for path in synced if path.endswith(".tmp")] + [str(tmp_path)]


def test_a_failing_disk_is_an_error_and_shows_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LakeStore.open(str(tmp_path))
    store.write(store.join("warm"), b"x")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output"):
        store.write(store.join("a"), b"x")
    with pytest.raises(StoreError, match="Input/output"), store.open_output(store.join("b")) as output:
        output.write(b"x")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["warm"]


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    store = LakeStore.open(str(tmp_path))
    output = store.open_output(store.join("a"))
    descriptor = os.open(full, os.O_WRONLY)
    os.dup2(descriptor, output._file.fileno())
    os.close(descriptor)
    output.write(b"x")
    with pytest.raises(StoreError, match="free space"):
        output.close()
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        store = LakeStore.open(str(tmp_path / "lake"))
        store.write(store.join("a", "file"), b"x")
        with store.open_output(store.join("a", "output")) as output:
            output.write(b"x")
        store.write(store.join("a", "lock"), b"x", if_absent=True)
    finally:
        os.umask(before)
    folder = tmp_path / "lake" / "a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("file", "output", "lock")} == {0o640}


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_bytes(b"secret")
    store = LakeStore.open(str(tmp_path / "lake"))
    (tmp_path / "lake" / "door").symlink_to(tmp_path / "secret")
    (tmp_path / "lake" / "window").symlink_to(tmp_path / "secret" / "file")
    for location in (store.join("x").removesuffix("x") + "door/file", f"{store.url}/window"):
        for ask in (store.read, store.size, store.exists, store.delete, store.open_input, store.open_output):
            with pytest.raises(StoreError, match="through a link"):
                ask(location)
        with pytest.raises(StoreError, match="through a link"):
            store.write(location, b"x")
    assert (tmp_path / "secret" / "file").read_bytes() == b"secret"


def test_a_lake_behind_a_link_is_one_lake(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = LakeStore.open(str(tmp_path / "link"))
    store.write(store.join("a"), b"x")
    assert store.url == f"file://{tmp_path / 'real'}"
    assert LakeStore.open(str(tmp_path / "real")).read(store.join("a")) == b"x"


def test_put_if_absent_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = LakeStore.open(str(tmp_path))
    store.write(store.join("lock"), b"first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        store.write(store.join("lock"), b"second", if_absent=True)
    assert store.read(store.join("lock")) == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "file://host/x", "file:///x?y", "file:///x#y", "a\nb", "a?b", "s3://", "s3://B_d!/x"]
)
def test_what_is_no_lake(url: str) -> None:
    with pytest.raises(StoreError):
        LakeStore.open(url)


def test_urls_and_paths_name_the_same_folder(tmp_path: Path) -> None:
    named = tmp_path / "my lake"
    opened = {LakeStore.open(text).url for text in (str(named), f"file://{named}", f"file://{tmp_path}/my%20lake")}
    assert opened == {f"file://{named}"}


def test_a_folder_that_was_removed_and_made_again(tmp_path: Path) -> None:
    store = LakeStore.open(str(tmp_path))
    location = store.join("a", "b", "file")
    store.write(location, b"1")
    store.delete(location)
    (tmp_path / "a" / "b").rmdir()
    (tmp_path / "a").rmdir()
    store.write(location, b"2")
    assert store.read(location) == b"2"
