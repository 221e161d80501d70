from __future__ import annotations

from pathlib import Path

import pytest
from table_lab import TableLab

from lakecat.store import LakeStore


@pytest.fixture
def lab(tmp_path: Path) -> TableLab:
    return TableLab(LakeStore.open(str(tmp_path / "lake")))
