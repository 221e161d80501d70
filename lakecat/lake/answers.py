"""What the facade answers with: frozen values, the same in Python and behind ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from lakecat.catalog import ColumnInfo, ColumnPath, ExecutionDetail, ExecutionInfo, LineageGraph
from lakecat.catalog.annotations import Annotation
from lakecat.errors import LakecatError
from lakecat.types import DatasetName, Json, Version

if TYPE_CHECKING:
    from lakecat.tables.summary import ColumnSummary

_NOTHING: Final = Annotation()


class OutcomeState(StrEnum):
    """How one piece of work ended. NOTHING: there was nothing to do; SKIPPED: what it needs failed."""

    DONE = "done"
    NOTHING = "nothing"
    SKIPPED = "skipped"
    FAILED = "failed"


WorkKind: TypeAlias = Literal["ingest", "transform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One commit of a job or script, or the reason why there was none.

    ``rows`` is how many the commit added; ``schema_changes`` says each step in words. ``dataset`` is None for a job
    whose streams were not known yet when it failed.
    """

    name: str
    kind: WorkKind
    dataset: DatasetName | None
    state: OutcomeState
    version: Version | None = None
    rows: int | None = None
    files: int | None = None
    bytes: int | None = None
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    schema_changes: tuple[str, ...] = ()
    error: LakecatError | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did, in the order in which it ended."""

    outcomes: tuple[Outcome, ...]

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """What failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.state is OutcomeState.FAILED)

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions that were made."""
        return tuple(outcome.version for outcome in self.outcomes if outcome.version is not None)

    def raise_failures(self) -> None:
        """Raise the first failure's error, if there is one."""
        for outcome in self.failures:
            if outcome.error is not None:
                raise outcome.error

    def __add__(self, other: RunReport) -> RunReport:
        return RunReport(self.outcomes + other.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWork:
    """What a job or script would do, and why (or why not); ``problem`` is what will stop it.

    ``also`` are further datasets that it would write: those of a stream's unnested lists.
    """

    name: str
    kind: WorkKind
    dataset: DatasetName | None
    runs: bool
    reasons: tuple[str, ...]
    problem: LakecatError | None = None
    also: tuple[DatasetName, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkPlan:
    """What ``ingest`` and ``run`` would do, in order."""

    work: tuple[PlannedWork, ...]

    @property
    def pending(self) -> tuple[PlannedWork, ...]:
        """What would run."""
        return tuple(item for item in self.work if item.runs)

    @property
    def problems(self) -> tuple[LakecatError, ...]:
        """What will stop work."""
        return tuple(item.problem for item in self.work if item.problem is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A version of a dataset in full. ``partition`` in the words of a job file; ``history`` newest first.

    ``annotation`` is the dataset's as it is now, ``column_annotations`` those of this version's columns by name;
    ``tags`` are the dataset's, with their version numbers.
    """

    version: Version
    current: bool
    columns: tuple[ColumnInfo, ...]
    location: str
    partition: tuple[str, ...]
    made_by: ExecutionDetail
    history: tuple[Version, ...]
    versions: int
    annotation: Annotation = _NOTHING
    column_annotations: Mapping[str, Annotation] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)


class ColumnChangeKind(StrEnum):
    """How a column differs between two schemas."""

    ADDED = "added"
    DROPPED = "dropped"
    RENAMED = "renamed"
    TYPE = "type"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """One column that differs; columns are told apart by field id, not by name."""

    kind: ColumnChangeKind
    field_id: int
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """Rows of one version that the other has not, counted with repetition; ``sample`` shows the first of them.

    A changed row is one removed and one added row. Compared over the columns that both versions have.
    """

    columns: tuple[str, ...]
    added: int
    removed: int
    sample_added: tuple[tuple[object, ...], ...]
    sample_removed: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that differs: None where it was not there."""

    name: str
    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A script that would be touched; ``lines`` are those of the expressions that take the column or dataset."""

    job: str
    script: str | None
    lines: tuple[int, ...]
    dataset: str
    distance: int
    execution_id: int


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row that both versions have, told by its key, and the columns in which it differs."""

    key: tuple[object, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedDifference:
    """Rows told apart by a key: added, removed, changed; over the columns that both versions have.

    ``changed_columns`` counts by column the rows that differ in it; the samples show the first by key.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]
    added: int
    removed: int
    changed: int
    changed_columns: Mapping[str, int]
    sample_added: tuple[tuple[object, ...], ...]
    sample_removed: tuple[tuple[object, ...], ...]
    sample_changed: tuple[ChangedRow, ...]


@dataclass(frozen=True, slots=True)
class StatisticsDifference:
    """What the files' metadata says of a column in both versions; None where a version has no such column."""

    name: str
    before: ColumnSummary | None
    after: ColumnSummary | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed from one version of a dataset to another. ``between`` are the versions after the first, in order.

    ``verdict`` is of the columns: whether what reads the first version can read the second; ``reasons`` says why not,
    and ``readers`` whom that concerns. ``statistics`` are there when asked for.
    """

    before: Version
    after: Version
    columns: tuple[ColumnDifference, ...]
    between: tuple[Version, ...]
    rows: RowDifference | KeyedDifference | None = None
    verdict: Literal["same", "compatible", "breaking"] = "same"
    reasons: tuple[str, ...] = ()
    readers: tuple[Reader, ...] = ()
    statistics: tuple[StatisticsDifference, ...] | None = None

    @property
    def same(self) -> bool:
        """Whether nothing differs that was looked at."""
        counted = self.rows is None or (self.rows.added == 0 and self.rows.removed == 0)
        if isinstance(self.rows, KeyedDifference):
            counted = counted and self.rows.changed == 0
        alike = self.rows is not None or self.before.snapshot_id == self.after.snapshot_id
        return not self.columns and counted and alike and self.before.rows == self.after.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetStatus:
    """How fresh a dataset is, and how the last run of what fills it ended. Times are aware, UTC.

    ``fresh_within``: how old its newest version may be, where that was said; ``late``: it is older.
    """

    dataset: DatasetName
    version: Version | None
    age: timedelta | None
    job: str | None
    last_run: ExecutionInfo | None
    next_due: datetime | None
    fresh_within: timedelta | None = None
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a dataset version, or one of its columns, came from (``direction`` up) or went (down), or both.

    ``graph`` holds versions, sources and executions; ``columns`` the steps from column to column; ``scripts`` the
    path of the script by the id of the execution that ran it. ``sources`` (not of direction down) are the URIs of
    everything whose rows may be in the version, added by whichever earlier version. Of a node of the metadata store
    there is no version, and only the graph.
    """

    version: Version | None
    column: str | None
    direction: Literal["up", "down", "both"]
    graph: LineageGraph
    columns: tuple[ColumnPath, ...]
    scripts: Mapping[int, str]
    sources: tuple[str, ...] = ()


class Verdict(StrEnum):
    """How a check of ``doctor`` ended."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``doctor`` looked at, and how to mend it when it is not well."""

    name: str
    verdict: Verdict
    message: str
    mend: str | None = None
    facts: Mapping[str, Json] | None = None
