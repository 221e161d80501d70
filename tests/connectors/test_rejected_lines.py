"""Lines that cannot be read are set aside, each once, with its place and text; every other row is loaded."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import ParseError
from lakecat_connectors._records import Cutter, Dialect
from lakecat_connectors._salvage import SalvagingCutter

DECLARED = {"a": pa.int64()}
PLAIN = st.text("xyz", min_size=1, max_size=5)
ROWS = st.tuples(
    st.integers(-(10**6), 10**6),
    PLAIN.flatmap(lambda start: st.text('xyz,"\n é', max_size=6).map(lambda rest: start + rest)),
    PLAIN,
)
DAMAGED = (
    b"7",
    b"7,x,y,z",
    b"7,\xff,x",
    b"7,x\0y,z",
    b'7,x"y,z',
    b'7,"x"y,z',
    b'7,"xyz,z',
    b"",
    b"7,x\ry,z",
    b"seven,x,y",
    b"1.5,x,y",
)


def as_csv(row: tuple[int, str, str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow(row)
    return out.getvalue().encode()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.one_of(ROWS, st.sampled_from(DAMAGED)), max_size=25))
def test_every_good_csv_row_is_loaded_and_every_damaged_line_set_aside(tmp_path: Path, load, parts: list) -> None:
    data, line, bad = b"a,b,c\n", 2, []
    for part in parts:
        text = part + b"\n" if isinstance(part, bytes) else as_csv(part)
        if isinstance(part, bytes):
            bad.append((line, part.decode(errors="replace")))
        data += text
        line += text.replace(b"\r", b"\n").count(b"\n")
    data += b"1,x,y\n"  # blank lines at the very end are none
    (tmp_path / "a.csv").write_bytes(data)
    loaded = load("a.csv", declared=DECLARED, rejects=1000)
    good = [part for part in parts if not isinstance(part, bytes)]
    assert [tuple(row.values()) for row in loaded.rows] == [*good, (1, "x", "y")]
    assert [(row["line"], row["text"]) for row in loaded.rejected] == bad
    assert {row["source"] for row in loaded.rejected} <= {str(tmp_path / "a.csv")}


@given(
    parts=st.lists(st.one_of(ROWS.map(as_csv), st.sampled_from(DAMAGED).map(lambda text: text + b"\n")), max_size=12),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
@settings(deadline=None)
def test_where_a_file_is_cut_into_chunks_makes_no_difference(parts: list[bytes], sizes: list[int]) -> None:
    text = b"a,b,c\n" + b"".join(parts)

    def salvaged(chunks: Iterator[bytes]) -> tuple[bytes, list[tuple[bytes, int | None]]]:
        aside: list[tuple[bytes, int | None]] = []
        cutter = SalvagingCutter(
            Dialect(",", '"', None), "f", set_aside=lambda text, error: aside.append((text, error.where.line))
        )
        blocks = list(cutter.blocks(chunks))
        assert sum(block.records for block in blocks) == sum(
            len(list(csv.reader(io.StringIO(block.data.decode(errors="replace"), newline="")))) for block in blocks
        )
        return b"".join(block.data for block in blocks), aside

    assert salvaged(chunks_of(text, sizes)) == salvaged(iter([text]))


@given(
    text=st.text('ab,"\n\r\\\0', max_size=60).map(str.encode),
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    dialect=st.sampled_from([Dialect(",", '"', None), Dialect(",", '"', "\\"), Dialect(",", None, None)]),
)
@settings(max_examples=400, deadline=None)
def test_every_byte_is_in_one_block_or_set_aside(text: bytes, sizes: list[int], dialect: Dialect) -> None:
    whole = b"h\n" + text
    aside: list[tuple[int, bytes]] = []
    cutter = SalvagingCutter(
        dialect, "f", set_aside=lambda data, error: aside.append((error.where.line, data)), header=False
    )
    blocks = [(block.line, block.data) for block in cutter.blocks(chunks_of(whole, sizes))]
    found = b"".join(data for _, data in sorted([*blocks, *aside], key=lambda piece: piece[0]))
    assert found == (whole if whole[-1:] in (b"\n", b"\r") else whole + b"\n")
    try:
        sound = [block.data for block in Cutter(dialect, "f").blocks(chunks_of(whole, sizes))]
    except ParseError:
        assert aside
    else:
        assert b"".join(sound) == found
        assert not aside


def chunks_of(text: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = number = 0
    while at < len(text):
        size = sizes[number % len(sizes)]
        yield text[at : at + size]
        at, number = at + size, number + 1


JSON_DAMAGED = (
    b'{"a": 1',
    b'{"a": 1, "a": 2}',
    b"[1]",
    b'{"a": NaN}',
    b'{"a": "one"}',
    b'{"a": 1, "b": "\xff"}',
    b'{"a": 1, "B": "x"}',
    b'{"a": 1, "n": {"x": 1, "X": 2}}',
    b'{"a": 1.5}',
    b"null",
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.one_of(ROWS, st.sampled_from(JSON_DAMAGED)), max_size=25))
def test_every_good_json_line_is_loaded_and_every_damaged_one_set_aside(tmp_path: Path, load, parts: list) -> None:
    lines = [b'{"a": 0, "b": "x", "c": "y"}']
    lines += [
        part if isinstance(part, bytes) else json.dumps(dict(zip("abc", part, strict=True))).encode() for part in parts
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    loaded = load("a.jsonl", declared=DECLARED, rejects=1000)
    good = [part for part in parts if not isinstance(part, bytes)]
    assert loaded.types == {"a": "int64", "b": "string", "c": "string"}
    assert [tuple(row.values()) for row in loaded.rows] == [(0, "x", "y"), *good]
    assert [(row["line"], row["text"]) for row in loaded.rejected] == [
        (number, part.decode(errors="replace")) for number, part in enumerate(parts, 2) if isinstance(part, bytes)
    ]


def test_a_rejected_line_says_where_and_why(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,"x\ny"\n2\n3,\xffz\nfour,z\n')
    loaded = load("a.csv", declared=DECLARED, rejects=10)
    source = str(tmp_path / "a.csv")
    assert loaded.rows == [{"a": 1, "b": "x\ny"}]
    assert loaded.rejected == [
        {
            "source": source,
            "line": 4,
            "column": None,
            "text": "2",
            "reason": "the record has 1 fields, the header 2",
        },
        {"source": source, "line": 5, "column": None, "text": "3,\ufffdz", "reason": "bytes ff are not UTF-8 text"},
        {"source": source, "line": 6, "column": "a", "text": "four,z", "reason": "'four' is not long"},
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_rejected_lines_do_not_decide_types(tmp_path: Path, load, name: str) -> None:
    if name == "a.csv":
        text = "a,b\n1,10\nnone,text\n2,20\n3,much,more\n"
    else:
        text = '{"a":1,"b":10}\n{"a":"none","b":"text"}\n{"a":2,"b":20}\n{"a":3,"b":"much"\n'
    (tmp_path / name).write_text(text)
    loaded = load(name, declared=DECLARED, rejects=10)
    assert loaded.types == {"a": "int64", "b": "int64"}
    assert loaded.rows == [{"a": 1, "b": 10}, {"a": 2, "b": 20}]
    assert [row["line"] for row in loaded.rejected] == ([3, 5] if name == "a.csv" else [2, 4])


@pytest.mark.parametrize(("name", "good", "bad"), [("a.csv", "1,x\n", "1\n"), ("a.jsonl", '{"a":1}\n', "{\n")])
def test_more_than_the_limit_is_an_error(tmp_path: Path, load, name: str, good: str, bad: str) -> None:
    head = "a,b\n" if name == "a.csv" else ""
    (tmp_path / name).write_text(head + good + bad * 3 + good)
    assert len(load(name, rejects=3).rejected) == 3
    with pytest.raises(ParseError, match="more than 2 lines cannot be read") as error:
        load(name, rejects=2)
    assert error.value.where is not None
    assert error.value.where.line == (5 if name == "a.csv" else 4)
    for none in (None, 0):
        with pytest.raises(ParseError) as error:
            load(name, rejects=none)
        assert error.value.where.line == (3 if name == "a.csv" else 2)


def test_lines_of_several_large_files_are_set_aside_once(tmp_path: Path, load) -> None:
    """Larger than what is kept between the two passes, and than a chunk; compressed too."""
    rows = "".join(f"{n},text {n}\n" for n in range(600_000))
    for name in ("a", "b"):
        text = f'a,b\n{rows}bad\n{rows}x"y,1\n{rows}\n\n'
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    loaded = load("*.csv.gz", rejects=10)
    assert loaded.table.num_rows == 2 * 3 * 600_000
    assert loaded.types == {"a": "int64", "b": "string"}
    assert [(Path(row["source"]).name, row["line"], row["text"]) for row in loaded.rejected] == [
        ("a.csv.gz", 600_002, "bad"),
        ("a.csv.gz", 1_200_003, 'x"y,1'),
        ("b.csv.gz", 600_002, "bad"),
        ("b.csv.gz", 1_200_003, 'x"y,1'),
    ]


@pytest.mark.parametrize(
    ("encoding", "text", "line", "shown"),
    [
        ("cp1252", b"a,b\n1,\x81\n2,\xe9\n", 2, "1,\ufffd"),
        ("utf-16", "a,b\n1,x\n2,é\n".encode("utf-16").replace(b"x\0", b"\0\xd8"), 2, "1,\ufffd\ufffd"),
        ("shift_jis", b"a,b\n1,\xfc\n2,\x83\x41\n", 2, "1,\ufffd"),
    ],
)
def test_bytes_that_are_not_of_the_encoding(
    tmp_path: Path, load, encoding: str, text: bytes, line: int, shown: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    loaded = load("a.csv", encoding=encoding, rejects=10)
    assert [(row["line"], row["text"]) for row in loaded.rejected] == [(line, shown)]
    assert [row["a"] for row in loaded.rows] == [2]


def test_a_header_that_cannot_be_read_is_no_line_to_set_aside(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text('a,"b"c\n1,2\n')
    with pytest.raises(ParseError, match="closing quote"):
        load("a.csv", rejects=10)


def test_a_quote_that_is_never_closed_takes_one_line(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,x\n2,"y\n3,z\n4,z\n')
    loaded = load("a.csv", rejects=10)
    assert [row["a"] for row in loaded.rows] == [1, 3, 4]
    assert [(row["line"], row["text"]) for row in loaded.rejected] == [(3, '2,"y')]


def test_first_lines_without_header(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text('1,"x"y\r\n2,z\r\n')
    loaded = load("a.csv", header=False, names=["a", "b"], rejects=10)
    assert loaded.rows == [{"a": 2, "b": "z"}]
    assert [(row["line"], row["text"]) for row in loaded.rejected] == [(1, '1,"x"y')]


def test_rows_know_their_file(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    (tmp_path / "b.csv").write_text("n\n3\n")
    loaded = load("*.csv", file_column="_file")
    names = [f"file://{tmp_path}/{name}.csv" for name in "aab"]
    assert loaded.table.to_pydict() == {"n": [1, 2, 3], "_file": names}
    (tmp_path / "b.csv").write_text("n,_FILE\n3,4\n")
    with pytest.raises(ParseError, match="_file of its own"):
        load("*.csv", file_column="_file", missing_columns="null")
