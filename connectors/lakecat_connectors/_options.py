"""The files connector's options: validated once, strictly, with errors that name the option."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lakecat.errors import ConfigError
from lakecat.types import Json
from lakecat_connectors._periods import check_times, has_time, parse_span

Format = Literal["csv", "fixed", "jsonl", "json", "parquet", "avro", "arrow", "orc", "excel", "xml"]
Compression = Literal["none", "gzip", "bz2", "zstd", "xz"]
Archive = Literal["none", "zip", "tar"]

_FORMATS: Final[Mapping[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".avro": "avro",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".orc": "orc",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".xml": "xml",
    ".fwf": "fixed",
}
_COMPRESSIONS: Final[Mapping[str, Compression]] = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".xz": "xz",
}
_TARS: Final[Mapping[str, Compression]] = {".tgz": "gzip", ".tbz2": "bz2", ".tzst": "zstd", ".txz": "xz"}
_RANGE: Final = re.compile(r"([A-Z]{1,3}[1-9]\d{0,6}|[A-Z]{1,3}):([A-Z]{1,3}[1-9]\d{0,6}|[A-Z]{1,3})")
_NAMES: Final = "csv, tsv, fixed, jsonl, json, parquet, avro, arrow, orc, excel or xml"


def _reference(value: str) -> str:
    if not value.startswith(("env:", "file:")):
        raise ValueError("must be a reference: env:NAME or file:PATH")
    return value


Reference = Annotated[str, AfterValidator(_reference)]
"""The name of a secret, never the secret."""


class EventsOptions(BaseModel):
    """The queue that tells of new files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    queue: str = Field(pattern=r"^https?://")
    endpoint: str | None = None
    wait: int = Field(default=1, ge=0, le=20)


class SftpLogin(BaseModel):
    """How to log in to an sftp server; password and passphrase by reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    user: str | None = None
    password: Reference | None = None
    key_file: str | None = None
    passphrase: Reference | None = None
    known_hosts: str | None = None


class HttpSignIn(BaseModel):
    """How to sign in to the servers of http(s):// paths: ``auth`` as the rest connector has it, or headers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    auth: dict[str, Any] | None = None
    headers: dict[str, str] = {}


class GoogleLogin(BaseModel):
    """How to log in to Google Cloud Storage; without anything by the application default credentials."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    service_account: Reference | None = None
    project: str | None = None
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    anonymous: bool = False


class AzureLogin(BaseModel):
    """How to log in to Azure Blob Storage; with an account alone by Azure's default credentials."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    account: str | None = None
    key: Reference | None = None
    sas: Reference | None = None
    connection_string: Reference | None = None
    anonymous: bool = False


class FilesOptions(BaseModel):
    """What a job may say to the files connector; the defaults are RFC 4180 CSV in UTF-8."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: str | list[str]
    format: Literal[
        "auto", "csv", "tsv", "fixed", "jsonl", "json", "parquet", "avro", "arrow", "orc", "excel", "xml"
    ] = "auto"
    compression: Literal["auto", "none", "gzip", "bz2", "zstd", "xz"] = "auto"
    archive: Literal["auto", "none", "zip", "tar"] = "auto"
    member: str = "*"
    batch: Literal["file", "all"] | None = None
    since: str | None = None
    events: EventsOptions | None = None
    empty: Literal["error", "skip"] = "error"
    missing_columns: Literal["error", "null"] = "error"
    dialect: Literal["declared", "detect"] = "declared"
    delimiter: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    header: bool = True
    names: list[str] | None = None
    skip_lines: int = Field(default=0, ge=0, le=1_000)
    encoding: str = "utf-8"
    null: list[str] = [""]
    quoted_null: bool = False
    trim: bool = False
    decimals: Literal["auto", "decimal"] = "auto"
    date_formats: list[str] = []
    timestamp_formats: list[str] = []
    widths: list[int] | None = None
    positions: dict[str, list[int]] | None = None
    records: str | None = None
    record: str | None = None
    attribute_prefix: str = ""
    sheet: str | int | None = None
    range: str | None = None
    allow_private: bool = False
    http: HttpSignIn | None = None
    sftp: SftpLogin | None = None
    google: GoogleLogin | None = None
    azure: AzureLogin | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The path option, always as a tuple."""
        return (self.path,) if isinstance(self.path, str) else tuple(self.path)

    @field_validator("path")
    @classmethod
    def _some_path(cls, value: str | list[str]) -> str | list[str]:
        if not value or (isinstance(value, list) and "" in value):
            raise ValueError("must not be empty")
        if "\0" in "".join(value):
            raise ValueError("holds a NUL, which no file's name does")
        return value

    @field_validator("path")
    @classmethod
    def _known_times(cls, value: str | list[str]) -> str | list[str]:
        for path in [value] if isinstance(value, str) else value:
            check_times(path)
        return value

    @field_validator("since")
    @classmethod
    def _a_span(cls, value: str | None) -> str | None:
        if value is not None:
            parse_span(value)
        return value

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\0\r\n"):
            raise ValueError("must be one ASCII character, and no line break")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
            "".encode(value)
        except LookupError as err:
            raise ValueError("is no text encoding that Python knows, such as utf-8, utf-16, latin-1, cp1252") from err
        return "utf-8" if name == "utf-8-sig" else name

    @field_validator("date_formats", "timestamp_formats")
    @classmethod
    def _formats_without_zone(cls, value: list[str]) -> list[str]:
        if any("%" not in item or "%z" in item.lower() for item in value):
            raise ValueError("holds strptime formats such as %d/%m/%Y; times with an offset are ISO 8601 only")
        return value

    @field_validator("range")
    @classmethod
    def _is_range(cls, value: str | None) -> str | None:
        if value is not None and not _RANGE.fullmatch(value):
            raise ValueError("is written like B3:F100, or B:F for whole columns")
        return value

    @field_validator("widths")
    @classmethod
    def _some_widths(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (not value or min(value) < 1):
            raise ValueError("holds the columns' widths in characters, each at least 1")
        return value

    @field_validator("positions")
    @classmethod
    def _sound_positions(cls, value: dict[str, list[int]] | None) -> dict[str, list[int]] | None:
        for name, pair in (value or {}).items():
            if len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
                raise ValueError(f"{name}: say the first and the last character, counted from 1: [1, 8]")
        if value is not None and not value:
            raise ValueError("names the columns, each with its first and last character: {id: [1, 8]}")
        return value

    @field_validator("record", "records", "member")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("must not be blank")
        return value

    @model_validator(mode="after")
    def _fixed_width_is_complete(self) -> Self:
        if self.format != "fixed":
            return self
        if (self.widths is None) == (self.positions is None):
            raise ValueError("format: fixed needs either widths: [...] or positions: {name: [first, last]}")
        if self.positions is not None and self.names is not None:
            raise ValueError("positions: names the columns already; leave names: out")
        if self.widths is not None and self.names is not None and len(self.names) != len(self.widths):
            raise ValueError(f"{len(self.widths)} widths, but {len(self.names)} names")
        return self

    @model_validator(mode="after")
    def _since_has_times(self) -> Self:
        if self.since is not None and not all(has_time(path) for path in self.paths):
            raise ValueError("since needs a time in each path, such as in/dt={%Y-%m-%d}/*.csv")
        if self.events is not None and (self.since or not all(path.startswith("s3://") for path in self.paths)):
            raise ValueError("events needs s3:// paths, and no since")
        return self

    @model_validator(mode="after")
    def _dialect_is_unambiguous(self) -> Self:
        special = [c for c in (self.effective_delimiter, self.quote) if c]
        if len(set(special)) != len(special) or (self.escape == self.effective_delimiter):
            raise ValueError("delimiter, quote and escape must differ")
        if not self.header and not self.names and self.dialect != "detect" and self.positions is None:
            raise ValueError("header: false needs names: [...], the columns' names in order")
        if self.header and self.names:
            raise ValueError("names: is for files without a header; add header: false")
        if self.escape and self.escape != self.quote and any(self.escape in token for token in self.null):
            raise ValueError(f"a null token cannot contain the escape character {self.escape!r}")
        return self

    @property
    def effective_delimiter(self) -> str:
        """The declared delimiter, else a tab for tsv and a comma for everything else."""
        return self.delimiter or ("\t" if self.format == "tsv" else ",")


def parse_options(options: Mapping[str, Json]) -> FilesOptions:
    """Validate a job's options. Raises ConfigError naming the first option that is wrong."""
    try:
        return FilesOptions.model_validate(dict(options))
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        raise _config_error([str(part) for part in first["loc"]], first["type"], first["msg"]) from None


_INNER: Final[Mapping[str, type[BaseModel]]] = {
    "events": EventsOptions,
    "sftp": SftpLogin,
    "http": HttpSignIn,
    "google": GoogleLogin,
    "azure": AzureLogin,
}


def _config_error(place: list[str], kind: str, message: str) -> ConfigError:
    inner = _INNER.get(place[0]) if len(place) > 1 else None
    name = ".".join(place[: 2 if inner else 1])
    if kind == "extra_forbidden":
        known = sorted((inner or FilesOptions).model_fields)
        close = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(known)}"
        return ConfigError(f"files connector: unknown option {name!r}", hint=hint)
    if kind == "missing":
        where = "say where the files are: path: in/*.csv" if name == "path" else None
        return ConfigError(f"files connector: option {name!r} is missing", hint=where)
    reason = message.removeprefix("Value error, ")
    return ConfigError(f"files connector: option {name!r}: {reason}" if name else f"files connector: {reason}")


def file_format(options: FilesOptions, name: str) -> Format:
    """The format of a file, declared or by its suffix. Raises ConfigError when neither says it."""
    if options.format != "auto":
        return "csv" if options.format == "tsv" else options.format
    if file_archive(options, name) != "none":
        name = options.member
    suffix = _suffixes(name)[0]
    if suffix not in _FORMATS:
        raise ConfigError(
            f"files connector: the format of {name!r} is not clear from its name",
            hint=f"say format: {_NAMES}; of an archive also member: *.csv",
        )
    return _FORMATS[suffix]


def file_compression(options: FilesOptions, name: str) -> Compression:
    """The compression of a file, declared or by its suffix."""
    if options.compression != "auto":
        return options.compression
    last = _suffixes(name)[1]
    return _COMPRESSIONS.get(last) or _TARS.get(last, "none")


def file_archive(options: FilesOptions, name: str) -> Archive:
    """What kind of archive a file is, declared or by its suffix."""
    if options.archive != "auto":
        return options.archive
    suffix = _suffixes(name)[0]
    return "zip" if suffix == ".zip" else "tar" if suffix == ".tar" else "none"


def file_delimiter(options: FilesOptions, name: str) -> str:
    """The delimiter for one file: declared, else by format and suffix."""
    if options.delimiter is None and options.format == "auto" and _suffixes(name)[0] == ".tsv":
        return "\t"
    return options.effective_delimiter


def _suffixes(name: str) -> tuple[str, str]:
    """Format suffix and compression suffix, lower case, ``""`` where there is none."""
    parts = name.lower().rsplit("/", 1)[-1].split(".")
    last = f".{parts[-1]}" if len(parts) > 1 else ""
    if last in _TARS:
        return ".tar", last
    if last in _COMPRESSIONS:
        return (f".{parts[-2]}" if len(parts) > 2 else ""), last
    return last, ""
