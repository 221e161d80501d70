"""The fast reader of JSON lines and the exact one give the same: types, values, and errors at the same lines."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lakecat.connector.columns import Wanted
from lakecat.errors import ParseError
from lakecat_connectors._bytes import text_chunks
from lakecat_connectors._job import Job, JobFile
from lakecat_connectors._json_fast import DoubtError
from lakecat_connectors._jsonl import JsonLinesReader
from lakecat_connectors._jsonl_fast import FastJsonLinesReader
from lakecat_connectors._options import parse_options
from lakecat_connectors._rejects import Rejects


def job(*paths: Path, expected: pa.Schema | None = None, rejects: int | None = None) -> Job:
    files = tuple(JobFile(str(path), str(path), path.stat().st_size) for path in paths)
    options = parse_options({"path": "x"})
    return Job(files, "jsonl", options, Wanted(expected, {}), 65_536, rejects=Rejects(rejects))


def outcome(reader: JsonLinesReader) -> Any:
    """What a reader makes of its files: types and rows, or where and why not."""
    try:
        schema = reader.open()
        rows = [row for batch in reader.batches(lambda _: None) for row in batch.to_pylist()]
    except ParseError as err:
        place = (None, None) if err.where is None else (err.where.file, err.where.line)
        return "refused", err.what, place
    aside = list(reader._job.rejects.rows())
    return str(schema), repr(rows), [(result.rows, result.sha256) for result in reader.results], aside


def same(*paths: Path, expected: pa.Schema | None = None) -> Any:
    for rejects in (3, None):
        exact = outcome(JsonLinesReader(job(*paths, expected=expected, rejects=rejects)))
        assert outcome(FastJsonLinesReader(job(*paths, expected=expected, rejects=rejects))) == exact
    return exact


NUMBERS = st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9)
TEXTS = st.text(max_size=4) | st.sampled_from(
    ["2024-01-01", "2024-01-01T00:00:00Z", "1234567890123456789", "1e5", "NaN"]
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
NAMES = st.sampled_from(["a", "b", "c", "é", "A"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=5
)
ROWS = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=5)
UNIFORM = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-(2**40), 2**40),
            "f": st.none() | st.floats(-1e3, 1e3).map(lambda x: round(x, 3)),
        },
        optional={
            "s": TEXTS,
            "l": st.lists(st.none() | st.integers(0, 9), max_size=3),
            "n": st.fixed_dictionaries({"x": TEXTS}),
        },
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(ROWS | UNIFORM, min_size=1, max_size=3), ascii_only=st.booleans())
@example(files=[[{"a": 1}], [{"a": 1.5}]], ascii_only=True)
@example(files=[[{"a": None}], [{"a": [None]}], [{"a": [{"b": 1}]}]], ascii_only=True)
@example(files=[[{"a": {"b": None}}], [{"a": {"c": "2024-01-01"}}]], ascii_only=True)
@example(files=[[{"a": "2024-01-01"}, {"a": "x"}]], ascii_only=True)
@example(files=[[{"a": {}}]], ascii_only=True)
@example(files=[[{}]], ascii_only=True)
@example(files=[[{"a": None}], [{"A": None}]], ascii_only=True)
@example(files=[[{"b": None}], [{"A": None, "a": None}]], ascii_only=True)
def test_both_give_the_same(tmp_path: Path, files: list[Any], ascii_only: bool) -> None:
    paths = []
    for number, rows in enumerate(files):
        paths.append(tmp_path / f"{number}.jsonl")
        text = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
        paths[-1].write_text(text, encoding="utf-8", errors="surrogatepass")
    same(*paths)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}{"a": 2}\n',
        '{"a": 1}{"a": 2}\n{"a":\n3}\n',
        '{"a": 1} \n',
        ' {"a": 1}\n',
        '{"a": 1}\n\n{"a": 2}\n',
        '{"a": 1}\r\n{"a": 2}\r\n',
        '{"a": 1}',
        '{"a": 1, "a": 2}\n',
        '{"a": {"b": 1, "b": 2}}\n',
        '{"a": NaN}\n',
        '{"a": [1, nan]}\n',
        '{"a": -Infinity}\n',
        '{"a": inf}\n',
        '{"a": "NaN", "b": ",-0,"}\n',
        '{"a": 01}\n',
        '{"a": 1.}\n',
        '{"a": -0}\n{"a": -0.0}\n',
        '{"a": 123456789012345.6}\n',
        '{"a": 0.1234567890123456789}\n',
        '{"a": [1,12345678901234567890]}\n',
        '{"a": 1E5}\n',
        '{"a": 1e999}\n',
        '{"a": 6e-05}\n{"a": 1.5E+10}\n{"a": 3}\n',
        '{"a": 3}\n{"a": 1e5}\n',
        '{"a": 1.23456789012e-10}\n',
        '{"a": 1e-400}\n',
        '{"a": "\\ud800"}\n',
        '{"a": "\\ud83d\\ude00"}\n',
        '{"a": "\\udc00"}\n',
        '{"a": "\\ud83d\\ud83d"}\n',
        '{"a": "\\uD83D\\n"}\n',
        '{"\\udfff": 1}\n',
        '{"a": "\\u0000"}\n',
        '{"a": "\t"}\n',
        '{"a": 1}\n{"A": 2}\n',
        '{"a": 1}\n[1]\n',
        '{"a": 1},\n',
        '{"": 1}\n',
        '{"a": ' + "[" * 70 + "]" * 70 + "}\n",
        '{"a": ' + "[" * 5000 + "]" * 5000 + "}\n",
        '{"a": ' + "[" * 240 + "]" * 240 + "}\n",
        '{"a": [' + ", ".join('{"b": [1]}' for _ in range(200)) + "]}\n",
        '{"a": ' + '{"b":' * 70 + "1" + "}" * 70 + "}\n",
        "{}\n{}\n",
        "",
        "\n",
        '{"a": tru}\n',
        "{'a': 1}\n",
        '{"a": 1}\x00\n',
        '{"a": [], "b": {}}\n',
        '{"a": "2024-13-45"}\n{"a": "2024-01-01"}\n',
    ],
)
def test_odd_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8", newline="")
    same(tmp_path / "a.jsonl")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "x"}\n{"a": "\xff"}\n')
    assert same(tmp_path / "a.jsonl")[0] == "refused"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ROWS | UNIFORM, then=ROWS | UNIFORM)
@example(first=[{"a": {"b": 0.5}}], then=[{"a": {"b": 1, "c": [None]}}, {"a": None}])
@example(first=[{"a": [{"b": 1}]}], then=[{"a": [None, {"c": {"b": None}}]}, {"a": []}])
@example(first=[{"a": 1, "b": 0.5}], then=[{"a": None, "b": 2}])
@example(first=[{"a": {"b": 1}}], then=[{"a": {"B": 1}}])
def test_both_give_the_same_to_a_table_that_is_there(tmp_path: Path, first: Any, then: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in first))
    reader = JsonLinesReader(job(path))
    try:
        schema = reader.open()
    except ParseError:
        return
    path.write_text("".join(json.dumps(row) + "\n" for row in then))
    same(path, expected=schema)


EXPECTED = pa.schema(
    [("i", pa.int64()), ("t", pa.timestamp("us")), ("n", pa.struct([("x", pa.int64()), ("y", pa.string())]))]
)


@pytest.mark.parametrize(
    "row",
    [
        {"i": 1, "t": "2024-01-01T00:00:00", "n": {"x": 1}},
        {"i": 1, "t": "no"},
        {"i": 1.5},
        {"i": "1"},
        {"n": {"z": 1}},
        {"n": {"x": "1"}},
        {"n": {"x": 1, "z": [{"w": 0.5}]}},
        {"new": 5},
    ],
)
def test_a_tables_types_bind(tmp_path: Path, row: dict[str, Any]) -> None:
    rows = [{"i": 0, "t": "2020-01-01T00:00:00", "n": {"x": 0, "y": "y"}}, row]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    same(tmp_path / "a.jsonl", expected=EXPECTED)


@pytest.mark.parametrize("disk", [0, 3_000, 1 << 20])
def test_blocks_that_are_kept_on_disk_or_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: int) -> None:
    monkeypatch.setattr("lakecat_connectors._json_kept._IN_MEMORY", 1_000)
    monkeypatch.setattr("lakecat_connectors._json_kept._ON_DISK", disk)
    monkeypatch.setattr(
        "lakecat_connectors._jsonl_fast.text_chunks",
        lambda *args: (whole[at : at + 1_000] for whole in text_chunks(*args) for at in range(0, len(whole), 1_000)),
    )
    rows: list[dict[str, Any]] = [{"i": n, "s": "x" * (n % 9), "l": [{"v": n / 4}]} for n in range(200)]
    rows[150]["new"] = "late"
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = set()

    def seen(self: FastJsonLinesReader, *args: Any) -> Any:
        read.add(args[0].index)
        return parsed_again(self, *args)

    parsed_again = FastJsonLinesReader._again
    monkeypatch.setattr(FastJsonLinesReader, "_again", seen)
    schema, _, results, _ = same(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert "new: string" in schema
    assert [rows for rows, _ in results] == [200, 200]
    assert read == (set() if disk == 1 << 20 else {0, 1})


@pytest.mark.parametrize("rejects", [None, 3])
def test_it_is_the_fast_one_that_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rejects: int | None) -> None:
    def never(*_: object) -> None:
        raise DoubtError

    (tmp_path / "a.jsonl").write_text('{"a": 1, "b": {"c": ["2024-01-01"]}, "t": "2024-01-01"}\n')
    monkeypatch.setattr(JsonLinesReader, "open", never)
    monkeypatch.setattr(JsonLinesReader, "batches", never)
    reader = FastJsonLinesReader(job(tmp_path / "a.jsonl", expected=pa.schema([("t", pa.date32())]), rejects=rejects))
    assert outcome(reader)[1] == repr([{"a": 1, "b": {"c": ["2024-01-01"]}, "t": date(2024, 1, 1)}])
