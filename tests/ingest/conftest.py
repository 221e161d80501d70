"""A project in a temporary folder, with a real SQLite catalog and a local lake."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from project_lab import LOCAL, Project

from lakecat.catalog.schema import lease


@pytest.fixture
def make_project():
    made: list[Project] = []

    def make(root: Path, settings: str = LOCAL) -> Project:
        made.append(Project(root, settings))
        return made[-1]

    yield make
    for project in made:
        project.catalog.close()


@pytest.fixture
def project(tmp_path, make_project):
    return make_project(tmp_path / "project")


@pytest.fixture
def expire_leases():
    """Lets dead processes' leases run out now instead of in a minute (the database's clock is not ours to move)."""

    def expire(project: Project) -> None:
        with project.catalog.database.writing() as connection:
            connection.execute(sa.update(lease).where(lease.c.held).values(expires_ms=0))
            connection.commit()

    return expire
