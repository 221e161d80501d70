"""SQLite as the catalog's database: a safe journal mode, a fair write lock, private files, no network mounts.

The journal modes follow SQLite's own record of the WAL-reset bug (https://sqlite.org/wal.html#walresetbug): WAL may be
used from 3.51.3 on, and in the patched 3.50.7 and 3.44.6; TRUNCATE with synchronous=FULL is safe in all.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from lakecat.errors import CatalogFullError, CatalogReadOnlyError, CatalogUnavailableError

MEMORY: Final = ":memory:"
"""What stands in a URL for a database that is no file."""
WRITE: Final = "lakecat_write"
"""Execution option of a connection whose next transaction writes."""

WRITE_WAIT_SECONDS: Final = 120.0
_READ_WAIT_SECONDS: Final = 60.0
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "gfs2", "ocfs2", "lustre", "gpfs", "beegfs",
     "glusterfs", "9p", "davfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.glusterfs",
     "fuse.ceph-fuse", "fuse.goofys", "fuse.mount-s3", "fuse.davfs2", "fuse.juicefs", "fuse.blobfuse2",
     "fuse.cephfs", "fuse.curlftpfs"}
)  # fmt: skip


def wal_is_safe(version: str) -> bool:
    """Whether this SQLite release has the WAL-reset bug fixed."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    release = (major, minor, patch)
    return release >= (3, 51, 3) or (release[:2] == (3, 50) and patch >= 7) or (release[:2] == (3, 44) and patch >= 6)


def filesystem_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that ``path`` (absolute, resolved) lies on; format: proc_pid_mountinfo(5)."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        if path.is_relative_to(point) and len(point) >= best:  # a later mount at the same point hides the earlier
            best, kind = len(point), right.split(" ")[0]
    return kind


def check_place(path: Path) -> None:
    """Refuse a database on a network mount, where SQLite's locks do not hold. Raises CatalogUnavailableError."""
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return
    kind = filesystem_of(path.resolve(), mountinfo)
    if kind in _NETWORK:
        raise CatalogUnavailableError(
            f"{path} lies on a network mount ({kind}), where SQLite's locks cannot be trusted",
            hint="keep an SQLite catalog on a local disk, or use PostgreSQL or MariaDB",
        )


def create_file(path: Path) -> None:
    """Make an empty database file that only its owner may read and write; an existing one is left as it is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as err:
        raise _creating(path, err) from err


def _creating(path: Path, err: OSError) -> CatalogUnavailableError:
    what = f"cannot create the catalog {path}: {err.strerror}"
    if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CatalogReadOnlyError(what, hint="choose a folder that may be written")
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return CatalogFullError(what, hint="make room, and do it again")
    return CatalogUnavailableError(what)


def is_read_only(path: Path) -> bool:
    """Whether this process may not write an existing database file, or not make a journal beside it."""
    return path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def build_engine(url: URL) -> sa.Engine:
    """An engine for a database file, whose transactions begin as ``WRITE`` says; read-only where the file is."""
    path = Path(url.database or "")
    # The driver's own timeout is for readers and for COMMIT; writers queue in _begin_immediate.
    if url.database == MEMORY:
        # The one connection is the database: who wants it while another thread has it waits.
        engine = sa.create_engine(
            url,
            connect_args={"check_same_thread": False},
            poolclass=sa.QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=WRITE_WAIT_SECONDS,
        )
        event.listen(engine, "connect", _configure)
    elif is_read_only(path):
        address = _read_only_address(path)
        engine = sa.create_engine(
            url,
            creator=lambda: sqlite3.connect(address, uri=True, timeout=_READ_WAIT_SECONDS, check_same_thread=False),
        )
        event.listen(engine, "connect", _configure_reader)
    else:
        engine = sa.create_engine(url, connect_args={"timeout": _READ_WAIT_SECONDS})
        event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _read_only_address(path: Path) -> str:
    """The file as an SQLite URI that never writes (https://sqlite.org/uri.html).

    In WAL mode SQLite makes files beside the database even to read it. Where the mount itself is read-only, and nothing
    is left in the log, the database cannot change: then it is read without.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    log = path.with_name(path.name + "-wal")
    frozen = os.statvfs(path).f_flag & os.ST_RDONLY and not (log.exists() and log.stat().st_size)
    return f"{address}&immutable=1" if frozen and _in_wal_mode(path) else address


def _in_wal_mode(path: Path) -> bool:
    """Whether the header's file format versions, bytes 18 and 19, say WAL (https://sqlite.org/fileformat2.html)."""
    try:
        with path.open("rb") as file:
            return file.read(20)[18:] == b"\x02\x02"
    except OSError:  # opening it tells what is wrong
        return False


def _configure_reader(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # as in _configure; nothing here is written, not even a journal mode


def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun in _begin, not by the driver
    cursor = connection.cursor()
    try:
        wanted = "wal" if wal_is_safe(sqlite3.sqlite_version) else "truncate"
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
            mode = _set_journal_mode(cursor, wanted)
            if mode == "wal" and wanted != "wal":
                raise CatalogUnavailableError(
                    f"the catalog is in WAL mode and in use, and SQLite {sqlite3.sqlite_version} can corrupt it so",
                    hint="stop the programs that have it open, or use SQLite 3.51.3 or newer",
                )
    finally:
        cursor.close()


def _set_journal_mode(cursor: Any, wanted: str) -> str:
    # PRAGMA cannot take bound parameters; ``wanted`` is one of two words of this module.
    try:
        return str(cursor.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0])
    except sqlite3.OperationalError:  # locked: somebody else has it open in the other mode
        return str(cursor.execute("PRAGMA journal_mode").fetchone()[0])


def _begin(connection: sa.Connection) -> None:
    raw: Any = connection.connection.driver_connection
    if connection.get_execution_options().get(WRITE):
        _begin_immediate(raw)
    else:
        raw.execute("BEGIN")  # takes no lock, so that there is nothing that could be refused


def _begin_immediate(raw: Any) -> None:
    """Take the write lock, asking at short random intervals: the longer it waited, the more often.

    SQLite's own busy handler asks less and less often, so that the newest comer wins and the oldest starves.
    """
    start = time.monotonic()
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as err:
                waited = time.monotonic() - start
                busy = err.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or waited > WRITE_WAIT_SECONDS:
                    raise sa.exc.OperationalError("BEGIN IMMEDIATE", None, err) from err
                time.sleep(random.uniform(0.0005, 0.02 / (1.0 + waited)))  # noqa: S311 - jitter, no secret
            else:
                return
    finally:
        raw.execute(f"PRAGMA busy_timeout = {int(_READ_WAIT_SECONDS * 1000)}")
