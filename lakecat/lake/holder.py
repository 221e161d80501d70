"""Who works with the lake: this process."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from pathlib import Path

from lakecat.catalog import Holder


def this_process() -> Holder:
    """Host, process, user, and the program with its first word."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    # Only the program and its first word: arguments may hold what nobody else should see.
    words = [Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python", *sys.argv[1:2]]
    return Holder(host=socket.gethostname(), pid=os.getpid(), user=user, command=" ".join(words)[:200])
