"""Commits as others see them: every snapshot is read by plain PyIceberg and compared with rows worked out here."""

from __future__ import annotations

import datetime as dt
import json
from datetime import timedelta

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo, GreaterThan, In, IsNull
from table_lab import TableLab

from lakecat.config import Retention
from lakecat.errors import (
    CommitConflictError,
    CorruptFileError,
    ObjectMissingError,
    SchemaError,
    StoreError,
    TableError,
)
from lakecat.tables import (
    ALL,
    PARTITIONS,
    AddColumn,
    DropColumn,
    Operation,
    RenameColumn,
    Scan,
    alter,
    appended_since,
    arrow_to_iceberg,
    evolve,
    load_state,
    new_table,
    parse_partition,
    plan,
    read,
    sidecar_location,
)
from lakecat.tables.manifests import read_manifests


def table(ids: range | list[int], part: str | None = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "part": pa.array([part] * len(ids), pa.string())})


def ids(rows: list[dict[str, object]]) -> list[object]:
    return sorted(row["id"] for row in rows)


class TestOperations:
    def test_create_with_rows(self, lab: TableLab) -> None:
        staged = lab.create(table(range(5)))
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [0, 1, 2, 3, 4]
        totals = staged.totals
        assert (totals.rows, totals.files, totals.added_rows, totals.removed_rows) == (5, 1, 5, 0)

    def test_create_empty(self, lab: TableLab) -> None:
        staged = lab.commit(Operation.APPEND, schema=new_table(arrow_to_iceberg(table([]).schema)))
        assert (staged.totals.rows, staged.totals.files) == (0, 0)
        assert lab.rows() == []
        assert lab.static().scan().to_arrow().num_rows == 0
        assert lab.static().current_snapshot().snapshot_id == staged.snapshot_id
        lab.append(table([1]))
        assert ids(lab.static().scan().to_arrow().to_pylist()) == [1]

    def test_every_append_is_kept_and_every_version_readable(self, lab: TableLab) -> None:
        versions = [lab.create(table([0]))]
        versions += [lab.append(table([number])) for number in range(1, 30)]
        static = lab.static()
        for number, version in enumerate(versions):
            expected = list(range(number + 1))
            assert ids(lab.rows(version.snapshot_id)) == expected
            assert ids(static.scan(snapshot_id=version.snapshot_id).to_arrow().to_pylist()) == expected

    def test_replace_leaves_only_the_new_rows(self, lab: TableLab) -> None:
        first = lab.create(table(range(10)))
        staged = lab.commit(Operation.REPLACE, added=lab.write(table([7])), removed=ALL)
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [7]
        assert ids(lab.rows(first.snapshot_id)) == list(range(10))
        assert (staged.totals.removed_rows, staged.totals.added_rows, staged.totals.rows) == (10, 1, 1)
        assert lab.static().current_snapshot().summary["operation"].value == "overwrite"

    def test_replace_by_nothing(self, lab: TableLab) -> None:
        lab.create(table(range(3)))
        lab.commit(Operation.REPLACE, removed=ALL)
        assert lab.rows() == lab.static().scan().to_arrow().to_pylist() == []
        lab.append(table([1]))
        assert ids(lab.static().scan().to_arrow().to_pylist()) == [1]

    def test_overwrite_some_files(self, lab: TableLab) -> None:
        lab.create(table([1, 2]))
        lab.append(table([3, 4]))
        lab.append(table([5, 6]))
        gone = [file.data_file for file in plan(lab.store, Scan(lab.current)) if 3 in self._ids_of(lab, file)]
        staged = lab.commit(Operation.OVERWRITE, added=lab.write(table([30])), removed=tuple(gone))
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [1, 2, 5, 6, 30]
        assert (staged.totals.files, staged.totals.removed_files, staged.totals.rows) == (3, 1, 5)

    def test_delete_files(self, lab: TableLab) -> None:
        lab.create(table([1], "a"), "part")
        lab.append(table([2], "b"))
        gone = tuple(file.data_file for file in plan(lab.store, Scan(lab.current), EqualTo("part", "a")))
        lab.commit(Operation.DELETE, removed=gone)
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [2]
        assert lab.static().current_snapshot().summary["operation"].value == "delete"

    def test_replace_partitions_touches_only_those_of_the_new_rows(self, lab: TableLab) -> None:
        lab.create(table([1, 2], "a"), "part")
        lab.append(table([3], "b"))
        lab.append(table([4], None))
        lab.append(table([5], "a"))
        lab.commit(Operation.OVERWRITE, added=lab.write(table([10], "a")), removed=PARTITIONS)
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [3, 4, 10]
        lab.commit(Operation.OVERWRITE, added=lab.write(table([40], None)), removed=PARTITIONS)
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [3, 10, 40]

    def test_replace_partitions_by_no_rows_changes_nothing(self, lab: TableLab) -> None:
        lab.create(table([1], "a"), "part")
        lab.commit(Operation.OVERWRITE, removed=PARTITIONS)
        assert ids(lab.rows()) == [1]

    def test_a_manifest_names_the_files_that_a_commit_removed(self, lab: TableLab) -> None:
        lab.create(table([1]))
        lab.append(table([2]))
        (gone, _) = (file.data_file for file in plan(lab.store, Scan(lab.current)))
        staged = lab.commit(Operation.DELETE, removed=(gone,))
        entries = lab.static().inspect.entries(staged.snapshot_id).to_pylist()
        assert [(e["status"], e["snapshot_id"]) for e in entries if e["data_file"]["file_path"] == gone.file_path] == [
            (2, staged.snapshot_id)
        ]

    @staticmethod
    def _ids_of(lab: TableLab, file: object) -> list[object]:
        return ids(read(lab.store, Scan(lab.current, None, (file,))).read_all().to_pylist())


class TestConflicts:
    def test_a_file_that_is_gone(self, lab: TableLab) -> None:
        lab.create(table([1]))
        removed = tuple(file.data_file for file in plan(lab.store, Scan(lab.current)))
        lab.commit(Operation.REPLACE, added=lab.write(table([2])), removed=ALL)
        with pytest.raises(CommitConflictError, match="not in the table"):
            lab.commit(Operation.OVERWRITE, added=lab.write(table([3])), removed=removed)
        assert ids(lab.rows()) == [2]

    def test_rows_that_came_after_a_rewrite_had_read(self, lab: TableLab) -> None:
        read_at = lab.create(table([1])).snapshot_id
        removed = tuple(file.data_file for file in plan(lab.store, Scan(lab.current)))
        lab.append(table([2]))
        rewrite = {"added": lab.write(table([3])), "removed": removed}
        with pytest.raises(CommitConflictError, match="changed since"):
            lab.commit(Operation.OVERWRITE, base_snapshot_id=read_at, **rewrite)
        lab.commit(Operation.OVERWRITE, **rewrite)  # without a base it is an overwrite of these files only
        assert ids(lab.rows()) == [2, 3]

    def test_a_commit_without_rows_is_no_conflict(self, lab: TableLab) -> None:
        read_at = lab.create(table([1])).snapshot_id
        lab.append(table([]))
        lab.commit(Operation.OVERWRITE, added=lab.write(table([3])), removed=ALL, base_snapshot_id=read_at)
        assert ids(lab.rows()) == [3]

    def test_a_base_that_has_expired(self, lab: TableLab) -> None:
        lab.create(table([1]))
        with pytest.raises(CommitConflictError):
            lab.commit(Operation.OVERWRITE, added=lab.write(table([3])), removed=ALL, base_snapshot_id=42)

    def test_two_creators_with_the_same_columns_both_land(self, lab: TableLab) -> None:
        schema = arrow_to_iceberg(table([]).schema)
        spec = parse_partition((), schema)
        second = lab.change(
            Operation.APPEND, added=lab.write(table([2]), schema=schema, spec=spec), schema=new_table(schema), spec=spec
        )
        lab.create(table([1]))
        lab.publish(lab.stage(second))
        assert ids(lab.rows()) == [1, 2]

    def test_two_creators_with_other_columns(self, lab: TableLab) -> None:
        lab.create(table([1]))
        other = new_table(arrow_to_iceberg(pa.schema([("id", pa.string())])))
        with pytest.raises(CommitConflictError, match="columns"):
            lab.commit(Operation.APPEND, schema=other)

    def test_a_table_that_was_dropped(self, lab: TableLab) -> None:
        lab.create(table([1]))
        change = lab.change(Operation.APPEND, added=lab.write(table([2])))
        with pytest.raises(CommitConflictError, match="not there"):
            lab.stage(change, base=None)

    def test_columns_that_changed_meanwhile(self, lab: TableLab) -> None:
        lab.create(table([1]))
        state = lab.current
        mine = alter(state.schema, [AddColumn(("mine",), pa.int64())], last_column_id=state.last_column_id)
        theirs = alter(state.schema, [AddColumn(("theirs",), pa.int64())], last_column_id=state.last_column_id)
        same = alter(state.schema, [AddColumn(("theirs",), pa.int64())], last_column_id=state.last_column_id)
        lab.commit(Operation.APPEND, schema=theirs)
        with pytest.raises(CommitConflictError, match="columns"):
            lab.commit(Operation.APPEND, schema=mine)
        lab.commit(Operation.APPEND, schema=same)
        assert [column.name for column in lab.current.schema.fields] == ["id", "part", "theirs"]

    def test_an_operation_that_says_less_than_it_does(self, lab: TableLab) -> None:
        lab.create(table([1]))
        files = lab.write(table([2]))
        with pytest.raises(TableError, match="append"):
            lab.change(Operation.APPEND, added=files, removed=ALL)
        lab.commit(Operation.DELETE, added=files, removed=ALL)  # what is left of a rewritten file
        assert lab.static().current_snapshot().summary["operation"].value == "overwrite"

    def test_files_of_the_wrong_shape(self, lab: TableLab) -> None:
        lab.create(table([1], "a"), "part")
        (file,) = lab.write(table([2], "a"))
        with pytest.raises(TableError, match="twice"):
            lab.commit(Operation.APPEND, added=(file, file))
        unpartitioned = lab.write(table([2]), spec=parse_partition((), lab.current.schema))
        with pytest.raises(TableError, match="partition values"):
            lab.commit(Operation.APPEND, added=unpartitioned)
        file._data[1] = "file:///elsewhere/x.parquet"
        with pytest.raises(StoreError, match="outside"):
            lab.commit(Operation.APPEND, added=(file,))


class TestMetadata:
    def test_properties_and_totals_are_in_the_summary(self, lab: TableLab) -> None:
        lab.create(table([1, 2]))
        staged = lab.publish(
            lab.stage(lab.change(Operation.APPEND, added=lab.write(table([3])), properties={"lakecat.fence": "7"}))
        )
        summary = lab.static().current_snapshot().summary
        assert summary["lakecat.fence"] == "7"
        assert summary["lakecat.execution"] == "execution-1"
        assert (summary["total-records"], summary["total-data-files"], summary["added-records"]) == ("3", "2", "1")
        sizes = [file.size for file in plan(lab.store, Scan(lab.current))]
        assert summary["total-files-size"] == str(sum(sizes)) == str(staged.totals.bytes)
        assert sum(lab.store.size(file.location) for file in plan(lab.store, Scan(lab.current))) == sum(sizes)

    def test_the_sidecar_lies_beside_the_metadata(self, lab: TableLab) -> None:
        staged = lab.create(table([1]))
        sidecar = json.loads(lab.store.read(sidecar_location(staged.metadata_location)))
        assert sidecar["dataset"] == "raw.t"
        assert sidecar["snapshot_id"] == staged.snapshot_id
        assert sidecar["metadata_location"] == staged.metadata_location
        assert sidecar["commit"] == {"number": 1}
        assert set(staged.written) == {one.location for one in lab.store.list(f"{lab.location}/metadata")}

    def test_what_an_execution_writes_lies_in_its_folders(self, lab: TableLab) -> None:
        lab.create(table([1]))
        lab.append(table([2]))
        folders = {
            one.location.removeprefix(f"{lab.location}/").rsplit("/", 1)[0] for one in lab.store.list(lab.location)
        }
        assert folders == {f"{kind}/execution-{number}" for kind in ("data", "metadata") for number in (0, 1)}

    def test_times_and_sequence_numbers_only_grow(self, lab: TableLab) -> None:
        lab.create(table([1]))
        lab.now_ms -= 3_600_000  # a clock that was set back
        lab.append(table([2]))
        lab.append(table([3]))
        snapshots = lab.current.snapshots
        times = [snapshot["timestamp-ms"] for snapshot in snapshots]
        assert times == sorted(set(times))
        assert [snapshot["sequence-number"] for snapshot in snapshots] == [1, 2, 3]
        assert [snapshot.get("parent-snapshot-id") for snapshot in snapshots[1:]] == [
            snapshot["snapshot-id"] for snapshot in snapshots[:-1]
        ]
        assert [entry.snapshot_id for entry in lab.static().history()] == [one["snapshot-id"] for one in snapshots]

    def test_the_metadata_log_is_capped(self, lab: TableLab) -> None:
        lab.retention = Retention(metadata_versions=3)
        lab.create(table([1]))
        for number in range(5):
            lab.append(table([number]))
        log = [entry["metadata-file"] for entry in lab.current.raw["metadata-log"]]
        assert log == [staged.metadata_location for staged in lab.history[2:5]]

    def test_the_table_keeps_its_identity(self, lab: TableLab) -> None:
        lab.create(table([1]))
        uuid = lab.current.uuid
        lab.append(table([2]))
        assert lab.current.uuid == uuid == str(lab.static().metadata.table_uuid)

    def test_what_stage_answers_is_what_is_written(self, lab: TableLab) -> None:
        staged = lab.create(table([1]))
        assert staged.state.raw == load_state(lab.store, staged.metadata_location).raw
        assert staged.base_location is None
        assert lab.append(table([2])).base_location == staged.metadata_location

    def test_damaged_metadata_is_named(self, lab: TableLab) -> None:
        staged = lab.create(table([1]))
        good = lab.store.read(staged.metadata_location)
        for bad in (b"", b"\x00" * 100, good[: len(good) // 2], b"[]", b"{}", b'{"format-version": 2}'):
            lab.store.write(staged.metadata_location, bad)
            with pytest.raises(CorruptFileError) as caught:
                load_state(lab.store, staged.metadata_location)
            assert str(caught.value.where) == staged.metadata_location
        with pytest.raises(ObjectMissingError):
            load_state(lab.store, lab.store.join("nothing.metadata.json"))
        lab.store.write(staged.metadata_location, good.replace(b'"format-version":2', b'"format-version":3'))
        with pytest.raises(TableError, match="version 3"):
            load_state(lab.store, staged.metadata_location)

    def test_damaged_manifests_are_named(self, lab: TableLab) -> None:
        lab.create(table([1]))
        manifest_list = lab.current.snapshots[-1]["manifest-list"]
        (manifest,) = read_manifests(lab.store, manifest_list)
        for location in (manifest.manifest_path, manifest_list):
            good = lab.store.read(location)
            for lost in (1, 16, 20, 200):  # also where all that is lost is Avro's closing marker
                lab.store.write(location, good[:-lost])
                with pytest.raises(CorruptFileError) as caught:
                    plan(lab.store, Scan(lab.current))
                assert str(caught.value.where) == location
            lab.store.write(location, good)
            assert plan(lab.store, Scan(lab.current))

    def test_damaged_data_files_are_named(self, lab: TableLab) -> None:
        lab.create(table(range(1000)))
        (file,) = plan(lab.store, Scan(lab.current))
        good = lab.store.read(file.location)
        lab.store.write(file.location, good[: len(good) // 2])
        with pytest.raises(CorruptFileError) as caught:
            lab.rows()
        assert str(caught.value.where) == file.location
        lab.store.delete(file.location)
        with pytest.raises(ObjectMissingError):
            lab.rows()


class TestExpiry:
    def test_by_count_and_age(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=3, age=timedelta(days=2))
        lab.step = timedelta(days=1)
        staged = [lab.create(table([0]))] + [lab.append(table([number])) for number in range(1, 6)]
        # On day n the commits of days n, n-1 and (by age: not older than 2 days) n-2 stay; three by count as well.
        assert [one["snapshot-id"] for one in lab.current.snapshots] == [one.snapshot_id for one in staged[-3:]]
        assert [list(one.expired_snapshot_ids) for one in staged] == [
            [],
            [],
            [],
            *([one.snapshot_id] for one in staged[:3]),
        ]
        assert ids(lab.rows()) == list(range(6))
        assert len(lab.static().scan().to_arrow()) == 6

    def test_young_ones_stay_beyond_the_count(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=1, age=timedelta(hours=1))
        lab.create(table([0]))
        assert lab.append(table([1])).expired_snapshot_ids == ()
        lab.now_ms += 3_600_000
        expired = lab.append(table([2])).expired_snapshot_ids
        assert expired == tuple(one.snapshot_id for one in lab.history[:2])

    def test_tags_hold_their_snapshot(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        first = lab.create(table([0]))
        raw = {
            **lab.current.raw,
            "refs": {**lab.current.raw["refs"], "audit": {"snapshot-id": first.snapshot_id, "type": "tag"}},
        }
        lab.store.write(lab.current.metadata_location, json.dumps(raw).encode())
        lab.state = load_state(lab.store, lab.current.metadata_location)
        lab.append(table([1]))
        last = lab.append(table([2]))
        assert [one["snapshot-id"] for one in lab.current.snapshots] == [first.snapshot_id, last.snapshot_id]
        assert ids(lab.rows(first.snapshot_id)) == [0]
        assert [entry["snapshot-id"] for entry in lab.current.raw["snapshot-log"]] == [last.snapshot_id]

    def test_an_expired_version_says_so(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
        first = lab.create(table([0]))
        lab.append(table([1]))
        with pytest.raises(TableError, match="expired"):
            lab.rows(first.snapshot_id)


class TestAppendedSince:
    def test_only_the_rows_in_between(self, lab: TableLab) -> None:
        versions = [lab.create(table([0])).snapshot_id]
        versions += [lab.append(table([number])).snapshot_id for number in range(1, 20)]
        for start, end in ((0, 1), (0, 19), (7, 12), (18, 19), (5, 5)):
            scan = appended_since(lab.store, lab.current, versions[start], versions[end])
            assert ids(read(lab.store, scan).read_all().to_pylist()) == list(range(start + 1, end + 1))

    def test_the_first_time_everything(self, lab: TableLab) -> None:
        lab.create(table([0]))
        middle = lab.append(table([1])).snapshot_id
        lab.append(table([2]))
        scan = appended_since(lab.store, lab.current, None, middle)
        assert ids(read(lab.store, scan).read_all().to_pylist()) == [0, 1]

    def test_removed_rows_are_no_append(self, lab: TableLab) -> None:
        start = lab.create(table([0])).snapshot_id
        lab.commit(Operation.REPLACE, added=lab.write(table([1])), removed=ALL)
        end = lab.append(table([2])).snapshot_id
        with pytest.raises(TableError, match="overwrite"):
            appended_since(lab.store, lab.current, start, end)

    def test_a_start_that_has_expired(self, lab: TableLab) -> None:
        lab.retention = Retention(snapshots=2, age=timedelta(milliseconds=1))
        start = lab.create(table([0])).snapshot_id
        end = [lab.append(table([number])).snapshot_id for number in range(1, 4)][-1]
        with pytest.raises(TableError, match="expired"):
            appended_since(lab.store, lab.current, start, end)

    def test_a_predicate_prunes_them_too(self, lab: TableLab) -> None:
        start = lab.create(table([0], "a"), "part").snapshot_id
        lab.append(table([1], "a"))
        end = lab.append(table([2], "b")).snapshot_id
        scan = appended_since(lab.store, lab.current, start, end)
        assert [file.rows for file in plan(lab.store, scan, EqualTo("part", "b"))] == [1]


class TestPlanning:
    def test_by_partition_and_by_statistics(self, lab: TableLab) -> None:
        day = dt.datetime(2024, 5, 1)  # noqa: DTZ001 - a timestamp without zone
        rows = pa.table(
            {
                "at": pa.array([day + dt.timedelta(days=n) for n in range(10)], pa.timestamp("us")),
                "n": pa.array(range(10), pa.int64()),
            }
        )
        lab.create(rows, "day(at)")
        assert len(plan(lab.store, Scan(lab.current))) == 10
        for predicate in (GreaterThan("at", "2024-05-08T12:00:00"), GreaterThan("n", 7), In("n", {8, 9, 100})):
            files = plan(lab.store, Scan(lab.current), predicate)
            theirs = {task.file.file_path for task in lab.static().scan(row_filter=predicate).plan_files()}
            assert {file.location for file in files} == theirs
        assert len(plan(lab.store, Scan(lab.current), GreaterThan("n", 7))) == 2
        assert plan(lab.store, Scan(lab.current), IsNull("n")) == ()
        with pytest.raises(SchemaError, match="nothing"):
            plan(lab.store, Scan(lab.current), EqualTo("nothing", 1))

    def test_columns_and_predicate_of_read(self, lab: TableLab) -> None:
        lab.create(table(range(10)))
        found = read(lab.store, Scan(lab.current), columns=["id"], predicate=GreaterThan("id", 6)).read_all()
        assert found.to_pydict() == {"id": [7, 8, 9]}
        with pytest.raises(SchemaError):
            read(lab.store, Scan(lab.current), columns=["nothing"])

    def test_read_has_pyiceberg_types(self, lab: TableLab) -> None:
        lab.create(table([1]))
        mine = read(lab.store, Scan(lab.current)).schema
        assert mine.equals(lab.static().scan().to_arrow_batch_reader().schema)
        assert mine.equals(Scan(lab.current).arrow_schema, check_metadata=True)

    def test_a_version_is_read_with_the_columns_it_had(self, lab: TableLab) -> None:
        first = lab.create(table([1]))
        state = lab.current
        change = alter(
            state.schema,
            [RenameColumn(("part",), "section"), AddColumn(("extra",), pa.int32()), DropColumn(("id",))],
            last_column_id=state.last_column_id,
        )
        second = lab.commit(Operation.APPEND, schema=change)
        assert lab.rows(first.snapshot_id) == [{"id": 1, "part": "a"}]
        assert lab.rows(second.snapshot_id) == lab.rows() == [{"section": "a", "extra": None}]
        assert lab.static().scan(snapshot_id=first.snapshot_id).to_arrow().to_pylist() == [{"id": 1, "part": "a"}]
        assert lab.static().scan().to_arrow().to_pylist() == [{"section": "a", "extra": None}]


class TestManifests:
    def test_their_number_stays_small(self, lab: TableLab) -> None:
        lab.create(table([0]))
        (file,) = lab.write(table([1]))
        path = file.file_path
        most = 0
        for number in range(600):
            file._data[1] = f"{path}-{number}"
            lab.commit(Operation.APPEND, added=(file,))
            most = max(most, len(read_manifests(lab.store, lab.current.snapshots[-1]["manifest-list"])))
        # 601 files of one row: at most 7 manifests in each of the tiers below 8, 64, 512, and one above.
        assert most <= 7 * 3 + 1
        files = plan(lab.store, Scan(lab.current))
        assert len({one.location for one in files}) == 601
        assert sorted(one.sequence_number for one in files) == list(range(1, 602))

    def test_a_merged_entry_remembers_its_commit(self, lab: TableLab) -> None:
        staged = [lab.create(table([0]))] + [lab.append(table([number])) for number in range(1, 12)]
        entries = lab.static().inspect.entries().to_pylist()
        by_snapshot = {entry["snapshot_id"]: entry["sequence_number"] for entry in entries}
        assert by_snapshot == {one.snapshot_id: number for number, one in enumerate(staged, start=1)}


class TestPartitioning:
    def test_a_new_spec_holds_for_new_files(self, lab: TableLab) -> None:
        lab.create(table([1, 2], "a"))
        spec = parse_partition(["part"], lab.current.schema)
        lab.commit(Operation.APPEND, spec=spec)
        lab.append(table([3], "b"))
        lab.append(table([4], "c"))
        assert ids(lab.rows()) == ids(lab.static().scan().to_arrow().to_pylist()) == [1, 2, 3, 4]
        assert len(plan(lab.store, Scan(lab.current), EqualTo("part", "b"))) == 1  # the old file: by its statistics
        with pytest.raises(TableError, match="older partitioning"):
            lab.commit(Operation.OVERWRITE, added=lab.write(table([9], "b")), removed=PARTITIONS)
        lab.commit(Operation.REPLACE, added=lab.write(table([5], "b")), removed=ALL)
        assert ids(lab.static().scan().to_arrow().to_pylist()) == [5]
        lab.commit(Operation.OVERWRITE, added=lab.write(table([6], "b")), removed=PARTITIONS)
        assert ids(lab.rows()) == [6]

    def test_going_back_to_an_earlier_spec_uses_its_ids(self, lab: TableLab) -> None:
        lab.create(table([1], "a"), "part")
        schema = lab.current.schema
        lab.commit(Operation.APPEND, spec=parse_partition(["bucket(4, id)", "part"], schema))
        fields = {field["name"]: field["field-id"] for field in lab.current.raw["partition-specs"][1]["fields"]}
        assert fields == {"id_bucket_4": 1001, "part": 1000}
        lab.commit(Operation.APPEND, spec=parse_partition(["part"], schema))
        assert [spec["spec-id"] for spec in lab.current.raw["partition-specs"]] == [0, 1]
        assert lab.current.spec.spec_id == 0

    def test_its_column_cannot_be_dropped(self, lab: TableLab) -> None:
        lab.create(table([1], "a"), "part")
        change = alter(lab.current.schema, [DropColumn(("part",))], last_column_id=2)
        with pytest.raises(SchemaError, match="part"):
            lab.commit(Operation.APPEND, schema=change)

    def test_a_partition_column_may_be_widened_and_renamed(self, lab: TableLab) -> None:
        rows = pa.table({"k": pa.array([1, 2], pa.int32())})
        lab.create(rows, "k")
        lab.append(pa.table({"k": pa.array([3], pa.int64())}), self._widened(lab))
        lab.append(pa.table({"k": pa.array([2**40], pa.int64())}))
        found = [file.rows for file in plan(lab.store, Scan(lab.current), EqualTo("k", 2))]
        assert found == [1]
        assert sorted(row["k"] for row in lab.static().scan().to_arrow().to_pylist()) == [1, 2, 3, 2**40]
        gone = tuple(file.data_file for file in plan(lab.store, Scan(lab.current), EqualTo("k", 2)))
        lab.commit(Operation.DELETE, removed=gone)
        renamed = alter(lab.current.schema, [RenameColumn(("k",), "key")], last_column_id=1)
        lab.commit(Operation.APPEND, schema=renamed)
        assert len(plan(lab.store, Scan(lab.current), EqualTo("key", 3))) == 1
        assert sorted(row["key"] for row in lab.rows()) == [1, 3, 2**40]

    @staticmethod
    def _widened(lab: TableLab) -> object:
        change = evolve(lab.current.schema, pa.schema([("k", pa.int64())]), last_column_id=lab.current.last_column_id)
        assert change is not None
        return change
