"""A lake with a catalog, whose snapshots expire at the next commit, and processes that write to it and collect."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from s3_servers import moto_s3
from sqlalchemy.engine import URL

from lakecat import ingest
from lakecat.catalog import schema as s
from lakecat.config import Storage
from lakecat.landing import Services, current_state
from lakecat.maintenance import DatasetGarbage, GcReport, collect_garbage
from lakecat.tables import Scan, read
from lakecat.types import DatasetName, Version

__all__ = ["moto_s3"]

WORKER = Path(__file__).with_name("maintenance_worker.py")
sys.path.insert(0, str(WORKER.parent))
make_services = importlib.import_module("maintenance_worker").make_services
T = DatasetName.parse("raw.t")


class GcLab:
    """Appends and replaces rows of ``raw.t``; every commit leaves only its own snapshot in the metadata."""

    def __init__(self, root: Path, lake: str, catalog: str, **parts: object) -> None:
        self.root = root
        self.lake = lake
        self.catalog_url = catalog
        self.services: Services = make_services(lake, catalog, **parts)

    @property
    def store(self):
        return self.services.store

    def append(self, *ids: int, dataset: DatasetName = T) -> Version:
        return ingest.append(self.services, dataset, pa.table({"id": pa.array(ids, pa.int64())})).version

    def replace(self, *ids: int) -> Version:
        return ingest.replace(self.services, T, pa.table({"id": pa.array(ids, pa.int64())})).version

    def rows(self, dataset: DatasetName = T) -> list[int]:
        state = current_state(self.services, dataset)
        return sorted(read(self.store, Scan(state)).read_all()["id"].to_pylist())

    def files(self) -> dict[str, int]:
        return {one.location: one.size for one in self.store.list(self.store.url)}

    def parquet(self) -> set[str]:
        return {location for location in self.files() if location.endswith(".parquet")}

    def gc(self, *, apply: bool = True, fraction: float | None = 1.0) -> GcReport:
        return collect_garbage(self.services, apply=apply, max_delete_fraction=fraction)

    def collect(self, *, fraction: float | None = 1.0) -> DatasetGarbage:
        """Collect; what is told of ``raw.t``."""
        return next(item for item in self.gc(fraction=fraction).datasets if item.dataset == T)

    def grace(self, grace: timedelta) -> None:
        retention = self.services.settings.retention.model_copy(update={"grace": grace})
        settings = self.services.settings.model_copy(update={"retention": retention})
        self.services = replace(self.services, settings=settings)

    def execute(self, statement: sa.Executable) -> None:
        with self.services.catalog.database.writing() as connection:
            connection.execute(statement)
            connection.commit()

    def expire_leases(self) -> None:
        self.execute(sa.update(s.lease).where(s.lease.c.held).values(expires_ms=0))

    def start(self, *arguments: str, failpoint: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(WORKER), self.lake, self.catalog_url, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LAKECAT_FAILPOINT": failpoint},
        )

    def process(self, *arguments: str, failpoint: str = "") -> tuple[int, dict[str, object]]:
        with self.start(*arguments, failpoint=failpoint) as process:
            out, err = process.communicate(timeout=120)
        assert err == ""
        return process.returncode, json.loads(out) if out else {}


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[Callable[..., GcLab]]:
    made: list[GcLab] = []

    def make(*, lake: str | None = None, catalog: URL | str | None = None, **parts: object) -> GcLab:
        url = catalog.render_as_string(hide_password=False) if isinstance(catalog, URL) else catalog
        folder = f"file://{tmp_path / 'lake'}"
        made.append(GcLab(tmp_path, lake or folder, url or f"sqlite:///{tmp_path / 'catalog.db'}", **parts))
        return made[-1]

    yield make
    for lab in made:
        lab.services.catalog.close()


@pytest.fixture
def lab(make_lab: Callable[..., GcLab]) -> GcLab:
    return make_lab()


@pytest.fixture
def s3_lab(make_lab: Callable[..., GcLab], moto_s3) -> GcLab:
    storage = Storage.model_validate(moto_s3.storage())
    return make_lab(lake=f"s3://{moto_s3.new_bucket()}/lake", storage=storage, environ=moto_s3.environ)
