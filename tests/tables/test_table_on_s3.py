"""The same commits on an object store."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.expressions import EqualTo
from pyiceberg.table import StaticTable
from s3_servers import S3Server, ceph_s3, moto_s3
from table_lab import TableLab

from lakecat.config import Storage
from lakecat.store import LakeStore
from lakecat.tables import ALL, Operation, Scan, plan

__all__ = ["ceph_s3", "moto_s3"]


@pytest.mark.parametrize("kind", ["moto", "ceph"])
def test_commits_and_readers(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    server: S3Server = request.getfixturevalue(f"{kind}_s3")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    url = f"s3://{server.new_bucket()}/lake"
    store = LakeStore.open(url, Storage.model_validate(server.storage()), environ=server.environ)
    lab = TableLab(store)
    lab.create(pa.table({"id": [0, 1], "part": ["a", "b"]}), "part")
    first = lab.history[0].snapshot_id
    for number in range(2, 12):
        lab.append(pa.table({"id": [number], "part": ["a"]}))
    assert sorted(row["id"] for row in lab.rows()) == list(range(12))
    assert [file.rows for file in plan(store, Scan(lab.current), EqualTo("part", "b"))] == [1]
    lab.commit(Operation.REPLACE, added=lab.write(pa.table({"id": [99], "part": ["z"]})), removed=ALL)
    theirs = StaticTable.from_metadata(
        lab.current.metadata_location,
        {
            "s3.endpoint": server.endpoint,
            "s3.access-key-id": server.access_key,
            "s3.secret-access-key": server.secret_key,
            "s3.region": "us-east-1",
        },
    )
    assert theirs.scan().to_arrow().to_pylist() == lab.rows() == [{"id": 99, "part": "z"}]
    assert sorted(theirs.scan(snapshot_id=first).to_arrow()["id"].to_pylist()) == [0, 1]
    assert set(lab.history[-1].written) < {one.location for one in store.list(lab.location)}
