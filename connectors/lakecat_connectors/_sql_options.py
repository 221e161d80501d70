"""The sql connector's options: validated once, strictly, with errors that name the option."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from lakecat.connector import ConnectorContext
from lakecat.connector.options import did_you_mean
from lakecat.errors import ConfigError
from lakecat.types import Json

_REFERENCE: Final = re.compile(r"(env|file):(?!//).+")
_DECIMAL: Final = re.compile(r"decimal\(\s*38\s*,\s*(\d{1,2})\s*\)")
_M = TypeVar("_M", bound=BaseModel)


class Ssl(BaseModel):
    """How the connection is encrypted and the server proved; files are relative to the project's folder.

    ``key`` is a file, or a reference to the key's own text (``env:NAME``, ``file:PATH``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    root_certificate: str | None = None
    certificate: str | None = None
    key: str | None = None


class StreamOptions(BaseModel):
    """What may be said for all streams and for each: what is read, and how values become columns."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    table: str | None = None
    query: str | None = None
    include: list[str] | None = None
    exclude: list[str] = []
    where: str | None = None
    numeric: str = "string"
    out_of_range: Literal["error", "null"] = "error"
    interval: Literal["string", "struct"] = "string"
    uuid: Literal["uuid", "string"] = "uuid"
    splits: int | Literal["auto"] = "auto"
    edge: Literal["hashes", "hold"] = "hashes"
    went_back: Literal["error", "ignore"] = "error"

    @field_validator("numeric")
    @classmethod
    def _known_numeric(cls, value: str) -> str:
        match = _DECIMAL.fullmatch(value)
        if value != "string" and (match is None or int(match[1]) > 38):
            raise ValueError("must be string, or decimal(38, s) with s from 0 to 38")
        return value

    @field_validator("splits")
    @classmethod
    def _some_splits(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= 64:
            raise ValueError("must be auto, or a number from 1 to 64")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.table is not None and self.query is not None:
            raise ValueError("table and query cannot stand together")
        if self.where is not None and self.query is not None:
            raise ValueError("where belongs into the query itself")
        return self

    @property
    def numeric_scale(self) -> int | None:
        """Digits behind the point for numbers without a declared precision; None: they stay text."""
        match = _DECIMAL.fullmatch(self.numeric)
        return int(match[1]) if match else None


class SqlOptions(StreamOptions):
    """What a job may say to the sql connector."""

    connection: str
    password: str | None = None
    schemas: list[str] | None = None
    tables: list[str] | None = None
    ssl: Ssl | None = None
    connect_timeout: int = Field(default=10, ge=1, le=600)
    statement_timeout: int = Field(default=0, ge=0)
    lock_timeout: int = Field(default=30, ge=0)
    keepalives: int = Field(default=30, ge=0, description="seconds of silence after which the server is probed")
    missing_columns: Literal["error", "null"] = "error"
    batch: Literal["file", "all"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """What a source needs to connect; times in seconds, 0: no limit.

    ``password`` and ``client_key`` (PEM) are the secrets themselves.
    """

    url: URL
    password: str | None = field(repr=False)
    client_key: str | None = field(repr=False)
    ssl: Ssl | None
    schemas: tuple[str, ...] | None
    connect_timeout: int
    statement_timeout: int
    lock_timeout: int
    keepalives: int


def parse_options(options: Mapping[str, Json]) -> SqlOptions:
    """Validate a job's options. Raises ConfigError naming the first option that is wrong."""
    return _validated(SqlOptions, options)


def stream_options(job: SqlOptions, own: Mapping[str, Json]) -> StreamOptions:
    """The options of one stream: its own, else the job's. Raises ConfigError."""
    said = {name: getattr(job, name) for name in StreamOptions.model_fields if name in job.model_fields_set}
    if {"table", "query"} & own.keys():
        said.pop("table", None)
        said.pop("query", None)
    return _validated(StreamOptions, {**said, **own})


def connection_options(options: SqlOptions, context: ConnectorContext) -> ConnectionOptions:
    """Where to connect, secrets fetched. Raises ConfigError."""
    url, password = _url(options, context)
    return ConnectionOptions(
        url=url._replace(password=None),
        password=password,
        client_key=_client_key(options.ssl, context),
        ssl=_within(options.ssl, context),
        schemas=None if options.schemas is None else tuple(options.schemas),
        connect_timeout=options.connect_timeout,
        statement_timeout=options.statement_timeout,
        lock_timeout=options.lock_timeout,
        keepalives=options.keepalives,
    )


def _url(options: SqlOptions, context: ConnectorContext) -> tuple[URL, str | None]:
    by_reference = _REFERENCE.fullmatch(options.connection) is not None
    text = context.secret(options.connection) if by_reference else options.connection
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "sql connector: option 'connection' is no database URL",
            hint="write it like postgresql://user@host:5432/database",
        ) from None
    if any("@" in part for part in (url.host or "", url.database or "")) and url.password is not None:
        # What SQLAlchemy takes for the host or database is the password's end: messages would show it.
        raise ConfigError(
            "sql connector: option 'connection' holds an @ that ends the password too early",
            hint="write @ as %40 and / as %2F in the user and password, or say password: env:NAME beside the URL",
        )
    if (url.password is not None or any("password" in name for name in url.query)) and not by_reference:
        raise ConfigError(
            "sql connector: option 'connection' holds a password",
            hint="take it out of the URL and say password: env:NAME, or connection: env:NAME for the whole URL",
        )
    if options.password is None:
        return url, None if url.password is None else str(url.password)
    return url, context.secret(options.password)


@contextlib.contextmanager
def client_key_file(options: ConnectionOptions) -> Iterator[str | None]:
    """The file that holds the client's key; of a secret one that is there only while a connection is made."""
    if options.client_key is None:
        yield None if options.ssl is None else options.ssl.key
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # nobody else may read it
        file.write(options.client_key)
        file.flush()
        yield file.name


def _client_key(ssl: Ssl | None, context: ConnectorContext) -> str | None:
    if ssl is None or ssl.key is None or _REFERENCE.fullmatch(ssl.key) is None:
        return None
    return context.secret(ssl.key)


def _within(ssl: Ssl | None, context: ConnectorContext) -> Ssl | None:
    if ssl is None:
        return None
    files = {name: getattr(ssl, name) for name in ("root_certificate", "certificate", "key")}
    return ssl.model_copy(
        update={name: str(context.root / value) for name, value in files.items() if value not in (None, "system")}
    )


def _validated(model: type[_M], options: Mapping[str, Any]) -> _M:
    try:
        return model.model_validate(dict(options))
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        raise _config_error(model, name, first["type"], first["msg"]) from None


def _config_error(model: type[BaseModel], name: str, kind: str, message: str) -> ConfigError:
    known = sorted(model.model_fields)
    if kind == "extra_forbidden":
        hint = did_you_mean(name, known) or f"the options are {', '.join(known)}"
        return ConfigError(f"sql connector: unknown option {name!r}", hint=hint)
    if kind == "missing":
        return ConfigError(
            f"sql connector: option {name!r} is missing",
            hint="say which database: connection: postgresql://user@host:5432/database",
        )
    reason = message.removeprefix("Value error, ")
    return ConfigError(f"sql connector: option {name!r}: {reason}" if name else f"sql connector: {reason}")
