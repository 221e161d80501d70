"""The connector that docs/writing-connectors.md writes is written here, run by a job, and held to the suite."""

from __future__ import annotations

import json
import mailbox
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "writing-connectors.md"


def files() -> dict[str, str]:
    """The blocks that begin with a comment that names a file."""
    return dict(re.findall(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))


def commands(word: str) -> str:
    """The shell block that has the word."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written = files()
    assert set(written) == {"connectors/mail.py", "ingest/mail.yaml", "test_mail.py"}
    root = tmp_path / "project"
    run(tmp_path, "lakecat init project")
    for name, text in written.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


def run(root: Path, script: str) -> str:
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environ.pop("LAKECAT_PROFILE", None)
    done = subprocess.run(["bash", "-ec", script], cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def receive(root: Path, number: int) -> None:
    box = mailbox.mbox(root / "inbox.mbox")
    message = mailbox.mboxMessage("text")
    message["Message-ID"] = f"<{number}@example.org>"
    message["Date"] = "Mon, 05 Jan 2026 12:00:00 +0100"
    message["From"] = f"{'ab'[number % 2]}@example.org"
    box.add(message)
    box.close()


def test_a_job_runs_the_connector(folder: Path) -> None:
    for number in (1, 2, 3):
        receive(folder, number)
    script = commands("lakecat ingest").replace("lakecat query", "lakecat query --json")
    assert answer(run(folder, script)) == [["a@example.org", 1], ["b@example.org", 2]]
    receive(folder, 4)  # at the very time of the others
    script += "lakecat ingest\nlakecat query --json 'SELECT count(*), count(DISTINCT id) FROM raw.messages'"
    assert answer(run(folder, script)) == [[4, 4]]


def answer(said: str) -> list[list[object]]:
    """The rows of the last JSON that was said."""
    start = said.rindex('{"columns"')
    rows: list[list[object]] = json.loads(said[start:])["rows"]
    return rows


def test_the_suite_holds_for_it(folder: Path) -> None:
    said = run(folder, commands("python -m pytest"))
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) >= 17
