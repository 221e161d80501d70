"""Which file went to which table survives the catalog's loss, and its move to another database."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

import lakecat
from lakecat.catalog import Catalog
from lakecat.catalog.backup import write_backup
from lakecat.catalog.restore import restore

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("lake_lab")
NOW = datetime(2026, 11, 25, tzinfo=UTC)
TABLES = {"raw.a": {"a.json"}, "raw.b": {"b.json"}, "raw.c": {"c.json"}, "raw.rejects": {"b.json"}}
JOB = """\
connector: shelf_connector:Shelf
target: raw.*
streams: [a, b, c]
quarantine: {target: raw.rejects, max_rows: 5, max_fraction: 0.9}
"""


@pytest.fixture
def project(url_of: Callable[[str, str], URL], tmp_path: Path) -> Any:
    """Three streams, loaded twice; one has a bad row, and one brings nothing the second time."""
    made = lab.Project(tmp_path / "shop", url_of("sqlite", "catalog"))
    (made.root / "ingest/shelf.yaml").write_text(JOB)
    (made.root / "shelf").mkdir()
    with made.connect() as lake:
        for rows in ({"a": ["x"], "b": ["y", "bad"], "c": ["z"]}, {"a": ["x", "u"], "b": ["y", "bad", "v"]}):
            for name, texts in rows.items():
                content = {"rows": list(enumerate(texts))}
                (made.root / f"shelf/{name}.json").write_text(json.dumps(content))
            lake.ingest("shelf").raise_failures()
    return made


def sources(lake: lakecat.Lake) -> dict[str, set[str]]:
    """By table the files that it came from."""
    return {
        name: {uri.rpartition("/")[2] for uri in lake.lineage(name).sources}
        for name in TABLES
    }  # fmt: skip


def test_a_catalog_rebuilt_from_the_lake_knows_it(project: Any) -> None:
    with Catalog.open(project.url) as catalog:
        before = lab.claimed(catalog)
    assert len(before["dataset edges"]) == 6, "a, b and c; b to the rejects; a and b again"
    Path(str(project.url.database)).unlink()
    with project.connect() as lake:
        assert lake.rebuild(apply=True).problems == ()
        assert sources(lake) == TABLES
        assert {held.dataset for held in lake.where("c.json").holdings} == {"raw.c"}
    with Catalog.open(project.url) as catalog:
        assert lab.claimed(catalog) == before
        assert catalog.integrity() == ()


def test_where_one_table_of_a_commit_is_lost_the_others_keep_theirs(project: Any) -> None:
    for sidecar in (project.root / "lake/raw/a").rglob("*.lakecat.json"):
        sidecar.write_text("{")
    Path(str(project.url.database)).unlink()
    with project.connect() as lake:
        lake.rebuild(apply=True)
        assert {str(info.name) for info in lake.datasets()} == {"raw.b", "raw.c", "raw.rejects"}
        assert {uri.rpartition("/")[2] for uri in lake.lineage("raw.c").sources} == {"c.json"}
        assert lake.where("a.json").holdings == ()


def test_a_sidecar_from_before_says_that_all_went_everywhere(project: Any) -> None:
    for path in (project.root / "lake").rglob("*.lakecat.json"):
        found = json.loads(path.read_text())
        for source in found["commit"]["sources"]:
            source.pop("datasets", None)
        path.write_text(json.dumps(found))
    Path(str(project.url.database)).unlink()
    with project.connect() as lake:
        assert lake.rebuild(apply=True).problems == ()
        assert sources(lake)["raw.c"] == {"a.json", "b.json", "c.json"}


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_backup_takes_it_to_another_database_and_back(
    project: Any, kind: str, url_of: Callable[[str, str], URL], tmp_path: Path
) -> None:
    path, back = tmp_path / "catalog.backup", tmp_path / "back.backup"
    with (
        Catalog.open(project.url) as old,
        Catalog.open(url_of(kind, "new"), create=True) as new,
        Catalog.open(url_of("sqlite", "last"), create=True) as last,
    ):
        wanted = lab.claimed(old)["dataset edges"]
        assert write_backup(old.database, path, now=NOW).tables["lakecat_dataset_edge"].rows == len(wanted)
        restore(new.database, path, now=NOW)
        assert lab.claimed(new)["dataset edges"] == wanted
        write_backup(new.database, back, now=NOW)
        restore(last.database, back, now=NOW)
        assert lab.claimed(last)["dataset edges"] == wanted
        version = new.resolve(lakecat.VersionRef.parse("raw.a"))
        assert [uri.rpartition("/")[2] for uri in new.source_uris(version)] == ["a.json"]
