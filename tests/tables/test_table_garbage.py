"""Files that nobody needs are named; no file that somebody needs ever is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from table_lab import TableLab

from lakecat.config import Retention
from lakecat.errors import LakecatError, ObjectMissingError, StoreError
from lakecat.tables import ALL, Operation, Reach, Scan, load_state, plan, reachable, unreferenced
from lakecat.tables.history import decode
from lakecat.tables.manifests import ManifestBuilder


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def in_order(reach: Reach) -> list[str]:
    """What an expired reach holds, in the order in which it may be removed."""
    return [*sorted(reach.files), *sorted(reach.manifests), *sorted(reach.lists)]


class TestReachable:
    def test_two_spellings_of_a_file_are_one(self, lab: TableLab, tmp_path: Path) -> None:
        """A folder reached through a link inside the lake is needed where it really lies."""
        lab.create(rows(1))
        real = tmp_path / "lake" / "raw" / "t"
        (tmp_path / "lake" / "raw" / "alias").symlink_to(real)
        metadata = lab.store.read(lab.current.metadata_location).replace(b"/raw/t/metadata", b"/raw/alias/metadata")
        aliased = lab.store.join("raw", "aliased.metadata.json")
        head, _ = decode(metadata.replace(b"lakecat-history-crc32", b"ignored"), aliased)
        assert head["format-version"] == 2
        lab.store.write(aliased, metadata.replace(b"lakecat-history-crc32", b"ignored"))
        found = reachable(lab.store, load_state(lab.store, aliased))
        assert found.lists == reachable(lab.store, lab.current).lists
        assert found.files == reachable(lab.store, lab.current).files

    def test_a_read_that_fails_answers_nothing(self, lab: TableLab) -> None:
        lab.create(rows(1))
        lab.append(rows(2))
        (manifest, *_) = sorted(reachable(lab.store, lab.current).manifests)
        lab.store.delete(manifest)
        with pytest.raises(ObjectMissingError):
            reachable(lab.store, lab.current)

    @pytest.mark.parametrize(
        "spelling", ["file:///etc/passwd", "/etc/passwd", "{lake}/raw/../raw/t/x", "{lake}/raw/t/%2e%2e/x#", "s3://b/x"]
    )
    def test_a_file_outside_the_lake_is_refused(self, lab: TableLab, spelling: str) -> None:
        lab.create(rows(1))
        (file,) = lab.write(rows(2))
        file[1] = spelling.format(lake=lab.store.url)  # its file_path
        builder = ManifestBuilder(
            prefix=f"{lab.location}/metadata/evil", uuid="evil", snapshot_id=7, schema=lab.current.schema,
            specs=lab.current.spec_by_id,
        )  # fmt: skip
        evil = builder.write_list([builder.add(0, [file])], None, 9)
        lab.store.write_all(builder.files)
        with pytest.raises(StoreError):
            reachable(lab.store, lab.current, others=[{"snapshot-id": 7, "manifest-list": evil}])


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
        named = in_order(unreferenced(lab.store, reachable(lab.store, lab.current), gone))
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
        assert in_order(unreferenced(lab.store, reachable(lab.store, lab.current), gone)) == []

    def test_it_can_be_interrupted_anywhere(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        lab.create(rows(1))
        lists = [lab.current.snapshots[-1]["manifest-list"]]
        for number in range(3):
            lab.commit(Operation.REPLACE, added=lab.write(rows(number)), removed=ALL)
            lists.append(lab.current.snapshots[-1]["manifest-list"])
        everything = {one.location for one in lab.store.list(lab.location)}
        live = reachable(lab.store, lab.current)
        expired = set(in_order(unreferenced(lab.store, live, lists[:-1])))
        for reached in range(len(expired) + 1):  # each time it is stopped one file later than the time before
            for location in in_order(unreferenced(lab.store, live, lists[:-1]))[:reached]:
                lab.store.delete(location)
        assert in_order(unreferenced(lab.store, live, lists[:-1])) == []
        assert {one.location for one in lab.store.list(lab.location)} == everything - expired
        assert lab.rows() == [{"id": 2}]

    def test_a_damaged_live_manifest_stops_it(self, lab: TableLab) -> None:
        lab.create(rows(1))
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        lab.commit(Operation.REPLACE, added=lab.write(rows(2)), removed=ALL)
        (manifest, *_) = sorted(reachable(lab.store, lab.current).manifests)
        lab.store.write(manifest, lab.store.read(manifest)[:100])
        with pytest.raises(LakecatError):
            reachable(lab.store, lab.current)
