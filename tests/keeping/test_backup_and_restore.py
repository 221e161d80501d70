"""Backup and restore: from every database to every database, all of it or nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, ExecutionStart, Holder, copying, registry
from lakecat.catalog import schema as s
from lakecat.catalog.backup import write_backup
from lakecat.catalog.restore import restore
from lakecat.types import DatasetName, ExecutionType

BACKENDS = ("sqlite", "postgres", "mariadb")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOLDER = Holder("host", 1, "user", "lakecat run")
ODD = "naïve 数 \N{SNOWMAN} ' \" \\ % :x \t\n"


def fill(catalog: Catalog) -> None:
    """Rows with everything that a column can hold, and executions in two states."""
    types = catalog.type_ids
    lease = catalog.acquire("raw.orders", HOLDER)
    for key in ("first", "second"):
        start = ExecutionStart(
            type=ExecutionType.INGEST, job=f"load {ODD}"[:100], run_key=key, targets=(DatasetName("raw", "orders"),),
            properties={"text": ODD, "big": 2**63 - 1, "small": -(2**63), "part": 0.1, "list": [1, "x"], "yes": True},
            project="shop",
        )  # fmt: skip
        execution = catalog.begin(lease, start)
        catalog.fail(execution, ODD) if key == "first" else None

    def work(connection: sa.Connection) -> None:
        made = registry.ensure_artifacts(
            connection,
            types,
            [registry.NewArtifact(registry.SOURCE, f"s{n}", f"s3://b/{n}", {"n": n}) for n in range(1200)],
            5,
        )
        rows = [
            {"artifact_id": made["s1"], "name": name, "is_custom_property": True, "int_value": None, "double_value": None,
             "byte_value": None, "bool_value": None, **value}
            for name, value in {
                "bytes": {"byte_value": bytes(range(256))}, "tiny": {"double_value": 5e-324},
                "huge": {"double_value": 1.7976931348623157e308}, "third": {"double_value": 1 / 3},
                "minus zero": {"double_value": -0.0}, "no": {"bool_value": False},
            }.items()
        ]  # fmt: skip
        connection.execute(sa.insert(s.artifact_property), rows)

    catalog.database.write(work)
    catalog.release(lease)


def content(catalog: Catalog, *without: sa.Table) -> dict[str, list[tuple[object, ...]]]:
    with catalog.database.reading() as connection:
        return {
            str(table.name): sorted(copying.read(connection, table), key=repr)
            for table in copying.tables()
            if table not in without
        }


CHANGED = (s.setting, s.lease, s.lake_execution, s.execution)
"""What a restore changes: see the tests of it."""


@pytest.mark.parametrize(("source", "target"), list(itertools.product(BACKENDS, BACKENDS)))
def test_every_database_can_be_restored_into_every_other(
    url_of: Callable[[str, str], URL], tmp_path: Path, source: str, target: str
) -> None:
    path = tmp_path / "catalog.backup"
    with (
        Catalog.open(url_of(source, "old"), create=True) as old,
        Catalog.open(url_of(target, "new"), create=True) as new,
    ):
        fill(old)
        manifest = write_backup(old.database, path, now=NOW)
        done = restore(new.database, path, now=NOW)
        assert (done.applied, done.replaces, done.canceled) == (True, False, 1)
        assert content(new, *CHANGED) == content(old, *CHANGED)
        assert manifest.tables["Artifact"].rows == 1200
