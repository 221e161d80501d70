"""What a query gives is found anew whenever the query, the tables' columns or its parameters are others."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lakecat.errors import EngineError
from lakecat.types import DatasetName


def test_other_columns_under_the_same_name_are_seen(lake: Any) -> None:
    lake.create("raw.one", pa.table({"v": pa.array([1], pa.int32())}))
    lake.create("raw.two", pa.table({"v": ["a"], "w": [True]}))
    name, seen = DatasetName.parse("raw.t"), []
    for scan in (lake.scan("raw.one"), lake.scan("raw.two"), lake.scan("raw.one")):
        with lake.engine.session({name: scan}) as session:
            seen.append(session.describe("SELECT * FROM raw.t"))
    assert seen[0] == seen[2] == pa.schema([("v", pa.int32())])
    assert seen[1].names == ["v", "w"]
    assert seen[1].field("w").type == pa.bool_()


def test_equal_parameters_of_other_types_are_told_apart(lake: Any) -> None:
    with lake.engine.session({}) as session:
        types = [session.describe("SELECT $a AS a", {"a": value}).types[0] for value in (1, True, 1.0)]
    assert types == [pa.int32(), pa.bool_(), pa.float64()]


def test_an_error_is_not_kept(lake: Any) -> None:
    sql = "SELECT v FROM raw.late"
    with lake.engine.session({}) as session, pytest.raises(EngineError):
        session.describe(sql)
    lake.create("raw.late", pa.table({"v": ["a"]}))
    with lake.engine.session(lake.relations("raw.late")) as session:
        assert session.describe(sql).names == ["v"]


def test_describing_makes_no_folder_for_spilled_data(lake: Any) -> None:
    with lake.engine.session({}) as session:
        session.describe("SELECT 1 AS one")
        assert not list(lake.root.glob("spill/*"))
        session.query("SELECT 1 AS one").read_all()
        assert len(list(lake.root.glob("spill/*"))) == 1
    assert not list(lake.root.glob("spill/*"))
