"""The adapter for code that was written for ml-metadata: its errors, its modes, its messages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlmd_lab import ROOT, find_python

CASES = Path(__file__).parent / "mlmd_adapter_cases.py"


def test_the_adapter_behaves_as_ml_metadata_does(missing, tmp_path: Path):
    done = subprocess.run(
        [find_python(missing), str(CASES), str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == [
        line[4:-3] for line in CASES.read_text().splitlines() if line.startswith("def case_")
    ]


def test_without_ml_metadata_it_says_what_to_install():
    if "ml_metadata" in sys.modules:
        pytest.skip("ml-metadata is installed here")
    with pytest.raises(ModuleNotFoundError, match=r"pip install ml-metadata==1\.17\.1") as caught:
        __import__("lakecat.catalog.mlmd")
    assert caught.value.name == "ml_metadata"
