"""Rules of the house that no linter holds: sizes, reasons for broad excepts, nothing left to do, nothing private."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "lakecat", ROOT / "connectors" / "lakecat_connectors")
FILE_LINES = 500
FUNCTION_LINES = 50


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    lines = (node.end_lineno or 0) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def test_there_is_something_to_check() -> None:
    assert len(sources()) > 50


def test_files_are_short() -> None:
    long = {path.name: lines for path in sources() if (lines := len(path.read_text().splitlines())) > FILE_LINES}
    assert long == {}


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in sources()
        for node in functions(path)
        if (lines := code_lines(node)) > FUNCTION_LINES
    }
    assert long == {}


def test_a_broad_except_says_why() -> None:
    silent = []
    for path in sources():
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*except (Exception|BaseException)\b|\s*except\s*:", line):
                body = lines[number + 1].strip()
                reraised = any(text.strip() == "raise" for text in lines[number + 1 : number + 8])
                if not reraised and not re.search(r"#\s*(?!noqa)\S|noqa: \S+ - \S", line) and not body.startswith("#"):
                    silent.append(f"{path.relative_to(ROOT)}:{number + 1}")
    assert silent == []


def tracked() -> list[Path]:
    """The files under version control; the test needs a checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout here")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in names.decode().split("\0") if name and (path := ROOT / name).is_file()]


# Put together here, so that this file does not hold what it looks for.
_UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r"\b")
_PRIVATE = re.compile(
    "|".join(
        re.escape(text)
        for text in (
            "py" + "pi.org",
            "python" + "hosted.org",
            "deb.de" + "bian.org",
            "registry.npm" + "js",
            "/wor" + "k/",
            "/opt/py" + "pi",
        )
    )
)


def test_nothing_is_left_to_do_and_nothing_private_is_told() -> None:
    found = []
    for path in tracked():
        if path.suffix in (".gz", ".parquet", ".png", ".avro", ".csv", ".db"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if _PRIVATE.search(line) or (path.suffix == ".py" and _UNFINISHED.search(line)):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_locked_dependencies_are_pinned_by_hash() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text()
        requirements = re.findall(r"^[a-z0-9].*$", text, flags=re.MULTILINE)
        assert len(requirements) > 5
        assert all(re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", requirement) for requirement in requirements)
        assert text.count("--hash=sha256:") >= len(requirements)
