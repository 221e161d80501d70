"""Every behaviour of a store is tested on a local folder, on moto and on Ceph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_servers import S3Server, ceph_s3, moto_s3

from lakecat.config import Storage
from lakecat.store import LakeStore

__all__ = ["ceph_s3", "moto_s3"]


@pytest.fixture(params=["local", "moto", "ceph"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_lake(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], LakeStore]:
    """Opens one and the same empty lake, anew at each call."""
    if kind == "local":
        return lambda: LakeStore.open(str(tmp_path / "lake"))
    server: S3Server = request.getfixturevalue(f"{kind}_s3")
    url = f"s3://{server.new_bucket()}/some/prefix"
    return lambda: LakeStore.open(url, Storage.model_validate(server.storage()), environ=server.environ)


@pytest.fixture
def lake(open_lake: Callable[[], LakeStore]) -> LakeStore:
    return open_lake()
