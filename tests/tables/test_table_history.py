"""Metadata files: ours, other programs', damaged ones."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json
from pyiceberg.catalog.sql import SqlCatalog
from table_lab import TableLab

from lakecat.errors import CorruptFileError
from lakecat.tables import ALL, Operation, Scan, appended_since, load_state, plan, read
from lakecat.tables.history import LARGEST_METADATA, History, decode, encode

nasty = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            '},{"snapshot-id":',
            '}],"snapshot-log":[{"snapshot-id":1',
            ',"lakecat-history-crc32":1,"snapshots":[{"snapshot-id":',
            '\\"},{\\"snapshot-id\\":',
            "\x00",
            '"',
            "\\",
        ]
    ),
)
summaries = st.dictionaries(nasty, nasty, max_size=4)


@given(
    snapshots=st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), summaries), min_size=1, max_size=5),
    properties=summaries,
)
def test_what_is_cut_is_what_json_says(snapshots: list[tuple[int, dict[str, str]]], properties: dict[str, str]) -> None:
    history = History()
    for number, summary in snapshots:
        entry = {"snapshot-id": number, "timestamp-ms": 1}
        history = history.append({"summary": summary, **entry, "manifest-list": "x"}, entry)
    head = {"format-version": 2, "properties": properties}
    data = encode(head, history)
    whole = json.loads(data)
    assert [(one["snapshot-id"], one["summary"]) for one in whole["snapshots"]] == snapshots
    assert whole["properties"] == properties
    assert decode(data, "x") == (head, history)
    assert decode(gzip.compress(data), "x") == (head, history)
    # The same content in another order and spacing, as other programs write it.
    other = {"snapshots": whole["snapshots"], "snapshot-log": whole["snapshot-log"], **head}
    found_head, found = decode(json.dumps(other, indent=1).encode(), "x")
    assert (found_head, found.parsed(), found.parsed_log()) == (head, history.parsed(), history.parsed_log())
    for number, _ in snapshots:
        last = [summary for one, summary in snapshots if one == number][-1]
        assert found.find(number)["summary"] == history.find(number)["summary"] == last
    assert history.find(None) is None


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def test_every_flipped_byte_of_the_history_is_found(lab: TableLab) -> None:
    lab.create(rows(1))
    location = lab.append(rows(2)).metadata_location
    good = lab.store.read(location)
    start = good.index(b'"snapshots":[')
    for place in range(start + len('"snapshots":[{"snapshot-id":'), len(good) - 3, 7):
        bad = bytearray(good)
        bad[place] ^= 1
        lab.store.write(location, bytes(bad))
        with pytest.raises(CorruptFileError):
            load_state(lab.store, location)


def test_commits_after_another_program_has_committed(lab: TableLab, tmp_path: Path) -> None:
    """Plain PyIceberg appends through its own catalog; lakecat goes on from there, and PyIceberg again."""
    first = lab.create(rows(1)).snapshot_id
    catalog = SqlCatalog("other", uri=f"sqlite:///{tmp_path}/other.db", warehouse=lab.store.url)
    catalog.create_namespace("raw")
    table = catalog.register_table("raw.t", lab.current.metadata_location)
    table.append(rows(2))
    lab.state = load_state(lab.store, table.metadata_location)
    assert sorted(row["id"] for row in lab.rows()) == [1, 2]
    assert lab.rows(first) == [{"id": 1}]
    staged = lab.append(rows(3))
    assert (staged.totals.rows, staged.totals.files) == (3, 3)
    assert staged.totals.bytes == sum(file.size for file in plan(lab.store, Scan(lab.current)))
    scan = appended_since(lab.store, lab.current, first, staged.snapshot_id)
    assert sorted(read(lab.store, scan).read_all()["id"].to_pylist()) == [2, 3]
    assert sorted(lab.static().scan().to_arrow()["id"].to_pylist()) == [1, 2, 3]
    assert len(lab.static().history()) == 3
    again = catalog.register_table("raw.again", lab.current.metadata_location)
    again.append(rows(4))
    lab.state = load_state(lab.store, again.metadata_location)
    lab.commit(Operation.REPLACE, added=lab.write(rows(9)), removed=ALL)
    assert lab.static().scan().to_arrow()["id"].to_pylist() == [9]
    catalog.close()


def test_a_commit_parses_as_much_whatever_the_number_of_snapshots(
    lab: TableLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []

    def counting(text: bytes) -> object:
        parsed.append(len(text))
        return from_json(text)

    monkeypatch.setattr("lakecat.tables.history.from_json", counting)
    monkeypatch.setattr("lakecat.tables.expiry.from_json", counting)
    lab.create(rows(0))
    (file,) = lab.write(rows(1))
    path, sizes = file.file_path, {}
    for number in range(150):
        file._data[1] = f"{path}-{number}"
        parsed.clear()
        lab.commit(Operation.APPEND, added=(file,))
        sizes[number] = sum(parsed)
    metadata = lab.store.size(lab.current.metadata_location)
    assert len(lab.current.snapshots) == 151
    assert sizes[149] < 1.1 * sizes[40] < 0.2 * metadata


def test_metadata_that_unpacks_to_gigabytes_is_refused_in_little_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range((LARGEST_METADATA >> 20) + 8)) + packer.flush()
    assert len(bomb) < 1 << 20
    with pytest.raises(CorruptFileError, match="unpacks to more"):
        decode(bomb, "file:///bomb")


def test_compressed_metadata_that_was_cut_off_is_refused() -> None:
    packed = gzip.compress(b'{"format-version": 2}' + b" " * 1000)
    assert decode(packed, "file:///whole")[0] == {"format-version": 2}
    for cut in (packed[:-1], packed[: len(packed) // 2], packed + b"more", packed[:3]):
        with pytest.raises(CorruptFileError):
            decode(cut, "file:///cut")
