"""Restoring a catalog from a backup, into whichever database: all of it or nothing.

The backup is read whole and compared with its manifest first; one of an older schema is brought up to date in a copy.
Then one transaction puts its rows in the place of what is there, compares what the database made of them with what
was written, and sees to it that nothing from after the backup can be taken for something of the time to come: fences
and ids go on above all that were given out, leases end, and what was running is canceled.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import copying, opening, registry, restored, search_index, sqlite
from lakecat.catalog import schema as s
from lakecat.catalog.backup import Manifest, check_backup, open_backup, rows_of, translated, write_backup
from lakecat.catalog.copying import Checksum
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.leases import alive, moment
from lakecat.errors import CatalogError, CatalogVersionError, LeaseHeldError, UsageError, Where
from lakecat.failpoints import failpoint
from lakecat.types import ExecutionState

RESERVED_IDS: Final = 1_000_000
"""So many ids of each kind may have been given out between the backup and the loss of the database."""
_CANCELED: Final = "it ran when the backup was made from which the catalog was restored"
_CONTENT: Final = (s.artifact, s.execution, s.context, s.iceberg_tables, s.lease)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did, or with ``applied`` False would do.

    ``replaces``: the database holds a catalog already. ``saved``: where that was backed up. ``canceled``: executions
    that were running when the backup was made.
    """

    manifest: Manifest
    applied: bool
    replaces: bool
    saved: Path | None = None
    canceled: int = 0


def holds_something(database: Database) -> bool:
    """Whether anybody has put something into the catalog since it was made."""
    with database.reading() as connection:
        return any(
            connection.execute(sa.select(sa.exists().where(sa.true()).select_from(t))).scalar() for t in _CONTENT
        )


def restore(
    database: Database, path: Path, *, now: datetime, replace: bool = False, lake: str | None = None
) -> Restored:
    """Make the catalog what the backup holds.

    One that holds something is replaced only with ``replace``, and backed up beside ``path`` first; without it nothing
    is done, and ``applied`` is False. ``database`` has been opened, so its schema is the newest. ``lake``: where its
    tables lie. Raises UsageError (no such file; or the backup is of another lake), CatalogError (damaged, foreign, or
    of a newer lakecat; or the database cannot hold a value of it), LeaseHeldError (somebody works with the catalog).
    """
    manifest = check_backup(path)
    _check_revision(path, manifest)
    if lake is not None:
        _check_lake(path, lake)
    replaces = holds_something(database)
    if replaces and not replace:
        return Restored(manifest=manifest, applied=False, replaces=True)
    saved = _save(database, path, now) if replaces else None
    with _current(path, manifest) as source, database.translating():
        last = _last_ids(database, manifest, replaces=replaces)
        if database.backend == "mysql":  # ALTER TABLE commits: it comes before the transaction
            with database.connect() as connection, connection.begin():
                copying.continue_ids(connection, last)
        canceled = _replace(database, source, manifest, last)
    return Restored(manifest=manifest, applied=True, replaces=replaces, saved=saved, canceled=canceled)


def _save(database: Database, path: Path, now: datetime) -> Path:
    saved = path.with_name(f"{path.stem}-before-restore-{now:%Y%m%dT%H%M%SZ}{path.suffix}")
    write_backup(database, saved, now=now)
    failpoint("restore.saved")
    return saved


def _check_revision(path: Path, manifest: Manifest) -> None:
    """Refuse a backup whose schema is newer than this program."""
    if manifest.revision == s.HEAD:
        return
    from lakecat.catalog import migrate  # Alembic takes 0.2 s to import

    if manifest.revision not in migrate.known_revisions():
        raise CatalogVersionError(
            f"the backup was made by a newer lakecat (schema {manifest.revision}; this one knows {s.HEAD})",
            where=Where(str(path)),
            hint="upgrade lakecat",
        )


def _check_lake(path: Path, lake: str) -> None:
    """Refuse a backup none of whose versions lies in this lake: it is another project's."""
    root = f"{lake}/"
    statement = f"SELECT metadata_location, substr(metadata_location, 1, ?) = ? AS here FROM {s.version.name}"
    with translated(path), open_backup(path) as backup:
        row = backup.execute(f"{statement} ORDER BY here DESC LIMIT 1", (len(root), root)).fetchone()
    if row is not None and not row[1]:
        raise UsageError(
            f"the backup is of another lake: {row[0]} lies outside {lake}",
            where=Where(str(path)),
            hint="give this project's backup, or set `lake:` to where its tables lie",
        )


@contextmanager
def _current(path: Path, manifest: Manifest) -> Iterator[Path]:
    """The backup with the newest schema: itself, or a copy that was brought up to date."""
    if manifest.revision == s.HEAD:
        yield path
        return
    # Alembic takes 0.2 s to import, and a backup of this schema does not need it.
    from lakecat.catalog import migrate

    with tempfile.TemporaryDirectory(prefix="lakecat-restore-") as folder:
        copy = Path(folder) / "catalog.db"
        sqlite.create_file(copy)
        with translated(path):
            shutil.copyfile(path, copy)
        database = Database(URL.create("sqlite", database=str(copy)))
        with contextlib.closing(database), migrate.locked(database) as connection:
            migrate.upgrade(connection)
        yield copy


def _last_ids(database: Database, manifest: Manifest, *, replaces: bool) -> dict[str, int]:
    """Which ids are spent: what is replaced is newer than the backup and knows; where that is lost, it is a guess."""
    if not replaces:
        return {name: last + RESERVED_IDS for name, last in manifest.last_ids.items()}
    with database.reading() as connection:
        known = copying.last_ids(connection)
    return {name: max(last, known.get(name, 0)) for name, last in manifest.last_ids.items()}


def _replace(database: Database, source: Path, manifest: Manifest, last: Mapping[str, int]) -> int:
    """One transaction; how many executions were canceled."""
    with copying.alone(database) as connection:
        _check_idle(connection)
        spent = max(opening.high_water_mark(connection), highest_fence(connection))
        for table in (s.search, *reversed(copying.tables())):
            connection.execute(sa.delete(table))
        failpoint("restore.emptied")
        _fill(connection, source)
        failpoint("restore.filled")
        if database.backend != "mysql":
            copying.continue_ids(connection, last)
        canceled = _begin_anew(connection, manifest, spent)
        search_index.rebuild(connection)
        failpoint("restore.before")
        connection.commit()
    failpoint("restore.after")
    return canceled


def _check_idle(connection: sa.Connection) -> None:
    lease = s.lease
    row: Any = connection.execute(sa.select(lease).where(alive()).order_by(lease.c.resource).limit(1)).one_or_none()
    if row is not None:
        until = moment(row.expires_ms).isoformat(timespec="seconds")
        raise LeaseHeldError(
            f"{row.resource} is being worked on by {row.user_name}@{row.host}, process {row.pid} ({row.command})",
            hint=f"stop it; if it is dead, its lease runs out at {until}",
            next_command="lakecat status",
        )


def highest_fence(connection: sa.Connection) -> int:
    """Of all leases and executions; 0 where there are none."""
    fences = [
        connection.execute(sa.select(sa.func.max(c))).scalar_one() for c in (s.lease.c.fence, s.lake_execution.c.fence)
    ]
    return max((fence for fence in fences if fence is not None), default=0)


def _fill(connection: sa.Connection, source: Path) -> None:
    """Copy every table, and see that the database keeps exactly what was written."""
    with open_backup(source) as backup:
        for table in copying.tables():
            written, kept = Checksum(), Checksum()
            rows = rows_of(backup, str(table.name), tuple(column.name for column in table.columns))
            copying.write(connection, table, written.watch(rows))
            for row in copying.read(connection, table):
                kept.add(row)
            if written != kept:
                raise CatalogError(
                    f"{connection.dialect.name} does not keep every value of table {table.name} as it was",
                    hint="nothing was restored; a value in it, such as a NaN or a NUL, is beyond that database",
                )


def _begin_anew(connection: sa.Connection, manifest: Manifest, spent: int) -> int:
    """End what ran, raise the fences, and note where all this comes from; how many executions were canceled."""
    now = connection.execute(sa.select(now_ms())).scalar_one()
    # Nobody takes a thousand leases a second: the clock is above every fence that was ever given out.
    mark = max(spent, opening.high_water_mark(connection), highest_fence(connection), now)
    ours, mlmd = s.lake_execution, s.execution
    running = sa.select(ours.c.execution_id).where(ours.c.state == ExecutionState.RUNNING.value)
    connection.execute(
        sa.update(mlmd)
        .where(mlmd.c.id.in_(running))
        .values(last_known_state=int(MlmdState.CANCELED), last_update_time_since_epoch=now)
    )
    canceled = connection.execute(
        sa.update(ours)
        .where(ours.c.state == ExecutionState.RUNNING.value)
        .values(state=ExecutionState.CANCELED.value, finished_ms=now, error=_CANCELED)
    ).rowcount
    connection.execute(sa.update(s.lease).values(held=False, fence=mark))
    registry.upsert(connection, s.setting, [{"name": "high_water_mark", "value": str(mark)}])
    restored.mark(connection, made=manifest.created_at, source=manifest.source)
    return int(canceled)
