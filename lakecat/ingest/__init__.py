"""Landing data: from a connector (``run_job``) or from Arrow in memory (``load``) into a versioned table."""

from lakecat.ingest.arrow import append, load, merge, replace
from lakecat.ingest.connectors import open_connector
from lakecat.ingest.jobs import JobPlan, PlannedSlice, StreamPlan, plan_job, run_job
from lakecat.ingest.results import IngestResult

__all__ = [
    "IngestResult",
    "JobPlan",
    "PlannedSlice",
    "StreamPlan",
    "append",
    "load",
    "merge",
    "open_connector",
    "plan_job",
    "replace",
    "run_job",
]
