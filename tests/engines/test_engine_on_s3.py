"""The same engine on an object store, with external access locked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from s3_servers import S3Server, ceph_s3, moto_s3

from lakecat.config import Storage
from lakecat.errors import AccessDeniedError, EngineError
from lakecat.store import LakeStore
from lakecat.tables import merge_upsert
from lakecat.types import DatasetName

__all__ = ["ceph_s3", "moto_s3"]


@pytest.fixture(params=["moto", "ceph"])
def s3_lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake_type: Any) -> Any:
    server: S3Server = request.getfixturevalue(f"{request.param}_s3")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    url = f"s3://{server.new_bucket()}/some/lake"
    store = LakeStore.open(url, Storage.model_validate(server.storage()), environ=server.environ)
    lake = lake_type(tmp_path, store)
    lake.create("raw.t", pa.table({"k": [1, 2, 3, 4], "v": ["a", "b", "c", None]}), file_rows=2)
    return lake


def test_query_prune_modify_and_merge(s3_lake: Any) -> None:
    assert s3_lake.rows("SELECT count(*) AS n, max(v) AS v FROM raw.t") == [{"n": 4, "v": "c"}]
    target = DatasetName("raw", "t")
    with s3_lake.engine.session(s3_lake.relations()) as session:
        done = session.modify("UPDATE raw.t SET v = 'z' WHERE k = 4", target)
        assert len(done.removed) == 1
        s3_lake.overwrite("raw.t", done.removed, done.rows)
    source = pa.table({"k": [1, 9], "v": ["A", "n"]}).to_reader()
    with merge_upsert(s3_lake.store, s3_lake.scan("raw.t"), source, ["k"], settings=s3_lake.settings) as merged:
        assert (len(merged.removed), merged.matched) == (1, 1)
        s3_lake.overwrite("raw.t", merged.removed, merged.rows)
    rows = s3_lake.rows("SELECT * FROM raw.t ORDER BY k")
    assert [(row["k"], row["v"]) for row in rows] == [(1, "A"), (2, "b"), (3, "c"), (4, "z"), (9, "n")]


def test_sql_text_reaches_no_other_object(s3_lake: Any) -> None:
    s3_lake.store.write(s3_lake.store.join("secret.csv"), b"a\ncanary\n")
    url = s3_lake.store.join("secret.csv")
    with s3_lake.engine.session(s3_lake.relations()) as session:
        for path in (url, f"lake://{url}"):
            with pytest.raises(AccessDeniedError):
                session.query(f"SELECT * FROM read_csv('{path}')")


def test_an_object_that_is_gone_is_said(s3_lake: Any) -> None:
    for found in list(s3_lake.store.list(s3_lake.store.join("raw"))):
        if found.location.endswith(".parquet"):
            s3_lake.store.delete(found.location)
    with s3_lake.engine.session(s3_lake.relations()) as session, pytest.raises(EngineError) as caught:
        session.query("SELECT max(v) AS v FROM raw.t").read_all()
    assert re.search(r"a data file cannot be read: s3://\S+\.parquet is not there", str(caught.value))
    assert "Traceback" not in str(caught.value)
