"""What cannot be read surely is refused, with file and line; nothing is dropped, shifted or swallowed."""

from __future__ import annotations

import bz2
import gzip
import os
from pathlib import Path

import pyarrow as pa
import pytest

from lakecat.errors import ConfigError, LakecatError, ParseError, SourceError

ROWS = "".join(f"{n},text {n}\n" for n in range(5_000))


@pytest.mark.parametrize(
    ("data", "line", "says"),
    [
        (b"", None, "empty"),
        (b'a,b\n1,"x\n2,y\n3,z\n', 2, "never closed"),
        (b'a,b\n1,x"y\n', 2, "a quote stands inside"),
        (b'a,b\n1,"x"y\n', 2, "goes on after its closing quote"),
        (b'a,b\n1,"x\n2,"y"\n', 3, "goes on after its closing quote"),
        (b'a,b\n1, "x"\n', 2, "a quote stands inside"),
        (b'a,b\n"1\n2",x\n3,y,z\n', 4, "3 fields, the header 2"),
        (b"a,b\n1,2\n3\n", 3, "1 fields, the header 2"),
        (b"a,b\n1,2\n\n3,4\n", 3, "blank line"),
        (b"a,b\n1,x\0y\n", 2, "NUL"),
        (b"a,b\n1,\xff\n", 2, "not UTF-8"),
        (b"a,b\n1,2\r3,4\n", 2, "bare carriage return"),
        (b"a,b\r1,2\n3,4\r", 2, "bare line feed"),
        (b"a,a\n1,2\n", 1, "twice"),
        (b"a,A\n1,2\n", 1, "are one"),
        ("é,e\u0301\n1,2\n".encode(), 1, "are one"),
        (b"a,,c\n1,2,3\n", 1, "column 2 has no name"),
        (b"\na,b\n1,2\n", 1, "the header is a blank line"),
        (b"a,  \n1,2\n", 1, "no name"),
        (b'a,"b\tc"\n1,2\n', 1, "control characters"),
        (b"<!DOCTYPE html>\n<html><body>503</body></html>\n", 1, "HTML"),
        (b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>', 1, "XML"),
        (b'{"error": "gone"}\n', 1, "JSON"),
        (b"sep=;\na;b\n", 1, "Excel"),
        ("a,b\n1,2\n".encode("utf-16"), 1, "utf-16"),
        ("a,b\n1,2\n".encode("utf-32"), 1, "utf-32"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), None, "compressed with gzip"),
    ],
)
def test_bad_text_is_refused_at_its_line(tmp_path: Path, load, data: bytes, line: int | None, says: str) -> None:
    (tmp_path / "bad.csv").write_bytes(data)
    for expected in (None, pa.schema([("a", pa.int64()), ("b", pa.string())])):
        with pytest.raises(ParseError, match=says) as error:
            load("bad.csv", expected=expected, missing_columns="null")
        assert error.value.where is not None
        assert (error.value.where.file, error.value.where.line) == (str(tmp_path / "bad.csv"), line)
        assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("truncated.csv.gz", gzip.compress(f"a,b\n{ROWS}".encode(), mtime=0)[:-9]),
        ("half.csv.gz", gzip.compress(f"a,b\n{ROWS}".encode(), mtime=0)[:2_000]),
        ("plain.csv.gz", b"a,b\n1,2\n"),
        ("garbage.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0) + b"garbage"),
        ("twice.csv.gz", gzip.compress(gzip.compress(b"a,b\n1,2\n", mtime=0), mtime=0)),
        ("truncated.csv.bz2", bz2.compress(f"a,b\n{ROWS}".encode())[:-5]),
        ("garbage.csv.bz2", bz2.compress(b"a,b\n1,2\n") + b"garbage"),
        ("plain.csv.zst", b"a,b\n1,2\n"),
    ],
)
def test_damaged_compression_is_refused(tmp_path: Path, load, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ParseError):
        load(name)
    with pytest.raises(ParseError):
        load(name, expected=pa.schema([("a", pa.int64()), ("b", pa.string())]))


@pytest.mark.parametrize("place", [-8, -4, 500])
def test_a_flipped_bit_in_gzip_is_refused(tmp_path: Path, load, place: int) -> None:
    data = bytearray(gzip.compress(f"a,b\n{ROWS}".encode(), mtime=0))
    data[place] ^= 1
    (tmp_path / "a.csv.gz").write_bytes(data)
    with pytest.raises(ParseError):
        load("a.csv.gz")


def test_truncated_zstd_is_refused(tmp_path: Path, load) -> None:
    codec = pa.Codec("zstd")
    data = codec.compress(f"a,b\n{ROWS}".encode(), asbytes=True)
    (tmp_path / "a.csv.zst").write_bytes(data)
    assert load("a.csv.zst").table.num_rows == 5_000
    (tmp_path / "a.csv.zst").write_bytes(data[:-50])
    with pytest.raises(ParseError):
        load("a.csv.zst")


def test_a_record_without_end_does_not_fill_memory(tmp_path: Path, load) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as file:
        file.write(b'a,b\n1,"')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
    with pytest.raises(ParseError, match="not closed within 64 MiB") as error:
        load("a.csv.gz")
    assert error.value.where is not None
    assert error.value.where.line == 2


def test_long_values_are_shortened_in_messages(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "9" * 500 + "\n")
    with pytest.raises(ParseError) as error:
        load("a.csv", expected=pa.schema([("a", pa.int64())]))
    assert len(error.value.what) < 130


def test_a_missing_file_and_a_folder_are_named(load) -> None:
    with pytest.raises(SourceError, match="no such file"):
        load("nowhere.csv")
    with pytest.raises(SourceError, match="is a folder"):
        load(".")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delimter": ";"}, "unknown option 'delimter'"),
        ({"delimiter": ";;"}, "'delimiter'"),
        ({"delimiter": '"'}, "must differ"),
        ({"header": "yes"}, "'header'"),
        ({"header": False}, "needs names"),
        ({"names": ["a"]}, "header: false"),
        ({"encoding": "utf-9"}, "'encoding'"),
        ({"encoding": "zlib"}, "'encoding'"),
        ({"null": "NA"}, "'null'"),
        ({"format": "xlsx"}, "'format'"),
        ({"skip_lines": -1}, "'skip_lines'"),
        ({"escape": "\\", "null": ["\\N"]}, "escape character"),
        ({"timestamp_formats": ["%Y %z"]}, "'timestamp_formats'"),
        ({"path": []}, "'path'"),
        ({"path": "gopher://host/a.csv"}, "'path'"),
        ({"path": "filecache::s3://b/a.csv"}, "'path'"),
        ({"path": "simplecache::/etc/passwd"}, "'path'"),
    ],
)
def test_a_wrong_option_is_named(connectors, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        connectors(**{"path": "a.csv", **options})
    assert error.value.exit_code == 2


def test_a_close_option_is_proposed(connectors) -> None:
    with pytest.raises(ConfigError) as error:
        connectors("a.csv", delimter=";")
    assert "did you mean delimiter?" in str(error.value)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "a.csv").chmod(0)
    if os.access(tmp_path / "a.csv", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(SourceError, match="permissions"):
        load("a.csv")


def test_columns_that_text_cannot_hold_are_an_error_only_where_they_come(tmp_path: Path, load) -> None:
    table = pa.schema([("a", pa.int64()), ("l", pa.list_(pa.int64()))])
    (tmp_path / "a.csv").write_text("a\n1\n")
    assert load("a.csv", expected=table, missing_columns="null").rows == [{"a": 1, "l": None}]
    (tmp_path / "a.csv").write_text("a,l\n1,[2]\n")
    with pytest.raises(ParseError, match="CSV text cannot hold"):
        load("a.csv", expected=table)


def test_formats_do_not_mix_in_one_slice(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ConfigError, match="csv, jsonl"):
        load(["a.csv", "b.jsonl"])
    (tmp_path / "c.dat").write_text("a\n1\n")
    with pytest.raises(ConfigError, match="not clear"):
        load("c.dat")


def test_every_error_can_be_shown(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1\n")
    with pytest.raises(LakecatError) as error:
        load("a.csv")
    assert str(error.value) == (
        f"{tmp_path}/a.csv:2: the record has 1 fields, the header 2\n  mend: quote values that hold the delimiter"
    )
