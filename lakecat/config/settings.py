"""``lakecat.yaml`` and the environment, as frozen settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import BeforeValidator, Field

from lakecat.config.document import Document, KeyPath, read_document
from lakecat.config.validate import Frozen, suggestion, validate
from lakecat.config.values import Duration, Folder, SecretReference, Size, SizeText
from lakecat.errors import ConfigError, Where
from lakecat.types import Json

FILE_NAME: Final = "lakecat.yaml"
_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]{0,126}$"


class Storage(Frozen):
    """How to reach an object store. Without keys, AWS's own credential chain is used."""

    endpoint: str | None = Field(
        default=None, description="URL of an S3 service other than AWS, e.g. http://localhost:9000"
    )
    region: str | None = Field(default=None, description="region of the bucket")
    access_key: SecretReference | None = Field(default=None, description="access key id, as env:NAME or file:PATH")
    secret_key: SecretReference | None = Field(default=None, description="secret access key, as env:NAME or file:PATH")
    session_token: SecretReference | None = Field(default=None, description="session token, as env:NAME or file:PATH")
    anonymous: bool = Field(default=False, description="send no credentials (public buckets)")
    path_style: bool = Field(default=False, description="address buckets by path instead of by host name")
    connect_timeout: Duration = Field(default=timedelta(seconds=5), description="longest wait for a connection")
    read_timeout: Duration = Field(default=timedelta(seconds=30), description="longest wait for an answer")
    attempts: int = Field(default=5, ge=1, le=20, description="tries of one request before it counts as failed")


class EngineSettings(Frozen):
    """The SQL engine that runs transforms, merges and queries."""

    name: str = Field(default="duckdb", description="which engine")
    memory_limit: SizeText = Field(default="1GB", description="memory the engine may use before it spills to disk")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="threads of the engine; all processors when absent"
    )
    temp_directory: Folder | None = Field(
        default=None, description="folder for spilled data; the system's own when absent"
    )
    max_temp_size: SizeText | None = Field(default=None, description="most bytes that may be spilled")


class TransformSettings(Frozen):
    """Where the SQL scripts are, and how they are read and run."""

    folder: str = Field(default="transforms", description="folder of the scripts, relative to the project")
    dialects: dict[str, str] = Field(
        default_factory=dict, description="dialect by glob over the script's path in the folder; first match wins"
    )
    parallel: int = Field(default=2, ge=1, le=64, description="scripts that may run at the same time")
    variables: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="values for the named parameters of scripts"
    )


class Retention(Frozen):
    """Which snapshots a table keeps readable. The catalog's history keeps every version's record for ever."""

    snapshots: int = Field(default=100, ge=1, description="at least this many of the newest snapshots are kept")
    age: Duration = Field(default=timedelta(days=5), description="snapshots younger than this are never expired")
    metadata_versions: int = Field(
        default=20, ge=1, le=1000, description="older metadata files that a table still lists"
    )
    grace: Duration = Field(
        default=timedelta(hours=24),
        description="files of an expired snapshot stay this much longer, for queries that still read them",
    )


class WriteSettings(Frozen):
    """How data files are written."""

    target_file_size: Size = Field(default=128 << 20, ge=1 << 20, description="size at which a new data file is begun")
    memory: Size = Field(default=256 << 20, ge=16 << 20, description="bytes that rows waiting for their file may take")
    row_group_rows: int = Field(default=1_048_576 // 8, ge=1024, description="rows of one Parquet row group")
    compression: Literal["zstd", "snappy", "gzip", "lz4", "none"] = Field(
        default="zstd", description="zstd, snappy, gzip, lz4 or none"
    )


class CatalogSettings(Frozen):
    """The catalog database."""

    url: str = Field(description="sqlite:///file, postgresql://user@host/database or mysql://user@host/database")
    password: SecretReference | None = Field(default=None, description="the user's password, as env:NAME or file:PATH")


def _named(key: str) -> BeforeValidator:
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class ProjectFile(Frozen):
    """The keys of ``lakecat.yaml``."""

    project: str | None = Field(
        default=None, pattern=_NAME, description="name of the project; its folder's name when absent"
    )
    lake: str = Field(default="./lake", min_length=1, description="folder or s3:// URL that holds the tables")
    catalog: Annotated[CatalogSettings, _named("url")] = Field(
        default=CatalogSettings(url="sqlite:///./catalog.db"),
        description="the catalog database: a URL, or url and password",
    )
    storage: Storage = Field(default=Storage(), description="how to reach an object store")
    engine: Annotated[EngineSettings, _named("name")] = Field(default=EngineSettings(), description="the SQL engine")
    dialect: str = Field(
        default="duckdb", description="SQL dialect of the scripts, unless transforms.dialects says otherwise"
    )
    transforms: TransformSettings = Field(default=TransformSettings(), description="the SQL scripts")
    retention: Retention = Field(default=Retention(), description="which snapshots stay readable")
    write: WriteSettings = Field(default=WriteSettings(), description="how data files are written")
    profiles: dict[str, dict[str, object]] = Field(
        default_factory=dict, description="named sets of keys laid over the others, chosen by --profile"
    )


class Settings(Frozen):
    """A project's settings, with paths made absolute and the profile applied.

    ``lake`` is ``file:///absolute/folder`` or ``s3://bucket/prefix``. ``catalog`` is a SQLAlchemy URL without a
    password; ``catalog_url()`` puts the password in.
    """

    project: str
    root: Path
    lake: str
    catalog: str
    catalog_password: SecretReference | None = None
    storage: Storage = Storage()
    engine: EngineSettings = EngineSettings()
    dialect: str = "duckdb"
    transforms: TransformSettings = TransformSettings()
    retention: Retention = Retention()
    write: WriteSettings = WriteSettings()
    profile: str | None = None

    def catalog_url(self, environ: Mapping[str, str]) -> str:
        """The catalog's URL with its password, for opening it only. Raises ConfigError when that cannot be found."""
        if self.catalog_password is None:
            return self.catalog
        parts = urlsplit(self.catalog)
        user, _, host = parts.netloc.rpartition("@")
        password = quote(self.catalog_password.resolve(environ).reveal(), safe="")
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def load_settings(path: Path, *, profile: str | None = None, environ: Mapping[str, str]) -> Settings:
    """Read a project's ``lakecat.yaml`` (``path`` is the file or its folder).

    ``profile``, else ``LAKECAT_PROFILE`` of ``environ``, chooses one of ``profiles``. Every profile is checked,
    also those not chosen. Raises ConfigError with file and line.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(
            f"there is no project here: {file} is missing",
            hint="go to the project's folder, or name its file with --config",
            next_command="lakecat init",
        )
    document = read_document(file)
    root = Path(os.path.abspath(file)).parent  # noqa: PTH100 - absolute without following links
    base = validate(ProjectFile, document, root=root)
    settings = {name: _load_profile(document, name, root) for name in base.profiles}
    chosen = profile or environ.get("LAKECAT_PROFILE") or None
    if chosen is None:
        return _settings(base, document, root, None)
    if chosen not in settings:
        raise ConfigError(
            f"there is no profile {chosen!r}",
            where=document.where(("profiles",)),
            hint=suggestion(chosen, list(settings)) or "the project has no profiles",
        )
    return settings[chosen]


def _load_profile(document: Document, name: str, root: Path) -> Settings:
    merged = _overlay(document, name)
    return _settings(validate(ProjectFile, merged, root=root), merged, root, name)


def _overlay(document: Document, profile: str) -> Document:
    """The document with ``profiles.<profile>`` laid over it: mappings key by key, everything else whole."""
    marks = {path: mark for path, mark in document.marks.items() if path[:1] != ("profiles",)}
    prefix: KeyPath = ("profiles", profile)
    marks |= {path[2:]: mark for path, mark in document.marks.items() if path[:2] == prefix and len(path) > 2}
    assert isinstance(document.value, dict)  # noqa: S101 - validated as ProjectFile before
    base = {key: value for key, value in document.value.items() if key != "profiles"}
    profiles = document.value["profiles"]
    assert isinstance(profiles, dict)  # noqa: S101 - validated as ProjectFile before
    return Document(document.file, _merged(base, profiles[profile]), marks)


def _merged(base: Json, over: Json) -> Json:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _settings(file: ProjectFile, document: Document, root: Path, profile: str | None) -> Settings:
    where = document.where(("catalog", "url")) if ("catalog", "url") in document.marks else document.where(("catalog",))
    return Settings(
        project=file.project or _project_name(root),
        root=root,
        lake=_lake_url(file.lake, root, document.where(("lake",))),
        catalog=_catalog_url(file.catalog, root, where),
        catalog_password=file.catalog.password,
        storage=file.storage,
        engine=file.engine,
        dialect=file.dialect,
        transforms=file.transforms,
        retention=file.retention,
        write=file.write,
        profile=profile,
    )


def _project_name(root: Path) -> str:
    text = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in root.name)
    return text if text[:1].isalpha() else f"p_{text}"


def _lake_url(text: str, root: Path, where: Where) -> str:
    scheme, colon, _ = text.partition("://")
    if not colon:
        return "file://" + os.path.abspath(root / Path(text).expanduser())  # noqa: PTH100 - links stay as written
    if scheme == "file":
        return text.rstrip("/")
    if scheme != "s3":
        raise ConfigError(
            f"key 'lake': no store for {scheme}:// URLs", where=where, hint="write a folder, or s3://bucket/prefix"
        )
    parts = urlsplit(text)
    if parts.password or parts.username or parts.query or not parts.netloc:
        raise ConfigError(
            "key 'lake': must be s3://bucket/prefix and nothing else",
            where=where,
            hint="credentials belong under storage:, by reference",
        )
    return text.rstrip("/")


_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
_SECRET_KEYS: Final = frozenset({"password", "passwd", "pwd", "passfile", "sslpassword"})


def _catalog_url(catalog: CatalogSettings, root: Path, where: Where) -> str:
    scheme, colon, rest = catalog.url.partition("://")
    if scheme == "sqlite" and colon:
        return _sqlite_url(rest, root, where)
    driver = _DRIVERS.get(scheme, scheme)
    if not colon or driver not in _DRIVERS.values():
        raise ConfigError(
            f"key 'catalog': no database for {scheme}:// URLs" if colon else "key 'catalog': is not a URL",
            where=where,
            hint="write sqlite:///./catalog.db, postgresql://user@host/database or mysql://user@host/database",
        )
    parts = urlsplit(f"{driver}://{rest}")
    if parts.password is not None or any(key.lower() in _SECRET_KEYS for key, _ in parse_qsl(parts.query)):
        raise ConfigError(
            "key 'catalog': the URL holds a password",
            where=where,
            hint="write catalog: {url: postgresql://user@host/database, password: env:PGPASSWORD}",
        )
    if catalog.password is not None and not parts.username:
        raise ConfigError("key 'catalog': a password needs a user in the URL", where=where)
    return urlunsplit(parts)


def _sqlite_url(rest: str, root: Path, where: Where) -> str:
    path, _, query = rest.removeprefix("/").partition("?")
    if not rest.startswith("/") or not path or path == ":memory:" or query:
        raise ConfigError(
            "key 'catalog': must name a file",
            where=where,
            hint="write sqlite:///./catalog.db or sqlite:////absolute/path",
        )
    return "sqlite:///" + os.path.abspath(root / path)  # noqa: PTH100 - links stay as written
