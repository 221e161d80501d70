"""What is public is small, listed, and there."""

import ast
import importlib
import importlib.util
import pkgutil
from pathlib import Path

import lakecat
import lakecat_connectors

ML_METADATA = importlib.util.find_spec("ml_metadata") is not None
"""The adapter needs it; tests/metadata_store runs it in an environment of its own."""


def test_at_most_twenty_five_public_names_and_they_exist() -> None:
    assert len(lakecat.__all__) <= 25
    assert sorted(set(lakecat.__all__)) == lakecat.__all__
    assert dir(lakecat) == sorted(lakecat.__all__)
    for name in lakecat.__all__:
        assert getattr(lakecat, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(lakecat.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(lakecat.__all__)
    for name, module in seen.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(lakecat, name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(lakecat, "absent")


def test_every_module_can_be_imported_and_keeps_its_promises() -> None:
    for package in (lakecat, lakecat_connectors):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith("__main__") or ".migrations" in info.name:
                continue
            if info.name.startswith("lakecat.catalog.mlmd") and not ML_METADATA:
                continue
            module = importlib.import_module(info.name)
            for name in getattr(module, "__all__", ()):
                assert hasattr(module, name), f"{info.name}.{name}"


def test_both_packages_are_typed() -> None:
    for package in (lakecat, lakecat_connectors):
        assert (Path(package.__path__[0]) / "py.typed").exists()
