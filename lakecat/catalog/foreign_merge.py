"""Events of the same run as one draft: states by event time, whatever the order in which they come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.foreign_types import RUN, STATIC_JOB
from lakecat.catalog.foreign_values import (
    ForeignDataset,
    ForeignEdge,
    ForeignEvent,
    ForeignName,
    ForeignParent,
    ForeignSql,
    ForeignState,
)
from lakecat.types import Json

Decision = tuple[int, int]
"""The time and rank of the event that decided a run's state."""

_RANK: Final = {ForeignState.START: 1, ForeignState.COMPLETE: 2, ForeignState.FAIL: 3, ForeignState.ABORT: 4}
"""Of events at the same time the higher counts. Others never change a state that one of these decided."""
_STATES: Final = {
    0: MlmdState.RUNNING,
    1: MlmdState.RUNNING,
    2: MlmdState.COMPLETE,
    3: MlmdState.FAILED,
    4: MlmdState.CANCELED,
}
UNDECIDED: Final[Decision] = (0, 0)


def state_of(decision: Decision) -> MlmdState:
    """The state that an event decides; RUNNING without one."""
    return _STATES[decision[1]]


@dataclass(slots=True)
class DatasetDraft:
    """All that the events of one run tell of one of its inputs or outputs."""

    name: ForeignName
    versions: set[str] = field(default_factory=set)
    other_names: dict[ForeignName, None] = field(default_factory=dict)
    edges: dict[ForeignEdge, None] = field(default_factory=dict)
    facts: dict[str, Json] = field(default_factory=dict)
    state: dict[str, Json] = field(default_factory=dict)
    time: int = 0

    def add(self, told: ForeignDataset, time: int) -> None:
        """Take in what a later event tells."""
        self.time = max(self.time, time)
        if told.version is not None:
            self.versions.add(told.version)
        self.other_names.update(dict.fromkeys(told.other_names))
        self.edges.update(dict.fromkeys(told.edges))
        self.facts.update(told.facts)
        self.state.update(told.state)


@dataclass(slots=True)
class RunDraft:
    """All that the events at hand tell of one run, or of a job at rest."""

    type: tuple[str, TypeKind]
    key: str
    job: ForeignName
    first: int
    last: int = 0
    started: int | None = None
    decided: Decision = UNDECIDED
    facts: dict[str, Json] = field(default_factory=dict)
    job_facts: dict[str, Json] = field(default_factory=dict)
    sql: ForeignSql | None = None
    parent: ForeignParent | None = None
    inputs: dict[str, DatasetDraft] = field(default_factory=dict)
    outputs: dict[str, DatasetDraft] = field(default_factory=dict)

    def add(self, event: ForeignEvent) -> None:
        """Take in an event; they come in the order of their times."""
        self.first, self.last = min(self.first, event.time), max(self.last, event.time)
        if event.state is ForeignState.START:
            self.started = event.time if self.started is None else min(self.started, event.time)
        if event.state in _RANK:
            self.decided = max(self.decided, (event.time, _RANK[event.state]))
        self.facts.update(event.run_facts)
        self.job_facts.update(event.job_facts)
        self.sql = event.sql or self.sql
        self.parent = event.parent or self.parent
        for drafts, datasets in ((self.inputs, event.inputs), (self.outputs, event.outputs)):
            for told in datasets:
                drafts.setdefault(told.name.uri, DatasetDraft(told.name)).add(told, event.time)


@dataclass(slots=True)
class Drafts:
    """A batch of events, merged: runs and jobs by type and name, and datasets told of without a run."""

    runs: dict[tuple[tuple[str, TypeKind], str], RunDraft] = field(default_factory=dict)
    datasets: dict[str, DatasetDraft] = field(default_factory=dict)


def merge(events: Iterable[ForeignEvent]) -> Drafts:
    """Put together what belongs together."""
    drafts = Drafts()
    for event in sorted(events, key=lambda one: one.time):
        if event.kind == "dataset":
            for told in event.outputs:
                drafts.datasets.setdefault(told.name.uri, DatasetDraft(told.name)).add(told, event.time)
            continue
        assert event.job is not None  # noqa: S101 - the parser sets it on all but datasets
        key = (RUN, event.run_id) if event.run_id is not None else (STATIC_JOB, str(event.job))
        draft = drafts.runs.setdefault(key, RunDraft(*key, job=event.job, first=event.time))
        draft.add(event)
        if event.run_id is None:  # a job at rest is walked like a run that completed
            draft.decided = max(draft.decided, (event.time, _RANK[ForeignState.COMPLETE]))
    return drafts
