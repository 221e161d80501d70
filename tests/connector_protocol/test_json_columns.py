"""A column of JSON values: an array of the wanted type exactly, or the places of the values that are not of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakecat.connector.fit import Rule
from lakecat.connector.shapes import NOT_OF_THE_TYPE, array_of, misfit_values

VALUES = st.lists(st.one_of(st.none(), st.integers(-(2**33), 2**33), st.text(max_size=2)), max_size=40)


@given(VALUES, st.integers(1, 8))
def test_values_that_are_not_of_the_type_are_found_in_order(values: list[Any], most: int) -> None:
    rule = Rule(pa.int32())
    wrong = [
        index
        for index, value in enumerate(values)
        if value is not None and not (isinstance(value, int) and -(2**31) <= value < 2**31)
    ]
    assert misfit_values(values, rule, len(values)) == wrong
    assert misfit_values(values, rule, most) == wrong[:most]
    try:
        assert array_of(values, rule).to_pylist() == values
    except NOT_OF_THE_TYPE:
        assert wrong
    else:
        assert not wrong
