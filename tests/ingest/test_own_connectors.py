"""Connectors that a project keeps in its folder ``connectors``: found, kept apart, and their errors placed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakecat.errors import ConfigError, Where
from lakecat.ingest.own_connectors import ProjectConnectors, named_class

JOB = Where("ingest/mail.yaml", 1)


@pytest.fixture(autouse=True)
def _no_module_stays() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("lakecat_project_"):
            del sys.modules[name]


def write(root: Path, name: str, text: str) -> Path:
    path = root / "connectors" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(root: Path, module: str = "mail", name: str = "Mail") -> object:
    found = ProjectConnectors(root).load(module, f"{module}:{name}", JOB)
    return named_class(found, name, f"{module}:{name}", JOB)


def refused(root: Path, module: str = "mail", name: str = "Mail") -> ConfigError:
    with pytest.raises(ConfigError) as info:
        load(root, module, name)
    return info.value


def test_each_project_has_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "mail.py", f"class Mail:\n    which = {name!r}\n")
    assert [load(tmp_path / name).which for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_a_file_of_the_project_hides_no_module_and_no_module_hides_it(tmp_path: Path) -> None:
    import csv

    write(tmp_path, "csv.py", "import csv\n\nclass Mail:\n    reader = csv.reader\n")
    path = list(sys.path)
    assert load(tmp_path, "csv").reader is csv.reader
    assert sys.modules["csv"] is csv
    assert sys.path == path


def test_files_beside_it_are_imported_by_a_dot(tmp_path: Path) -> None:
    write(tmp_path, "shared.py", "GREETING = 'hello'\n")
    write(tmp_path, "mail.py", "from .shared import GREETING\n\nclass Mail:\n    said = GREETING\n")
    write(tmp_path, "more/post.py", "from ..shared import GREETING\n\nclass Mail:\n    said = GREETING\n")
    assert (load(tmp_path).said, load(tmp_path, "more.post").said) == ("hello", "hello")
    write(tmp_path, "post.py", "import shared\n")
    error = refused(tmp_path, "post")
    assert error.hint == "write: from . import shared (files of connectors/ are not on Python's path)"


def test_types_of_options_resolve(tmp_path: Path) -> None:
    write(
        tmp_path,
        "mail.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
        "Word = str\n\n@dataclass\nclass Mail:\n    word: Word\n\nHINTS = get_type_hints(Mail)\n",
    )
    assert vars(sys.modules[load(tmp_path).__module__])["HINTS"] == {"word": str}


def test_an_installed_module_is_the_other_place(tmp_path: Path) -> None:
    assert load(tmp_path, "lakecat_connectors.files", "Files").__module__ == "lakecat_connectors.files"


def test_a_module_that_is_nowhere_is_said_to_be_missing_in_both_places(tmp_path: Path) -> None:
    write(tmp_path, "mails.py", "")
    error = refused(tmp_path)
    assert "no connectors/mail.py in the project, and no installed module 'mail'" in error.what
    assert error.where == JOB
    assert "did you mean mails?" in str(error.hint)
    assert "no connectors/no_such/mail.py" in refused(tmp_path, "no_such.mail").what


def test_a_class_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "mail.py", "class Post:\n    def discover(self): ...\n\nclass Other: ...\n")
    error = refused(tmp_path)
    assert error.where == JOB
    assert error.what.endswith("mail.py has no 'Mail'")
    assert error.hint == "there is Post"


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("import os\nimport no_such_module_here\n", 2, "ModuleNotFoundError: No module named", "no_such_module_here"),
        ("x = 1\n\ny = 1 / 0\n", 3, "ZeroDivisionError: division by zero", "mend the file"),
        ("x = 1\ndef f(:\n", 2, "SyntaxError: ", "mend the file"),
        ("import sys\nsys.exit(2)\n", 2, "SystemExit: 2", "mend the file"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError", "mend the file"),
        ("from . import deep\n", 1, "ImportError", "mend the file"),
    ],
)
def test_an_error_in_the_file_is_shown_at_its_line(tmp_path: Path, text: str, line: int, says: str, hint: str) -> None:
    path = write(tmp_path, "mail.py", text)
    for _ in range(2):  # what failed is tried anew
        error = refused(tmp_path)
        assert error.where == Where(str(path), line)
        assert says in error.what
        assert hint in str(error.hint)
    path.write_text(f"# it was\n{'#' * len(text)}\nclass Mail:\n    mended = True\n")
    assert load(tmp_path).mended


@pytest.mark.parametrize("module", ["../mail", "mail.py/x", "/etc/mail", "", "a..b", ".mail", "1mail"])
def test_what_names_no_module_is_refused(tmp_path: Path, module: str) -> None:
    assert "names no Python module" in refused(tmp_path, module).what
