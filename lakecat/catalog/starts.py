"""What leases tell after they were given back: when a resource was last worked on, by the database's clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.leases import moment


@dataclass(frozen=True, slots=True)
class Stamp:
    """The last time that somebody held a lease. ``returned``: it was given back, and not lost by dying."""

    fence: int
    acquired: datetime
    returned: bool


def clock(database: Database) -> datetime:
    """The database's time, aware and in UTC."""
    with database.reading() as connection:
        return moment(connection.execute(sa.select(now_ms())).scalar_one())


def stamps(database: Database, resources: Iterable[str]) -> Mapping[str, Stamp]:
    """The last holding of each resource that was ever held."""
    found: dict[str, Stamp] = {}
    with database.reading() as connection:
        for part in registry.chunks(list(resources)):
            rows = connection.execute(
                sa.select(s.lease.c.resource, s.lease.c.fence, s.lease.c.acquired_ms, s.lease.c.held).where(
                    s.lease.c.resource.in_(part)
                )
            )
            for row in rows:
                found[row.resource] = Stamp(row.fence, moment(row.acquired_ms), not row.held)
    return found
