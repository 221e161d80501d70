"""A process of its own for the tests: builds the services of a project and does one thing, answering in JSON lines."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from lakecat.catalog import Catalog, Holder
from lakecat.config import load_jobs, load_settings
from lakecat.errors import LakecatError
from lakecat.ingest import append, run_job
from lakecat.landing import Services
from lakecat.store import LakeStore
from lakecat.types import DatasetName


def make_services(root: Path) -> Services:
    settings = load_settings(root, environ=os.environ)
    return Services(
        settings=settings,
        store=LakeStore.open(settings.lake, settings.storage),
        catalog=Catalog.open(settings.catalog_url(os.environ), create=True),
        clock=lambda: datetime.now(UTC),
        holder=Holder(socket.gethostname(), os.getpid(), "tester", " ".join(sys.argv)),
        environ=os.environ,
    )


def job_of(services: Services, name: str):
    return next(job for job in load_jobs(services.settings) if job.name == name)


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


def main(root: str, action: str, *rest: str) -> int:
    services = make_services(Path(root))
    try:
        if action == "job":
            ttl = timedelta(seconds=float(rest[1]) if len(rest) > 1 else 60)
            say(ready=True)
            results = run_job(services, job_of(services, rest[0]), ttl=ttl)
            say(commits=len(results), rows=sum(result.rows for result in results))
        if action == "appends":
            number, count, start = int(rest[0]), int(rest[1]), float(rest[2])
            time.sleep(max(0.0, start - time.time()))
            began = time.monotonic()
            for step in range(count):
                rows = pa.table({"worker": [number] * 3, "step": [step] * 3, "row": [0, 1, 2]})
                append(services, DatasetName.parse("raw.events"), rows)
            say(seconds=time.monotonic() - began)
    except LakecatError as err:
        say(error=type(err).__name__, text=str(err))
        return 1
    finally:
        services.catalog.close()
    return 0


def forked(environ: dict[str, str], root: str, arguments: tuple[str, ...], said: str, complained: str) -> None:
    """The same in a process that a fork server made, which has imported everything already."""
    from lakecat import failpoints

    os.environ.update(environ)
    failpoints._SPEC = os.environ.get("LAKECAT_FAILPOINT", "")
    for path, descriptor in ((said, 1), (complained, 2)):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.exit(main(root, *arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
