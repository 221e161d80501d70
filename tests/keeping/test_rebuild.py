"""The catalog again from the lake alone, equal in all that is claimed; and one from a backup that catches up."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.errors import CatalogBehindError

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
        assert [item.state.value for item in (*lake.ingest().outcomes, *lake.run().outcomes)] == ["nothing"] * 4
        project.land(5)
        lake.ingest().raise_failures()
        lake.run().raise_failures()
        assert lake.query("SELECT count(*) AS n FROM raw.orders").to_pylist() == [{"n": 15}]
        assert lake.query("SELECT count(DISTINCT id) AS n FROM raw.orders").to_pylist() == [{"n": 15}]
        assert lake.gc(apply=True, max_delete_fraction=1).failures == ()
        assert [check for check in lake.doctor() if check.verdict.value == "bad"] == []


def files_of(project: Any) -> set[Path]:
    return {path for path in (project.root / "lake").rglob("*") if path.is_file()}


def count(lake: Any, table: str) -> int:
    return int(lake.query(f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"])


def test_a_catalog_from_an_old_backup_catches_up_before_it_is_written_to(project: Any, tmp_path: Path) -> None:
    """Backup, more work, restore: nothing is collected or begun until the rebuild; then it is as if never restored."""
    backup = tmp_path / "old.backup"
    project.land(1)
    with project.connect() as lake:
        lake.ingest().raise_failures()
        lake.backup(backup)
        project.land(2)
        lake.ingest().raise_failures()
        lake.append("raw.new", pa.table({"x": [1]}))
    before, files = state(project), files_of(project)
    with project.connect() as lake:
        done = lake.restore(backup, replace=True)
        assert (done.ready, done.lake.missing, done.lake.undecided) == (False, 2, ())
        assert count(lake, "raw.orders") == 3
        for work in (
            lake.gc,
            lambda: lake.gc(apply=True),
            lambda: lake.append("raw.orders", pa.table({"id": [1]})),
        ):
            with pytest.raises(CatalogBehindError):
                work()
        assert isinstance(lake.ingest().failures[0].error, CatalogBehindError)
        behind = [check for check in lake.doctor() if check.name == "catalog" and check.verdict.value == "bad"]
        assert "raw.orders: the lake has versions that the catalog does not know: 1" in " ".join(
            check.message for check in behind
        )
        assert files_of(project) == files
        assert lake.rebuild(apply=True).settled
        assert [item.state.value for item in lake.ingest().outcomes] == ["nothing"]
        assert count(lake, "raw.orders") == 6
        assert lake.gc(apply=True).failures == ()
        assert files_of(project) == files
    after = state(project)
    for name, rows in before.items():
        assert after[name] == rows, name


def test_a_restored_catalog_that_lacks_nothing_goes_on_at_once(project: Any, tmp_path: Path) -> None:
    project.land(1)
    with project.connect() as lake:
        lake.ingest().raise_failures()
        lake.backup(tmp_path / "b")
        assert lake.restore(tmp_path / "b", replace=True).ready
        project.land(2)
        lake.ingest().raise_failures()
        assert count(lake, "raw.orders") == 6


def test_a_database_that_was_put_back_behind_our_back_is_noticed(shop: Any) -> None:
    """Not by restore, but by cp: the execution that was running then has committed since, and its files must live."""
    database = Path(str(shop.url.database))
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
        with Catalog.open(shop.url) as catalog:
            catalog.database.engine.dispose()
    saved = database.read_bytes()
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [2]}))
    database.write_bytes(saved)
    files = files_of(shop)
    with shop.connect() as lake:
        with pytest.raises(CatalogBehindError, match=r"raw\.t"):
            lake.gc(apply=True, max_delete_fraction=1)
        assert any("raw.t" in check.message and check.verdict.value == "bad" for check in lake.doctor())
        assert files_of(shop) == files
        assert lake.rebuild(apply=True).missing == 1
        lake.gc(apply=True)
        assert count(lake, "raw.t") == 2
    assert files_of(shop) == files


def lose_receipts(project: Any) -> None:
    for path in (project.root / "lake").rglob("*.lakecat.committed"):
        path.unlink()


def test_a_last_commit_without_receipt_is_the_user_s_to_decide(shop: Any) -> None:
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
        lake.append("raw.t", pa.table({"x": [2]}))
    lose_receipts(shop)
    for heads, rows in ((None, 1), ("certain", 1), ("newest", 2)):
        lose(shop.url)
        with shop.connect() as lake:
            report = lake.rebuild(apply=True, heads=heads)
            told = [(str(one.dataset), one.version) for one in report.undecided]
            assert told == ([("raw.t", 2)] if rows == 1 else [])
            assert (report.missing, count(lake, "raw.t")) == (rows, rows)
            files = files_of(shop)
            if heads is None:
                with pytest.raises(CatalogBehindError, match="made again from the lake"):
                    lake.gc(apply=True, max_delete_fraction=1)
            else:
                assert lake.gc(apply=True, max_delete_fraction=1).removable.files == 0
            assert files_of(shop) == files


def test_whose_version_was_read_has_happened(shop: Any) -> None:
    """raw.orders' only commit has no receipt and no successor, but a script had pinned it."""
    shop.land(1)
    with shop.connect() as lake:
        lake.ingest().raise_failures()
        lake.run().raise_failures()
    lose_receipts(shop)
    lose(shop.url)
    with shop.connect() as lake:
        report = lake.rebuild(apply=True)
        assert sorted(str(one.dataset) for one in report.undecided) == ["mart.log", "mart.revenue"]
        assert count(lake, "raw.orders") == 3


STAGED = ("commit.sidecar_written", "commit.pointer_swapped", "commit.lineage_recorded", "commit.before")


@pytest.mark.parametrize("step", STAGED)
def test_an_attempt_that_was_staged_and_never_committed_becomes_no_version(shop: Any, step: str) -> None:
    """Killed before COMMIT; then somebody else goes on, so the lake itself knows that it never was."""
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
    assert shop.process("append", failpoint=f"{step}:1:kill") == -9
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [3]}))
    before = state(shop)
    lose(shop.url)
    for heads in ("newest", None):
        with shop.connect() as lake:
            report = lake.rebuild(apply=True, heads=heads)
            assert (report.undecided, report.problems) == ((), ())
            assert sorted(lake.query("SELECT x FROM raw.t")["x"].to_pylist()) == [1, 3]
    assert state(shop) == before


def test_a_commit_that_has_happened_but_left_no_receipt_is_undecided(shop: Any) -> None:
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
    assert shop.process("append", failpoint="commit.after:1:kill") == -9
    before = state(shop)
    lose(shop.url)
    with shop.connect() as lake:
        (undecided,) = lake.rebuild(apply=True).undecided
        assert (str(undecided.dataset), undecided.version) == ("raw.t", 2)
        assert count(lake, "raw.t") == 1
        lake.rebuild(apply=True, heads="newest")
        assert count(lake, "raw.t") == 2
    assert state(shop)["versions"] == before["versions"]


def test_two_histories_are_told_and_nothing_of_either_is_removed(shop: Any) -> None:
    database = Path(str(shop.url.database))
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
    saved = database.read_bytes()
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [2]}))
    database.write_bytes(saved)
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [3]}))
        files = files_of(shop)
        (item,) = lake.rebuild(apply=True).datasets
        assert item.missing == 0
        assert "another history" in " ".join(item.problems)
        with pytest.raises(CatalogBehindError):
            lake.gc(apply=True, max_delete_fraction=1)
        assert files_of(shop) == files
        assert sorted(lake.query("SELECT x FROM raw.t")["x"].to_pylist()) == [1, 3]


def test_damaged_sidecars_are_told_and_the_rest_is_recovered(shop: Any) -> None:
    with shop.connect() as lake:
        for table in ("raw.a", "raw.b"):
            lake.append(table, pa.table({"x": [1]}))
    (sidecar,) = (shop.root / "lake/raw/a").rglob("*.lakecat.json")
    sidecar.write_text("{")
    lose(shop.url)
    with shop.connect() as lake:
        report = lake.rebuild(apply=True)
        assert "the sidecar is damaged" in " ".join(report.problems)
        assert "raw/a" in " ".join(report.problems)
        assert [str(info.name) for info in lake.datasets()] == ["raw.b"]


def test_an_old_sidecar_without_totals_and_columns_can_still_be_read(shop: Any) -> None:
    """Format 1: what it lacks is taken from the metadata."""
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1], "y": ["a"]}))
        lake.append("raw.t", pa.table({"x": [2], "y": ["b"]}))
    before = state(shop)
    for path in (shop.root / "lake").rglob("*.lakecat.json"):
        found = json.loads(path.read_text())
        commit = found["commit"]
        for key in ("commit", "tables", "project", "lease", "committed_ms", "targets", "prefixes", "other_edges"):
            del commit[key]
        commit["holder"] = "user@host, process 1 (lakecat)"
        del found["totals"], found["columns"]
        path.write_text(json.dumps({**found, "format": 1}))
    lose_receipts(shop)
    lose(shop.url)
    with shop.connect() as lake:
        assert lake.rebuild(apply=True, heads="newest").missing == 2
        assert count(lake, "raw.t") == 2
    after = state(shop)
    for name in ("versions", "schemas", "columns", "pointers", "intents"):
        assert after[name] == before[name], name


def test_tags_in_the_newest_metadata_are_recovered_and_later_ones_told(shop: Any) -> None:
    """Another Iceberg program could have set them as well: they are the table's own."""
    with shop.connect() as lake:
        first = lake.append("raw.t", pa.table({"x": [1]})).version
        lake.append("raw.t", pa.table({"x": [2]}))
        newest = Path(lake.catalog.metadata_location(first.dataset).removeprefix("file://"))
    raw = json.loads(newest.read_text())
    del raw["lakecat-history-crc32"]
    raw["refs"]["prod"] = {"snapshot-id": first.snapshot_id, "type": "tag"}
    newest.write_text(json.dumps(raw))
    raw["refs"]["late"] = {"snapshot-id": first.snapshot_id, "type": "tag"}
    (newest.parent / "00009-x.metadata.json").write_text(json.dumps(raw))
    lose(shop.url)
    with shop.connect() as lake:
        (item,) = lake.rebuild(apply=True).datasets
        assert item.tags == 1
        assert f"late on snapshot {first.snapshot_id}" in " ".join(item.problems)
        with lake.catalog.database.reading() as connection:
            assert [(row.name, row.version) for row in connection.execute(sa.select(s.tag))] == [("prod", 1)]


def test_tags_that_were_moved_before_the_newest_version_come_back(shop: Any) -> None:
    with shop.connect() as lake:
        for number, name in enumerate(("prod", "test", None, None), start=1):
            lake.append("raw.t", pa.table({"x": [number]}))
            if name is not None:
                lake.tag(f"raw.t@v{number}", name)
        before = {(tag.name, tag.version) for tag in lake.tags()}
        lake.tag("raw.t@v3", "late")
    lose(shop.url)
    with shop.connect() as lake:
        (item,) = lake.rebuild(apply=True).datasets
        assert {(tag.name, tag.version) for tag in lake.tags()} == before == {("prod", 1), ("test", 2)}
        assert "late on snapshot" in " ".join(item.problems)
        lake.tag("raw.t@v3", "late")
        lake.append("raw.t", pa.table({"x": [4]}))
        assert lake.gc(apply=True, max_delete_fraction=1).failures == ()
        assert count(lake, "raw.t@prod") == 1
    assert [check for check in shop.connect().doctor() if check.verdict.value == "bad"] == []


def test_a_tag_that_was_moved_after_the_backup_is_told(shop: Any, tmp_path: Path) -> None:
    with shop.connect() as lake:
        lake.append("raw.t", pa.table({"x": [1]}))
        lake.tag("raw.t@v1", "prod")
        lake.backup(tmp_path / "b")
        lake.append("raw.t", pa.table({"x": [2]}))
        lake.tag("raw.t@v2", "prod")
        assert not lake.restore(tmp_path / "b", replace=True).ready
        (item,) = lake.rebuild(apply=True).datasets
        assert (item.missing, item.tags) == (1, 0)
        assert "tags may have been moved after its newest version (prod on snapshot" in " ".join(item.problems)
        assert [(tag.name, tag.version) for tag in lake.tags()] == [("prod", 1)]
        lake.tag("raw.t@v2", "prod")
        assert [check for check in lake.doctor() if check.verdict.value == "bad"] == []
