"""``lakecat gc`` as people and programs see it, and its Python twin."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

import lakecat
from lakecat.cli.app import run
from lakecat.errors import TableError

CONFIG = """\
project: tests
lake: ./lake
catalog: sqlite:///./catalog.db
retention: {snapshots: 1, age: 1ms, metadata_versions: 1, grace: 1ms}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lakecat.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    with lakecat.connect() as lake:
        for number in range(3):
            lake.replace("raw.t", pa.table({"id": list(range(number, number + 5000))}))
    return tmp_path


def files(project: Path) -> set[Path]:
    return {path for path in (project / "lake").rglob("*") if path.is_file()}


def test_without_yes_nothing_is_changed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(project)
    assert run(["gc"]) == 1  # two of three equal files, and more than half may not go
    assert "--max-delete-fraction" in capsys.readouterr().err
    assert run(["gc", "--max-delete-fraction", "1"]) == 0
    out = capsys.readouterr().out
    assert "raw.t" in out
    assert "--yes" in out
    assert run(["gc", "--max-delete-fraction", "1", "--exit-code"]) == 3
    assert files(project) == before


def test_with_yes_it_is_and_the_json_says_what(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(project)
    sizes = {path: path.stat().st_size for path in before}
    assert run(["gc", "--yes", "--max-delete-fraction", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    gone = before - files(project)
    assert said["applied"] is True
    assert said["removable"] == {"files": len(gone), "bytes": sum(sizes[path] for path in gone)}
    (item,) = said["datasets"]
    assert (item["dataset"], item["error"], item["unknown"]["files"]) == ("raw.t", None, 0)
    assert run(["gc", "--exit-code"]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert run(["doctor"]) == 0


@pytest.mark.parametrize("value", ["2", "-1", "half"])
def test_a_wrong_fraction_is_a_usage_error(project: Path, value: str) -> None:
    assert run(["gc", f"--max-delete-fraction={value}"]) == 2


def test_reading_an_expired_version_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for collected in (False, True):
        assert run(["query", "SELECT * FROM raw.t@v1"]) == 1
        assert "raw.t@v1 has expired" in capsys.readouterr().err
        with lakecat.connect() as lake:
            assert lake.show("raw.t@v1").version.expired
            with pytest.raises(TableError, match="has expired"):
                lake.sample("raw.t@v1")
            assert lake.query("SELECT min(id) AS n FROM raw.t").to_pylist() == [{"n": 2}]
            if not collected:
                assert lake.gc(apply=True, max_delete_fraction=1).removable.files > 0
