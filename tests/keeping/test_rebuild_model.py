"""Random histories of commits, kills and lost receipts: what a rebuild believes is what has happened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.catalog import Catalog
from lakecat.rebuild import Heads
from lakecat.rebuild.spool import Spool, newest_chain
from lakecat.rebuild.work import _Rebuild
from lakecat.store import StoredObject

ROOT = "file:///lake"
NAMES = ("raw.a", "raw.b")


@dataclass
class Model:
    """The lake's files, and what has really been committed, by table: locations in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    happened: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})
    staged_last: dict[str, str] = field(default_factory=dict)
    turn: int = 0
    url: str = ROOT

    def attempt(self, tables: tuple[str, ...], outcome: str, reads: bool) -> None:
        """One process's try at a commit of these tables."""
        self.turn += 1
        uuid = f"00000000-0000-0000-0000-{self.turn:012d}"
        read = [name for name in NAMES if reads and name not in tables and self.happened[name]]
        inputs = [
            {"dataset": name, "version": len(self.happened[name]), "snapshot_id": int(self.happened[name][-1][-17:-14])}
            for name in read
        ]
        made = {name: self._sidecar(name, tables, uuid, inputs) for name in tables}
        if outcome == "cleaned":
            return
        staged = dict(list(made.items())[:1]) if outcome == "half" else made
        self.files |= {location.replace(".metadata.json", ".lakecat.json"): text for location, text in staged.values()}
        if outcome == "half" and len(tables) == 1:
            self.staged_last[tables[0]] = staged[tables[0]][0]
        if outcome in ("killed", "receipt", "no receipt", "one receipt"):
            self.staged_last |= {name: location for name, (location, _) in made.items()}
        if outcome in ("receipt", "no receipt", "one receipt"):
            for name, (location, _) in made.items():
                self.happened[name].append(location)
        receipts = {"receipt": len(made), "one receipt": 1}.get(outcome, 0)
        for location, _ in list(made.values())[:receipts]:
            self.files[location.replace(".metadata.json", ".lakecat.committed")] = b""

    def _sidecar(self, name: str, tables: tuple[str, ...], uuid: str, inputs: list[Any]) -> tuple[str, bytes]:
        chain = self.happened[name]
        location = f"{ROOT}/{name.replace('.', '/')}/metadata/{uuid}/{len(chain):05d}-{self.turn:03d}.metadata.json"
        commit = {
            "commit": uuid, "tables": list(tables), "execution": uuid, "type": "lakecat.Ingest", "job": "job",
            "project": None, "run_key": None, "lease": "job", "fence": self.turn, "targets": list(tables),
            "started_at": datetime.fromtimestamp(self.turn, UTC).isoformat(), "committed_ms": self.turn * 1000 + 500,
            "holder": {"host": "h", "pid": 1, "user": "u", "command": "c"}, "prefixes": [], "version": len(chain) + 1,
            "whole": False, "properties": {}, "inputs": inputs, "script": None, "sources": [], "positions": {},
            "files": {}, "edges": [], "other_edges": [],
        }  # fmt: skip
        sidecar = {
            "format": 2, "dataset": name, "table_uuid": "t", "snapshot_id": self.turn,
            "sequence_number": len(chain) + 1, "timestamp_ms": self.turn * 1000, "operation": "append",
            "metadata_location": location,
            "base_location": chain[-1] if chain else None, "expired_snapshot_ids": [], "totals": None, "columns": None,
            "commit": commit,
        }  # fmt: skip
        return location, json.dumps(sidecar).encode()

    # what a store answers

    def list(self, _prefix: str) -> Iterator[StoredObject]:
        for location in sorted(self.files):
            yield StoredObject(location, 1, datetime.now(UTC))

    def read(self, location: str) -> bytes:
        return self.files[location]


ATTEMPTS = st.lists(
    st.tuples(
        st.sampled_from([("raw.a",), ("raw.b",), NAMES]),
        st.sampled_from(["receipt", "no receipt", "one receipt", "killed", "half", "cleaned"]),
        st.booleans(),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    path = tmp_path_factory.mktemp("model") / "catalog.db"
    with Catalog.open(f"sqlite:///{path}", create=True) as made:
        yield made


@settings(max_examples=150, deadline=None)
@given(attempts=ATTEMPTS)
def test_what_is_believed_has_happened(catalog: Catalog, attempts: list[Any], tmp_path_factory: Any) -> None:
    model = Model()
    for tables, outcome, reads in attempts:
        model.attempt(tables, outcome, reads)
    for heads in (None, Heads.NEWEST):
        path: Path = tmp_path_factory.mktemp("spool") / "spool.db"
        with Spool(path, model) as spool, catalog.database.reading() as connection:  # type: ignore[arg-type]
            spool.scan(lambda _count: None)
            assert spool.damaged == []
            work = _Rebuild(SimpleNamespace(store=model), spool, connection, heads, lambda *_: None)  # type: ignore[arg-type]
            work._decide(spool.datasets())
            open_ = {str(one.dataset): one.metadata_location for one in work._undecided}
            for name in NAMES:
                chain, others = newest_chain(spool.entries(name))
                believed, happened = [one.location for one in chain], model.happened[name]
                assert others == []
                if heads is None:
                    # Nothing that has not happened; and what is left out of what has is told.
                    assert believed == happened[: len(believed)]
                    assert happened[len(believed) :] in ([], [open_.get(name)])
                else:
                    # All that has happened; and at most the last attempt besides, whole, if it could have.
                    assert believed[: len(happened)] == happened
                    assert believed[len(happened) :] in ([], [model.staged_last.get(name)])
