"""``lakecat catalog backup | restore | rebuild`` as people and programs see them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

import lakecat
from lakecat.cli.app import run

JSON_PAGE = Path(__file__).parents[2] / "docs" / "json.md"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lakecat.yaml").write_text("project: tests\n")
    monkeypatch.chdir(tmp_path)
    append(1)
    return tmp_path


def append(number: int) -> None:
    with lakecat.connect() as lake:
        lake.append("raw.t", pa.table({"id": [number]}))


def promised(name: str) -> list[str]:
    (fields,) = re.findall(rf"^\| {name} \| (.*) \|$", JSON_PAGE.read_text(), flags=re.MULTILINE)
    return re.findall(r"`(\w+)`", fields)


def test_backup_check_and_restore(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "backup", "b.backup"]) == 0
    assert "wrote b.backup" in capsys.readouterr().out
    assert run(["catalog", "backup", "b.backup"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(["catalog", "backup", "b.backup", "--yes"]) == 0
    assert run(["catalog", "backup", "--check", "b.backup"]) == 0
    assert "b.backup is whole" in capsys.readouterr().out
    assert run(["catalog", "restore", "b.backup"]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert run(["catalog", "restore", "b.backup", "--yes"]) == 0
    assert "work can go on" in capsys.readouterr().out
    append(2)
    assert len(list(project.glob("b-before-restore-*.backup"))) == 1


def test_behind_and_caught_up(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["catalog", "backup", "b"]) == 0
    append(2)
    capsys.readouterr()
    assert run(["catalog", "restore", "b", "--yes"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"raw\.t +v2 +2 +1", out)
    assert "lakecat catalog rebuild --yes" in out
    assert run(["gc"]) == 1
    assert "lakecat catalog rebuild --yes" in capsys.readouterr().err
    assert run(["catalog", "rebuild", "--exit-code"]) == 3
    assert "would record 1 version and 1 execution" in capsys.readouterr().out
    assert run(["catalog", "rebuild", "--yes"]) == 0
    assert "recorded 1 version and 1 execution" in capsys.readouterr().out
    assert run(["catalog", "rebuild", "--exit-code"]) == 0
    append(3)
    with lakecat.connect() as lake:
        assert sorted(lake.query("SELECT id FROM raw.t")["id"].to_pylist()) == [1, 2, 3]


def test_documents(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def document(*arguments: str) -> dict[str, object]:
        capsys.readouterr()
        assert run(["--json", "catalog", *arguments]) in (0, 1)
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    backup = document("backup", "b")["backup"]
    assert isinstance(backup, dict)
    assert list(backup) == promised("backup")
    assert backup["rows"]["lakecat_version"] == 1
    append(2)
    restored = document("restore", "b", "--yes")
    assert list(restored) == promised("restoration")
    assert (restored["applied"], restored["ready"], restored["missing"]) == (True, False, 1)
    rebuilt = document("rebuild")
    assert list(rebuilt) == promised("rebuild")
    assert (rebuilt["versions"], rebuilt["applied"], rebuilt["undecided"]) == (1, False, [])


def test_a_head_that_the_lake_leaves_open(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(2)
    for receipt in (project / "lake").rglob("*.lakecat.committed"):
        receipt.unlink()
    (project / "catalog.db").unlink()
    assert run(["catalog", "rebuild"]) == 0
    out = capsys.readouterr().out
    assert "raw.t@v2" in out
    assert "--heads newest" in out
    assert run(["catalog", "rebuild", "--yes", "--heads", "newest"]) == 0
    with lakecat.connect() as lake:
        assert lake.show("raw.t").version.version == 2


def test_a_damaged_backup(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "b").write_bytes(b"SQLite format 3\0" + bytes(5000))
    for arguments in (["backup", "--check", "b"], ["restore", "b", "--yes"]):
        assert run(["catalog", *arguments]) == 1
        err = capsys.readouterr().err
        assert "b: " in err
        assert "Traceback" not in err
    assert run(["catalog", "restore", "absent", "--yes"]) == 2
