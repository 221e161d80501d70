# ruff: noqa: DTZ001 - Iceberg's timestamp without zone is a naive datetime
"""What write_files puts into the lake, read back by pyarrow and compared with values worked out in plain Python."""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from lakecat.config import WriteSettings
from lakecat.errors import SchemaError
from lakecat.store import LakeStore
from lakecat.tables.write import WrittenFiles, write_files

SMALL = WriteSettings(memory=16 << 20)


def schema_of(*types: IcebergType, required: bool = False) -> Schema:
    return Schema(*[NestedField(i, f"c{i}", type_, required=required) for i, type_ in enumerate(types, 1)])


def spec_of(*transforms: Transform) -> PartitionSpec:
    return PartitionSpec(*[PartitionField(i, 999 + i, t, f"p{i}") for i, t in enumerate(transforms, 1)], spec_id=3)


def write(
    tmp_path: Path, table: pa.Table, schema: Schema, spec=UNPARTITIONED_PARTITION_SPEC, **options
) -> WrittenFiles:
    store = LakeStore.open(str(tmp_path / "lake"))
    return write_files(
        store,
        table.to_reader(options.pop("chunk", 65_536)),
        schema=schema,
        spec=spec,
        prefix=store.join("t", "data", "run"),
        settings=options.pop("settings", SMALL),
        **options,
    )


def read(file) -> pa.Table:
    return pq.ParquetFile(file.file_path.removeprefix("file://"), page_checksum_verification=True).read()


def test_files_have_field_ids_checksums_and_plain_names(tmp_path):
    schema = Schema(
        NestedField(7, "name", StringType()),
        NestedField(9, "tags", ListType(11, StringType())),
        NestedField(12, "at", StructType(NestedField(13, "x", DoubleType()), NestedField(14, "y", IntegerType()))),
        NestedField(15, "m", MapType(16, StringType(), 17, LongType())),
    )
    table = pa.table(
        {
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "at": [{"x": 1.5, "y": 2}, None],
            "tags": [["a", "b"], []],
            "name": ["n", None],
        }
    )
    (file,) = write(tmp_path, table, schema).files
    path = Path(file.file_path.removeprefix("file://"))
    UUID(path.stem)
    assert path.parent == tmp_path / "lake" / "t" / "data" / "run"
    ids = {}

    def collect(field: pa.Field, name: str) -> None:
        if field.metadata:
            ids[name] = int(field.metadata[b"PARQUET:field_id"])
        if pa.types.is_map(field.type):
            collect(field.type.item_field, f"{name}.value")
            return
        for i in range(field.type.num_fields):
            collect(field.type.field(i), f"{name}.{field.type.field(i).name}")

    for field in pq.read_schema(path):
        collect(field, field.name)
    expected = {"name": 7, "tags": 9, "tags.element": 11, "at": 12, "at.x": 13, "at.y": 14, "m": 15, "m.value": 17}
    assert {name: ids[name] for name in expected} == expected
    assert read(file).to_pylist() == [
        {"name": "n", "tags": ["a", "b"], "at": {"x": 1.5, "y": 2}, "m": [("k", 1)]},
        {"name": None, "tags": [], "at": None, "m": None},
    ]
    assert file.file_size_in_bytes == path.stat().st_size
    assert file.split_offsets == [4]


def test_bounds_of_every_type_are_serialised_as_the_spec_says(tmp_path):
    values = {
        BooleanType(): (False, True, b"\x00", b"\x01"),
        IntegerType(): (-2, 300, struct.pack("<i", -2), struct.pack("<i", 300)),
        LongType(): (-(2**40), 2**53 + 1, struct.pack("<q", -(2**40)), struct.pack("<q", 2**53 + 1)),
        FloatType(): (-1.5, 2.25, struct.pack("<f", -1.5), struct.pack("<f", 2.25)),
        DoubleType(): (-0.5, 1e300, struct.pack("<d", -0.5), struct.pack("<d", 1e300)),
        DecimalType(9, 2): (Decimal("-1.28"), Decimal("1.28"), b"\x80", b"\x00\x80"),
        DecimalType(38, 0): (Decimal(-(10**37)), Decimal(5), (-(10**37)).to_bytes(16, "big", signed=True), b"\x05"),
        DateType(): (dt.date(1969, 12, 31), dt.date(1970, 1, 2), struct.pack("<i", -1), struct.pack("<i", 1)),
        TimeType(): (dt.time(0, 0, 1), dt.time(1), struct.pack("<q", 10**6), struct.pack("<q", 3600 * 10**6)),
        TimestampType(): (
            dt.datetime(1969, 12, 31, 23, 59, 59),
            dt.datetime(1970, 1, 1, 0, 0, 0, 5),
            struct.pack("<q", -(10**6)),
            struct.pack("<q", 5),
        ),
        TimestamptzType(): (
            dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC),
            struct.pack("<q", 0),
            struct.pack("<q", 10**6),
        ),
        StringType(): ("a" * 20, "é" * 20, b"a" * 16, "é".encode() * 15 + "ê".encode()),
        BinaryType(): (b"\x00" * 20, b"\x01" * 15 + b"\xff" * 5, b"\x00" * 16, b"\x01" * 14 + b"\x02"),
        FixedType(3): (b"abc", b"abd", b"abc", b"abd"),
        UUIDType(): (UUID(int=1), UUID(int=2**127), UUID(int=1).bytes, UUID(int=2**127).bytes),
    }
    schema = schema_of(*values)
    columns = {}
    for field in schema.fields:
        low, high, *_ = values[field.field_type]
        if isinstance(low, UUID):
            columns[field.name] = pa.array([high.bytes, None, low.bytes], pa.binary(16))
        elif isinstance(low, Decimal):
            columns[field.name] = pa.array([high, None, low], pa.decimal128(38, field.field_type.scale))
        else:
            columns[field.name] = pa.array([high, None, low])
    (file,) = write(tmp_path, pa.table(columns), schema).files
    for field in schema.fields:
        _, _, lower, upper = values[field.field_type]
        assert file.lower_bounds[field.field_id] == lower, field
        assert file.upper_bounds[field.field_id] == upper, field
        assert file.value_counts[field.field_id] == 3
        assert file.null_value_counts[field.field_id] == 1


@pytest.mark.parametrize(
    ("value", "upper"),
    [
        ("z" * 16, "z" * 16),
        ("z" * 17, "z" * 15 + "{"),
        ("a" + "\U0010ffff" * 16, "b"),
        ("\U0010ffff" * 17, None),
        ("a" * 15 + "\ud7ff" + "x", "a" * 15 + "\ue000"),
    ],
)
def test_upper_bounds_of_long_text_are_above_it_or_left_out(tmp_path, value, upper):
    (file,) = write(tmp_path, pa.table({"c1": [value]}), schema_of(StringType())).files
    assert file.upper_bounds.get(1) == (None if upper is None else upper.encode())


def test_a_value_longer_than_parquet_statistics_hold_leaves_no_bounds_from_the_other_row_groups(tmp_path):
    values = ["m"] * 1024 + ["z" * 5000] + ["n"] * 1023
    narrow = WriteSettings(row_group_rows=1024)
    (file,) = write(tmp_path, pa.table({"c1": values}), schema_of(StringType()), settings=narrow).files
    assert len(file.split_offsets) == 2
    assert 1 not in file.upper_bounds
    assert 1 not in file.lower_bounds
    assert file.null_value_counts == {1: 0}


def test_no_file_with_nan_has_bounds_or_parquet_statistics_for_that_column(tmp_path):
    rows = 4096
    clean = [float(i + 1) for i in range(rows)]
    dirty = [*clean[:5], math.nan, None, *clean[7:]]
    table = pa.table({"c1": clean + dirty + clean, "c2": clean * 3})
    narrow = WriteSettings(row_group_rows=rows)
    files = write(tmp_path, table, schema_of(DoubleType(), FloatType()), settings=narrow).files
    assert [f.record_count for f in files] == [rows, 2 * rows]
    first, second = files
    assert first.lower_bounds[1] == struct.pack("<d", 1.0)
    assert first.nan_value_counts == {1: 0, 2: 0}
    assert second.nan_value_counts == {1: 1, 2: 0}
    assert second.null_value_counts == {1: 1, 2: 0}
    assert 1 not in second.lower_bounds
    assert second.upper_bounds[2] == struct.pack("<f", rows)
    for file in files:
        footer = pq.read_metadata(file.file_path.removeprefix("file://"))
        for group in range(footer.num_row_groups):
            chunk = footer.row_group(group).column(0)
            assert chunk.is_stats_set == (file is first)
            assert footer.row_group(group).column(1).is_stats_set


def test_nan_inside_lists_and_structs_is_counted(tmp_path):
    schema = Schema(
        NestedField(1, "l", ListType(2, DoubleType(), element_required=False)),
        NestedField(3, "s", StructType(NestedField(4, "x", FloatType()))),
    )
    table = pa.table({"l": [[1.0, math.nan], [], None, [None]], "s": [{"x": math.nan}, None, {"x": None}, {"x": 1.0}]})
    (file,) = write(tmp_path, table, schema).files
    assert file.nan_value_counts == {2: 1, 4: 1}
    assert file.value_counts == {2: 5, 4: 4}
    assert file.null_value_counts == {2: 3, 4: 2}
    assert file.lower_bounds == {}


def test_files_roll_at_the_target_size(tmp_path):
    rows = 400_000
    table = pa.table({"c1": pa.array([(i * 2654435761) % 2**61 for i in range(rows)])})
    limits = WriteSettings(target_file_size=1 << 20, row_group_rows=16_384)
    written = write(tmp_path, table, schema_of(LongType()), settings=limits)
    assert written.rows == rows
    assert len(written.files) >= 3
    assert all(1 << 20 <= f.file_size_in_bytes < 3 << 19 for f in written.files[:-1])
    assert pa.concat_tables(read(f) for f in written.files)["c1"].to_pylist() == table["c1"].to_pylist()
    assert written.bytes == sum(f.file_size_in_bytes for f in written.files)


def test_an_empty_stream_writes_nothing(tmp_path):
    written = write(tmp_path, pa.table({"c1": pa.array([], pa.int64())}), schema_of(LongType()))
    assert written == WrittenFiles((), 0, 0)


@pytest.mark.parametrize(
    ("column", "type_", "message"),
    [
        (pa.array([1, 2**31]), IntegerType(), "column 'c1', row 2: 2147483648"),
        (pa.array([1.0, 2.5]), LongType(), "row 2: 2.5"),
        (pa.array([2**53 + 1]), DoubleType(), "9007199254740993"),
        (pa.array([0.1]), FloatType(), "row 1: 0.1"),
        (pa.array([Decimal("1.005")]), DecimalType(9, 2), "1.005"),
        (pa.array([10**7]), DecimalType(9, 2), "10000000"),
        (pa.array([2**64 - 1], pa.uint64()), LongType(), "18446744073709551615"),
        (pa.array([1500], pa.timestamp("ns")), TimestampType(), "row 1"),
        (pa.array(["1"]), LongType(), "cannot take string"),
        (pa.array([1]), StringType(), "cannot take long"),
        (pa.array([0], pa.timestamp("us", "UTC")), TimestampType(), "cannot take timestamp"),
        (pa.array([{"x": 1, "z": 2}]), StructType(NestedField(5, "x", LongType())), "cannot take struct"),
    ],
)
def test_what_does_not_fit_exactly_is_refused_by_column_and_value(tmp_path, column, type_, message):
    with pytest.raises(SchemaError) as caught:
        write(tmp_path, pa.table({"c1": column}), schema_of(type_))
    assert message in str(caught.value)
    assert list((tmp_path / "lake").rglob("*.parquet")) == []


@pytest.mark.parametrize(
    ("column", "type_", "expected"),
    [
        (pa.array([5, None], pa.uint8()), LongType(), [5, None]),
        (pa.array([2**24], pa.int32()), FloatType(), [2.0**24]),
        (pa.array([0.5, math.inf]), FloatType(), [0.5, math.inf]),
        (pa.array([7]), DecimalType(9, 2), [Decimal("7.00")]),
        (pa.array([2000], pa.timestamp("ns")), TimestampType(), [dt.datetime(1970, 1, 1, 0, 0, 0, 2)]),
        (pa.array([dt.date(2020, 1, 1)]), TimestampType(), [dt.datetime(2020, 1, 1)]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), StringType(), ["a", "b", "a"]),
        (pa.array(["a"], pa.string_view()), StringType(), ["a"]),
        (pa.array([None], pa.null()), DateType(), [None]),
    ],
)
def test_what_fits_exactly_is_taken(tmp_path, column, type_, expected):
    (file,) = write(tmp_path, pa.table({"c1": column}), schema_of(type_)).files
    assert read(file)["c1"].to_pylist() == expected


def test_columns_are_matched_by_name_and_missing_ones_are_null_if_they_may_be(tmp_path):
    schema = Schema(NestedField(1, "a", LongType(), required=True), NestedField(2, "b", StringType()))
    (file,) = write(tmp_path, pa.table({"a": [1]}), schema).files
    assert read(file).to_pylist() == [{"a": 1, "b": None}]
    with pytest.raises(SchemaError, match="'a' is required and missing"):
        write(tmp_path, pa.table({"b": ["x"]}), schema)
    with pytest.raises(SchemaError, match="no column 'z'"):
        write(tmp_path, pa.table({"a": [1], "z": [1]}), schema)
    with pytest.raises(SchemaError, match="'a' is required and is NULL in row 3"):
        write(tmp_path, pa.table({"a": [1, 2, None]}), schema, chunk=2)


# Expected partition values below are computed with Python's own integers and dates.
EPOCH = dt.datetime(1970, 1, 1)
moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))


def micros(value: dt.datetime) -> int:
    return (value - EPOCH) // dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (YearTransform(), lambda v: v.year - 1970),
        (MonthTransform(), lambda v: (v.year - 1970) * 12 + v.month - 1),
        (DayTransform(), lambda v: micros(v) // 86_400_000_000),
        (HourTransform(), lambda v: micros(v) // 3_600_000_000),
        (IdentityTransform(), micros),
    ],
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_time_partitions_of_any_moment(tmp_path_factory, transform, expected, data):
    values = data.draw(st.lists(st.none() | moments, min_size=1, max_size=30))
    for type_, zone in ((TimestampType(), None), (TimestamptzType(), "UTC")):
        table = pa.table({"c1": pa.array(values, pa.timestamp("us")).cast(pa.int64()).cast(pa.timestamp("us", zone))})
        written = write(tmp_path_factory.mktemp("w"), table, schema_of(type_), spec_of(transform))
        found = {
            f.partition[0]: sorted(micros(v.replace(tzinfo=None)) for v in read(f)["c1"].to_pylist() if v)
            for f in written.files
        }
        model: dict = {}
        for value in values:
            group = model.setdefault(None if value is None else expected(value), [])
            group.extend([] if value is None else [micros(value)])
        assert found == {key: sorted(group) for key, group in model.items()}
        assert all(f.spec_id == 3 for f in written.files)


def murmur3(data: bytes) -> int:
    """MurmurHash3 x86 32, straight from its definition."""
    mask, h = 0xFFFFFFFF, 0

    def mix(k: int) -> int:
        k = k * 0xCC9E2D51 & mask
        return ((k << 15 | k >> 17) & mask) * 0x1B873593 & mask

    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        h ^= mix(int.from_bytes(data[at : at + 4], "little"))
        h = (((h << 13 | h >> 19) & mask) * 5 + 0xE6546B64) & mask
    if data[whole:]:
        h ^= mix(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & mask
    h = (h ^ h >> 13) * 0xC2B2AE35 & mask
    return h ^ h >> 16


def test_the_hash_of_this_file_gives_the_specs_own_examples():
    # Iceberg spec, appendix B
    assert murmur3(struct.pack("<q", 34)) == 2017239379
    assert murmur3(b"iceberg") == 1210000089
    assert murmur3(UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes) == 1488055340
    assert murmur3(b"\x00\x01\x02\x03") - 2**32 == -188683207


@settings(max_examples=20, deadline=None)
@given(
    longs=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    texts=st.lists(st.none() | st.text(max_size=20), min_size=1, max_size=20),
    count=st.integers(1, 50),
)
def test_buckets(tmp_path_factory, longs, texts, count):
    cases = [
        (LongType(), pa.array(longs, pa.int64()), lambda v: struct.pack("<q", v)),
        (StringType(), pa.array(texts, pa.string()), str.encode),
    ]
    for type_, array, encode in cases:
        written = write(
            tmp_path_factory.mktemp("w"), pa.table({"c1": array}), schema_of(type_), spec_of(BucketTransform(count))
        )
        for file in written.files:
            for value in read(file)["c1"].to_pylist():
                expected = None if value is None else (murmur3(encode(value)) & 0x7FFFFFFF) % count
                assert file.partition[0] == expected
        assert written.rows == len(array)


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.none() | st.integers(-(2**31) + 100, 2**31 - 1), min_size=1, max_size=40),
    width=st.integers(1, 99),
)
def test_truncation_of_numbers_goes_down(tmp_path_factory, values, width):
    cases = [
        (IntegerType(), pa.array(values, pa.int32()), lambda v: v // width * width),
        (LongType(), pa.array(values, pa.int64()), lambda v: v // width * width),
        (
            DecimalType(12, 2),
            pa.array([None if v is None else Decimal(v).scaleb(-2) for v in values], pa.decimal128(12, 2)),
            lambda v: Decimal(int(v.scaleb(2)) // width * width).scaleb(-2),
        ),
    ]
    for type_, array, expected in cases:
        spec = spec_of(TruncateTransform(width))
        written = write(tmp_path_factory.mktemp("w"), pa.table({"c1": array}), schema_of(type_), spec)
        for file in written.files:
            assert {None if v is None else expected(v) for v in read(file)["c1"].to_pylist()} == {file.partition[0]}


NASTY = [
    "a/b",
    "%2F",
    "..",
    "",
    "NULL",
    "__HIVE_DEFAULT_PARTITION__",
    "x" * 300,
    "=?#",
    "\x00",
    "\n",
    "😀",
    "é",
    "e\u0301",
    None,
]


def test_any_text_can_be_a_partition(tmp_path):
    table = pa.table({"c1": NASTY * 2, "c2": list(range(2 * len(NASTY)))})
    spec = spec_of(IdentityTransform())
    written = write(tmp_path, table, schema_of(StringType(), LongType()), spec)
    found = {f.partition[0]: read(f)["c2"].to_pylist() for f in written.files}
    assert found == {value: [i, i + len(NASTY)] for i, value in enumerate(NASTY)}
    assert all(UUID(Path(f.file_path).stem) for f in written.files)


def test_text_is_truncated_by_characters_and_other_identities_keep_their_physical_value(tmp_path):
    spec = spec_of(TruncateTransform(2), IdentityTransform(), IdentityTransform(), IdentityTransform())
    schema = schema_of(StringType(), DateType(), DoubleType(), TimeType())
    table = pa.table(
        {
            "c1": ["éàx", "éày", None],
            "c2": [dt.date(1969, 12, 31)] * 3,
            "c3": [math.nan, math.nan, math.nan],
            "c4": [dt.time(0, 1)] * 3,
        }
    )
    files = write(tmp_path, table, schema, spec).files
    assert sorted(([f.partition[i] for i in range(4)] for f in files), key=lambda p: p[0] or "") == [
        [None, -1, pytest.approx(math.nan, nan_ok=True), 60_000_000],
        ["éà", -1, pytest.approx(math.nan, nan_ok=True), 60_000_000],
    ]


def test_more_rows_than_memory_in_many_partitions_come_out_whole(tmp_path, monkeypatch):
    rows, partitions = 1_000_000, 997
    ids = pa.array(range(rows))
    table = pa.table(
        {"c1": pa.array([i % partitions for i in range(rows)]), "c2": ids, "c3": pa.array(["x" * 20] * rows)}
    )
    spilled = []
    from lakecat.tables.spill import PartitionBuffer

    spill = PartitionBuffer.spill
    monkeypatch.setattr(PartitionBuffer, "spill", lambda self: (spilled.append(self.bytes), spill(self))[1])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    written = write(tmp_path, table, schema_of(LongType(), LongType(), StringType()), spec_of(IdentityTransform()))
    assert len(spilled) >= 2
    assert max(spilled) < 2 * SMALL.memory
    assert len(written.files) == partitions
    for file in written.files[::100]:
        key = file.partition[0]
        assert read(file)["c2"].to_pylist() == list(range(key, rows, partitions))
    assert sum(f.record_count for f in written.files) == rows
    assert list(tmp_path.glob("lakecat-spill-*")) == []


def test_a_partition_that_outgrows_memory_is_written_on_the_way(tmp_path):
    rows = 1_500_000
    table = pa.table(
        {"c1": pa.array([i // 500_000 for i in range(rows)]), "c2": pa.array(range(rows)), "c3": pa.array(range(rows))}
    )
    written = write(tmp_path, table, schema_of(LongType(), LongType(), LongType()), spec_of(IdentityTransform()))
    assert sorted((f.partition[0], f.record_count) for f in written.files) == [(0, 500_000), (1, 500_000), (2, 500_000)]
    assert sorted(v for f in written.files for v in read(f)["c2"].to_pylist()) == list(range(rows))


def test_an_error_on_the_way_removes_what_was_written(tmp_path):
    def batches():
        for _ in range(5):
            yield pa.record_batch({"c1": pa.array(range(100_000))})
        raise SchemaError("row 500001 is bad")

    store = LakeStore.open(str(tmp_path / "lake"))
    with pytest.raises(SchemaError, match="row 500001"):
        write_files(
            store,
            pa.RecordBatchReader.from_batches(pa.schema({"c1": pa.int64()}), batches()),
            schema=schema_of(LongType()),
            spec=UNPARTITIONED_PARTITION_SPEC,
            prefix=store.join("t"),
            settings=WriteSettings(target_file_size=1 << 20, row_group_rows=1 << 15),
        )
    assert [p for p in (tmp_path / "lake").rglob("*") if p.is_file()] == []


def test_progress_is_told_and_may_stop_the_work(tmp_path):
    table = pa.table({"c1": pa.array(range(500_000))})
    seen = []
    write(tmp_path, table, schema_of(LongType()), on_progress=lambda rows, size: seen.append((rows, size)))
    assert seen == sorted(seen)
    assert seen[-1][0] == 500_000

    def stop(rows: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "b", table, schema_of(LongType()), on_progress=stop)
    assert list((tmp_path / "b").rglob("*.parquet")) == []
