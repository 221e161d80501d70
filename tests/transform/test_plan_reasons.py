from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from lakecat.errors import NotFoundError, TransformError, UsageError
from lakecat.transform import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Project


@pytest.fixture
def chain(project: Project) -> Project:
    project.put("raw.x", [{"id": 1}])
    project.script("staging/a.sql", "SELECT id FROM raw.x")
    project.script("wh/b.sql", "SELECT id + 1 AS id FROM staging.a")
    return project


def test_a_new_script_and_what_waits_for_it(chain: Project) -> None:
    assert chain.reasons() == {"staging.a": (True, ("new script",)), "wh.b": (True, ("new script",))}
    assert not chain.exists("staging.a")


def test_nothing_is_written_by_a_plan(chain: Project) -> None:
    chain.plan()
    assert chain.services.catalog.executions(job="transform:staging.a") == ()


def test_unchanged_is_skipped_and_said_so(chain: Project) -> None:
    chain.done()
    results = chain.run()
    assert [result.status for result in results.values()] == [Status.SKIPPED, Status.SKIPPED]
    assert results["staging.a"].reasons == ("unchanged: same script, same inputs (raw.x v1)",)
    assert chain.version("staging.a").version == 1
    assert len(chain.services.catalog.executions(job="transform:staging.a")) == 1


def test_a_changed_script(chain: Project) -> None:
    chain.done()
    chain.script("staging/a.sql", "SELECT id * 10 AS id FROM raw.x")
    assert chain.reasons() == {
        "staging.a": (True, ("script changed",)),
        "wh.b": (True, ("staging.a is made by staging.a in this run",)),
    }
    chain.done()
    assert chain.rows("wh.b") == [{"id": 11}]


def test_a_changed_script_that_is_changed_back_runs_again(chain: Project) -> None:
    """The table holds the other script's rows, so that the old result is not there any more."""
    chain.done()
    chain.script("staging/a.sql", "SELECT id * 10 AS id FROM raw.x")
    chain.done()
    chain.script("staging/a.sql", "SELECT id FROM raw.x")
    chain.done()
    assert chain.rows("staging.a") == [{"id": 1}]
    assert chain.version("staging.a").version == 3


def test_an_input_with_new_versions(chain: Project) -> None:
    chain.done()
    chain.put("raw.x", [{"id": 2}])
    chain.put("raw.x", [{"id": 3}])
    assert chain.reasons()["staging.a"] == (True, ("raw.x v1 → v3",))


def test_an_upstream_that_turns_out_unchanged_leaves_its_readers_alone(chain: Project) -> None:
    chain.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x') WHERE id > 1000")
    chain.script("wh/reader.sql", "SELECT count(*) AS n FROM wh.log")
    chain.done()
    chain.put("raw.x", [{"id": 2}])
    assert chain.reasons()["wh.reader"] == (True, ("wh.log is made by wh.log in this run",))
    assert chain.statuses()["wh.reader"] is Status.SKIPPED


def test_failed_last_time(chain: Project) -> None:
    chain.script("staging/a.sql", "SELECT CAST('x' || id AS INTEGER) AS id FROM raw.x")
    assert chain.statuses() == {"staging.a": Status.FAILED, "wh.b": Status.BLOCKED}
    assert chain.reasons()["staging.a"] == (True, ("failed last time",))
    chain.script("staging/a.sql", "SELECT id FROM raw.x")
    chain.done()
    assert chain.reasons()["staging.a"][0] is False
    chain.script("staging/a.sql", "SELECT CAST('x' || id AS INTEGER) AS id FROM raw.x")
    chain.run()
    assert chain.reasons()["staging.a"] == (True, ("script changed", "failed last time"))


def test_full_refresh_runs_what_is_unchanged(chain: Project) -> None:
    chain.done()
    assert chain.reasons(full_refresh=True)["staging.a"] == (True, ("full refresh asked for",))
    chain.done(full_refresh=True)
    assert chain.version("staging.a").version == 2


def test_selection(chain: Project) -> None:
    assert set(chain.reasons("staging.*")) == {"staging.a"}
    assert set(chain.reasons("+wh.b")) == {"staging.a", "wh.b"}
    with pytest.raises(NotFoundError):
        chain.plan("nothing.here")


def test_inputs_of_a_plan_are_the_versions_that_it_will_read(chain: Project) -> None:
    chain.put("raw.x", [{"id": 2}])
    steps = {step.script.name: step for step in chain.plan().steps}
    assert [str(version) for version in steps["staging.a"].inputs] == ["raw.x@v2"]


def problem(project: Project, name: str) -> TransformError:
    step = next(step for step in project.plan().steps if step.script.name == name)
    assert isinstance(step.problem, TransformError)
    return step.problem


def test_a_missing_table_has_its_place_and_close_names(chain: Project) -> None:
    chain.script("wh/c.sql", "SELECT *\nFROM raw.xx\n")
    error = problem(chain, "wh.c")
    assert error.what == "there is no table raw.xx"
    assert str(error.where) == "transforms/wh/c.sql:2:6"
    assert "raw.x" in (error.hint or "")


def test_a_table_whose_script_is_not_selected(chain: Project) -> None:
    (step,) = chain.plan("wh.b").steps
    assert step.problem is not None
    assert "transforms/staging/a.sql makes it" in step.problem.what
    assert step.problem.next_command == "lakecat run --select staging.a"


def test_a_missing_column_has_its_place(chain: Project) -> None:
    chain.script("wh/c.sql", "SELECT id,\n  idd AS x\nFROM raw.x\n")
    error = problem(chain, "wh.c")
    assert "idd" in error.what
    assert str(error.where) == "transforms/wh/c.sql:2:3"
    assert '"id"' in (error.hint or "")


def test_what_cannot_be_said_in_the_engine_is_refused(chain: Project) -> None:
    chain.script("wh/c.sql", "-- lakecat: {dialect: snowflake}\nSELECT TO_CHAR(id, '999') AS x FROM raw.x")
    assert "cannot be said in the engine's SQL" in problem(chain, "wh.c").what


def test_a_problem_stops_only_what_depends_on_it(chain: Project) -> None:
    chain.script("wh/c.sql", "SELECT * FROM raw.xx")
    chain.script("wh/d.sql", "SELECT * FROM wh.c")
    assert chain.statuses() == {
        "staging.a": Status.DONE,
        "wh.b": Status.DONE,
        "wh.c": Status.FAILED,
        "wh.d": Status.BLOCKED,
    }


def test_a_variable_that_no_script_has(chain: Project) -> None:
    chain.script("wh/c.sql", "SELECT $since AS x")
    with pytest.raises(UsageError, match="no script has a parameter 'sinse'") as caught:
        chain.plan(variables={"sinse": "x"})
    assert caught.value.hint == "did you mean 'since'?"


class TestScriptsOfOneTable:
    def test_they_settle(self, project: Project) -> None:
        project.put("raw.x", [{"id": 1, "n": 1}, {"id": 2, "n": 2}])
        project.script("wh/t.sql", "SELECT id, n FROM raw.x")
        project.script("wh/t_a_insert.sql", "INSERT INTO wh.t SELECT 100, 100")
        project.script("wh/t_b_delete.sql", "DELETE FROM wh.t WHERE id = 1")
        project.script("wh/t_c_update.sql", "UPDATE wh.t SET n = n * 10")
        project.done()
        expected = [{"id": 100, "n": 1000}, {"id": 2, "n": 20}]
        assert project.rows("wh.t") == expected
        assert set(project.statuses().values()) == {Status.SKIPPED}
        assert project.rows("wh.t") == expected
        project.clean()

    def test_when_the_table_is_made_anew_they_all_run_again(self, project: Project) -> None:
        project.put("raw.x", [{"id": 1}])
        project.put("raw.y", [{"id": 50}])
        project.script("wh/t.sql", "SELECT id FROM raw.x")
        project.script("wh/t_a_insert.sql", "INSERT INTO wh.t SELECT id FROM table_changes('raw.y')")
        project.script("wh/t_b_delete.sql", "DELETE FROM wh.t WHERE id = 1")
        project.done()
        project.put("raw.y", [{"id": 51}])
        project.done()
        assert project.rows("wh.t") == [{"id": 50}, {"id": 51}]
        project.put("raw.x", [{"id": 2}])
        assert project.reasons()["wh.t_a_insert"] == (True, ("wh.t is changed by wh.t in this run",))
        project.done()
        assert project.rows("wh.t") == [{"id": 2}, {"id": 50}, {"id": 51}]
        assert set(project.statuses().values()) == {Status.SKIPPED}
        project.clean()

    def test_rows_that_somebody_else_added_are_merged_again(self, project: Project) -> None:
        project.put("wh.t", [{"id": 1}])
        project.script("wh/d.sql", "DELETE FROM wh.t WHERE id > 5")
        project.done()
        version = project.put("wh.t", [{"id": 6}])
        runs, (reason,) = project.reasons()["wh.d"]
        assert runs
        assert reason.startswith(f"{version} was made by")
        project.done()
        assert project.rows("wh.t") == [{"id": 1}]


class TestAgainstTablesStillToBeMade:
    """On a first run nothing is there yet, and mistakes are found all the same."""

    def test_a_missing_column_of_a_script_before(self, project: Project) -> None:
        project.put("raw.x", [{"id": 1}])
        project.script("a/t.sql", "SELECT id AS number FROM raw.x")
        project.script("b/t.sql", "SELECT number,\n  numbr AS n FROM a.t")
        error = problem(project, "b.t")
        assert "numbr" in error.what
        assert str(error.where) == "transforms/b/t.sql:2:3"

    def test_columns_that_an_insert_before_names(self, project: Project) -> None:
        project.script("a/log.sql", "INSERT INTO a.log (x, y) SELECT 1, 2")
        project.script("a/more.sql", "INSERT INTO a.log SELECT 1")
        project.script("b/t.sql", "SELECT x, z FROM a.log")
        assert "gives 1 columns to a.log, which has 2: x, y" in problem(project, "a.more").what
        assert "z" in problem(project, "b.t").what

    def test_a_new_shape_of_a_table_that_is_there(self, project: Project) -> None:
        project.script("a/t.sql", "SELECT 1 AS x")
        project.script("b/t.sql", "SELECT x FROM a.t")
        project.done()
        project.script("a/t.sql", "SELECT 1 AS y")
        assert "x" in problem(project, "b.t").what

    def test_what_follows_a_mistake_is_not_blamed_for_it(self, project: Project) -> None:
        project.script("a/t.sql", "SELECT nothing AS x")
        project.script("b/t.sql", "SELECT x FROM a.t")
        steps = {step.script.name: step.problem for step in project.plan().steps}
        assert steps["a.t"] is not None
        assert steps["b.t"] is None

    def test_a_type_that_no_table_can_hold(self, project: Project) -> None:
        project.script("a/t.sql", "SELECT INTERVAL 1 DAY AS x")
        assert "INTERVAL" in str(problem(project, "a.t")).upper()

    def test_two_columns_of_one_name(self, project: Project) -> None:
        project.script("a/t.sql", "SELECT 1 AS x, 2 AS X")
        assert "'x'" in problem(project, "a.t").what.lower()


def test_another_dialect_in_the_configuration_is_a_reason(make_project: Callable[..., Project]) -> None:
    project = make_project("project: test\ndialect: spark\n")
    project.script("wh/t.sql", "SELECT 1 AS id")
    project.done()
    assert project.reasons()["wh.t"][0] is False
    again = make_project("project: test\ndialect: snowflake\n")
    assert again.reasons()["wh.t"] == (True, ("dialect changed: spark → snowflake",))


@pytest.mark.parametrize(
    ("header", "text", "name"),
    [
        ("", "SELECT id, current_date AS day FROM raw.x", "current_date"),
        ("", "SELECT id, today() AS day FROM raw.x", "current_date"),
        ("", "SELECT id, random() AS r FROM raw.x", "rand"),
        ("", "CREATE OR REPLACE TABLE wh.t AS SELECT id, now() AS at FROM raw.x", "now"),
        ("", "INSERT OVERWRITE wh.t SELECT id, uuid() AS u FROM raw.x", "uuid"),
        ("-- lakecat: {dialect: snowflake}\n", "SELECT id, current_timestamp() AS at FROM raw.x", "current_timestamp"),
        ("-- lakecat: {dialect: redshift}\n", "SELECT id, getdate() AS at FROM raw.x", "current_timestamp"),
    ],
)
def test_what_changes_by_itself_is_made_again(project: Project, header: str, text: str, name: str) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("wh/t.sql", header + text)
    project.done()
    assert project.reasons()["wh.t"] == (True, (f"uses {name}, which changes by itself",))
    project.done()
    assert len(project.rows("wh.t")) == 1


def test_a_delete_by_age_looks_again(project: Project) -> None:
    project.put("wh.t", [{"at": datetime(2020, 1, 1, tzinfo=UTC)}])
    project.script("wh/old.sql", "DELETE FROM wh.t WHERE at < now() - INTERVAL 90 DAY")
    project.done()
    assert project.rows("wh.t") == []
    assert project.reasons()["wh.old"][0] is True


@pytest.mark.parametrize("source", ["raw.x", "table_changes('raw.x')"])
def test_an_insert_with_the_time_does_not_repeat_its_rows(project: Project, source: str) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("wh/t.sql", f"INSERT INTO wh.t SELECT id, now() AS at FROM {source}")
    project.done()
    assert project.statuses() == {"wh.t": Status.SKIPPED}


def test_values_that_python_holds_equal_are_other_values(project: Project) -> None:
    project.script("wh/t.sql", "SELECT $v AS v")
    project.done(variables={"v": 1})
    assert project.reasons(variables={"v": True})["wh.t"] == (True, ("parameters changed: v",))
    assert project.reasons(variables={"v": 1})["wh.t"][0] is False
