"""What README and tutorial tell people to type is typed here, in that order, and works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def script_of(page: Path) -> str:
    """All shell and Python blocks of a page as one script, without those that call make."""
    parts = ["set -euo pipefail"]
    for language, text in blocks(page):
        if language == "sh" and not text.startswith("make "):
            parts.append(text)
        elif language == "python":
            parts.append(f"python - <<'PYTHON'\n{text}PYTHON")
    return "\n".join(parts)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_command_and_snippet_runs(page: str, tmp_path: Path) -> None:
    script = script_of(ROOT / page)
    assert script.count("lakecat ") > 5
    assert "python - " in script
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environ.pop("LAKECAT_PROFILE", None)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_tutorial_numbers_are_right(tmp_path: Path) -> None:
    """5 orders of the example and one of the tutorial; the incremental table holds all six."""
    script = script_of(ROOT / "docs/tutorial.md") + "\nlakecat query --json 'SELECT count(*) FROM staging.orders'"
    script += "\nlakecat query --json 'SELECT count(*) FROM raw.orders@v1'"
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert re.findall(r'"rows": \[\n\[(\d+)\]', done.stdout) == ["6", "5"]


def test_the_questions_to_the_catalog_are_answered(tmp_path: Path) -> None:
    script = script_of(ROOT / "docs/catalog.md")
    assert script.count("lakecat ") > 10
    prepared = f"lakecat init shop --example && cd shop && lakecat -q ingest && lakecat -q run\n{script}"
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environ.pop("LAKECAT_PROFILE", None)
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{prepared}"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("mart.revenue_by_day.revenue", "landing/orders-2026-11-01.csv", "+ 4 columns", "flowchart LR"):
        assert expected in done.stdout
