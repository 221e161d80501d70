"""Every command, option, setting and error is documented; every page is linked, every link leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import click
from pydantic import BaseModel

from lakecat import errors
from lakecat.cli.commands import leaves
from lakecat.config import JobFile, ProjectFile, parse_document
from lakecat.lake import Lake

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def test_the_reference_is_what_the_code_says() -> None:
    command = [sys.executable, "scripts/make_reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_and_option_is_there() -> None:
    page = (DOCS / "cli.md").read_text()
    for name, command in leaves():
        assert f"## lakecat {name}\n" in page
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert all(f"`{flag}`" in page for flag in parameter.opts)
                assert parameter.help


def test_every_command_has_a_python_twin() -> None:
    twins = {"ls": "datasets", "tag set": "tag", "tag delete": "untag", "tag list": "tags"}
    for name, _command in leaves():
        if name != "init":
            twin = twins.get(name, name.removeprefix("catalog ").replace(" ", "_"))
            assert callable(getattr(Lake, twin)), name


def test_every_setting_is_there_and_says_what_it_is() -> None:
    page = (DOCS / "settings.md").read_text()
    for model in (ProjectFile, JobFile):
        assert all_described(model)
        for name in model.model_fields:
            assert re.search(rf"^\| `{name}[.`]", page, flags=re.MULTILINE), name


def all_described(model: type[BaseModel]) -> bool:
    return all(field.description for field in model.model_fields.values())


def test_every_error_is_there() -> None:
    page = (DOCS / "errors.md").read_text()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 20
    for kind in kinds:
        assert page.count(kind.__name__) >= 2, "in the tree and in the table"


def test_every_page_is_linked_from_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    for page in DOCS.glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name) if name else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_the_readme_is_short_and_its_make_targets_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"^make ([a-z]+)", page.read_text(), flags=re.MULTILINE):
            assert target in targets


def test_yaml_in_readme_and_tutorial_has_only_known_keys() -> None:
    for page in (ROOT / "README.md", DOCS / "tutorial.md"):
        found = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert found
        for text in found:
            keys = parse_document(text, page.name).value
            assert isinstance(keys, dict)
            assert set(keys) <= {*ProjectFile.model_fields, *JobFile.model_fields}
