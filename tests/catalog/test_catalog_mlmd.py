"""The real ml-metadata 1.17.1 opens an SQLite catalog that lakecat wrote, and writes to it.

It runs in a process and an environment of its own (``LAKECAT_MLMD_PYTHON``): it brings an SQLite of its own, and two
SQLites in one process break each other's locks.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lakecat.catalog import Catalog, Script
from lakecat.types import DatasetName, SourceRead, VersionRef

READER = r"""
import json, sys
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb
config = pb.ConnectionConfig()
config.sqlite.filename_uri = sys.argv[1]
config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE
store = metadata_store.MetadataStore(config)
def value(v):
    return getattr(v, v.WhichOneof("value"))
def plain(node, state):
    return {"name": node.name, "state": state, "properties": {k: value(v) for k, v in node.properties.items()},
            "custom": {k: value(v) for k, v in node.custom_properties.items()}, "id": node.id}
types = {t.id: t.name for t in store.get_artifact_types() + store.get_execution_types() + store.get_context_types()}
artifacts = {a.id: {**plain(a, pb.Artifact.State.Name(a.state)), "uri": a.uri, "type": types[a.type_id]}
             for a in store.get_artifacts()}
executions = {e.id: {**plain(e, pb.Execution.State.Name(e.last_known_state)), "type": types[e.type_id]}
              for e in store.get_executions()}
events = [{"artifact": e.artifact_id, "execution": e.execution_id, "type": pb.Event.Type.Name(e.type),
           "path": [s.key for s in e.path.steps]} for e in store.get_events_by_execution_ids(list(executions))]
contexts = {c.id: {"name": c.name, "type": types[c.type_id],
                   "artifacts": sorted(a.id for a in store.get_artifacts_by_context(c.id)),
                   "executions": sorted(e.id for e in store.get_executions_by_context(c.id))}
            for c in store.get_contexts()}
note = pb.ArtifactType(name="Note"); note.properties["text"] = pb.STRING
made = pb.Artifact(type_id=store.put_artifact_type(note), uri="note://1", name="a note")
made.properties["text"].string_value = "written by ml-metadata"
[made_id] = store.put_artifacts([made])
reader = pb.Execution(type_id=store.put_execution_type(pb.ExecutionType(name="Reader")))
reader.last_known_state = pb.Execution.COMPLETE
[reader_id] = store.put_executions([reader])
store.put_events([pb.Event(artifact_id=int(sys.argv[2]), execution_id=reader_id, type=pb.Event.INPUT),
                  pb.Event(artifact_id=made_id, execution_id=reader_id, type=pb.Event.OUTPUT)])
print(json.dumps({"artifacts": artifacts, "executions": executions, "events": events, "contexts": contexts,
                  "simple": [store.get_artifact_type("mlmd.Model").id, store.get_execution_type("mlmd.Train").id]}))
"""


@pytest.fixture
def mlmd_python(missing: Callable[[str], NoReturn]) -> str:
    python = os.environ.get("LAKECAT_MLMD_PYTHON")
    if not python or not Path(python).exists():
        missing("no ml-metadata: set LAKECAT_MLMD_PYTHON to the python of an environment with ml-metadata==1.17.1")
    return python


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_ml_metadata_finds_everything_and_lakecat_reads_what_it_writes(bench, mlmd_python):
    raw = bench.load("raw.orders", sources=(SourceRead("s3://b/a.csv", 3, 10, {"etag": "e", "share": 0.25}),))
    script = Script("SELECT 1", "ab" * 32, "transforms/mart/orders.sql", "duckdb")
    mart = bench.load("mart.orders", inputs=(raw,), script=script)
    _, failed = bench.begin("raw.orders", properties={"parameters": {"day": 1}, "dry": True})
    bench.catalog.fail(failed, "boom")
    bench.catalog.close()

    command = [mlmd_python, "-c", READER, bench.url.database, str(mart.artifact_id)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])

    artifact = seen["artifacts"][str(raw.artifact_id)]
    assert (artifact["type"], artifact["name"], artifact["uri"]) == (
        "lakecat.TableVersion", "raw.orders@v1", raw.metadata_location,
    )  # fmt: skip
    assert artifact["state"] == "LIVE"
    assert artifact["properties"] == {
        "dataset": "raw.orders", "version": 1, "snapshot_id": raw.snapshot_id, "operation": "append", "rows": 3,
        "added_rows": 3, "removed_rows": 0, "files": 1, "bytes": raw.bytes, "schema": raw.schema_fingerprint,
    }  # fmt: skip
    by_type = {a["type"]: a for a in seen["artifacts"].values()}
    assert by_type["lakecat.Source"]["uri"] == "s3://b/a.csv"
    assert by_type["lakecat.Source"]["custom"] == {"etag": "e", "share": 0.25}
    assert by_type["lakecat.Script"]["properties"]["text"] == "SELECT 1"
    assert "columns" in by_type["lakecat.Schema"]["properties"]

    states = {e["type"]: set() for e in seen["executions"].values()}
    for execution in seen["executions"].values():
        states[execution["type"]].add(execution["state"])
    assert states == {"lakecat.Ingest": {"COMPLETE", "FAILED"}, "lakecat.Transform": {"COMPLETE"}}
    broken = seen["executions"][str(failed.execution_id)]
    assert broken["properties"]["error"] == "boom"
    assert broken["properties"]["pid"] == 1
    assert broken["custom"] == {"parameters": '{"day": 1}', "dry": True}

    events = {(e["execution"], e["artifact"], e["type"], *e["path"]) for e in seen["events"]}
    assert (mart.execution_id, raw.artifact_id, "INPUT", "raw.orders") in events
    assert (mart.execution_id, mart.artifact_id, "OUTPUT", "mart.orders") in events
    assert {e[3] for e in events if e[0] == raw.execution_id} == {"source", "raw.orders"}
    assert {e[3] for e in events if e[0] == mart.execution_id} == {"script", "raw.orders", "mart.orders"}

    contexts = {(c["type"], c["name"]): c for c in seen["contexts"].values()}
    dataset = contexts["lakecat.Dataset", "raw.orders"]
    assert raw.artifact_id in dataset["artifacts"]
    assert dataset["executions"] == [raw.execution_id, failed.execution_id]
    assert mart.artifact_id in contexts["lakecat.Job", "load mart.orders"]["artifacts"]
    assert seen["simple"][0] != seen["simple"][1]

    with Catalog.open(bench.url) as catalog:
        graph = catalog.lineage(VersionRef(DatasetName("mart", "orders")), "down")
        assert {node.label for node in graph.nodes if node.kind == "artifact"} == {"note://1"}
        assert catalog.integrity() == ()
