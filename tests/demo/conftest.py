"""The demo, run once as `make demo` runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Demo:
    folder: Path
    first: str
    again: str


def run_demo(folder: Path) -> str:
    command = [sys.executable, "configs/nyc/demo.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """What the demo leaves behind, and what its two runs said."""
    folder = tmp_path_factory.mktemp("nyc") / "demo"
    return Demo(folder, run_demo(folder), run_demo(folder))
