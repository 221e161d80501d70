"""Commits of several tables, and a lake on S3: what a rebuild makes of them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from s3_servers import moto_s3
from sqlalchemy.engine import URL

from lakecat import ingest
from lakecat.catalog import Catalog, Holder
from lakecat.config import Settings, Storage
from lakecat.landing import Services
from lakecat.rebuild import Heads, rebuild
from lakecat.store import LakeStore
from lakecat.types import DatasetName

__all__ = ["moto_s3"]
sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")
WORKER = Path(__file__).parents[1] / "catalog"
RUN = """
import sys
sys.path.insert(0, {folder!r})
import commit_worker
commit_worker.work({url!r}, {lake!r}, {job!r}, 1, ["raw.a", "raw.b"], 0.2)
"""


def services(lake: str, catalog: str, **parts: Any) -> Services:
    return Services(
        settings=Settings(project="tests", root=Path.cwd(), lake=lake, catalog=catalog),
        store=LakeStore.open(lake, parts.get("storage"), environ=parts.get("environ", os.environ)),
        catalog=Catalog.open(catalog, create=True),
        clock=lambda: datetime.now(UTC),
        holder=Holder("here", os.getpid(), "tester", "tests"),
        environ=parts.get("environ", os.environ),
    )


class Pair:
    """Two tables that every commit changes together."""

    def __init__(self, root: Path, url: URL) -> None:
        self.url = url.render_as_string(hide_password=False)
        self.lake = f"file://{root}/lake"

    def commit(self, job: str, failpoint: str = "") -> int:
        code = RUN.format(folder=str(WORKER), url=self.url, lake=self.lake, job=job)
        environ = {**os.environ, "LAKECAT_FAILPOINT": failpoint}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environ, check=False, capture_output=True).returncode

    def dump(self) -> dict[str, Any]:
        with Catalog.open(self.url, create=True) as catalog:
            return lab.claimed(catalog)

    def rebuild(self, heads: Heads | None = None) -> tuple[Any, dict[str, int]]:
        """From nothing, into a database beside the first; the report, and the versions of each table."""
        path = Path(self.url.removeprefix("sqlite:///")).with_name(f"again-{heads}.db")
        path.unlink(missing_ok=True)
        made = services(self.lake, f"sqlite:///{path}")
        with made.catalog:
            report = rebuild(made, apply=True, heads=heads)
            assert made.catalog.integrity() == ()
            self.again = lab.claimed(made.catalog)
            return report, {str(info.name): info.versions for info in made.catalog.datasets()}


@pytest.fixture
def pair(tmp_path: Path, url_of: Callable[[str, str], URL]) -> Pair:
    url = url_of("sqlite", "catalog")
    Catalog.open(url, create=True).close()
    return Pair(tmp_path, url)


def test_tables_that_were_changed_together_are_so_again(pair: Pair) -> None:
    for job in ("one", "two", "three"):
        assert pair.commit(job) == 0
    report, versions = pair.rebuild()
    assert (report.problems, versions, report.executions) == ((), {"raw.a": 3, "raw.b": 3}, 3)
    before = pair.dump()
    for name, rows in before.items():
        assert pair.again[name] == rows, name


def test_one_receipt_is_proof_for_the_whole_commit(pair: Pair) -> None:
    assert pair.commit("one") == 0
    (receipt, _) = sorted(Path(pair.lake.removeprefix("file://")).rglob("*.lakecat.committed"))
    receipt.unlink()
    report, versions = pair.rebuild()
    assert (report.undecided, versions) == ((), {"raw.a": 1, "raw.b": 1})


def test_half_a_commit_is_none_whatever_is_chosen(pair: Pair) -> None:
    """Killed when one of two tables was staged: it can never have happened."""
    assert pair.commit("one") == 0
    assert pair.commit("two", failpoint="commit.sidecar_written:1:kill") == -9
    for heads in (None, Heads.CERTAIN, Heads.NEWEST):
        report, versions = pair.rebuild(heads)
        assert (report.undecided, versions) == ((), {"raw.a": 1, "raw.b": 1}), heads


def test_a_whole_commit_that_may_have_happened_is_taken_whole_or_not_at_all(pair: Pair) -> None:
    assert pair.commit("one") == 0
    assert pair.commit("two", failpoint="commit.before:1:kill") == -9
    report, versions = pair.rebuild()
    assert [str(one.dataset) for one in report.undecided] == ["raw.a", "raw.b"]
    assert versions == {"raw.a": 1, "raw.b": 1}
    report, versions = pair.rebuild(Heads.NEWEST)
    assert (report.undecided, versions) == ((), {"raw.a": 2, "raw.b": 2})


def test_of_two_attempts_on_the_same_version_only_the_last_may_have_happened(pair: Pair) -> None:
    assert pair.commit("one", failpoint="commit.before:1:kill") == -9
    assert pair.commit("two", failpoint="commit.before:1:kill") == -9
    _, versions = pair.rebuild(Heads.NEWEST)
    assert versions == {"raw.a": 1, "raw.b": 1}
    assert {row[3] for row in pair.again["executions"]} == {"two"}


def test_a_running_commit_is_left_alone(pair: Pair) -> None:
    """The catalog knows that the execution still runs: it is neither missing nor undecided."""
    assert pair.commit("one") == 0
    assert pair.commit("two", failpoint="commit.before:1:kill") == -9
    made = services(pair.lake, pair.url)
    with made.catalog:
        report = rebuild(made, apply=True, heads=Heads.NEWEST)
        assert (report.missing, report.undecided, report.problems) == (0, (), ())
        assert {info.versions for info in made.catalog.datasets()} == {1}


def test_a_lake_on_s3(moto_s3: Any, tmp_path: Path) -> None:
    lake = f"s3://{moto_s3.new_bucket()}/lake"
    parts = {"storage": Storage.model_validate(moto_s3.storage()), "environ": moto_s3.environ}
    names = [DatasetName("raw", f"t{number}") for number in range(3)]
    first = services(lake, f"sqlite:///{tmp_path}/first.db", **parts)
    with first.catalog:
        for number in range(4):
            for name in names:
                ingest.append(first, name, pa.table({"x": [number]}))
        before = lab.claimed(first.catalog)
    second = services(lake, f"sqlite:///{tmp_path}/second.db", **parts)
    with second.catalog:
        report = rebuild(second, apply=True)
        assert (report.missing, report.undecided, report.problems) == (12, (), ())
        after = lab.claimed(second.catalog)
        for name, rows in before.items():
            assert after[name] == rows, name
