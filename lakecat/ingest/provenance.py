"""Which code ran: the project's git commit, if it is under git."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

from lakecat.landing import Services
from lakecat.types import Json


def provenance(services: Services) -> dict[str, Json]:
    """Properties of an execution that say which state of the project it ran: ``git_commit``, ``-dirty`` if changed."""
    commit = _git_commit(services.settings.root)
    return {} if commit is None else {"git_commit": commit}


@lru_cache(maxsize=16)
def _git_commit(root: Path) -> str | None:
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
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
