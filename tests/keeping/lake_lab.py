"""A project with several jobs and scripts, and a dump of what its catalog says, without numeric ids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import URL

import lakecat
from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.tables import RenameColumn

WORKER = Path(__file__).with_name("keeping_worker.py")
CONFIG = """\
project: shop
lake: ./lake
catalog: {{url: {url}, password: {password}}}
retention: {{snapshots: 2, age: 1ms, metadata_versions: 1, grace: 1ms}}
"""
ORDERS = """\
connector: files
target: raw.orders
mode: append
options:
  path: landing/orders/*.csv
columns:
  id: long
  amount: double
"""
RETURNS = """\
connector: files
target: raw.returns
quarantine: {max_rows: 1, max_fraction: 0.5}
options:
  path: landing/returns/*.csv
columns:
  id: long
"""
REVENUE = "SELECT customer, sum(amount) AS revenue FROM raw.orders GROUP BY customer"
LOG = "INSERT INTO mart.log SELECT id, amount FROM table_changes('raw.orders')"


class Project:
    """The project's folder, and its catalog's URL."""

    def __init__(self, root: Path, url: URL) -> None:
        self.root, self.url = root, url
        (root / "ingest").mkdir(parents=True)
        secret = "null" if url.password is None else f"file:{root}/password"
        (root / "password").write_text(str(url.password))
        text = url._replace(password=None).render_as_string()
        (root / "landing/orders").mkdir(parents=True)
        (root / "transforms/mart").mkdir(parents=True)
        (root / "lakecat.yaml").write_text(CONFIG.format(url=repr(text), password=secret))
        (root / "ingest/orders.yaml").write_text(ORDERS)
        (root / "transforms/mart/revenue.sql").write_text(REVENUE)
        (root / "transforms/mart/log.sql").write_text(LOG)

    def land(self, day: int) -> None:
        rows = "".join(f"{day * 10 + n},c{n},{day}.5\n" for n in range(3))
        (self.root / f"landing/orders/{day}.csv").write_text(f"id,customer,amount\n{rows}")

    def land_returns(self) -> None:
        """Two files, of which one has a row that goes to the quarantine."""
        (self.root / "landing/returns").mkdir()
        (self.root / "landing/returns/1.csv").write_text("id\n1\n2\n3\n")
        (self.root / "landing/returns/2.csv").write_text("id\n4\nx\n")
        (self.root / "ingest/returns.yaml").write_text(RETURNS)

    def connect(self) -> lakecat.Lake:
        return lakecat.connect(self.root)

    def process(self, *arguments: str, failpoint: str = "") -> int:
        """Run the worker in a process of its own; its exit code."""
        command = [sys.executable, str(WORKER), str(self.root), *arguments]
        return subprocess.run(command, env={**os.environ, "LAKECAT_FAILPOINT": failpoint}, check=False).returncode

    def work(self) -> None:
        """Jobs, transforms, merges, deletes, a rename, a failure, expiry and a collection."""
        with self.connect() as lake:
            for day in range(1, 5):
                self.land(day)
                lake.ingest().raise_failures()
                lake.run().raise_failures()
            people = pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]})
            lake.append("raw.people", people)
            lake.merge("raw.people", pa.table({"id": [3, 4], "name": ["z", "d"]}), key=["id"])
            lake.delete("raw.people", pa.table({"id": [1]}), key=["id"])
            lake.alter("raw.people", RenameColumn(("name",), "full_name"))
            (self.root / "landing/orders/9.csv").write_text("id,customer,amount\nx,y,z\n")
            assert lake.ingest().failures
            (self.root / "landing/orders/9.csv").unlink()
            self.land_returns()
            lake.ingest("returns").raise_failures()
            lake.gc(apply=True, max_delete_fraction=1)
            lake.append("raw.people", pa.table({"id": [7], "full_name": ["g"]}))


Rows = list[tuple[Any, ...]]


def claimed(catalog: Catalog) -> dict[str, Rows]:
    """All that a rebuild claims to recover, in words instead of numeric ids: of executions that made versions."""
    with catalog.database.reading() as connection:
        return _Dump(connection).all()


class _Dump:
    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        types = {row.id: row.name for row in self.rows(s.type_)}
        self.context = {row.id: (types[row.type_id], row.name) for row in self.rows(s.context)}
        self.artifact = {row.id: (types[row.type_id], row.name) for row in self.rows(s.artifact)}
        made = {row.execution_id for row in self.rows(s.version)}
        self.kept = {row.execution_id: row.uuid for row in self.rows(s.lake_execution) if row.execution_id in made}
        self.seen = {row.artifact_id for row in self.rows(s.event) if row.execution_id in self.kept}
        self.seen |= {row.artifact_id for row in self.rows(s.lake_schema)}

    def rows(self, table: sa.Table) -> list[Any]:
        return list(self.connection.execute(sa.select(table)))

    def table(self, table: sa.Table, *without: str) -> Rows:
        """Its rows by names; those of executions and artifacts that are not claimed are left out."""
        names = {
            "dataset_id": self.context, "context_id": self.context, "parent_context_id": self.context,
            "artifact_id": self.artifact, "input_artifact_id": self.artifact, "output_artifact_id": self.artifact,
            "execution_id": self.kept,
        }  # fmt: skip
        found = []
        for row in self.rows(table):
            values = row._asdict()
            if values.get("execution_id", next(iter(self.kept))) not in self.kept:
                continue
            if "context_id" in values and values.get("artifact_id", next(iter(self.seen))) not in self.seen:
                continue
            found.append(
                tuple(
                    names[key][value] if key in names and value is not None else value
                    for key, value in values.items()
                    if key not in ("id", *without)
                )
            )
        return sorted(found, key=repr)

    def all(self) -> dict[str, Rows]:
        paths = {row.event_id: row.step_key for row in self.rows(s.event_path)}
        events = [
            (self.kept[e.execution_id], self.artifact[e.artifact_id], e.type, e.milliseconds_since_epoch, paths[e.id])
            for e in self.rows(s.event)
            if e.execution_id in self.kept
        ]
        artifacts = [
            (self.artifact[a.id], a.uri, a.state, a.create_time_since_epoch, a.last_update_time_since_epoch)
            for a in self.rows(s.artifact)
            if a.id in self.seen
        ]
        properties = [
            (self.artifact[p.artifact_id], *p[1:]) for p in self.rows(s.artifact_property) if p.artifact_id in self.seen
        ]
        states = [
            (self.kept[e.id], e.last_known_state, e.create_time_since_epoch, e.last_update_time_since_epoch)
            for e in self.rows(s.execution)
            if e.id in self.kept
        ]
        collected = [(self.context[v.dataset_id], v.version, v.collected_ms is None) for v in self.rows(s.version)]
        return {
            "events": sorted(events), "artifacts": sorted(artifacts, key=repr), "states": sorted(states),
            "properties": sorted(properties, key=repr), "collected": sorted(collected),
            "versions": self.table(s.version, "collected_ms"), "executions": self.table(s.lake_execution, "attempt"),
            "execution properties": self.table(s.execution_property), "intents": self.table(s.intent),
            "edges": self.table(s.column_edge), "dataset edges": self.table(s.dataset_edge),
            "positions": self.table(s.position), "files": self.table(s.loaded_file),
            "schemas": self.table(s.lake_schema), "columns": self.table(s.schema_column),
            "associations": self.table(s.association), "attributions": self.table(s.attribution),
            "parents": self.table(s.parent_context), "pointers": self.table(s.iceberg_tables),
            "namespaces": self.table(s.iceberg_namespace_properties),
        }  # fmt: skip
