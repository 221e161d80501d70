"""Ctrl-C and a scheduler's SIGTERM: exit code 130, the execution failed at once, nothing kept from the next run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shell_lab import Shell

from lakecat.catalog import Catalog, ExecutionInfo
from lakecat.types import ExecutionState

ENDLESS = "SELECT sum(t0.amount) AS total FROM " + ", ".join(f"raw.orders AS t{n}" for n in range(20))


PATH = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_goes_on_running() -> Iterator[None]:
    """What a failed test left running would take the time that others need."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so it would be with all that this starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, *arguments: str, failpoint: str = "", path: str = "") -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lakecat", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "LAKECAT_FAILPOINT": failpoint,
            "PYTHONPATH": os.pathsep.join([path, *PATH] if path else PATH),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it sets one signal, and nothing else
    )
    STARTED.append(process)
    return process


def wait_for_engine(process: subprocess.Popen[str]) -> None:
    """Until the process has its engine's threads: however slow the machine is, it has begun to ask."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        loaded = "duckdb" in Path(f"/proc/{process.pid}/maps").read_text(errors="replace")
        if loaded and len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1:
            break
        time.sleep(0.05)
    time.sleep(0.5)


def executions(folder: Path) -> tuple[ExecutionInfo, ...]:
    with Catalog.open(f"sqlite:///{folder}/catalog.db", create=True) as catalog:
        return catalog.executions()


def newest(folder: Path) -> ExecutionInfo:
    return executions(folder)[0]


def refuse_more_than_the_end(process: subprocess.Popen[str], folder: Path) -> None:
    _out, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    last = newest(folder)
    assert last.state is ExecutionState.FAILED
    assert last.error is not None
    assert "interrupted" in last.error
    assert not [path for path in (folder / "lake").rglob("*.parquet") if last.uuid in str(path)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_an_ingest_is_ended_before_its_commit(
    shop: Path, shell: Shell, number: int, kill: Callable[[int, int], None]
) -> None:
    process = start(shop, "ingest", failpoint="audited:1:stop")
    assert os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED
    for sent in (number, signal.SIGCONT):
        kill(process.pid, sent)
    refuse_more_than_the_end(process, shop)
    assert shell("ingest").code == 0
    assert shell("doctor").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_query_that_never_ends_is_ended(stocked: Path, shell: Shell, number: int) -> None:
    script = stocked / "transforms" / "mart" / "endless.sql"
    script.write_text(ENDLESS)
    process = start(stocked, "run")
    deadline = time.monotonic() + 60
    while newest(stocked).state is not ExecutionState.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    refuse_more_than_the_end(process, stocked)
    script.write_text("SELECT sum(amount) AS total FROM raw.orders")
    assert shell("run").code == 0
    assert shell("doctor").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("patience", [0.2, 0.9])
def test_a_merge_is_ended_wherever_it_is(shop: Path, number: int, patience: float) -> None:
    """DuckDB and Arrow take the interrupt for themselves, and raise errors of their own; no job after it is begun."""
    rows = "".join(f"{n},{n % 7}\n" for n in range(1_500_000))
    (shop / "ingest" / "a.yaml").write_text("target: raw.big\nmode: merge\nkey: id\noptions: {path: landing/big.csv}\n")
    for attempt in range(6):  # a machine that is done before the signal gets it sooner
        (shop / "landing" / "big.csv").write_text(f"id,v\n{rows}{attempt},0\n")
        before = len(executions(shop)) if attempt else 0
        process = start(shop, "ingest")
        deadline = time.monotonic() + 60
        while not (shop / "catalog.db").exists() or len(executions(shop)) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(patience / 2**attempt)
        process.send_signal(number)
        process.wait(30)
        last = newest(shop)
        if last.job == "a" and last.state is not ExecutionState.COMPLETE:
            break
        process.communicate()
    refuse_more_than_the_end(process, shop)
    assert len(executions(shop)) == before + 1, "no job is begun after it"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_endless_question_is_ended(stocked: Path, number: int) -> None:
    process = start(stocked, "query", ENDLESS)
    wait_for_engine(process)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (130, "", "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_error_that_an_interrupt_became_is_told_as_one(stocked: Path, number: int) -> None:
    """As a module in C that is interrupted while it is imported: it says that it cannot be imported."""
    folder = stocked / "modules" / "duckdb"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        "import time\nopen('importing', 'w').close()\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise ImportError('failed to import') from None\n"
    )
    process = start(stocked, "query", "SELECT 1", path=str(folder.parent))
    deadline = time.monotonic() + 60
    while not (stocked / "importing").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (130, "", "interrupted\n")
