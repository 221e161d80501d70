"""A purge beside writers: what came into use since it began stays, and nobody fails because of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from fault_proxy import Proxy
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, registry
from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import purge as purging
from lakecat.catalog.metadata_store import removal
from lakecat.catalog.metadata_store.purge import PurgeMethods
from lakecat.errors import InUseError
from lakecat.types import DatasetName, SourceRead, VersionRef

INPUT, OUTPUT = 3, 4
COMPLETE = 3
SOURCE = SourceRead(uri="s3://in/a.csv", rows=3, bytes=10, properties={})
SERVERS = pytest.mark.parametrize("catalog_url", ["postgres", "mariadb"], indirect=True)


def put(bench: Any, table: sa.Table, *rows: dict[str, Any]) -> None:
    bench.catalog.database.write(lambda connection: [connection.execute(sa.insert(table), row) for row in rows])


def foreign(bench: Any, executions: range, artifacts: range = range(0)) -> None:
    for key in executions:
        put(bench, s.execution, {"id": key, "type_id": type_of(bench, 0), "last_known_state": COMPLETE})
    for key in artifacts:
        put(bench, s.artifact, {"id": key, "type_id": type_of(bench, 1), "uri": f"u{key}"})


def type_of(bench: Any, kind: int) -> int:
    with bench.catalog.database.reading() as connection:
        query = sa.select(s.type_.c.id).where(s.type_.c.type_kind == kind, s.type_.c.name.like("mlmd.%"))
        return int(connection.execute(query.limit(1)).scalar_one())


def events(bench: Any, *triples: tuple[int, int, int]) -> None:
    put(bench, s.event, *({"artifact_id": a, "execution_id": e, "type": t} for a, e, t in triples))


def ids(bench: Any, table: sa.Table) -> set[int]:
    with bench.catalog.database.reading() as connection:
        return set(connection.execute(sa.select(table.c.id)).scalars())


def after_the_first(action: Callable[[], object]) -> Callable[[str, int, int], None]:
    def progress(_label: str, done: int, _total: int) -> None:
        if done == 1:
            action()

    return progress


def test_a_chain_that_a_version_comes_from_since_a_moment_stays_whole(bench, monkeypatch):
    """901 -> e901 -> 902 -> e902 -> 903 becomes an input of a version while e900 is removed."""
    monkeypatch.setattr(purging, "BATCH", 1)
    bench.load("raw.other")
    foreign(bench, range(900, 903), range(901, 904))
    events(bench, (901, 901, INPUT), (902, 901, OUTPUT), (902, 902, INPUT), (903, 902, OUTPUT))

    def derive() -> None:
        version = bench.load("raw.a")
        events(bench, (903, version.execution_id, INPUT))

    report = PurgeMethods(bench.catalog.database).purge(
        filter_query="id >= 900 AND id <= 902", apply=True, on_progress=after_the_first(derive)
    )
    assert ids(bench, s.execution) >= {901, 902}
    assert report.removed["executions"] == 1
    assert sum(report.kept.values()) == 2


@pytest.mark.parametrize("kind", ["execution", "artifact"])
def test_what_is_joined_to_an_old_version_meanwhile_stays_whole(bench, monkeypatch, kind: str):
    """The execution that made the version is older than the purge; only the event is new."""
    monkeypatch.setattr(purging, "BATCH", 1)
    version = bench.load("raw.a")
    foreign(bench, range(900, 903), range(900, 904))
    events(bench, (901, 901, INPUT), (902, 901, OUTPUT), (902, 902, INPUT), (903, 902, OUTPUT))
    report = PurgeMethods(bench.catalog.database).purge(
        kind,  # type: ignore[arg-type]
        filter_query="id >= 900 AND id <= 903",
        apply=True,
        on_progress=after_the_first(lambda: events(bench, (903, version.execution_id, INPUT))),
    )
    table, left = (s.execution, {901, 902}) if kind == "execution" else (s.artifact, {901, 902, 903})
    assert {key for key in ids(bench, table) if key >= 900} == left
    assert dict(report.kept) == {removal.LINEAGE: len(left)}


def test_a_source_that_a_running_execution_reads_after_the_purge_began_stays(bench, monkeypatch):
    monkeypatch.setattr(purging, "BATCH", 1)
    lease, idle = bench.begin("raw.idle")
    bench.commit(idle, sources=(SOURCE,))  # it read the source, and had nothing to write
    bench.catalog.release(lease)
    (source,) = (key for key in ids(bench, s.artifact) if key in sources_of(bench, idle.execution_id))
    put(bench, s.artifact, {"id": source + 1000, "type_id": type_of(bench, 1), "uri": "decoy"})
    _, running = bench.begin("raw.a")
    change = bench.change(running, "raw.a")
    plan = PurgeMethods(bench.catalog.database).plan_purge(
        "artifact", filter_query=f"id IN ({source}, {source + 1000})"
    )
    bench.commit(running, change, sources=(SOURCE,))
    report = PurgeMethods(bench.catalog.database).carry_out(plan)
    assert report.removed == {"artifacts": 1}
    assert source in ids(bench, s.artifact)
    assert sources_of(bench, running.execution_id) == {source}


def sources_of(bench: Any, execution_id: int) -> set[int]:
    with bench.catalog.database.reading() as connection:
        found = sa.select(s.event.c.artifact_id).where(s.event.c.execution_id == execution_id, s.event.c.type == INPUT)
        return set(connection.execute(found).scalars())


def once_between(monkeypatch: Any, owner: Any, name: str, action: Callable[[], object]) -> None:
    """Do something when this function has answered for the first time."""
    real, left = getattr(owner, name), [1]

    def function(*args: Any, **more: Any) -> Any:
        answer = real(*args, **more)
        if left:
            left.pop()
            action()
        return answer

    monkeypatch.setattr(owner, name, function)


@SERVERS
def test_an_execution_begins_although_its_context_is_purged_at_that_moment(bench, catalog_url: URL, monkeypatch):
    """Its dataset's context is found, and gone before the association is written."""
    lease, failed = bench.begin("raw.a")
    bench.catalog.fail(failed, "no")
    bench.catalog.release(lease)
    with Catalog.open(catalog_url) as other:
        store = PurgeMethods(other.database)

        def purge() -> None:
            assert store.purge("context", filter_query="name = 'raw.a'", apply=True).removed["contexts"] == 1

        once_between(monkeypatch, registry, "_find_contexts", purge)
        _, execution = bench.begin("raw.a")
    bench.commit(execution, bench.change(execution, "raw.a"))
    assert bench.catalog.dataset(DatasetName("raw", "a")).versions == 1
    assert bench.catalog.integrity() == ()


@SERVERS
def test_a_commit_lands_although_its_source_is_purged_at_that_moment(bench, catalog_url: URL, monkeypatch):
    """The source is known from before, and gone before the event that reads it is written."""
    lease, idle = bench.begin("raw.idle")
    bench.commit(idle, sources=(SOURCE,))
    bench.catalog.release(lease)
    (source,) = sources_of(bench, idle.execution_id)
    _, execution = bench.begin("raw.a")
    change = bench.change(execution, "raw.a")
    with Catalog.open(catalog_url) as other:
        store = PurgeMethods(other.database)
        threads: list[threading.Thread] = []

        def delete() -> None:
            with contextlib.suppress(InUseError):
                store.delete_artifacts([source])

        def purge() -> None:
            threads.append(threading.Thread(target=delete))
            threads[0].start()
            threads[0].join(1)  # where the commit holds a lock on it already, it waits for it, and is refused then

        once_between(monkeypatch, registry, "add_artifacts", purge)
        result = bench.commit(execution, change, sources=(SOURCE,))
        threads[0].join()
    assert result.versions == bench.catalog.versions(DatasetName("raw", "a"))
    assert len(sources_of(bench, execution.execution_id)) == 1
    assert bench.catalog.integrity() == ()


PURGE = """
import json, sys
from lakecat.catalog import Catalog
from lakecat.catalog.metadata_store import purge
purge.BATCH = 2
with Catalog.open(sys.argv[1]) as catalog:
    report = purge.PurgeMethods(catalog.database).purge(filter_query="id >= 900", orphans=True, apply=True)
    print(json.dumps(report.removed))
"""


def run_purge(bench: Any, failpoint: str = "") -> subprocess.Popen[str]:
    url = bench.url.render_as_string(hide_password=False)
    environment = {**os.environ, "LAKECAT_FAILPOINT": failpoint}
    return subprocess.Popen(
        [sys.executable, "-c", PURGE, url], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def stock(bench: Any) -> tuple[set[int], int]:
    """A version, and nine executions of another program with two artifacts each; what must be left, and how many go."""
    bench.load("raw.a", sources=(SOURCE,))
    before = ids(bench, s.execution) | {-key for key in ids(bench, s.artifact)}
    foreign(bench, range(900, 909), range(900, 918))
    events(bench, *((key, 900 + (key - 900) // 2, OUTPUT) for key in range(900, 918)))
    return before, 9


def left(bench: Any) -> set[int]:
    return ids(bench, s.execution) | {-key for key in ids(bench, s.artifact)}


@pytest.mark.parametrize("step", ["purge.removed:1", "purge.removed:3", "purge.batch:1", "purge.batch:4"])
def test_killed_at_any_step_nothing_is_half_removed_and_the_next_purge_ends_it(bench, step: str):
    kept, many = stock(bench)
    killed = run_purge(bench, f"{step}:kill")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    name, _, number = step.partition(":")
    batches = int(number) - (name == "purge.removed")
    assert len(ids(bench, s.execution) & set(range(900, 909))) == many - 2 * batches
    with bench.catalog.database.reading() as connection:
        of = set(connection.execute(sa.select(s.event.c.execution_id).distinct()).scalars())
    assert of <= ids(bench, s.execution)
    again = run_purge(bench)
    _, err = again.communicate(timeout=60)
    assert (again.returncode, err) == (0, "")
    assert ids(bench, s.execution) == {key for key in kept if key > 0}
    assert bench.catalog.integrity() == ()
    assert {-key for key in left(bench) - kept if key < 0} <= set(range(900, 918))  # those left by the first one


def test_two_processes_that_purge_the_same_remove_it_once(bench):
    kept, many = stock(bench)
    running = [run_purge(bench) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    removed = [json.loads(out) for out, _ in answers]
    assert sum(one.get("executions", 0) for one in removed) == many
    assert sum(one.get("events", 0) for one in removed) == 2 * many
    assert left(bench) == kept
    assert bench.catalog.integrity() == ()


def test_commits_beside_a_purge_all_land_with_their_whole_lineage(bench, monkeypatch):
    """Executions of other programs end in versions, one after the other, while all of them are purged."""
    monkeypatch.setattr(purging, "BATCH", 1)
    bench.load("raw.other")
    foreign(bench, range(900, 930), range(900, 930))
    events(bench, *((key, key, OUTPUT) for key in range(900, 930)))
    made: dict[int, int] = {}

    def derive() -> None:
        for key in range(929, 923, -1):
            version = bench.load("raw.a")
            events(bench, (key, version.execution_id, INPUT))
            made[key] = version.artifact_id

    thread = threading.Thread(target=derive)
    thread.start()
    PurgeMethods(bench.catalog.database).purge(filter_query="id >= 900 AND id < 930", apply=True)
    thread.join()
    left = ids(bench, s.execution)
    with bench.catalog.database.reading() as connection:
        written = dict(
            connection.execute(
                sa.select(s.event.c.artifact_id, s.event.c.execution_id).where(s.event.c.type == OUTPUT)
            ).all()
        )
    for key in made:  # either it went before the version came from it, or it is there with its event
        assert (key in left) == (written.get(key) == key)
    assert len(bench.catalog.versions(DatasetName("raw", "a"))) == 6
    assert bench.catalog.resolve(VersionRef(DatasetName("raw", "a"))).version == 6
    assert bench.catalog.integrity() == ()


def test_a_batch_whose_answer_was_lost_is_counted(server_url: URL, proxy: Proxy):
    with Catalog.open(server_url, create=True) as direct, Catalog.open(server_url.set(port=proxy.port)) as through:
        kind = min(through.type_ids.values())
        rows = [{"id": key, "type_id": kind, "last_known_state": COMPLETE} for key in range(1, 4)]
        direct.database.write(lambda connection: connection.execute(sa.insert(s.execution), rows))
        store = PurgeMethods(through.database)
        for work in (
            lambda: store.purge(filter_query="id < 3", apply=True).removed,
            lambda: store.delete_executions([3]),
        ):
            before = proxy.cuts
            with pytest.MonkeyPatch.context() as patched:
                real = removal.remove

                def remove(*args: Any, real: Any = real) -> Any:
                    found = real(*args)
                    if proxy.cuts == before:  # noqa: B023 - called in this round only
                        proxy.cut_answer_to(b"COMMIT")
                    return found

                patched.setattr(removal, "remove", remove)
                assert work()["executions"] == (2 if before == 0 else 1)
            assert proxy.cuts == before + 1
        with direct.database.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(s.execution)).scalar_one() == 0
