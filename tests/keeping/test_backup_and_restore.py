"""Backup and restore: from every database to every database, all of it or nothing."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, ExecutionStart, Holder, copying, registry, restored
from lakecat.catalog import schema as s
from lakecat.catalog.backup import check_backup, write_backup
from lakecat.catalog.restore import restore
from lakecat.errors import (
    CatalogBehindError,
    CatalogError,
    CatalogVersionError,
    LeaseHeldError,
    LeaseLostError,
    UsageError,
)
from lakecat.types import DatasetName, ExecutionState, ExecutionType

BACKENDS = ("sqlite", "postgres", "mariadb")
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
HOLDER = Holder("host", 1, "user", "lakecat run")
ODD = "naïve 数 \N{SNOWMAN} ' \" \\ % :x \t\n"


def fill(catalog: Catalog) -> None:
    """Rows with everything that a column can hold, and executions in two states."""
    types = catalog.type_ids
    lease = catalog.acquire("raw.orders", HOLDER)
    for key in ("first", "second"):
        start = ExecutionStart(
            type=ExecutionType.INGEST, job=f"load {ODD}"[:100], run_key=key, targets=(DatasetName("raw", "orders"),),
            properties={"text": ODD, "big": 2**63 - 1, "small": -(2**63), "part": 0.1, "list": [1, "x"], "yes": True},
            project="shop",
        )  # fmt: skip
        execution = catalog.begin(lease, start)
        catalog.fail(execution, ODD) if key == "first" else None

    def work(connection: sa.Connection) -> None:
        made = registry.ensure_artifacts(
            connection,
            types,
            [registry.NewArtifact(registry.SOURCE, f"s{n}", f"s3://b/{n}", {"n": n}) for n in range(1200)],
            5,
        )
        rows = [
            {"artifact_id": made["s1"], "name": name, "is_custom_property": True, "int_value": None,
             "double_value": None, "byte_value": None, "bool_value": None, **value}
            for name, value in {
                "bytes": {"byte_value": bytes(range(256))}, "tiny": {"double_value": 5e-324},
                "huge": {"double_value": 1.7976931348623157e308}, "third": {"double_value": 1 / 3},
                "minus zero": {"double_value": -0.0}, "no": {"bool_value": False},
            }.items()
        ]  # fmt: skip
        connection.execute(sa.insert(s.artifact_property), rows)

    catalog.database.write(work)
    catalog.release(lease)


def content(catalog: Catalog, *without: sa.Table) -> dict[str, list[tuple[object, ...]]]:
    with catalog.database.reading() as connection:
        return {
            str(table.name): sorted(copying.read(connection, table), key=repr)
            for table in copying.tables()
            if table not in without
        }


CHANGED = (s.setting, s.lease, s.lake_execution, s.execution)
"""What a restore changes: see the tests of it."""


@pytest.mark.parametrize(("source", "target"), list(itertools.product(BACKENDS, BACKENDS)))
def test_every_database_can_be_restored_into_every_other(
    url_of: Callable[[str, str], URL], tmp_path: Path, source: str, target: str
) -> None:
    path = tmp_path / "catalog.backup"
    with (
        Catalog.open(url_of(source, "old"), create=True) as old,
        Catalog.open(url_of(target, "new"), create=True) as new,
    ):
        fill(old)
        manifest = write_backup(old.database, path, now=NOW)
        done = restore(new.database, path, now=NOW)
        assert (done.applied, done.replaces, done.canceled) == (True, False, 1)
        assert content(new, *CHANGED) == content(old, *CHANGED)
        assert manifest.tables["Artifact"].rows == 1200


@pytest.fixture
def old(url_of: Callable[[str, str], URL]) -> Iterator[Catalog]:
    with Catalog.open(url_of("sqlite", "old"), create=True) as catalog:
        fill(catalog)
        yield catalog


@pytest.fixture(params=BACKENDS)
def new(request: pytest.FixtureRequest, url_of: Callable[[str, str], URL]) -> Iterator[Catalog]:
    with Catalog.open(url_of(request.param, "new"), create=True) as catalog:
        yield catalog


@pytest.fixture
def backup(old: Catalog, tmp_path: Path) -> Path:
    path = tmp_path / "catalog.backup"
    write_backup(old.database, path, now=NOW)
    return path


def test_only_the_owner_may_read_it_and_nothing_else_is_left(old: Catalog, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    path = tmp_path / "catalog.backup"
    write_backup(old.database, path, now=NOW)
    assert set(tmp_path.iterdir()) - before == {path}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert check_backup(path).created_at == NOW
    with pytest.raises(UsageError, match="exists already"):
        write_backup(old.database, path, now=NOW)
    assert write_backup(old.database, path, now=NOW, replace=True).catalog_uuid == old.settings()["catalog_uuid"]


def test_no_password_gets_into_it(url_of: Callable[[str, str], URL], tmp_path: Path) -> None:
    path = tmp_path / "catalog.backup"
    with Catalog.open(url_of("postgres", "old"), create=True) as catalog:
        manifest = write_backup(catalog.database, path, now=NOW)
        url = catalog.database.url
    assert manifest.source == f"postgresql://127.0.0.1:{url.port}/{url.database}"
    assert url.password is not None
    assert url.password.encode() not in path.read_bytes()


def test_every_flipped_bit_is_found_or_without_meaning(backup: Path, tmp_path: Path) -> None:
    """Whatever byte is changed: the file is refused, or its content is the same."""
    data = bytearray(backup.read_bytes())
    told = check_backup(backup)
    found = 0
    for place in range(0, len(data), len(data) // 97):
        flipped = data.copy()
        flipped[place] ^= 0x10
        broken = tmp_path / "broken.backup"
        broken.write_bytes(flipped)
        try:
            assert check_backup(broken) == told
        except CatalogError:
            found += 1
    assert found > 0


def test_a_manifest_that_says_something_else_is_found(backup: Path, old: Catalog, tmp_path: Path) -> None:
    """A flipped bit in the catalog's id is no damage to JSON, nor to any row."""
    uuid = str(old.settings()["catalog_uuid"]).encode()
    data = backup.read_bytes()
    for place in (found.start() for found in re.finditer(re.escape(uuid), data)):
        broken = tmp_path / "broken.backup"
        broken.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(CatalogError, match="damaged"):
            check_backup(broken)


def test_a_backup_without_a_checksum_of_its_manifest_is_read(backup: Path, old: Catalog) -> None:
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("ALTER TABLE lakecat_backup DROP COLUMN checksum")
    assert check_backup(backup).catalog_uuid == old.settings()["catalog_uuid"]


@pytest.mark.parametrize("new", ["sqlite"], indirect=True)
@pytest.mark.parametrize("part", range(1, 8))
def test_a_cut_off_backup_is_refused(backup: Path, new: Catalog, part: int) -> None:
    data = backup.read_bytes()
    backup.write_bytes(data[: len(data) * part // 8])
    before = content(new)
    with pytest.raises(CatalogError):
        restore(new.database, backup, now=NOW)
    assert content(new) == before


def test_what_is_no_backup_is_refused(new: Catalog, old: Catalog, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    for path in (text, Path(str(old.database.url.database))):
        with pytest.raises(CatalogError, match="no backup"):
            restore(new.database, path, now=NOW)
    with pytest.raises(UsageError, match="there is no backup"):
        restore(new.database, tmp_path / "absent", now=NOW)


def change_manifest(path: Path, **values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("SELECT content FROM lakecat_backup").fetchone()
        changed = json.dumps({**json.loads(text), **values})
        checksum = hashlib.sha256(changed.encode()).hexdigest()
        connection.execute("UPDATE lakecat_backup SET content = ?, checksum = ?", (changed, checksum))


def test_a_backup_of_a_newer_lakecat_is_refused(backup: Path, new: Catalog) -> None:
    before = content(new)
    change_manifest(backup, revision="9999")
    with pytest.raises(CatalogVersionError, match="newer lakecat"):
        restore(new.database, backup, now=NOW)
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("UPDATE lakecat_backup SET format = 2")
    with pytest.raises(CatalogError, match="newer lakecat"):
        restore(new.database, backup, now=NOW)
    assert content(new) == before


def test_what_is_there_is_replaced_only_on_demand_and_saved_first(backup: Path, new: Catalog, old: Catalog) -> None:
    lease = new.acquire("other", HOLDER)
    new.begin(lease, ExecutionStart(type=ExecutionType.INGEST, job="other", run_key=None, targets=()))
    new.release(lease)
    before = content(new)
    refused = restore(new.database, backup, now=NOW)
    assert (refused.applied, refused.replaces) == (False, True)
    assert content(new) == before
    done = restore(new.database, backup, now=NOW, replace=True)
    assert (done.applied, done.replaces) == (True, True)
    assert content(new, *CHANGED) == content(old, *CHANGED)
    assert done.saved is not None
    restore(new.database, done.saved, now=NOW, replace=True)
    assert {str(name): rows for name, rows in content(new, *CHANGED).items()} == {
        name: rows for name, rows in before.items() if name not in {str(table.name) for table in CHANGED}
    }


def test_nobody_s_work_is_cut_off(backup: Path, new: Catalog) -> None:
    new.acquire("job", HOLDER)
    before = content(new)
    with pytest.raises(LeaseHeldError, match=r"job is being worked on by user@host, process 1 \(lakecat run\)"):
        restore(new.database, backup, now=NOW, replace=True)
    assert content(new) == before


def test_a_lease_that_a_wrong_clock_gave_keeps_no_restore_out(backup: Path, new: Catalog) -> None:
    new.acquire("job", HOLDER)
    moved = {name: s.lease.c[name] + 100 * 86_400_000 for name in ("acquired_ms", "heartbeat_ms", "expires_ms")}
    with new.database.engine.begin() as connection:
        connection.execute(sa.update(s.lease).values(**moved))
    assert restore(new.database, backup, now=NOW, replace=True).applied


def test_no_fence_and_no_id_comes_again(backup: Path, new: Catalog, old: Catalog) -> None:
    """The zombie of the lost catalog holds a lease of it; it can neither renew it nor commit."""
    zombie = old.acquire("raw.orders", HOLDER)
    lost = old.begin(zombie, ExecutionStart(type=ExecutionType.INGEST, job="zombie", run_key=None, targets=()))
    restore(new.database, backup, now=NOW)
    new.database.write(restored.settle)
    with pytest.raises(LeaseLostError):
        new.renew(zombie)
    with Catalog.open(new.database.url) as again:
        for resource in ("raw.orders", "another"):
            lease = again.acquire(resource, HOLDER)
            assert lease.fence > zombie.fence
            begun = again.begin(lease, ExecutionStart(type=ExecutionType.INGEST, job="j", run_key=None, targets=()))
            assert begun.execution_id > lost.execution_id + 1000
        assert [one.state for one in again.executions(state=ExecutionState.RUNNING)] == [ExecutionState.RUNNING] * 2
        canceled = again.executions(state=ExecutionState.CANCELED)
        assert [one.run_key for one in canceled] == ["second"]
        assert again.integrity() == ()


def test_ids_go_on_above_those_of_what_was_replaced(backup: Path, new: Catalog) -> None:
    lease = new.acquire("other", HOLDER)
    start = ExecutionStart(type=ExecutionType.INGEST, job="other", run_key=None, targets=())
    last = [new.begin(lease, start).execution_id for _ in range(5)][-1]
    new.release(lease)
    restore(new.database, backup, now=NOW, replace=True)
    new.database.write(restored.settle)
    lease = new.acquire("other", HOLDER)
    assert new.begin(lease, start).execution_id > last


def test_nothing_begins_until_the_lake_was_looked_at(backup: Path, new: Catalog) -> None:
    restore(new.database, backup, now=NOW)
    lease = new.acquire("job", HOLDER)
    start = ExecutionStart(type=ExecutionType.INGEST, job="job", run_key=None, targets=())
    with pytest.raises(CatalogBehindError, match="backup of 2026-11-25T12:00:00Z") as caught:
        new.begin(lease, start)
    assert caught.value.next_command == "lakecat catalog rebuild --yes"
    assert new.executions(state=ExecutionState.RUNNING) == ()
    new.database.write(restored.settle)
    new.begin(lease, start)


def test_a_value_that_the_database_cannot_hold_stops_it(old: Catalog, tmp_path: Path, url_of: Any) -> None:
    """ML Metadata writes strings with NUL into SQLite; PostgreSQL holds none."""
    with old.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ArtifactProperty SET string_value = 'a' || char(0) WHERE name = 'tiny'")
    path = tmp_path / "nul.backup"
    write_backup(old.database, path, now=NOW)
    with Catalog.open(url_of("postgres", "new"), create=True) as catalog:
        before = content(catalog)
        with pytest.raises(CatalogError) as caught:
            restore(catalog.database, path, now=NOW)
        assert str(catalog.database.url.password) not in str(caught.value)
        assert content(catalog) == before


def test_while_others_write_it_is_one_moment(new: Catalog, tmp_path: Path) -> None:
    """Each transaction adds a node and its property: no backup has one without the other."""
    stop = threading.Event()
    types = new.type_ids

    def write() -> int:
        count = 0
        while not stop.is_set():
            one = registry.NewArtifact(registry.SOURCE, f"w{count}", "uri", {"rows": count})
            new.database.write(lambda connection: registry.ensure_artifacts(connection, types, [one], 1))  # noqa: B023
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        rows = []
        for number in range(5):
            manifest = write_backup(new.database, tmp_path / f"{number}.backup", now=NOW)
            rows.append(manifest.tables["Artifact"].rows)
            assert manifest.tables["ArtifactProperty"].rows == manifest.tables["Artifact"].rows
        stop.set()
        assert writing.result() >= rows[-1]
    assert rows == sorted(rows)
    assert rows[-1] > rows[0]
