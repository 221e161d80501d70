"""Partition texts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from lakecat.errors import SchemaError
from lakecat.tables import arrow_to_iceberg, parse_partition

SCHEMA = arrow_to_iceberg(
    pa.schema(
        [
            ("id", pa.int64()),
            ("name", pa.string()),
            ("at", pa.timestamp("us", "UTC")),
            ("on", pa.date32()),
            ("price", pa.float64()),
            ("s", pa.struct([("x", pa.int32())])),
            ("l", pa.list_(pa.int32())),
            ("day(at)", pa.int32()),
            ('odd, "name"', pa.int32()),
            ("at_hour", pa.int32()),
        ]
    )
)


@pytest.mark.parametrize(
    ("text", "column", "transform", "name"),
    [
        ("name", "name", "identity", "name"),
        ("identity(name)", "name", "identity", "name"),
        (" name ", "name", "identity", "name"),
        ("year(at)", "at", "year", "at_year"),
        ("month(on)", "on", "month", "on_month"),
        ("DAY( on )", "on", "day", "on_day"),
        ("bucket(16, id)", "id", "bucket[16]", "id_bucket_16"),
        ("truncate(4,name)", "name", "truncate[4]", "name_trunc_4"),
        ("truncate(10, id)", "id", "truncate[10]", "id_trunc_10"),
        ("s.x", "s.x", "identity", "s.x"),
        ("bucket(2, s.x)", "s.x", "bucket[2]", "s.x_bucket_2"),
        ("day(at)", "day(at)", "identity", "day(at)"),
        ('day("at")', "at", "day", "at_day"),
        ('bucket(3, "odd, ""name""")', 'odd, "name"', "bucket[3]", 'odd, "name"_bucket_3'),
        ("hour(at)", "at", "hour", "at_hour_part"),
    ],
)
def test_each_form(text: str, column: str, transform: str, name: str) -> None:
    (field,) = parse_partition([text], SCHEMA).fields
    assert field.source_id == SCHEMA.find_field(column).field_id
    assert (str(field.transform), field.name, field.field_id) == (transform, name, 1000)


def test_several_and_none() -> None:
    spec = parse_partition(["day(on)", "bucket(4, id)", "bucket(8, id)"], SCHEMA)
    assert [field.field_id for field in spec.fields] == [1000, 1001, 1002]
    assert parse_partition([], SCHEMA).is_unpartitioned()


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "day(nothing)", "day(name)", "hour(on)", "bucket(id)", "bucket(0, id)", "bucket(-1, id)",
     "bucket(99999999999, id)", "truncate(0, name)", "day(3, at)", "week(at)", "truncate(2, price)", "bucket(4, price)",
     "s", "l", "l.element", "day(at", "identity(2, id)", "void(id)"],
)  # fmt: skip
def test_what_is_no_partition(text: str) -> None:
    with pytest.raises(SchemaError, match="partition"):
        parse_partition([text], SCHEMA)


def test_the_same_one_twice() -> None:
    with pytest.raises(SchemaError, match="twice"):
        parse_partition(["id", "identity(id)"], SCHEMA)
