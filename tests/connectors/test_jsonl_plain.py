"""Plain JSON lines, which DuckDB reads: whatever the expression lets through is read as the exact reader reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lakecat.connector.columns import Wanted
from lakecat.connector.fit import Rule
from lakecat.connector.nested import without_null
from lakecat.connector.shapes import array_of
from lakecat.errors import Where
from lakecat_connectors import _json_fast, _json_plain, _jsonl_fast
from lakecat_connectors._bytes import text_chunks
from lakecat_connectors._job import Job, JobFile
from lakecat_connectors._json_fast import Lines, blocks
from lakecat_connectors._json_plain import PlainLines
from lakecat_connectors._jsonl import JsonLinesReader, parse_line
from lakecat_connectors._jsonl_fast import FastJsonLinesReader
from lakecat_connectors._options import parse_options

TYPES = pa.schema(
    [
        ("i", pa.int64()),
        ("f", pa.float64()),
        ("s", pa.string()),
        ("b", pa.bool_()),
        ("none", pa.null()),
        ("l", pa.list_(pa.int64())),
        ("é.x", pa.struct([("f", pa.float64()), ("n", pa.list_(pa.struct([("s", pa.string()), ("o", pa.null())])))])),
    ]
)
ROW = st.fixed_dictionaries(
    {"i": st.none() | st.integers(-(2**63), 2**63 - 1)},
    optional={
        "f": st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 4)) | st.integers(-9, 9),
        "s": st.none() | st.text(max_size=5) | st.sampled_from(['"', "\\", "\n\x7f\x01", "\u2028", "2024-01-01"]),
        "b": st.none() | st.booleans(),
        "none": st.none(),
        "l": st.none() | st.lists(st.none() | st.integers(0, 99), max_size=3),
        "é.x": st.none()
        | st.fixed_dictionaries(
            {"f": st.floats(-1, 1).map(lambda x: round(x, 9))},
            optional={
                "n": st.lists(
                    st.none() | st.fixed_dictionaries({"s": st.text(max_size=2)}, optional={"o": st.none()}), max_size=2
                )
            },
        ),
    },
)


@pytest.fixture(scope="module")
def plain() -> Any:
    """A reader that goes on, whatever it is given."""
    reader = PlainLines(1 << 60)
    yield reader
    reader.close()


def block_of(data: bytes) -> Lines:
    (block,) = blocks(iter([data]))
    return block


def exact(data: bytes) -> str:
    rows = [parse_line(line, Where("x")) for line in data.split(b"\n")[:-1]]
    return repr(array_of(rows, Rule(without_null(pa.struct(list(TYPES))))).to_pylist())


def read(reader: PlainLines, data: bytes) -> str | None:
    reader._tries = 1
    table = reader.table(block_of(data), TYPES)
    return None if table is None else repr(table.to_pylist())


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=4), ascii_only=st.booleans(), compact=st.booleans())
def test_plain_lines_are_read_exactly(plain: PlainLines, rows: Any, ascii_only: bool, compact: bool) -> None:
    separators = (",", ":") if compact else None
    texts = [json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in rows]
    data = "".join(text + "\n" for text in texts).encode("utf-8", "surrogatepass")
    got = read(plain, data)
    assert got is None or got == exact(data)


LINE = (
    '{"i": -12, "f": 0.25, "s": "a\\u00e9\\n", "b": true, "none": null, "l": [1, null], '
    '"é.x": {"f": -0.0, "n": [{"s": ""}]}}'
)
PIECES = [
    *'{}[]",:0123456789.eE+-\\ \tu\n\r\x00',
    *("null", "true", "NaN", "-0", '"i": 1, ', ', "i"', '"S"', "[]", "\\u0000", "\\ud800", ",,", "1e400", "é"),
]


@settings(max_examples=600, deadline=None)
@given(at=st.integers(0, len(LINE)), cut=st.integers(0, 3), piece=st.sampled_from(["", *PIECES]), twice=st.booleans())
@example(at=LINE.index("-12"), cut=3, piece="-0", twice=False)
@example(at=LINE.index("}]}}"), cut=0, piece=",", twice=False)
@example(at=LINE.index("0.25"), cut=0, piece="1234567890123456", twice=False)
def test_what_is_not_plain_is_left_to_others(plain: PlainLines, at: int, cut: int, piece: str, twice: bool) -> None:
    """One change to a line: it is either still read exactly, or not at all."""
    text = LINE[:at] + piece + LINE[at + cut :]
    data = (text + "\n" + (LINE + "\n" if twice else "")).encode()
    got = read(plain, data)
    assert got is None or got == exact(data)


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        '{"i":1}',
        '{"i":null,"l":[]}',
        '{ "i" : 0 ,\t"f" : 1e-5 } ',
        '{"i": 999999999999999, "f": -123456789012.25}\r',
        '{"i": -8999999999999999999, "l": [1234567890123456789]}',
        '{"i": 1, "s": "\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u20ac"}',
    ],
)
def test_lines_that_are_plain(plain: PlainLines, line: str) -> None:
    assert read(plain, (line + "\n").encode()) == exact((line + "\n").encode())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        ' {"i": 1}',
        '{"i": 1}{"i": 2}',
        '{"i": 1, "new": 1}',
        '{"i": 1, "i": 2}',
        '{"i": 1, "s": 1}',
        '{"i": 1, "s": "x", "f": 0.5}',
        '{"i": "1"}',
        '{"i": 1.0}',
        '{"i": 1,}',
        '{"i": 1 "f": 1}',
        '{"i": -0}',
        '{"i": 1, "f": -0}',
        '{"i": 01}',
        '{"i": 1, "f": 1.2.3}',
        '{"i": 1, "f": NaN}',
        '{"i": 1, "f": 1e100}',
        '{"i": 1, "f": 0.1234567890123456}',
        '{"i": 9223372036854775808}',
        '{"i": 9223372036854775807}',
        '{"i": 1, "f": 1234567890123456}',
        '{"i": 1, "s": "\t"}',
        '{"i": 1, "s": "\\x41"}',
        '{"i": 1, "s": "\\u0000"}',
        '{"i": 1, "s": "\\ud800"}',
        '{"i": 1, "b": 1}',
        '{"i": 1, "none": 1}',
        '{"i": 1, "l": [1,]}',
        '{"\\u0069": 1}',
        '{"i": 1} //',
        "null",
    ],
)
def test_lines_that_are_not_plain(plain: PlainLines, line: str) -> None:
    assert read(plain, (line + "\n").encode()) is None


def test_bytes_that_are_no_text(plain: PlainLines) -> None:
    assert read(plain, b'{"i": 1, "s": "\xff"}\n') is None
    assert read(plain, b'{"i": 1, "s": "\xed\xa0\x80"}\n') is None


def test_names_and_types_that_no_expression_is_made_of() -> None:
    assert _json_plain.pattern_of(pa.schema([('a"b', pa.int64())])) is None
    assert _json_plain.pattern_of(pa.schema([("a", pa.timestamp("us"))])) is None
    assert _json_plain.pattern_of(pa.schema([(f"c{n}", pa.int64()) for n in range(33)])) is None


def in_pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield from (chunk[start : start + 150] for start in range(0, len(chunk), 150))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small blocks, all but the first tried this way; the rows of those that were read."""
    seen: list[int] = []
    monkeypatch.setattr(_json_plain, "_WORTH_BYTES", 0)
    monkeypatch.setattr(_jsonl_fast, "BLOCK_BYTES", 400)
    monkeypatch.setattr(_jsonl_fast, "text_chunks", lambda *args: in_pieces(text_chunks(*args)))
    inner = PlainLines.table

    def table(self: PlainLines, block: Lines, types: pa.Schema) -> pa.Table | None:
        got = inner(self, block, types)
        seen.extend([] if got is None else [got.num_rows])
        return got

    monkeypatch.setattr(PlainLines, "table", table)
    return seen


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=6).map(lambda part: part.replace(b"b", b"\n")), max_size=8), st.integers(0, 9))
def test_blocks_are_the_text_in_whole_lines(chunks: list[bytes], size: int) -> None:
    found = list(blocks(iter(chunks), size))
    text = b"".join(chunks)
    assert b"".join(block.data for block in found) == (text if text.endswith(b"\n") or not text else text + b"\n")
    assert all(len(block.data) >= size for block in found[1:-1])
    line = 1
    for block in found:
        assert (block.line, block.count) == (line, block.data.count(b"\n"))
        assert block.data.endswith(b"\n")
        line = block.end


def outcome(reader: JsonLinesReader) -> Any:
    schema = reader.open()
    return str(schema), repr([row for batch in reader.batches(lambda _: None) for row in batch.to_pylist()])


def job_of(path: Path, expected: pa.Schema | None) -> Job:
    file = JobFile(str(path), str(path), path.stat().st_size)
    return Job((file,), "jsonl", parse_options({"path": "x"}), Wanted(expected, {}), 65_536)


def fast(path: Path) -> Any:
    return outcome(FastJsonLinesReader(job_of(path, None)))


def both(path: Path, expected: pa.Schema | None = None) -> None:
    job = job_of(path, expected)
    assert outcome(FastJsonLinesReader(job)) == outcome(JsonLinesReader(job))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=5, max_size=20))
def test_whole_files_are_read_as_the_exact_reader_does(tmp_path: Path, eager: list[int], rows: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both(path)


NUMBER = (
    st.none()
    | st.integers(-9, 9)
    | st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 10**18, 2**63 - 1, 2**63, 0.5, 1e20, 1e16])
    | st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
)
NUMBERS = st.lists(st.tuples(st.sampled_from("ab"), NUMBER, st.lists(NUMBER, max_size=2)), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NUMBERS)
@example([("a", 1, [])] * 6 + [("a", 0.5, [])] * 6)
@example([("a", 2**53 + 1, [])] * 6 + [("a", 0.5, [])] * 6)
@example([("a", 0.5, [])] * 6 + [("a", 2**53 + 1, [])] * 6)
@example([("a", 1, [2**63 - 1])] * 6 + [("b", 2, [0.5])] * 6)
def test_numbers_of_all_kinds(tmp_path: Path, eager: list[int], found: Any) -> None:
    path = tmp_path / "a.jsonl"
    lines = (json.dumps({"id": 1, name: number, "all": many, "pad": "x" * 70}) for name, number, many in found)
    path.write_text("".join(line + "\n" for line in lines))
    both(path)


def test_whole_numbers_become_fractions_without_the_exact_reader(
    tmp_path: Path, eager: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": 10**18 + n, "p": {"v": n if n < 50 else n / 4}} for n in range(100)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = [{"id": row["id"], "p": {"v": float(row["p"]["v"])}} for row in rows]
    monkeypatch.setattr(JsonLinesReader, "open", None)
    monkeypatch.setattr(JsonLinesReader, "batches", None)
    monkeypatch.setattr(JsonLinesReader, "_batch", None)
    assert fast(path)[1] == repr(wanted)


@pytest.mark.parametrize("disk", [0, 1 << 20])
def test_a_column_that_was_null_at_first_and_one_that_comes_late(
    tmp_path: Path, eager: list[int], monkeypatch: pytest.MonkeyPatch, disk: int
) -> None:
    monkeypatch.setattr("lakecat_connectors._json_kept._IN_MEMORY", 0)
    monkeypatch.setattr("lakecat_connectors._json_kept._ON_DISK", disk)
    rows: list[dict[str, Any]] = [{"i": n, "n": None, "p": {"x": None, "y": [n]}} for n in range(60)]
    rows[30]["n"], rows[40]["p"]["x"], rows[50]["late"] = "text", {"deep": 0.5}, True
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    both(path)
    assert sum(eager) > 20
    eager.clear()
    both(path, pa.schema([("i", pa.float64()), ("p", pa.struct([("x", pa.struct([("deep", pa.float64())]))]))]))
    assert sum(eager) > 20


def test_it_gives_up_where_lines_are_never_plain(
    tmp_path: Path, eager: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    matches = _json_fast.matches

    def counted(data: bytes, pattern: str) -> bool:
        asked.append(1)
        return matches(data, pattern)

    monkeypatch.setattr(_json_plain, "matches", counted)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"a": 1, "b": 2}}\n{{"b": {n}, "a": 1}}\n' for n in range(100)))
    both(path)
    assert len(asked) == 4
    assert eager == []
