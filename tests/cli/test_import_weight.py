"""Asking for help imports nothing heavy, and neither does `import lakecat`."""

import subprocess
import sys

import pytest

HEAVY = ("pyarrow", "pyiceberg", "duckdb", "sqlalchemy", "sqlglot", "pydantic", "fsspec", "rich", "numpy")


def all_modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def modules_after(code: str) -> set[str]:
    return {name.partition(".")[0] for name in all_modules_after(code)}


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["--version"]])
def test_help_is_light(arguments: list[str]) -> None:
    loaded = modules_after(f"from lakecat.cli.app import run; assert run({arguments!r}) == 0")
    assert "click" in loaded
    assert not loaded & set(HEAVY)


def test_importing_lakecat_is_light() -> None:
    assert not modules_after("import lakecat; lakecat.__all__") & {*HEAVY, "click"}


def test_questions_to_the_catalog_do_not_import_iceberg() -> None:
    loaded = modules_after("import lakecat.lake; lakecat.lake.connect")
    assert not loaded & {"pyiceberg", "duckdb"}


def test_imported_lineage_weighs_on_those_only_who_walk_it() -> None:
    loaded = all_modules_after("import lakecat.lake; lakecat.lake.connect")
    assert "lakecat.catalog.lineage" in loaded
    assert not {name for name in loaded if name.startswith("lakecat.catalog.foreign_")}
