"""Ingest jobs: one YAML file each under ``ingest/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lakecat.config.document import Document, read_document
from lakecat.config.settings import Settings
from lakecat.config.validate import Frozen, validate
from lakecat.config.values import CronText, Dataset, PartitionSpecText, TypeText, ZoneText
from lakecat.errors import ConfigError, Where
from lakecat.types import Json, WriteMode

FOLDER: Final = "ingest"
_JOB_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,126}")


class Schedule(Frozen):
    """When a job is due: a cron expression of five fields, in a time zone. A missed run is caught up once."""

    cron: CronText = Field(description="five cron fields, e.g. 0 6 * * *")
    timezone: ZoneText = Field(default="UTC", description="IANA time zone in which the cron fields are meant")


def listed(value: object) -> object:
    """What was written as one text or a list, as a tuple; for a validator that runs before pydantic's own."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def cron_text(value: object) -> object:
    """A bare cron text as the keys of a Schedule; for a validator that runs before pydantic's own."""
    return {"cron": value} if isinstance(value, str) else value


def _mode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return WriteMode(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a mode; write {', '.join(WriteMode)}") from None


class JobFile(Frozen):
    """The keys of a file under ``ingest/``."""

    connector: str = Field(default="files", description="name of the connector that reads the source")
    target: Dataset = Field(description="dataset that the rows go to, namespace.name")
    options: dict[str, object] = Field(default_factory=dict, description="the connector's own options")
    mode: Annotated[WriteMode, BeforeValidator(_mode)] = Field(
        default=WriteMode.APPEND, description="append, replace, replace_partitions, merge or delete"
    )
    key: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(), description="columns that identify a row, for merge and delete"
    )
    partition: Annotated[tuple[PartitionSpecText, ...], BeforeValidator(listed)] = Field(
        default=(), description="how a new table is partitioned, e.g. day(time_hour), bucket(16, id), origin"
    )
    columns: dict[str, TypeText] = Field(default_factory=dict, description="types of columns, in Iceberg's names")
    batch: Literal["file", "all"] = Field(
        default="all", description="what is committed together: each file, or all new files"
    )
    schedule: Annotated[Schedule | None, BeforeValidator(cron_text)] = Field(
        default=None, description="when the job is due: cron text, or cron and timezone"
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        keyed = self.mode in (WriteMode.MERGE, WriteMode.DELETE)
        if keyed and not self.key:
            raise ValueError(f"mode {self.mode.value} needs key: the columns that identify a row")
        if self.key and not keyed:
            raise ValueError(f"key means nothing with mode {self.mode.value}; it is for merge and delete")
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        return self


class IngestJob(JobFile):
    """One ingest job: the file's keys, its name (the file's stem), and where each key stands."""

    name: str
    where: Where
    marks: Mapping[str, Where] = Field(default_factory=dict, repr=False)

    @property
    def json_options(self) -> Mapping[str, Json]:
        """The connector's options as JSON values."""
        return self.options  # type: ignore[return-value]  # they come from Document.value, which is Json

    def where_of(self, *path: str) -> Where:
        """The place of a key, e.g. ``where_of("options", "path")``; the nearest ancestor's when it is not written."""
        for end in range(len(path), 0, -1):
            if (found := self.marks.get(".".join(path[:end]))) is not None:
                return found
        return self.where


def load_jobs(settings: Settings) -> tuple[IngestJob, ...]:
    """Read every ``ingest/*.yaml`` (and ``.yml``) of the project, by name. Raises ConfigError with file and line."""
    folder = settings.root / FOLDER
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    jobs: dict[str, IngestJob] = {}
    for file in files:
        document = read_document(file)
        if not _JOB_NAME.fullmatch(file.stem):
            raise ConfigError(
                f"{file.stem!r} is not a job name",
                where=Where(str(file)),
                hint="name the file with letters, digits, _ and - only, not starting with a digit",
            )
        if file.stem in jobs:
            raise ConfigError(f"job {file.stem!r} is defined twice", where=Where(str(file)), hint="remove one file")
        jobs[file.stem] = _job(file.stem, document, settings)
    return tuple(jobs.values())


def _job(name: str, document: Document, settings: Settings) -> IngestJob:
    checked = validate(JobFile, document, root=settings.root)
    marks = {
        ".".join(str(part) for part in path): document.where(path) for path in document.marks if 0 < len(path) <= 3
    }
    values = {field: getattr(checked, field) for field in JobFile.model_fields}
    return IngestJob(name=name, where=document.where(("target",)), marks=marks, **values)
