"""A small project on each of the three databases: landed, transformed, failed once, annotated, and asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from lakecat.errors import LakecatError
from lakecat.lake import Lake, connect, init_project

Project = Callable[[URL], Path]


@pytest.fixture
def lake(catalog_url: URL, tmp_path: Path) -> Iterator[Lake]:
    """Orders twice landed, revenue twice made, one script that fails; labels, an owner and a tag."""
    folder = tmp_path / "shop"
    init_project(folder, example=True)
    text = (folder / "lakecat.yaml").read_text()
    url = URL.create(
        catalog_url.drivername, catalog_url.username, None, catalog_url.host, catalog_url.port, catalog_url.database
    ).render_as_string()
    password = "" if catalog_url.password is None else ", password: env:SHOP_PASSWORD"
    lines = [line for line in text.splitlines() if not line.startswith("catalog:")]
    (folder / "lakecat.yaml").write_text("\n".join([*lines, f"catalog: {{url: '{url}'{password}}}"]) + "\n")
    (folder / "transforms" / "mart" / "broken.sql").write_text(
        "-- lakecat: {schedule: '0 0 1 1 *'}\nSELECT CAST(customer AS INT) AS n FROM raw.orders\n"
    )
    with connect(folder, environ={"SHOP_PASSWORD": str(catalog_url.password or "")}) as opened:
        opened.ingest().raise_failures()
        assert len(opened.run().failures) == 1
        third = "order_id,ordered_at,customer,amount\n6,2026-11-03T10:00:00Z,erin,5.00\n"
        (folder / "landing" / "orders-2026-11-03.csv").write_text(third)
        opened.ingest().raise_failures()
        with pytest.raises(LakecatError):
            opened.run().raise_failures()
        opened.annotate("raw.orders", labels="gold", owners="sales@example.org", description="every order")
        opened.annotate("raw.orders.amount", labels="money")
        opened.tag("raw.orders@v1", "prod")
        yield opened
