"""Parquet: exact types, footers united by name, damage found by checksums."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakecat.errors import ParseError, Where


def test_values_and_types_come_as_they_are(tmp_path: Path, load) -> None:
    table = pa.table(
        {
            "i": pa.array([1, None], pa.int32()),
            "d": pa.array([Decimal("1.10"), None], pa.decimal128(9, 2)),
            "t": pa.array([datetime(2013, 1, 1, tzinfo=UTC), None], pa.timestamp("ms", "Europe/Paris")),
            "k": pa.array(["a", "b"]).dictionary_encode(),
            "l": pa.array([[{"x": 1}], None], pa.list_(pa.struct([("x", pa.int64())]))),
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "f": pa.array([float("nan"), -0.0]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    got = load("a.parquet")
    assert got.types["t"] == "timestamp[us, tz=UTC]"
    assert got.types["k"] == "string"
    assert got.types["i"] == "int32"
    plain = got.table.drop_columns(["f", "t"]).to_pylist()
    assert plain == table.drop_columns(["f", "t"]).to_pylist()
    assert got.rows[0]["t"] == datetime(2013, 1, 1, tzinfo=UTC)


def test_footers_unite_by_name(tmp_path: Path, load) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32()), "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": pa.array([2**40], pa.int64())}), tmp_path / "2.parquet")
    got = load("*.parquet")
    assert got.types == {"a": "int64", "b": "string"}
    assert got.rows == [{"a": 1, "b": "x"}, {"a": 2**40, "b": "y"}]
    pq.write_table(pa.table({"b": [1.5], "a": pa.array([2], pa.int64())}), tmp_path / "3.parquet")
    with pytest.raises(ParseError, match="is double, and string") as error:
        load("*.parquet")
    assert error.value.where is not None
    assert (error.value.where.file, error.value.where.column) == (str(tmp_path / "3.parquet"), "b")


def test_values_must_fit_the_table_exactly(tmp_path: Path, load) -> None:
    pq.write_table(pa.table({"v": pa.array([1, 2**53 + 1], pa.int64())}), tmp_path / "a.parquet")
    assert load("a.parquet", expected=pa.schema([("v", pa.decimal128(38, 0))])).rows[1] == {"v": Decimal(2**53 + 1)}
    for kind in (pa.float64(), pa.string(), pa.date32()):
        with pytest.raises(ParseError):
            load("a.parquet", expected=pa.schema([("v", kind)]))
    with pytest.raises(ParseError, match="cannot hold exactly"):
        load("a.parquet", declared={"v": pa.int32()})
    assert load("a.parquet", expected=pa.schema([("v", pa.int32())])).table["v"].type == pa.int64()
    pq.write_table(pa.table({"v": ["00501"]}), tmp_path / "b.parquet")
    with pytest.raises(ParseError, match="is string, not long"):
        load("b.parquet", expected=pa.schema([("v", pa.int64())]))


def test_nanoseconds_are_never_cut_off(tmp_path: Path, load) -> None:
    pq.write_table(pa.table({"t": pa.array([1_000, 2_000], pa.timestamp("ns"))}), tmp_path / "a.parquet")
    assert load("a.parquet").table["t"].cast(pa.int64()).to_pylist() == [1, 2]
    pq.write_table(pa.table({"t": pa.array([1_001], pa.timestamp("ns"))}), tmp_path / "a.parquet")
    with pytest.raises(ParseError, match="exactly"):
        load("a.parquet")


def test_damage_is_found_wherever_it_is(tmp_path: Path, load) -> None:
    table = pa.table({"i": pa.array(range(2_000)), "s": [f"text {n}" for n in range(2_000)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, write_page_checksum=True, compression="none")
    whole = path.read_bytes()
    for part in range(0, len(whole), len(whole) // 24):
        path.write_bytes(whole[:part])
        with pytest.raises(ParseError):
            load("a.parquet")
        flipped = bytearray(whole)
        flipped[part] ^= 0x10
        path.write_bytes(flipped)
        try:
            assert load("a.parquet").table.equals(table)
        except ParseError:
            continue


@pytest.mark.parametrize("data", [b"", b"PAR1PAR1", b"\0" * 4096, b"a,b\n1,2\n"])
def test_what_is_no_parquet_is_refused(tmp_path: Path, load, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(ParseError):
        load("a.parquet")


def test_names_must_be_apart(tmp_path: Path, load) -> None:
    for names in (["a", "a"], ["a", "A"], ["a", ""]):
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=names)
        pq.write_table(table, tmp_path / "a.parquet")
        with pytest.raises(ParseError):
            load("a.parquet")


def test_batches_are_bounded(tmp_path: Path, connectors, ledger_type) -> None:
    from lakecat.connector import ReadOptions, StreamRequest

    pq.write_table(pa.table({"s": ["x" * 100_000] * 2_000}), tmp_path / "a.parquet", use_dictionary=False)
    connector = connectors("a.parquet")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions())
    sizes = [batch.nbytes for batch in reader]
    assert sum(sizes) >= 200_000_000
    assert max(sizes) < 64 << 20


def test_text_that_is_not_utf8_is_refused(tmp_path: Path, load) -> None:
    offsets, data = pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff")
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    for name, values in {"plain": broken, "nested": pa.ListArray.from_arrays([0, 1, 2], broken)}.items():
        pq.write_table(pa.table({"ok": [1, 2], "text": values}), tmp_path / f"{name}.parquet")
        with pytest.raises(ParseError, match="not UTF-8") as error:
            load(f"{name}.parquet")
        assert error.value.where == Where(str(tmp_path / f"{name}.parquet"), column="text")


@pytest.mark.parametrize("plain_footer", [False, True])
def test_encrypted_files_are_told_from_damaged_ones(tmp_path: Path, load, *, plain_footer: bool) -> None:
    encryption = pytest.importorskip("pyarrow.parquet.encryption", reason="pyarrow without encryption")

    class Keys(encryption.KmsClient):
        def __init__(self, _config: object) -> None:
            encryption.KmsClient.__init__(self)

        def wrap_key(self, key: bytes, _name: str) -> bytes:
            return key.hex().encode()

    settings = encryption.EncryptionConfiguration(
        footer_key="f", column_keys={"k": ["a"]}, plaintext_footer=plain_footer
    )
    factory = encryption.CryptoFactory(Keys)
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), settings)
    table = pa.table({"a": [1], "b": [2]})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    with pytest.raises(ParseError, match="is encrypted"):
        load("a.parquet")
