"""Named places where a test can make this process die, fail or stop, set by ``LAKECAT_FAILPOINT``.

``LAKECAT_FAILPOINT=name:nth:action`` with action ``kill`` (SIGKILL), ``raise`` or ``stop`` (SIGSTOP);
``nth`` counts from 1. Unset, a failpoint is one comparison. Every name is listed here, so that a test can visit all.
"""

from __future__ import annotations

import os
import signal
from typing import Final

from lakecat.errors import LakecatError

NAMES: Final = (
    "ingest.planned",
    "begun",
    "data.first_file",
    "data.written",
    "audited",
    "commit.locked",
    "commit.manifest_written",
    "commit.metadata_written",
    "commit.sidecar_written",
    "commit.pointer_swapped",
    "commit.lineage_recorded",
    "commit.before",
    "commit.after",
    "released",
)
"""The steps of a write; the others are in ``MAINTENANCE_NAMES``, ``TAGGING_NAMES``, ``KEEPING_NAMES``."""
MAINTENANCE_NAMES: Final = ("gc.planned", "gc.file_deleted", "purge.removed", "purge.batch")
TAGGING_NAMES: Final = ("tag.begun", "tag.locked", "tag.written", "tag.swapped", "tag.before", "tag.after")
KEEPING_NAMES: Final = (
    "backup.written",
    "backup.checked",
    "restore.saved",
    "restore.emptied",
    "restore.filled",
    "restore.before",
    "restore.after",
    "rebuild.commit",
    "rebuild.before",
    "rebuild.after",
)

_SPEC: Final = os.environ.get("LAKECAT_FAILPOINT", "")
_hits = 0


def failpoint(name: str) -> None:
    """Do what ``LAKECAT_FAILPOINT`` asks for at this place; nothing without it."""
    if _SPEC:
        _reach(name)


def _reach(name: str) -> None:
    global _hits  # noqa: PLW0603 - one counter for one process, in tests only
    wanted, nth, action = [*_SPEC.split(":"), "1", "kill"][:3]
    if name != wanted:
        return
    _hits += 1
    if _hits != int(nth):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if action == "raise":
        raise LakecatError(f"failpoint {name}")
