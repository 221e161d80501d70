"""Leases: who may work on a resource, told apart by a fence number that only grows. The database's clock alone counts.

Whoever takes a lease over cancels, in that same transaction, what its old holder had running: an execution whose
fence is older than its lease's can never commit any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import restored
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, Row, now_ms
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.values import Holder, Lease
from lakecat.errors import LeaseHeldError, LeaseLostError, UsageError
from lakecat.types import ExecutionState


def moment(milliseconds: int) -> datetime:
    """A time of the catalog as an aware datetime."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def acquire(database: Database, resource: str, holder: Holder, ttl: timedelta, *, floor: int) -> Lease:
    """Take the lease, or take it over where it has run out. Raises LeaseHeldError."""
    if len(resource) > 512:
        raise UsageError(f"{resource[:40]!r}… is too long for a lease", hint="at most 512 characters")
    duration = int(ttl.total_seconds() * 1000)
    tried: dict[str, Any] = {}

    def work(connection: sa.Connection) -> Lease:
        row, now = lock(connection, resource)
        if row is not None and tried and all(getattr(row, name) == value for name, value in tried.items()):
            # An attempt whose COMMIT was not answered had been applied: the lease is ours.
            return _lease(resource, holder, ttl, tried)
        if row is not None and _runs(row, now):
            raise _held(resource, row, now)
        values: dict[str, Any] = {
            "fence": (floor if row is None else max(row.fence, floor)) + 1,
            "held": True,
            "host": holder.host,
            "pid": holder.pid,
            "user_name": holder.user,
            "command": holder.command,
            "acquired_ms": now,
            "heartbeat_ms": now,
            "expires_ms": now + duration,
        }
        if row is None:
            connection.execute(sa.insert(s.lease).values(resource=resource, **values))
        else:
            connection.execute(sa.update(s.lease).where(s.lease.c.resource == resource).values(**values))
            cancel_running(connection, resource, now)
        tried.update(values)
        return _lease(resource, holder, ttl, values)

    return database.write(work)


def _runs(row: Row, now: int) -> bool:
    """Whether the lease is held and has not run out.

    One whose heartbeat is further ahead than a lease lasts was taken while the clock was wrong, and would keep everyone
    out for as long as it was wrong. Whoever holds it and lives renews it before it is that old, or loses it.
    """
    return bool(row.held and row.expires_ms > now and 2 * row.heartbeat_ms - row.expires_ms <= now)


def alive() -> sa.ColumnElement[bool]:
    """The same in SQL: whether a lease keeps others out."""
    lease = s.lease.c
    return sa.and_(lease.held, lease.expires_ms > now_ms(), 2 * lease.heartbeat_ms - lease.expires_ms <= now_ms())


def _lease(resource: str, holder: Holder, ttl: timedelta, values: Mapping[str, Any]) -> Lease:
    return Lease(resource=resource, fence=values["fence"], holder=holder, ttl=ttl, expires=moment(values["expires_ms"]))


def renew(database: Database, lease: Lease) -> Lease:
    """Prove that the holder lives. Raises LeaseLostError when the lease was taken over."""
    duration = int(lease.ttl.total_seconds() * 1000)

    def work(connection: sa.Connection) -> Lease:
        now = connection.execute(sa.select(now_ms())).scalar_one()
        changed = connection.execute(
            sa.update(s.lease)
            .where(s.lease.c.resource == lease.resource, s.lease.c.fence == lease.fence, s.lease.c.held)
            .values(heartbeat_ms=now, expires_ms=now + duration)
        ).rowcount
        if changed != 1:
            raise lost(lease)
        return Lease(
            resource=lease.resource,
            fence=lease.fence,
            holder=lease.holder,
            ttl=lease.ttl,
            expires=moment(now + duration),
        )

    return database.write(work)


def release(database: Database, lease: Lease) -> None:
    """Give the lease back; nothing happens where it was lost already."""

    def work(connection: sa.Connection) -> None:
        connection.execute(
            sa.update(s.lease)
            .where(s.lease.c.resource == lease.resource, s.lease.c.fence == lease.fence)
            .values(held=False)
        )

    database.write(work)


def cancel_expired(database: Database) -> tuple[int, ...]:
    """Close every lease that ran out and cancel what its holder had running; the ids of those executions."""

    def work(connection: sa.Connection) -> tuple[int, ...]:
        expired = connection.execute(
            sa.select(s.lease.c.resource)
            .where(sa.not_(alive()))
            .where(
                sa.exists().where(
                    s.lake_execution.c.lease_resource == s.lease.c.resource,
                    s.lake_execution.c.state == ExecutionState.RUNNING.value,
                )
            )
            .order_by(s.lease.c.resource)
        ).scalars()
        canceled: list[int] = []
        for resource in expired.all():
            row, now = lock(connection, resource)
            if row is None or _runs(row, now):
                continue
            connection.execute(
                sa.update(s.lease).where(s.lease.c.resource == resource).values(held=False, fence=row.fence + 1)
            )
            canceled += cancel_running(connection, resource, now)
        return tuple(canceled)

    return database.write(work)


def lock(connection: sa.Connection, resource: str) -> tuple[Row | None, int]:
    """Lock the lease's row for this transaction; the row and the database's time after that."""
    locked = (
        sa.select(s.lease, restored.note().label("restored")).where(s.lease.c.resource == resource).with_for_update()
    )
    if connection.dialect.name == "postgresql":
        # The select list beside FOR UPDATE is computed before the wait for the lock is over, one around it after.
        locked = sa.select(locked.cte("locked"), now_ms().label("now"))
    elif connection.dialect.name == "sqlite":
        locked = locked.add_columns(now_ms().label("now"))
    row = connection.execute(locked).one_or_none()
    if row is None or connection.dialect.name == "mysql":
        return row, connection.execute(sa.select(now_ms())).scalar_one()
    return row, row.now


def cancel_running(connection: sa.Connection, resource: str, now: int) -> list[int]:
    """Cancel what runs under this lease, whose row the caller has locked; the ids of those executions."""
    table = s.lake_execution
    running = connection.execute(
        sa.select(table.c.execution_id)
        .where(table.c.lease_resource == resource, table.c.state == ExecutionState.RUNNING.value)
        .with_for_update()
    ).scalars()
    ids = list(running)
    if ids:
        connection.execute(
            sa.update(table)
            .where(table.c.execution_id.in_(ids))
            .values(
                state=ExecutionState.CANCELED.value,
                finished_ms=now,
                error="its lease ran out, or was given back, before it had committed",
            )
        )
        connection.execute(
            sa.update(s.execution)
            .where(s.execution.c.id.in_(ids))
            .values(last_known_state=int(MlmdState.CANCELED), last_update_time_since_epoch=now)
        )
    return ids


def lost(lease: Lease) -> LeaseLostError:
    """The error for a holder that was taken for dead."""
    return LeaseLostError(
        f"the lease on {lease.resource} was taken over, so the work of {lease.holder} is refused",
        hint="the process was stopped or cut off for longer than its lease; run the job again",
    )


def _held(resource: str, row: Row, now: int) -> LeaseHeldError:
    holder = Holder(row.host, row.pid, row.user_name, row.command)
    since = moment(row.acquired_ms).isoformat(timespec="seconds").replace("+00:00", "Z")
    left = max(1, (row.expires_ms - now + 999) // 1000)
    return LeaseHeldError(
        f"{resource} is being worked on by {holder} since {since}",
        hint=f"wait for it; if it is dead, its lease runs out in {left} s without its heartbeat",
        next_command="lakecat status",
    )
