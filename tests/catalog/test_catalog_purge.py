"""What a purge must leave alone, because the lake needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from lakecat.catalog import Script
from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import removal
from lakecat.catalog.metadata_store.purge import PurgeMethods
from lakecat.errors import InUseError
from lakecat.types import DatasetName, FileVersion, LoadedFile, Position, SourceRead


def put(bench: Any, table: sa.Table, **row: Any) -> None:
    bench.catalog.database.write(lambda connection: connection.execute(sa.insert(table).values(**row)))


def finished_long_ago(bench: Any, *execution_ids: int) -> None:
    bench.catalog.database.write(
        lambda connection: connection.execute(
            sa.update(s.lake_execution).where(s.lake_execution.c.execution_id.in_(execution_ids)).values(finished_ms=1)
        )
    )


def versions_and_lineage(bench: Any, name: str) -> tuple[Any, ...]:
    dataset = DatasetName.parse(name)
    found = bench.catalog.versions(dataset)
    graphs = tuple(bench.catalog.lineage(version) for version in found)
    columns = tuple(bench.catalog.column_lineage(dataset, None, version=version.version) for version in found)
    details = tuple(bench.catalog.execution(version.execution_id) for version in found)
    return found, graphs, columns, details


def everything(store: PurgeMethods, **more: Any) -> Mapping[str, dict[str, int]]:
    found = {}
    for kind in ("execution", "artifact", "context"):
        report = store.purge(kind, filter_query="id > 0", apply=True, is_empty=lambda _prefix: True, **more)
        found[kind] = dict(report.kept)
    store.purge("type", apply=True)
    return found


def test_versions_with_all_that_explains_them_stay_whatever_is_purged(bench: Any) -> None:
    source = SourceRead(uri="s3://in/a.csv", rows=3, bytes=10, properties={})
    script = Script(text="SELECT 1", sha256="x" * 64, path="a.sql", dialect="duckdb")
    first = bench.load("raw.a", sources=(source,))
    bench.load("raw.a")
    made = bench.load("mart.b", inputs=(first,), script=script)
    lease, failed = bench.begin("raw.a")
    bench.catalog.fail(failed, "no")
    bench.catalog.release(lease)
    before = versions_and_lineage(bench, "raw.a"), versions_and_lineage(bench, "mart.b")
    finished_long_ago(bench, failed.execution_id)
    store = PurgeMethods(bench.catalog.database)
    everything(store)
    assert (versions_and_lineage(bench, "raw.a"), versions_and_lineage(bench, "mart.b")) == before
    assert not bench.catalog.integrity()
    for delete, key in (
        (store.delete_executions, made.execution_id), (store.delete_artifacts, made.artifact_id),
        (store.delete_executions, first.execution_id),
    ):  # fmt: skip
        with pytest.raises(InUseError):
            delete([key])


def test_which_source_went_to_which_table_stays_too(bench: Any) -> None:
    """``gone.csv`` went to none of the tables; without its edge it would have gone to both."""
    lease, execution = bench.begin("raw.a", targets=(DatasetName("raw", "a"), DatasetName("raw", "b")))
    went = {"a.csv": ("raw.a",), "b.csv": ("raw.b",), "gone.csv": ("raw.c",)}
    bench.commit(
        execution,
        *(bench.change(execution, name) for name in ("raw.a", "raw.b")),
        sources=tuple(SourceRead(uri=uri, rows=1, datasets=datasets) for uri, datasets in went.items()),
    )
    bench.catalog.release(lease)
    bench.load("raw.a")
    before = versions_and_lineage(bench, "raw.a"), versions_and_lineage(bench, "raw.b")
    store = PurgeMethods(bench.catalog.database)
    everything(store)
    assert (versions_and_lineage(bench, "raw.a"), versions_and_lineage(bench, "raw.b")) == before
    assert bench.catalog.source_uris(bench.catalog.versions(DatasetName("raw", "b"))[0]) == ("b.csv",)
    assert not bench.catalog.integrity()
    (load,) = bench.catalog.source_loads("gone.csv")
    with pytest.raises(InUseError):
        store.delete_artifacts([load.artifact_id])


def test_what_other_programs_recorded_before_a_version_stays_too(bench: Any) -> None:
    """artifact 901 -> execution 900 -> artifact 902 -> the version; 903 -> 901's sibling goes."""
    version = bench.load("raw.a")
    for key in (901, 902, 903):
        put(bench, s.artifact, id=key, type_id=1, uri=f"u{key}")
    kind = sa.select(s.execution.c.type_id).limit(1).scalar_subquery()
    for key in (900, 910):
        put(bench, s.execution, id=key, type_id=kind, last_known_state=3)
    for artifact, execution, event in ((901, 900, 3), (902, 900, 4), (902, version.execution_id, 3), (903, 910, 3)):
        put(bench, s.event, artifact_id=artifact, execution_id=execution, type=event)
    store = PurgeMethods(bench.catalog.database)
    report = store.purge(filter_query="id >= 900", orphans=True, apply=True)
    assert report.removed["executions"] == 1
    assert report.removed["artifacts"] == 1
    assert dict(report.kept) == {removal.LINEAGE: 1}
    report = store.purge("artifact", filter_query="id >= 900", apply=True)
    assert dict(report.kept) == {removal.LINEAGE: 2}


def test_positions_and_loaded_files_keep_their_executions(bench: Any) -> None:
    file = FileVersion(uri="s3://in/a.csv", size=1, etag="e")
    lease, execution = bench.begin("raw.a")
    bench.commit(
        execution, positions={"orders": Position({"cursor": 1})}, files={"orders": (LoadedFile(file, rows=1),)}
    )  # fmt: skip
    bench.catalog.release(lease)
    finished_long_ago(bench, execution.execution_id)
    kept = everything(PurgeMethods(bench.catalog.database))["execution"]
    assert sum(kept.values()) == 1
    assert bench.catalog.position("orders") == Position({"cursor": 1})
    assert bench.catalog.loaded("orders", [file]) == {file}


def test_failed_executions_go_once_their_folders_are_empty(bench: Any) -> None:
    bench.load("raw.a")
    ids = []
    for _ in range(3):
        lease, failed = bench.begin("raw.a", prefix=f"{bench.store.url}/raw/a/data/{len(ids)}")
        bench.catalog.fail(failed, "no")
        bench.catalog.release(lease)
        ids.append(failed.execution_id)
    store = PurgeMethods(bench.catalog.database)
    chosen = {"filter_query": "last_known_state = FAILED"}
    assert dict(store.purge(**chosen).kept) == {removal.FOLDERS: 2, removal.NEWEST: 1}
    assert not store.purge(**chosen, is_empty=lambda _prefix: True).removed  # they ended a moment ago
    finished_long_ago(bench, *ids)
    assert not store.purge(**chosen, is_empty=lambda _prefix: False).removed
    report = store.purge(**chosen, is_empty=lambda prefix: not prefix.endswith("1"), apply=True)
    assert (report.removed["executions"], report.removed["write intents"], report.removed["runs"]) == (1, 1, 1)
    with bench.catalog.database.reading() as connection:
        left = set(connection.execute(sa.select(s.execution.c.id)).scalars())
    assert left.isdisjoint(ids[:1])
    assert left.issuperset(ids[1:])


def test_the_newest_execution_of_a_job_says_when_it_is_due(bench: Any) -> None:
    ids = []
    for _ in range(3):
        lease, execution = bench.begin("raw.a")
        bench.commit(execution)
        bench.catalog.release(lease)
        ids.append(execution.execution_id)
    lease, failed = bench.begin("raw.a")
    bench.catalog.fail(failed, "no")
    bench.catalog.release(lease)
    finished_long_ago(bench, *ids, failed.execution_id)
    PurgeMethods(bench.catalog.database).purge(filter_query="id > 0", apply=True, is_empty=lambda _prefix: True)
    with bench.catalog.database.reading() as connection:
        assert set(connection.execute(sa.select(s.execution.c.id)).scalars()) == {ids[-1], failed.execution_id}


def test_a_dataset_that_was_said_something_of_stays(bench: Any) -> None:
    bench.load("raw.a")
    lease, failed = bench.begin("raw.empty")
    bench.catalog.fail(failed, "no")
    bench.catalog.release(lease)
    lease, failed = bench.begin("raw.told")
    bench.catalog.fail(failed, "no")
    bench.catalog.release(lease)
    with bench.catalog.database.reading() as connection:
        ids = {row.name: row.id for row in connection.execute(sa.select(s.context.c.id, s.context.c.name))}
    put(bench, s.mark, dataset_id=ids["raw.told"], field_id=0, kind="owner", value="me")
    PurgeMethods(bench.catalog.database).purge("context", filter_query="type = 'lakecat.Dataset'", apply=True)
    with bench.catalog.database.reading() as connection:
        left = set(connection.execute(sa.select(s.context.c.name)).scalars())
    assert left >= {"raw.a", "raw.told"}
    assert "raw.empty" not in left


def test_a_job_without_executions_is_found_no_more_once_it_is_gone(bench: Any) -> None:
    """One that came with what another catalog was copied from."""
    bench.load("raw.a")
    put(bench, s.context, type_id=bench.catalog.type_ids["lakecat.Job"], name="nightly")
    bench.catalog.reindex()
    assert [hit.name for hit in bench.catalog.search("nightly").hits] == ["nightly"]
    store = PurgeMethods(bench.catalog.database)
    chosen = {"filter_query": "type = 'lakecat.Job'"}
    dry = store.purge("context", **chosen)
    done = store.purge("context", apply=True, **chosen)
    assert dry.removed == done.removed == {"contexts": 1, "search entries": 1}
    assert dict(done.kept) == {removal.JOB: 1}
    assert bench.catalog.search("nightly").hits == ()
    assert bench.catalog.integrity() == ()


def test_what_refers_to_a_node_from_a_table_without_a_rule_keeps_it(bench: Any) -> None:
    """Every table with a foreign key to a node either goes with the node, or keeps it."""
    for kind, names in removal.REFERENCES.items():
        own = {column.table.name for _, column in removal._OWN[kind]}
        target = {"artifact": s.artifact, "execution": s.execution, "context": s.context}[kind]
        referring = {
            table.name for table in s.metadata.sorted_tables for key in table.foreign_keys if key.column.table is target
        }
        assert own | {column.table.name for column in names} == referring
