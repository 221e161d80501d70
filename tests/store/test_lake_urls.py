"""What a lake can lie on, and what is said of anything else."""

from __future__ import annotations

import pytest

from lakecat.errors import StoreError
from lakecat.store import LakeStore


@pytest.mark.parametrize("url", ["gs://bucket/lake", "az://container/lake", "abfs://c/lake", "sftp://me@host/lake"])
def test_a_lake_on_another_store_is_refused_in_words(url: str) -> None:
    scheme = url.partition(":")[0]
    with pytest.raises(StoreError, match=f"{scheme}:// is no kind of lake that lakecat knows") as info:
        LakeStore.open(url)
    assert info.value.hint == "use a folder or s3://bucket/prefix; from other stores the files connector reads"
