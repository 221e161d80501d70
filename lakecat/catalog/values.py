"""What goes into the catalog and what comes out of it: frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from lakecat.types import DatasetName, EdgeKind, ExecutionState, ExecutionType, Json, SourceRead, Version


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: host name, process id, user name and the command line."""

    host: str
    pid: int
    user: str
    command: str

    @property
    def who(self) -> str:
        """User and host: who did it, in the history of tags and annotations."""
        return f"{self.user}@{self.host}"

    def __str__(self) -> str:
        return f"{self.user}@{self.host}, process {self.pid} ({self.command})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on ``resource`` until ``expires`` (database clock); ``fence`` grows with every acquirer."""

    resource: str
    fence: int
    holder: Holder
    ttl: timedelta
    expires: datetime


@dataclass(frozen=True, slots=True)
class Script:
    """The text of a transform; ``sha256`` of its UTF-8 bytes in hex, ``path`` relative to the project."""

    text: str
    sha256: str
    path: str
    dialect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStart:
    """What is known when an execution begins.

    ``run_key`` (at most 255 characters) names the work itself: the same key COMPLETE before means nothing is to be
    done; None never matches. ``inputs`` are the pinned versions. ``prefix`` (and ``prefixes``, where there are
    several) is where its files may lie until it has committed: the write intent. ``properties`` is anything worth
    keeping, such as git_commit or parameters.
    """

    type: ExecutionType
    job: str
    run_key: str | None
    targets: tuple[DatasetName, ...]
    inputs: tuple[Version, ...] = ()
    script: Script | None = None
    properties: Mapping[str, Json] = field(default_factory=dict)
    prefix: str | None = None
    prefixes: tuple[str, ...] = ()
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningExecution:
    """An execution that may still commit."""

    execution_id: int
    uuid: str
    start: ExecutionStart
    lease: Lease
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedExecution:
    """The execution that has done this run key's work already, and the versions it made."""

    execution_id: int
    uuid: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The versions that one commit made, in name order; ``attempts`` counts the transactions it took."""

    versions: tuple[Version, ...]
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A dataset with its newest version, and what is said of it. ``tags``: version numbers by their names.

    Only ``Lake.datasets`` fills in what is said.
    """

    name: DatasetName
    latest: Version
    versions: int
    created_at: datetime
    description: str | None = None
    labels: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tags: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """A top-level column of a version's schema; ``type`` in Iceberg's notation."""

    name: str
    type: str
    field_id: int
    required: bool
    doc: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionInfo:
    """One run. ``properties`` are empty in lists."""

    execution_id: int
    uuid: str
    type: ExecutionType
    job: str
    run_key: str | None
    state: ExecutionState
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionDetail:
    """One run with what it read and wrote."""

    info: ExecutionInfo
    inputs: tuple[Version, ...]
    outputs: tuple[Version, ...]
    sources: tuple[SourceRead, ...]
    script: Script | None


NodeKind: TypeAlias = Literal["version", "source", "script", "execution", "artifact"]


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A node of the lineage graph; ``key`` is unique in it (``a<artifact id>`` or ``e<execution id>``).

    ``label`` is the version (``raw.orders@v7``), the source's URI, the script's path or the execution's job.
    """

    key: str
    kind: NodeKind
    label: str
    properties: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """Data flowed from node ``source`` to node ``target``.

    ``outputs`` of an edge into an execution: the nodes that it went on to, which need not all be in the graph; None:
    all that the execution wrote.
    """

    source: str
    target: str
    role: str = ""
    outputs: tuple[str, ...] | None = None

    def goes_to(self, output: str) -> bool:
        """Whether what went into the execution went on to this node."""
        return self.outputs is None or output in self.outputs


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """A part of the lineage; ``root`` is the node it starts from; ``truncated`` when ``depth`` cut it."""

    root: str
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class ColumnRef:
    """A column of a dataset at a version, or of a source (``dataset`` is its URI, ``version`` None)."""

    dataset: str
    column: str | None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class ColumnPath:
    """One step of a column's lineage, ``depth`` steps away from the column that was asked for (1 is next to it).

    ``input`` is None where it could not be resolved (``expression`` says why). ``output.column`` is None for an
    influence on the whole output (JOIN, FILTER, GROUP_BY, SORT).
    """

    depth: int
    output: ColumnRef
    input: ColumnRef | None
    kind: EdgeKind
    expression: str | None
    line: int | None
    execution_id: int
    masked: bool = False

    @property
    def followed(self) -> bool:
        """Whether a walk goes on behind this step: it carries the column's value, or what decided it.

        An influence on the whole output (a filter, a join) ends there, else everything would lead to everything.
        """
        decided = self.output.column is not None and self.input is not None and self.input.column is not None
        return self.kind.direct or decided


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in the catalog: a stable ``code``, a sentence, and whether it merely needs a look."""

    code: str
    message: str
    warning: bool = False
