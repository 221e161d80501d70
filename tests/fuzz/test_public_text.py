"""Whatever text comes in at a public entry: an answer, or an error of lakecat's tree; never anything else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, Holder
from lakecat.catalog.database import parse_url
from lakecat.catalog.metadata_store.filters import condition
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION
from lakecat.catalog.metadata_store.type_files import parse_types
from lakecat.errors import LakecatError
from lakecat.lake import connect, init_project
from lakecat.lake.lake import Lake
from lakecat.lake.questions import parse_target
from lakecat.selector import parse_selector
from lakecat.types import DatasetName, VersionRef

EVIL = (
    "", " ", "\0", "a\0b", "\ud800", "\x1b[31m", "\u202e", "'", '"', "`", ";", "--", "/*", "%", "_", "\\", "$$", "{}",
    "a" * 600, "ﬀ", "İ", "ß", "\N{GREEK CAPITAL LETTER ALPHA}", "raw.orders@", "raw.orders@v0",
    "raw.orders@v9" + "9" * 30,
    "raw.orders@99999999999999999999", "raw.orders@9999-12-31", "raw.orders@0001-01-01", "@v1", "raw..x", ".", "..",
    "raw.orders@2024-01-01T00:00:00+23:59", "raw.orders@0001-01-01T00:00:00+23:59", "raw.orders'; DROP TABLE Type; --",
    "CON", "+" * 50, "1+" * 50, "*" * 200, "[a", "[!]", "raw.[a-", "nan", "-1", "1e999", "0x", "²", "٣",
)  # fmt: skip
WORDS = st.sampled_from(
    ["raw", "orders", ".", "@", "v", "1", "2026-11-01", "T", "Z", "+", "*", ",", " ", ":", "/", "'", "(", ")", "=",
     "AND", "NOT", "IN", "LIKE", "properties", "x", "int_value", "uri", "NULL", "events_0", "contexts_a", "\0",
     "\ud800", "ü"]
)  # fmt: skip
TEXT = st.text(max_size=40) | st.sampled_from(EVIL) | st.lists(WORDS, max_size=12).map("".join)
QUIET = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60
)


def ours(call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's answer; None where it refused as it should."""
    try:
        return call(*arguments)
    except LakecatError as err:
        return None if err.what and str(err) else pytest.fail("an error that says nothing")


@given(TEXT)
def test_parsers(text):
    for parse in (DatasetName.parse, VersionRef.parse, parse_selector, parse_target, parse_types):
        ours(parse, text)


@given(TEXT, st.sampled_from(["sqlite", "postgresql", "mysql"]))
def test_filters(text, dialect):
    for kind in (ARTIFACT, EXECUTION, CONTEXT):
        ours(condition, kind, text, dialect)


SCHEMES = ("sqlite://", "sqlite:///", "postgresql://", "postgresql+psycopg://", "mysql://", "mariadb://", "", "x://")
PARTS = st.lists(
    st.sampled_from(["user", ":", "@", "hunter2", "host", "[::1]", "5432", "/", "db", "?", "a=b", "&", "sslmode=x", "#",
                     "%", "%00", "%zz", "\0", "\ud800", " ", "[", "]", "ü", "..", "charset=x", "host=/tmp"])
    | st.text(max_size=6), max_size=12,
).map("".join)  # fmt: skip


@given(st.sampled_from(SCHEMES), PARTS)
@example("postgresql://", "h:99999999999999999999/d")
@example("postgresql://", "u:hunter2@[::1/d")
@example("mysql://", "u:hunter2@h:port/d")
def test_catalog_urls_parse_or_are_refused(scheme, rest):
    told = ""
    try:
        parse_url(scheme + rest)
    except LakecatError as err:
        told = str(err)
    assert "hunter2" not in told or "hunter2" in rest.partition("?")[2], "parameters that are refused are named"


@given(
    st.sampled_from(["sqlite:///", "sqlite:////tmp/none/", "postgresql://127.0.0.1:1/", "mysql://127.0.0.1:1/"]), PARTS
)
@settings(deadline=None, max_examples=40)
def test_catalog_urls_are_opened_or_refused(scheme, rest):
    """Nobody listens there; and files are not made where they were not asked for."""
    before = set(os.listdir())  # noqa: PTH208 - names are enough
    opened = ours(Catalog.open, scheme + rest)
    assert opened is None
    assert set(os.listdir()) == before  # noqa: PTH208


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("fuzz") / "shop"
    init_project(folder, example=True)
    with connect(folder) as opened:
        opened.ingest().raise_failures()
        opened.run().raise_failures()
        yield opened


@given(TEXT)
@QUIET
@example("raw.orders@v1")
@example("raw.orders.AMOUNT")
def test_questions_of_a_lake(lake, text):
    for ask in (
        lake.show, lake.lineage, lake.datasets, lake.status, lake.plan, lake.impact, lake.where, lake.history,
        lake.execution, lake.diff,
    ):  # fmt: skip
        ours(ask, text)
    ours(lambda: lake.compare(text, text))
    for name in ("job", "dataset", "state", "type", "since"):
        ours(lambda name=name: lake.executions(**{name: text}))
    ours(lake.import_openlineage, text)
    ours(lambda: lake.import_openlineage((), namespaces=[text]))


@given(TEXT)
@QUIET
def test_queries_of_a_lake(lake, text):
    for sql in (text, f"SELECT * FROM raw.orders WHERE {text}", f'SELECT "{text}" FROM raw.orders'):
        ours(lake.query, sql)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    url = (
        URL.create("sqlite", database=str(tmp_path / "catalog.db"))
        if request.param == "sqlite"
        else request.getfixturevalue(f"{request.param}_url")
    )
    with Catalog.open(url, create=True) as opened:
        yield opened


@given(TEXT)
@settings(QUIET, max_examples=40)
@example("x" * 600)
def test_names_in_a_catalog(catalog, text):
    holder = Holder(text, 1, text, text)
    lease = ours(catalog.acquire, text, holder)
    if lease is not None:
        assert lease.resource == text
        ours(catalog.renew, lease)
        ours(catalog.release, lease)
    ours(catalog.position, text)
    ours(catalog.latest_execution, text)
    ours(lambda: catalog.executions(job=text))
    assert catalog.datasets() == ()
