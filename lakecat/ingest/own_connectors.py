"""Connectors that a project keeps as files of its own: ``connectors/mail.py`` is what ``mail:Mail`` means there.

The folder never comes onto Python's path. Its files are modules of a package that is named after the folder's path, so
that they hide no installed module, and two projects in one process have each its own.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import threading
import traceback
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from lakecat.errors import ConfigError, Where

FOLDER: Final = "connectors"
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_lock: Final = threading.RLock()


class ProjectConnectors:
    """The connectors in a project's folder."""

    def __init__(self, root: Path) -> None:
        self._folder = root.resolve() / FOLDER
        digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
        self._package = f"lakecat_project_{digest}"

    def file(self, module: str) -> Path | None:
        """The file of a module of the project; None when the project has none."""
        path = self._folder.joinpath(*module.split("."))
        candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
        return next((one for one in candidates if one.is_file()), None)

    def load(self, module: str, connector: str, where: Where) -> ModuleType:
        """The project's module of that name, else the installed one. Raises ConfigError that says what and where."""
        if not _DOTTED.fullmatch(module):
            raise ConfigError(
                f"{connector!r} names no Python module",
                where=where,
                hint="write it without folder and .py: connector: mail:Mail is the class Mail in connectors/mail.py",
            )
        file = self.file(module)
        try:
            return importlib.import_module(module) if file is None else self._imported(module)
        except (Exception, SystemExit) as err:  # a module may raise anything while it is imported
            raise self._explained(err, module, connector, file, where) from err

    def _imported(self, module: str) -> ModuleType:
        with _lock:
            if self._package not in sys.modules:
                spec = ModuleSpec(self._package, None, is_package=True)
                spec.submodule_search_locations = [str(self._folder)]
                sys.modules[self._package] = importlib.util.module_from_spec(spec)
            importlib.invalidate_caches()
            return importlib.import_module(f"{self._package}.{module}")

    def _explained(
        self, err: BaseException, module: str, connector: str, file: Path | None, where: Where
    ) -> ConfigError:
        if isinstance(err, ModuleNotFoundError) and file is None and _is_part(err.name, module):
            file_name = f"{FOLDER}/{module.replace('.', '/')}.py"
            return ConfigError(
                f"the connector {connector!r} cannot be imported: there is no {file_name} in the project, "
                f"and no installed module {module!r}",
                where=where,
                hint=f"write the file, or install the package that has it{self._nearest(module)}",
            )
        return ConfigError(
            f"the connector {connector!r} cannot be imported: {_said(err)}",
            where=_place(err, file) or where,
            hint=self._mend(err),
        )

    def _nearest(self, module: str) -> str:
        there = [path.stem for path in self._folder.glob("*.py")] if self._folder.is_dir() else []
        close = difflib.get_close_matches(module, there, n=1)
        return f"; did you mean {close[0]}?" if close else ""

    def _mend(self, err: BaseException) -> str:
        name = err.name if isinstance(err, ModuleNotFoundError) else None
        if name is None:
            return "mend the file, and run the job again"
        if self.file(name) is not None:
            return f"write: from . import {name} (files of {FOLDER}/ are not on Python's path)"
        return f"install the package that has the module {name}"


def named_class(module: ModuleType, name: str, connector: str, where: Where) -> Any:
    """The class of a connector's module. Raises ConfigError that says which ones there are."""
    kind = getattr(module, name, None)
    if kind is None:
        own = [one for one, value in vars(module).items() if inspect.isclass(value) and hasattr(value, "discover")]
        there = f"there {'is' if len(own) == 1 else 'are'} {', '.join(sorted(own))}" if own else "it has no connector"
        raise ConfigError(
            f"the connector {connector!r} is not there: {module.__file__} has no {name!r}", where=where, hint=there
        )
    return kind


def _is_part(missing: str | None, module: str) -> bool:
    """Whether it is the named module itself that is missing, or a package that it lies in."""
    return missing is not None and (module == missing or module.startswith(f"{missing}."))


def _said(err: BaseException) -> str:
    return f"{type(err).__name__}: {err.msg if isinstance(err, SyntaxError) else err}"


def _place(err: BaseException, file: Path | None) -> Where | None:
    """The line where it happened: of a text that is no Python, else the last one in the connector's file."""
    if isinstance(err, SyntaxError) and err.filename:
        return Where(err.filename, err.lineno)
    frames = traceback.extract_tb(err.__traceback__)
    folder = None if file is None else str(file.parent)
    own = [frame for frame in frames if folder is not None and frame.filename.startswith(folder)]
    return Where(own[-1].filename, own[-1].lineno) if own else None
