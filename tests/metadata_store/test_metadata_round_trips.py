"""What the store costs on PostgreSQL, counted on the wire; beside it what the real ML Metadata costs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import NoReturn

import psycopg
from sqlalchemy.engine import URL
from wire import Wire

from lakecat.catalog import MetadataStore
from lakecat.catalog.enums import EventType, PropertyType
from lakecat.catalog.metadata_store.values import (
    Artifact,
    ArtifactType,
    Context,
    ContextType,
    Event,
    Execution,
    ExecutionType,
)

MOST = 8
"""Round trips of a put_execution; ML Metadata takes about five times as many."""


def test_the_counter_sees_what_a_driver_sends_of_its_own_accord(postgres_url: URL) -> None:
    with Wire.before(postgres_url) as wire:
        url = wire.through(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            with wire.counting() as count:
                connection.execute("SELECT 1")
                connection.execute("SELECT 2")
                connection.commit()
            assert count.round_trips == 4, "BEGIN, two statements, COMMIT"
            with wire.counting() as count:
                connection.autocommit = True
                connection.execute("SELECT 3")
            assert count.round_trips == 1
            with wire.counting() as count, connection.pipeline():
                cursors = [connection.execute("SELECT %s::int", [number]) for number in range(20)]
            assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(20)]
            assert count.round_trips < 20


class Putter:
    """A store with types, a context and two artifacts, and executions to put."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        kinds = {"rows": PropertyType.INT, "digest": PropertyType.STRING}
        self.data = store.put_artifact_type(ArtifactType(name="Data", properties=kinds))
        self.train = store.put_execution_type(ExecutionType(name="Train", properties=kinds))
        self.run = store.put_context_type(ContextType(name="Run"))
        self.context = Context(type_id=self.run, name="run")
        ids = store.put_artifacts([self.artifact(name) for name in ("one", "two")])
        self.inputs = [self.artifact(name, key) for name, key in zip(("one", "two"), ids, strict=True)]

    def artifact(self, name: str, key: int | None = None) -> Artifact:
        return Artifact(type_id=self.data, id=key, name=name, uri=f"s3://{name}", properties={"rows": 1, "digest": "x"})

    def put(self, name: str, *, inputs: list[Artifact] | None = None, context: Context | None = None) -> int:
        pairs = [
            (artifact, Event(type=EventType.INPUT, path=("role", n)))
            for n, artifact in enumerate(self.inputs if inputs is None else inputs)
        ]
        pairs.append((self.artifact(f"{name} out"), Event(type=EventType.OUTPUT, path=("model",))))
        execution = Execution(type_id=self.train, name=name, properties={"rows": 2}, custom_properties={"x": "y"})
        made, artifacts, contexts = self.store.put_execution(
            execution, pairs, [context or self.context], reuse_context_if_already_exist=True
        )
        assert len(artifacts) == 3
        assert len(contexts) == 1
        return made


def test_an_execution_is_put_in_few_round_trips(postgres_url: URL) -> None:
    with Wire.before(postgres_url) as wire, MetadataStore.open(wire.through(postgres_url), create=True) as store:
        putter = Putter(store)
        putter.put("first")
        costs = {}
        with wire.counting() as costs["stored inputs and context"]:
            made = putter.put("second")
        with wire.counting() as costs["all new"]:
            putter.put(
                "third",
                inputs=[putter.artifact(name) for name in ("three", "four")],
                context=Context(type_id=putter.run, name="other run"),
            )
        changed = [putter.artifact("one", putter.inputs[0].id), putter.inputs[1]]
        changed[0] = Artifact(type_id=putter.data, id=putter.inputs[0].id, uri="s3://elsewhere")
        with wire.counting() as costs["a changed input"]:
            putter.put("fourth", inputs=changed)
        found = store.get_events_by_execution_ids([made])
        assert sorted((e.type, e.path) for e in found) == [
            (EventType.INPUT, ("role", 0)),
            (EventType.INPUT, ("role", 1)),
            (EventType.OUTPUT, ("model",)),
        ]
    print({name: count.round_trips for name, count in costs.items()})
    assert costs["stored inputs and context"].round_trips <= MOST
    assert costs["all new"].round_trips <= MOST
    assert costs["a changed input"].round_trips <= MOST + 2, "locked and read once more, so that no change is lost"


MLMD = """
import sys
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto
config = proto.ConnectionConfig()
host, port, database, user, password = sys.argv[1:]
config.postgresql.host, config.postgresql.port, config.postgresql.dbname = host, port, database
config.postgresql.user, config.postgresql.password = user, password
store = metadata_store.MetadataStore(config)
data = store.put_artifact_type(proto.ArtifactType(name="Data"))
train = store.put_execution_type(proto.ExecutionType(name="Train"))
run = store.put_context_type(proto.ContextType(name="Run"))
ids = store.put_artifacts([proto.Artifact(type_id=data, name=name) for name in ("one", "two")])
def put(name):
    pairs = [(proto.Artifact(type_id=data, id=key), proto.Event(type=proto.Event.INPUT)) for key in ids]
    pairs.append((proto.Artifact(type_id=data, name=name), proto.Event(type=proto.Event.OUTPUT)))
    context = proto.Context(type_id=run, name="run")
    store.put_execution(proto.Execution(type_id=train, name=name), pairs, [context], True)
put("first")
print("ready", flush=True)
sys.stdin.readline()
put("second")
print("done", flush=True)
"""


def test_ml_metadata_takes_several_times_as_many(postgres_url: URL, missing: Callable[[str], NoReturn]) -> None:
    python = os.environ.get("LAKECAT_MLMD_PYTHON")
    if not python:
        missing("no ml-metadata: set LAKECAT_MLMD_PYTHON to the python of an environment with ml-metadata==1.17.1")
    with Wire.before(postgres_url) as wire:
        url = wire.through(postgres_url)
        where = [str(part) for part in (url.host, url.port, url.database, url.username, url.password)]
        with subprocess.Popen(
            [python, "-c", MLMD, *where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            with wire.counting() as count:
                process.stdin.write("\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"
    print({"ml-metadata": count.round_trips})
    assert count.round_trips > 3 * MOST
