"""Scripts that run side by side keep together to the memory and threads that the configuration allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakecat.config import EngineSettings
from lakecat.engines import DuckDBEngine
from lakecat.store import LakeStore

ASK = "SELECT current_setting('memory_limit') AS memory, current_setting('threads') AS threads"


@pytest.mark.parametrize(
    ("sessions", "memory", "threads"),
    [(1, "800.0 MiB", 6), (2, "400.0 MiB", 3), (4, "200.0 MiB", 1), (8, "100.0 MiB", 1)],
)
def test_sessions_side_by_side_divide_what_there_is(tmp_path: Path, sessions: int, memory: str, threads: int) -> None:
    settings = EngineSettings(memory_limit="800MiB", threads=6)
    engine = DuckDBEngine(LakeStore.open(f"file://{tmp_path}"), settings).shared_by(sessions)
    with engine.session({}) as session:
        assert session.query(ASK).read_all().to_pylist() == [{"memory": memory, "threads": threads}]
