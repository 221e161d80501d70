"""``lakecat streams``: what a source has, whether or not the job lands it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lakecat
from lakecat.config import load_jobs
from lakecat.errors import NotFoundError, SourceError, UsageError
from lakecat.types import DatasetName

FILES = {"orders": {"rows": [[1, "x"]], "key": ["id"]}, "lines": {"rows": []}}


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "lakecat.yaml").write_text("lake: ./lake\ncatalog: sqlite:///./catalog.db\n")
    (tmp_path / "ingest").mkdir()
    (tmp_path / "shelf").mkdir()
    for name, content in FILES.items():
        (tmp_path / "shelf" / f"{name}.json").write_text(json.dumps(content))
    job = "connector: shelf_connector:Shelf\ntarget: raw.*\nstreams: [orders]\n"
    (tmp_path / "ingest" / "shop.yaml").write_text(job)
    with lakecat.connect(tmp_path) as opened:
        yield opened


def test_all_streams_are_shown_with_where_they_land(lake) -> None:
    lines, orders = lake.streams("shop")
    assert (lines.name, lines.target, lines.key) == ("lines", None, ())
    assert (orders.name, str(orders.target), orders.key) == ("orders", "raw.orders", ("id",))
    assert [(column.name, column.type) for column in orders.columns] == [("id", "long"), ("text", "string")]


def test_a_job_that_names_what_is_not_there_can_still_ask(lake) -> None:
    job = lake.settings.root / "ingest" / "shop.yaml"
    job.write_text(job.read_text().replace("[orders]", '["zz*"]'))
    assert [stream.target for stream in lake.streams("shop")] == [None, None]


def test_an_unknown_job_is_named(lake) -> None:
    with pytest.raises(NotFoundError, match="no ingest job 'shp'"):
        lake.streams("shp")


def test_a_job_is_drafted_out_of_a_document_and_can_be_read(lake, tmp_path) -> None:
    document = Path(__file__).parents[1] / "cli" / "openapi" / "shop.yaml"
    text = lake.draft("openapi", document, target="api.*")
    (lake.settings.root / "ingest" / "drafted.yaml").write_text(text)
    job = next(job for job in load_jobs(lake.settings) if job.name == "drafted")
    assert job.connector == "rest"
    assert job.targets == (DatasetName("api", "orders"),)


def test_what_cannot_be_drafted_is_refused(lake, tmp_path) -> None:
    with pytest.raises(UsageError, match="nothing to draft from"):
        lake.draft("wsdl", "x")
    with pytest.raises(SourceError, match="cannot be read"):
        lake.draft("openapi", tmp_path / "absent.yaml")
