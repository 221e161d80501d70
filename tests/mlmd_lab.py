"""The real ml-metadata, and lakecat's adapter for it, each in a process of its own.

It brings an SQLite of its own, and two SQLites in one process break each other's locks; and the environment of
``LAKECAT_MLMD_PYTHON`` alone has its protobuf messages.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy.engine import URL

ROOT = Path(__file__).parent.parent
PROCESS = Path(__file__).parent / "metadata_store" / "mlmd_process.py"
MADE = Path(__file__).parent / "catalog" / "data" / "mlmd_1_17_1.sql"
"""A small store as ml-metadata 1.17.1 wrote it: 3 artifacts, 3 executions, 2 contexts, 4 events."""


def make_database(path: Path) -> URL:
    """An SQLite file of ml-metadata 1.17.1's."""
    connection = sqlite3.connect(path)
    connection.executescript(MADE.read_text(encoding="utf-8"))
    connection.close()
    return URL.create("sqlite", database=str(path))


def find_python(missing: Callable[[str], NoReturn]) -> str:
    """The python of the environment that has ml-metadata; skips the test where there is none."""
    python = os.environ.get("LAKECAT_MLMD_PYTHON")
    if not python or not Path(python).exists():
        missing("no ml-metadata: set LAKECAT_MLMD_PYTHON to the python of an environment with requirements/mlmd.txt")
    return python


def connection_config(url: URL, **more: Any) -> dict[str, Any]:
    """MLMD's ConnectionConfig for a database, as JSON."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return {"sqlite": {"filenameUri": url.database, **more}}
    if backend == "mysql":
        return {
            "mysql": {
                "host": url.host, "port": url.port, "database": url.database, "user": url.username,
                "password": url.password, **more,
            }
        }  # fmt: skip
    return {
        "postgresql": {
            "host": url.host, "port": str(url.port), "dbname": url.database, "user": url.username,
            "password": url.password, **more,
        }
    }  # fmt: skip


@dataclass(frozen=True)
class Mlmd:
    """Runs steps against a database through MLMD's interface; ``library`` says whose."""

    python: str
    library: str = "ml-metadata"

    def run(self, url: URL, *steps: dict[str, Any], timeout: float = 300, **config: Any) -> list[Any]:
        """What each step answered. Fails with the process's own words."""
        asked = {"library": self.library, "connect": connection_config(url, **config), "steps": steps}
        done = subprocess.run(
            [self.python, str(PROCESS)],
            check=False, input=json.dumps(asked), capture_output=True, text=True, timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        answers: list[Any] = json.loads(done.stdout)
        return answers

    def write(self, url: URL, store: dict[str, Any]) -> dict[str, list[int]]:
        """Put a described store; its nodes' ids."""
        ids: dict[str, list[int]] = self.run(url, {"do": "write", "store": store})[0]
        return ids

    def read(self, url: URL) -> dict[str, Any]:
        """Everything in a store."""
        found: dict[str, Any] = self.run(url, {"do": "read"})[0]
        return found
