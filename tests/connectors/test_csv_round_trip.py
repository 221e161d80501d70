"""What Python's csv module writes, the connector reads back; records never split, merge or vanish."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import ParseError
from lakecat_connectors._records import Block, Cutter, Dialect, record_line

CELLS = st.text(alphabet=st.sampled_from("a0\",;\n\r\t '\\é😀\u2028\ufeff"), max_size=6)
TABLES = st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=8))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=TABLES,
    end=st.sampled_from(["\n", "\r\n"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_rows_come_back_as_written(tmp_path: Path, load, rows, end: str, delimiter: str, quoting: int) -> None:
    names = [f"c{index}" for index in range(len(rows[0]))]
    if any("\r" in cell for row in rows for cell in row):
        quoting = (
            csv.QUOTE_ALL
        )  # Python before 3.13 leaves a bare CR unquoted, which no reader can tell from a line end
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([names, *rows])
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode())
    got = load("a.csv", delimiter=delimiter, null=[], declared=dict.fromkeys(names, pa.string()))
    assert [list(row.values()) for row in got.rows] == rows


@settings(max_examples=150, deadline=None)
@given(rows=TABLES, size=st.integers(1, 40), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_blocks_cut_anywhere_keep_records_and_lines(rows: list[list[str]], size: int, end: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    data = text.getvalue().encode()
    dialect = Dialect(",", '"', None)
    chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
    blocks: list[Block] = list(Cutter(dialect, "t").blocks(chunks))
    assert b"".join(block.data for block in blocks) == data
    lines = [record_line(block, dialect, index) for block in blocks for index in range(block.records)]
    expected, line = [], 1
    for row in rows:
        expected.append(line)
        written = '"' + '","'.join(row) + '"\n'
        line += len(written.replace("\r\n", "\n").replace("\r", "\n")) - len(
            written.replace("\r\n", "").replace("\r", "").replace("\n", "")
        )
    assert lines == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "END"])
def test_line_ends(tmp_path: Path, load, end: str, last: str) -> None:
    text = end.join(["a,b", "1,x", '2,"y', 'z"']) + (end if last else "")
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert load("a.csv").rows == [{"a": 1, "b": "x"}, {"a": 2, "b": f"y{end}z"}]


def test_blank_lines_are_rows_of_one_column_and_nothing_at_the_end_of_several(tmp_path: Path, load) -> None:
    (tmp_path / "one.csv").write_text("a\n1\n\n3\n\n")
    assert [row["a"] for row in load("one.csv").rows] == [1, None, 3, None]
    (tmp_path / "two.csv").write_text("a,b\n1,2\n\n\n")
    assert load("two.csv").rows == [{"a": 1, "b": 2}]
    (tmp_path / "crlf.csv").write_bytes(b"a,b\r\n1,2\r\n\r\n")
    assert load("crlf.csv").rows == [{"a": 1, "b": 2}]


def test_a_header_alone_is_no_rows(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    got = load("a.csv")
    assert (got.table.num_rows, got.table.column_names) == (0, ["a", "b"])


@pytest.mark.parametrize("offset", range(-2, 3))
def test_quoted_line_breaks_at_a_chunk_border(tmp_path: Path, load, offset: int) -> None:
    size = 4 << 20
    filler = "x" * (size - len('a,b\n1,"\n",\n') + offset)
    (tmp_path / "a.csv").write_text(f'a,b\n1,"{filler}\n\n""\n"\n2,y\n')
    assert load("a.csv").rows == [{"a": 1, "b": f'{filler}\n\n"\n'}, {"a": 2, "b": "y"}]


def test_many_records_across_chunks(tmp_path: Path, load) -> None:
    rows = [(n, f'line {n}\nand "more"', None if n % 3 else f"é{n}") for n in range(300_000)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("n", "t", "u"), *rows])
    got = load("a.csv").table
    assert got["n"].to_pylist() == [row[0] for row in rows]
    assert got["t"].to_pylist() == [row[1] for row in rows]
    assert got["u"].to_pylist() == [row[2] for row in rows]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-32", "utf-32"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, load, encoding: str, declared: str) -> None:
    (tmp_path / "a.csv").write_bytes("ä,b\n1,é\n".encode(encoding))
    assert load("a.csv", encoding=declared).rows == [{"ä": 1, "b": "é"}]


def test_a_wrong_byte_of_a_declared_encoding_is_found(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,x\n2,\x81\n")
    with pytest.raises(ParseError, match="81 are not cp1252") as error:
        load("a.csv", encoding="cp1252")
    assert error.value.where is not None
    assert error.value.where.line == 3


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.csv.gz", gzip.compress), ("a.csv.bz2", bz2.compress), ("a.csv.gz", lambda d: gzip.compress(d) + bytes(512))],
)
def test_compressed_members_are_one_file(tmp_path: Path, load, name: str, compress) -> None:
    (tmp_path / name).write_bytes(compress(b"a,b\n1,2\n"))
    assert load(name).rows == [{"a": 1, "b": 2}]
    (tmp_path / name).write_bytes(compress(b"a,b\n1,2\n3,") + compress(b"4\n"))
    assert load(name).rows == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


def test_dialects(tmp_path: Path, load) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\n1\tx,y\n")
    assert load("a.tsv").rows == [{"a": 1, "b": "x,y"}]
    (tmp_path / "b.csv").write_text("note\nmore\n1|'it''s'\n")
    got = load("b.csv", delimiter="|", quote="'", skip_lines=2, header=False, names=["n", "t"])
    assert got.rows == [{"n": 1, "t": "it's"}]
    (tmp_path / "c.csv").write_text('a,b\n1,"say \\"hi\\" \\\\"\n2,"x\ny"\n')
    assert load("c.csv", escape="\\").rows == [{"a": 1, "b": 'say "hi" \\'}, {"a": 2, "b": "x\ny"}]
    (tmp_path / "d.csv").write_text('a,b\n1,5" pipe\n')
    assert load("d.csv", quote=None).rows == [{"a": 1, "b": '5" pipe'}]


def test_separators_of_unicode_split_nothing(tmp_path: Path, load) -> None:
    values = ["x\u2028y", "x\x0by", "x\x0cy", "x\x1cy", "x\x85y", "\ufeffx"]
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{value},1\n" for value in values), newline="")
    assert [row["a"] for row in load("a.csv").rows] == values


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from('aa,,""\n\r'), min_size=1, max_size=14))
def test_whatever_is_accepted_is_what_python_reads(tmp_path: Path, load, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, newline="")
    names = ["x", "y"]
    options = {"header": False, "names": names, "null": [], "declared": dict.fromkeys(names, pa.string())}
    try:
        got = [list(row.values()) for row in load("a.csv", **options).rows]
    except ParseError:
        return
    expected = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    while expected and not expected[-1]:
        expected.pop()
    assert got == expected
