"""A lake with something wrong in it: clocks that went back, sidecars lost or damaged, tags of another time."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.engine import URL

from lakecat.errors import CatalogBehindError

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")


@pytest.fixture
def shop(url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    return lab.Project(tmp_path / "shop", url_of("sqlite", "catalog"))


def append(lake: Any, *values: int, table: str = "raw.t") -> None:
    lake.append(table, pa.table({"x": list(values)}))


def rows(lake: Any, table: str = "raw.t") -> list[int]:
    return sorted(lake.query(f"SELECT x FROM {table}")["x"].to_pylist())


def sidecars(shop: Any, table: str = "raw/t") -> list[Path]:
    """Of a table, oldest first: their names begin with the metadata's number."""
    return sorted((shop.root / "lake" / table).rglob("*.lakecat.json"), key=lambda path: path.name)


def beside(sidecar: Path, suffix: str) -> Path:
    return sidecar.with_name(sidecar.name.removesuffix(".lakecat.json") + suffix)


def lose(shop: Any) -> None:
    Path(str(shop.url.database)).unlink()


def shift(sidecar: Path, milliseconds: int) -> None:
    found = json.loads(sidecar.read_text())
    found["commit"]["committed_ms"] += milliseconds
    sidecar.write_text(json.dumps(found))


def problems(lake: Any) -> list[str]:
    return [check.message for check in lake.doctor() if check.verdict.value != "good"]


def test_a_clock_that_went_back_does_not_turn_history_round(shop: Any) -> None:
    """As when the catalog moved to a server whose clock is behind: v3 was committed an hour "before" v1."""
    with shop.connect() as lake:
        for number in range(4):
            append(lake, number)
    third, fourth = sidecars(shop)[2:]
    shift(third, -3_600_000)
    shift(fourth, -3_500_000)
    lose(shop)
    with shop.connect() as lake:
        assert lake.rebuild(apply=True).problems == ()
        assert rows(lake) == [0, 1, 2, 3]
        assert problems(lake) == []
        append(lake, 4)
        assert rows(lake) == [0, 1, 2, 3, 4]


def test_the_newest_position_is_that_of_the_job_s_last_run_whatever_the_clock_said(shop: Any) -> None:
    for day in (1, 2, 3):
        shop.land(day)
        with shop.connect() as lake:
            lake.ingest().raise_failures()
            lake.run().raise_failures()
    shift(sidecars(shop, "raw/orders")[2], -3_600_000)
    with shop.connect() as lake:
        before = lab.claimed(lake.catalog)
    lose(shop)
    with shop.connect() as lake:
        assert lake.rebuild(apply=True).problems == ()
        after = lab.claimed(lake.catalog)
        assert after["files"] == before["files"]
        assert after["positions"] == before["positions"]
        assert after["pointers"] == before["pointers"]
        lake.ingest().raise_failures()
        assert lake.query("SELECT count(*) AS n FROM raw.orders")["n"].to_pylist() == [9]


def test_what_was_committed_after_the_backup_and_cannot_be_read_is_waited_for(shop: Any, tmp_path: Path) -> None:
    with shop.connect() as lake:
        append(lake, 1)
        lake.backup(tmp_path / "b")
        append(lake, 2)
        whole = sidecars(shop)[1].read_bytes()
        sidecars(shop)[1].write_text("{")
        assert not lake.restore(tmp_path / "b", replace=True).ready
        report = lake.rebuild(apply=True)
        assert not report.settled
        assert any("newer than what the catalog has" in problem for problem in report.problems)
        with pytest.raises(CatalogBehindError):
            append(lake, 3)
        sidecars(shop)[1].write_bytes(whole)
        assert lake.rebuild(apply=True).settled
        append(lake, 3)
        assert rows(lake) == [1, 2, 3]


def test_one_goes_on_without_it_only_by_decision(shop: Any, tmp_path: Path) -> None:
    with shop.connect() as lake:
        append(lake, 1)
        lake.backup(tmp_path / "b")
        append(lake, 2)
        sidecars(shop)[1].unlink()
        assert not lake.restore(tmp_path / "b", replace=True).ready
        assert not lake.rebuild(apply=True).settled
        assert lake.rebuild(apply=True, heads="certain").settled
        append(lake, 3)
        assert rows(lake) == [1, 3]
        with pytest.raises(CatalogBehindError):
            lake.gc(apply=True, max_delete_fraction=1)


def test_a_catalog_made_from_nothing_waits_for_the_decision_too(shop: Any) -> None:
    with shop.connect() as lake:
        append(lake, 1)
        append(lake, 2)
    sidecars(shop)[1].write_text("{")
    lose(shop)
    with shop.connect() as lake:
        assert not lake.rebuild(apply=True).settled
        with pytest.raises(CatalogBehindError, match="made again from the lake"):
            append(lake, 3)
        assert lake.rebuild(apply=True, heads="certain").settled
        append(lake, 3)
        assert rows(lake) == [1, 3]


def test_the_sidecar_of_an_attempt_that_the_catalog_knows_to_have_failed_is_no_matter(shop: Any) -> None:
    with shop.connect() as lake:
        append(lake, 1)
    assert shop.process("append", failpoint="commit.before:1:kill") == -9
    sidecars(shop)[1].write_text("{")
    with shop.connect() as lake:
        report = lake.rebuild(apply=True)
        assert (report.unreadable, report.settled) == ((), True)
        append(lake, 3)
        assert rows(lake) == [1, 3]


def test_the_first_versions_are_told_as_lost_when_their_sidecars_are(shop: Any) -> None:
    with shop.connect() as lake:
        for number in range(5):
            append(lake, number)
    for sidecar in (sidecars(shop)[0], sidecars(shop)[1], sidecars(shop)[3]):
        for suffix in (".lakecat.json", ".lakecat.committed", ".metadata.json"):
            beside(sidecar, suffix).unlink()
    lose(shop)
    with shop.connect() as lake:
        (item,) = lake.rebuild(apply=True).datasets
        assert "3 (v1, v2, v4)" in " ".join(item.problems)
        assert (item.versions, item.newest) == (2, 5)
        assert rows(lake) == [0, 1, 2, 3, 4]


def test_damaged_metadata_of_an_old_version_does_not_stop_the_rest(shop: Any) -> None:
    with shop.connect() as lake:
        for number in range(3):
            append(lake, number)
            append(lake, number, table="raw.u")
    beside(sidecars(shop)[1], ".metadata.json").write_text("{")
    sidecars(shop)[0].unlink()
    lose(shop)
    with shop.connect() as lake:
        report = lake.rebuild(apply=True)
        assert "columns of its oldest versions are not known" in " ".join(report.problems)
        assert (rows(lake), rows(lake, "raw.u")) == ([0, 1, 2], [0, 1, 2])


def test_tags_are_those_of_the_newest_metadata_and_not_of_the_backup(shop: Any, tmp_path: Path) -> None:
    """prod was moved after the backup, test taken away; then came another version."""
    with shop.connect() as lake:
        append(lake, 1)
        for name in ("prod", "test", "kept"):
            lake.tag("raw.t@v1", name)
        lake.backup(tmp_path / "b")
        append(lake, 2)
        lake.tag("raw.t@v2", "prod")
        lake.untag("raw.t@test")
        append(lake, 3)
        assert not lake.restore(tmp_path / "b", replace=True).ready
        report = lake.rebuild(apply=True)
        assert report.problems == ()
        assert [(tag.name, tag.version) for tag in lake.tags()] == [("kept", 1), ("prod", 2)]
        assert rows(lake, "raw.t@prod") == [1, 2]
        assert problems(lake) == []


def test_tags_of_a_table_without_a_newer_version_stay_as_the_backup_has_them(shop: Any, tmp_path: Path) -> None:
    with shop.connect() as lake:
        append(lake, 1)
        append(lake, 1, table="raw.u")
        lake.tag("raw.t@v1", "prod")
        lake.backup(tmp_path / "b")
        append(lake, 2, table="raw.u")
        assert not lake.restore(tmp_path / "b", replace=True).ready
        assert lake.rebuild(apply=True).problems == ()
        assert [(tag.name, tag.version) for tag in lake.tags()] == [("prod", 1)]


def test_a_copied_folder_and_another_program_s_table_are_left_alone(shop: Any) -> None:
    """A copy's sidecars say where they belong; a table without sidecars is not ours."""
    with shop.connect() as lake:
        append(lake, 1)
        append(lake, 2)
    lake_folder = shop.root / "lake"
    shutil.copytree(lake_folder / "raw/t", lake_folder / "raw/copy")
    (lake_folder / "raw/foreign/metadata").mkdir(parents=True)
    (lake_folder / "raw/foreign/metadata/v1.metadata.json").write_text("{}")
    lose(shop)
    with shop.connect() as lake:
        report = lake.rebuild(apply=True)
        assert [str(item.dataset) for item in report.datasets] == ["raw.t"]
        assert len(report.damaged) == 2
        assert all("which lies elsewhere" in problem for problem in report.problems)
        assert report.settled
        assert rows(lake) == [1, 2]


def test_a_rebuild_that_is_repeated_changes_nothing(shop: Any) -> None:
    shop.work()
    lose(shop)
    with shop.connect() as lake:
        assert lake.rebuild(apply=True).missing > 0
        once = lab.claimed(lake.catalog)
        again = lake.rebuild(apply=True)
        assert (again.missing, again.executions, again.problems, again.settled) == (0, 0, (), True)
        assert lab.claimed(lake.catalog) == once


def test_a_table_that_the_lake_has_already_is_not_begun_anew(shop: Any) -> None:
    """The catalog's file was deleted, and the schedule goes on: nothing may take the place of what was there."""
    with shop.connect() as lake:
        append(lake, 1)
        append(lake, 2)
    lose(shop)
    with shop.connect() as lake:
        with pytest.raises(CatalogBehindError, match="the lake has versions of it"):
            append(lake, 3)
        append(lake, 3, table="raw.other")
        assert lake.rebuild(apply=True).settled
        append(lake, 3)
        assert (rows(lake), rows(lake, "raw.other")) == ([1, 2, 3], [3])


NONSENSE: list[tuple[tuple[str, ...], Any]] = [
    (("snapshot_id",), 2**70),
    (("base_location",), {"a": 1}),
    (("totals", "rows"), []),
    (("totals",), [1]),
    (("commit",), None),
    (("commit", "lease"), []),
    (("commit", "job"), 0),
    (("commit", "properties"), "x"),
    (("commit", "started_at"), "0001-01-01T00:00:00+23:59"),
    (("commit", "committed_ms"), 2**60),
    (("commit", "version"), 0),
    (("commit", "holder"), {"host": None, "pid": 1, "user": "u", "command": "c"}),
    (("commit", "sources"), [{"uri": "u", "rows": 1, "bytes": None, "properties": 1}]),
    (("commit", "edges"), [{"output_column": {}, "input_dataset": 1, "input_column": None, "kind": "IDENTITY"}]),
    (("format",), "x"),
]


def test_a_sidecar_of_nonsense_is_told_and_stops_no_other(shop: Any) -> None:
    with shop.connect() as lake:
        append(lake, 1)
        append(lake, 1, table="raw.u")
    (sidecar,) = sidecars(shop)
    whole = json.loads(sidecar.read_text())
    lose(shop)
    for path, value in NONSENSE:
        broken = json.loads(json.dumps(whole))
        owner = broken
        for name in path[:-1]:
            owner = owner[name]
        owner[path[-1]] = value
        sidecar.write_text(json.dumps(broken))
        with shop.connect() as lake:
            report = lake.rebuild()
            assert [str(item.dataset) for item in report.datasets] == ["raw.u"], path
            assert any("the sidecar is damaged" in problem for problem in report.damaged), path
    with shop.connect() as lake:
        lake.rebuild(apply=True)
        assert rows(lake, "raw.u") == [1]
