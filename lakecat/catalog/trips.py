"""Fewer round trips to a server: pings only where they are needed, statements sent together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import InvalidatePoolError

from lakecat.catalog.driver_errors import sqlalchemy_errors

_unpinged: Final[ContextVar[bool]] = ContextVar("unpinged", default=False)


def ping_at_checkout(engine: sa.Engine) -> None:
    """Test each pooled connection when it is taken, except within ``unpinged``; a dead one is replaced."""
    dialect = engine.dialect

    def ping(connection: Any, _record: Any, _fairy: Any) -> None:
        if _unpinged.get():
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as err:
            if dialect.is_disconnect(err, connection, None):
                raise InvalidatePoolError from err
            raise

    sa.event.listen(engine, "checkout", ping)


@contextmanager
def unpinged() -> Iterator[None]:
    """Take connections as they are: for work that is tried again when it finds the server gone."""
    token = _unpinged.set(True)
    try:
        yield
    finally:
        _unpinged.reset(token)


@contextmanager
def together(connection: sa.Connection) -> Iterator[None]:
    """Send the statements of the block without waiting for each one's answer, where the driver can (psycopg).

    For statements whose results nobody looks at: no rows come back and their counts are not known, so that an INSERT
    into a table with a counted ``id`` must be ``inline()``. Errors come at the latest at the end of the block. Raises
    DBAPIError, as the statements themselves do.
    """
    raw = connection.connection.driver_connection
    if connection.dialect.driver != "psycopg" or raw is None:
        yield
        return
    with sqlalchemy_errors(connection), raw.pipeline():
        yield
