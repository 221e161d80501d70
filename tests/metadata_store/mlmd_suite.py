"""Runs the tests of ML Metadata that lie in its wheel against lakecat's adapter; prints what came of it as JSON.

A process of its own, in the environment of ``LAKECAT_MLMD_PYTHON``; PYTHONPATH names lakecat.
Usage: mlmd_suite.py [CONNECTION-CONFIG-AS-JSON]. Without one each store of the tests is in memory, as they ask for;
with one they all share that database, which is emptied before each test.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import sys
from collections import Counter
from pathlib import Path

import ml_metadata
import pytest
import sqlalchemy as sa
from google.protobuf import json_format
from ml_metadata.metadata_store import metadata_store as theirs
from ml_metadata.proto import metadata_store_pb2 as pb

from lakecat.catalog import mlmd
from lakecat.catalog.reshape import MLMD_TABLES

CALLS: Counter[str] = Counter()
CONFIG = json_format.ParseDict(json.loads(sys.argv[1]), pb.ConnectionConfig()) if len(sys.argv) > 1 else None
REAL = ml_metadata.MetadataStore


def empty(store: mlmd.MetadataStore) -> None:
    """Take everything out but the types that a catalog starts with."""
    kept = sa.text("name LIKE 'mlmd.%' OR name LIKE 'lakecat.%'")
    with store.store.database.engine.begin() as connection:
        first = [table for table in reversed(MLMD_TABLES) if table.name not in ("Type", "TypeProperty", "MLMDEnv")]
        order = ("EventPath", "Event", "Association", "Attribution", "ParentContext", "ParentType")
        for table in sorted(
            first, key=lambda t: order.index(t.name) if t.name in order else 9 - t.name.count("Property")
        ):
            connection.execute(sa.delete(table))
        types = next(table for table in MLMD_TABLES if table.name == "Type")
        properties = next(table for table in MLMD_TABLES if table.name == "TypeProperty")
        connection.execute(sa.delete(properties).where(properties.c.type_id.not_in(sa.select(types.c.id).where(kept))))
        connection.execute(sa.delete(types).where(~sa.or_(types.c.name.like("mlmd.%"), types.c.name.like("lakecat.%"))))


class Counted(mlmd.MetadataStore):
    """The adapter, which counts what is called."""

    def __init__(self, config, enable_upgrade_migration=False):
        CALLS["__init__"] += 1
        shared = CONFIG is not None and isinstance(config, pb.ConnectionConfig) and config.WhichOneof("config")
        if shared:
            retries, config = config, pb.ConnectionConfig()
            config.CopyFrom(CONFIG)
            if retries.HasField("retry_options"):
                config.retry_options.CopyFrom(retries.retry_options)
        super().__init__(config, enable_upgrade_migration)
        if shared:
            empty(self)


def counting(name):
    method = getattr(mlmd.MetadataStore, name)

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        CALLS[name] += 1
        return method(self, *args, **kwargs)

    return call


def refuse(*_args):
    raise AssertionError("ml-metadata's own library was asked to open a database")


def public(store):
    return {name for name, value in vars(store).items() if inspect.isfunction(value) and not name.startswith("_")}


def shape(function):
    return [(p.name, p.kind.name, repr(p.default)) for p in inspect.signature(function).parameters.values()]


class Results:
    """How many tests ended how, and the names of those that did not pass."""

    def __init__(self):
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report):
        expected = hasattr(report, "wasxfail")
        if report.when == "call" or report.outcome != "passed":
            self.outcomes["xfailed" if expected and report.skipped else report.outcome] += 1
        if report.failed:
            self.failed.append(f"{report.nodeid}\n{report.longreprtext[-3000:]}")


def main():
    names = sorted(public(REAL))
    missing = [name for name in names if not hasattr(mlmd.MetadataStore, name)]
    different = [
        n for n in names if n not in missing and shape(getattr(REAL, n)) != shape(getattr(mlmd.MetadataStore, n))
    ]
    for name in set(names) - set(missing):
        setattr(Counted, name, counting(name))
    ml_metadata.MetadataStore = Counted
    theirs.metadata_store_serialized.CreateMetadataStore = refuse
    folder = Path(theirs.__file__).parent
    files = [str(folder / name) for name in ("metadata_store_test.py", "mlmd_types_test.py")]
    results = Results()
    with contextlib.redirect_stdout(sys.stderr):
        pytest.main(
            ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(folder), *files], plugins=[results]
        )
    print(json.dumps({
        "outcomes": results.outcomes, "failed": results.failed, "calls": CALLS, "methods": names, "missing": missing,
        "different": different, "classes": [Counted.__mro__[1].__module__],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
