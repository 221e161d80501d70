"""Changes by key where the columns are called, typed or encoded as few are: what they do is the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lakecat.errors import SchemaError
from lakecat.ingest import load
from lakecat.types import DatasetName, WriteMode

T = DatasetName("raw", "t")
# As tables, their aliases and columns are called, or once were, in the statements of rewrites.
NAMES = ["s", "t", "p", "n", "w", "old", "news", "one", "rest", "changes", "events", "ended", "source", "present",
         "incoming", "elsewhere", "lakecat_gone", "lakecat_at", "lakecat_rank", "row", "filename"]  # fmt: skip
BY_KEY = [WriteMode.MERGE, WriteMode.REPLACE_KEYS, WriteMode.APPEND_NEW, WriteMode.HISTORY, WriteMode.DELETE]


def what_becomes(mode: WriteMode, table: dict[Any, Any], told: dict[Any, Any]) -> Counter[tuple[Any, Any]]:
    """The rows after this, by the words of the documentation; for a history those that held, and those that hold."""
    if mode is WriteMode.APPEND_NEW:
        return Counter((told | table).items())
    if mode is WriteMode.DELETE:
        return Counter((key, value) for key, value in table.items() if key not in told)
    if mode is WriteMode.HISTORY:
        return Counter({*table.items(), *told.items()})
    return Counter((table | told).items())


def put(project, mode: WriteMode, rows: pa.Table) -> None:
    load(project.services, T, rows, mode=mode, key=["id"])


@pytest.mark.parametrize("mode", BY_KEY)
def test_no_column_is_taken_for_a_table(project, mode: WriteMode) -> None:
    """Each of them is a struct with a field that is called as the key."""
    kind = pa.struct([("id", pa.int64())])

    def rows(content: dict[int, int]) -> pa.Table:
        columns = {name: pa.array([{"id": value} for value in content.values()], kind) for name in NAMES}
        return pa.table({**columns, "id": list(content), "ID number": list(content.values())})

    before, told = {1: 10, 2: 20, 3: 30}, {2: 3, 3: 30, 4: 1}
    put(project, WriteMode.HISTORY if mode is WriteMode.HISTORY else WriteMode.MERGE, rows(before))
    put(project, mode, rows(told))
    found = project.table("raw.t").to_pylist()
    expected = what_becomes(mode, before, told)
    assert Counter((row["id"], row["ID number"]) for row in found) == expected
    for name in NAMES:
        assert Counter((row["id"], row[name]["id"]) for row in found) == expected
    project.clean()


def test_names_that_lakecat_uses_itself_are_refused(project) -> None:
    rows = pa.table({"id": [1], "__LakeCat_table": [1]})
    put(project, WriteMode.MERGE, rows)
    with pytest.raises(SchemaError, match="'__LakeCat_table' has a name that lakecat uses itself"):
        put(project, WriteMode.MERGE, rows)


def dictionaries(values: list[Any]) -> pa.ChunkedArray:
    """Each chunk has a dictionary of its own."""
    return pa.chunked_array([pa.array([value]).dictionary_encode() for value in values])


def in_structs(values: list[Any]) -> pa.ChunkedArray:
    chunks = [pa.StructArray.from_arrays([chunk], ["x"]) for chunk in dictionaries(values).chunks]
    return pa.chunked_array(chunks)


def lists(values: list[str]) -> list[list[str] | None]:
    """Some of them NULL, some empty."""
    return [None if value in "qs" else [] if value == "p" else [value] for value in values]


ENCODINGS: dict[str, Callable[[list[str]], Any]] = {
    "dictionary": dictionaries,
    "view": lambda values: pa.array(values, pa.string_view()),
    "bytes view": lambda values: pa.array([value.encode() for value in values], pa.binary_view()),
    "run-lengths": lambda values: pc.run_end_encode(pa.array(values)),
}
NESTED: dict[str, Callable[[list[str]], Any]] = {
    "dictionary in structs": in_structs,
    "views in lists": lambda values: pa.array(lists(values), pa.list_(pa.string_view())),
    "list view": lambda values: pa.array(lists(values), pa.list_view(pa.string_view())),
    "list view in lists": lambda values: pa.array([lists(values)] * len(values), pa.list_(pa.list_view(pa.string()))),
    "list view in structs": lambda values: pa.array(
        [None if one == [] else {"x": one} for one in lists(values)], pa.struct([("x", pa.list_view(pa.string()))])
    ),
    "fixed lists": lambda values: pa.array(
        [None if one is None else [*one, None, None][:2] for one in lists(values)], pa.list_(pa.string_view(), 2)
    ),
    "views in maps": lambda values: pa.array(
        [None if one is None else [(text, text) for text in one] for one in lists(values)],
        pa.map_(pa.string_view(), pa.string_view()),
    ),
}


@pytest.mark.parametrize("encoding", [*ENCODINGS, *NESTED])
@pytest.mark.parametrize("mode", [WriteMode.MERGE, WriteMode.HISTORY])
def test_encodings_of_arrow(project, mode: WriteMode, encoding: str) -> None:
    """As polars, pandas and DuckDB hand out categories, enums and text."""
    encoded = (ENCODINGS | NESTED)[encoding]

    def rows(keys: str, values: str) -> pa.Table:
        key = encoded(list(keys)) if encoding in ENCODINGS else pa.array(list(keys))
        return pa.table({"id": key, "v": encoded(list(values))})

    put(project, mode, rows("xyu", "pqx"))
    put(project, mode, rows("yxzx", "qurs"))
    ends = {"x": "p", "y": "q", "u": "x"}, {"y": "q", "x": "s", "z": "r"}
    if encoding == "list view in lists":  # each row has all values of its delivery
        assert [row["v"] for row in project.table("raw.t").to_pylist() if row["id"] == "z"] == [lists(list("qurs"))]
        return
    expected = what_becomes(mode, *ends)
    shown = rows("".join(key for key, _ in expected), "".join(value for _, value in expected)).to_pylist()
    found = project.table("raw.t").to_pylist()
    assert Counter(repr((row["id"], row["v"])) for row in found) == Counter(
        repr((row["id"], row["v"])) for row in shown
    )


@pytest.mark.parametrize("encoding", NESTED)
def test_encodings_that_are_appended(project, encoding: str) -> None:
    values = NESTED[encoding](list("pqxrs"))
    load(project.services, T, pa.table({"v": values}))
    assert project.table("raw.t")["v"].to_pylist() == values.to_pylist()


@pytest.mark.parametrize("mode", BY_KEY)
def test_keys_that_are_equal_in_sql(project, mode: WriteMode) -> None:
    """Zero has two signs, and NaN is equal to itself: each is one key."""
    put(
        project,
        WriteMode.HISTORY if mode is WriteMode.HISTORY else WriteMode.MERGE,
        pa.table({"id": [0.0, 1.0, math.nan], "v": [1, 2, 3]}),
    )
    put(project, mode, pa.table({"id": [-0.0, 0.0, math.nan, -math.nan, 5.0], "v": [4, 5, 6, 7, 8]}))
    expected = what_becomes(mode, {"0": 1, "1": 2, "nan": 3}, {"0": 5, "nan": 7, "5": 8})
    if mode is WriteMode.REPLACE_KEYS:
        expected += Counter([("0", 4), ("nan", 6)])
    found = project.table("raw.t").to_pylist()
    assert Counter((f"{abs(row['id']):g}", row["v"]) for row in found) == expected
