"""A reader that has gone, or a stream that was never there, is no failure of the command."""

import subprocess
import sys
from pathlib import Path

import pytest

from lakecat.lake import connect

LAKECAT = f'"{sys.executable}" -m lakecat'


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{} ls | head -1; exit ${{PIPESTATUS[0]}}", 0),
        ("{} query 'SELECT 1' --format csv | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{} --help | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{} ls | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{} --json show raw.orders | true; exit ${{PIPESTATUS[0]}}", 0),
        ("{} query 'SELECT * FROM generate_series(1, 100000)' --format csv | head -1; exit ${{PIPESTATUS[0]}}", 0),
        ("{} show raw.absent 2>&1 | true; exit ${{PIPESTATUS[0]}}", 2),
        ("{} frobnicate 2>&1 | true; exit ${{PIPESTATUS[0]}}", 2),
        ("{} ls >&-", 0),
        ("{} ls 2>&-", 0),
        ("{} show raw.absent 2>&-", 2),
    ],
)
def test_the_exit_code_is_the_commands_own(stocked: Path, command: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", command.format(LAKECAT)], cwd=stocked, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


@pytest.mark.parametrize("flags", ["", "--json"])
def test_work_goes_on_without_a_reader(shop: Path, flags: str) -> None:
    for name in ("aaa", "zzz"):
        (shop / "ingest" / f"{name}.yaml").write_text(f"target: raw.{name}\noptions: {{path: landing/{name}.csv}}\n")
    (shop / "landing" / "aaa.csv").write_text('a,b\n1,"open\n')
    (shop / "landing" / "zzz.csv").write_text("a\n1\n")
    command = f"{LAKECAT} {flags} ingest 2>&1 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=shop, check=False)
    assert done.returncode == 1
    with connect(shop) as lake:
        assert [str(info.name) for info in lake.datasets()] == ["raw.orders", "raw.zzz"]
