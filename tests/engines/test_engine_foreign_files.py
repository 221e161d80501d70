"""Files migrated from Hive leave identity-partition columns to their manifest; their rows have them all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile

from lakecat.tables import Scan, delete_keys, merge_upsert, plan
from lakecat.types import DatasetName

T = DatasetName("raw", "t")


@pytest.fixture
def scan(lake: Any) -> Scan:
    """``raw.t``, partitioned by ``p``; the file of p = 'hive' has no column ``p``."""
    lake.create("raw.t", pa.table({"k": [1, 2, 3, 4], "p": ["ours", "ours", "hive", "hive"]}), ["p"])
    scan = lake.scan("raw.t")
    files = []
    for file in plan(lake.store, scan):
        if file.data_file.partition[0] == "hive":
            path = Path(file.location.removeprefix("file://"))
            pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["p"]), path)
            names = ("column_sizes", "value_counts", "null_value_counts", "lower_bounds", "upper_bounds")
            metrics = {n: {k: v for k, v in (getattr(file.data_file, n) or {}).items() if k != 2} for n in names}
            same = ("content", "file_path", "file_format", "partition", "record_count")
            foreign = DataFile.from_args(
                **metrics, **{n: getattr(file.data_file, n) for n in same}, file_size_in_bytes=path.stat().st_size
            )
            foreign.spec_id = file.data_file.spec_id
            file = replace(file, size=path.stat().st_size, data_file=foreign)  # noqa: PLW2901
        files.append(file)
    return replace(scan, files=tuple(files))


def test_query(lake: Any, scan: Scan) -> None:
    with lake.engine.session({T: scan}) as session:
        rows = session.query("SELECT a.k, a.p, b.p AS again FROM raw.t a JOIN raw.t b USING (k) ORDER BY k").read_all()
    assert rows.to_pylist() == [
        {"k": k, "p": p, "again": p} for k, p in [(1, "ours"), (2, "ours"), (3, "hive"), (4, "hive")]
    ]


def test_modify(lake: Any, scan: Scan) -> None:
    with lake.engine.session({T: scan}) as session:
        done = session.modify("DELETE FROM raw.t WHERE k = 3", T)
        assert done.rows.read_all().to_pylist() == [{"k": 4, "p": "hive"}]
    assert [file.data_file.partition[0] for file in done.removed] == ["hive"]


def test_merge_and_delete_by_key(lake: Any, scan: Scan) -> None:
    source = pa.table({"k": [4, 5], "p": ["hive", "hive"]})
    with merge_upsert(lake.store, scan, source.to_reader(), ["k"], settings=lake.settings) as done:
        assert sorted(row["k"] for row in done.rows.read_all().to_pylist()) == [3, 4, 5]
    with delete_keys(lake.store, scan, source.to_reader(), ["k"], settings=lake.settings) as done:
        assert done.rows.read_all().to_pylist() == [{"k": 3, "p": "hive"}]
