"""Files that nobody needs are named; no file that somebody needs ever is."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pytest
from table_lab import TableLab

from lakecat.config import Retention
from lakecat.errors import LakecatError, ObjectMissingError
from lakecat.tables import (
    ALL,
    Operation,
    Scan,
    abandoned,
    data_prefix,
    metadata_prefix,
    plan,
    reachable,
    sidecar_location,
    unreferenced,
)


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def folders(lab: TableLab, execution: str) -> list[str]:
    return [data_prefix(lab.location, execution), metadata_prefix(lab.location, execution)]


class TestAbandoned:
    def test_what_a_dead_execution_left(self, lab: TableLab) -> None:
        lab.create(rows(1))
        staged = lab.stage(lab.change(Operation.APPEND, added=lab.write(rows(2))))
        left = {one.location for prefix in folders(lab, "execution-1") for one in lab.store.list(prefix)}
        found = abandoned(lab.store, [lab.current], folders(lab, "execution-1"), metadata=[])
        assert {one.location for one in found} == left >= set(staged.written)
        for one in found:
            lab.store.delete(one.location)
        assert lab.static().scan().to_arrow().to_pylist() == [{"id": 1}]

    def test_nothing_of_an_execution_that_did_commit(self, lab: TableLab) -> None:
        """Even if its folder is given by mistake: what is reachable stays."""
        lab.create(rows(1))
        staged = lab.append(rows(2))
        lab.append(rows(3))
        prefixes = [prefix for number in range(3) for prefix in folders(lab, f"execution-{number}")]
        metadata = [one.metadata_location for one in lab.history]
        assert abandoned(lab.store, [lab.current], prefixes, metadata=metadata) == ()
        assert staged.metadata_location in metadata

    def test_metadata_and_sidecar_of_a_known_version_stay(self, lab: TableLab) -> None:
        lab.retention = Retention(metadata_versions=1)
        first = lab.create(rows(1))
        lab.append(rows(2))
        lab.append(rows(3))
        prefixes = folders(lab, "execution-0")
        named = {one.location for one in abandoned(lab.store, [lab.current], prefixes, metadata=[])}
        assert named == {first.metadata_location, sidecar_location(first.metadata_location)}
        assert abandoned(lab.store, [lab.current], prefixes, metadata=[first.metadata_location]) == ()

    def test_a_table_or_lake_is_no_execution(self, lab: TableLab) -> None:
        lab.create(rows(1))
        for prefix in (lab.store.url, lab.store.join("raw"), lab.location):
            with pytest.raises((ValueError, LakecatError)):
                abandoned(lab.store, [lab.current], [prefix], metadata=[])

    def test_a_read_that_fails_names_nothing(self, lab: TableLab) -> None:
        lab.create(rows(1))
        lab.append(rows(2))
        (manifest, *_) = sorted(reachable(lab.store, lab.current).manifests)
        lab.store.delete(manifest)
        with pytest.raises(ObjectMissingError):
            abandoned(lab.store, [lab.current], folders(lab, "execution-9"), metadata=[])


class TestExpired:
    def test_only_what_no_live_snapshot_reaches(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=2, age=timedelta(milliseconds=1))
        lab.create(rows(1))
        lab.append(rows(2))
        old_files = {file.location for file in plan(lab.store, Scan(lab.current))}
        lists = {one["snapshot-id"]: one["manifest-list"] for one in lab.current.snapshots}
        lab.commit(Operation.REPLACE, added=lab.write(rows(3)), removed=ALL)
        lists |= {one["snapshot-id"]: one["manifest-list"] for one in lab.current.snapshots}
        lab.append(rows(4))
        lab.append(rows(5))
        gone = [lists[number] for one in lab.history for number in one.expired_snapshot_ids]
        named = unreferenced(lab.store, lab.current, gone)
        assert {location for location in named if location.endswith(".parquet")} == old_files
        assert set(gone) <= set(named)
        live = {
            file.location
            for one in lab.current.snapshots
            for file in plan(lab.store, Scan(lab.current, one["snapshot-id"]))
        }
        assert not live & set(named)
        for location in named:
            lab.store.delete(location)
        for snapshot in lab.current.snapshots:
            assert len(lab.static().scan(snapshot_id=snapshot["snapshot-id"]).to_arrow())
        assert unreferenced(lab.store, lab.current, gone) == ()

    def test_it_can_be_interrupted_anywhere(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        lab.create(rows(1))
        lists = [lab.current.snapshots[-1]["manifest-list"]]
        for number in range(3):
            lab.commit(Operation.REPLACE, added=lab.write(rows(number)), removed=ALL)
            lists.append(lab.current.snapshots[-1]["manifest-list"])
        everything = {one.location for one in lab.store.list(lab.location)}
        expired = set(unreferenced(lab.store, lab.current, lists[:-1]))
        for reached in range(len(expired) + 1):  # each time it is stopped one file later than the time before
            for location in unreferenced(lab.store, lab.current, lists[:-1])[:reached]:
                lab.store.delete(location)
        assert unreferenced(lab.store, lab.current, lists[:-1]) == ()
        assert {one.location for one in lab.store.list(lab.location)} == everything - expired
        assert lab.rows() == [{"id": 2}]

    def test_a_damaged_live_manifest_stops_it(self, lab: TableLab) -> None:
        lab.create(rows(1))
        expired = lab.current.snapshots[-1]["manifest-list"]
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        lab.commit(Operation.REPLACE, added=lab.write(rows(2)), removed=ALL)
        (manifest, *_) = sorted(reachable(lab.store, lab.current).manifests)
        lab.store.write(manifest, lab.store.read(manifest)[:100])
        with pytest.raises(LakecatError):
            unreferenced(lab.store, lab.current, [expired])
