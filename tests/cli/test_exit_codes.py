"""0 done, 1 something failed, 2 usage or configuration, 3 differences, 130 interrupted; never a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from shell_lab import Shell

from lakecat.lake import Lake


def test_done_and_nothing_to_do(shop: Path, shell: Shell) -> None:
    assert shell("ingest").code == 0
    again = shell("ingest")
    assert again.code == 0
    assert "nothing to do" in again.out


def test_a_job_that_fails_is_1_and_the_others_still_run(shop: Path, shell: Shell) -> None:
    (shop / "ingest" / "aaa.yaml").write_text("target: raw.aaa\noptions: {path: landing/broken.csv}\n")
    (shop / "landing" / "broken.csv").write_text('a,b\n1,"open\n')
    result = shell("ingest")
    assert result.code == 1
    assert "broken.csv" in result.err
    assert "1 done, 1 failed" in result.out
    assert [item["name"] for item in shell("--json", "ls").json["datasets"]] == ["raw.orders"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["ls", "--frobnicate"],
        ["query"],
        ["show"],
        ["show", "raw.orders@yesterday"],
        ["show", "raw.absent"],
        ["ingest", "--select", "++"],
        ["ls", "raw.absent"],
        ["run", "--var", "no-equals"],
        ["diff", "raw.orders@v1", "raw.other@v1"],
        ["--config", "nowhere", "ls"],
        ["--profile", "nowhere", "ls"],
        ["query", "DROP TABLE raw.orders"],
        ["query", "SELECT * FROM"],
    ],
)
def test_usage_is_2_and_says_what(stocked: Path, shell: Shell, arguments: list[str]) -> None:
    result = shell(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err


def test_nothing_asked_shows_the_help(shell: Shell) -> None:
    result = shell()
    assert result.code == 2
    assert result.err.startswith("Usage: lakecat")
    assert shell("--help").code == 0


def test_a_shell_can_ask_for_completions(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LAKECAT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "lakecat in")
    monkeypatch.setenv("COMP_CWORD", "1")
    result = shell()
    assert result.code == 0
    assert result.out.split() == ["plain,ingest", "plain,init"]


def test_a_wrong_configuration_is_2_with_file_and_line(shop: Path, shell: Shell) -> None:
    (shop / "lakecat.yaml").write_text("lake: ./lake\ncatalogue: x\n")
    result = shell("ls")
    assert result.code == 2
    assert "lakecat.yaml:2:1: unknown key 'catalogue'" in result.err
    assert "did you mean 'catalog'?" in result.err


def test_a_wrong_job_or_script_says_where(shop: Path, shell: Shell) -> None:
    (shop / "ingest" / "orders.yaml").write_text("target: raw.orders\noptions:\n  path: x\n  formt: csv\n")
    result = shell("ingest")
    assert result.code == 1
    assert "formt" in result.err
    assert "orders.yaml" in result.err
    (shop / "ingest" / "orders.yaml").unlink()
    (shop / "transforms" / "mart" / "revenue_by_day.sql").write_text("SELECT a\nFROM (\n")
    result = shell("run")
    assert result.code == 1
    assert "transforms/mart/revenue_by_day.sql" in result.err


def test_differences_are_3_only_when_asked(shop: Path, shell: Shell) -> None:
    assert shell("plan").code == 0
    assert shell("plan", "--exit-code").code == 3
    shell("ingest")
    shell("run")
    assert shell("plan", "--exit-code").code == 0
    (shop / "landing" / "orders-2026-11-03.csv").write_text(
        "order_id,ordered_at,customer,amount\n6,2026-11-03T08:00:00Z,ada,1.00\n"
    )
    shell("ingest")
    assert shell("diff", "raw.orders@v1").code == 0
    assert shell("diff", "raw.orders@v1", "--exit-code").code == 3
    assert shell("diff", "raw.orders@v2", "--exit-code").code == 0


def test_interrupted_is_130(shop: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lake, "ingest", interrupt)
    result = shell("ingest")
    assert result.code == 130
    assert result.err == "interrupted\n"


def test_what_nobody_expected_is_1_without_traceback_or_values(
    shop: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr(Lake, "datasets", break_)
    result = shell("ls")
    assert result.code == 1
    assert "ZeroDivisionError" in result.err
    assert "--debug" in result.err
    assert "hunter2" not in result.err
    assert "Traceback" not in result.err
    with pytest.raises(ZeroDivisionError):
        shell("--debug", "ls")


def test_a_reader_that_goes_away_is_no_failure(stocked: Path) -> None:
    command = [sys.executable, "-m", "lakecat", "query", "--format", "csv", "SELECT range FROM range(200000)"]
    process = subprocess.Popen(command, cwd=stocked, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert error == b""
