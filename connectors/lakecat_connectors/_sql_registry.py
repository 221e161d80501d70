"""Which source reads which URL; a source's module, and its driver, are imported when a job names it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Final

from sqlalchemy.exc import NoSuchModuleError

from lakecat.connector import ConnectorContext
from lakecat.errors import ConfigError
from lakecat_connectors._sql_options import ConnectionOptions
from lakecat_connectors._sql_source import SqlSource

SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "postgresql": ("_sql_postgres", "PostgresSource"),
    "postgres": ("_sql_postgres", "PostgresSource"),
    "postgresql+psycopg": ("_sql_postgres", "PostgresSource"),
    "mysql": ("_sql_mysql", "MySqlSource"),
    "mysql+pymysql": ("_sql_mysql", "MySqlSource"),
    "mariadb": ("_sql_mysql", "MySqlSource"),
    "mariadb+pymysql": ("_sql_mysql", "MySqlSource"),
    "sqlite": ("_sql_sqlite", "SqliteSource"),
    "duckdb": ("_sql_duckdb", "DuckDbSource"),
}
_EXTRAS: Final = {"psycopg": "postgres", "pymysql": "mysql"}
_OTHERS: Final = ("_sql_generic", "GenericSource")


def open_source(options: ConnectionOptions, context: ConnectorContext) -> SqlSource:
    """The source for the URL's scheme. Raises ConfigError for schemes unknown, and for drivers not installed."""
    scheme = options.url.drivername
    if scheme not in SOURCES and not _is_dialect(options):
        close = difflib.get_close_matches(scheme, SOURCES, n=1)
        raise ConfigError(
            f"sql connector: no source reads {scheme}:// URLs",
            hint=f"did you mean {close[0]}://?" if close else f"there are {', '.join(sorted(SOURCES))}",
        )
    module, name = SOURCES.get(scheme, _OTHERS)
    try:
        kind: type[SqlSource] = getattr(importlib.import_module(f"lakecat_connectors.{module}"), name)
    except ModuleNotFoundError as err:
        extra = _EXTRAS.get(err.name or "")
        if extra is None:
            raise
        raise ConfigError(
            f"sql connector: the driver for {scheme}:// URLs, {err.name}, is not installed",
            hint=f"pip install 'lakecat[{extra}]'",
        ) from err
    return kind.open(options, context)


def _is_dialect(options: ConnectionOptions) -> bool:
    """Whether SQLAlchemy knows the URL's scheme."""
    try:
        options.url.get_dialect()
    except NoSuchModuleError:
        return False
    return True
