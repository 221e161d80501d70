"""Killed at every step of a backup, a restore or a rebuild: all of it or nothing, and it can be done again."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, copying
from lakecat.catalog.backup import check_backup, write_backup
from lakecat.failpoints import KEEPING_NAMES

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")
KILLED = -9


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def project(request: pytest.FixtureRequest, url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    made = lab.Project(tmp_path / "shop", url_of(request.param, "catalog"))
    with made.connect() as lake:
        for number in range(3):
            lake.append("raw.t", pa.table({"x": [number]}))
    return made


def content(project: Any, *without: sa.Table) -> dict[str, list[Any]]:
    with Catalog.open(project.url) as catalog, catalog.database.reading() as connection:
        assert [problem for problem in catalog.integrity() if not problem.warning] == []
        return {
            str(table.name): sorted(copying.read(connection, table), key=repr)
            for table in copying.tables()
            if table not in without
        }


def steps(work: str) -> list[str]:
    return [name for name in KEEPING_NAMES if name.startswith(f"{work}.")]


def test_a_backup(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "backups" / "b"
    path.parent.mkdir()
    for step in steps("backup"):
        assert project.process("backup", str(path), failpoint=f"{step}:1:kill") == KILLED
        assert not path.exists(), step
    assert list(path.parent.iterdir()) != []
    assert project.process("backup", str(path)) == 0
    assert list(path.parent.iterdir()) == [path]
    before = path.read_bytes()
    for step in steps("backup"):
        assert project.process("backup", str(path), failpoint=f"{step}:1:kill") == KILLED
        assert path.read_bytes() == before
    check_backup(path)


def test_a_restore(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "b"
    with project.connect() as lake:
        lake.backup(path)
        lake.append("raw.t", pa.table({"x": [9]}))
    before = content(project)
    assert len(before["lakecat_version"]) == 4
    for step in steps("restore"):
        assert project.process("restore", str(path), failpoint=f"{step}:1:kill") == KILLED
        if step == "restore.after":
            assert len(content(project)["lakecat_version"]) == 3
        else:
            assert content(project) == before, step
    assert project.process("restore", str(path)) == 0
    assert project.process("rebuild") == 0
    assert len(content(project)["lakecat_version"]) == 4


def test_a_rebuild(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    with Catalog.open(URL.create("sqlite", database=str(tmp_path / "none.db")), create=True) as none:
        write_backup(none.database, path, now=datetime.now(UTC))
    full = content(project)["iceberg_tables"]
    with project.connect() as lake:
        lake.restore(path, replace=True)
    before = content(project)
    assert before["lakecat_version"] == []
    for nth, step in ((1, "rebuild.commit"), (3, "rebuild.commit"), (1, "rebuild.before"), (1, "rebuild.after")):
        assert project.process("rebuild", failpoint=f"{step}:{nth}:kill") == KILLED
        if step == "rebuild.after":
            assert content(project)["iceberg_tables"] == full
        else:
            assert content(project) == before, step
    assert project.process("rebuild") == 0
    assert len(content(project)["lakecat_version"]) == 3
