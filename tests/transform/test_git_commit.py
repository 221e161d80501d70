"""Every execution says which commit of the project it ran: ingests, transforms and writes from Python alike."""

import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from lakecat.lake import connect, init_project


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize("changed", [False, True])
def test_executions_carry_the_git_commit(tmp_path: Path, *, changed: bool) -> None:
    shop = tmp_path / "shop"
    init_project(shop, example=True)
    git(shop, "init", "-q")
    git(shop, "add", ".")
    git(shop, "commit", "-q", "-m", "start")
    if changed:
        with (shop / "lakecat.yaml").open("a") as config:
            config.write("# changed\n")
    with connect(shop) as lake:
        lake.ingest().raise_failures()
        lake.run().raise_failures()
        lake.append("raw.notes", pa.table({"note": ["rain"]}))
        found = [lake.catalog.execution(one.execution_id).info for one in lake.catalog.executions()]
    assert len(found) == 3
    expected = git(shop, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    assert {one.properties.get("git_commit") for one in found} == {expected}


def test_without_git_there_is_none(tmp_path: Path) -> None:
    init_project(tmp_path / "shop", example=True)
    with connect(tmp_path / "shop") as lake:
        lake.ingest().raise_failures()
        (one,) = lake.catalog.executions()
        assert "git_commit" not in lake.catalog.execution(one.execution_id).info.properties
