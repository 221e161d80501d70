"""Deleting and retention in the metadata store: what goes, what goes with it, and what stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.database import now_ms
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.metadata_store import purge as purging
from lakecat.catalog.metadata_store import removal
from lakecat.catalog.metadata_store.purge import PurgeMethods
from lakecat.errors import FilterError, InUseError, InvalidValueError

INPUT, OUTPUT = 3, 4
RUNNING, COMPLETE = 2, 3
DAY = 24 * 60 * 60 * 1000


class Store(PurgeMethods):
    """A store with a short way to put rows."""

    def types(self) -> dict[TypeKind, int]:
        query = sa.select(s.type_.c.type_kind, sa.func.min(s.type_.c.id)).group_by(s.type_.c.type_kind)
        with self.database.reading() as connection:
            return {TypeKind(kind): key for kind, key in connection.execute(query)}

    def insert(self, table: sa.Table, *rows: Mapping[str, Any]) -> None:
        self.database.write(lambda connection: [connection.execute(sa.insert(table), row) for row in rows])

    def executions(self, *ids: int, state: int = COMPLETE, age_ms: int = 0) -> None:
        kind = self.types()[TypeKind.EXECUTION]
        time = self.now() - age_ms
        times = {"create_time_since_epoch": time, "last_update_time_since_epoch": time}
        self.insert(s.execution, *({"id": n, "type_id": kind, "last_known_state": state, **times} for n in ids))

    def artifacts(self, *ids: int) -> None:
        kind = self.types()[TypeKind.ARTIFACT]
        self.insert(s.artifact, *({"id": n, "type_id": kind, "uri": f"u{n}"} for n in ids))

    def contexts(self, *ids: int) -> None:
        kind = self.types()[TypeKind.CONTEXT]
        self.insert(s.context, *({"id": n, "type_id": kind, "name": f"c{n}"} for n in ids))

    def events(self, *triples: tuple[int, int, int]) -> None:
        keys = ("artifact_id", "execution_id", "type")
        self.insert(s.event, *(dict(zip(keys, one, strict=True)) for one in triples))

    def associate(self, *pairs: tuple[int, int]) -> None:
        self.insert(s.association, *({"context_id": c, "execution_id": e} for c, e in pairs))

    def now(self) -> int:
        with self.database.reading() as connection:
            return int(connection.execute(sa.select(now_ms())).scalar_one())

    def dump(self) -> dict[str, set[tuple[Any, ...]]]:
        with self.database.reading() as connection:
            return {
                str(table.name): {tuple(row) for row in connection.execute(sa.select(table))}
                for table in s.metadata.sorted_tables
            }

    def ids(self, table: sa.Table) -> set[int]:
        with self.database.reading() as connection:
            return set(connection.execute(sa.select(table.c.id)).scalars())


@pytest.fixture
def store(catalog_url: URL) -> Iterator[Store]:
    with Catalog.open(catalog_url, create=True) as catalog:
        yield Store(catalog.database)


def full(store: Store) -> None:
    """Two executions in a chain of three artifacts, with everything that can hang on them."""
    store.contexts(1, 2)
    store.executions(1, 2)
    store.artifacts(1, 2, 3)
    store.events((1, 1, INPUT), (2, 1, OUTPUT), (2, 2, INPUT), (3, 2, OUTPUT))
    with store.database.reading() as connection:
        keys = connection.execute(sa.select(s.event.c.id).order_by(s.event.c.id)).scalars().all()
    store.insert(s.event_path, *({"event_id": key, "is_index_step": False, "step_key": f"k{key}"} for key in keys))
    for table, key, ids in (
        (s.execution_property, "execution_id", (1, 2)),
        (s.artifact_property, "artifact_id", (1, 2, 3)),
        (s.context_property, "context_id", (1, 2)),
    ):
        store.insert(table, *({key: n, "name": "p", "is_custom_property": True, "int_value": n} for n in ids))
    store.associate((1, 1), (1, 2), (2, 2))
    store.insert(s.attribution, *({"context_id": 1, "artifact_id": n} for n in (1, 2, 3)))
    store.insert(s.parent_context, {"context_id": 1, "parent_context_id": 2})
    edge = {"output_dataset": "d", "kind": "IDENTITY", "masked": False}
    store.insert(s.column_edge, *({**edge, "execution_id": n, "output_artifact_id": n + 1} for n in (1, 2)))


def test_an_execution_takes_its_own_rows_with_it_and_no_others(store: Store) -> None:
    full(store)
    before = store.dump()
    removed = store.delete_executions([1])
    after = store.dump()
    assert removed == {"executions": 1, "properties": 1, "events": 2, "associations": 1, "column edges": 1}
    gone = {name: before[name] - after[name] for name in before if before[name] != after[name]}
    assert all(after[name] <= before[name] for name in before)
    assert {name.lower(): len(rows) for name, rows in gone.items()} == {
        "execution": 1, "executionproperty": 1, "event": 2, "eventpath": 2, "association": 1, "lakecat_column_edge": 1,
    }  # fmt: skip


def test_an_artifact_and_a_context_take_their_own_rows_with_them(store: Store) -> None:
    full(store)
    assert store.delete_artifacts([2])["events"] == 2
    assert store.ids(s.artifact) == {1, 3}
    removed = store.delete_contexts([1])
    assert (removed["attributions"], removed["associations"], removed["parent contexts"]) == (2, 2, 1)
    assert store.ids(s.context) == {2}
    assert store.ids(s.execution) == {1, 2}  # members stay


def test_deleting_again_is_no_error_and_changes_nothing(store: Store) -> None:
    full(store)
    store.delete_executions([1])
    before = store.dump()
    assert sum(store.delete_executions([1, 999]).values()) == 0
    assert store.dump() == before
    assert store.delete_artifacts([]) == {}


def test_a_running_execution_stays_and_so_does_what_it_reads(store: Store) -> None:
    store.executions(1)
    store.executions(2, state=RUNNING)
    store.artifacts(1)
    store.contexts(1)
    store.events((1, 2, INPUT))
    store.associate((1, 2))
    for delete, ids in (
        (store.delete_executions, [1, 2]), (store.delete_artifacts, [1]), (store.delete_contexts, [1]),
    ):  # fmt: skip
        before = store.dump()
        with pytest.raises(InUseError, match="running"):
            delete(ids)
        assert store.dump() == before
    report = store.purge(filter_query="id > 0", apply=True)
    assert (report.removed["executions"], dict(report.kept)) == (1, {removal.RUNNING: 1})


def test_a_dry_run_counts_what_is_then_removed_and_changes_nothing(store: Store) -> None:
    full(store)
    before = store.dump()
    dry = store.purge(filter_query="id = 2")
    assert store.dump() == before
    assert not dry.applied
    done = store.purge(filter_query="id = 2", apply=True)
    assert done.applied
    assert (dry.removed, dry.orphaned, dry.selected) == (done.removed, done.orphaned, done.selected)
    assert dry.orphaned == {"artifacts": 1}  # artifact 3; artifact 2 is still what execution 1 wrote
    assert store.ids(s.artifact) == {1, 2, 3}
    assert store.purge(filter_query="id = 2", apply=True).selected == 0


@pytest.mark.parametrize("apply", [False, True])
def test_orphans_go_with_the_executions_when_asked(store: Store, apply: bool) -> None:
    full(store)
    store.artifacts(9)  # never had an event: no orphan of this purge
    report = store.purge(filter_query="id > 0", orphans=True, apply=apply)
    assert report.removed["executions"] == 2
    assert report.removed["artifacts"] == 3
    assert report.removed["events"] == 4
    assert report.orphaned == {}
    assert store.ids(s.artifact) == ({9} if apply else {1, 2, 3, 9})


def test_age_counts_from_the_last_change_by_the_database_clock(store: Store) -> None:
    store.executions(1, age_ms=10 * DAY)
    store.executions(2, age_ms=3 * DAY)
    store.executions(3)
    assert store.purge(older_than=timedelta(days=5)).selected == 1
    store.purge(older_than=timedelta(days=2), apply=True)
    assert store.ids(s.execution) == {3}


def test_the_newest_of_every_context_are_kept(store: Store) -> None:
    store.contexts(1, 2)
    for n in range(1, 6):
        store.executions(n, age_ms=(10 - n) * DAY)
    store.executions(6)  # in no context: never one of too many
    store.associate(*((1, n) for n in (1, 2, 3, 4, 5)), (2, 1))
    assert store.purge(keep_last=2).selected == 2  # 2 and 3: 1 is the newest of context 2
    assert store.purge(keep_last=2, of_contexts="name = 'c1'").selected == 3
    assert store.purge(keep_last=0, filter_query="id != 4").selected == 4
    store.purge(keep_last=2, apply=True)
    assert store.ids(s.execution) == {1, 4, 5, 6}


def test_types_go_when_nothing_uses_them(store: Store) -> None:
    known = store.ids(s.type_)
    store.insert(
        s.type_,
        *({"id": 100 + n, "name": f"T{n}", "type_kind": int(TypeKind.ARTIFACT)} for n in range(3)),
    )
    store.insert(s.type_property, {"type_id": 100, "name": "p", "data_type": 1})
    store.insert(s.parent_type, {"type_id": 100, "parent_type_id": 101})
    store.insert(s.artifact, {"id": 1, "type_id": 102})
    with pytest.raises(InUseError, match="101"):
        store.delete_types([101])
    dry = store.purge("type")
    assert (dry.removed, dry.applied) == ({"types": 1, "type properties": 1, "parent types": 1}, False)
    assert store.purge("type", apply=True).removed == {"types": 1, "type properties": 1, "parent types": 1}
    assert store.purge("type", apply=True).removed == {"types": 1}  # 101 had only been kept by 100
    assert store.ids(s.type_) == known | {102}
    for key in (102, min(known)):
        with pytest.raises(InUseError):
            store.delete_types([key])
    assert store.delete_types([999]) == {}


def test_a_purge_that_was_stopped_is_finished_by_the_next_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "BATCH", 3)
    store.executions(*range(1, 11))
    seen = []

    def stop(label: str, done: int, total: int) -> None:
        seen.append((label, done, total))
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.purge(filter_query="id > 0", apply=True, on_progress=stop)
    assert seen == [("executions", 3, 10), ("executions", 6, 10)]
    assert store.ids(s.execution) == {7, 8, 9, 10}
    assert store.purge(filter_query="id > 0", apply=True).removed == {"executions": 4}


def test_what_comes_into_use_during_a_purge_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "BATCH", 1)
    store.artifacts(1, 2, 3)
    store.executions(1, 2, 3)
    store.events((1, 1, OUTPUT), (2, 2, OUTPUT), (3, 3, OUTPUT))

    def use(_label: str, done: int, _total: int) -> None:
        if done == 1:
            store.executions(10)
            store.events((3, 10, INPUT))

    report = store.purge(filter_query="id < 10", apply=True, on_progress=use)
    assert store.ids(s.execution) == {3, 10}
    assert dict(report.kept) == {removal.NEWER: 1}
    report = store.purge("artifact", filter_query="id > 0", apply=True)
    assert store.ids(s.artifact) == set()
    assert report.removed["artifacts"] == 3


def test_what_was_changed_during_a_purge_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An execution that fitted when it was looked for, and was put again before its turn came."""
    monkeypatch.setattr(purging, "BATCH", 1)
    store.executions(1, 2, 3, age_ms=10 * DAY)

    def change(_label: str, done: int, _total: int) -> None:
        if done == 1:
            now = store.now()
            update = sa.update(s.execution).where(s.execution.c.id == 3).values(last_update_time_since_epoch=now)
            store.database.write(lambda connection: connection.execute(update))

    report = store.purge(older_than=timedelta(days=5), apply=True, on_progress=change)
    assert store.ids(s.execution) == {3}
    assert (report.removed, report.kept) == ({"executions": 2}, {removal.CHANGED: 1})


def test_a_delete_goes_whole_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what is asked for comes into use between the first look and the last batch."""
    monkeypatch.setattr(purging, "BATCH", 1)
    store.executions(1, 2, 3)
    real, calls = removal.remove, []

    def remove(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise InUseError("it is needed", field="id", value=2)
        return real(*args)

    monkeypatch.setattr(removal, "remove", remove)
    before = store.dump()
    with pytest.raises(InUseError):
        store.delete_executions([1, 2, 3])
    assert len(calls) == 2
    assert store.dump() == before


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({}, InvalidValueError),
        ({"kind": "event", "filter_query": "id = 1"}, InvalidValueError),
        ({"kind": "artifact", "keep_last": 1}, InvalidValueError),
        ({"kind": "type", "filter_query": "id = 1"}, InvalidValueError),
        ({"keep_last": -1}, InvalidValueError),
        ({"older_than": timedelta(days=-1)}, InvalidValueError),
        ({"filter_query": "id = 1", "of_contexts": "id = 1"}, InvalidValueError),
        ({"filter_query": "nothing = 1"}, FilterError),
    ],
)
def test_what_cannot_be_meant_is_refused(store: Store, wrong: dict[str, Any], error: type[Exception]) -> None:
    store.executions(1)
    with pytest.raises(error):
        store.purge(**wrong, apply=True)
    assert store.ids(s.execution) == {1}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_goes_nothing_that_is_left_refers_to_it(store: Store, data: st.DataObject) -> None:
    store.database.write(
        lambda connection: [
            connection.execute(sa.delete(table))
            for table in reversed(s.metadata.sorted_tables)
            if table not in (s.mlmd_env, s.type_, s.type_property, s.parent_type, s.setting)
        ]
    )
    numbers = st.integers(1, 4)
    store.artifacts(1, 2, 3, 4)
    store.executions(1, 2, 3, 4)
    store.contexts(1, 2, 3, 4)
    events = data.draw(st.sets(st.tuples(numbers, numbers, st.sampled_from((INPUT, OUTPUT))), max_size=8))
    pairs = data.draw(st.sets(st.tuples(numbers, numbers), max_size=6))
    parents = data.draw(st.sets(st.tuples(numbers, numbers), max_size=6))
    store.events(*events)
    store.associate(*pairs)
    store.insert(s.parent_context, *({"context_id": c, "parent_context_id": p} for c, p in parents))
    edge = {"output_dataset": "d", "kind": "IDENTITY", "masked": False}
    outputs = [(e, a) for a, e, t in events if t == OUTPUT]
    store.insert(s.column_edge, *({**edge, "execution_id": e, "output_artifact_id": a} for e, a in outputs))
    kind = data.draw(st.sampled_from(("artifact", "execution", "context")))
    chosen = data.draw(st.sets(numbers, min_size=1))
    orphans = kind == "execution" and data.draw(st.booleans())
    text = f"id IN ({', '.join(map(str, chosen))})"
    dry = store.purge(kind, filter_query=text, orphans=orphans)
    done = store.purge(kind, filter_query=text, orphans=orphans, apply=True)
    assert (dry.removed, dry.kept, dry.orphaned) == (done.removed, done.kept, done.orphaned)
    left = {
        "artifact": {1, 2, 3, 4} - (chosen if kind == "artifact" else set()),
        "execution": {1, 2, 3, 4} - (chosen if kind == "execution" else set()),
        "context": {1, 2, 3, 4} - (chosen if kind == "context" else set()),
    }
    kept_events = {(a, e, t) for a, e, t in events if a in left["artifact"] and e in left["execution"]}
    if orphans:
        left["artifact"] -= {a for a, _, _ in events} - {a for a, _, _ in kept_events}
    assert {name: store.ids(table) for name, table in
            (("artifact", s.artifact), ("execution", s.execution), ("context", s.context))} == left  # fmt: skip
    with store.database.reading() as connection:
        found = connection.execute(sa.select(s.event.c.artifact_id, s.event.c.execution_id, s.event.c.type))
        assert {tuple(row) for row in found} == kept_events
        found = connection.execute(sa.select(s.association.c.context_id, s.association.c.execution_id))
        assert {tuple(row) for row in found} == {
            (c, e) for c, e in pairs if c in left["context"] and e in left["execution"]
        }
        found = connection.execute(sa.select(s.parent_context))
        assert {tuple(row) for row in found} == {(c, p) for c, p in parents if {c, p} <= left["context"]}
        found = connection.execute(sa.select(s.column_edge.c.execution_id, s.column_edge.c.output_artifact_id))
        assert {tuple(row) for row in found} == {
            (e, a) for e, a in outputs if e in left["execution"] and a in left["artifact"]
        }
