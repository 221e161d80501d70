"""Ingest jobs: one YAML file each under ``ingest/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lakecat.config.document import Document, read_document
from lakecat.config.settings import Settings
from lakecat.config.streams import BOUND, KEYED, LandingKeys, StreamJob, StreamKeys, target_text
from lakecat.config.validate import Frozen, validate
from lakecat.config.values import CronText, ZoneText
from lakecat.errors import ConfigError, SelectorError, Where
from lakecat.types import DatasetName, Json

FOLDER: Final = "ingest"
_JOB_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,126}")


class Schedule(Frozen):
    """When a job is due: a cron expression of five fields, in a time zone. A missed run is caught up once."""

    cron: CronText = Field(description="five cron fields, e.g. 0 6 * * *")
    timezone: ZoneText = Field(default="UTC", description="IANA time zone in which the cron fields are meant")


def cron_text(value: object) -> object:
    """A bare cron text as the keys of a Schedule; for a validator that runs before pydantic's own."""
    return {"cron": value} if isinstance(value, str) else value


def _named(value: object) -> object:
    """Streams given as a list of names have no keys of their own."""
    if isinstance(value, list):
        return {name: {} for name in value}
    return {name: {} if keys is None else keys for name, keys in value.items()} if isinstance(value, dict) else value


class JobFile(LandingKeys):
    """The keys of a file under ``ingest/``."""

    connector: str = Field(default="files", description="name of the connector that reads the source")
    target: Annotated[str | None, BeforeValidator(target_text)] = Field(
        default=None,
        description="dataset that the rows go to, namespace.name; with streams, a * in it stands for the stream's name",
    )
    options: dict[str, object] = Field(default_factory=dict, description="the connector's own options")
    stream: str | None = Field(default=None, description="the source's stream to read, where it has several")
    streams: Annotated[dict[str, StreamKeys], BeforeValidator(_named)] = Field(
        default_factory=dict,
        description="several streams, by name or pattern (`public.*`), each with keys of its own where they differ",
    )
    on_error: Literal["continue", "fail"] = Field(
        default="continue",
        description="when one of several streams fails: the others are committed, or nothing of the run is",
    )
    batch: Literal["file", "all"] = Field(
        default="all", description="what is committed together: each file, or all new files"
    )
    schedule: Annotated[Schedule | None, BeforeValidator(cron_text)] = Field(
        default=None, description="when the job is due: cron text, or cron and timezone"
    )
    paused: bool = Field(default=False, description="true: it runs only when it is named, by `--select`")

    @model_validator(mode="after")
    def _streams_fit(self) -> Self:
        if self.streams and self.stream is not None:
            raise ValueError("stream and streams cannot stand together")
        if self.streams:
            return self
        if self.misfit is not None:
            raise ValueError(self.misfit)
        if self.target is None:
            raise ValueError("key 'target' is missing")
        if "*" in self.target:
            raise ValueError("target has a *, which stands for the names of streams; there are no streams")
        if self.mode in KEYED and not self.key and self.stream is None:
            raise ValueError(f"mode {self.mode.value} needs key: the columns that identify a row")
        if self.unnest and not self.key and self.stream is None:
            raise ValueError("unnest needs key: the columns by which the rows of a list find their own row")
        if self.key and self.mode not in KEYED and not self.unnest:
            raise ValueError(f"key means nothing with mode {self.mode.value}; it is for {' and '.join(sorted(KEYED))}")
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

    @property
    def targets(self) -> tuple[DatasetName, ...]:
        """The datasets that are known to be filled before the source is asked, in the order of the streams."""
        if not self.streams:
            return (self.stream_job(None).target,)
        return tuple(self.stream_job(name).target for name in self.streams if not is_pattern(name))

    def template_of(self, entry: str | None) -> str:
        """Where the streams of an entry go; a ``*`` in it stands for their names."""
        own = self.streams[entry] if entry is not None else None
        return (own.target if own else None) or self.target or f"{self.name}.*"

    def stream_job(self, name: str | None, stream: str | None = None) -> StreamJob:
        """The stream under the entry ``name`` (None: the job's only one); ``stream``: one that a pattern matched."""
        own = self.streams[name] if name is not None else None
        said = own.model_fields_set if own else frozenset()
        actual = stream or name or self.stream
        template = self.template_of(name)
        path = () if name is None else ("streams", name)

        def where_of(*keys: str) -> Where:
            inherited = keys and keys[0] not in said and keys[0] in self.marks
            return self.where_of(*keys) if inherited else self.where_of(*path, *keys)

        return StreamJob(
            job=self.name,
            connector=self.connector,
            stream=actual,
            batch=self.batch,
            target=self._target(template, actual, path),
            options=own.options if own else {},
            where_of=where_of,
            **self._landing(own),
        )

    def _landing(self, own: StreamKeys | None) -> dict[str, Any]:
        """How a stream lands: what it says itself, else what the job says, as far as the stream's own mode has it."""
        said = own.model_fields_set if own else frozenset()
        mode = own.mode if own and "mode" in said else None
        left_out = {key for key, modes in BOUND.items() if mode is not None and mode not in modes}
        return {
            key: getattr(own if key in said else self, key)
            for key in LandingKeys.model_fields
            if key in said or key not in left_out
        }

    def check_streams(self) -> None:
        """Refuse streams whose keys cannot stand together. Raises ConfigError."""
        for name, own in self.streams.items():
            problem = LandingKeys.model_construct(**self._landing(own)).misfit
            if problem is not None:
                raise ConfigError(f"stream {name!r}: {problem}", where=self.where_of("streams", name))

    def _target(self, template: str, stream: str | None, path: tuple[str, ...]) -> DatasetName:
        name = template.replace("*", table_name(stream or ""))
        try:
            return DatasetName.parse(re.sub(r"\.(?=[0-9])", "._", name))
        except SelectorError as err:
            raise ConfigError(
                f"the stream {stream!r} has no dataset: {err.what}",
                where=self.where_of(*path, "target"),
                hint="give it a target: of its own",
            ) from err

    def where_of(self, *path: str) -> Where:
        """The place of a key, e.g. ``where_of("options", "path")``; the nearest ancestor's when it is not written."""
        for end in range(len(path), 0, -1):
            if (found := self.marks.get(".".join(path[:end]))) is not None:
                return found
        return self.where


def is_pattern(stream: str) -> bool:
    """Whether the name under ``streams`` stands for any number of streams."""
    return any(character in stream for character in "*?[")


def table_name(stream: str) -> str:
    """A stream's name as part of a dataset's: its last part, what no name may hold written as ``_``."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", stream.rsplit(".", 1)[-1]).lower()


def load_jobs(settings: Settings, *, broken: list[ConfigError] | None = None) -> tuple[IngestJob, ...]:
    """Read every ``ingest/*.yaml`` (and ``.yml``) of the project, by name.

    Raises ConfigError with file and line; where there is a list of the ``broken``, it takes them instead, and the other
    jobs are read.
    """
    folder = settings.root / FOLDER
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    jobs: dict[str, IngestJob] = {}
    for file in files:
        try:
            if file.stem in jobs:
                raise ConfigError(f"job {file.stem!r} is defined twice", where=Where(str(file)), hint="remove one file")
            jobs[file.stem] = _load_job(file, settings)
        except ConfigError as err:
            if broken is None:
                raise
            broken.append(err)
    return tuple(jobs.values())


def _load_job(file: Path, settings: Settings) -> IngestJob:
    document = read_document(file)
    if not _JOB_NAME.fullmatch(file.stem):
        raise ConfigError(
            f"{file.stem!r} is not a job name",
            where=Where(str(file)),
            hint="name the file with letters, digits, _ and - only, not starting with a digit",
        )
    return _job(file.stem, document, settings)


def _job(name: str, document: Document, settings: Settings) -> IngestJob:
    checked = validate(JobFile, document, root=settings.root)
    marks = {
        ".".join(str(part) for part in path): document.where(path) for path in document.marks if 0 < len(path) <= 5
    }
    if isinstance(document.value, dict) and isinstance(listed := document.value.get("streams"), list):
        marks |= {f"streams.{stream}": document.where(("streams", at)) for at, stream in enumerate(listed)}
    values = {field: getattr(checked, field) for field in JobFile.model_fields}
    job = IngestJob(name=name, where=document.where(("target",)), marks=marks, **values)
    job.check_streams()
    return job
