"""Backups in the wrong place: over the catalog, in its stead, from another project's lake, of a lake that is older."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, registry
from lakecat.catalog import schema as s
from lakecat.catalog.backup import check_backup, write_backup
from lakecat.catalog.restore import restore
from lakecat.cli.app import run
from lakecat.errors import CatalogError, CatalogFullError, CatalogVersionError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture
def shop(url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    return lab.Project(tmp_path / "shop", url_of("sqlite", "catalog"))


@pytest.fixture
def other(url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    return lab.Project(tmp_path / "other", url_of("sqlite", "other"))


def append(project: Any, *values: int) -> None:
    with project.connect() as lake:
        lake.append("raw.t", pa.table({"x": list(values)}))


def rows(project: Any) -> list[int]:
    with project.connect() as lake:
        return sorted(lake.query("SELECT x FROM raw.t")["x"].to_pylist())


def test_a_backup_never_takes_the_catalog_s_own_place(shop: Any, tmp_path: Path) -> None:
    append(shop, 1)
    database = Path(str(shop.url.database))
    link = tmp_path / "link.backup"
    link.symlink_to(database)
    for path in (database, link):
        with shop.connect() as lake, pytest.raises(UsageError, match="is the catalog itself"):
            lake.backup(path, replace=True)
    append(shop, 2)
    assert rows(shop) == [1, 2]


def test_a_backup_is_a_file_and_no_url(shop: Any) -> None:
    with shop.connect() as lake, pytest.raises(UsageError, match="is no file"):
        lake.backup("s3://bucket/catalog.backup")


def test_a_backup_copied_to_where_the_catalog_was_is_no_catalog(shop: Any, tmp_path: Path) -> None:
    """It would know nothing of v2, and let the next commit take its number."""
    append(shop, 1)
    with shop.connect() as lake:
        lake.backup(tmp_path / "b")
    append(shop, 2)
    database = Path(str(shop.url.database))
    shutil.copy(tmp_path / "b", database)
    with pytest.raises(CatalogError, match="is a backup, not a catalog"):
        append(shop, 3)
    database.rename(tmp_path / "c")
    with shop.connect() as lake:
        assert not lake.restore(tmp_path / "c").ready
        assert lake.rebuild(apply=True).settled
    assert rows(shop) == [1, 2]


def test_another_project_s_backup_is_refused(shop: Any, other: Any, tmp_path: Path) -> None:
    append(shop, 1)
    append(other, 7)
    with other.connect() as lake:
        lake.backup(tmp_path / "b")
    with shop.connect() as lake, pytest.raises(UsageError, match="of another lake"):
        lake.restore(tmp_path / "b", replace=True)
    assert rows(shop) == [1]


def test_a_backup_without_versions_fits_every_lake(shop: Any, other: Any, tmp_path: Path) -> None:
    with other.connect() as lake:
        lake.backup(tmp_path / "b")
    with shop.connect() as lake:
        assert lake.restore(tmp_path / "b", replace=True).ready


def test_tables_whose_metadata_the_lake_lacks_are_told(shop: Any, tmp_path: Path) -> None:
    """The lake itself was put back from an older copy than the catalog."""
    append(shop, 1)
    shutil.copytree(shop.root / "lake", tmp_path / "old")
    append(shop, 2)
    with shop.connect() as lake:
        lake.backup(tmp_path / "b")
    shutil.rmtree(shop.root / "lake")
    shutil.copytree(tmp_path / "old", shop.root / "lake")
    with shop.connect() as lake:
        report = lake.restore(tmp_path / "b", replace=True)
        assert report.lake is not None
        assert ["raw.t: its newest metadata is not in the lake" in one for one in report.lake.problems] == [True]


def test_a_newer_backup_is_refused_before_anything_is_asked(shop: Any, tmp_path: Path) -> None:
    append(shop, 1)
    with shop.connect() as lake:
        lake.backup(tmp_path / "b")
        with closing(sqlite3.connect(tmp_path / "b")) as connection, connection:
            (text,) = connection.execute("SELECT content FROM lakecat_backup").fetchone()
            newer = json.dumps({**json.loads(text), "revision": "9999"})
            connection.execute("UPDATE lakecat_backup SET content = ?, checksum = NULL", (newer,))
        connection.close()
        for replace in (False, True):
            with pytest.raises(CatalogVersionError, match="newer lakecat"):
                lake.restore(tmp_path / "b", replace=replace)
    assert list(tmp_path.glob("*before-restore*")) == []


@pytest.mark.parametrize(
    "content", ["[]", "1", "null", '{"tables": []}', '{"tables": {"x": 1}}', "{", '{"tables": {}}']
)
def test_a_manifest_that_says_something_else_is_told_as_damage(shop: Any, tmp_path: Path, content: str) -> None:
    with shop.connect() as lake:
        lake.backup(tmp_path / "b")
    with closing(sqlite3.connect(tmp_path / "b")) as connection, connection:
        connection.execute("UPDATE lakecat_backup SET content = ?, checksum = NULL", (content,))
    connection.close()
    with pytest.raises(CatalogError, match="no backup of a catalog, or it is damaged"):
        check_backup(tmp_path / "b")


def test_numbers_that_are_none_come_back_where_the_database_knows_them(
    url_of: Callable[[str, str], URL], tmp_path: Path
) -> None:
    """A metric of a model that diverged: PostgreSQL keeps NaN, SQLite and MariaDB do not know it."""
    odd = {"nan": float("nan"), "inf": float("inf"), "minus inf": float("-inf"), "one": 1.0}
    with (
        Catalog.open(url_of("postgres", "old"), create=True) as old,
        Catalog.open(url_of("postgres", "new"), create=True) as new,
    ):

        def work(connection: sa.Connection) -> None:
            made = registry.ensure_artifacts(
                connection, old.type_ids, [registry.NewArtifact(registry.SOURCE, "s", "u", {})], 1
            )
            rows = [
                {"artifact_id": made["s"], "name": name, "is_custom_property": True, "double_value": value}
                for name, value in odd.items()
            ]
            connection.execute(sa.insert(s.artifact_property), rows)

        old.database.write(work)
        write_backup(old.database, tmp_path / "b", now=NOW)
        restore(new.database, tmp_path / "b", now=NOW)
        with new.database.reading() as connection:
            table = s.artifact_property
            rows = connection.execute(sa.select(table.c.name, table.c.double_value))
            found = {row.name: row.double_value for row in rows}
        assert math.isnan(found.pop("nan"))
        assert found == {name: value for name, value in odd.items() if name != "nan"}
    with (
        Catalog.open(url_of("sqlite", "none"), create=True) as sqlite,
        pytest.raises(CatalogError, match="does not keep every value"),
    ):
        restore(sqlite.database, tmp_path / "b", now=NOW)


def test_a_full_disk_is_told_as_what_it_is(shop: Any, tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    """Whatever is written when it is full: the tables, the raw copy, the rows, the manifest."""
    append(shop, *range(10))
    append(shop, 1)
    small = tmp_path / "small"
    small.mkdir()
    told = []
    for kilobytes in (60, 200, 400, 600, 700):
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(small)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            missing("no right to mount a small file system")
        try:
            told += _backed_up_to(small, shop)
        finally:
            subprocess.run(["umount", str(small)], check=True)
    assert len(told) >= 3
    assert set(told) == {"there is no room for the backup"}


def _backed_up_to(folder: Path, shop: Any) -> list[str]:
    """What was said instead of it; then nothing is left there."""
    try:
        with shop.connect() as lake:
            lake.backup(folder / "b")
    except CatalogFullError as err:
        assert list(folder.iterdir()) == []
        return [err.what]
    return []


def test_a_backup_is_checked_far_from_any_project(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append(shop, 1)
    with shop.connect() as lake:
        lake.backup(tmp_path / "b")
    far = tmp_path / "far"
    far.mkdir()
    monkeypatch.chdir(far)
    assert run(["catalog", "backup", "--check", str(tmp_path / "b")]) == 0
    assert "is whole" in capsys.readouterr().out
