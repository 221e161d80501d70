"""Which files are new, in which order, under which key; and that a file is what it was when it is read."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import fsspec
import pytest

from lakecat.connector import Connector, ReadOptions, StreamRequest
from lakecat.errors import ParseError, SourceChangedError, SourceError
from lakecat.types import WriteMode
from lakecat_connectors._worker import Worker


def write(path: Path, text: str, at: int = 1_700_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def drain(connector, slice_):
    reader = connector.read(slice_, ReadOptions())
    rows = sum(batch.num_rows for batch in reader)
    reader.close()
    return rows, reader.summary()


def test_it_is_a_connector(connectors) -> None:
    assert isinstance(connectors("a.csv"), Connector)


def test_each_new_file_is_a_slice_in_the_order_of_paths(tmp_path: Path, connectors, ledger_type) -> None:
    for name in ("b.csv", "a.csv", "sub/c.csv", ".hidden.csv", "note.txt"):
        write(tmp_path / "in" / name, "a\n1\n")
    connector = connectors("in/**/*.csv")
    slices = connector.plan(StreamRequest(), ledger_type())
    uris = [slice_.files[0].uri for slice_ in slices]
    assert uris == [f"file://{tmp_path}/in/{name}" for name in ("a.csv", "b.csv", "sub/c.csv")]
    assert [slice_.estimated_bytes for slice_ in slices] == [4, 4, 4]
    again = connectors("in/**/*.csv").plan(StreamRequest(), ledger_type())
    assert [slice_.key for slice_ in again] == [slice_.key for slice_ in slices]
    assert len({slice_.key for slice_ in slices}) == 3


def test_what_was_loaded_is_not_planned_again_until_it_changes(tmp_path: Path, connectors, ledger_type) -> None:
    first, second = write(tmp_path / "1.csv", "a\n1\n"), write(tmp_path / "2.csv", "a\n2\n")
    connector, ledger = connectors("*.csv"), ledger_type()
    for slice_ in connector.plan(StreamRequest(), ledger):
        rows, summary = drain(connector, slice_)
        assert rows == 1
        ledger.files.update(item.file for item in summary.files)
    assert connector.plan(StreamRequest(), ledger) == ()
    write(first, "a\n3\n", at=1_700_000_001)
    write(second, "a\n2\n4\n")
    assert len(connector.plan(StreamRequest(), ledger)) == 2


def test_all_files_as_one_slice(tmp_path: Path, connectors, ledger_type) -> None:
    write(tmp_path / "1.csv", "a\n1\n")
    write(tmp_path / "2.csv", "a\n2\n3\n")
    connector = connectors("*.csv", batch="all")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    rows, summary = drain(connector, slice_)
    assert rows == 3
    assert [item.rows for item in summary.files] == [1, 2]
    assert [source.rows for source in summary.sources] == [1, 2]
    assert [item.file for item in summary.files] == list(slice_.files)


def test_a_replace_job_reads_everything_again_when_anything_differs(tmp_path: Path, connectors, ledger_type) -> None:
    one, two = write(tmp_path / "1.csv", "a\n1\n"), write(tmp_path / "2.csv", "a\n2\n")
    connector, ledger = connectors("*.csv"), ledger_type()
    (slice_,) = connector.plan(StreamRequest(mode=WriteMode.REPLACE), ledger)
    assert len(slice_.files) == 2
    ledger.files.update(slice_.files)
    ledger.position = slice_.position
    assert connector.plan(StreamRequest(mode=WriteMode.REPLACE), ledger) == ()
    two.unlink()
    (slice_,) = connector.plan(StreamRequest(mode=WriteMode.REPLACE), ledger)
    assert [file.uri for file in slice_.files] == [f"file://{one}"]
    ledger.position = slice_.position
    write(two, "a\n2\n")
    assert len(connector.plan(StreamRequest(mode=WriteMode.REPLACE), ledger)[0].files) == 2


def test_no_files_is_nothing_to_do(connectors, ledger_type) -> None:
    assert connectors("*.csv").plan(StreamRequest(), ledger_type()) == ()
    assert connectors("*.csv").plan(StreamRequest(mode=WriteMode.REPLACE), ledger_type()) == ()


def test_names_with_glob_characters_are_taken_literally(tmp_path: Path, connectors, ledger_type) -> None:
    write(tmp_path / "a[1].csv", "a\n1\n")
    (slice_,) = connectors("a[1].csv").plan(StreamRequest(), ledger_type())
    assert slice_.files[0].uri == f"file://{tmp_path}/a[1].csv"


def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path, connectors, ledger_type) -> None:
    path = write(tmp_path / "a.csv", "a\n1\n")
    connector = connectors("a.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    write(path, "a\n1\n2\n")
    with pytest.raises(SourceChangedError):
        connector.read(slice_, ReadOptions())
    path.unlink()
    with pytest.raises(SourceChangedError, match="gone"):
        connector.read(slice_, ReadOptions())


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, connectors, ledger_type) -> None:
    path = write(tmp_path / "a.csv", "a,b\n" + "1,xxxxxxxxxxxxxxxx\n" * 1_500_000)
    connector = connectors("a.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions())
    batches = iter(reader)
    next(batches)
    with path.open("a") as file:
        file.write("2,y\n")
    with pytest.raises(SourceChangedError):
        for _ in batches:
            pass
    with pytest.raises(SourceError):
        reader.summary()


def test_a_slice_that_is_left_half_read_does_not_disturb_the_next(tmp_path: Path, connectors, ledger_type) -> None:
    write(tmp_path / "1.csv", "a,b\n" + "1,xxxxxxxxxxxxxxxx\n" * 1_500_000)
    write(tmp_path / "2.csv", "a,b\n1,2\n")
    connector = connectors("*.csv")
    one, two = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(one, ReadOptions())
    next(iter(reader))
    reader.close()
    reader.close()
    assert drain(connector, two)[0] == 1


def test_the_parent_survives_the_death_of_its_parser(tmp_path: Path, connectors, ledger_type) -> None:
    write(tmp_path / "1.csv", "a,b\n" + "1,xxxxxxxxxxxxxxxx\n" * 1_500_000)
    connector = connectors("1.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions())
    batches = iter(reader)
    next(batches)
    os.kill(connector._worker._process.pid, signal.SIGSEGV)
    with pytest.raises(ParseError, match="SIGSEGV") as error:
        for _ in batches:
            pass
    assert error.value.where is not None
    assert error.value.where.file == f"{tmp_path}/1.csv"
    assert drain(connector, slice_)[0] == 1_500_000


def test_the_parser_sees_no_credentials(
    tmp_path: Path, connectors, monkeypatch: pytest.MonkeyPatch, ledger_type
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    write(tmp_path / "1.csv", "a\n1\n")
    connector = connectors("1.csv")
    connector._worker = Worker()  # a process started just now, not one from before the secret was set
    drain(connector, connector.plan(StreamRequest(), ledger_type())[0])
    environment = Path(f"/proc/{connector._worker._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")
    assert b"hidden" not in environment.read_bytes()


def test_memory_urls(connectors, ledger_type) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/landing/b.csv", b"a\n2\n")
    memory.pipe("/landing/a.csv", b"a\n1\n")
    try:
        connector = connectors("memory://landing/*.csv")
        slices = connector.plan(StreamRequest(), ledger_type())
        assert [slice_.files[0].uri for slice_ in slices] == ["memory:///landing/a.csv", "memory:///landing/b.csv"]
        assert drain(connector, slices[0])[0] == 1
        memory.pipe("/landing/b.csv", b"a\n2\n3\n")
        with pytest.raises(SourceChangedError):
            connector.read(slices[1], ReadOptions())
    finally:
        memory.rm("/landing", recursive=True)


def test_an_empty_file_can_be_skipped(tmp_path: Path, connectors, ledger_type) -> None:
    write(tmp_path / "1.csv", "")
    write(tmp_path / "2.csv", "a\n1\n")
    connector = connectors("*.csv", batch="all", empty="skip")
    rows, summary = drain(connector, connector.plan(StreamRequest(), ledger_type())[0])
    assert (rows, [item.rows for item in summary.files]) == (1, [0, 1])


def test_a_growing_file_never_loads_half_a_record(tmp_path: Path, connectors, ledger_type) -> None:
    """A writer appends while we read: either the planned bytes are read whole, or the change is named."""
    path = write(tmp_path / "a.csv", "a,b\n")
    stop = threading.Event()

    def grow() -> None:
        with path.open("a", buffering=1) as file:
            while not stop.is_set():
                file.write("12345,abc\n")
                time.sleep(0.001)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        connector = connectors("a.csv")
        for _ in range(5):
            (slice_,) = connector.plan(StreamRequest(), ledger_type())
            try:
                rows, _summary = drain(connector, slice_)
            except SourceChangedError:
                continue
            assert slice_.files[0].size == len("a,b\n") + rows * len("12345,abc\n")
    finally:
        stop.set()
        thread.join()
