"""Programs that know nothing of lakecat read what it wrote: PyIceberg the tables, ML Metadata the catalog."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from nyc_truth import all_flights, by_aircraft

pytestmark = pytest.mark.xdist_group("demo")

ASK_MLMD = """
import json, sys
from ml_metadata import errors, metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

config = pb.ConnectionConfig()
config.sqlite.filename_uri = sys.argv[1]
config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
store = metadata_store.MetadataStore(config)
flights = store.get_artifacts_by_type("lakecat.TableVersion")
newest = max((a for a in flights if a.name.startswith("raw.flights@")), key=lambda a: a.id)
events = store.get_events_by_artifact_ids([newest.id])
print(json.dumps({
    "versions": sorted(a.name for a in flights),
    "sources": len(store.get_artifacts_by_type("lakecat.Source")),
    "ingests": len(store.get_executions_by_type("lakecat.Ingest")),
    "states": sorted({pb.Execution.State.Name(e.last_known_state) for e in store.get_executions()}),
    "datasets": sorted(c.name for c in store.get_contexts_by_type("lakecat.Dataset")),
    "contexts_of_newest": sorted(c.name for c in store.get_contexts_by_artifact(newest.id)),
    "events_of_newest": sorted({pb.Event.Type.Name(e.type) for e in events}),
}))
"""

DATASETS = [
    "raw.airlines",
    "raw.airports",
    "raw.flights",
    "raw.planes",
    "raw.weather",
    "staging.aircraft",
    "staging.flights",
    "staging.weather",
    "warehouse.delay_by_carrier_month",
    "warehouse.delay_by_weather",
    "warehouse.late_aircraft",
]


def test_plain_pyiceberg_reads_the_tables(demo) -> None:  # type: ignore[no-untyped-def]
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lakecat", uri=f"sqlite:///{demo.folder}/catalog.db")
    try:
        found = [".".join(name) for space in catalog.list_namespaces() for name in catalog.list_tables(space)]
        assert sorted(found) == DATASETS
        flights = catalog.load_table("raw.flights").scan(selected_fields=("flight", "dep_delay")).to_arrow()
        assert flights.num_rows == len(all_flights())
        expected = sum(int(row["dep_delay"]) for row in all_flights() if row["dep_delay"] != "NA")
        assert sum(value for value in flights["dep_delay"].to_pylist() if value is not None) == expected
        late = catalog.load_table("raw.flights").scan(row_filter="dep_delay > 120").to_arrow()
        assert late.num_rows == sum(row["dep_delay"] != "NA" and int(row["dep_delay"]) > 120 for row in all_flights())
        aircraft = catalog.load_table("warehouse.late_aircraft").scan().to_arrow().to_pylist()
        assert {row["tailnum"]: (row["flights"], row["arr_delay_minutes"]) for row in aircraft} == by_aircraft()
    finally:
        catalog.engine.dispose()


@pytest.fixture(scope="module")
def mlmd(demo) -> dict[str, object]:  # type: ignore[no-untyped-def]
    python = os.environ.get("LAKECAT_MLMD_PYTHON")
    if not python:
        reason = "LAKECAT_MLMD_PYTHON names no Python with ml-metadata 1.17.1 (requirements/mlmd.txt)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    # A copy: the other process brings an SQLite of its own, and must not meet ours on one file.
    copy = Path(demo.folder) / "copy-for-mlmd.db"
    import sqlite3

    source, target = sqlite3.connect(demo.folder / "catalog.db"), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()
    done = subprocess.run([python, "-c", ASK_MLMD, str(copy)], capture_output=True, text=True, check=False)
    copy.unlink()
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_real_ml_metadata_finds_versions_executions_events_and_contexts(mlmd: dict[str, object]) -> None:
    assert mlmd["datasets"] == DATASETS
    assert {f"raw.flights@v{version}" for version in range(1, 32)} <= set(mlmd["versions"])  # type: ignore[call-overload]
    assert mlmd["ingests"] == 31 + 31 + 3
    assert mlmd["states"] == ["COMPLETE"]
    assert mlmd["events_of_newest"] == ["INPUT", "OUTPUT"]
    assert "raw.flights" in mlmd["contexts_of_newest"]  # type: ignore[operator]
