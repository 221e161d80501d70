"""The connection to MySQL or MariaDB: how it is made, what it is set to, and errors in the project's own words."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pymysql
from pymysql.constants import CR, ER
from pymysql.converters import conversions

from lakecat.errors import (
    ConfigError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceUnavailableError,
    Where,
)
from lakecat_connectors._sql_core import Turn
from lakecat_connectors._sql_mysql_wire import Result, abandon
from lakecat_connectors._sql_options import ConnectionOptions, Ssl, client_key_file

_PORT: Final = 3306
_SHOWN: Final = 300
_LONG: Final = 86_400
_ENCODERS: Final = {kind: encode for kind, encode in conversions.items() if not isinstance(kind, int)}
_SETTINGS: Final = (
    "SET time_zone = '+00:00'",
    f"SET SESSION net_write_timeout = {_LONG}",  # a slow reader is no lost one
    f"SET SESSION wait_timeout = {_LONG}",
    "SET SESSION sql_select_limit = 18446744073709551615",
    "SET SESSION sql_big_selects = 1",
    "SET SESSION transaction_isolation = 'REPEATABLE-READ'",
    # What changes values is left out of the server's mode; the rest may be what the job's own SQL is written for.
    "SET SESSION sql_mode = REPLACE(REPLACE(@@sql_mode, 'PAD_CHAR_TO_FULL_LENGTH', ''), 'EMPTY_STRING_IS_NULL', '')",
)
_BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"

_LOST: Final = frozenset(
    {CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, CR.CR_SERVER_LOST_EXTENDED, CR.CR_COMMANDS_OUT_OF_SYNC, 0,
     ER.SERVER_SHUTDOWN, 1927, ER.NEW_ABORTING_CONNECTION, 4031}
)  # fmt: skip
_REFUSED: Final = frozenset(
    {ER.ACCESS_DENIED_ERROR, 1698, ER.HOST_NOT_PRIVILEGED, ER.HOST_IS_BLOCKED, 1862, 3118, 4151}
)
_RIGHTS: Final = frozenset(
    {ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR,
     ER.SPECIFIC_ACCESS_DENIED_ERROR, 1356}
)  # fmt: skip
_CHANGED: Final = frozenset({ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.TABLE_DEF_CHANGED, ER.UNKNOWN_TABLE, 1932})
_TIMED_OUT: Final = frozenset({1969, 3024, ER.QUERY_INTERRUPTED})


def uri(options: ConnectionOptions, relation: str = "") -> str:
    """The server, or something on it, as lineage names it."""
    url = options.url
    host = url.host or "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"mysql://{shown}:{url.port or _PORT}{relation and '/'}{relation}"


class Session:
    """The only connection of a run: MySQL lets no other join its snapshot. What is asked waits for its turn."""

    def __init__(self, options: ConnectionOptions) -> None:
        self.options = options
        self._turn = Turn()
        self._connection: pymysql.Connection[Any] | None = None

    def first(self, statement: str, params: Any, doing: str, *, known: bool = False) -> Sequence[Any] | None:
        """The first row of a query. Raises SourceError."""
        rows = self.all(statement, params, doing, known=known)
        return rows[0] if rows else None

    def all(self, statement: str, params: Any, doing: str, *, known: bool = False) -> Sequence[Sequence[Any]]:
        """All rows of a query whose result is small; values are texts, or bytes. Raises SourceError."""
        with self._held() as connection:
            try:
                with connection.cursor() as cursor:
                    cursor.execute(statement, params)
                    return tuple(cursor.fetchall())
            except pymysql.Error as err:
                raise ours(err, self.options, doing, known=known) from err

    def fields(self, statement: str, params: Any, doing: str) -> Sequence[Any]:
        """What the server announces of a query's columns. Raises SourceError."""
        with self.stream(statement, params, doing) as result:
            return tuple(result.fields)

    @contextlib.contextmanager
    def stream(self, statement: str, params: Any, doing: str) -> Iterator[Result]:
        """A query's rows as they come; one that is left in the midst is ended. Raises SourceError."""
        with self._held() as connection:
            result = None
            try:
                with connection.cursor() as cursor:
                    text = cursor.mogrify(statement, params)
                result = Result(connection, text)
                yield result
            except pymysql.Error as err:
                raise ours(err, self.options, doing, known=True) from err
            finally:
                if result is not None and not result.ended:
                    self._end(connection, result)

    def close(self) -> None:
        """End the connection, and with it the snapshot."""
        connection, self._connection = self._connection, None
        if connection is not None:
            abandon(connection)  # the server notices; nothing was written

    @contextlib.contextmanager
    def _held(self) -> Iterator[pymysql.Connection[Any]]:
        with self._turn.taken(uri(self.options)):
            if self._connection is None:
                self._connection = _connect(self.options)
            yield self._connection

    def _end(self, connection: pymysql.Connection[Any], result: Result) -> None:
        """Let the server stop a query that nobody wants to the end; without that, give the connection up."""
        own: Any = connection  # PyMySQL has no types for some of its methods
        thread = own.thread_id()
        try:
            other = pymysql.connect(**_parameters(self.options))
            with contextlib.closing(other), other.cursor() as cursor:
                cursor.execute("KILL QUERY %s", (thread,))
        except pymysql.Error:
            abandon(connection)
            return
        with contextlib.suppress(pymysql.Error):  # it ends with the error that it was stopped
            result.drain()


def _connect(options: ConnectionOptions) -> pymysql.Connection[Any]:
    try:
        connection = pymysql.connect(**_parameters(options))
    except (pymysql.Error, OSError, RuntimeError) as err:
        raise _no_connection(err, options) from err
    try:
        _keep_alive(connection, options)
        with connection.cursor() as cursor:
            for statement in (*_SETTINGS, *_limits(connection, options), _BEGIN):
                _set(cursor, statement)
    except pymysql.Error as err:
        abandon(connection)
        raise ours(err, options, "setting up the connection") from err
    return connection


def _set(cursor: Any, statement: str) -> None:
    try:
        cursor.execute(statement)
    except pymysql.Error as err:
        if err.args[0] != ER.UNKNOWN_SYSTEM_VARIABLE:
            raise
        # MariaDB had this name only since 11.1; both know the older statement.
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _limits(connection: Any, options: ConnectionOptions) -> Iterator[str]:
    yield f"SET SESSION lock_wait_timeout = {options.lock_timeout or _LONG}"
    if "MariaDB" in str(connection.get_server_info()):
        yield f"SET SESSION max_statement_time = {options.statement_timeout}"
        yield "SET SESSION idle_transaction_timeout = 0"
        yield "SET SESSION idle_readonly_transaction_timeout = 0"
    else:
        yield f"SET SESSION max_execution_time = {options.statement_timeout * 1_000}"


def _keep_alive(connection: Any, options: ConnectionOptions) -> None:
    own = connection._sock  # noqa: SLF001 - PyMySQL does not show its socket
    if options.keepalives and own.family != socket.AF_UNIX:
        for name, value in (("TCP_KEEPIDLE", options.keepalives), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _parameters(options: ConnectionOptions) -> dict[str, Any]:
    url = options.url
    made: dict[str, Any] = {
        "host": url.host or "localhost",
        "port": url.port or _PORT,
        "user": url.username,
        "password": options.password or "",
        "database": url.database or None,
        "unix_socket": url.query.get("unix_socket"),
        "charset": "utf8mb4",
        "connect_timeout": options.connect_timeout,
        "autocommit": True,
        "conv": _ENCODERS,
        "program_name": "lakecat",
        "local_infile": False,
    }
    if options.ssl is not None:
        made["ssl_disabled"] = options.ssl.mode == "disable"
        made["ssl"] = _encryption(options, options.ssl)
    return {name: value for name, value in made.items() if value is not None}


def _encryption(options: ConnectionOptions, own: Ssl) -> ssl.SSLContext | None:
    """What the server must prove; None: encrypted where the server can. Raises ConfigError for files that do not serve.

    PyMySQL makes such a context itself, but one that checks no name where the system's authorities are asked.
    """
    if own.mode == "disable" or (own.mode == "prefer" and own.certificate is None):
        return None
    try:
        made = ssl.create_default_context(cafile=None if own.root_certificate == "system" else own.root_certificate)
        if own.certificate is not None:
            with client_key_file(options) as key:
                made.load_cert_chain(own.certificate, key)
    except OSError as err:  # ssl.SSLError is one
        raise ConfigError(
            "sql connector: option 'ssl': a certificate or key cannot be read, or they do not belong together",
            hint="mend root_certificate, certificate, key: files of PEM, in the project's folder unless they say more",
        ) from err
    # The certificates that MySQL makes for itself are not as strict as RFC 5280.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.check_hostname = own.mode == "verify-full"
    made.verify_mode = ssl.CERT_REQUIRED if own.mode in ("verify-ca", "verify-full") else ssl.CERT_NONE
    return made


def _no_connection(err: Exception, options: ConnectionOptions) -> SourceError:
    """What the server says is looked at, not shown: it may quote what was in the URL."""
    where, code = Where(uri(options)), err.args[0] if err.args else None
    if code in _REFUSED:
        return SourceAccessError(
            f"the server refuses the user {options.url.username!r}",
            where=where,
            hint="mend the user, or the secret that password: names; the server's log says more",
        )
    if code == ER.BAD_DB_ERROR or code in _RIGHTS:
        return SourceAccessError(
            f"there is no database {options.url.database!r} for this user",
            where=where,
            hint="mend the connection's URL",
        )
    if code in (ER.CON_COUNT_ERROR, 1203, ER.USER_LIMIT_REACHED):
        return SourceUnavailableError("the server takes no more connections", where=where, hint="wait, and run again")
    if any(word in str(err) for word in ("SSL", "certificate", "insecure transport")):
        return SourceUnavailableError(
            "no encrypted connection came about", where=where, hint="mend ssl: mode, root_certificate, certificate, key"
        )
    return SourceUnavailableError(
        "the server does not answer", where=where, hint="is it running, and reachable from here under this name?"
    )


def ours(err: pymysql.Error, options: ConnectionOptions, doing: str, *, known: bool = False) -> SourceError:
    """A driver's error as ours. ``known``: the table was there before, so its absence is a change."""
    where, code = Where(uri(options)), err.args[0] if err.args else 0
    message = str(err.args[1])[:_SHOWN] if len(err.args) > 1 else ""
    shown = f"{doing}: {message}" if message else doing
    if code in _LOST:
        return SourceUnavailableError(
            f"the connection broke off while {doing}", where=where, hint="run the job again; nothing of this is lost"
        )
    if code in _RIGHTS:
        return SourceAccessError(
            f"rights are missing for {shown}", where=where, hint="GRANT SELECT to this user, or leave the stream out"
        )
    if code == ER.TABLE_DEF_CHANGED or (code in _CHANGED and known):
        return SourceChangedError(
            f"the source was altered while it was read: {shown}", where=where, hint="run the job again"
        )
    if code in _TIMED_OUT:
        return SourceUnavailableError(
            f"{shown} was canceled", where=where, hint="raise statement_timeout, or read less at once with checkpoint:"
        )
    if code == ER.LOCK_WAIT_TIMEOUT:
        return SourceUnavailableError(
            f"{shown}: somebody holds a lock on the table", where=where, hint="wait, or raise lock_timeout"
        )
    if code == ER.DUP_FIELDNAME:
        return SourceError(
            f"the query names two columns alike: {message}", where=where, hint="rename one of them with AS"
        )
    return SourceError(f"failed: {shown}", where=where, hint="look at the table, view or query that the stream names")
