"""Messages name types as the job file and ``lakecat show`` do, whatever Arrow calls them."""

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from lakecat.connector import type_name
from lakecat.tables import arrow_to_iceberg


@pytest.mark.parametrize(
    "type_",
    [
        pa.bool_(),
        pa.int32(),
        pa.int64(),
        pa.float32(),
        pa.float64(),
        pa.decimal128(12, 2),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("us"),
        pa.timestamp("us", tz="UTC"),
        pa.string(),
        pa.large_string(),
        pa.binary(),
    ],
)
def test_a_plain_type_is_named_as_its_table_column(type_: pa.DataType) -> None:
    assert type_name(type_) == str(arrow_to_iceberg(pa.schema([pa.field("c", type_)])).fields[0].field_type)


def test_the_name_can_be_declared_in_a_job() -> None:
    for type_ in (pa.int64(), pa.decimal128(38, 19), pa.timestamp("us", tz="UTC"), pa.string()):
        column = NestedField(1, "c", type_name(type_), required=False)
        assert Schema(column).fields[0].field_type == arrow_to_iceberg(pa.schema([("c", type_)])).fields[0].field_type


def test_nested_types_are_named_inside_too() -> None:
    nested = pa.struct([("a", pa.list_(pa.float64())), ("b", pa.map_(pa.string(), pa.decimal128(4, 1)))])
    assert type_name(nested) == "struct<a: list<double>, b: map<string, decimal(4, 1)>>"


def test_what_no_table_holds_keeps_its_name() -> None:
    assert type_name(pa.duration("s")) == "duration[s]"
