from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lakecat.errors import ScriptError, TransformError
from lakecat.transform import Status

if TYPE_CHECKING:
    from conftest import Project


def ids(project: Project, name: str = "wh.log") -> list[int]:
    return sorted(row["id"] for row in project.rows(name))


@pytest.fixture
def log(project: Project) -> Project:
    project.put("raw.x", [{"id": 1}, {"id": 2}])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    return project


def test_the_first_run_takes_all_and_each_further_one_what_arrived(log: Project) -> None:
    assert log.done()["wh.log"].rows == 2
    log.put("raw.x", [{"id": 3}])
    log.put("raw.x", [{"id": 4}])
    result = log.done()["wh.log"]
    assert (result.rows, result.reasons) == (2, ("raw.x v1 → v3",))
    assert ids(log) == [1, 2, 3, 4]
    assert log.version("wh.log").operation == "append"
    log.clean()


def test_nothing_arrived(log: Project) -> None:
    log.done()
    result = log.run()["wh.log"]
    assert (result.status, result.reasons) == (Status.SKIPPED, ("nothing arrived in raw.x since v1",))


def test_a_changed_script_reads_only_what_is_new(log: Project) -> None:
    log.done()
    log.script("wh/log.sql", "INSERT INTO wh.log SELECT id * 100 FROM table_changes('raw.x')")
    log.put("raw.x", [{"id": 3}])
    log.done()
    assert ids(log) == [1, 2, 300]


def test_full_refresh_replaces_the_target(log: Project) -> None:
    log.done()
    log.put("raw.x", [{"id": 3}])
    log.script("wh/log.sql", "INSERT INTO wh.log SELECT id * 100 AS id, 'new' AS word FROM table_changes('raw.x')")
    log.done(full_refresh=True)
    assert ids(log) == [100, 200, 300]
    assert log.statuses() == {"wh.log": Status.SKIPPED}
    log.put("raw.x", [{"id": 4}])
    log.done()
    assert ids(log) == [100, 200, 300, 400]
    log.clean()


def test_rows_that_were_replaced_cannot_be_told_and_the_hint_mends_it(log: Project) -> None:
    log.done()
    log.replace("raw.x", [{"id": 7}])
    before = log.version("wh.log")
    result = log.run()["wh.log"]
    assert isinstance(result.error, TransformError)
    assert "what arrived in raw.x since v1 cannot be told" in result.error.what
    assert result.error.where is not None
    assert result.error.where.file == "transforms/wh/log.sql"
    assert result.error.next_command == "lakecat run --select wh.log --full-refresh"
    assert log.version("wh.log") == before
    log.done(full_refresh=True)
    assert ids(log) == [7]
    log.clean()


def test_a_failed_run_does_not_move_the_position(log: Project) -> None:
    log.done()
    log.put("raw.x", [{"id": 3}])
    log.script("wh/log.sql", "INSERT INTO wh.log SELECT CAST('x' || id AS BIGINT) FROM table_changes('raw.x')")
    assert log.statuses() == {"wh.log": Status.FAILED}
    log.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    log.done()
    assert ids(log) == [1, 2, 3]


def test_rows_that_the_script_drops_are_consumed_too(log: Project) -> None:
    log.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x') WHERE id > 100")
    assert log.done()["wh.log"].rows == 0
    assert log.exists("wh.log")
    log.put("raw.x", [{"id": 200}])
    log.done()
    log.put("raw.x", [{"id": 3}])
    result = log.done()["wh.log"]
    assert (result.status, result.rows, result.versions) == (Status.DONE, 0, ())
    assert log.statuses() == {"wh.log": Status.SKIPPED}
    assert ids(log) == [200]
    log.clean()


def test_changes_and_the_whole_of_one_table_side_by_side(project: Project) -> None:
    project.put("raw.x", [{"id": 1}, {"id": 2}])
    project.script(
        "wh/log.sql",
        "INSERT INTO wh.log SELECT c.id, (SELECT count(*) FROM raw.x) AS n FROM table_changes('raw.x') AS c",
    )
    project.done()
    project.put("raw.x", [{"id": 3}])
    project.done()
    assert [(row["id"], row["n"]) for row in project.rows("wh.log")] == [(1, 2), (2, 2), (3, 3)]


def test_a_changed_dimension_alone_is_no_reason(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.names", [{"id": 1, "name": "a"}])
    project.script(
        "wh/log.sql",
        "INSERT INTO wh.log SELECT id, name FROM table_changes('raw.x') JOIN raw.names USING (id)",
    )
    project.done()
    project.put("raw.names", [{"id": 2, "name": "b"}])
    assert project.statuses() == {"wh.log": Status.SKIPPED}


def test_a_chain_of_incremental_scripts(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("s/a.sql", "INSERT INTO s.a SELECT id FROM table_changes('raw.x')")
    project.script("wh/b.sql", "INSERT INTO wh.b SELECT id FROM table_changes('s.a')")
    for number in (2, 3):
        project.done()
        project.put("raw.x", [{"id": number}])
    project.done()
    assert ids(project, "wh.b") == [1, 2, 3]
    assert project.version("wh.b").version == 3
    project.clean()


def test_merge_of_what_arrived(project: Project) -> None:
    project.put("raw.x", [{"id": 1, "n": 1}, {"id": 2, "n": 1}])
    project.script(
        "wh/m.sql",
        "MERGE INTO wh.t AS t\n"
        "USING (SELECT id, max(n) AS n FROM table_changes('raw.x') GROUP BY id) AS s ON t.id = s.id\n"
        "WHEN MATCHED THEN UPDATE SET n = t.n + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
    )
    project.done()
    project.put("raw.x", [{"id": 2, "n": 5}, {"id": 3, "n": 7}])
    project.done()
    # Were a row merged twice, its n would be counted twice.
    assert project.rows("wh.t") == [{"id": 1, "n": 1}, {"id": 2, "n": 6}, {"id": 3, "n": 7}]
    assert project.statuses() == {"wh.m": Status.SKIPPED}
    project.clean()


def test_a_plain_insert_adds_its_rows_again_when_its_inputs_changed(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM raw.x")
    project.done()
    assert project.statuses() == {"wh.log": Status.SKIPPED}
    project.put("raw.x", [{"id": 2}])
    project.done()
    assert ids(project) == [1, 1, 2]
    project.done(full_refresh=True)
    assert ids(project) == [1, 2]


class TestFullRefreshOfATableThatSeveralFill:
    @pytest.fixture
    def feeds(self, project: Project) -> Project:
        project.put("raw.x", [{"id": 1}])
        project.put("raw.y", [{"id": 10}])
        project.script("wh/a.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
        project.script("wh/b.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.y')")
        project.done()
        return project

    def test_all_of_them_build_it_anew(self, feeds: Project) -> None:
        assert ids(feeds) == [1, 10]
        feeds.done(full_refresh=True)
        assert ids(feeds) == [1, 10]
        feeds.clean()

    def test_one_alone_is_refused(self, feeds: Project) -> None:
        with pytest.raises(ScriptError, match=r"which the script wh\.a fills too"):
            feeds.plan("wh.b", full_refresh=True)
        assert ids(feeds) == [1, 10]

    def test_when_the_first_fails_the_others_add_nothing(self, feeds: Project) -> None:
        feeds.script("wh/a.sql", "INSERT INTO wh.log SELECT CAST('x' || id AS BIGINT) FROM table_changes('raw.x')")
        assert feeds.statuses(full_refresh=True) == {"wh.a": Status.FAILED, "wh.b": Status.BLOCKED}
        assert ids(feeds) == [1, 10]

    def test_beside_an_ingest_job_it_is_refused(self, project: Project) -> None:
        project.put("wh.log", [{"id": 1}])
        job = project.root / "ingest" / "log.yaml"
        job.parent.mkdir()
        job.write_text("target: wh.log\noptions: {path: x.csv}\n")
        project.script("wh/a.sql", "INSERT INTO wh.log SELECT 2")
        with pytest.raises(ScriptError, match="the ingest job log fills too"):
            project.plan(full_refresh=True)

    def test_beside_the_script_that_makes_it(self, project: Project) -> None:
        project.put("raw.x", [{"id": 1}])
        project.script("wh/log.sql", "SELECT 100 AS id")
        project.script("wh/more.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
        project.done()
        project.done(full_refresh=True)
        assert ids(project) == [1, 100]
