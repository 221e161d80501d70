"""Rows that pyarrow reads are the same, types and all, as by the exact rules; a spool gives back what went in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.connector import ReadOptions
from lakecat.errors import ParseError
from lakecat_connectors import _rest_spool
from lakecat_connectors._json_fast import DoubtError
from lakecat_connectors._rest_json import row_text
from lakecat_connectors._rest_rows import RestReader
from lakecat_connectors._rest_spool import Spool

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | TEXT | st.just("2026-01-01")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "Cc", "d e"]), VALUES, min_size=1, max_size=4), max_size=12)
STEADY = st.fixed_dictionaries(
    {"n": st.none() | st.integers(-(10**12), 10**12), "t": st.none() | TEXT, "l": st.lists(st.booleans(), max_size=3)},
    optional={"s": st.fixed_dictionaries({"f": st.none() | st.integers(-99, 99).map(lambda n: n / 4), "u": TEXT})},
)


@contextmanager
def spooled(rows: list[dict[str, Any]], *, exactly: bool, block: int) -> Iterator[Spool]:
    def doubt(_block: Any) -> None:
        raise DoubtError

    spool = Spool(("n",))
    way = patch.object(_rest_spool, "look_over", doubt) if exactly else patch.object(_rest_spool, "_IN_MEMORY", 64)
    with closing(_Closing(spool)), way, patch.object(_rest_spool, "_BLOCK", block):
        for number, row in enumerate(rows):
            if number % 5 == 0:
                spool.page(f"page {number // 5}", 10)
            spool.add(row, row_text(row), number % 5 + 1)
        spool.close(whole=False, keyed=False)
        yield spool


class _Closing:
    def __init__(self, spool: Spool) -> None:
        self.close = spool.delete


def read(rows: list[dict[str, Any]], *, exactly: bool, block: int = 1 << 20, **options: Any) -> tuple[pa.Table, bool]:
    with spooled(rows, exactly=exactly, block=block) as spool:
        fast = spool.natural is not None
        reader = RestReader(spool, "api", None, ReadOptions(**options), str)
        table = pa.Table.from_batches(list(reader), reader.schema)
        table.validate(full=True)
        return table, fast


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, block=st.sampled_from([1, 60, 1 << 20]))
def test_both_ways_give_the_same_whatever_the_rows_are(rows, block):
    exact, found = outcome(rows, exactly=True), outcome(rows, exactly=False, block=block)
    assert type(found) is type(exact)
    assert found.equals(exact) if isinstance(found, pa.Table) else found == exact
    assert isinstance(exact, str) or found.schema == exact.schema


def outcome(rows: list[dict[str, Any]], **options: Any) -> Any:
    """The table, or what the error says."""
    try:
        return read(rows, **options)[0]
    except ParseError as err:
        return str(err)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(STEADY, min_size=1, max_size=20), block=st.sampled_from([60, 1 << 20]), most=st.integers(1, 9))
def test_rows_of_steady_kinds_are_read_by_pyarrow(rows, block, most):
    exact, slow = read(rows, exactly=True, batch_rows=most)
    found, fast = read(rows, exactly=False, block=block, batch_rows=most)
    assert (fast, slow) == (True, False)
    assert found.schema == exact.schema
    assert found.equals(exact)


@pytest.mark.parametrize("bad", [0, 7, 19])
def test_a_value_that_does_not_fit_is_found_in_its_place_among_those_that_pyarrow_read(bad):
    rows = [{"n": number, "at": "2026-01-01" if number != bad else "soon"} for number in range(20)]
    options = {"declared": {"at": pa.date32()}, "rejects": 5}
    with spooled(rows, exactly=False, block=60) as spool:
        assert spool.natural is not None
        reader = RestReader(spool, "api", None, ReadOptions(**options), str)
        numbers = [row["n"] for batch in reader for row in batch.to_pylist()]
        rejected = reader.summary().rejected
    assert numbers == [number for number in range(20) if number != bad]
    assert rejected is not None
    assert [(row["source"], row["line"], row["column"]) for row in rejected.to_pylist()] == [
        (f"page {bad // 5}", bad % 5 + 1, "at")
    ]


def test_rows_that_came_twice_are_left_out_of_what_pyarrow_read():
    rows = [{"n": number % 7, "t": "x"} for number in range(20)]
    found, fast = read(rows, exactly=False, block=60)
    exact, _ = read(rows, exactly=True)
    assert fast
    assert found.equals(exact)
    assert found["n"].to_pylist() == list(range(7))
