"""The facade: a project, opened from Python with ``connect()``; the command line is made of the same calls."""

from lakecat.lake.answers import (
    Check,
    ColumnDifference,
    DatasetStatus,
    Description,
    Difference,
    Lineage,
    Outcome,
    OutcomeState,
    PlannedWork,
    RowDifference,
    RunReport,
    Verdict,
    WorkPlan,
)
from lakecat.lake.lake import Lake, connect
from lakecat.lake.scaffold import init_project

__all__ = [
    "Check",
    "ColumnDifference",
    "DatasetStatus",
    "Description",
    "Difference",
    "Lake",
    "Lineage",
    "Outcome",
    "OutcomeState",
    "PlannedWork",
    "RowDifference",
    "RunReport",
    "Verdict",
    "WorkPlan",
    "connect",
    "init_project",
]
