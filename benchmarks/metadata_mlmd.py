"""``ml-metadata``'s side of ``metadata_store.py``; run by the Python that has it, prints its measures as JSON."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import metadata_work as work
import ml_metadata
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

VALUES = {"INT": "int_value", "DOUBLE": "double_value", "STRING": "string_value", "BOOLEAN": "bool_value"}
MAX_HOPS = 100
"""MLMD's own limit on ``max_num_hops``."""


class Mlmd:
    """The real thing, on an SQLite file in WAL mode."""

    def open(self, path: Path) -> None:
        connect(path)
        with sqlite3.connect(path) as connection:
            (self.journal_mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.close()
        self.store = connect(path)
        data = proto.ArtifactType(name="Data")
        for name, kind in work.PROPERTIES.items():
            data.properties[name] = proto.PropertyType.Value(kind)
        self.data = self.store.put_artifact_type(data)
        self.train = self.store.put_execution_type(proto.ExecutionType(name="Train"))
        self.run = self.store.put_context_type(proto.ContextType(name="Run"))

    def close(self) -> None:
        del self.store

    def artifact(self, row: work.Row, artifact_id: int | None = None) -> Any:
        made = proto.Artifact(type_id=self.data, name=row.name)
        if row.uri is not None:
            made.uri = row.uri
        if artifact_id is not None:
            made.id = artifact_id
        for name, value in (row.properties or {}).items():
            setattr(made.properties[name], VALUES[work.PROPERTIES[name]], value)
        return made

    def put_artifacts(self, artifacts: Sequence[Any]) -> list[int]:
        return list(self.store.put_artifacts(artifacts))

    def put_context(self, name: str) -> int:
        (made,) = self.store.put_contexts([proto.Context(type_id=self.run, name=name)])
        return int(made)

    def prepare_execution(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any], context: str) -> Any:
        pairs = [(a, proto.Event(type=proto.Event.INPUT)) for a in inputs]
        pairs += [(a, proto.Event(type=proto.Event.OUTPUT)) for a in outputs]
        contexts = [proto.Context(type_id=self.run, name=context)]
        return proto.Execution(type_id=self.train, name=name), pairs, contexts

    def put_execution(self, prepared: Any) -> int:
        made, _artifacts, _contexts = self.store.put_execution(*prepared, reuse_context_if_already_exist=True)
        return int(made)

    def put_graph(
        self,
        executions: Sequence[str],
        artifacts: Sequence[work.Row],
        reads: Sequence[tuple[int, int]],
        writes: Sequence[tuple[int, int]],
    ) -> list[int]:
        edges = [(e, a, proto.Event(type=proto.Event.INPUT)) for e, a in reads]
        edges += [(e, a, proto.Event(type=proto.Event.OUTPUT)) for e, a in writes]
        _executions, made, _contexts = self.store.put_lineage_subgraph(
            [proto.Execution(type_id=self.train, name=name) for name in executions],
            [self.artifact(row) for row in artifacts],
            [],
            edges,
        )
        return list(made)

    def find(self, filter_query: str) -> list[Any]:
        return list(self.store.get_artifacts(metadata_store.ListOptions(filter_query=filter_query)))

    def by_ids(self, ids: Sequence[int]) -> list[Any]:
        return list(self.store.get_artifacts_by_id(ids))

    def by_name(self, name: str) -> Any:
        return self.store.get_artifact_by_type_and_name("Data", name)

    def everything(self) -> list[Any]:
        return list(self.store.get_artifacts())

    def newest(self, limit: int) -> list[Any]:
        options = metadata_store.ListOptions(limit=limit, order_by=metadata_store.OrderByField.ID, is_asc=False)
        return list(self.store.get_artifacts(options))

    def lineage(self, artifact_id: int) -> tuple[int, int, int]:
        artifacts: set[int] = set()
        executions: set[int] = set()
        start, calls = artifact_id, 0
        while True:
            graph = self._upstream(start)
            calls += 1
            artifacts.update(a.id for a in graph.artifacts)
            executions.update(e.id for e in graph.executions)
            # The next call starts where this one stopped. In the benchmark's graphs the artifacts' ids rise along the
            # way, and wherever 100 hops don't reach the end there is one artifact to go on from.
            lowest = min(a.id for a in graph.artifacts)
            if lowest == start or len(graph.executions) < MAX_HOPS // 2 or len(graph.executions) > MAX_HOPS:
                return len(artifacts), len(executions), calls
            start = lowest

    def _upstream(self, artifact_id: int) -> Any:
        options = proto.LineageSubgraphQueryOptions(
            max_num_hops=MAX_HOPS, direction=proto.LineageSubgraphQueryOptions.UPSTREAM
        )
        options.starting_artifacts.filter_query = f"id = {artifact_id}"
        return self.store.get_lineage_subgraph(options)

    def names(self, artifacts: Sequence[Any]) -> list[str]:
        return [a.name for a in artifacts]


def connect(path: Path) -> metadata_store.MetadataStore:
    config = proto.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = proto.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return metadata_store.MetadataStore(config)


def main() -> None:
    folder, size = Path(sys.argv[1]), sys.argv[2]
    side = Mlmd()
    measures = work.run(side, folder, work.FULL if size == "full" else work.QUICK)
    versions = {"version": ml_metadata.__version__, "journal_mode": side.journal_mode}
    print(json.dumps({**versions, "measures": measures}))


if __name__ == "__main__":
    main()
