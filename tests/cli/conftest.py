"""A small project, and the command line run in this process."""

from pathlib import Path

import pytest
from shell_lab import Result, Shell

from lakecat.cli.app import run
from lakecat.lake import init_project


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run one command line; what was printed before is dropped."""

    def call(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example project, nothing landed yet; the working folder is inside it."""
    folder = tmp_path / "shop"
    init_project(folder, example=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LAKECAT_PROFILE", raising=False)
    return folder


@pytest.fixture
def stocked(shop: Path, shell: Shell) -> Path:
    """The example project, landed and transformed once."""
    assert shell("ingest").code == 0
    assert shell("run").code == 0
    return shop
