"""lakecat's side of ``metadata_store.py``: prints its measures as JSON."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import metadata_work as work

from lakecat.catalog import MetadataStore, sqlite
from lakecat.catalog.enums import EventType, PropertyType
from lakecat.catalog.metadata_store import values


class Lakecat:
    """``lakecat.catalog.MetadataStore`` on an SQLite file, as it opens it."""

    journal_mode = ""

    def open(self, path: Path) -> None:
        self.store = MetadataStore.open(f"sqlite:///{path}", create=True)
        with closing(sqlite3.connect(path)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        # TRUNCATE is not kept in the file: another connection calls it by the default's name.
        self.journal_mode = "wal" if mode == "wal" else "truncate"
        kinds = {name: PropertyType[kind] for name, kind in work.PROPERTIES.items()}
        self.data = self.store.put_artifact_type(values.ArtifactType(name="Data", properties=kinds))
        self.train = self.store.put_execution_type(values.ExecutionType(name="Train"))
        self.run = self.store.put_context_type(values.ContextType(name="Run"))

    def close(self) -> None:
        self.store.close()

    def artifact(self, row: work.Row, artifact_id: int | None = None) -> values.Artifact:
        return values.Artifact(
            type_id=self.data, id=artifact_id, name=row.name, uri=row.uri, properties=row.properties or {}
        )

    def put_artifacts(self, artifacts: Sequence[Any]) -> list[int]:
        return list(self.store.put_artifacts(artifacts))

    def put_context(self, name: str) -> int:
        (made,) = self.store.put_contexts([values.Context(type_id=self.run, name=name)])
        return made

    def prepare_execution(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any], context: str) -> Any:
        pairs = [(a, values.Event(type=EventType.INPUT)) for a in inputs]
        pairs += [(a, values.Event(type=EventType.OUTPUT)) for a in outputs]
        contexts = [values.Context(type_id=self.run, name=context)]
        return values.Execution(type_id=self.train, name=name), pairs, contexts

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
        edges = [(e, a, values.Event(type=EventType.INPUT)) for e, a in reads]
        edges += [(e, a, values.Event(type=EventType.OUTPUT)) for e, a in writes]
        _executions, made, _contexts = self.store.put_lineage_subgraph(
            [values.Execution(type_id=self.train, name=name) for name in executions],
            [self.artifact(row) for row in artifacts],
            [],
            edges,
        )
        return list(made)

    def find(self, filter_query: str) -> list[Any]:
        return list(self.store.get_artifacts(values.ListOptions(filter_query=filter_query)))

    def by_ids(self, ids: Sequence[int]) -> list[Any]:
        return list(self.store.get_artifacts_by_id(ids))

    def by_name(self, name: str) -> Any:
        return self.store.get_artifact_by_type_and_name("Data", name)

    def everything(self) -> list[Any]:
        return list(self.store.get_artifacts())

    def newest(self, limit: int) -> list[Any]:
        options = values.ListOptions(limit=limit, order_by=values.OrderByField.ID, is_asc=False)
        return list(self.store.get_artifacts(options))

    def lineage(self, artifact_id: int) -> tuple[int, int, int]:
        graph = self.store.lineage(artifact_ids=[artifact_id], direction="up")
        assert not graph.truncated, graph.truncated
        return len(graph.artifacts), len(graph.executions), 1

    def names(self, artifacts: Sequence[Any]) -> list[str]:
        return [a.name for a in artifacts]


def main() -> None:
    folder, size, journal = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if journal == "wal":
        # One connection at a time, so that the bug for which lakecat avoids WAL on older SQLite cannot happen here.
        sqlite.wal_is_safe = lambda _version: True
    side = Lakecat()
    measures = work.run(side, folder, work.FULL if size == "full" else work.QUICK)
    print(json.dumps({"version": version("lakecat"), "journal_mode": side.journal_mode, "measures": measures}))


if __name__ == "__main__":
    main()
