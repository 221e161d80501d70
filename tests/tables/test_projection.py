"""What a data file lacks: the value of its partition, else the column's initial default, else NULL."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from lakecat.tables.projection import project

OLD = Schema(NestedField(1, "a", LongType(), required=False))
NEW = Schema(*OLD.fields, NestedField(2, "b", LongType(), required=False, initial_default=7))


@pytest.mark.parametrize(("values", "expected"), [({}, 7), ({2: 5}, 5), ({2: None}, None)])
def test_a_column_that_a_file_lacks(values: dict[int, Any], expected: int | None) -> None:
    """A partition value that is there and NULL is NULL (Iceberg table specification, "Column Projection")."""
    batch = pa.record_batch({"a": pa.array([1, 2])})
    target = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    found = project(batch, OLD, NEW, target, values)
    assert found.to_pydict() == {"a": [1, 2], "b": [expected, expected]}
