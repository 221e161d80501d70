"""Avro that was cut off between two blocks decodes without an error: it must not read as a smaller table."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from table_lab import TableLab

from lakecat.errors import CorruptFileError
from lakecat.tables import Operation, Scan, plan, reachable
from lakecat.tables.manifests import read_manifests


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def cut(lab: TableLab, location: str) -> None:
    """Take the last block away; each block ends with the file's sync marker, which is its last 16 bytes."""
    data = lab.store.read(location)
    marker = data[-16:]
    end = data.rindex(marker, 0, len(data) - 16) + 16
    assert end < len(data)
    lab.store.write(location, data[:end])


def readers(lab: TableLab) -> list[Callable[[], object]]:
    return [
        lambda: plan(lab.store, Scan(lab.current)),
        lambda: reachable(lab.store, lab.current),
        lambda: lab.append(rows(9)),
    ]


@pytest.fixture
def cut_list(lab: TableLab) -> TableLab:
    """Its newest snapshot has two manifests, one of them with entries for more than one block."""
    lab.create(rows(*range(3)))
    added = [file for number in range(300) for file in lab.write(rows(number))]
    lab.commit(Operation.APPEND, added=tuple(added))
    return lab


def test_a_manifest_that_lost_a_block(cut_list: TableLab) -> None:
    lab = cut_list
    manifests = read_manifests(lab.store, lab.current.snapshots[-1]["manifest-list"])
    largest = max(manifests, key=lambda manifest: manifest.manifest_length)
    cut(lab, largest.manifest_path)
    for read in readers(lab)[:2]:
        with pytest.raises(CorruptFileError, match="bytes"):
            read()


def test_a_manifest_list_that_lost_a_manifest(cut_list: TableLab) -> None:
    lab = cut_list
    cut(lab, lab.current.snapshots[-1]["manifest-list"])
    for read in readers(lab):
        with pytest.raises(CorruptFileError, match="data files"):
            read()
