"""The catalog again from the lake alone, equal in all that is claimed; and one from a backup that catches up."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")
BACKENDS = ("sqlite", "postgres", "mariadb")


@pytest.fixture(params=BACKENDS)
def project(request: pytest.FixtureRequest, url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    return lab.Project(tmp_path / "shop", url_of(request.param, "catalog"))


@pytest.fixture
def shop(url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    """On SQLite alone."""
    return lab.Project(tmp_path / "shop", url_of("sqlite", "catalog"))


def lose(url: URL) -> None:
    """Delete the database's contents, tables and all."""
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).unlink()
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        known = sa.MetaData()
        known.reflect(connection)
        known.drop_all(connection)


def state(project: Any) -> dict[str, Any]:
    with Catalog.open(project.url) as catalog:
        assert [problem for problem in catalog.integrity() if not problem.warning] == []
        return lab.claimed(catalog)


def test_a_lost_catalog_is_equal_after_a_rebuild_and_work_goes_on(project: Any) -> None:
    project.work()
    before = state(project)
    assert {name for name, rows in before.items() if not rows} == set()
    lose(project.url)
    with project.connect() as lake:
        planned = lake.rebuild()
        assert (planned.applied, planned.missing) == (False, len(before["versions"]))
        assert lake.datasets() == ()
        done = lake.rebuild(apply=True)
        assert (done.undecided, done.problems, done.settled) == ((), (), True)
        assert (done.missing, done.executions) == (planned.missing, planned.executions)
    after = state(project)
    for name, rows in before.items():
        assert after[name] == rows, name
    with project.connect() as lake:
        assert lake.rebuild(apply=True).missing == 0
        assert [item.state.value for item in (*lake.ingest().outcomes, *lake.run().outcomes)] == ["nothing"] * 3
        project.land(5)
        lake.ingest().raise_failures()
        lake.run().raise_failures()
        assert lake.query("SELECT count(*) AS n FROM raw.orders").to_pylist() == [{"n": 15}]
        assert lake.query("SELECT count(DISTINCT id) AS n FROM raw.orders").to_pylist() == [{"n": 15}]
        assert lake.gc(apply=True, max_delete_fraction=1).failures == ()
        assert [check for check in lake.doctor() if check.verdict.value == "bad"] == []
