"""Connections to PostgreSQL: how they are made, what they are set to, and errors in the project's own words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn

from lakecat.errors import SourceAccessError, SourceChangedError, SourceError, SourceUnavailableError, Where
from lakecat_connectors._sql_options import ConnectionOptions, client_key_file

_SETTINGS: Final = {
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": "0",
}
_TRANSACTION_TIMEOUTS: Final = 170_000  # the version that ends transactions which take long
_FOLLOWER_LOCK_TIMEOUT: Final = 1  # seconds
_SHOWN: Final = 300
_CHANGED: Final = ("42P01", "42703", "42883", "3F000", "42704", "XX000")
_SNAPSHOT_REFUSED: Final = ("0A000", "25006", "42501", "55000", "42883")
_LOOK: Final = "look at the table, view or query that the stream names"
_HINTS: Final = {
    "53200": "is it short of memory, or of places for locks (max_locks_per_transaction)? Each table and partition of a "
    "job is locked: split the job",
    "42883": "does its type have what is asked of it? A cursor needs one with min() and max()",
}
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class LockedError(SourceUnavailableError):
    """A lock that somebody else has, or waits for, was not to be had in time."""


def text(template: str) -> sql.SQL:
    """SQL text that was put together by quoting, or that a job's author wrote."""
    return sql.SQL(template)


def where_of(options: ConnectionOptions) -> Where:
    """What messages call the database: never with credentials."""
    return Where(uri(options))


def uri(options: ConnectionOptions, relation: str = "") -> str:
    """The database, or something in it, as lineage names it."""
    url = options.url
    host = url.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"postgresql://{shown}:{url.port or 5432}/{url.database or url.username or ''}{relation and '/'}{relation}"


def connect(options: ConnectionOptions) -> psycopg.Connection[Any]:
    """A connection outside of any transaction. Raises SourceError."""
    try:
        with client_key_file(options) as key:
            return psycopg.connect(autocommit=True, **_parameters(options, key))
    except psycopg.Error as err:
        raise _no_connection(err, options) from err


def _parameters(options: ConnectionOptions, key: str | None) -> Mapping[str, Any]:
    url = options.url
    given = {name: value if isinstance(value, str) else value[0] for name, value in url.query.items()}
    made: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": options.password,
        "dbname": url.database,
        "application_name": "lakecat",
        "connect_timeout": options.connect_timeout,
    }
    if options.keepalives:
        made |= {"keepalives": 1, "keepalives_idle": options.keepalives, "keepalives_interval": 10}
        made |= {"keepalives_count": 3}
    if (ssl := options.ssl) is not None:
        made |= {"sslmode": ssl.mode, "sslrootcert": ssl.root_certificate, "sslcert": ssl.certificate}
        made |= {"sslkey": key}
    return {**given, **{name: value for name, value in made.items() if value is not None}}


def _set_up(connection: psycopg.Connection[Any], lock_timeout: int, options: ConnectionOptions) -> None:
    """Set the transaction to what reading needs: not the session, which behind a pooler is another one each time."""
    settings = {
        **_SETTINGS,
        "statement_timeout": f"{options.statement_timeout}s",
        "lock_timeout": f"{lock_timeout}s",
        **({"transaction_timeout": "0"} if connection.info.server_version >= _TRANSACTION_TIMEOUTS else {}),
    }
    calls = ", ".join(["pg_catalog.set_config(%s, %s, true)"] * len(settings))
    connection.execute(text(f"SELECT {calls}"), [part for setting in settings.items() for part in setting])


def _no_connection(err: psycopg.Error, options: ConnectionOptions) -> SourceError:
    """What libpq says is looked at, not shown: it may quote what was in the URL."""
    message, where = str(err), where_of(options)
    if "authentication failed" in message or "no password supplied" in message or "pg_hba.conf" in message:
        return SourceAccessError(
            f"the server refuses the user {options.url.username!r}",
            where=where,
            hint="mend the user, or the secret that password: names; the server's log says more",
        )
    if "does not exist" in message and ("database" in message or "role" in message):
        return SourceAccessError("there is no such database or user", where=where, hint="mend the connection's URL")
    if "SSL" in message or "certificate" in message:
        return SourceUnavailableError(
            "no encrypted connection came about", where=where, hint="mend ssl: mode, root_certificate, certificate, key"
        )
    if "too many" in message or "remaining connection slots" in message:
        return SourceUnavailableError(
            "the server takes no more connections", where=where, hint="wait, or say splits: 1 to use fewer"
        )
    return SourceUnavailableError(
        "the server does not answer", where=where, hint="is it running, and reachable from here under this name?"
    )


def ours(err: psycopg.Error, options: ConnectionOptions, doing: str, *, known: bool = False) -> SourceError:
    """A driver's error as ours. ``known``: the table was there before, so its absence is a change."""
    return from_state(err.sqlstate, _primary(err), options, doing, known=known)


def from_state(
    state: str | None, message: str, options: ConnectionOptions, doing: str, *, known: bool = False
) -> SourceError:
    """The error for an SQLSTATE (PostgreSQL's appendix A); without one the connection broke off."""
    where = where_of(options)
    shown = f"{doing}: {message[:_SHOWN]}" if message else doing
    if state is None or state[:2] == "08" or state in ("57P01", "57P02", "57P03"):
        return SourceUnavailableError(
            f"the connection broke off while {doing}", where=where, hint="run the job again; nothing of this is lost"
        )
    if state == "42501":
        return SourceAccessError(
            f"rights are missing for {shown}", where=where, hint="GRANT SELECT to this user, or leave the stream out"
        )
    if state in _CHANGED and known:
        return SourceChangedError(
            f"the source was altered while it was read: {shown}", where=where, hint="run the job again"
        )
    if state == "57014":
        return SourceUnavailableError(
            f"{shown} was canceled", where=where, hint="raise statement_timeout, or read less at once with checkpoint:"
        )
    if state == "55P03":
        return LockedError(
            f"{shown}: somebody holds a lock on the table", where=where, hint="wait, or raise lock_timeout"
        )
    if state in ("22021", "22P05"):
        return SourceError(
            f"text that is not of the database's encoding: {shown}",
            where=where,
            hint="a database whose encoding is SQL_ASCII may hold any bytes: read such columns by a query as bytea",
        )
    if state == "40001":
        return SourceUnavailableError(
            f"{shown}: the standby had to give up the snapshot",
            where=where,
            hint="read from the primary, or set hot_standby_feedback or a longer max_standby_streaming_delay there",
        )
    return SourceError(f"failed: {shown}", where=where, hint=_HINTS.get(state, _LOOK))


def _primary(err: psycopg.Error) -> str:
    return err.diag.message_primary or ""


def one(cursor: psycopg.Cursor[Any], statement: sql.SQL | sql.Composed) -> tuple[Any, ...]:
    """The only row of a query that always has one."""
    row = cursor.execute(statement).fetchone()
    return () if row is None else tuple(row)


@contextlib.contextmanager
def _savepoint(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """What is read inside leaves nothing behind, a scan broken off in the midst included."""
    connection.execute("SAVEPOINT lakecat_scan")
    try:
        yield
    finally:
        # A connection that is gone takes its transaction with it.
        with contextlib.suppress(psycopg.Error):
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                connection.pgconn.get_cancel().cancel()
                _drain(connection.pgconn)
            connection.execute("ROLLBACK TO SAVEPOINT lakecat_scan")
            connection.execute("RELEASE SAVEPOINT lakecat_scan")


def _drain(pgconn: PGconn) -> None:
    while pgconn.get_copy_data(0)[0] > 0:
        pass
    while pgconn.get_result() is not None:
        pass


def _begin(connection: psycopg.Connection[Any], options: ConnectionOptions) -> str | None:
    """Begin the run's transaction; the name under which others can join its snapshot, None where they cannot."""
    connection.execute(_BEGIN)
    _set_up(connection, options.lock_timeout, options)
    try:
        row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
    except psycopg.Error as err:
        if err.sqlstate not in _SNAPSHOT_REFUSED:
            raise
        connection.execute("ROLLBACK")
        connection.execute(_BEGIN)
        _set_up(connection, options.lock_timeout, options)
        return None
    return str(row[0]) if row else None


@dataclass(slots=True)
class _Leader:
    connection: psycopg.Connection[Any]
    snapshot: str | None


class Sessions:
    """The connections of one run, all in the snapshot that the first one took.

    The first connection stays in a read-only transaction, REPEATABLE READ, until the run ends; it plans. The others
    read, in transactions that begin with its snapshot. Where the server exports none, the first connection reads as
    well, one scan after the other.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self.options = options
        self._lock = threading.RLock()
        self._leader: _Leader | None = None
        self._others: set[psycopg.Connection[Any]] = set()

    @property
    def shares(self) -> bool:
        """Whether scans can be read at the same time. Connects."""
        with self._lock:
            return self._lead().snapshot is not None

    @contextlib.contextmanager
    def planning(self, doing: str, *, known: bool = False) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor of the first connection; an error costs only what was done inside. Raises SourceError."""
        with self._lock:
            leader = self._lead()
            try:
                with leader.connection.transaction(), leader.connection.cursor() as cursor:
                    yield cursor
            except psycopg.Error as err:
                raise ours(err, self.options, doing, known=known) from err

    @contextlib.contextmanager
    def reading(self, *, first: bool = False) -> Iterator[psycopg.Connection[Any]]:
        """A connection in the snapshot, for one scan; ``first``: the run's first one. Raises SourceError."""
        if first or not self.shares:
            with self._lock, _savepoint(self._lead().connection):
                yield self._lead().connection
            return
        connection = self._follow()
        try:
            yield connection
        finally:
            with self._lock:
                self._others.discard(connection)
            connection.close()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            leader, self._leader = self._leader, None
            others, self._others = self._others, set()
        for connection in (*others, *([leader.connection] if leader else [])):
            connection.close()

    def _lead(self) -> _Leader:
        if self._leader is None:
            connection = connect(self.options)
            try:
                self._leader = _Leader(connection, _begin(connection, self.options))
            except psycopg.Error as err:
                connection.close()
                raise ours(err, self.options, "taking a snapshot") from err
        return self._leader

    def _follow(self) -> psycopg.Connection[Any]:
        with self._lock:
            snapshot = self._lead().snapshot
        connection = connect(self.options)
        try:
            connection.execute(_BEGIN)
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            # The first connection has all the locks already; who keeps this one waiting waits for that one.
            _set_up(connection, _FOLLOWER_LOCK_TIMEOUT, self.options)
        except psycopg.Error as err:
            connection.close()
            raise ours(err, self.options, "joining the run's snapshot") from err
        with self._lock:
            self._others.add(connection)
        return connection
