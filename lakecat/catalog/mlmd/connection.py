"""MLMD's ConnectionConfig as a catalog URL, and the database it names made where it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from lakecat.catalog.database import build_engine
from lakecat.catalog.mlmd.protos import pb
from lakecat.errors import CatalogUnavailableError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to open: ``url`` (None: a database in memory), made where missing with ``create``, only read or not."""

    url: URL | None
    create: bool = True
    read_only: bool = False


def target_of(config: Any) -> Target:
    """The database that a ConnectionConfig names. Raises ConfigError where it names none, or one we cannot open."""
    kind = config.WhichOneof("config")
    if kind == "fake_database":
        return Target(url=None)
    if kind == "sqlite":
        return _sqlite(config.sqlite)
    if kind == "mysql":
        return Target(url=_mysql(config.mysql))
    if kind == "postgresql":
        return Target(url=_postgresql(config.postgresql))
    raise ConfigError(
        "the ConnectionConfig names no database", hint="set its fake_database, sqlite, mysql or postgresql"
    )


def skips_creation(config: Any) -> bool:
    """Whether a server's database must exist already."""
    kind = config.WhichOneof("config")
    return kind in ("mysql", "postgresql") and bool(getattr(config, kind).skip_db_creation)


def create_database(url: URL) -> None:
    """Make the database on the server where it is missing. Raises CatalogUnavailableError."""
    try:
        if url.get_backend_name() == "mysql":
            _create(url._replace(database=None), "CREATE DATABASE IF NOT EXISTS {}", str(url.database))
        elif not _answers(url):
            _create(url.set(database="postgres"), "CREATE DATABASE {}", str(url.database))
    except SQLAlchemyError as err:
        reason = str(getattr(err, "orig", None) or err).replace(str(url.password or "\0"), "***").strip()
        raise CatalogUnavailableError(
            f"{url.render_as_string(hide_password=True)}: {reason}",
            hint="make the database first, or set skip_db_creation where the user may not",
        ) from err


def _create(server: URL, statement: str, name: str) -> None:
    engine = build_engine(server)
    # A database's name cannot be bound: the dialect quotes it.
    quoted = engine.dialect.identifier_preparer.quote_identifier(name)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement.format(quoted).replace("%", "%%"))
    finally:
        engine.dispose()


def _answers(url: URL) -> bool:
    engine = build_engine(url)
    try:
        with engine.connect():
            return True
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _sqlite(config: Any) -> Target:
    modes = pb.SqliteMetadataSourceConfig
    mode = config.connection_mode if config.HasField("connection_mode") else modes.READWRITE_OPENCREATE
    name = config.filename_uri
    if name.startswith("file:"):
        path, _, query = name.removeprefix("file:").partition("?")
        options = parse_qs(query)
        name = unquote(path.removeprefix("//localhost") if path.startswith("//localhost/") else path)
        name = "/" + name.lstrip("/") if name.startswith("//") else name
        if options.get("mode") == ["memory"]:
            name = ""
        elif options.get("mode") == ["ro"]:
            mode = modes.READONLY
    if name in ("", ":memory:"):
        return Target(url=None)
    return Target(
        url=URL.create("sqlite", database=name),
        create=mode in (modes.UNKNOWN, modes.READWRITE_OPENCREATE),
        read_only=mode == modes.READONLY,
    )


def _mysql(config: Any) -> URL:
    ssl = config.ssl_options
    _refuse(ssl, "mysql.ssl_options", ("capath", "cipher"))
    query = {f"ssl_{name}": getattr(ssl, name) for name in ("key", "cert", "ca") if getattr(ssl, name)}
    if ssl.HasField("verify_server_cert"):
        query["ssl_verify_cert"] = "true" if ssl.verify_server_cert else "false"
    if config.socket:
        query["unix_socket"] = config.socket
    return URL.create(
        "mysql+pymysql",
        config.user or None,
        config.password or None,
        config.host or "localhost",
        config.port or 3306,
        config.database,
        query,
    )


def _postgresql(config: Any) -> URL:
    ssl = config.ssloption
    _refuse(config, "postgresql", ("passfile",))
    _refuse(ssl, "postgresql.ssloption", ("sslpassword",))
    names = ("sslmode", "sslcert", "sslkey", "sslrootcert")
    port = config.port or "5432"
    if not port.isdigit():
        raise ConfigError(f"postgresql.port is no number: {port!r}")
    return URL.create(
        "postgresql+psycopg",
        config.user or None,
        config.password or None,
        config.hostaddr or config.host or "localhost",
        int(port),
        config.dbname or config.user,
        {name: getattr(ssl, name) for name in names if getattr(ssl, name)},
    )


def _refuse(config: Any, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(config, name):
            raise ConfigError(f"{where}.{name} is set, and lakecat has no such option")
