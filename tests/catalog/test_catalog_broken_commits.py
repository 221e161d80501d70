"""Commits and moves of tags over connections that break after any byte, or broke while nobody used them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from fault_proxy import Proxy
from sqlalchemy.engine import URL

from lakecat import tables
from lakecat.catalog import Catalog, Holder
from lakecat.catalog.annotations import AnnotationEdit
from lakecat.catalog.tagging import Tagging, differences
from lakecat.errors import CatalogError, CommitUnknownError
from lakecat.lake.openlineage_import import import_openlineage
from lakecat.types import DatasetName, ExecutionState, VersionRef

pytestmark = pytest.mark.parametrize("catalog_url", ["postgres", "mariadb"], indirect=True)
ORDERS = DatasetName("raw", "orders")
CUTS = [("up", count) for count in range(0, 9000, 600)] + [("down", count) for count in range(0, 3000, 250)]


def proxied(bench) -> Proxy:
    return Proxy((bench.url.host, bench.url.port))


def test_a_commit_lands_whole_and_once_or_not_at_all(bench) -> None:
    proxy = proxied(bench)
    with Catalog.open(bench.url.set(port=proxy.port)) as through:
        broken = replace(bench, catalog=through)
        landed = 0
        for way, count in CUTS:
            lease, execution = bench.begin("raw.orders")
            change = bench.change(execution, "raw.orders")
            proxy.cut_after(way, count)
            try:
                result = broken.commit(execution, change)
            except CommitUnknownError:
                pass
            except CatalogError:
                assert bench.catalog.fail(execution, "broken") is ExecutionState.FAILED
            else:
                landed += 1
                assert bench.catalog.resolve(VersionRef(ORDERS)) == result.versions[0]
            proxy.heal()
            bench.catalog.release(lease)
            bench.catalog.cancel_expired()
            complete = [e for e in bench.catalog.executions() if e.state is ExecutionState.COMPLETE]
            assert len(bench.catalog.versions(ORDERS)) == len(complete) >= landed
        assert proxy.cuts > 10
    proxy.close()
    state = tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS))
    rows = tables.read(bench.store, tables.Scan(state, state.current_snapshot_id)).read_all().num_rows
    assert rows == 3 * len(bench.catalog.versions(ORDERS))
    assert bench.catalog.integrity() == ()


def test_a_tag_moves_in_both_places_or_in_none(bench) -> None:
    bench.load("raw.orders")
    bench.load("raw.orders")
    proxy = proxied(bench)
    with Catalog.open(bench.url.set(port=proxy.port)) as through:
        holder = Holder("h", 1, "u", "c")
        work = Tagging(catalog=through, store=bench.store, holder=holder, retention=bench.retention, now=bench.clock)
        for number, (way, count) in enumerate(CUTS):
            wanted, before = 1 + number % 2, bench.catalog.tags()
            proxy.cut_after(way, count)
            try:
                work.tag(VersionRef(ORDERS, version=wanted), "prod")
            except (CatalogError, CommitUnknownError):
                assert [tag.version for tag in bench.catalog.tags()] in ([wanted], [tag.version for tag in before])
            else:
                assert [tag.version for tag in bench.catalog.tags()] == [wanted]
            proxy.heal()
            assert differences(bench.catalog, bench.store, ORDERS) == []
        assert proxy.cuts > 10
    proxy.close()
    bench.catalog.cancel_expired()
    changes = bench.catalog.tag_changes(ORDERS)
    assert [change.before for change in changes] == [*(change.after for change in changes[1:]), None]
    assert bench.catalog.integrity() == ()


def close_all_idle(url: URL) -> None:
    """End every other session on the database, as a server does that is restarted, or a firewall that forgets."""
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        rows = connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        for (number,) in rows.all():
            connection.exec_driver_sql(f"KILL {number}")


def test_what_uses_a_connection_that_died_while_idle_works_all_the_same(bench, tmp_path: Path) -> None:
    event = {
        "eventType": "COMPLETE", "eventTime": "2026-01-01T00:00:00Z", "producer": "https://example.com/p",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "01890000-0000-7000-8000-000000000000"}, "job": {"namespace": "n", "name": "j"},
        "inputs": [], "outputs": [],
    }  # fmt: skip
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    close_all_idle(bench.url)
    lease, execution = bench.begin("raw.orders")
    change = bench.change(execution, "raw.orders")
    close_all_idle(bench.url)
    assert bench.commit(execution, change).attempts <= 2
    close_all_idle(bench.url)
    bench.catalog.release(lease)
    close_all_idle(bench.url)
    bench.catalog.annotate(ORDERS, None, AnnotationEdit(owners=("ada", "Ada")), by="me")
    close_all_idle(bench.url)
    report = import_openlineage(bench.catalog, [tmp_path / "events.jsonl"], strict=True)
    assert report.problems == ()
    close_all_idle(bench.url)
    assert bench.catalog.annotations(ORDERS).dataset.owners == ("Ada", "ada")
    assert len(bench.catalog.versions(ORDERS)) == 1
    assert bench.catalog.integrity() == ()
