from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakecat import ingest
from lakecat.catalog import Catalog, Holder
from lakecat.config import load_settings
from lakecat.engines import DuckDBEngine
from lakecat.landing import Services
from lakecat.store import LakeStore
from lakecat.tables import Scan, load_state
from lakecat.transform import Status, TransformEvent, TransformPlan, TransformResult, load_scripts, plan, run
from lakecat.types import DatasetName, Version, VersionRef


@dataclass
class Project:
    """A real project in a folder: SQLite, a local lake, DuckDB."""

    root: Path
    services: Services
    events: list[TransformEvent] = field(default_factory=list)

    def script(self, path: str, text: str) -> None:
        file = self.root / "transforms" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def put(self, name: str, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> Version:
        """Append rows to a table, creating it first."""
        ingest.append(self.services, DatasetName.parse(name), pa.Table.from_pylist(rows, schema=schema))
        return self.version(name)

    def replace(self, name: str, rows: list[dict[str, Any]]) -> Version:
        ingest.replace(self.services, DatasetName.parse(name), pa.Table.from_pylist(rows))
        return self.version(name)

    def plan(self, *select: str, **options: Any) -> TransformPlan:
        return plan(self.services, load_scripts(self.services.settings), select, **options)

    def reasons(self, *select: str, **options: Any) -> dict[str, tuple[bool, tuple[str, ...]]]:
        return {step.script.name: (step.runs, step.decision.reasons) for step in self.plan(*select, **options).steps}

    def run(self, *select: str, **options: Any) -> dict[str, TransformResult]:
        results = run(self.services, self.plan(*select, **options), self.events.append)
        return {result.script.name: result for result in results}

    def done(self, *select: str, **options: Any) -> dict[str, TransformResult]:
        """Run, and fail the test with the error of the first script that failed."""
        results = self.run(*select, **options)
        for result in results.values():
            if result.error is not None:
                raise result.error
        return results

    def statuses(self, *select: str, **options: Any) -> dict[str, Status]:
        return {name: result.status for name, result in self.run(*select, **options).items()}

    def version(self, name: str) -> Version:
        return self.services.catalog.resolve(VersionRef.parse(name))

    def exists(self, name: str) -> bool:
        return name in {str(info.name) for info in self.services.catalog.datasets()}

    def columns(self, name: str) -> list[tuple[str, str, int]]:
        return [(c.name, c.type, c.field_id) for c in self.services.catalog.schema(self.version(name))]

    def rows(self, ref: str) -> list[dict[str, Any]]:
        """All rows of a version, sorted."""
        version = self.services.catalog.resolve(VersionRef.parse(ref))
        state = load_state(
            self.services.store, self.services.catalog.metadata_location(DatasetName.parse(ref.partition("@")[0]))
        )
        scan = Scan(state, version.snapshot_id)
        engine = DuckDBEngine(self.services.store, self.services.settings.engine)
        with engine.session({version.dataset: scan}) as session:
            found = session.query(f'SELECT * FROM "{version.dataset.namespace}"."{version.dataset.name}"')
            return sorted(found.read_all().to_pylist(), key=lambda row: repr(sorted(row.items(), key=str)))

    def clean(self) -> None:
        assert self.services.catalog.integrity() == ()


def open_services(root: Path, environ: Mapping[str, str] | None = None) -> Services:
    settings = load_settings(root, environ=environ or {})
    return Services(
        settings=settings,
        store=LakeStore.open(settings.lake),
        catalog=Catalog.open(settings.catalog, create=True),
        clock=lambda: datetime.now(UTC),
        holder=Holder("host", os.getpid(), "tester", "pytest"),
        environ={},
    )


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    opened: list[Services] = []

    def make(config: str = "", folder: str = "project") -> Project:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        (root / "lakecat.yaml").write_text(config or "project: test\n")
        services = open_services(root)
        opened.append(services)
        return Project(root, services)

    yield make
    for services in opened:
        services.catalog.close()


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()
