"""Column names by rule: no two collide, each keeps its source, also when the table's column is renamed."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lakecat.alter import alter
from lakecat.catalog.schema import column_edge
from lakecat.connector.columns import fold
from lakecat.ingest.naming import column_names, snake
from lakecat.tables.evolution import RenameColumn
from lakecat.types import DatasetName


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("id", "id"),
        ("Order ID", "order_id"),
        ("orderId", "order_id"),
        ("HTTPStatusCode", "http_status_code"),
        ("total (EUR)", "total_eur"),
        ("2026 sales", "_2026_sales"),
        ("Größe", "größe"),
        ("%%%", "column"),
        ("ﬁrst", "first"),
    ],
)
def test_snake(name: str, column: str) -> None:
    assert snake(name) == column


names = st.lists(st.text("aAbB _-.1é", min_size=1, max_size=5), unique=True, max_size=8)


@given(names, names, st.randoms(use_true_random=False))
def test_no_two_columns_collide_and_known_ones_stay(first, later, random) -> None:
    known = column_names(first, {}, [])
    assert len({fold(column) for column in known.values()}) == len(first)
    more = [*first, *(name for name in later if name not in first)]
    random.shuffle(more)
    both = column_names(more, known, known.values())
    assert {name: both[name] for name in first} == known
    assert len({fold(column) for column in both.values()}) == len(both)


def test_a_table_remembers_the_names_of_its_source(project) -> None:
    project.put("in/1.csv", "Order ID,Total (EUR)\n1,2.5\n")
    job = project.job("t", target="raw.t", names="snake", mode="merge", key="Order ID", options={"path": "in/*.csv"})
    project.run(job)
    project.put("in/2.csv", "Total (EUR),Order ID,order-id\n3.5,1,x\n4.5,2,y\n")
    project.run(job)
    table = project.table("raw.t")
    order, total, other = table.column_names
    assert (order, total) == ("order_id", "total_eur")
    assert other.startswith("order_id_")
    assert sorted(table.to_pylist(), key=lambda row: row["order_id"]) == [
        {"order_id": 1, "total_eur": 3.5, other: "x"},
        {"order_id": 2, "total_eur": 4.5, other: "y"},
    ]
    with project.catalog.database.reading() as connection:
        edges = connection.execute(sa.select(column_edge.c.output_column, column_edge.c.input_column)).all()
    assert {tuple(edge) for edge in edges} == {
        ("order_id", "Order ID"),
        ("total_eur", "Total (EUR)"),
        (other, "order-id"),
    }
    project.clean()


def test_text_is_read_by_the_type_that_the_renamed_column_has(project) -> None:
    project.put("in/1.csv", "Post Code\nAB1\n")
    job = project.job("t", target="raw.t", names="snake", options={"path": "in/*.csv"})
    project.run(job)
    project.put("in/2.csv", "Post Code\n00501\n")
    project.run(job)
    assert sorted(project.table("raw.t")["post_code"].to_pylist()) == ["00501", "AB1"]


def test_a_column_that_was_renamed_in_the_table_is_still_filled(project) -> None:
    project.put("in/1.csv", "Post Code\nAB1\n")
    job = project.job("t", target="raw.t", names="snake", options={"path": "in/*.csv"})
    project.run(job)
    alter(project.services, DatasetName("raw", "t"), [RenameColumn(("post_code",), "zip")])
    project.put("in/2.csv", "Post Code\nAB2\n")
    project.run(job)
    assert project.table("raw.t").column_names == ["zip"]
    assert sorted(project.table("raw.t")["zip"].to_pylist()) == ["AB1", "AB2"]
