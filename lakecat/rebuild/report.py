"""What a rebuild found and did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from lakecat.types import DatasetName

LOST: Final = (
    "runs that failed, were canceled, or changed no table",
    "descriptions, owners, labels and how fresh a dataset must be; who moved which tag when",
    "what other programs kept in the catalog (ML Metadata's nodes, OpenLineage events)",
    "numeric ids of executions and artifacts: they are new; UUIDs, version numbers and names are the old ones",
)
"""What no lake says, whatever it holds."""


class Heads(StrEnum):
    """What becomes of the last commit of a table when the lake does not say whether it happened."""

    CERTAIN = "certain"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedCommit:
    """A commit that is wholly in the lake, on top of a table's newest version, and may have happened or not."""

    dataset: DatasetName
    version: int
    execution: str
    job: str
    started_at: datetime
    metadata_location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltDataset:
    """One dataset: how many versions the lake tells of, the newest of them, and how many the catalog lacks."""

    dataset: DatasetName
    versions: int
    newest: int
    missing: int
    tags: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What was found, and with ``applied`` recorded.

    ``executions``: that the catalog did not know. ``damaged``: sidecars that cannot be read, the first of them by name.
    ``unreadable``: metadata of commits that are newer than what the catalog has, and whose sidecar cannot be read.
    ``settled``: nothing is left to be decided, so that the catalog may be written to. ``lost``: what cannot be
    recovered.
    """

    applied: bool
    datasets: tuple[RebuiltDataset, ...]
    executions: int
    undecided: tuple[UndecidedCommit, ...]
    damaged: tuple[str, ...]
    unreadable: tuple[str, ...]
    settled: bool
    lost: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Versions that the catalog lacks, or lacked."""
        return sum(item.missing for item in self.datasets)

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that stands in the way of a whole catalog."""
        newer = (
            f"{location} is newer than what the catalog has, and its sidecar cannot be read: put the sidecar back from"
            " a backup of the lake, or go on without it: --heads certain"
            for location in self.unreadable
        )
        told = (f"{item.dataset}: {text}" for item in self.datasets for text in item.problems)
        return (*told, *self.damaged, *newer)
