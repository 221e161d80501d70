"""``lakecat.yaml``, ``ingest/*.yaml`` and the environment, as frozen settings; secrets only by reference."""

from lakecat.config.document import Document, parse_document, read_document
from lakecat.config.jobs import IngestJob, JobFile, Schedule, cron_text, is_pattern, load_jobs
from lakecat.config.secret import Secret, SecretRef
from lakecat.config.settings import (
    FILE_NAME,
    CatalogSettings,
    EngineSettings,
    ProjectFile,
    Retention,
    Settings,
    Storage,
    TransformSettings,
    WriteSettings,
    load_settings,
)
from lakecat.config.streams import FILE_COLUMN, KEYED, HistoryKeys, StreamJob, StreamKeys, listed
from lakecat.config.validate import Frozen, suggestion, validate
from lakecat.config.values import PartitionSpecText, parse_duration, parse_size

__all__ = [
    "FILE_COLUMN",
    "FILE_NAME",
    "KEYED",
    "CatalogSettings",
    "Document",
    "EngineSettings",
    "Frozen",
    "HistoryKeys",
    "IngestJob",
    "JobFile",
    "PartitionSpecText",
    "ProjectFile",
    "Retention",
    "Schedule",
    "Secret",
    "SecretRef",
    "Settings",
    "Storage",
    "StreamJob",
    "StreamKeys",
    "TransformSettings",
    "WriteSettings",
    "cron_text",
    "is_pattern",
    "listed",
    "load_jobs",
    "load_settings",
    "parse_document",
    "parse_duration",
    "parse_size",
    "read_document",
    "suggestion",
    "validate",
]
