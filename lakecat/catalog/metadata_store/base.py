"""What the store's parts share: the database, its transactions, the types that are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from sqlalchemy.exc import IntegrityError

from lakecat.catalog.database import Database
from lakecat.catalog.driver_errors import code_of, sqlalchemy_errors
from lakecat.catalog.metadata_store.session import Parameters, Query, Rows, Session, ask_sqlite
from lakecat.catalog.metadata_store.types import TypeCache
from lakecat.errors import CatalogError

T = TypeVar("T")
_UNIQUE: Final = frozenset({"23505", 1062, 1555, 2067})
_FOREIGN: Final = frozenset({"23503", 1452, 1216, 787})
_RACES: Final = 20


class Taken(Exception):  # noqa: N818 - a signal within this package, that no caller sees
    """Somebody else holds a name, an external id or a relation that was to be written; all was taken back."""


class Gone(Exception):  # noqa: N818 - a signal within this package, that no caller sees
    """Something that was referred to is there no more; all was taken back."""


def now() -> int:
    """This computer's clock, in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000


class StoreBase:
    """The database and what is known of it. Safe to use from several threads."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now) -> None:
        """Work on an opened database. ``clock`` gives the times of what is put, in milliseconds since the epoch."""
        self._database = database
        self._clock = clock
        self._types = TypeCache()

    @property
    def database(self) -> Database:
        """The database that everything is kept in."""
        return self._database

    @contextmanager
    def _reading(self, *, snapshot: bool = True) -> Iterator[Session]:
        """A session that reads; all its statements see one moment. Raises CatalogError."""
        with self._database.reading(snapshot=snapshot) as connection, sqlalchemy_errors(connection):
            yield Session(connection)

    def _ask_once(self, query: Query, parameters: Parameters) -> Rows:
        """The rows of a question that is one statement. Raises CatalogError."""
        if self._database.backend != "sqlite":  # servers need the connection tested, and its errors judged
            with self._reading(snapshot=False) as session:
                return session.ask(query, parameters)
        dialect = self._database.engine.dialect
        return self._database.ask_once(lambda raw: ask_sqlite(raw.driver_connection, dialect, query, parameters))

    def _write(self, work: Callable[[Session], T], taken: Callable[[Session], CatalogError | None]) -> T:
        """Run ``work`` in a write transaction, again where that helps.

        ``taken`` says what is wrong after another writer's row stood in the way; None: begin again, for now what is
        there can be found. Raises CatalogError; CommitUnknownError where the connection broke off at COMMIT, for a put
        that is done again could then put twice.
        """
        for _ in range(_RACES):
            try:
                return self._database.write(lambda connection: _guarded(work, Session(connection)), repeatable=False)
            except (Taken, Gone) as signal:
                cause = signal.__cause__
                self._types.clear()
                with self._reading() as session:
                    error = taken(session)
                if error is not None:
                    raise error from cause
        raise CatalogError(
            "somebody else wrote the same nodes at the same moment, again and again", hint="put them again"
        )


def _guarded(work: Callable[[Session], T], session: Session) -> T:
    connection = session.connection
    try:
        with sqlalchemy_errors(connection):
            return work(session)
    except IntegrityError as err:
        code = code_of(err)
        if code in _UNIQUE:
            raise Taken from err
        if code in _FOREIGN:
            raise Gone from err
        raise
