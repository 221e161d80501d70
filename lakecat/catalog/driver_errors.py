"""What a database driver's error means: one table of codes for each engine, and a CatalogError for each meaning.

Codes: SQLite's result codes (https://sqlite.org/rescode.html), PostgreSQL's SQLSTATEs (manual, appendix A) and the
numbers of MySQL and MariaDB, their clients' (2000 and up) included. libpq gives no SQLSTATE for a connection that was
refused; there the server's English words decide, and without them the class that fits best.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lakecat.errors import (
    CatalogAccessError,
    CatalogBusyError,
    CatalogDamagedError,
    CatalogError,
    CatalogFullError,
    CatalogLostError,
    CatalogMissingError,
    CatalogReadOnlyError,
    CatalogUnavailableError,
    CatalogUnreachableError,
    CatalogVersionError,
    ForeignDatabaseError,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that can be wrong: the class, a sentence about the catalog, and how it is mended."""

    error: type[CatalogError]
    what: str
    hint: str | None = None
    next_command: str | None = None


UNREACHABLE: Final = Meaning(
    CatalogUnreachableError,
    "cannot be reached",
    "check host and port in the catalog's URL, and that the server runs",
    "lakecat doctor",
)
LOST: Final = Meaning(
    CatalogLostError,
    "broke off the connection",
    "what was not committed was taken back; do it again once the server is back",
    "lakecat doctor",
)
MISSING: Final = Meaning(
    CatalogMissingError, "is not there: the server has no such database", "create it, empty, first"
)
ACCESS: Final = Meaning(
    CatalogAccessError, "refuses this user", "check user and password in the catalog's URL, and the user's rights"
)
BUSY: Final = Meaning(
    CatalogBusyError, "is busy: somebody else held a lock for too long", "try again; see who works with it"
)
CROWDED: Final = Meaning(
    CatalogBusyError, "takes no more connections", "try again, close other programs, or raise the server's limit"
)
STARTING: Final = Meaning(CatalogBusyError, "is being started, or recovers", "try again in a moment", "lakecat doctor")
READ_ONLY: Final = Meaning(
    CatalogReadOnlyError,
    "may only be read here",
    "questions are answered all the same; to write, give this user the right to (file, folder, grants)",
)
FULL: Final = Meaning(
    CatalogFullError, "cannot grow: its disk or quota is full", "nothing was written; make room, and do it again"
)
DAMAGED: Final = Meaning(
    CatalogDamagedError,
    "is damaged",
    "restore it from a backup, or rebuild it from the lake",
    "lakecat catalog rebuild",
)
FOREIGN: Final = Meaning(
    ForeignDatabaseError, "is no database of lakecat's", "check the catalog's URL; give the catalog a place of its own"
)
INCOMPLETE: Final = Meaning(
    CatalogVersionError, "lacks tables or columns of a catalog", "restore it from a backup, or upgrade lakecat"
)
VALUE: Final = Meaning(
    CatalogError,
    "cannot keep a value",
    "text must be Unicode without NUL, numbers of at most 64 bits, and names of the length of their column",
)
INPUT_OUTPUT: Final = Meaning(
    CatalogUnavailableError, "cannot be read or written", "check its disk, folder and rights", "lakecat doctor"
)
TROUBLE: Final = Meaning(CatalogUnavailableError, "does not answer as it should", None, "lakecat doctor")
REFUSED: Final = Meaning(CatalogError, "refused a statement", None, "lakecat doctor")

SQLITE: Final[dict[int, Meaning]] = {
    1: REFUSED, 3: ACCESS, 5: BUSY, 6: BUSY, 7: TROUBLE, 8: READ_ONLY, 9: LOST, 10: INPUT_OUTPUT, 11: DAMAGED,
    13: FULL, 19: REFUSED,
    14: INPUT_OUTPUT, 15: BUSY, 17: INCOMPLETE, 18: VALUE, 20: VALUE, 22: FULL, 23: ACCESS, 24: FOREIGN, 26: FOREIGN,
    1032: Meaning(CatalogUnavailableError, "was moved or removed while it was open", "open it again"),
    776: Meaning(
        CatalogReadOnlyError,
        "was left in the midst of a transaction, which cannot be taken back where it may only be read",
        "open it once where it may be written",
    ),
    2570: DAMAGED, 8458: DAMAGED,
}  # fmt: skip
"""By extended code, else by its low byte."""

POSTGRESQL: Final[dict[str, Meaning]] = {
    "08": LOST, "08001": UNREACHABLE, "08004": ACCESS,
    "22": VALUE, "54000": VALUE,
    "25006": READ_ONLY, "25P03": LOST, "25P04": LOST,
    "28": ACCESS, "42501": READ_ONLY,
    "3D000": MISSING, "3F000": MISSING,
    "40": BUSY, "55006": BUSY, "55P03": BUSY, "57014": BUSY,
    "42P01": INCOMPLETE, "42703": INCOMPLETE, "42883": INCOMPLETE,
    "53100": FULL, "53200": TROUBLE, "53300": CROWDED, "53400": CROWDED,
    "57P01": LOST, "57P02": LOST, "57P03": STARTING, "57P04": MISSING, "57P05": LOST,
    "58": INPUT_OUTPUT, "58030": INPUT_OUTPUT, "XX001": DAMAGED, "XX002": DAMAGED,
}  # fmt: skip
"""By SQLSTATE, else by its class (the first two characters)."""

MYSQL: Final[dict[int, Meaning]] = {
    0: LOST,
    20: FULL, 1021: FULL, 1114: FULL,
    1020: BUSY, 1205: BUSY, 1206: BUSY, 1213: BUSY, 3024: BUSY, 1969: BUSY,
    1040: CROWDED, 1203: CROWDED, 1226: CROWDED, 1129: CROWDED,
    1044: ACCESS, 1045: ACCESS, 1130: ACCESS, 1698: ACCESS, 1820: ACCESS, 1862: ACCESS, 2027: ACCESS, 2059: ACCESS,
    3118: ACCESS, 4151: ACCESS,
    1142: READ_ONLY, 1143: READ_ONLY, 1227: READ_ONLY, 1290: READ_ONLY, 1370: READ_ONLY, 1792: READ_ONLY,
    1036: READ_ONLY, 1015: READ_ONLY, 1836: READ_ONLY,
    1049: MISSING, 1046: MISSING,
    1054: INCOMPLETE, 1146: INCOMPLETE, 1932: DAMAGED,
    1032: REFUSED, 1034: DAMAGED, 1035: DAMAGED, 1194: DAMAGED, 1195: DAMAGED, 1712: DAMAGED, 1877: DAMAGED,
    1153: VALUE, 1162: VALUE, 1264: VALUE, 1265: VALUE, 1366: VALUE, 1406: VALUE, 1300: VALUE, 3988: VALUE,
    1053: LOST, 1077: LOST, 1152: LOST, 1158: LOST, 1159: LOST, 1160: LOST, 1161: LOST, 1184: LOST, 1189: LOST,
    1317: LOST, 1927: LOST, 2006: LOST, 2013: LOST, 2055: LOST,
    2002: UNREACHABLE, 2003: UNREACHABLE, 2004: UNREACHABLE, 2005: UNREACHABLE, 2012: UNREACHABLE, 2026: UNREACHABLE,
    3: INPUT_OUTPUT, 1005: INPUT_OUTPUT, 1026: INPUT_OUTPUT, 1030: INPUT_OUTPUT, 1037: TROUBLE, 1041: TROUBLE,
}  # fmt: skip
"""By number: the server's, and the client's from 2000 on. 0 is what PyMySQL says of a connection that is closed."""

_NO_SPACE: Final = (
    f"errno: {errno.ENOSPC} ",
    f"Errcode: {errno.ENOSPC} ",
    f"error {errno.ENOSPC} ",
    "No space left on",
)
_NO_ANSWER: Final = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)
"""What a connection that fails is; PyMySQL calls an answer that is not MySQL's an internal error."""
_CONNECTING: Final[tuple[tuple[str, Meaning], ...]] = (
    ("password authentication failed", ACCESS),
    ("no password supplied", ACCESS),
    ("no pg_hba.conf entry", ACCESS),
    ("authentication failed", ACCESS),
    ("is not permitted to log in", ACCESS),
    ("permission denied for database", ACCESS),
    ("role ", ACCESS),
    ("the database system is", STARTING),
    ("database ", MISSING),
    ("too many clients", CROWDED),
    ("remaining connection slots", CROWDED),
    ("too many connections", CROWDED),
    ("terminating connection", LOST),
)
"""What PostgreSQL says behind FATAL when it refuses a connection; the first that is found counts."""


@contextmanager
def sqlalchemy_errors(connection: sa.Connection) -> Iterator[None]:
    """Turn the driver's errors into SQLAlchemy's, as if its own cursors had been used: retries and messages need it."""
    dialect = connection.dialect
    raw: Any = connection.connection.driver_connection
    try:
        yield
    except dialect.loaded_dbapi.Error as err:
        gone = dialect.is_disconnect(err, raw, None)
        if gone:
            connection.invalidate(err)
        raise DBAPIError.instance(
            None, None, err, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
        ) from err


def code_of(error: DBAPIError) -> int | str | None:
    """The database's own error code: SQLite's and MySQL's numbers, PostgreSQL's SQLSTATE."""
    original = error.orig
    number = getattr(original, "sqlite_errorcode", None)
    if number is None and original is not None and original.args and isinstance(original.args[0], int):
        number = original.args[0]
    return number if number is not None else getattr(original, "sqlstate", None)


def is_starting(error: DBAPIError) -> bool:
    """Whether PostgreSQL refuses connections because it starts or recovers, and will take them soon."""
    return code_of(error) == "57P03" or (
        error.statement is None and "FATAL:  the database system is" in str(error.orig)
    )


def meaning_of(error: SQLAlchemyError, backend: str) -> Meaning:
    """What an error of this engine (``sqlite``, ``postgresql``, ``mysql``) means."""
    if not isinstance(error, DBAPIError):
        return CROWDED if isinstance(error, sa.exc.TimeoutError) else REFUSED
    code, text = code_of(error), str(error.orig)
    found: Meaning | None = None
    if backend == "sqlite" and isinstance(code, int):
        found = SQLITE.get(code) or SQLITE.get(code & 0xFF)
        if code == 1 and text.startswith(("no such table", "no such column")):
            found = INCOMPLETE
    elif backend == "postgresql":
        found = _postgresql(error, code, text)
    elif isinstance(code, int):
        found = MYSQL.get(code)
    if error.connection_invalidated and found in (None, UNREACHABLE, TROUBLE):
        return LOST
    if found in (INPUT_OUTPUT, REFUSED, LOST) and any(sign in text for sign in _NO_SPACE):
        return FULL
    if found is READ_ONLY and code in (1142, 1143, "42501") and _only_reads(error.statement):
        return ACCESS
    return found or _unknown(error)


def _postgresql(error: DBAPIError, code: int | str | None, text: str) -> Meaning | None:
    if isinstance(code, str):
        return POSTGRESQL.get(code) or POSTGRESQL.get(code[:2])
    if error.statement is not None or not isinstance(error, sa.exc.OperationalError):
        return None
    _, fatal, said = text.partition("FATAL:")
    if not fatal:
        return UNREACHABLE
    return next((meaning for words, meaning in _CONNECTING if words in said), ACCESS)


def _only_reads(statement: str | None) -> bool:
    """Whether a statement changes and locks nothing."""
    words = (statement or "").lstrip("( \n").upper()
    return words.startswith(("SELECT", "WITH", "SHOW", "DESCRIBE")) and " FOR UPDATE" not in words


def _unknown(error: DBAPIError) -> Meaning:
    if isinstance(error, sa.exc.DataError):
        return VALUE
    if error.statement is None and isinstance(error, _NO_ANSWER):
        return UNREACHABLE
    return TROUBLE if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) else REFUSED
