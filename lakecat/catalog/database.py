"""The one way to the catalog database: engines, transactions, retries, and drivers' errors made ours.

PostgreSQL and MySQL/MariaDB run READ COMMITTED with row locks; SQLite takes its one write lock with BEGIN IMMEDIATE.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote, quote_plus

import sqlalchemy as sa
import tenacity
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from lakecat.catalog import sqlite, trips
from lakecat.catalog.driver_errors import code_of, is_starting, meaning_of
from lakecat.errors import CatalogError, CatalogUnreachableError, CommitUnknownError, ConfigError, LakecatError

T = TypeVar("T")
Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"
"""Any row; its columns are read by name."""

LOCK_WAIT_SECONDS: Final = 60
"""How long a statement waits for a row lock before the transaction is taken back and tried again."""
_IDLE_SECONDS: Final = 600
_CONNECT_SECONDS: Final = 10
_RETRY_SECONDS: Final = 120
_ATTEMPTS: Final = 50

_ALLOWED: Final = {
    "sqlite": frozenset[str](),
    "postgresql": frozenset(
        {
            "host",
            "sslmode",
            "sslrootcert",
            "sslcert",
            "sslkey",
            "application_name",
            "connect_timeout",
            "target_session_attrs",
        }
    ),
    "mysql": frozenset(
        {"unix_socket", "ssl_ca", "ssl_cert", "ssl_key", "ssl_verify_cert", "ssl_verify_identity", "connect_timeout"}
    ),
}
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "mariadb+pymysql": "mysql+pymysql",
}  # fmt: skip
_PG_TRANSIENT: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02"})
"""Serialization failure, deadlock, lock timeout, server shutting down."""
_MYSQL_TRANSIENT: Final = frozenset({1205, 1213, 1020, 1927})
"""Lock timeout, deadlock, record changed since it was read, connection killed."""
_SQLITE_TRANSIENT: Final = frozenset({5, 261, 517, 773, 6, 262, 518})
"""SQLITE_BUSY and SQLITE_LOCKED with their extended codes; MySQL's numbers begin at 1000."""
_UNIQUE: Final = frozenset({"23505", 1062, 1555, 2067})
_FOREIGN: Final = frozenset({"23503", 1216, 1217, 1451, 1452})
_RACES: Final = 5
_SAID_CHARACTERS: Final = 300


class now_ms(sa.sql.functions.FunctionElement[int]):  # noqa: N801 - it is written like an SQL function
    """The database's clock at this moment, in milliseconds since 1970-01-01 UTC."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _now_sqlite(_element: now_ms, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_postgresql(_element: now_ms, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)"


@compiles(now_ms, "mysql")
def _now_mysql(_element: now_ms, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(3)) * 1000) AS SIGNED)"


def parse_url(url: str | URL) -> URL:
    """Check a catalog URL: one of the three engines, and only parameters that are known to be safe.

    Raises ConfigError; the message never holds the password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "the catalog's URL does not parse",
            hint="sqlite:///catalog.db, postgresql+psycopg://user@host/name or mysql+pymysql://user@host/name",
        ) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        raise ConfigError(
            f"{parsed.drivername!r} is no catalog database",
            hint="use sqlite, postgresql+psycopg or mysql+pymysql (MariaDB too)",
        )
    parsed = parsed.set(drivername=driver)
    allowed = _ALLOWED[parsed.get_backend_name()]
    for name in parsed.query:
        if name not in allowed:
            raise ConfigError(
                f"the catalog's URL has a parameter {name!r}, which is not allowed",
                hint=f"allowed: {', '.join(sorted(allowed)) or 'none'}",
            )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError("the catalog's URL names no database", hint="sqlite:///catalog.db")
    if not _is_plain(f"{parsed.database}{parsed.host or ''}{parsed.username or ''}"):
        raise ConfigError("the catalog's URL holds a character that no database, host or user has in its name")
    return parsed


def _is_plain(text: str) -> bool:
    """Whether the text is Unicode without NUL, as drivers and file systems need it."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def build_engine(url: URL) -> sa.Engine:
    """An engine whose sessions have the settings that the catalog relies on."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return sqlite.build_engine(url)
    if backend == "postgresql":
        settings = f"-c lock_timeout={LOCK_WAIT_SECONDS}s -c idle_in_transaction_session_timeout={_IDLE_SECONDS}s"
        arguments: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            # To compile a filter of many conditions takes seconds; the catalog's questions take milliseconds.
            "options": f"{settings} -c timezone=UTC -c jit=off",
            "tcp_user_timeout": 1000 * LOCK_WAIT_SECONDS,
        }
    else:
        url = url.update_query_dict({"charset": "utf8mb4"})
        arguments = {
            "connect_timeout": _CONNECT_SECONDS,
            # A statement may wait for a lock as long as the server lets it: the socket waits longer.
            "read_timeout": 2 * LOCK_WAIT_SECONDS,
            "write_timeout": 2 * LOCK_WAIT_SECONDS,
            "local_infile": False,
            "init_command": (
                f"SET SESSION innodb_lock_wait_timeout={LOCK_WAIT_SECONDS}, time_zone='+00:00',"
                " sql_mode='STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
            ),
        }
    for name in ("connect_timeout",):
        if name in url.query:
            arguments.pop(name)
    options: dict[str, Any] = {"isolation_level": "READ COMMITTED", "pool_recycle": 1800}
    if backend == "mysql":
        options["paramstyle"] = "format"  # by position, so that one row's values can be repeated for many rows
    engine = sa.create_engine(url, connect_args=arguments, **options)
    trips.ping_at_checkout(engine)
    if backend == "mysql":
        sa.event.listen(engine, "connect", _lift_recursion_limit)
    return engine


def _lift_recursion_limit(connection: Any, _entry: Any) -> None:
    """Recursive SQL stops after 1,000 steps by default: MariaDB silently, MySQL with an error."""
    maria = "MariaDB" in connection.get_server_info()
    name = "max_recursive_iterations" if maria else "cte_max_recursion_depth"
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION {name} = 4294967295")


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may simply be tried again: it surely did not commit, and may succeed later."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or is_starting(error):
        return True
    code = code_of(error)
    if isinstance(code, str):
        return code in _PG_TRANSIENT
    return code in _MYSQL_TRANSIENT or code in _SQLITE_TRANSIENT


def _is_race(error: BaseException) -> bool:
    """Whether somebody else made the same row at the same moment, or removed (used) one that was to be used (removed).

    The second time it is there to be found, or it is not.
    """
    return isinstance(error, IntegrityError) and code_of(error) in _UNIQUE | _FOREIGN


def _may_retry(state: tenacity.RetryCallState) -> bool:
    error = None if state.outcome is None else state.outcome.exception()
    if error is None:
        return False
    return is_transient(error) or (_is_race(error) and state.attempt_number < _RACES)


class Database:
    """The catalog's engine with the two kinds of transaction it has."""

    def __init__(self, url: URL) -> None:
        self.url = url
        try:
            self.engine = build_engine(url)
        except ModuleNotFoundError as err:
            extra = "postgres" if url.get_backend_name() == "postgresql" else "mysql"
            raise ConfigError(
                f"the catalog {self.display} needs the driver {err.name}", hint=f"pip install 'lakecat[{extra}]'"
            ) from err
        self._pid = os.getpid()

    @property
    def backend(self) -> str:
        """``sqlite``, ``postgresql`` or ``mysql``."""
        return self.engine.dialect.name

    @property
    def read_only(self) -> bool:
        """Whether it is a file that this process may only read; a server tells only when something is written."""
        return self.backend == "sqlite" and sqlite.is_read_only(Path(self.url.database or ""))

    @property
    def display(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def connect(self) -> sa.Connection:
        """A connection; after a fork the parent's are left alone."""
        return self._connected(self.engine.connect)

    def _connected(self, connect: Callable[[], T]) -> T:
        if os.getpid() != self._pid:
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        try:
            return connect()
        except (SQLAlchemyError, LakecatError):
            raise
        except Exception as err:  # drivers raise anything when what answers is no database, or the host is no name
            raise CatalogUnreachableError(
                f"catalog {self.display}: what answers there is no database server ({type(err).__name__})",
                hint="check host and port in the catalog's URL",
                next_command="lakecat doctor",
            ) from err

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A transaction that reads; with ``snapshot`` all its statements see one moment. Raises CatalogError."""
        with self.translating(), self.connect() as connection:
            if snapshot and self.backend != "sqlite":  # SQLite's transactions always do
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def ask_once(self, ask: Callable[[sa.PoolProxiedConnection], T]) -> T:
        """What one statement answers that ``ask`` gives to the driver: alone, it sees one moment without a transaction.

        Raises CatalogError.
        """
        with self.translating():
            connection = self._connected(self.engine.raw_connection)
            try:
                return ask(connection)
            finally:
                connection.close()

    @contextmanager
    def writing(self, *, repeated: bool = True) -> Iterator[sa.Connection]:
        """A connection in a write transaction that the caller commits; closing it takes back what was not.

        Driver errors pass as they are, for the retry around it to judge. ``repeated``: there is one; else the
        connection is tested first, for it may have died while nobody used it.
        """
        with trips.unpinged() if repeated else nullcontext():
            taken = self.connect()
        with taken as connection:
            connection.execution_options(**{sqlite.WRITE: True})
            connection.begin()
            yield connection

    def write(self, work: Callable[[sa.Connection], T], *, repeatable: bool = True) -> T:
        """Run ``work`` in a write transaction, again after deadlocks, lock waits and lost connections.

        ``repeatable``: doing it again after it was committed changes nothing, for a connection may be lost when COMMIT
        was sent and its answer not received. Where that is not so, this is CommitUnknownError. Raises CatalogError.
        """

        def once() -> T:
            with self.writing() as connection:
                result = work(connection)
                try:
                    connection.commit()
                except DBAPIError as err:
                    if repeatable or not err.connection_invalidated:
                        raise
                    raise CommitUnknownError(
                        f"catalog {self.display} broke off while it committed, so it may have been written or not",
                        hint="look whether it is there before you write it again",
                    ) from err
                return result

        with self.translating():
            try:
                return once()
            except Exception as err:  # any: what may be tried again is chosen right here
                if not (is_transient(err) or _is_race(err)):
                    raise
            return self.retrying()(once)

    def retrying(self) -> tenacity.Retrying:
        """The catalog's one retry policy."""
        return tenacity.Retrying(
            retry=_may_retry,
            stop=tenacity.stop_after_delay(_RETRY_SECONDS) | tenacity.stop_after_attempt(_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.01, max=1.0),
            reraise=True,
        )

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn the driver's errors into CatalogError; lakecat's own pass."""
        try:
            yield
        except LakecatError:
            raise
        except SQLAlchemyError as err:
            raise self.translate(err) from err
        except (
            self.engine.dialect.loaded_dbapi.Error
        ) as err:  # SQLAlchemy lets them pass where it sets isolation levels
            gone = self.engine.dialect.is_disconnect(err, None, None)
            base = self.engine.dialect.loaded_dbapi.Error
            wrapped = DBAPIError.instance(None, None, err, base, connection_invalidated=gone)
            raise self.translate(wrapped) from err
        except (UnicodeEncodeError, OverflowError) as err:  # raised by drivers before the database sees the value
            raise CatalogError(
                f"a value cannot be kept in the catalog: {err}",
                hint="text must be Unicode (a file name may hold other bytes), numbers of at most 64 bits",
            ) from err

    def translate(self, error: SQLAlchemyError) -> CatalogError:
        """The CatalogError that tells of a driver's error, without secrets."""
        meaning = meaning_of(error, self.backend)
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
        said = self.redact(lines[0])[:_SAID_CHARACTERS]
        return meaning.error(
            f"catalog {self.display} {meaning.what} ({said})", hint=meaning.hint, next_command=meaning.next_command
        )

    def redact(self, text: str) -> str:
        """``text`` without the URL's password, plain or as it stands in a URL."""
        password = str(self.url.password or "")
        for secret in {password, quote(password, safe=""), quote_plus(password)}:
            text = text.replace(secret, "***") if secret else text
        return text
