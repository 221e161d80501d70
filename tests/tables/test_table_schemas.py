"""Arrow types to Iceberg types and back: exact, or refused by name."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.types import FixedType, ListType, MapType, StructType

from lakecat.errors import SchemaError, UnsupportedTypeError
from lakecat.tables import arrow_to_iceberg, iceberg_to_arrow

# The right column is the Iceberg specification's own spelling ("Primitive Types").
TYPES = [
    (pa.bool_(), "boolean"),
    (pa.int8(), "int"),
    (pa.int16(), "int"),
    (pa.int32(), "int"),
    (pa.int64(), "long"),
    (pa.uint8(), "int"),
    (pa.uint16(), "int"),
    (pa.uint32(), "long"),
    (pa.uint64(), "decimal(20, 0)"),
    (pa.float16(), "float"),
    (pa.float32(), "float"),
    (pa.float64(), "double"),
    (pa.decimal32(7, 2), "decimal(7, 2)"),
    (pa.decimal64(18, 0), "decimal(18, 0)"),
    (pa.decimal128(38, 38), "decimal(38, 38)"),
    (pa.decimal256(38, 3), "decimal(38, 3)"),
    (pa.date32(), "date"),
    (pa.date64(), "date"),
    (pa.time32("s"), "time"),
    (pa.time32("ms"), "time"),
    (pa.time64("us"), "time"),
    (pa.timestamp("s"), "timestamp"),
    (pa.timestamp("ms"), "timestamp"),
    (pa.timestamp("us"), "timestamp"),
    (pa.timestamp("us", "UTC"), "timestamptz"),
    (pa.timestamp("ms", "Europe/Paris"), "timestamptz"),
    (pa.string(), "string"),
    (pa.large_string(), "string"),
    (pa.string_view(), "string"),
    (pa.binary(), "binary"),
    (pa.large_binary(), "binary"),
    (pa.binary_view(), "binary"),
    (pa.binary(5), "fixed[5]"),
    (pa.uuid(), "uuid"),
    (pa.json_(), "string"),
    (pa.dictionary(pa.int8(), pa.string()), "string"),
    (pa.run_end_encoded(pa.int32(), pa.float32()), "float"),
]


@pytest.mark.parametrize(("arrow", "iceberg"), TYPES, ids=[str(arrow) for arrow, _ in TYPES])
def test_each_type(arrow: pa.DataType, iceberg: str) -> None:
    (column,) = arrow_to_iceberg(pa.schema([pa.field("x", arrow, nullable=False)])).fields
    assert str(column.field_type) == iceberg
    assert not column.required


REFUSED = [
    pa.null(),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.time64("ns"),
    pa.duration("s"),
    pa.month_day_nano_interval(),
    pa.decimal256(39, 2),
    pa.decimal128(5, -2),
    pa.decimal128(3, 5),
    pa.dense_union([pa.field("a", pa.int8())]),
    pa.struct([]),
    pa.list_(pa.timestamp("ns")),
    pa.struct([pa.field("deep", pa.map_(pa.string(), pa.duration("us")))]),
]


@pytest.mark.parametrize("arrow", REFUSED, ids=str)
def test_what_iceberg_cannot_hold_exactly(arrow: pa.DataType) -> None:
    with pytest.raises(UnsupportedTypeError, match="'the column"):
        arrow_to_iceberg(pa.schema([pa.field("the column", arrow)]))


def test_nanoseconds_when_the_caller_checks_them() -> None:
    schema = pa.schema([("a", pa.timestamp("ns")), ("b", pa.timestamp("ns", "UTC")), ("c", pa.time64("ns"))])
    types = [str(column.field_type) for column in arrow_to_iceberg(schema, nanoseconds="exact").fields]
    assert types == ["timestamp", "timestamptz", "time"]


def test_field_ids_are_fresh_level_by_level() -> None:
    schema = arrow_to_iceberg(
        pa.schema(
            [
                ("s", pa.struct([("x", pa.int8()), ("l", pa.list_(pa.struct([("y", pa.int8())])))])),
                ("m", pa.map_(pa.string(), pa.float64())),
                ("z", pa.list_(pa.int64(), 3)),
            ]
        )
    )
    s, m, z = schema.fields
    assert [s.field_id, m.field_id, z.field_id] == [1, 2, 3]
    assert isinstance(s.field_type, StructType)
    assert isinstance(m.field_type, MapType)
    assert isinstance(z.field_type, ListType)
    assert sorted(schema.field_ids) == list(range(1, 11))
    assert m.field_type.key_field.required
    assert not m.field_type.value_field.required


def test_arrow_types_come_back_with_field_ids() -> None:
    schema = arrow_to_iceberg(pa.schema([("u", pa.uint64()), ("f", pa.binary(16))]))
    arrow = iceberg_to_arrow(schema, field_ids=True)
    assert arrow.types == [pa.decimal128(20, 0), pa.binary(16)]
    assert [column.metadata[b"PARQUET:field_id"] for column in arrow] == [b"1", b"2"]
    assert iceberg_to_arrow(schema).field("u").metadata == {}
    assert isinstance(schema.fields[1].field_type, FixedType)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", ""], "no name"),
        (["a", "  "], "no name"),
        (["a", "b", "a"], "'a' is there twice"),
        (["Id", "b", "id"], "'id' is there beside 'Id'"),
        (["straße", "STRASSE"], "beside 'straße'"),
    ],
)
def test_names_that_sql_cannot_tell_apart(names: list[str], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        arrow_to_iceberg(pa.schema([pa.field(name, pa.int8()) for name in names]))
    with pytest.raises(SchemaError, match=r"in 's'"):
        arrow_to_iceberg(pa.schema([("s", pa.struct([pa.field(name, pa.int8()) for name in names]))]))


def test_bottomless_nesting() -> None:
    type_: pa.DataType = pa.int8()
    for _ in range(200):
        type_ = pa.list_(type_)
    with pytest.raises(UnsupportedTypeError, match="nested deeper"):
        arrow_to_iceberg(pa.schema([("x", type_)]))
