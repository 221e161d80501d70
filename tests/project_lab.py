"""A project in a folder, with a real SQLite catalog and a local lake, and the questions that tests ask of it."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from lakecat.catalog import Catalog
from lakecat.config import IngestJob, load_jobs
from lakecat.ingest import IngestResult, run_job
from lakecat.landing import Services, current_state
from lakecat.tables import Scan, read
from lakecat.types import DatasetName

WORKER = Path(__file__).parent / "ingest" / "ingest_worker.py"

# A fork server imports PyIceberg once for all the processes that the tests kill.
sys.path.insert(0, str(WORKER.parent))
worker = importlib.import_module("ingest_worker")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["ingest_worker"])

LOCAL = "project: tests\nlake: ./lake\ncatalog: sqlite:///./catalog.db\n"


class Project:
    """A project's folder, its services, and the questions that the tests ask."""

    def __init__(self, root: Path, settings: str = LOCAL) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "ingest").mkdir(exist_ok=True)
        (root / "lakecat.yaml").write_text(settings)
        self.services: Services = worker.make_services(root)

    @property
    def catalog(self) -> Catalog:
        return self.services.catalog

    def put(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def job(self, name: str, **keys: Any) -> IngestJob:
        self.put(f"ingest/{name}.yaml", yaml.safe_dump(keys, sort_keys=False))
        return next(job for job in load_jobs(self.services.settings) if job.name == name)

    def run(self, job: IngestJob) -> tuple[IngestResult, ...]:
        return run_job(self.services, job)

    def table(self, name: str) -> pa.Table:
        state = current_state(self.services, DatasetName.parse(name))
        assert state is not None, f"{name} is not there"
        return read(self.services.store, Scan(state)).read_all()

    def rows(self, name: str) -> Counter[tuple[Any, ...]]:
        """The table's rows as a multiset."""
        table = self.table(name)
        return Counter(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def exists(self, name: str) -> bool:
        return current_state(self.services, DatasetName.parse(name)) is not None

    def clean(self) -> None:
        """Nothing is wrong in the catalog, and nothing needs a look."""
        assert self.catalog.integrity() == ()

    def data_files(self) -> list[Path]:
        return sorted((self.root / "lake").rglob("*.parquet"))

    def start(self, *arguments: str, failpoint: str = "") -> subprocess.Popen[str]:
        environ = {**os.environ, "LAKECAT_FAILPOINT": failpoint}
        return subprocess.Popen(
            [sys.executable, str(WORKER), str(self.root), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def process(self, *arguments: str, failpoint: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Run the worker to its end: exit code and the JSON lines it said. Its stderr must be empty, also in errors."""
        said, complained = self.root / "said", self.root / "complained"
        environ = {**os.environ, "LAKECAT_FAILPOINT": failpoint}
        process = _FORKS.Process(
            target=worker.forked, args=(environ, str(self.root), arguments, str(said), str(complained))
        )
        process.start()
        process.join(timeout=120)
        assert complained.read_text() == ""
        assert process.exitcode is not None, "the process does not end"
        return process.exitcode, [json.loads(line) for line in said.read_text().splitlines()]
