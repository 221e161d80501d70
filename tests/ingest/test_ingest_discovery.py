"""``lakecat streams``: what a source has, whether or not the job lands it."""

from __future__ import annotations

import json

import pytest

import lakecat
from lakecat.errors import NotFoundError

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
