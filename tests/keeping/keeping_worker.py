"""A process that works with a project, to be killed: ``FOLDER append|backup|restore|rebuild [FILE]``."""

from __future__ import annotations

import sys

import pyarrow as pa

import lakecat


def main(folder: str, work: str, *arguments: str) -> None:
    """Do one thing."""
    with lakecat.connect(folder) as lake:
        if work == "append":
            lake.append("raw.t", pa.table({"x": [2]}))
        elif work == "backup":
            lake.backup(arguments[0], replace=True)
        elif work == "restore":
            lake.restore(arguments[0], replace=True)
        else:
            lake.rebuild(apply=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
