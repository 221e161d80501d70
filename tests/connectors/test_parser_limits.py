"""What the parser process may use."""

from __future__ import annotations

import signal
import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_a_parser_that_makes_no_progress_is_ended() -> None:
    done = run("from lakecat_connectors._limits import progress\nprogress(1)\nwhile True: pass")
    assert done.returncode == -signal.SIGXCPU


def test_progress_buys_more_time() -> None:
    code = (
        "import time\nfrom lakecat_connectors._limits import progress\n"
        "while time.process_time() < 3: progress(1)\nprint('done')"
    )
    assert run(code).stdout == "done\n"


def test_memory_is_bounded() -> None:
    done = run("from lakecat_connectors._limits import limit\nlimit()\nb = bytearray(7 << 30)")
    assert "MemoryError" in done.stderr
