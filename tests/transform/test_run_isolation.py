from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from lakecat import ingest
from lakecat.errors import CommitConflictError, LeaseHeldError
from lakecat.landing import hold
from lakecat.tables import Scan
from lakecat.transform import Status, load_scripts, plan, run
from lakecat.transform.plan import engine_of
from lakecat.types import DatasetName, ExecutionState

if TYPE_CHECKING:
    from conftest import Project


def test_a_failure_stops_only_what_depends_on_it(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/bad.sql", "SELECT CAST('x' AS INTEGER) AS id FROM raw.x")
    project.script("a/good.sql", "SELECT id FROM raw.x")
    project.script("b/of_bad.sql", "SELECT * FROM a.bad")
    project.script("b/of_good.sql", "SELECT * FROM a.good")
    project.script("c/of_both.sql", "SELECT * FROM b.of_bad UNION ALL SELECT * FROM b.of_good")
    results = project.run()
    assert {name: str(result.status) for name, result in results.items()} == {
        "a.bad": "failed",
        "a.good": "done",
        "b.of_bad": "blocked",
        "b.of_good": "done",
        "c.of_both": "blocked",
    }
    assert results["b.of_bad"].reasons == ("skipped because of a.bad",)
    assert results["c.of_both"].reasons == ("skipped because of b.of_bad",)
    execution = project.services.catalog.latest_execution("transform:a.bad")
    assert execution is not None
    assert execution.state is ExecutionState.FAILED
    assert "Could not convert string 'x'" in (execution.error or "")
    assert not project.exists("a.bad")
    project.clean()


def test_a_script_that_cannot_begin_is_recorded_as_failed(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/bad.sql", "SELECT nix FROM raw.x")
    project.plan()
    assert project.services.catalog.executions(job="transform:a.bad") == (), "a plan writes nothing"
    result = project.run()["a.bad"]
    (recorded,) = project.services.catalog.executions(state=ExecutionState.FAILED)
    assert recorded.execution_id == result.execution_id
    assert recorded.job == "transform:a.bad"
    assert "transforms/a/bad.sql:1:8" in (recorded.error or "")
    assert "nix" in (recorded.error or "")
    detail = project.services.catalog.execution(recorded.execution_id)
    assert detail.script is not None
    assert detail.script.text == "SELECT nix FROM raw.x"
    project.script("a/bad.sql", "SELECT id FROM raw.x")
    assert project.done()["a.bad"].versions[0].version == 1
    project.clean()


def test_a_script_that_cannot_begin_leaves_alone_who_runs_it(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/bad.sql", "SELECT nix FROM raw.x")
    with hold(project.services, "transform:a.bad"):
        result = project.run()["a.bad"]
    assert result.status is Status.FAILED
    assert "nix" in str(result.error)
    assert project.services.catalog.executions(state=ExecutionState.FAILED) == ()


def test_a_run_time_error_has_the_scripts_place(project: Project) -> None:
    project.put("raw.x", [{"word": "1"}, {"word": "two"}])
    project.script("a/t.sql", "SELECT\n  CAST(word AS INTEGER) AS n\nFROM raw.x")
    error = project.run()["a.t"].error
    assert error is not None
    assert "two" in error.what
    assert error.where is not None
    assert error.where.file == "transforms/a/t.sql"
    assert "lakecat_changes" not in str(error)


def test_after_a_failure_the_next_run_resumes_with_what_is_missing(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/good.sql", "SELECT id FROM raw.x")
    project.script("b/t.sql", "SELECT CAST('x' AS INTEGER) AS id FROM a.good")
    project.run()
    project.script("b/t.sql", "SELECT id FROM a.good")
    assert project.statuses() == {"a.good": Status.SKIPPED, "b.t": Status.DONE}


class Probe:
    """An engine that stands between, to see and steer when sessions are open."""

    def __init__(self, project: Project) -> None:
        self._engine = engine_of(project.services)
        self.name, self.dialect = self._engine.name, self._engine.dialect
        self.before: dict[str, Any] = {}
        self.open = 0
        self.most = 0
        self.shares = 0
        self._lock = threading.Lock()

    def shared_by(self, sessions: int) -> Any:
        self.shares = sessions
        return self

    def session(self, relations: dict[DatasetName, Scan]) -> Any:
        probe, inner = self, self._engine.session(relations)

        class Context:
            def __enter__(self) -> Any:
                with probe._lock:
                    probe.open += 1
                    probe.most = max(probe.most, probe.open)
                for name in relations:
                    if action := probe.before.pop(str(name), None):
                        action()
                return inner.__enter__()

            def __exit__(self, *error: object) -> Any:
                with probe._lock:
                    probe.open -= 1
                return inner.__exit__(*error)

        return Context()


def run_with(project: Project, probe: Probe, *select: str) -> dict[str, Status]:
    scripts = load_scripts(project.services.settings)
    made = plan(project.services, scripts, select)
    return {
        result.script.name: result.status
        for result in run(project.services, made, engine=probe)  # type: ignore[arg-type]
    }


def test_independent_scripts_run_at_the_same_time(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.y", [{"id": 1}])
    project.script("a/one.sql", "SELECT id FROM raw.x")
    project.script("a/two.sql", "SELECT id FROM raw.y")
    probe = Probe(project)
    both = threading.Barrier(2, timeout=30)
    # Each waits for the other inside its session: were they run in turn, the barrier would break.
    probe.before = {"raw.x": both.wait, "raw.y": both.wait}
    assert run_with(project, probe) == {"a.one": Status.DONE, "a.two": Status.DONE}
    assert probe.most == probe.shares == 2


def test_no_more_scripts_at_once_than_configured(make_project) -> None:  # type: ignore[no-untyped-def]
    project = make_project("project: test\ntransforms: {parallel: 1}\n")
    for number in range(3):
        project.script(f"a/t{number}.sql", f"SELECT {number} AS id")
    probe = Probe(project)
    run_with(project, probe)
    assert probe.most == probe.shares == 1


def test_what_arrives_during_a_run_is_not_seen_by_its_later_scripts(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.y", [{"id": 1}])
    project.script("a/first.sql", "SELECT id FROM raw.x")
    project.script("b/later.sql", "SELECT y.id FROM raw.y AS y JOIN a.first USING (id)")
    project.script("c/copy.sql", "SELECT id FROM raw.y WHERE (SELECT count(*) FROM b.later) > 0")
    project.script("c/log.sql", "INSERT INTO c.log SELECT y.id FROM table_changes('raw.y') AS y, b.later")
    probe = Probe(project)
    # While the first script runs, an ingest commits to what the later ones read.
    probe.before = {"raw.x": lambda: project.put("raw.y", [{"id": 1}, {"id": 2}])}
    assert set(run_with(project, probe).values()) == {Status.DONE}
    assert project.version("raw.y").version == 2
    assert project.rows("b.later") == [{"id": 1}]
    assert project.rows("c.copy") == [{"id": 1}]
    assert project.rows("c.log") == [{"id": 1}]
    # The next run sees it, the incremental script exactly what came.
    project.script("c/log.sql", "INSERT INTO c.log SELECT y.id + 100 FROM table_changes('raw.y') AS y")
    project.done()
    assert project.rows("c.copy") == [{"id": 1}, {"id": 1}, {"id": 2}]
    assert project.rows("c.log") == [{"id": 1}, {"id": 101}, {"id": 102}]
    project.clean()


def test_a_merge_whose_table_changes_meanwhile_runs_again_on_the_new_rows(project: Project) -> None:
    project.put("wh.t", [{"id": 1, "n": 1}])
    project.put("raw.x", [{"id": 1, "n": 10}])
    project.script(
        "wh/m.sql",
        "MERGE INTO wh.t AS t USING raw.x AS s ON t.id = s.id\n"
        "WHEN MATCHED THEN UPDATE SET n = t.n + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
    )
    probe = Probe(project)

    def rival() -> None:
        table = pa.table({"id": [1], "n": [5]})
        ingest.replace(project.services, DatasetName.parse("wh.t"), table)

    probe.before = {"wh.t": rival}
    assert run_with(project, probe) == {"wh.m": Status.DONE}
    assert project.rows("wh.t") == [{"id": 1, "n": 15}]
    project.clean()


def test_a_table_that_changes_all_the_time_is_given_up(project: Project) -> None:
    project.put("wh.t", [{"id": 1}])
    project.script("wh/u.sql", "UPDATE wh.t SET id = id + 1")
    probe = Probe(project)
    calls = 0

    def rival() -> None:
        nonlocal calls
        calls += 1
        ingest.replace(project.services, DatasetName.parse("wh.t"), pa.table({"id": [calls]}))
        probe.before = {"wh.t": rival}

    probe.before = {"wh.t": rival}
    made = plan(project.services, load_scripts(project.services.settings))
    (result,) = run(project.services, made, engine=probe)  # type: ignore[arg-type]
    assert isinstance(result.error, CommitConflictError)
    assert 2 <= calls <= 10
    assert project.rows("wh.t") == [{"id": calls}]
    project.clean()


def test_a_script_that_another_process_runs_says_who(project: Project) -> None:
    project.script("a/t.sql", "SELECT 1 AS id")
    with hold(project.services, "transform:a.t"):
        result = project.run()["a.t"]
    assert isinstance(result.error, LeaseHeldError)
    assert "tester@host" in result.error.what
    assert project.statuses() == {"a.t": Status.DONE}


def test_two_runs_at_once_do_the_work_once(project: Project) -> None:
    project.put("raw.x", [{"id": number} for number in range(100)])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    plans = [project.plan() for _ in range(3)]
    # The plans are made before any of them runs, so that each believes it has everything to do.
    statuses = [run(project.services, made)[0].status for made in plans]
    assert statuses == [Status.DONE, Status.SKIPPED, Status.SKIPPED]
    assert len(project.rows("wh.log")) == 100


def test_an_older_plan_does_not_go_back(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/t.sql", "SELECT id FROM raw.x")
    old = project.plan()
    project.put("raw.x", [{"id": 2}])
    project.done()
    (result,) = run(project.services, old)
    assert (result.status, result.reasons) == (Status.SKIPPED, ("a newer run has read raw.x v2 already",))
    assert len(project.rows("a.t")) == 2


def test_an_interrupt_stops_what_runs_and_is_recorded(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/quick.sql", "SELECT id FROM raw.x")
    project.script("a/slow.sql", "SELECT sum(a.range * b.range) AS n FROM range(3000000) AS a, range(3000000) AS b")
    made = project.plan()

    def events(event: Any) -> None:
        if event.state == "ended" and event.script == "a.quick":
            time.sleep(0.3)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(project.services, made, events)
    assert time.monotonic() - started < 60
    execution = project.services.catalog.latest_execution("transform:a.slow")
    assert execution is not None
    assert execution.state is ExecutionState.FAILED
    assert not project.exists("a.slow")
    project.clean()


def test_events_tell_of_each_script(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("a/t.sql", "SELECT id FROM raw.x")
    project.done()
    told = [(event.script, event.state) for event in project.events]
    assert told[0] == ("a.t", "started")
    assert told[-1] == ("a.t", "ended")
    assert project.events[-1].result is not None
