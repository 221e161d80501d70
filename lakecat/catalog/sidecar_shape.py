"""What a sidecar must look like: checked before anything of it is used, for a lake holds what others wrote, too.

A rebuild reads every sidecar of the lake: one that says nonsense must be told as damaged, not stop the others.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

_Big = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Small = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_Moment = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
"""Milliseconds since 1970, of years that a datetime knows."""
_Properties = dict[str, JsonValue]


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True)


class _Totals(_Shape):
    rows: _Count
    files: _Count
    bytes: _Count
    added_rows: _Count = 0
    added_files: _Count = 0
    added_bytes: _Count = 0
    removed_rows: _Count = 0
    removed_files: _Count = 0
    removed_bytes: _Count = 0


class _Column(_Shape):
    name: str
    type: str
    field_id: _Small
    required: bool
    doc: str | None = None


class _Script(_Shape):
    sha256: str
    path: str
    dialect: str
    text: str


class _Holder(_Shape):
    host: str
    pid: _Big
    user: str
    command: str


class _Input(_Shape):
    dataset: str
    version: _Count
    snapshot_id: _Big


class _Source(_Shape):
    uri: str
    rows: _Big
    bytes: _Big | None
    properties: _Properties
    datasets: list[str] | None = None


class _File(_Shape):
    uri: str
    size: _Big
    etag: str | None
    rows: _Big
    sha256: str | None
    mtime: str | None


class _Edge(_Shape):
    output_dataset: str = ""
    output_column: str | None
    input_dataset: str | None
    input_column: str | None
    kind: str
    expression: str | None = None
    line: _Small | None = None
    masked: bool = False


class _Commit(_Shape):
    commit: str = ""
    tables: list[str] = []
    execution: str
    type: str
    job: str
    project: str | None = None
    run_key: str | None
    lease: str = ""
    fence: _Count
    started_at: str
    committed_ms: _Moment = 0
    holder: _Holder | str
    targets: list[str] = []
    prefixes: list[str] = []
    version: Annotated[int, Field(ge=1, lt=2**63)]
    whole: bool
    properties: _Properties
    inputs: list[_Input]
    script: _Script | None
    sources: list[_Source]
    positions: dict[str, _Properties]
    files: dict[str, list[_File]]
    edges: list[_Edge]
    other_edges: list[_Edge] = []


class _Sidecar(_Shape):
    dataset: str
    snapshot_id: _Big
    sequence_number: _Big
    timestamp_ms: _Moment
    operation: str
    metadata_location: str
    base_location: str | None
    expired_snapshot_ids: list[_Big]
    totals: _Totals | None = None
    columns: list[_Column] | None = None
    commit: _Commit


def check(found: Any) -> None:
    """Raises ValueError for anything that is no sidecar. What it does not know it lets pass."""
    _Sidecar.model_validate(found)
