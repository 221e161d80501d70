"""Lineage that other programs tell, as frozen values: what an OpenLineage event says, once it has been read.

``lakecat.lineage.openlineage`` makes them of JSON; ``lakecat.catalog.foreign_lineage`` records them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from lakecat.types import EdgeKind, Json

Facts: TypeAlias = Mapping[str, Json]
"""What is known of a node, by property name."""


class ForeignState(StrEnum):
    """``RunEvent.eventType``; an event without one is OTHER."""

    START = "START"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    ABORT = "ABORT"
    FAIL = "FAIL"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True, order=True)
class ForeignName:
    """A job or dataset: its namespace and its name within it."""

    namespace: str
    name: str

    @property
    def uri(self) -> str:
        """The dataset as one text: ``s3://bucket/path``, ``postgres://host:5432/db.schema.table``, ``bigquery://a.b.c``.

        A namespace that is no URI becomes the scheme, so that the namespace ``file`` gives ``file:///path``. Hadoop's
        ``s3a`` and ``s3n`` are S3.
        """
        if "://" in self.namespace:
            scheme, _, rest = self.namespace.partition("://")
            return f"{'s3' if scheme in ('s3a', 's3n') else scheme}://{rest.rstrip('/')}/{self.name.lstrip('/')}"
        return f"{self.namespace}://{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ForeignEdge:
    """A step of a column's lineage; ``output`` None: an influence on the whole dataset."""

    output: str | None
    source: ForeignName
    column: str | None
    kind: EdgeKind
    expression: str | None = None
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDataset:
    """A dataset as one event tells of it.

    ``version``: the DatasetVersion facet's. ``other_names``: the symlinks facet's. ``facts``: of the dataset
    (documentation, owners, …); ``state``: of this state of it (schema, rows, bytes).
    """

    name: ForeignName
    version: str | None = None
    other_names: tuple[ForeignName, ...] = ()
    edges: tuple[ForeignEdge, ...] = ()
    facts: Facts = field(default_factory=dict)
    state: Facts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignParent:
    """The run that started this one, as a DAG's run starts its tasks."""

    run_id: str
    job: ForeignName


@dataclass(frozen=True, slots=True)
class ForeignSql:
    """A job's SQL text; ``dialect`` may be empty."""

    text: str
    dialect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignEvent:
    """One event: of a run, of a job at rest, or of a dataset. ``time`` in milliseconds since the epoch, UTC.

    ``run_id`` is set for runs, ``job`` for runs and jobs; a dataset's event has it as its only output.
    """

    kind: Literal["run", "job", "dataset"]
    time: int
    state: ForeignState = ForeignState.OTHER
    run_id: str | None = None
    job: ForeignName | None = None
    run_facts: Facts = field(default_factory=dict)
    job_facts: Facts = field(default_factory=dict)
    sql: ForeignSql | None = None
    parent: ForeignParent | None = None
    inputs: tuple[ForeignDataset, ...] = ()
    outputs: tuple[ForeignDataset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What recording added or changed. All zero when everything was known."""

    jobs: int = 0
    datasets: int = 0
    runs: int = 0
    states: int = 0
    artifacts: int = 0
    links: int = 0
    columns: int = 0
    own: int = 0

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(
            jobs=self.jobs + other.jobs,
            datasets=self.datasets + other.datasets,
            runs=self.runs + other.runs,
            states=self.states + other.states,
            artifacts=self.artifacts + other.artifacts,
            links=self.links + other.links,
            columns=self.columns + other.columns,
            own=self.own + other.own,
        )
