"""What a job says of how rows land: for all of its streams, and for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from lakecat.config.validate import Frozen
from lakecat.config.values import Dataset, PartitionSpecText, TypeText, parse_duration
from lakecat.errors import SelectorError, Where
from lakecat.types import DatasetName, Json, WriteMode


def listed(value: object) -> object:
    """What was written as one text or a list, as a tuple; for a validator that runs before pydantic's own."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _mode(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return WriteMode(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a mode; write {', '.join(WriteMode)}") from None


def _span(value: object) -> object:
    """A width on the cursor's scale: a number, or a duration in seconds."""
    if isinstance(value, str):
        duration = parse_duration(value)
        value = duration.total_seconds() if isinstance(duration, timedelta) else value
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def target_text(value: object) -> object:
    """A dataset's name, or a template of one; for a validator that runs before pydantic's own."""
    if not isinstance(value, str):
        raise ValueError("must be a dataset name, namespace.name")
    try:
        DatasetName.parse(value.replace("*", "x"))
    except SelectorError as err:
        raise ValueError(f"{err.what}; {err.hint}") from err
    return value


Span = Annotated[float, BeforeValidator(_span), Field(ge=0)]


class CursorKeys(Frozen):
    """By which column only new rows are read."""

    column: str = Field(description="the column that grows with every change")
    lag: Span = Field(
        default=0.0, description="how far back is read again at each run, for late commits: `10 min`, or a number"
    )
    start: str | int | float | None = Field(default=None, description="nothing below it is read")
    end: str | int | float | None = Field(default=None, description="nothing from it on is read")
    step: Span | None = Field(default=None, description="width of the slices that are committed one by one")
    nulls: Annotated[str, Field(pattern="^(error|include|skip)$")] = Field(
        default="error", description="rows whose cursor is NULL: `error`, `include` (read at every run) or `skip`"
    )


class QuarantineKeys(Frozen):
    """Where rows go that cannot be read, and how many are tolerated."""

    target: Dataset | None = Field(default=None, description="the quarantine's dataset; default: target_quarantine")
    max_rows: int = Field(default=1000, ge=0, description="more bad rows in one slice fail the stream")
    max_fraction: float = Field(default=1.0, ge=0, le=1, description="so does a greater part of a slice's rows")


class DeletesKeys(Frozen):
    """How the source tells that a row is deleted, for the modes merge and history."""

    flag: str | None = Field(
        default=None, description="a column: the row is deleted where it is true, or not NULL if it is no boolean"
    )
    absent: bool = Field(default=False, description="rows that the source does not have any more are deleted")


class HistoryKeys(Frozen):
    """How mode history keeps what held before."""

    valid_from: str = Field(default="valid_from", description="column: from when on the row holds")
    valid_to: str = Field(default="valid_to", description="column: until when it held; NULL: it holds now")
    at: str | None = Field(default=None, description="the source's column that says when; default: the run's time")
    ignore: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(), description="columns that make no new row when they alone change"
    )


def _deletes(value: object) -> object:
    return {"absent": True} if value == "absent" else value


def _cursor(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _quarantine(value: object) -> object:
    if isinstance(value, bool):
        return {} if value else None
    return value


class LandingKeys(Frozen):
    """The keys that a job and each of its streams may have."""

    mode: Annotated[WriteMode, BeforeValidator(_mode)] = Field(
        default=WriteMode.APPEND, description=f"{', '.join(list(WriteMode)[:-1])} or {list(WriteMode)[-1]}"
    )
    key: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="the source's columns that identify a row; default: its own primary key, where it has one",
    )
    partition: Annotated[tuple[PartitionSpecText, ...], BeforeValidator(listed)] = Field(
        default=(), description="how a new table is partitioned, e.g. day(time_hour), bucket(16, id), origin"
    )
    columns: dict[str, TypeText] = Field(default_factory=dict, description="types of columns, in Iceberg's names")
    cursor: Annotated[CursorKeys | None, BeforeValidator(_cursor)] = Field(
        default=None, description="the column by which only new rows are read, or the keys below"
    )
    checkpoint: int | None = Field(
        default=None, gt=0, description="about how many rows of a long load are committed at once"
    )
    deletes: Annotated[DeletesKeys | None, BeforeValidator(_deletes)] = Field(
        default=None, description="`absent`, or the keys below: which rows are deleted (merge and history)"
    )
    history: HistoryKeys | None = Field(default=None, description="how mode history keeps what held before")
    unnest: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="lists that go to tables of their own, e.g. items, items.taxes (append, merge, replace and"
        " replace_files)",
    )
    names: Literal["keep", "snake"] = Field(
        default="keep", description="columns are named as in the source, or in snake_case without collisions"
    )
    execution_column: bool = Field(
        default=False, description="each row says in _lakecat_execution which execution wrote it"
    )
    file_column: bool = Field(
        default=False, description="each row says in _lakecat_file which file it is of; mode replace_files needs none"
    )
    gone: Literal["note", "remove"] = Field(
        default="note",
        description="files that are no longer there are noted, or their rows are deleted too (mode replace_files)",
    )
    may_be_empty: bool = Field(
        default=False, description="true: a source without rows empties the table (mode replace); else it is an error"
    )
    quarantine: Annotated[QuarantineKeys | None, BeforeValidator(_quarantine)] = Field(
        default=None, description="`true`, or the keys below: rows that cannot be read are set aside, not an error"
    )

    @model_validator(mode="after")
    def _columns_once(self) -> Self:
        if len(set(self.key)) != len(self.key):
            raise ValueError("key names a column twice")
        return self

    @property
    def misfit(self) -> str | None:
        """What of these keys cannot stand together, or means nothing with the mode."""
        mode = self.mode.value
        for name, modes in BOUND.items():
            if self.mode not in modes and getattr(self, name) != type(self).model_fields[name].get_default():
                return f"{name} means nothing with mode {mode}; it is for {' and '.join(sorted(modes))}"
        if self.unnest and self.deletes is not None and self.deletes.absent:
            return "unnest and deletes: absent cannot stand together; say deletes: {flag: a column}"
        return None


KEYED: Final = frozenset(
    {WriteMode.MERGE, WriteMode.DELETE, WriteMode.APPEND_NEW, WriteMode.HISTORY, WriteMode.REPLACE_KEYS}
)
"""Modes that cannot do without a key."""

UNNESTED: Final = frozenset({WriteMode.APPEND, WriteMode.MERGE, WriteMode.REPLACE, WriteMode.REPLACE_FILES})
"""Modes that can spread a row over several tables."""

BOUND: Final[Mapping[str, frozenset[WriteMode]]] = {
    "deletes": frozenset({WriteMode.MERGE, WriteMode.HISTORY}),
    "history": frozenset({WriteMode.HISTORY}),
    "gone": frozenset({WriteMode.REPLACE_FILES}),
    "unnest": UNNESTED,
    "may_be_empty": frozenset({WriteMode.REPLACE}),
}
"""Keys that mean something with some modes only."""

FILE_COLUMN: Final = "_lakecat_file"


class StreamKeys(LandingKeys):
    """One entry under ``streams``; what it does not say, the job's own keys say."""

    target: Annotated[str | None, BeforeValidator(target_text)] = Field(
        default=None, description="dataset of this stream; a * in it stands for the stream's name; default: the job's"
    )
    options: dict[str, object] = Field(default_factory=dict, description="the connector's options for this stream")


class StreamJob(LandingKeys):
    """One stream of a job with everything that is said of it. ``stream`` is None for a source's only stream.

    A run may ask for more: ``generation`` is how often the stream was begun anew; ``anew``: its next rows take the
    place of all others; unless it ``remembers``, it is read as if for the first time, and no position moves.
    """

    job: str
    connector: str
    stream: str | None
    batch: Literal["file", "all"]
    target: DatasetName
    options: Mapping[str, object] = Field(repr=False)
    where_of: Callable[..., Where | None] = Field(repr=False)
    generation: int = 0
    anew: bool = False
    remembers: bool = True

    @property
    def asks_for_file(self) -> bool:
        """Whether rows say which file they are of."""
        return self.file_column or self.mode is WriteMode.REPLACE_FILES

    @property
    def json_options(self) -> Mapping[str, Json]:
        """The stream's own options as JSON values."""
        return self.options  # type: ignore[return-value]  # they come from Document.value, which is Json
