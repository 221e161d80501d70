"""Zip and tar: members that match are read like files; bombs, tricks with paths and damage are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ConfigError, ParseError

FILES = {"b.csv": b"id,x\n3,c\n", "data/a.csv": b"id,x\n1,a\n2,b\n", "readme.txt": b"no", "data/.c.csv": b"no"}
ROWS = [{"id": 3, "x": "c"}, {"id": 1, "x": "a"}, {"id": 2, "x": "b"}]


def zipped(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def tarred(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        folder = tarfile.TarInfo("data")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    return out.getvalue()


def test_zip(tmp_path: Path, load) -> None:
    zipped(tmp_path / "a.zip", FILES)
    got = load("a.zip", member="*.csv")
    assert got.rows == ROWS
    assert [file.rows for file in got.summary.files] == [3]
    (source,) = got.summary.sources
    assert json.loads(str(source.properties["members"])) == {"b.csv": 1, "data/a.csv": 2}
    assert load("a.zip", member="data/*", format="csv").rows == ROWS[1:]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.tar", bytes),
        ("a.tar.gz", gzip.compress),
        ("a.tgz", gzip.compress),
        ("a.tar.bz2", bz2.compress),
        ("a.tar.xz", lzma.compress),
        ("a.tar.zst", lambda data: pa.Codec("zstd").compress(data, asbytes=True)),
    ],
)
def test_tar(tmp_path: Path, load, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(pack(tarred(FILES)))
    assert load(name, member="*.csv").rows == ROWS


def test_members_of_other_formats_and_compressed_ones(tmp_path: Path, load) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2]}), sink)
    zipped(tmp_path / "a.zip", {"x.parquet": sink.getvalue(), "y.csv.gz": gzip.compress(b"id\n9\n")})
    assert load("a.zip", member="*.parquet").rows == [{"id": 1}, {"id": 2}]
    assert load("a.zip", member="*.csv.gz").rows == [{"id": 9}]


def test_a_time_in_a_name_is_no_drive(tmp_path: Path, load) -> None:
    zipped(tmp_path / "a.zip", {"2026-01-01T10:00.csv": b"id\n1\n", "10:30.csv": b"id\n2\n"})
    assert sorted(row["id"] for row in load("a.zip", member="*.csv").rows) == [1, 2]


def test_a_member_larger_than_what_a_parser_may_write(tmp_path: Path, load) -> None:
    lines = b"id\n" + b"".join(b"%d\n" % (n * n * 7919 % 10**9) for n in range(2_200_000))
    zipped(tmp_path / "a.zip", {"a.csv": lines})
    assert len(lines) > 16 << 20
    assert load("a.zip", member="*.csv").table.num_rows == 2_200_000


def test_errors_name_the_member(tmp_path: Path, load) -> None:
    zipped(tmp_path / "a.zip", {"d/x.csv": b"id,x\n1\n"})
    with pytest.raises(ParseError, match="1 fields") as caught:
        load("a.zip", member="*.csv")
    assert caught.value.where is not None
    assert caught.value.where.file == str(tmp_path / "a.zip" / "d" / "x.csv")
    assert caught.value.where.line == 2


def test_lines_of_members_are_set_aside(tmp_path: Path, connectors, ledger_type) -> None:
    zipped(tmp_path / "a.zip", {"x.csv": b"id,x\n1\n2,b\n", "y.csv": b"id,x\n3\n4,d\n"})
    connector = connectors("a.zip", member="*.csv")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions(rejects=5))
    assert [row["id"] for batch in reader for row in batch.to_pylist()] == [2, 4]
    rejected = reader.summary().rejected
    assert rejected is not None
    found = [(row["source"], row["line"], row["text"], row["reason"][:8]) for row in rejected.to_pylist()]
    place = str(tmp_path / "a.zip")
    assert sorted(found) == [(place, 2, "1", "in x.csv"), (place, 2, "3", "in y.csv")]


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def encrypted(path: Path) -> None:
    zipped(path, {"a.csv": b"a\n1\n"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)


def zip_link(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.csv")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")


def damaged(path: Path) -> None:
    zipped(path, {"a.csv": b"id\n" + bytes(range(48, 58)) * 20})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 16] ^= 1  # the CRC-32 in the directory
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: zipped(path, {"../a.csv": b"a\n1\n"}), "leads out"),
        (lambda path: zipped(path, {"/a.csv": b"a\n1\n"}), "leads out"),
        (lambda path: zipped(path, {"x\\..\\a.csv": b"a\n1\n"}), "leads out"),
        (lambda path: zipped(path, {"C:/a.csv": b"a\n1\n"}), "leads out"),
        (lambda path: zipped(path, {"a.csv": b"a\n1\n" + bytes(40 << 20)}), "500 times"),
        (lambda path: zipped(path, {"b.txt": b"a\n1\n"}), "no file that matches"),
        (encrypted, "encrypted"),
        (zip_link, "link or a device"),
        (damaged, "not a sound archive"),
        (lambda path: path.write_bytes(b""), "not a sound archive"),
        (lambda path: path.write_bytes(b"a,b\n1,2\n"), "not a sound archive"),
    ],
)
def test_bad_zips_are_refused(tmp_path: Path, load, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "a.zip")
    with pytest.raises(ParseError, match=says) as caught:
        load("a.zip", member="*.csv")
    assert caught.value.where is not None
    assert caught.value.where.file == str(tmp_path / "a.zip")


TAR = tarred({"a.csv": b"id\n1\n", "b.csv": b"id\n2\n"})
HEADERS = [at for at in range(0, len(TAR), 512) if TAR[at : at + 5] in (b"a.csv", b"b.csv")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (tarred({}, link("a.csv", tarfile.SYMTYPE)), "a link, a device"),
        (tarred({}, link("a.csv", tarfile.LNKTYPE)), "a link, a device"),
        (tarred({}, link("a.csv", tarfile.CHRTYPE)), "a link, a device"),
        (tarred({"../a.csv": b"a\n1\n"}), "leads out"),
        (TAR[: HEADERS[1]], "does not end like"),
        (TAR[: HEADERS[1] + 512], "not a sound archive|does not end like"),
        (TAR[: HEADERS[1] + 100] + b"x" + TAR[HEADERS[1] + 101 :], "does not end like"),
        (gzip.compress(TAR)[:-12], "ends in the middle"),
        (gzip.compress(tarred({"a.csv": bytes(40 << 20)})), "500 times"),
        (b"", "not a sound archive"),
    ],
)
def test_bad_tars_are_refused(tmp_path: Path, load, content: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ParseError, match=says):
        load("a.tar", member="*.csv")


def test_archives_in_archives_and_members_twice_are_refused(tmp_path: Path, load) -> None:
    zipped(tmp_path / "in.zip", {"a.csv": b"a\n1\n"})
    zipped(tmp_path / "a.zip", {"in.zip": (tmp_path / "in.zip").read_bytes()})
    with pytest.raises(ParseError, match="holds an archive"):
        load("a.zip", format="csv")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.csv", "a\n2\n")
    with pytest.raises(ParseError, match="twice"):
        load("b.zip", member="*.csv")


def test_the_format_of_members_must_be_clear(tmp_path: Path, load) -> None:
    zipped(tmp_path / "a.zip", FILES)
    with pytest.raises(ConfigError, match="not clear"):
        load("a.zip")


def zip_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
        archive.comment = b"packed by hand"
    return out.getvalue()


ONE, TWO = tarred({"a.csv": b"id\n1\n"}), tarred({"b.csv": b"id\n2\n"})


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.tar", ONE + TWO, "after its end"),
        ("a.tar.gz", gzip.compress(ONE) + gzip.compress(TWO), "after its end"),
        ("a.tar", ONE + b"x", "after its end"),
        ("a.zip", zip_of("a.csv", b"id\n1\n") + zip_of("b.csv", b"id\n2\n"), "before its start"),
        ("a.zip", zip_of("a.csv", b"id\n1\n") + zip_of("b.csv", b"id\n2\n")[:-40], "after its end"),
        ("a.zip", zip_of("a.csv", b"id\n1\n") + b"x", "after its end"),
    ],
)
def test_archives_one_behind_the_other_are_refused(tmp_path: Path, load, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ParseError, match=f"holds something {says}"):
        load(name, member="*.csv")


def test_one_path_written_in_two_ways_is_a_member_twice(tmp_path: Path, load) -> None:
    zipped(tmp_path / "a.zip", {"d/a.csv": b"id\n1\n", "./d//a.csv": b"id\n2\n"})
    with pytest.raises(ParseError, match=r"holds 'd/a\.csv' twice"):
        load("a.zip", member="*.csv")


def test_a_comment_and_padding_are_no_other_archive(tmp_path: Path, load) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of("a.csv", b"id\n1\n"))
    (tmp_path / "b.tar").write_bytes(ONE + bytes(20_480))
    assert load("a.zip", member="*.csv").rows == load("b.tar", member="*.csv").rows == [{"id": 1}]
