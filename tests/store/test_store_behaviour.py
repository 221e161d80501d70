"""What every kind of lake does alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakecat.errors import ObjectExistsError, ObjectMissingError, StoreError
from lakecat.store import LakeStore


def test_what_was_written_is_read_by_another_store(lake: LakeStore, open_lake: Callable[[], LakeStore]) -> None:
    location = lake.join("raw", "flights", "a.bin")
    lake.write(location, b"\x00\xffbytes")
    other = open_lake()
    assert other.read(location) == b"\x00\xffbytes"
    assert other.size(location) == 7
    assert other.exists(location)


def test_an_empty_file_is_a_file(lake: LakeStore) -> None:
    location = lake.join("empty")
    lake.write(location, b"")
    assert (lake.exists(location), lake.size(location), lake.read(location)) == (True, 0, b"")


def test_writing_again_replaces(lake: LakeStore) -> None:
    location = lake.join("a")
    lake.write(location, b"one, and long")
    lake.write(location, b"two")
    assert lake.read(location) == b"two"


def test_if_absent_keeps_the_first(lake: LakeStore) -> None:
    location = lake.join("x", "lock")
    lake.write(location, b"first", if_absent=True)
    with pytest.raises(ObjectExistsError):
        lake.write(location, b"second", if_absent=True)
    assert lake.read(location) == b"first"


def test_of_many_racing_creators_one_wins(lake: LakeStore) -> None:
    if not lake.probe().put_if_absent:
        pytest.skip(f"{lake.url.partition(':')[0]} store of this version has no conditional put; the probe says so")
    location, barrier = lake.join("race"), threading.Barrier(8)
    outcomes: list[bytes | None] = []

    def create(data: bytes) -> None:
        barrier.wait()
        try:
            lake.write(location, data, if_absent=True)
        except ObjectExistsError:
            outcomes.append(None)
        else:
            outcomes.append(data)

    threads = [threading.Thread(target=create, args=(bytes([number]) * 100,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 8
    assert winners == [lake.read(location)]


def test_missing_files_are_named(lake: LakeStore) -> None:
    location = lake.join("nothing", "here")
    assert not lake.exists(location)
    for ask in (lake.read, lake.size, lake.open_input):
        with pytest.raises(ObjectMissingError, match="nothing/here"):
            ask(location)


def test_deleting_twice_is_fine(lake: LakeStore) -> None:
    location = lake.join("a", "b")
    lake.write(location, b"x")
    lake.delete(location)
    lake.delete(location)
    assert not lake.exists(location)


def test_a_folder_is_no_file(lake: LakeStore) -> None:
    lake.write(lake.join("a", "b"), b"x")
    folder, below = lake.join("a"), lake.join("a", "b", "c")
    assert not lake.exists(folder)
    assert not lake.exists(below)
    for ask in (lake.read, lake.size, lake.open_input):
        with pytest.raises(StoreError):
            ask(folder)
        with pytest.raises(ObjectMissingError):
            ask(below)
    lake.delete(below)
    assert lake.read(lake.join("a", "b")) == b"x"


def test_listing_holds_each_file_under_the_folder_and_no_neighbour(lake: LakeStore) -> None:
    inside = {"t/a": b"1", "t/b/c": b"22", "t/b/c2/d": b"333", "t/z": b""}
    lake.write_all({lake.join(*name.split("/")): data for name, data in {**inside, "t2/a": b"x", "ta": b"x"}.items()})
    found = list(lake.list(lake.join("t")))
    assert [(one.location, one.size) for one in found] == [
        (lake.join(name), len(data)) for name, data in sorted(inside.items())
    ]
    assert all(abs(one.modified - datetime.now(UTC)) < timedelta(minutes=5) for one in found)
    assert list(lake.list(lake.join("nowhere"))) == []


def test_listing_goes_past_one_page(lake: LakeStore) -> None:
    locations = [lake.join("many", f"{number:04d}") for number in range(1203)]
    lake.write_all(dict.fromkeys(locations, b"x"))
    assert [one.location for one in lake.list(lake.join("many"))] == locations


def test_an_output_appears_whole_at_close(lake: LakeStore) -> None:
    location = lake.join("data", "t.parquet")
    table = pa.table({"n": pa.array(range(300_000), pa.int64())})
    with lake.open_output(location) as output:
        pq.write_table(table, output, compression="none")
        assert not lake.exists(location)
    assert output.closed
    assert lake.size(location) == output.tell()
    with lake.open_input(location) as source:
        assert pq.read_table(source).equals(table)


def test_an_output_larger_than_one_upload_part(lake: LakeStore) -> None:
    location, chunk = lake.join("large"), bytes(range(256)) * 4096
    with lake.open_output(location) as output:
        for _ in range(25):
            assert output.write(chunk) == len(chunk)
    assert lake.size(location) == 25 * len(chunk)
    with lake.open_input(location) as source:
        source.seek(24 * len(chunk))
        assert source.read() == chunk


def test_a_failed_output_leaves_nothing(lake: LakeStore) -> None:
    location = lake.join("half")

    def fail() -> None:
        with lake.open_output(location) as output:
            output.write(b"half of it")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not lake.exists(location)
    assert list(lake.list(lake.url)) == []


def test_seal_wants_the_files_there(lake: LakeStore) -> None:
    location = lake.join("a", "sealed")
    lake.write(location, b"x")
    lake.seal([location])
    with pytest.raises(ObjectMissingError):
        lake.seal([location, lake.join("a", "missing")])


@pytest.mark.parametrize(
    "outside",
    [
        "s3://other-bucket/x",
        "file:///etc/passwd",
        "{url}2/x",
        "{url}/../x",
        "{url}/a/../../x",
        "{url}/a//b",
        "{url}/a?b",
    ],
)
def test_nothing_outside_the_lake(lake: LakeStore, outside: str) -> None:
    location = outside.format(url=lake.url)
    for refused in (lake.read, lake.exists, lake.size, lake.delete, lake.open_input, lake.open_output, lake.path):
        with pytest.raises(StoreError, match=r"lies outside|is not a plain"):
            refused(location)
    with pytest.raises(StoreError):
        lake.write(location, b"x")
    with pytest.raises(StoreError):
        list(lake.list(location))


@pytest.mark.parametrize("name", ["with space", "ümläut", "100%", "a+b=c&d", "emoji 🐈", "%2F", "quote'\"s"])
def test_odd_names(lake: LakeStore, name: str) -> None:
    location = lake.join("odd", name, "file")
    lake.write(location, name.encode())
    assert lake.read(location).decode() == name
    assert [one.location for one in lake.list(lake.join("odd", name))] == [location]
    with lake.open_input(location) as source:
        assert source.read().decode() == name


def test_names_that_only_look_percent_encoded_are_different_files(lake: LakeStore) -> None:
    names = ["a b", "a%20b", "a%2520b", "a+b"]
    for name in names:
        lake.write(lake.join("d", name), name.encode())
    lake.delete(lake.join("d", "a%20b"))
    left = {one.location: lake.read(one.location).decode() for one in lake.list(lake.join("d"))}
    assert left == {lake.join("d", name): name for name in names if name != "a%20b"}


def test_the_probe_leaves_nothing_behind(lake: LakeStore) -> None:
    result = lake.probe()
    assert result.url == lake.url
    assert min(result.write_seconds, result.read_seconds, result.list_seconds) > 0
    assert list(lake.list(lake.url)) == []


def test_pyiceberg_reads_and_writes_through_it(lake: LakeStore) -> None:
    io, location = lake.file_io(), lake.join("meta", "x.json")
    with io.new_output(location).create() as output:
        output.write(b"{}")
    assert len(io.new_input(location)) == 2
    with io.new_input(location).open() as source:
        assert source.read() == b"{}"
    with pytest.raises(FileExistsError):
        io.new_output(location).create()
    io.delete(location)
    assert not io.new_input(location).exists()
    with pytest.raises(FileNotFoundError):
        io.delete(location)
    with pytest.raises(FileNotFoundError):
        io.new_input(location).open()
