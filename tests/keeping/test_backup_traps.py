"""Backups in the wrong place: over the catalog, in its stead, from another project's lake, of a lake that is older."""

from __future__ import annotations

import importlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.engine import URL

from lakecat.catalog.backup import check_backup
from lakecat.errors import CatalogError, CatalogVersionError, UsageError

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")


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
        with sqlite3.connect(tmp_path / "b") as connection:
            (text,) = connection.execute("SELECT content FROM lakecat_backup").fetchone()
            newer = json.dumps({**json.loads(text), "revision": "9999"})
            connection.execute("UPDATE lakecat_backup SET content = ?", (newer,))
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
    with sqlite3.connect(tmp_path / "b") as connection:
        connection.execute("UPDATE lakecat_backup SET content = ?", (content,))
    connection.close()
    with pytest.raises(CatalogError, match="no backup of a catalog, or it is damaged"):
        check_backup(tmp_path / "b")
