"""lakecat lands data into versioned Iceberg tables, transforms it with SQL, and records where everything came from.

::

    import lakecat

    with lakecat.connect("lakecat.yaml") as lake:
        lake.ingest()
        lake.run()
        print(lake.query("SELECT * FROM mart.revenue_by_day").to_pandas())

The names below are the public ones; they are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakecat.config import SecretRef, Settings, load_settings
    from lakecat.connector import Connector, ReadOptions, ReadSummary, Slice, SliceReader, StreamState
    from lakecat.errors import LakecatError, UsageError, Where
    from lakecat.lake import Lake, connect, init_project
    from lakecat.types import (
        ColumnEdge,
        DatasetName,
        EdgeKind,
        ExecutionState,
        FileVersion,
        Position,
        Version,
        VersionRef,
        WriteMode,
    )

_HOMES = {
    "lakecat.config": ("SecretRef", "Settings", "load_settings"),
    "lakecat.connector": ("Connector", "ReadOptions", "ReadSummary", "Slice", "SliceReader", "StreamState"),
    "lakecat.errors": ("LakecatError", "UsageError", "Where"),
    "lakecat.lake": ("Lake", "connect", "init_project"),
    "lakecat.types": (
        "ColumnEdge",
        "DatasetName",
        "EdgeKind",
        "ExecutionState",
        "FileVersion",
        "Position",
        "Version",
        "VersionRef",
        "WriteMode",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ColumnEdge",
    "Connector",
    "DatasetName",
    "EdgeKind",
    "ExecutionState",
    "FileVersion",
    "Lake",
    "LakecatError",
    "Position",
    "ReadOptions",
    "ReadSummary",
    "SecretRef",
    "Settings",
    "Slice",
    "SliceReader",
    "StreamState",
    "UsageError",
    "Version",
    "VersionRef",
    "Where",
    "WriteMode",
    "connect",
    "init_project",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if (home := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module 'lakecat' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
