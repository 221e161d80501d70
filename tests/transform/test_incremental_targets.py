"""Incremental scripts whose table is replaced, moved or filled by several scripts: no row is lost, none is doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lakecat.errors import ScriptError
from lakecat.transform import Status, load_scripts, plan, run
from lakecat.transform.plan import engine_of

if TYPE_CHECKING:
    from conftest import Project


def ids(project: Project, name: str = "wh.log") -> list[int]:
    return sorted(row["id"] for row in project.rows(name))


BAD = "INSERT INTO wh.log SELECT CAST('x' || id AS BIGINT) AS id FROM table_changes('raw.y')"
GOOD = "INSERT INTO wh.log SELECT id FROM table_changes('raw.y')"


@pytest.fixture
def feeds(project: Project) -> Project:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.y", [{"id": 10}])
    project.script("wh/a.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.script("wh/b.sql", GOOD)
    project.done()
    return project


def test_a_full_refresh_that_stopped_half_way_is_completed_by_the_next_run(feeds: Project) -> None:
    feeds.script("wh/b.sql", BAD)
    assert feeds.statuses(full_refresh=True) == {"wh.a": Status.DONE, "wh.b": Status.FAILED}
    feeds.script("wh/b.sql", GOOD)
    assert feeds.reasons()["wh.b"][0]
    feeds.done()
    assert ids(feeds) == [1, 10]
    assert feeds.statuses() == {"wh.a": Status.SKIPPED, "wh.b": Status.SKIPPED}
    feeds.clean()


def test_rows_that_arrive_after_a_stopped_full_refresh_come_once(feeds: Project) -> None:
    feeds.script("wh/b.sql", BAD)
    feeds.run(full_refresh=True)
    feeds.script("wh/b.sql", GOOD)
    feeds.put("raw.x", [{"id": 2}])
    feeds.put("raw.y", [{"id": 20}])
    feeds.done()
    assert ids(feeds) == [1, 2, 10, 20]


class Between:
    """An engine that does something once, when the first session opens after it was armed."""

    def __init__(self, project: Project) -> None:
        self._engine = engine_of(project.services)
        self.name, self.dialect = self._engine.name, self._engine.dialect
        self.action: Any = None

    def shared_by(self, sessions: int) -> Any:
        return self if sessions else None

    def session(self, relations: Any) -> Any:
        action, self.action = self.action, None
        if action is not None:
            action()
        return self._engine.session(relations)


def test_a_table_made_anew_while_an_insert_runs_gets_all_rows_again(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.base", [{"id": 100}])
    project.script("wh/log.sql", "SELECT id FROM raw.base")
    project.script("wh/more.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.done()
    project.put("raw.x", [{"id": 2}])
    project.put("raw.base", [{"id": 200}])
    engine = Between(project)
    made = plan(project.services, load_scripts(project.services.settings), ["wh.more"], engine=engine)
    engine.action = lambda: project.done("wh.log")
    (result,) = run(project.services, made, engine=engine)
    assert result.error is None
    project.done()
    assert ids(project) == [1, 2, 100, 200]
    project.clean()


def test_an_overwrite_beside_the_script_that_makes_the_table(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.y", [{"id": 10}])
    project.script("wh/log.sql", "CREATE TABLE IF NOT EXISTS wh.log AS SELECT 0 AS id")
    project.script("wh/m.sql", "INSERT OVERWRITE wh.log SELECT id FROM raw.y")
    project.script("wh/n.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.done()
    assert ids(project) == [1, 10]
    project.put("raw.y", [{"id": 11}])
    project.done()
    assert ids(project) == [1, 10, 11]


def test_a_script_that_turns_to_a_new_table_fills_it_from_the_start(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.done()
    project.put("raw.x", [{"id": 2}])
    project.script("wh/log.sql", "INSERT INTO wh.log_v2 SELECT id FROM table_changes('raw.x')")
    project.done()
    assert ids(project, "wh.log_v2") == [1, 2]
    project.put("raw.x", [{"id": 3}])
    project.done()
    assert ids(project, "wh.log_v2") == [1, 2, 3]
    assert ids(project) == [1]


def test_a_script_that_turns_to_a_table_that_is_there_fills_it_from_the_start(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("wh.other", [{"id": 7}])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.done()
    project.script("wh/log.sql", "INSERT INTO wh.other SELECT id FROM table_changes('raw.x')")
    project.done()
    assert ids(project, "wh.other") == [1, 7]


def test_a_full_refresh_that_would_begin_with_a_merge_is_refused(project: Project) -> None:
    project.put("raw.x", [{"id": 1}])
    project.put("raw.y", [{"id": 10}])
    project.script(
        "wh/a.sql",
        "MERGE INTO wh.log AS t USING raw.x AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
    )
    project.script("wh/b.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.y')")
    project.done()
    with pytest.raises(ScriptError, match=r"wh\.b would add its rows to wh\.log again"):
        project.plan(full_refresh=True)
    project.script("wh/0.sql", "INSERT INTO wh.log SELECT 0 AS id")
    project.done()
    project.done(full_refresh=True)
    assert ids(project) == [0, 1, 10]
