"""What an older lakecat backed up can be restored: it is brought up to date in a copy first."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.backup import check_backup, rows_of
from lakecat.catalog.copying import Checksum
from lakecat.catalog.restore import restore

sys.path.insert(0, str(Path(__file__).parent))
lab: Any = importlib.import_module("schema_lab")
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def old_backup(revision: str, path: Path) -> None:
    """A backup as the program of that revision would have written it."""
    lab.load(revision, path)
    tables = {}
    with closing(sqlite3.connect(path)) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        for (name,) in connection.execute(names).fetchall():
            if name.startswith(("lakecat_alembic", "lakecat_search")):
                continue
            columns = tuple(row[1] for row in connection.execute(f'PRAGMA table_info("{name}")'))
            checksum = Checksum()
            for row in rows_of(connection, name, columns):
                checksum.add(row)
            tables[name] = {"columns": columns, "rows": checksum.rows, "checksum": checksum.text}
        manifest = {
            "created_at": NOW.isoformat(), "source": "sqlite:///old.db", "lakecat": "0.0.1", "revision": revision,
            "catalog_uuid": lab.UUID, "tables": tables, "last_ids": {"Artifact": 1003},
        }  # fmt: skip
        connection.execute("CREATE TABLE lakecat_backup (format INTEGER, content TEXT)")
        connection.execute("INSERT INTO lakecat_backup VALUES (1, ?)", (json.dumps(manifest),))
        connection.commit()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
def test_a_backup_of_every_schema(kind: str, tmp_path: Path, url_of: Callable[[str, str], URL]) -> None:
    for revision in lab.revisions():
        path = tmp_path / f"{revision}.backup"
        old_backup(revision, path)
        before = path.read_bytes()
        check_backup(path)
        with Catalog.open(url_of(kind, f"new{revision}"), create=True) as catalog:
            assert restore(catalog.database, path, now=NOW).applied
            with catalog.database.reading() as connection:
                for table in (s.artifact, s.artifact_property, s.version, s.column_edge, s.loaded_file, s.position):
                    found = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                    assert found == lab.ROWS, (revision, table.name)
            assert catalog.settings()["catalog_uuid"] == lab.UUID
        assert path.read_bytes() == before
