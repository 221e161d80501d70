"""The commit's sidecar: everything that the catalog is told in a commit, as JSON beside the table's metadata.

It is written before the transaction, so one that lies in the lake does not say that its commit has happened: the
receipt beside it does, and so does every later metadata file that was made from it. Format 1 (before there were
receipts) lacks some of the fields; what was not written down then is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic_core import from_json

from lakecat.catalog import sidecar_shape
from lakecat.catalog.recording import Numbers, Record
from lakecat.catalog.values import ColumnInfo, ExecutionStart, Holder, Lease, RunningExecution, Script
from lakecat.errors import CorruptFileError, SelectorError, Where
from lakecat.tables import Totals
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    EdgeKind,
    ExecutionType,
    FileVersion,
    Json,
    LoadedFile,
    Position,
    SourceRead,
)

NEWEST_FORMAT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRef:
    """A version that the execution had pinned: it was committed before the execution began."""

    dataset: DatasetName
    version: int
    snapshot_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """One table's part of a commit, as its sidecar has it.

    ``commit`` names the attempt that wrote it, the same for all ``tables`` of that commit. ``record`` is the whole
    commit's, but its edges are those of this table; its execution's ``execution_id`` is 0 and ``start.inputs`` are
    empty, for only a catalog has such ids: see ``inputs``. ``totals`` and ``columns`` are None where they are not
    said; columns are said by the commits that change them.
    """

    dataset: DatasetName
    version: int
    snapshot_id: int
    sequence_number: int
    timestamp_ms: int
    committed_ms: int
    operation: str
    metadata_location: str
    base_location: str | None
    expired_snapshot_ids: tuple[int, ...]
    totals: Totals | None
    columns: tuple[ColumnInfo, ...] | None
    commit: str
    tables: tuple[str, ...]
    record: Record
    inputs: tuple[InputRef, ...]
    receipts: bool
    """Whether commits of its format leave a receipt."""


def encode(what: Record, numbers: Numbers, dataset: str, *, commit: str, tables: Sequence[str]) -> dict[str, Json]:
    """The catalog's part of the sidecar of one of the commit's ``tables``. ``commit``: see ``Sidecar``."""
    execution, start = what.execution, what.execution.start
    script, holder = start.script, execution.lease.holder
    return {
        "commit": commit,
        "tables": list(tables),
        "execution": execution.uuid,
        "type": start.type.value,
        "job": start.job,
        "project": start.project,
        "run_key": start.run_key,
        "lease": execution.lease.resource,
        "fence": execution.lease.fence,
        "started_at": execution.started_at.isoformat(),
        "committed_ms": numbers.now,
        "holder": {"host": holder.host, "pid": holder.pid, "user": holder.user, "command": holder.command},
        "targets": [str(target) for target in start.targets],
        "prefixes": [*(() if start.prefix is None else (start.prefix,)), *start.prefixes],
        "version": numbers.latest.get(dataset, 0) + 1,
        "whole": dataset in what.whole,
        "properties": {**start.properties, **what.properties},
        "inputs": [
            {"dataset": str(v.dataset), "version": v.version, "snapshot_id": v.snapshot_id} for v in start.inputs
        ],
        "script": None
        if script is None
        else {"sha256": script.sha256, "path": script.path, "dialect": script.dialect, "text": script.text},
        "sources": [_source(x) for x in what.sources],
        "positions": {stream: dict(position.value) for stream, position in what.positions.items()},
        "files": {
            stream: [
                {"uri": f.file.uri, "size": f.file.size, "etag": f.file.etag, "rows": f.rows, "sha256": f.sha256,
                 "mtime": None if f.file.mtime is None else f.file.mtime.isoformat()}
                for f in files
            ]
            for stream, files in what.files.items()
        },
        "edges": [_edge(e) for e in what.edges if e.output_dataset == dataset],
        "other_edges": [_edge(e) for e in what.edges if dataset == tables[0] and e.output_dataset not in tables],
    }  # fmt: skip


def _source(source: SourceRead) -> dict[str, Json]:
    told: dict[str, Json] = {
        "uri": source.uri, "rows": source.rows, "bytes": source.bytes, "properties": dict(source.properties)
    }  # fmt: skip
    return told if source.datasets is None else {**told, "datasets": list(source.datasets)}


def _edge(edge: ColumnEdge) -> dict[str, Json]:
    return {
        "output_dataset": edge.output_dataset, "output_column": edge.output_column,
        "input_dataset": edge.input_dataset, "input_column": edge.input_column, "kind": edge.kind.value,
        "expression": edge.expression, "line": edge.line, "masked": edge.masked,
    }  # fmt: skip


def decode(data: bytes, location: str) -> Sidecar:
    """Read a sidecar; ``location`` is for the error. Raises CorruptFileError."""
    try:
        found = from_json(data)
        if found["format"] > NEWEST_FORMAT:
            raise CorruptFileError(
                f"the sidecar was written by a newer lakecat (format {found['format']})", where=Where(location),
                hint="upgrade lakecat",
            )  # fmt: skip
        sidecar_shape.check(found)
        return _sidecar(found, found["commit"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, SelectorError) as err:
        raise CorruptFileError("the sidecar is damaged", where=Where(location)) from err


def _sidecar(found: Mapping[str, Any], commit: Mapping[str, Any]) -> Sidecar:
    dataset = DatasetName.parse(found["dataset"])
    totals, columns = found.get("totals"), found.get("columns")
    return Sidecar(
        dataset=dataset,
        version=int(commit["version"]),
        snapshot_id=int(found["snapshot_id"]),
        sequence_number=int(found["sequence_number"]),
        timestamp_ms=int(found["timestamp_ms"]),
        committed_ms=int(commit.get("committed_ms", found["timestamp_ms"])),
        operation=str(found["operation"]),
        metadata_location=str(found["metadata_location"]),
        base_location=found["base_location"],
        expired_snapshot_ids=tuple(map(int, found["expired_snapshot_ids"])),
        totals=None if totals is None else Totals(**totals),
        columns=None if columns is None else tuple(ColumnInfo(**column) for column in columns),
        commit=str(commit.get("commit", found["metadata_location"])),
        tables=tuple(commit.get("tables", [str(dataset)])),
        record=_record(commit, dataset, found["metadata_location"]),
        inputs=tuple(
            InputRef(dataset=DatasetName.parse(x["dataset"]), version=x["version"], snapshot_id=x["snapshot_id"])
            for x in commit["inputs"]
        ),
        receipts=found["format"] >= 2,
    )


def _record(commit: Mapping[str, Any], dataset: DatasetName, metadata: str) -> Record:
    return Record(
        execution=_execution(commit, dataset, metadata),
        sources=tuple(map(_source_read, commit["sources"])),
        positions={stream: Position(value) for stream, value in commit["positions"].items()},
        files={stream: tuple(map(_file, files)) for stream, files in commit["files"].items()},
        edges=tuple(
            ColumnEdge(**{"output_dataset": str(dataset), **edge, "kind": EdgeKind(edge["kind"])})
            for edge in (*commit["edges"], *commit.get("other_edges", ()))
        ),
        properties={},
        whole=frozenset({str(dataset)} if commit["whole"] else ()),
    )


def _source_read(found: Mapping[str, Any]) -> SourceRead:
    datasets = found.get("datasets")
    return SourceRead(
        found["uri"], found["rows"], found["bytes"], found["properties"],
        datasets=None if datasets is None else tuple(datasets),
    )  # fmt: skip


def _execution(commit: Mapping[str, Any], dataset: DatasetName, metadata: str) -> RunningExecution:
    started, script = datetime.fromisoformat(commit["started_at"]), commit["script"]
    start = ExecutionStart(
        type=ExecutionType(commit["type"]),
        job=commit["job"],
        run_key=commit["run_key"],
        targets=tuple(map(DatasetName.parse, commit.get("targets", [str(dataset)]))),
        script=None if script is None else Script(**script),
        properties=commit["properties"],
        prefixes=tuple(commit["prefixes"]) if "prefixes" in commit else _prefixes(metadata),
        project=commit.get("project"),
    )
    lease = Lease(
        resource=commit.get("lease", commit["job"]), fence=int(commit["fence"]), holder=_holder(commit["holder"]),
        ttl=timedelta(0), expires=started,
    )  # fmt: skip
    return RunningExecution(
        execution_id=0, uuid=commit["execution"], start=start, lease=lease, started_at=started.astimezone(UTC)
    )


def _holder(found: Mapping[str, Any] | str) -> Holder:
    return Holder(host="", pid=0, user=found, command="") if isinstance(found, str) else Holder(**found)


def _prefixes(metadata: str) -> tuple[str, str]:
    """Where an execution of format 1 wrote, by where its metadata lies."""
    folder = metadata.rpartition("/")[0]
    location, _, uuid = folder.rpartition("/metadata/")
    return f"{location}/data/{uuid}", folder


def _file(found: Mapping[str, Any]) -> LoadedFile:
    mtime = found["mtime"]
    file = FileVersion(
        found["uri"], found["size"], found["etag"], None if mtime is None else datetime.fromisoformat(mtime)
    )
    return LoadedFile(file, found["rows"], found["sha256"])
