"""What garbage collection removes, and that a table reads the same before and after."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from lakecat.catalog import ExecutionStart
from lakecat.catalog import schema as s
from lakecat.errors import LakecatError, LeaseHeldError, TableError, UsageError
from lakecat.failpoints import MAINTENANCE_NAMES
from lakecat.landing import current_state
from lakecat.tables import data_prefix, load_state, metadata_prefix, plan, sidecar_location, table_location
from lakecat.tables.manifests import ManifestBuilder, read_entries, read_manifests
from lakecat.tables.scan import Scan
from lakecat.types import DatasetName, ExecutionState, ExecutionType, VersionRef

T = DatasetName.parse("raw.t")


def current_files(lab) -> set[str]:
    return {file.location for file in plan(lab.store, Scan(current_state(lab.services, T)))}


def only_execution(lab, state: ExecutionState):
    (found,) = lab.services.catalog.executions(state=state)
    return found


def test_what_an_execution_says_it_will_write_is_where_its_files_are(lab):
    lab.append(1)
    with lab.services.catalog.database.reading() as connection:
        prefixes = set(connection.execute(sa.select(s.intent.c.prefix)).scalars())
    uuid = only_execution(lab, ExecutionState.COMPLETE).uuid
    location = table_location(lab.store.url, T)
    assert prefixes == {data_prefix(location, uuid), metadata_prefix(location, uuid)}
    assert {"/".join(name.split("/")[:-1]) for name in lab.files()} == prefixes


class TestNeverCommitted:
    @pytest.mark.parametrize("step", ["data.written", "commit.sidecar_written", "commit.before"])
    def test_what_a_killed_process_left_goes_once_its_lease_has_run_out(self, lab, step):
        lab.append(1)
        before = lab.files()
        code, _ = lab.process("append", "2", failpoint=f"{step}:1:kill")
        assert code == -9
        left = lab.files().keys() - before.keys()
        assert left
        assert lab.gc().removable.files == 0  # its lease still runs: it may come back
        lab.expire_leases()
        pretended = lab.gc(apply=False)
        assert pretended.removable.files == len(left)
        assert lab.files().keys() == before.keys() | left
        report = lab.gc()
        assert report.removable.files == len(left)
        assert report.canceled == (only_execution(lab, ExecutionState.CANCELED).execution_id,)
        assert lab.files() == before
        assert lab.rows() == [1]
        assert lab.services.catalog.integrity() == ()

    def test_no_folder_of_it_stays(self, lab):
        lab.append(1)
        lab.process("append", "2", failpoint="commit.before:1:kill")
        lab.expire_leases()
        lab.gc()
        folders = {path for path in (lab.root / "lake").rglob("*") if path.is_dir()}
        assert {path for path in folders if not any(path.iterdir())} == set()

    def test_a_table_that_never_came_to_be(self, lab):
        lab.process("append", "1", failpoint="data.written:1:kill")
        lab.expire_leases()
        assert lab.collect(fraction=None).error is not None  # all of its bytes, which nobody allowed
        assert lab.collect().abandoned.files == 1
        assert lab.files() == {}


class TestExpired:
    def test_only_what_the_current_version_needs_is_left(self, lab):
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        lab.append(4)
        needed = current_files(lab)
        first = lab.services.catalog.resolve(VersionRef(T, version=1))
        sizes = lab.files()
        found = lab.collect()
        assert lab.parquet() == needed
        removed = sizes.keys() - lab.files().keys()
        assert (found.expired.files, found.expired.bytes) == (len(removed), sum(sizes[name] for name in removed))
        assert first.metadata_location in removed
        assert sidecar_location(first.metadata_location) in lab.files()
        assert lab.rows() == [2, 3, 4]
        assert found.unknown.files == 0
        assert lab.gc().removable.files == 0

    def test_their_record_stays_and_says_that_they_expired(self, lab):
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        before = lab.services.catalog.versions(T)
        lab.gc()
        assert lab.services.catalog.versions(T) == before
        assert [version.expired for version in before] == [False, True, True]
        graph = lab.services.catalog.lineage(VersionRef(T, version=1))
        assert graph.nodes

    def test_a_dry_run_changes_nothing(self, lab):
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        before = lab.files()
        executions = lab.services.catalog.executions()
        assert lab.gc(apply=False).removable.files > 0
        assert lab.files() == before
        assert lab.services.catalog.executions() == executions

    def test_files_stay_for_the_grace_counted_from_the_expiry(self, lab):
        lab.grace(timedelta(hours=24))
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        before = lab.files()
        lab.execute(sa.update(s.version).values(committed_ms=0))  # old, but expired just now
        assert lab.collect().expired.files == 0
        assert lab.files() == before
        hours = 3_600_000
        expired = s.version.c.expired
        lab.execute(sa.update(s.version).where(expired).values(expired_ms=s.version.c.expired_ms - 23 * hours))
        assert lab.collect().expired.files == 0
        lab.execute(sa.update(s.version).where(expired).values(expired_ms=s.version.c.expired_ms - 2 * hours))
        assert lab.collect().expired.files > 0
        assert lab.rows() == [2, 3]

    def test_a_file_that_two_expired_versions_share_stays_until_both_are_due(self, lab):
        lab.grace(timedelta(hours=24))
        lab.append(1)
        lab.append(2)
        shared = {file for file in lab.parquet() if file in current_files(lab)}
        lab.replace(3)
        lab.append(4)
        day = 86_400_000
        for number in (1, 2):
            lab.execute(
                sa.update(s.version)
                .where(s.version.c.version == number)
                .values(expired_ms=s.version.c.expired_ms - 2 * day)
            )
            lab.gc()
            assert (shared & lab.parquet()) == (shared if number == 1 else set())
        assert lab.rows() == [3, 4]

    def test_a_version_that_a_running_execution_reads_stays(self, lab):
        pinned = lab.append(1)
        lease = lab.services.catalog.acquire("job", lab.services.holder)
        start = ExecutionStart(
            type=ExecutionType.TRANSFORM, job="job", run_key=None, targets=(DatasetName.parse("mart.m"),),
            inputs=(pinned,),
        )  # fmt: skip
        running = lab.services.catalog.begin(lease, start)
        (read,) = current_files(lab)
        lab.replace(2)
        lab.append(3)
        lab.gc()
        assert read in lab.parquet()
        lab.services.catalog.fail(running, "done")
        lab.gc()
        assert read not in lab.parquet()

    def test_the_collection_is_an_execution_that_says_what_it_did(self, lab):
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        report = lab.gc()
        detail = lab.services.catalog.execution(report.execution_id)
        assert (detail.info.type, detail.info.state) == (ExecutionType.MAINTENANCE, ExecutionState.COMPLETE)
        assert detail.info.properties["files_removed"] == report.removable.files > 0
        assert detail.info.properties["bytes_removed"] == report.removable.bytes
        assert detail.info.properties["versions_removed"] == report.datasets[0].versions
        assert lab.services.catalog.integrity() == ()


class TestBounds:
    def test_more_than_half_is_refused_unless_it_is_allowed(self, lab):
        lab.append(*range(100_000))
        lab.replace(1)
        lab.append(2)
        before = lab.files()
        refused = lab.collect(fraction=None)
        assert isinstance(refused.error, TableError)
        assert "--max-delete-fraction" in refused.error.next_command
        assert lab.files() == before
        allowed = float(refused.error.next_command.split()[-1])
        assert lab.collect(fraction=allowed).error is None
        assert lab.rows() == [1, 2]
        assert len(lab.files()) < len(before)

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
    def test_a_fraction_is_from_0_to_1(self, lab, fraction):
        with pytest.raises(UsageError):
            lab.gc(fraction=fraction)


class TestRefusals:
    def test_a_damaged_live_file_stops_it_for_that_dataset_only(self, lab):
        other = DatasetName.parse("raw.other")
        for dataset in (T, other):
            lab.append(1, dataset=dataset)
            lab.append(2, dataset=dataset)
            lab.append(3, dataset=dataset)
        state = current_state(lab.services, T)
        (snapshot,) = state.snapshots
        lab.store.write(snapshot["manifest-list"], b"rubbish")
        mine = {name for name in lab.files() if "/raw/t/" in name}
        report = lab.gc()
        errors = {str(item.dataset): item.error for item in report.datasets}
        assert errors["raw.other"] is None
        assert isinstance(errors["raw.t"], LakecatError)
        assert {name for name in lab.files() if "/raw/t/" in name} == mine
        assert report.removable.files > 0
        properties = lab.services.catalog.execution(report.execution_id).info.properties
        assert "raw.t" in str(properties["errors"])

    def test_files_that_nothing_explains_are_told_and_kept(self, lab):
        lab.append(1)
        location = table_location(lab.store.url, T)
        complete = only_execution(lab, ExecutionState.COMPLETE).uuid
        strange = {
            f"{location}/data/stray.parquet",
            f"{location}/data/not-an-execution/x.parquet",
            f"{location}/metadata/x.puffin",
            f"{data_prefix(location, complete)}/more.parquet",
        }
        outside = {lab.store.join("raw", "readme.txt"), lab.store.join("RAW", "t", "data", complete, "x.parquet")}
        for name in strange | outside:
            lab.store.write(name, b"mine")
        report = lab.gc()
        assert report.removable.files == 0
        (item,) = report.datasets
        assert set(item.unknown_files) == strange
        assert set(report.outside_files) == outside
        assert (strange | outside) <= lab.files().keys()

    def test_a_link_is_not_followed_and_not_removed(self, lab, tmp_path: Path):
        canary = tmp_path / "outside" / "canary"
        canary.parent.mkdir()
        canary.write_text("alive")
        lab.append(1)
        (live,) = current_files(lab)
        lab.process("append", "2", failpoint="data.written:1:kill")
        (dead,) = lab.parquet() - {live}
        folder = Path(dead.removeprefix("file://")).parent
        (folder / "file").symlink_to(canary)
        (folder / "folder").symlink_to(canary.parent)
        (folder / "inside").symlink_to(Path(live.removeprefix("file://")).parent)
        lab.expire_leases()
        item = lab.collect()
        assert (item.abandoned.files, item.unknown.files) == (1, 3)
        assert canary.read_text() == "alive"
        assert lab.rows() == [1]

    def test_a_second_collection_waits_for_its_turn(self, lab):
        lease = lab.services.catalog.acquire("gc", lab.services.holder)
        with pytest.raises(LeaseHeldError):
            lab.gc()
        lab.services.catalog.release(lease)
        lab.gc()


@pytest.mark.parametrize(("name", "nth"), [("gc.planned", 1), *[("gc.file_deleted", n) for n in (1, 2, 3, 5)]])
def test_killed_anywhere_the_next_one_finishes(lab, name, nth):
    assert name in MAINTENANCE_NAMES
    lab.append(1)
    lab.replace(2)
    lab.append(3)
    expected = current_files(lab)
    code, _ = lab.process("gc", failpoint=f"{name}:{nth}:kill")
    assert code == -9
    assert lab.rows() == [2, 3]
    lab.expire_leases()
    item = lab.collect()
    assert item.error is None
    assert item.unknown.files == 0
    assert lab.parquet() == expected
    assert lab.rows() == [2, 3]
    assert lab.gc().removable.files == 0
    assert lab.services.catalog.integrity() == ()


class TestHostileMetadata:
    """Whoever can write metadata cannot make the collection remove, or forget, a file."""

    def forge(self, lab, version: int, path: str) -> None:
        """Let the manifest of an expired version name ``path`` as its data file."""
        found = lab.services.catalog.resolve(VersionRef(T, version=version))
        state = load_state(lab.store, found.metadata_location)
        snapshot = state.snapshot(found.snapshot_id)
        (manifest,) = read_manifests(lab.store, snapshot["manifest-list"])
        (entry,) = read_entries(lab.store, manifest)
        entry.data_file[1] = path  # its file_path
        folder = snapshot["manifest-list"].rpartition("/")[0]
        builder = ManifestBuilder(
            prefix=folder, uuid="forged", snapshot_id=found.snapshot_id, schema=state.schema, specs=state.spec_by_id
        )
        forged = builder.write_list([builder.add(0, [entry.data_file])], None, 1)
        lab.store.write_all({**builder.files, snapshot["manifest-list"]: builder.files[forged]})

    @pytest.mark.parametrize(
        "named",
        ["another table", "a stray file", "outside", "odd spelling", "the catalog"],
    )
    def test_an_expired_manifest_that_names_what_is_not_its_own(self, lab, tmp_path: Path, named: str):
        other = DatasetName.parse("raw.other")
        lab.append(7, dataset=other)
        (alien,) = (name for name in lab.parquet() if "/raw/other/" in name)
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        live = min(current_files(lab))
        stray = f"{table_location(lab.store.url, T)}/data/stray.parquet"
        lab.store.write(stray, b"mine")
        canary = tmp_path / "canary"
        canary.write_text("alive")
        named_path = {
            "another table": alien,
            "a stray file": stray,
            "outside": f"file://{canary}",
            "odd spelling": live.replace("/raw/t/", "/raw/./t/"),
            "the catalog": f"file://{tmp_path / 'catalog.db'}",
        }[named]
        self.forge(lab, 1, named_path)
        lab.gc()
        assert {alien, live, stray} <= lab.files().keys()
        assert canary.read_text() == "alive"
        assert lab.rows() == [2, 3]
        assert lab.rows(other) == [7]
        assert lab.services.catalog.versions(T)

    def test_a_file_that_another_table_uses_stays(self, lab):
        """By a link from one table's folder to the other's, which is how a copy without copying is made."""
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        shared = next(name for name in sorted(lab.parquet()) if name not in current_files(lab))
        other = DatasetName.parse("raw.other")
        lab.append(7, dataset=other)
        (own,) = (name for name in lab.parquet() if "/raw/other/" in name)
        here = Path(own.removeprefix("file://"))
        here.unlink()
        here.symlink_to(shared.removeprefix("file://"))
        item = lab.collect()
        assert "another table uses" in str(item.error)
        assert shared in lab.files()

    def test_a_live_manifest_that_names_a_file_outside_the_lake_stops_it(self, lab, tmp_path: Path):
        lab.append(1)
        lab.replace(2)
        lab.append(3)
        snapshot = current_state(lab.services, T).snapshots[-1]
        manifests = read_manifests(lab.store, snapshot["manifest-list"])
        (entry, *_) = read_entries(lab.store, manifests[0])
        entry.data_file[1] = f"file://{tmp_path}/elsewhere.parquet"
        state = current_state(lab.services, T)
        builder = ManifestBuilder(
            prefix=f"{state.location}/metadata/forged", uuid="forged", snapshot_id=1, schema=state.schema,
            specs=state.spec_by_id,
        )  # fmt: skip
        forged = builder.write_list([builder.add(0, [entry.data_file] * 2)], None, 9)
        lab.store.write_all({**builder.files, snapshot["manifest-list"]: builder.files[forged]})
        before = lab.files()
        assert "outside the lake" in str(lab.collect().error)
        assert lab.files() == before
