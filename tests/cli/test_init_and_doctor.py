"""A new project, and what the doctor sees."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from shell_lab import Shell


def verdicts(shell: Shell, *options: str) -> dict[str, str]:
    """The worst verdict of each kind of check."""
    order = ["good", "warning", "bad"]
    found: dict[str, str] = {}
    for check in shell("doctor", "--json", *options).json["checks"]:
        worst = max(found.get(check["name"], "good"), check["verdict"], key=order.index)
        found[check["name"]] = worst
    return found


def data_file(shop: Path) -> Path:
    (found,) = (shop / "lake" / "raw" / "orders").rglob("*.parquet")
    return found


def test_init_makes_a_project_that_is_in_order(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = shell("init", "new")
    assert result.code == 0
    assert "next: cd new && lakecat plan" in result.out
    monkeypatch.chdir(tmp_path / "new")
    assert "nothing to do" in shell("plan").out
    assert shell("doctor").code == 0


def test_init_never_overwrites(shop: Path, shell: Shell) -> None:
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    result = shell("init", ".", "--example")
    assert result.code == 2
    assert "exists already" in result.err
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()} == before


def test_init_keeps_a_gitignore_that_is_there(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    assert shell("init", tmp_path).code == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_healthy_project(stocked: Path, shell: Shell) -> None:
    assert shell("doctor").code == 0
    assert set(verdicts(shell, "--deep").values()) == {"good"}


def test_a_missing_file(stocked: Path, shell: Shell) -> None:
    data_file(stocked).unlink()
    result = shell("doctor")
    assert result.code == 1
    assert "raw.orders" in result.out
    assert "is missing" in result.out


def test_a_file_of_another_size(stocked: Path, shell: Shell) -> None:
    file = data_file(stocked)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"x")
    assert verdicts(shell)["files"] == "bad"


def test_a_flipped_bit_is_seen_by_the_deep_look(stocked: Path, shell: Shell) -> None:
    file = data_file(stocked)
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 0x10
    file.chmod(0o644)
    file.write_bytes(data)
    assert verdicts(shell)["files"] == "good"
    assert verdicts(shell, "--deep")["files"] == "bad"


def test_a_pointer_that_nobody_explains(stocked: Path, shell: Shell) -> None:
    with closing(sqlite3.connect(stocked / "catalog.db")) as connection, connection:
        connection.execute("UPDATE iceberg_tables SET metadata_location = previous_metadata_location || 'x' ")
        connection.execute("UPDATE iceberg_tables SET metadata_location = 'file:///x' WHERE table_name = 'orders'")
    connection.close()
    assert verdicts(shell)["catalog"] == "bad"


def test_a_wrong_script_does_not_hide_the_other_checks(stocked: Path, shell: Shell) -> None:
    (stocked / "transforms" / "mart" / "revenue_by_day.sql").write_text("SELEC 1")
    found = verdicts(shell)
    assert found["project"] == "bad"
    assert found["files"] == "good"


def test_a_killed_run_is_a_warning_until_the_next_one(shop: Path, shell: Shell) -> None:
    environ = {**os.environ, "LAKECAT_FAILPOINT": "commit.before:1:kill"}
    killed = subprocess.run([sys.executable, "-m", "lakecat", "ingest"], env=environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(shop / "catalog.db")) as connection, connection:
        connection.execute("UPDATE lakecat_lease SET expires_ms = 0")
    connection.close()
    result = shell("doctor")
    assert result.code == 0
    assert "its process is gone" in result.out
    assert shell("ingest").code == 0
    assert verdicts(shell)["catalog"] == "good"
    assert shell("query", "SELECT count(*) FROM raw.orders", "--json").json["rows"] == [[5]]
