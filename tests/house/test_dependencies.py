"""What is imported is declared, and what is declared is used."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = {"pyyaml": "yaml", "pydantic-core": "pydantic_core"}
# Used without an import of ours: drivers and filesystems that libraries load by name, data files.
BY_NAME = {"boto3", "s3fs", "psycopg", "pymysql", "tzdata", "zstandard"}
BY_NAME |= {
    "adlfs",
    "charset_normalizer",
    "fastavro",
    "gcsfs",
    "paramiko",
    "python_calamine",
}  # by lakecat_connectors._needs
# Come with what is declared, and are part of its interface.
COME_WITH = {"pydantic_core": "pydantic", "botocore": "boto3", "httpcore2": "httpx2"}


def declared() -> set[str]:
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    return {re.split(r"[\[<>=!~ ;]", text)[0].lower() for text in texts}


def imported() -> set[str]:
    found: set[str] = set()
    for package in ("lakecat", "connectors/lakecat_connectors"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not name.startswith("lakecat")}


def test_what_is_imported_is_declared() -> None:
    known = {MODULES.get(name, name.replace("-", "_")) for name in declared()}
    known |= {name for name, owner in COME_WITH.items() if owner in declared()}
    assert imported() - known == set()


def test_what_is_declared_is_used() -> None:
    used = imported() | BY_NAME
    assert {name for name in declared() if MODULES.get(name, name.replace("-", "_")) not in used} == set()
