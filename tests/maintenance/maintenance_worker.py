"""A process of its own for the tests of garbage collection: appends rows or collects, answering in one JSON line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lakecat import ingest
from lakecat.catalog import Catalog, Holder
from lakecat.config import Retention, Settings, Storage
from lakecat.errors import LakecatError
from lakecat.landing import Services
from lakecat.maintenance import collect_garbage
from lakecat.store import LakeStore
from lakecat.types import DatasetName

EXPIRE_AT_ONCE = Retention(
    snapshots=1, age=timedelta(milliseconds=1), metadata_versions=1, grace=timedelta(milliseconds=1)
)


def make_services(
    lake: str, catalog: str, *, storage: Storage | None = None, environ: Mapping[str, str] = os.environ
) -> Services:
    settings = Settings(project="tests", root=Path.cwd(), lake=lake, catalog=catalog, retention=EXPIRE_AT_ONCE)
    return Services(
        settings=settings,
        store=LakeStore.open(lake, storage, environ=environ),
        catalog=Catalog.open(catalog, create=True),
        clock=lambda: datetime.now(UTC),
        holder=Holder("here", os.getpid(), "tester", "worker"),
        environ=environ,
    )


def main(lake: str, catalog: str, action: str, *rest: str) -> int:
    services = make_services(lake, catalog)
    try:
        if action == "append":
            rows = pa.table({"id": pa.array([int(text) for text in rest], pa.int64())})
            ingest.append(services, DatasetName.parse("raw.t"), rows)
        if action == "gc":
            report = collect_garbage(services, apply=True, max_delete_fraction=1.0)
            print(json.dumps({"files": report.removable.files, "errors": [str(x.error) for x in report.failures]}))
    except LakecatError as err:
        print(json.dumps({"error": type(err).__name__}))
        return 1
    finally:
        services.catalog.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
