"""Files that an execution wrote in an attempt that was lost, though it committed with another one: they go, alone."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from uuid import uuid4

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable

from lakecat import ingest
from lakecat.catalog import schema as s
from lakecat.config import Retention, WriteSettings
from lakecat.errors import StoreUnavailableError, TableError
from lakecat.landing import current_state
from lakecat.tables import (
    Operation,
    TableChange,
    data_prefix,
    load_state,
    metadata_prefix,
    stage,
    table_location,
    write_files,
)
from lakecat.tables.changes import ALL
from lakecat.types import DatasetName, ExecutionState, ExecutionType

T = DatasetName.parse("raw.t")
DAY = 86_400_000
ids = itertools.count(7_000_000_000)


def lose_an_attempt(lab, *, base=None, execution: str | None = None) -> set[str]:
    """As if an execution that committed had staged this before, lost the race, and could not remove what it wrote."""
    before = lab.files().keys()
    state = base or current_state(lab.services, T)
    uuid = execution or writers(lab)[0]
    added = write_files(
        lab.store,
        pa.table({"id": pa.array([next(ids)], pa.int64())}).to_reader(),
        schema=state.schema,
        spec=state.spec,
        prefix=data_prefix(state.location, uuid),
        settings=WriteSettings(),
    ).files
    change = TableChange(
        dataset=T,
        operation=Operation.REPLACE,
        location=state.location,
        added=added,
        removed=ALL,
        properties={"lakecat.execution": uuid, "lakecat.fence": "1"},
    )
    stage(
        lab.store,
        state,
        change,
        retention=Retention(),
        now_ms=next(ids) * 1000,
        snapshot_id=next(ids),
        uuid=str(uuid4()),
        sidecar={},
    )
    return lab.files().keys() - before


def writers(lab) -> list[str]:
    """The executions that committed rows, newest first."""
    complete = lab.services.catalog.executions(state=ExecutionState.COMPLETE)
    return [one.uuid for one in complete if one.type is ExecutionType.INGEST]


def reachable(lab) -> set[str]:
    """What the versions need that can still be read, as plain PyIceberg finds it."""
    found: set[str] = set()
    with lab.services.catalog.database.reading() as connection:
        kept = connection.execute(
            sa.select(s.version.c.metadata_location, s.version.c.snapshot_id).where(~s.version.c.expired)
        ).all()
    state = current_state(lab.services, T)
    kept += [(state.metadata_location, snapshot["snapshot-id"]) for snapshot in state.snapshots]
    for metadata, snapshot_id in kept:
        table = StaticTable.from_metadata(metadata)
        snapshot = table.snapshot_by_id(snapshot_id)
        found |= {metadata, snapshot.manifest_list}
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found


def test_all_that_it_wrote_goes_and_nothing_else(lab):
    lab.append(1)
    lab.append(2)
    lab.gc()
    before = lab.files()
    lost = lose_an_attempt(lab)
    assert {name.rsplit(".", 1)[1] for name in lost} == {"parquet", "avro", "json"}
    assert lab.gc(apply=False).removable.files == len(lost)
    assert lab.files().keys() == before.keys() | lost
    item = lab.collect()
    assert (item.abandoned.files, item.unknown.files, item.error) == (len(lost), 0, None)
    assert lab.files() == before
    assert lab.rows() == [1, 2]
    assert lab.gc().removable.files == 0
    assert lab.services.catalog.integrity() == ()


def test_what_a_merge_left_that_lost_the_race_and_could_not_remove(lab, monkeypatch):
    """For real: others append under a rewrite, and the store refuses to remove the first attempt's files."""
    lab.append(1)
    writing = lab.store.open_output
    mine = []

    def meanwhile(location: str):
        if not mine and "/data/" in location:
            mine.append(location)
            lab.append(2)
            monkeypatch.setattr(type(lab.store), "delete", refuse)
        return writing(location)

    def refuse(*_: object) -> None:
        raise StoreUnavailableError("not now")

    monkeypatch.setattr(lab.store, "open_output", meanwhile)
    rows = pa.table({"id": pa.array([1, 3], pa.int64())})
    ingest.merge(lab.services, T, rows, key=["id"])
    monkeypatch.undo()
    assert mine[0] in lab.files()
    lab.grace(timedelta(days=1))
    item = lab.collect()
    assert (item.abandoned.files, item.unknown.files) == (1, 0)
    assert mine[0] not in lab.files()
    assert lab.rows() == [1, 2, 3]


def test_what_another_attempts_metadata_names_goes_with_it(lab):
    """A lost attempt on a lost attempt: neither was published, so neither protects the other."""
    lab.append(1)
    before = lab.files()
    lost = lose_an_attempt(lab)
    metadata = next(name for name in lost if name.endswith(".metadata.json"))
    lost |= lose_an_attempt(lab, base=load_state(lab.store, metadata))
    assert lab.collect().abandoned.files == len(lost) > 5
    assert lab.files() == before


def test_what_metadata_names_that_is_still_there_stays(lab):
    """The catalog may think that a version is gone: as long as its metadata can be read, what it names is in use."""
    lab.append(1)
    lab.replace(2)
    lab.append(3)
    before = lab.files()
    lab.execute(sa.update(s.version).where(s.version.c.version == 1).values(collected_ms=1, expired=True))
    lab.grace(timedelta(days=1))
    item = lab.collect()
    assert item.removable.files == 0
    assert lab.files() == before


def test_files_with_other_names_and_receipts_stay(lab):
    lab.append(1)
    complete = writers(lab)[0]
    location = table_location(lab.store.url, T)
    data, metadata = data_prefix(location, complete), metadata_prefix(location, complete)
    strange = {
        f"{data}/mine.parquet",
        f"{data}/{uuid4()}.parquet.tmp",
        f"{data}/deeper/{uuid4()}.parquet",
        f"{metadata}/.{uuid4()}.metadata.json.0a.tmp",
        f"{metadata}/{uuid4()}.avro",
        f"{metadata}/{uuid4()}.parquet",
    }
    for name in strange:
        lab.store.write(name, b"mine")
    item = lab.collect()
    assert (item.removable.files, item.unknown.files) == (0, len(strange))
    assert strange <= lab.files().keys()


def test_nothing_goes_where_the_table_is_not_to_be_found(lab):
    """Whatever became of the pointer: files of executions that committed are not taken for leftovers."""
    lab.append(1)
    lose_an_attempt(lab)
    before = lab.files()
    lab.execute(sa.delete(s.iceberg_tables))
    lab.gc()
    assert lab.files() == before


def test_a_damaged_metadata_file_stops_it(lab):
    lab.append(1)
    lab.grace(timedelta(days=1))
    lab.replace(2)
    old = next(version for version in lab.services.catalog.versions(T) if version.version == 1)
    lost = lose_an_attempt(lab)
    lab.store.write(old.metadata_location, b"rubbish")
    before = lab.files()
    item = lab.collect()
    assert item.error is not None
    assert not isinstance(item.error, TableError) or lost <= lab.files().keys()
    assert lab.files() == before


@pytest.mark.parametrize("nth", [1, 3, 5])
def test_killed_in_between_the_next_one_finishes(lab, nth):
    lab.append(1)
    before = lab.files()
    lose_an_attempt(lab)
    code, _ = lab.process("gc", failpoint=f"gc.file_deleted:{nth}:kill")
    assert code == -9
    assert lab.rows() == [1]
    lab.expire_leases()
    assert lab.collect().error is None
    assert lab.files() == before
    assert lab.services.catalog.integrity() == ()


STEPS = st.lists(
    st.sampled_from(["append", "replace", "lose", "lose", "grace", "later", "gc"]),
    min_size=3,
    max_size=8,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 99))
def test_whenever_it_runs_all_that_can_be_read_stays(make_lab, tmp_path_factory, steps, seed):
    """Any order of commits, lost attempts, expiries and collections; each collection leaves no lost attempt behind."""
    root = tmp_path_factory.mktemp("gc")
    lab = make_lab(lake=f"file://{root}/lake", catalog=f"sqlite:///{root}/catalog.db")
    choose, number = random.Random(seed), itertools.count(2)
    lab.append(1)
    expected, lost = [1], set()
    for step in [*steps, "gc"]:
        if step in ("append", "replace"):
            row = next(number)
            getattr(lab, step)(row)
            expected = [*expected, row] if step == "append" else [row]
        elif step == "lose":
            lost |= lose_an_attempt(lab, execution=choose.choice(writers(lab)))
        elif step == "grace":
            lab.grace(choose.choice([timedelta(days=1), timedelta(milliseconds=1)]))
        elif step == "later":
            expiry = s.version.c.expired_ms
            lab.execute(sa.update(s.version).where(s.version.c.expired).values(expired_ms=expiry - 2 * DAY))
        elif step == "gc":
            needed = reachable(lab)
            item = lab.collect()
            assert item.error is None
            assert item.unknown.files == 0
            assert needed <= lab.files().keys()
            assert not lost & lab.files().keys()
            assert lab.rows() == expected
    assert lab.services.catalog.integrity() == ()
