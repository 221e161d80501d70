"""The same project on SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, Holder
from lakecat.config import Schedule
from lakecat.landing import hold
from lakecat.schedule import claim
from lakecat.transform import Status

if TYPE_CHECKING:
    from conftest import Project

HALF_AN_HOUR_OFF = Schedule(cron=f"{(datetime.now(UTC).minute + 30) % 60} * * * *")


@pytest.fixture
def served(project: Project, catalog_url: URL, tmp_path: Path) -> Iterator[Project]:
    with Catalog.open(catalog_url, create=True) as catalog:
        holder = Holder("host", os.getpid(), "tester", "pytest")
        project.services = replace(project.services, catalog=catalog, holder=holder)
        yield project


def test_every_kind_of_script(served: Project) -> None:
    served.put("raw.x", [{"id": 1, "n": 1}, {"id": 2, "n": 1}])
    served.script(
        "a/copy.sql",
        "-- lakecat: {variables: {low: {type: integer, default: 0}}}\nSELECT id, n FROM raw.x WHERE n > $low",
    )
    served.script("b/log.sql", "INSERT INTO b.log SELECT id FROM table_changes('raw.x')")
    served.script(
        "c/sums.sql",
        "MERGE INTO c.sums AS t\n"
        "USING (SELECT id, sum(n) AS n FROM table_changes('raw.x') GROUP BY id) AS s ON t.id = s.id\n"
        "WHEN MATCHED THEN UPDATE SET n = t.n + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.n)",
    )
    served.script("c/sums_delete.sql", "DELETE FROM c.sums WHERE n > 5")
    assert set(served.statuses().values()) == {Status.DONE}
    assert set(served.statuses().values()) == {Status.SKIPPED}
    served.put("raw.x", [{"id": 2, "n": 2}, {"id": 3, "n": 9}])
    assert set(served.statuses().values()) == {Status.DONE}
    assert len(served.rows("a.copy")) == 4
    assert sorted(row["id"] for row in served.rows("b.log")) == [1, 2, 2, 3]
    assert served.rows("c.sums") == [{"id": 1, "n": 1}, {"id": 2, "n": 3}]
    served.clean()


def test_a_due_job_is_claimed_once(served: Project) -> None:
    jobs = {"transform:a.t": HALF_AN_HOUR_OFF}

    def claimed() -> AbstractContextManager[frozenset[str]]:
        return claim(served.services.catalog, jobs, lambda name: hold(served.services, name))

    with claimed() as first, claimed() as second:
        assert (first, second) == ({"transform:a.t"}, frozenset())
    with claimed() as third:
        assert third == frozenset()
