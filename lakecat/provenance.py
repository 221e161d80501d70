"""Which code ran, and where: the project's git commit, if it is under git, and the versions of what ran it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from lakecat.types import Json

_FRESH: Final = 5.0
"""Seconds for which an answer of git is used again: a run of many small commits asks once, not at each."""


def provenance(root: Path) -> dict[str, Json]:
    """Properties of an execution that say what ran it.

    ``git_commit``, the state of the project (``-dirty`` behind it if tracked files had changed); ``lakecat_version``,
    ``python_version``, ``platform``.
    """
    commit = _git_commit(root, int(time.monotonic() / _FRESH))
    return {**({} if commit is None else {"git_commit": commit}), **_environment()}


@lru_cache(maxsize=1)
def _environment() -> dict[str, Json]:
    try:
        ours = version("lakecat")
    except PackageNotFoundError:  # run from a source tree that is not installed
        ours = "unknown"
    return {
        "lakecat_version": ours,
        "python_version": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
    }


@lru_cache(maxsize=16)
def _git_commit(root: Path, _period: int) -> str | None:
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            ["git", "-C", str(root), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            # Asking must not take the lock that the user's own git may be waiting for.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
